"""What of the cluster, beside its core, Comanda does not come up without."""

PARTS = ("external-secrets", "external-provisioner", "external-snapshotter", "external-resizer", "metrics-server")
"""By their names in `tests/cluster/parts.py`: its secrets, its disk, its number of pods."""
