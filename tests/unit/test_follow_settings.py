"""What changed in the settings rolls API and worker out, each once, and nothing else is touched."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from comanda.cluster import Cluster, ClusterError, of_this_pod
from comanda.follow_settings import ANNOTATION, follow
from tests.api_server import TOKEN, ApiServer
from tests.cluster.certificates import Authority

CONFIG = "/api/v1/namespaces/comanda/configmaps/comanda-settings"
SECRET = "/api/v1/namespaces/comanda/secrets/comanda-api"
API = "/apis/apps/v1/namespaces/comanda/deployments/comanda-api"
WORKER = "/apis/apps/v1/namespaces/comanda/deployments/comanda-worker"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    opened = ApiServer(tmp_path)
    opened.objects |= {
        CONFIG: {"data": {"TIME_ZONE": "America/Sao_Paulo"}},
        SECRET: {"data": {"PAYER_EMAIL": "eA=="}},
        API: {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}},
        WORKER: {"spec": {"template": {}}},
    }
    yield opened
    opened.close()


def mark_of(server: ApiServer, path: str) -> str:
    return str(server.objects[path]["spec"]["template"]["metadata"]["annotations"][ANNOTATION])


def test_both_are_rolled_out_once_and_then_left_alone(server: ApiServer) -> None:
    assert follow(server.cluster) == ["comanda-api", "comanda-worker"]
    assert server.patched == [API, WORKER]
    assert server.objects[API]["spec"]["template"]["metadata"]["labels"] == {"a": "b"}
    assert follow(server.cluster) == []
    assert server.patched == [API, WORKER]


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [(SECRET, "PAYER_EMAIL", "eQ=="), (SECRET, "MAX_ITEMS", "NQ=="), (CONFIG, "TIME_ZONE", "America/Manaus")],
)
def test_a_value_that_changed_or_came_rolls_both_out(server: ApiServer, where: str, name: str, value: str) -> None:
    follow(server.cluster)
    before = mark_of(server, API)
    was = copy.deepcopy(server.objects[where]["data"])
    server.objects[where]["data"][name] = value
    assert follow(server.cluster) == ["comanda-api", "comanda-worker"]
    assert mark_of(server, API) == mark_of(server, WORKER) != before
    server.objects[where]["data"] = was
    assert follow(server.cluster) == ["comanda-api", "comanda-worker"]
    assert mark_of(server, API) == before


def test_the_order_in_which_values_stand_is_no_change(server: ApiServer) -> None:
    server.objects[SECRET]["data"] = {"A": "MQ==", "B": "Mg=="}
    follow(server.cluster)
    server.objects[SECRET]["data"] = {"B": "Mg==", "A": "MQ=="}
    assert follow(server.cluster) == []


def test_no_value_can_be_read_from_what_is_written(server: ApiServer) -> None:
    server.objects[SECRET]["data"]["MERCADO_PAGO_ACCESS_TOKEN"] = "VEVTVC0xMjM0"
    follow(server.cluster)
    assert "VEVTVC0xMjM0" not in json.dumps(server.objects[API])


def test_who_was_not_rolled_out_is_the_next_time(server: ApiServer) -> None:
    server.forbidden.add(WORKER)
    with pytest.raises(ClusterError, match="deployments/comanda-worker: the API server answered 403"):
        follow(server.cluster)
    server.forbidden.clear()
    assert follow(server.cluster) == ["comanda-worker"]


def test_that_one_is_not_there_does_not_keep_the_other_from_following(server: ApiServer) -> None:
    del server.objects[API]
    with pytest.raises(ClusterError, match="deployments/comanda-api: the API server answered 404"):
        follow(server.cluster)
    assert server.patched == [WORKER]


@pytest.mark.parametrize("missing", [SECRET, CONFIG])
def test_nothing_is_rolled_out_for_settings_that_are_not_there(server: ApiServer, missing: str) -> None:
    del server.objects[missing]
    with pytest.raises(ClusterError, match="404"):
        follow(server.cluster)
    assert server.patched == []


def test_a_server_that_is_not_the_cluster_s_is_told_nothing(server: ApiServer, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other-ca")
    stranger = Cluster(server.cluster.host, server.cluster.port, TOKEN, other.file, "comanda")
    with pytest.raises(ClusterError, match="does not answer"):
        follow(stranger)


def test_a_pod_s_own_files_lead_to_its_cluster(server: ApiServer, tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text(TOKEN + "\n")
    (account / "namespace").write_text("comanda")
    (account / "ca.crt").write_text(server.cluster.authority.read_text())
    place = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.cluster.port)}
    assert follow(of_this_pod(place, account)) == ["comanda-api", "comanda-worker"]


@pytest.mark.parametrize("place", [{}, {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}])
def test_elsewhere_than_in_a_pod_it_says_so(place: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="this is not a pod with a service account"):
        of_this_pod(place, tmp_path)
