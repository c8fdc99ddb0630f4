"""What runs on a node: containerd, kubelet and kube-proxy, each with files of its own below the node's folder."""

import json
from pathlib import Path

from tests.cluster.cache import binary
from tests.cluster.certificates import Certificates
from tests.cluster.control_plane import kubeconfig
from tests.cluster.layout import DNS_DOMAIN, Layout, Node
from tests.cluster.machine import make_cgroup
from tests.cluster.process import Process

PAUSE = "registry.k8s.io/pause:3.10"
CNI = Path("/usr/lib/cni")
REGISTRY_PORT = 5000


def cgroup(layout: Layout, node: Node) -> str:
    """Answer the cgroup of a node's pods: two kubelets below one would remove each other's."""
    return f"{layout.name}-{node.name}"


def prepare(layout: Layout, node: Node) -> None:
    """Write the node's files, and make its cgroup."""
    root = layout.root(node)
    for each in ("containerd", "run", "kubelet", "pods", "cni", "certs.d/_default"):
        (root / each).mkdir(parents=True, exist_ok=True)
    make_cgroup(cgroup(layout, node))
    (root / "containerd.toml").write_text(_containerd(layout, node), encoding="utf-8")
    mirror = f"http://{layout.main}:{REGISTRY_PORT}"
    hosts = f'server = "{mirror}"\n[host."{mirror}"]\ncapabilities = ["pull", "resolve"]\n'
    (root / "certs.d" / "_default" / "hosts.toml").write_text(hosts, encoding="utf-8")
    (root / "cni" / "10-pods.conflist").write_text(json.dumps(_network(layout, node), indent=1), encoding="utf-8")
    (root / "resolv.conf").write_text(f"nameserver {layout.dns}\n", encoding="utf-8")
    (root / "kubelet.yaml").write_text(json.dumps(_kubelet(layout, node), indent=1), encoding="utf-8")
    (root / "kube-proxy.yaml").write_text(json.dumps(_proxy(layout, node), indent=1), encoding="utf-8")


def processes(layout: Layout, node: Node, pki: Certificates) -> list[Process]:
    """Answer the three, in their order."""
    root = layout.root(node)
    tools = binary("containerd").parent
    containerd = (str(binary("containerd")), "--config", str(root / "containerd.toml"))
    labels = ",".join(f"{key}={value}" for key, value in node.labels.items())
    kubelet = (
        str(binary("kubelet")),
        f"--config={root / 'kubelet.yaml'}",
        f"--kubeconfig={kubeconfig(layout, node.name, pki.kubelets[node.name])}",
        f"--root-dir={root / 'kubelet'}",
        f"--node-ip={layout.address(node)}",
        f"--hostname-override={node.name}",
        f"--node-labels={labels}",
        # By which cAdvisor knows whose a cgroup is; it looks for the usual place otherwise.
        f"--containerd={socket(layout, node)}",
        "--v=1",
    )
    proxy = (str(binary("kube-proxy")), f"--config={root / 'kube-proxy.yaml'}", f"--hostname-override={node.name}")
    # containerd looks for its shim, and for Debian's runc, in the PATH.
    path = {"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"}
    return [
        Process(f"{name}-{node.name}", command, node, path, part_of=node)
        for name, command in (("containerd", containerd), ("kubelet", kubelet), ("kube-proxy", proxy))
    ]


def socket(layout: Layout, node: Node) -> Path:
    """Answer where containerd listens."""
    return layout.root(node) / "run" / "containerd.sock"


def _containerd(layout: Layout, node: Node) -> str:
    root = layout.root(node)
    return f"""version = 3
root = "{root / "containerd"}"
state = "{root / "run"}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{socket(layout, node)}"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{root / "certs.d"}"
[plugins."io.containerd.cri.v1.runtime"]
# Below our own folder, so that none is left on the machine.
netns_mounts_under_state_dir = true
# This machine may not let a process be spared by the kernel's killer.
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI}"]
conf_dir = "{root / "cni"}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _network(layout: Layout, node: Node) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(layout.root(node) / "addresses"),
            "ranges": [[{"subnet": str(layout.pods_of(node))}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, portmap]}


def _kubelet(layout: Layout, node: Node) -> dict[str, object]:
    root, pki = layout.root(node), layout.folder / "pki"
    holder = f"system-node-{node.name}"
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "address": str(layout.address(node)),
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": str(pki / f"{holder}.crt"),
        "tlsPrivateKeyFile": str(pki / f"{holder}.key"),
        "containerRuntimeEndpoint": f"unix://{socket(layout, node)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup(layout, node)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(layout.dns)],
        "clusterDomain": DNS_DOMAIN,
        "resolvConf": str(root / "resolv.conf"),
        "podLogsDir": str(root / "pods"),
        "volumePluginDir": str(root / "plugins"),
        "registerWithTaints": [],
        "rotateCertificates": False,
        # As EKS has them for a node of 8 GiB, so that the scheduler sees what it would see there.
        "maxPods": 35,
        "systemReserved": {"cpu": "0m", "memory": "0Mi"},
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "3%", "imagefs.available": "3%"},
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
        "shutdownGracePeriod": "0s",
        "nodeStatusUpdateFrequency": "4s",
        # How full a disk is, is known within seconds and not within a minute.
        "volumeStatsAggPeriod": "10s",
        "syncFrequency": "10s",
        # A changed secret reaches its volume within seconds.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
    }


def _proxy(layout: Layout, node: Node) -> dict[str, object]:
    return {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "clientConnection": {"kubeconfig": str(layout.folder / "kubeconfig" / "proxy")},
        "mode": "iptables",
        "clusterCIDR": str(layout.pods),
        "bindAddress": str(layout.address(node)),
        "healthzBindAddress": f"{layout.address(node)}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # The machine's, not the node's: not ours to change.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
