"""What stands where an image can be had in no way: it is alive and ready, and says nothing at all.

Run with the ports in PLACEHOLDER_PORTS, separated by blanks. So that the pods of its manifest come up under their own
rules, and those that wait for them have not to wait.
"""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers everything with nothing."""

    def do_GET(self) -> None:
        """Answer as if all were well, and as if there were nothing to measure."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    servers = [ThreadingHTTPServer(("", int(port)), Handler) for port in os.environ["PLACEHOLDER_PORTS"].split()]
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()
