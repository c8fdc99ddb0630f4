"""What the driver and what it speaks of is called."""

DRIVER = "ebs.csi.aws.com"
VERSION = "1.64.0-of-comandas-tests"
"""Of the real driver, the one whose behaviour is played."""

ZONE = "topology.kubernetes.io/zone"
"""What a volume's node affinity names, since 1.33 of the driver."""
DRIVERS_ZONE = f"topology.{DRIVER}/zone"
"""What it named before. Nodes have both, and a StorageClass may ask for either."""
SYSTEM = "kubernetes.io/os"

GIB = 1024**3
