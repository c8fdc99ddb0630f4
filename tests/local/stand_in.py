"""Programs that stand where Prometheus and the exporters would, on machines that have none."""

import sys
from pathlib import Path

VERSION = "prometheus, version {version} (branch: HEAD, revision: 0123456789)"


def program(path: Path, script: str, interpreter: str = "/bin/sh") -> Path:
    """Write a program; answer its path."""
    path.write_text(f"#!{interpreter}\n{script}", encoding="utf-8")
    path.chmod(0o755)
    return path


def says_version(path: Path, version: str) -> Path:
    """Write a Prometheus that can say its version, and nothing else."""
    return program(path, f'[ "$1" = --version ] && echo "{VERSION.format(version=version)}"\n')


def answers(path: Path, version: str = "3.0.0", flags: str = "") -> Path:
    """Write a program that says its version and flags, and then answers 200 to everything where it is told to listen.

    What it was started with it writes beside itself: arguments, and environment, a line each.
    """
    script = f"""\
import http.server, os, sys
if sys.argv[1] == "--version":
    sys.exit(print({VERSION.format(version=version)!r}))
if sys.argv[1] == "--help":
    sys.exit(print({flags!r}))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
with open({str(path.with_suffix(".started"))!r}, "w") as file:
    print(*sys.argv[1:], *(f"{{name}}={{value}}" for name, value in os.environ.items()), sep="\\n", file=file)
where = next(each.rpartition("=")[2] for each in sys.argv if each.startswith("--web.listen-address="))
host, _, port = where.partition(":")
http.server.ThreadingHTTPServer((host, int(port)), Answer).serve_forever()
"""
    return program(path, script, interpreter=sys.executable)
