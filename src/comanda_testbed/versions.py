"""Which versions of Kubernetes and of its add-ons the emulated EKS has, and until when.

The dates are those of the EKS user guide in November 2026; the add-ons' builds are made up, in EKS's own form.
"""

from datetime import UTC, datetime


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


KUBERNETES = {
    "1.33": ("2025-05-29", "2026-07-29", "2027-07-29", "EXTENDED_SUPPORT"),
    "1.34": ("2025-10-02", "2026-12-02", "2027-12-02", "STANDARD_SUPPORT"),
    "1.35": ("2026-01-27", "2027-03-27", "2028-03-27", "STANDARD_SUPPORT"),
    "1.36": ("2026-06-02", "2027-08-02", "2028-08-02", "STANDARD_SUPPORT"),
}
"""Released, end of standard support, end of extended support, status."""

CLUSTER_VERSIONS = [
    {
        "clusterVersion": version,
        "clusterType": "eks",
        "defaultPlatformVersion": "eks.1",
        "defaultVersion": version == "1.36",
        "releaseDate": _day(released),
        "endOfStandardSupportDate": _day(standard),
        "endOfExtendedSupportDate": _day(extended),
        "status": status.lower().replace("_", "-"),
        "versionStatus": status,
        "kubernetesPatchVersion": f"{version}.4",
    }
    for version, (released, standard, extended, status) in reversed(KUBERNETES.items())
]

ADDONS = {
    "vpc-cni": ["v1.21.2-eksbuild.1", "v1.20.4-eksbuild.2"],
    "kube-proxy": [],
    "coredns": ["v1.13.2-eksbuild.3", "v1.12.4-eksbuild.1"],
    "eks-pod-identity-agent": ["v1.3.10-eksbuild.2", "v1.3.9-eksbuild.1"],
    "aws-ebs-csi-driver": ["v1.64.0-eksbuild.1", "v1.60.0-eksbuild.1"],
    "snapshot-controller": ["v8.4.0-eksbuild.1"],
    "metrics-server": ["v0.8.1-eksbuild.2"],
}
"""Newest first; the newest is the default. kube-proxy goes by the cluster's own minor."""


def addon_versions(name: str, minor: str) -> list[str]:
    """Answer the builds of an add-on for a minor of Kubernetes, the default first."""
    if name == "kube-proxy":
        return [f"v{minor}.4-eksbuild.2", f"v{minor}.1-eksbuild.1"]
    return ADDONS[name]


def minor_of(version: str) -> int:
    """Answer 36 of "1.36"."""
    return int(version.split(".")[1])
