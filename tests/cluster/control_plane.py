"""etcd, API server, controller manager and scheduler, in the first node's network, and the files to reach them by."""

from pathlib import Path

from tests.cluster.cache import binary
from tests.cluster.certificates import Certificates, Pair
from tests.cluster.layout import DNS_DOMAIN, NODES, Layout
from tests.cluster.process import Process

PORT = 6443
ETCD = "http://127.0.0.1:2379"


def kubeconfig(layout: Layout, name: str, holder: Pair, server: str = "") -> Path:
    """Write a kubeconfig, and answer where.

    Args:
        name: of the file. server: if not the API server's own address within the cluster.
    """
    file = layout.folder / "kubeconfig" / name
    file.parent.mkdir(exist_ok=True, mode=0o700)
    authority = layout.folder / "pki" / "ca.crt"
    text = f"""apiVersion: v1
kind: Config
current-context: comanda
clusters:
- name: comanda
  cluster: {{server: "{server or f"https://{layout.main}:{PORT}"}", certificate-authority: {authority}}}
users:
- name: comanda
  user: {{client-certificate: {holder.certificate}, client-key: {holder.key}}}
contexts:
- name: comanda
  context: {{cluster: comanda, user: comanda}}
"""
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return file


def processes(layout: Layout, pki: Certificates) -> dict[str, Process]:
    """Answer the four, by name."""
    return {
        each.name: each
        for each in (_etcd(layout), _api(layout, pki), _controllers(layout, pki), _scheduler(layout, pki))
    }


def _etcd(layout: Layout) -> Process:
    command = (
        str(binary("etcd")),
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        # What is here need not outlive the machine's power.
        "--unsafe-no-fsync",
        "--auto-compaction-retention=1h",
        "--log-level=warn",
    )
    return Process("etcd", command, NODES[0])


def _api(layout: Layout, pki: Certificates) -> Process:
    command = (
        str(binary("kube-apiserver")),
        f"--advertise-address={layout.main}",
        f"--bind-address={layout.main}",
        f"--secure-port={PORT}",
        f"--etcd-servers={ETCD}",
        f"--service-cluster-ip-range={layout.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--anonymous-auth=false",
        f"--client-ca-file={pki.authority}",
        f"--tls-cert-file={pki.api.certificate}",
        f"--tls-private-key-file={pki.api.key}",
        f"--kubelet-certificate-authority={pki.authority}",
        f"--kubelet-client-certificate={pki.to_kubelets.certificate}",
        f"--kubelet-client-key={pki.to_kubelets.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{DNS_DOMAIN}",
        f"--service-account-key-file={pki.accounts.certificate}",
        f"--service-account-signing-key-file={pki.accounts.key}",
        # Served by the aggregation layer: metrics-server behind a service whose endpoint is no pod.
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={pki.front_authority}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki.front.certificate}",
        f"--proxy-client-key-file={pki.front.key}",
        "--profiling=false",
        "--v=1",
    )
    return Process("kube-apiserver", command, NODES[0])


def _controllers(layout: Layout, pki: Certificates) -> Process:
    config = kubeconfig(layout, "controllers", pki.controllers)
    command = (
        str(binary("kube-controller-manager")),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki.accounts.key}",
        f"--root-ca-file={pki.authority}",
        f"--cluster-signing-cert-file={pki.authority}",
        f"--cluster-signing-key-file={pki.authority_key}",
        f"--service-cluster-ip-range={layout.services}",
        # As the metrics are new every 15 s.
        "--horizontal-pod-autoscaler-sync-period=15s",
        "--v=1",
    )
    return Process("kube-controller-manager", command, NODES[0])


def _scheduler(layout: Layout, pki: Certificates) -> Process:
    config = kubeconfig(layout, "scheduler", pki.scheduler)
    command = (
        str(binary("kube-scheduler")),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--v=1",
    )
    return Process("kube-scheduler", command, NODES[0])
