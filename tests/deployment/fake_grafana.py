"""A Grafana on loopback, as far as its HTTP API is used: who asks, folders, data sources, dashboards."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Grafana:
    """What it has.

    Args:
        password: of its admin, since its start. sources: data sources, by their uid. full: it takes no dashboard.
    """

    password: str
    sources: list[str] = field(default_factory=lambda: ["comanda-prometheus"])
    folders: dict[str, str] = field(default_factory=dict)
    dashboards: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    full: bool = False
    port: int = 0

    def answer(self, method: str, path: str, login: str, body: Any) -> tuple[int, Any]:
        """Answer a request: the status, and what is said."""
        self.asked.append(f"{method} {path}")
        if login != "Basic " + base64.b64encode(f"admin:{self.password}".encode()).decode():
            return 401, {"message": "Invalid username or password"}
        name = path.rpartition("/")[2]
        match method, path.rpartition("/")[0]:
            case "GET", "/api/datasources/uid":
                return (200, {"uid": name}) if name in self.sources else (404, {"message": "Data source not found"})
            case "GET", "/api/folders":
                return (200, {"uid": name}) if name in self.folders else (404, {"message": "folder not found"})
            case "POST", "/api" if name == "folders":
                if body["uid"] in self.folders:
                    return 412, {"message": "a folder with that uid already exists"}
                self.folders[body["uid"]] = body["title"]
                return 200, body
            case "POST", "/api/dashboards" if name == "db":
                dashboard = body["dashboard"]
                if self.full:
                    return 500, {"message": "database or disk is full"}
                if body["folderUid"] not in self.folders:
                    return 400, {"message": "folder not found"}
                if dashboard["id"] is not None or (dashboard["uid"] in self.dashboards and not body["overwrite"]):
                    return 412, {"message": "the dashboard has been changed by someone else"}
                self.dashboards[dashboard["uid"]] = dashboard
                return 200, {"uid": dashboard["uid"], "status": "success"}
        return 404, {"message": "Not found"}


@contextmanager
def running(password: str) -> Iterator[Grafana]:
    """Run one for the block."""
    grafana = Grafana(password)

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, said = grafana.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _do  # noqa: N815 - as http.server calls them

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    grafana.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield grafana
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
