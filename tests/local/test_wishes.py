"""What `make run` accepts from the environment, and the line it says otherwise."""

import socket
from contextlib import closing

import pytest

from comanda_local.errors import LocalError
from comanda_local.ports import free_port
from comanda_local.wishes import read_wishes, take_ports


def test_nothing_asked_for_is_the_usual_ports_with_everything_brought_along() -> None:
    wishes = read_wishes({"PORT": "", "UNRELATED": "x"})
    assert (wishes.port, wishes.ops_port, wishes.sandbox_port) == (8000, 9000, 8001)
    assert wishes.embedded
    assert wishes.sandboxed


def test_a_given_database_is_migrated_with_its_own_url_unless_an_owner_is_given() -> None:
    app, owner = "postgresql://app@db/comanda", "postgres://owner@db:5433/comanda"
    assert read_wishes({"DATABASE_URL": app}).migration_database_url == app
    assert read_wishes({"DATABASE_URL": app, "MIGRATION_DATABASE_URL": owner}).migration_database_url == owner
    assert not read_wishes({"DATABASE_URL": app}).embedded


@pytest.mark.parametrize("value", ["http", "-1", "65536", "80 80", "8e3", "٨٠٨٠"])
@pytest.mark.parametrize("name", ["PORT", "OPS_PORT", "SANDBOX_PORT"])
def test_what_is_no_port_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(LocalError, match=f"^{name} is not a port"):
        read_wishes({name: value})


@pytest.mark.parametrize(
    "url", ["db:5432", "mysql://u:sesame@h/d", "postgresql://u:sesame@h:port/d", "postgresql://u:sesame@[h/d"]
)
def test_what_is_no_database_url_is_refused_and_never_shown(url: str) -> None:
    with pytest.raises(LocalError, match=r"^DATABASE_URL is not") as refused:
        read_wishes({"DATABASE_URL": url})
    assert "sesame" not in str(refused.value)


def test_an_owner_without_a_database_is_refused() -> None:
    with pytest.raises(LocalError, match="set both, or neither"):
        read_wishes({"MIGRATION_DATABASE_URL": "postgresql://owner@db/comanda"})


def test_secrets_do_not_show() -> None:
    assert "sesame" not in repr(read_wishes({"MERCADO_PAGO_ACCESS_TOKEN": "sesame"}))


def test_a_taken_port_is_named_with_its_variable_and_a_free_one() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        wishes = read_wishes({"PORT": "0", "OPS_PORT": str(port), "SANDBOX_PORT": "0"})
        with pytest.raises(LocalError, match=rf"^port {port} is taken .*OPS_PORT=\d+$"):
            take_ports(wishes)


def test_two_equal_ports_are_refused() -> None:
    port = str(free_port())
    with pytest.raises(LocalError, match="SANDBOX_PORT and PORT are both"):
        take_ports(read_wishes({"PORT": port, "OPS_PORT": "0", "SANDBOX_PORT": port}))


def test_the_sandbox_port_does_not_matter_without_a_sandbox() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        environment = {"PORT": "0", "OPS_PORT": "0", "SANDBOX_PORT": str(taken.getsockname()[1])}
        wishes = take_ports(read_wishes(environment | {"MERCADO_PAGO_ACCESS_TOKEN": "TEST-1"}))
    assert len({wishes.port, wishes.ops_port, 0}) == 3


def test_monitoring_is_on_or_off() -> None:
    assert not read_wishes({}).monitoring
    assert not read_wishes({"MONITORING": "0"}).monitoring
    assert read_wishes({"MONITORING": " 1 "}).monitoring
    with pytest.raises(LocalError, match=r"^MONITORING is neither on nor off: give 1"):
        read_wishes({"MONITORING": "please"})


MONITORING_PORTS = ["PROMETHEUS_PORT", "NODE_EXPORTER_PORT", "POSTGRES_EXPORTER_PORT"]


@pytest.mark.parametrize("name", MONITORING_PORTS)
def test_ports_of_monitoring_are_ports_like_the_others(name: str) -> None:
    assert read_wishes({"MONITORING": "1"}).prometheus_port == 9090
    with pytest.raises(LocalError, match=f"^{name} is not a port"):
        read_wishes({"MONITORING": "1", name: "many"})
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        environment = dict.fromkeys(("PORT", "OPS_PORT", "SANDBOX_PORT", *MONITORING_PORTS), "0")
        wishes = read_wishes(environment | {"MONITORING": "1", name: port})
        with pytest.raises(LocalError, match=rf"^port {port} is taken .*{name}=\d+$"):
            take_ports(wishes)
    wishes = take_ports(read_wishes(environment | {"MONITORING": "1"}))
    chosen = {wishes.port, wishes.ops_port, wishes.sandbox_port, wishes.prometheus_port}
    assert len(chosen | {wishes.node_exporter_port, wishes.postgres_exporter_port, 0}) == 7


@pytest.mark.parametrize("name", MONITORING_PORTS)
def test_ports_of_monitoring_do_not_matter_without_it(name: str) -> None:
    read_wishes({name: "many"})
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        environment = dict.fromkeys(("PORT", "OPS_PORT", "SANDBOX_PORT"), "0")
        take_ports(read_wishes(environment | {name: str(taken.getsockname()[1])}))


def test_nobody_looks_at_a_given_database() -> None:
    environment = dict.fromkeys(("PORT", "OPS_PORT", "SANDBOX_PORT", *MONITORING_PORTS), "0")
    environment |= {"MONITORING": "1", "DATABASE_URL": "postgresql://app@db/comanda"}
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        take_ports(read_wishes(environment | {"POSTGRES_EXPORTER_PORT": str(taken.getsockname()[1])}))
