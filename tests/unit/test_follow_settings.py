"""What changed in the settings rolls API and worker out, each once, and nothing else is touched."""

import copy
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from comanda.follow_settings import ANNOTATION, Cluster, FollowError, follow, of_this_pod
from tests.cluster.certificates import Authority

TOKEN = "token-of-the-pod"
CONFIG = "/api/v1/namespaces/comanda/configmaps/comanda-settings"
SECRET = "/api/v1/namespaces/comanda/secrets/comanda-api"
API = "/apis/apps/v1/namespaces/comanda/deployments/comanda-api"
WORKER = "/apis/apps/v1/namespaces/comanda/deployments/comanda-worker"


class ApiServer:
    """An API server with these objects, over TLS, for whoever shows the token.

    Args:
        folder: of its certificate.
    """

    def __init__(self, folder: Path) -> None:
        """Open it."""
        self.objects: dict[str, dict[str, Any]] = {
            CONFIG: {"data": {"TIME_ZONE": "America/Sao_Paulo"}},
            SECRET: {"data": {"PAYER_EMAIL": "eA=="}},
            API: {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}},
            WORKER: {"spec": {"template": {}}},
        }
        self.patched: list[str] = []
        self.forbidden: set[str] = set()
        authority = Authority(folder, "ca")
        pair = authority.sign("server", hosts=["127.0.0.1"])
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.cluster = Cluster("127.0.0.1", self._server.server_port, TOKEN, authority.file, "comanda")

    def close(self) -> None:
        """Close it."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(server.objects.get(self.path))

            def do_PATCH(self) -> None:
                assert self.headers["Content-Type"] == "application/merge-patch+json"
                patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path not in server.forbidden:
                    _merge(server.objects[self.path], patch)
                    server.patched.append(self.path)
                self._answer(server.objects.get(self.path))

            def _answer(self, found: dict[str, Any] | None) -> None:
                status = 200 if found is not None else 404
                if self.path in server.forbidden:
                    status = 403
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    status = 401
                body = json.dumps(found).encode() if status == 200 else b"{}"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    opened = ApiServer(tmp_path)
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
    with pytest.raises(FollowError, match="deployments/comanda-worker: the API server answered 403"):
        follow(server.cluster)
    server.forbidden.clear()
    assert follow(server.cluster) == ["comanda-worker"]


def test_that_one_is_not_there_does_not_keep_the_other_from_following(server: ApiServer) -> None:
    del server.objects[API]
    with pytest.raises(FollowError, match="deployments/comanda-api: the API server answered 404"):
        follow(server.cluster)
    assert server.patched == [WORKER]


@pytest.mark.parametrize("missing", [SECRET, CONFIG])
def test_nothing_is_rolled_out_for_settings_that_are_not_there(server: ApiServer, missing: str) -> None:
    del server.objects[missing]
    with pytest.raises(FollowError, match="404"):
        follow(server.cluster)
    assert server.patched == []


def test_a_server_that_is_not_the_cluster_s_is_told_nothing(server: ApiServer, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other-ca")
    stranger = Cluster(server.cluster.host, server.cluster.port, TOKEN, other.file, "comanda")
    with pytest.raises(FollowError, match="does not answer"):
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
    with pytest.raises(FollowError, match="this is not a pod with a service account"):
        of_this_pod(place, tmp_path)
