"""A stand-in for the EBS CSI driver: it answers as `ebs.csi.aws.com`, its disks are files, its account is emulated.

A volume is in one zone and at one node at a time, has its real size, grows while it is in use, fills up, and is lost
with its node as an EBS volume is: what was flushed stays, what was not is gone. Volumes and snapshots stand in EC2 too,
with the tags that the real driver gives them. What only AWS can show (how long attaching takes, what a volume's type
makes of its speed) is not played.
"""

from tests.cluster.ebs.power import clean, power_off

__all__ = ["clean", "power_off"]
