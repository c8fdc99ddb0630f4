"""A small API server of Kubernetes over TLS: objects by their paths, and whoever acts on them as controllers do."""

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from comanda.cluster import Cluster
from tests.cluster.certificates import Authority

TOKEN = "token-of-the-pod"
Json = dict[str, Any]
TYPES = {"PATCH": "application/merge-patch+json", "POST": "application/json"}


class ApiServer:
    """Answers whoever shows the token.

    Args:
        folder: of its certificate. namespace: of the pod that asks.
    """

    def __init__(self, folder: Path, namespace: str = "comanda") -> None:
        """Open it."""
        self.objects: dict[str, Json] = {}
        """By path."""
        self.asked: list[tuple[str, str]] = []
        """Every request: method and path."""
        self.forbidden: set[str] = set()
        """Paths, or methods with paths, at which it answers 403."""
        self.broken: set[str] = set()
        """Paths at which it answers what is no JSON."""
        self.controllers: list[Callable[[], None]] = []
        """Each is let act after every request that changed something, and before every one that looks."""
        authority = Authority(folder, "ca")
        pair = authority.sign("server", hosts=["127.0.0.1"])
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.cluster = Cluster("127.0.0.1", self._server.server_port, TOKEN, authority.file, namespace)

    def close(self) -> None:
        """Close it."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def patched(self) -> list[str]:
        """The paths of what was patched, in order."""
        return [path for method, path in self.asked if method == "PATCH" and not self._refuses(method, path)]

    def names(self, collection: str) -> set[str]:
        """Answer the names of the objects of a collection, by its path."""
        return {path.rpartition("/")[2] for path in self.objects if path.rpartition("/")[0] == collection}

    def _refuses(self, method: str, path: str) -> bool:
        return bool({path, f"{method} {path}"} & self.forbidden)

    def _answer(self, method: str, target: str, body: Json | None) -> tuple[int, Json]:
        split = urlsplit(target)
        path = split.path
        self.asked.append((method, path))
        if self._refuses(method, path):
            return 403, {"message": f"not for you: {path}"}
        if method == "GET":
            self._control()
            if path not in self.objects and _is_collection(path):
                wanted = parse_qs(split.query).get("fieldSelector", [""])[0]
                return 200, {"items": [each for each in self._of(path) if _selected(each, wanted)]}
        elif method == "POST":
            assert body is not None
            one = f"{path}/{body['metadata']['name']}"
            if one in self.objects:
                return 409, {"message": f"{one} already exists"}
            self.objects[one] = body
            self._control()
            return 201, body
        if path not in self.objects:
            return 404, {"message": f"{path} not found"}
        found = self.objects[path]
        if method == "PATCH":
            assert body is not None
            merge(found, body)
        elif method == "DELETE":
            if found["metadata"].get("finalizers"):
                found["metadata"].setdefault("deletionTimestamp", "2026-11-26T12:00:00Z")
            else:
                del self.objects[path]
        if method != "GET":
            self._control()
        return 200, found

    def _control(self) -> None:
        for each in self.controllers:
            each()

    def _of(self, collection: str) -> list[Json]:
        return [each for path, each in sorted(self.objects.items()) if path.rpartition("/")[0] == collection]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                if body is not None:
                    assert self.headers["Content-Type"] == TYPES[self.command]
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    status, answer = 401, {"message": "who are you"}
                else:
                    with server._lock:
                        status, answer = server._answer(self.command, self.path, body)
                text = b"<html>" if urlsplit(self.path).path in server.broken else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PATCH = do_POST = do_DELETE = _do  # noqa: N815 (http.server's names)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def merge(into: Json, patch: Json) -> None:
    """Carry out a merge patch (RFC 7396)."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _is_collection(path: str) -> bool:
    """Answer whether a path names all objects of a kind: /api/v1[/namespaces/N]/KIND, /apis/GROUP/V1[/…]/KIND."""
    parts = path.strip("/").split("/")
    rest = parts[2 if parts[0] == "api" else 3 :]
    return len(rest) == (3 if rest[0] == "namespaces" else 1)


def _selected(each: Json, selector: str) -> bool:
    wanted = dict(part.split("=") for part in selector.split(",") if part)
    involved = each.get("involvedObject") or {}
    return wanted.get("involvedObject.name", involved.get("name")) == involved.get("name")
