"""The cluster's own certificate authority, and a certificate for each who speaks in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.layout import DNS_DOMAIN, NODES, Layout

VALID = timedelta(days=30)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates into a folder.

    Args:
        folder: of the files, for root alone. name: its own.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Make the authority's own key and certificate."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = _begun(self._name, self._name, self._key.public_key())
        self._certificate = signed.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
            self._key, hashes.SHA256()
        )
        self.file = folder / f"{name}.crt"
        self.pair = Pair(self.file, folder / f"{name}.key")
        _write(self.pair, self._certificate, self._key)

    def sign(self, name: str, *, groups: Sequence[str] = (), hosts: Sequence[str] = (), file: str = "") -> Pair:
        """Answer a certificate for `name`, good for servers and clients.

        Args:
            groups: whom Kubernetes takes its holder for a member of. hosts: addresses and names of a server.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = _begun(subject, self._name, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        if hosts:
            signed = signed.add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False)
        stem = file or name.replace(":", "-")
        pair = Pair(self._folder / f"{stem}.crt", self._folder / f"{stem}.key")
        _write(pair, signed.sign(self._key, hashes.SHA256()), key)
        return pair


@dataclass(frozen=True)
class Certificates:
    """All that the cluster needs, by who holds it."""

    authority: Path
    authority_key: Path
    front_authority: Path
    api: Pair
    to_kubelets: Pair
    front: Pair
    accounts: Pair
    admin: Pair
    controllers: Pair
    scheduler: Pair
    proxy: Pair
    metrics: Pair
    kubelets: dict[str, Pair]
    balancer: Pair


def make(layout: Layout) -> Certificates:
    """Make all of them, in the layout's folder."""
    folder = layout.folder / "pki"
    authority, front = Authority(folder, "ca"), Authority(folder / "front", "front-proxy-ca")
    main = str(layout.main)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DNS_DOMAIN}"]
    masters = ["system:masters"]
    metrics = ["metrics-server", "metrics-server.kube-system", "metrics-server.kube-system.svc"]
    return Certificates(
        authority=authority.file,
        authority_key=authority.pair.key,
        front_authority=front.file,
        api=authority.sign("kube-apiserver", hosts=[*names, "localhost", "127.0.0.1", main, str(layout.api)]),
        to_kubelets=authority.sign("kube-apiserver-kubelet-client", groups=masters),
        front=front.sign("front-proxy-client"),
        accounts=authority.sign("service-accounts"),
        admin=authority.sign("kubernetes-admin", groups=masters),
        controllers=authority.sign("system:kube-controller-manager"),
        scheduler=authority.sign("system:kube-scheduler"),
        proxy=authority.sign("system:kube-proxy"),
        metrics=authority.sign("metrics-server", hosts=[*metrics, main], file="metrics-server"),
        kubelets={
            node.name: authority.sign(
                f"system:node:{node.name}", groups=["system:nodes"], hosts=[node.name, str(layout.address(node))]
            )
            for node in NODES
        },
        balancer=authority.sign(
            "balancer", hosts=[main, "127.0.0.1", "aws-load-balancer-webhook-service.kube-system.svc"]
        ),
    )


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.touch(mode=0o600)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
