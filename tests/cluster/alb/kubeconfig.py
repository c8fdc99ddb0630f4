"""How the API server is reached: what a kubeconfig says, and nothing from the environment."""

import base64
import ssl
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml


@dataclass(frozen=True)
class Access:
    """The server, and what is shown to it.

    Args:
        server: its URL, without a slash at the end. tls: None over plain HTTP. token: "" without one.
    """

    server: str
    tls: ssl.SSLContext | None
    token: str = ""


def read(file: Path) -> Access:
    """Answer what a kubeconfig's current context says.

    Raises:
        ValueError: it names something that it does not hold.
    """
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    context = _named(config, "contexts", config.get("current-context"))["context"]
    cluster = _named(config, "clusters", context.get("cluster"))["cluster"]
    user = _named(config, "users", context["user"])["user"] if context.get("user") else {}
    server = str(cluster["server"]).rstrip("/")
    tls = None
    if server.startswith("https:"):
        authority = _content(cluster, "certificate-authority", file)
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        certificate, key = _content(user, "client-certificate", file), _content(user, "client-key", file)
        if certificate and key:
            with NamedTemporaryFile() as both:
                both.write(certificate + b"\n" + key)
                both.flush()
                tls.load_cert_chain(both.name)
    return Access(server, tls, str(user.get("token", "")))


def _named(config: dict[str, Any], kind: str, name: object) -> dict[str, Any]:
    for each in config.get(kind) or []:
        if each["name"] == name:
            found: dict[str, Any] = each
            return found
    raise ValueError(f"the kubeconfig has no {name!r} among its {kind}")


def _content(of: dict[str, Any], name: str, beside: Path) -> bytes:
    """Answer what stands in the file as data, or in a file that it names, from its own folder on."""
    if data := of.get(f"{name}-data"):
        return base64.b64decode(data)
    if path := of.get(name):
        return Path(beside.parent / path).read_bytes()
    return b""
