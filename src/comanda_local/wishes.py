"""What the person who calls `make run` asks for, read from the environment and checked before anything
starts.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from comanda_local.errors import LocalError
from comanda_local.ports import free_port

# The exporters' are nobody's to remember, and their usual ones are taken wherever Debian's packages run as services.
DEFAULT_PORTS = {
    "PORT": 8000,
    "OPS_PORT": 9000,
    "SANDBOX_PORT": 8001,
    "PROMETHEUS_PORT": 9090,
    "NODE_EXPORTER_PORT": 0,
    "POSTGRES_EXPORTER_PORT": 0,
}


@dataclass(frozen=True, repr=False)
class Wishes:
    """The ports to listen on, and what takes the place of the embedded database and of the sandbox.

    An empty `database_url` means the embedded PostgreSQL, an empty `access_token` the sandbox. No repr: it
    would show secrets.
    """

    port: int
    ops_port: int
    sandbox_port: int
    database_url: str
    migration_database_url: str
    access_token: str
    webhook_secret: str
    monitoring: bool
    """Whether Prometheus and exporters run too; without it their ports say nothing."""
    prometheus_port: int
    node_exporter_port: int
    postgres_exporter_port: int

    @property
    def embedded(self) -> bool:
        """Whether we bring PostgreSQL along."""
        return not self.database_url

    @property
    def sandboxed(self) -> bool:
        """Whether the sandbox plays Mercado Pago."""
        return not self.access_token


def read_wishes(environment: Mapping[str, str]) -> Wishes:
    """Read and check the environment. An empty variable counts as absent.

    Raises:
        LocalError: a value cannot be used; names the variable, and never shows a URL, which may hold a
        password.
    """

    def text(name: str) -> str:
        return environment.get(name, "").strip()

    monitoring = _switch("MONITORING", text("MONITORING"))

    def monitoring_port(name: str) -> int:
        # What is not asked for is not judged.
        return _port(name, text(name) if monitoring else "")

    wishes = Wishes(
        port=_port("PORT", text("PORT")),
        ops_port=_port("OPS_PORT", text("OPS_PORT")),
        sandbox_port=_port("SANDBOX_PORT", text("SANDBOX_PORT")),
        database_url=text("DATABASE_URL"),
        migration_database_url=text("MIGRATION_DATABASE_URL") or text("DATABASE_URL"),
        access_token=text("MERCADO_PAGO_ACCESS_TOKEN"),
        webhook_secret=text("MERCADO_PAGO_WEBHOOK_SECRET"),
        monitoring=monitoring,
        prometheus_port=monitoring_port("PROMETHEUS_PORT"),
        node_exporter_port=monitoring_port("NODE_EXPORTER_PORT"),
        postgres_exporter_port=monitoring_port("POSTGRES_EXPORTER_PORT"),
    )
    if wishes.embedded and text("MIGRATION_DATABASE_URL"):
        raise LocalError("MIGRATION_DATABASE_URL is set without DATABASE_URL: set both, or neither")
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        _check_url(name, text(name))
    return wishes


def take_ports(wishes: Wishes) -> Wishes:
    """Check that every port is free, and choose one where 0 asks for any.

    Raises:
        LocalError: a port is taken or not ours to take; names it, its variable and a free one.
    """
    names = ["port", "ops_port", *(["sandbox_port"] if wishes.sandboxed else [])]
    if wishes.monitoring:
        names += ["prometheus_port", "node_exporter_port"]
        names += ["postgres_exporter_port"] if wishes.embedded else []
    held: list[socket.socket] = []  # all at once, so that no two get the same free port
    chosen: dict[str, int] = {}
    try:
        for name in names:
            wanted = getattr(wishes, name)
            held.append(_take(name.upper(), wanted, chosen))
            chosen[name] = held[-1].getsockname()[1]
    finally:
        for taken in held:
            taken.close()
    return replace(
        wishes,
        port=chosen["port"],
        ops_port=chosen["ops_port"],
        sandbox_port=chosen.get("sandbox_port", wishes.sandbox_port),
        prometheus_port=chosen.get("prometheus_port", wishes.prometheus_port),
        node_exporter_port=chosen.get("node_exporter_port", wishes.node_exporter_port),
        postgres_exporter_port=chosen.get("postgres_exporter_port", wishes.postgres_exporter_port),
    )


def _take(variable: str, port: int, chosen: Mapping[str, int]) -> socket.socket:
    if port and port in chosen.values():
        other = next(name.upper() for name, taken in chosen.items() if taken == port)
        raise LocalError(f"{variable} and {other} are both {port}: give them different ports")
    probe = socket.socket()
    # As our servers do: a connection of the last run that lingers in TIME_WAIT does not take the port.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except PermissionError:
        probe.close()
        raise LocalError(f"port {port} is for root alone: choose another, as in {variable}=8080") from None
    except OSError:
        probe.close()
        raise LocalError(
            f"port {port} is taken by another program: end that one, or choose another port, as in "
            f"{variable}={_next_free(port)}"
        ) from None
    return probe


def _next_free(port: int) -> int:
    for candidate in range(port + 1, min(port + 100, 65536)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    return free_port()


def _switch(name: str, text: str) -> bool:
    if text not in {"", "0", "1"}:
        raise LocalError(f"{name} is neither on nor off: give 1, or leave it out")
    return text == "1"


def _port(name: str, text: str) -> int:
    if not text:
        return DEFAULT_PORTS[name]
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise LocalError(f"{name} is not a port: give a number from 1 to 65535 (0 takes any free one)")
    return int(text)


def _check_url(name: str, url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no number
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in {"postgresql", "postgres"}:
        raise LocalError(f"{name} is not a database's URL: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
