"""What the tests' cluster is made of: each part once, as data. `building` makes it, `parts/NAME/` locks it.

To take another version: change it here and in the part's go.mod, run `go mod tidy` in its folder, look at its licence,
and build. The checksums of a part and of all that it is made of stand in its go.sum; a download that is not equal to
them is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "parts"
GO = (1, 26, 7)
"""The oldest Go that every part can be built with."""


@dataclass(frozen=True)
class File:
    """What is taken out of a module as it is: a file, or a folder with all that is in it."""

    module: str
    path: str


@dataclass(frozen=True)
class Part:
    """One module, the programs built from it, and why."""

    name: str
    module: str
    """As Go names it; empty for a program of ours, which lies beside its go.mod."""

    version: str
    """As Go names it. Kubernetes' minor is the one that comanda-deploy creates by default."""

    licence: str
    """SPDX; looked up in the module's LICENSE."""

    why: str
    binaries: Mapping[str, str]
    """Each program's name and its package."""

    seconds: int
    """What building it alone takes on two cores, from nothing. After others it is less: they share what they import."""

    core: bool = False
    """Whether the cluster does not start, or its first tests do not run, without it."""

    tags: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """What the linker sets: without it a program does not know its own version."""

    files: Mapping[str, File] = field(default_factory=dict)
    """What callers need from the modules beside the programs, by a name of ours."""

    @property
    def folder(self) -> Path:
        """Where its go.mod and go.sum lie."""
        return FOLDER / self.name

    @property
    def ldflags(self) -> str:
        """What the linker is told: no symbols, and the version."""
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables.items())])

    @property
    def checksum(self) -> str:
        """Its module's checksum, out of its go.sum; empty for a program of ours."""
        for line in (self.folder / "go.sum").read_text(encoding="utf-8").splitlines():
            module, version, checksum = line.split()
            if (module, version) == (self.module, self.version):
                return checksum
        return ""


def _go_version(name: str, version: str) -> dict[str, str]:
    return {f"github.com/prometheus/common/version.{name}": version}


_KUBERNETES = "v1.36.5"
_CONTAINERD = "github.com/containerd/containerd/v2"
_SNAPSHOTTER = "github.com/kubernetes-csi/external-snapshotter"
_VERSION = "k8s.io/component-base/version"

PARTS = (
    Part(
        name="pause",
        module="",
        version="v1",
        licence="Apache-2.0",
        why="The first process of every pod; the usual image cannot be pulled without a registry on the internet.",
        binaries={"pause": "."},
        seconds=10,
        core=True,
    ),
    Part(
        name="probe",
        module="",
        version="v1",
        licence="Apache-2.0",
        why="What the cluster's own tests run in their pods.",
        binaries={"probe": "."},
        seconds=15,
        core=True,
    ),
    Part(
        name="crane",
        module="github.com/google/go-containerregistry",
        version="v0.22.1",
        licence="Apache-2.0",
        why="The image registry of the tests, and what pushes to it.",
        binaries={"crane": "github.com/google/go-containerregistry/cmd/crane"},
        seconds=15,
        core=True,
        variables={"github.com/google/go-containerregistry/cmd/crane/cmd.Version": "v0.22.1"},
    ),
    Part(
        name="etcd",
        module="go.etcd.io/etcd/server/v3",
        version="v3.6.16",
        licence="Apache-2.0",
        why="Where the API server keeps everything. Kubernetes 1.36 is tested with 3.6.",
        binaries={"etcd": "go.etcd.io/etcd/server/v3"},
        seconds=61,
        core=True,
    ),
    Part(
        name="kubernetes",
        module="k8s.io/kubernetes",
        version=_KUBERNETES,
        licence="Apache-2.0",
        why="The control plane, the nodes' agents, and kubectl.",
        binaries={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-proxy",
                "kube-scheduler",
                "kubectl",
                "kubelet",
            )
        },
        seconds=335,
        core=True,
        variables={
            f"{_VERSION}.gitVersion": _KUBERNETES,
            f"{_VERSION}.gitMajor": _KUBERNETES.removeprefix("v").split(".")[0],
            f"{_VERSION}.gitMinor": _KUBERNETES.split(".")[1],
        },
        files={
            # What a CSI driver of the tests speaks to kubelet with.
            "pluginregistration.proto": File("k8s.io/kubelet", "pkg/apis/pluginregistration/v1/api.proto"),
        },
    ),
    Part(
        name="containerd",
        module=_CONTAINERD,
        version="v2.4.2",
        licence="Apache-2.0",
        why="Runs the nodes' containers; Kubernetes 1.36 wants containerd 2. Its runc is the distribution's.",
        binaries={name: f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        seconds=120,
        core=True,
        # Three kinds of storage that are not used, and that want C libraries.
        tags=("no_btrfs", "no_devmapper", "no_zfs"),
        variables={f"{_CONTAINERD}/version.Version": "2.4.2"},
    ),
    Part(
        name="coredns",
        module="github.com/coredns/coredns",
        version="v1.15.0",
        licence="Apache-2.0",
        why="The cluster's DNS.",
        binaries={"coredns": "github.com/coredns/coredns"},
        seconds=165,
        core=True,
    ),
    Part(
        name="external-snapshotter",
        module=f"{_SNAPSHOTTER}/v8",
        version="v8.7.0",
        licence="Apache-2.0",
        why="Volume snapshots, which the database's backups are.",
        binaries={name: f"{_SNAPSHOTTER}/v8/cmd/{name}" for name in ("csi-snapshotter", "snapshot-controller")},
        seconds=211,
        variables={"main.version": "v8.7.0"},
        files={
            "crds": File(f"{_SNAPSHOTTER}/client/v8", "config/crd"),
            # What a CSI driver of the tests speaks to the sidecars with.
            "csi.proto": File("github.com/container-storage-interface/spec", "csi.proto"),
        },
    ),
    Part(
        name="external-provisioner",
        module="github.com/kubernetes-csi/external-provisioner/v6",
        version="v6.4.0",
        licence="Apache-2.0",
        why="Makes a volume of every claim.",
        binaries={"csi-provisioner": "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner"},
        seconds=162,
        variables={"main.version": "v6.4.0"},
    ),
    Part(
        name="external-resizer",
        module="github.com/kubernetes-csi/external-resizer/v2",
        version="v2.3.0",
        licence="Apache-2.0",
        why="Lets a volume grow, which is what the runbook does before the disk is full.",
        binaries={"csi-resizer": "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer"},
        seconds=160,
        variables={"main.version": "v2.3.0"},
    ),
    Part(
        name="metrics-server",
        module="sigs.k8s.io/metrics-server",
        version="v0.9.0",
        licence="Apache-2.0",
        why="What the autoscaler of pods and `kubectl top` look at.",
        binaries={"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"},
        seconds=174,
        variables={
            "k8s.io/client-go/pkg/version.gitVersion": "v0.9.0",
        },
        files={"manifests": File("sigs.k8s.io/metrics-server", "manifests/base")},
    ),
    Part(
        name="external-secrets",
        module="github.com/external-secrets/external-secrets",
        version="v0.20.4",
        licence="Apache-2.0",
        why="Copies secrets from Secrets Manager. The last version that is one module, and serves the API of today's.",
        binaries={"external-secrets": "github.com/external-secrets/external-secrets"},
        seconds=383,
        files={"crds": File("github.com/external-secrets/external-secrets", "config/crds/bases")},
    ),
    Part(
        name="prometheus",
        module="github.com/prometheus/prometheus",
        version="v0.316.0",
        licence="Apache-2.0",
        why="Whether our metrics are found by their annotations and our alerts fire. It calls itself 3.16.0.",
        binaries={name: f"github.com/prometheus/prometheus/cmd/{name}" for name in ("prometheus", "promtool")},
        seconds=191,
        # Of its many ways to find targets, two: one of the others needs a module that cannot always be had.
        tags=("remove_all_sd", "enable_kubernetes_sd", "enable_dns_sd"),
        variables=_go_version("Version", "3.16.0"),
    ),
    Part(
        name="node-exporter",
        module="github.com/prometheus/node_exporter",
        version="v1.12.1",
        licence="Apache-2.0",
        why="The nodes' own metrics.",
        binaries={"node_exporter": "github.com/prometheus/node_exporter"},
        seconds=19,
        variables=_go_version("Version", "1.12.1"),
    ),
    Part(
        name="cyclonus",
        module="github.com/mattfenwick/cyclonus",
        version="v0.5.6",
        licence="MIT",
        why="Says who may reach whom from the network policies alone; the cluster's network does not enforce them.",
        binaries={"cyclonus": "github.com/mattfenwick/cyclonus/cmd/cyclonus"},
        seconds=100,
    ),
)
"""In the order in which they are wanted: quick ones and the cluster's start first."""

CORE = tuple(part for part in PARTS if part.core)


def named(name: str) -> Part:
    """Answer the part of that name.

    Raises:
        KeyError: There is none.
    """
    for part in PARTS:
        if part.name == name:
            return part
    raise KeyError(f"no part of the cluster is named {name}")


def of_binary(name: str) -> Part:
    """Answer the part that a program belongs to.

    Raises:
        KeyError: No part has a program of this name.
    """
    for part in PARTS:
        if name in part.binaries:
            return part
    raise KeyError(f"no part of the tests' cluster has a program {name}: see tests/cluster/parts.py")
