"""The access log, in the format of ALBs, so that a test can count whose fault a 5xx was."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from tests.cluster.alb.heads import client, field_bytes

ACCOUNT = "000000000000"
LOGGED = web.RequestKey("logged", bool)
"""Marks a request that has an entry."""


@dataclass
class Entry:
    """One request. Times in seconds, -1 for what did not happen.

    Args:
        status: the load balancer's. target_status: the target's, 0 without an answer. reason: ours, in a word, why a
            request ended as it did; the last field, which AWS does not have.
    """

    began: datetime
    protocol: str = "http"
    port: int = 80
    balancer: str = "app/k8s/0"
    client: str = "-"
    target: str = "-"
    request_time: float = -1
    target_time: float = -1
    response_time: float = -1
    status: int = 0
    target_status: int = 0
    received: int = 0
    sent: int = 0
    method: str = "-"
    host: str = "-"
    path: str = "-"
    version: str = "-"
    agent: str = "-"
    cipher: str = "-"
    tls: str = "-"
    group: str = "-"
    trace: str = "-"
    priority: str = "-"
    action: str = "-"
    redirect: str = "-"
    reason: str = "-"

    def line(self, ended: datetime) -> str:
        """Answer it as a line of the log (guide to Application Load Balancers, access log entries)."""
        status = str(self.target_status or "-")
        url = f"{self.method} {self.protocol}://{self.host}:{self.port}{self.path} {self.version}"
        group = self.group if self.group == "-" else _arn(self.group)
        return " ".join(
            [
                self.protocol,
                _time(ended),
                self.balancer,
                self.client,
                self.target,
                *(f"{each:.3f}" if each >= 0 else "-1" for each in self._times),
                str(self.status),
                status,
                str(self.received),
                str(self.sent),
                _quoted(url if self.method != "-" else "- http://-:80- -"),
                _quoted(self.agent[:8192]),
                self.cipher,
                self.tls,
                group,
                _quoted(self.trace),
                '"-"',
                '"-"',
                self.priority,
                _time(self.began),
                _quoted(self.action),
                _quoted(self.redirect),
                '"-"',
                _quoted(self.target),
                _quoted(status),
                '"-"',
                '"-"',
                "TID_-",
                _quoted(self.reason),
            ]
        )

    @property
    def _times(self) -> tuple[float, float, float]:
        return self.request_time, self.target_time, self.response_time


def _arn(name: str) -> str:
    return f"arn:aws:elasticloadbalancing:sa-east-1:{ACCOUNT}:targetgroup/{name}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _quoted(text: str) -> str:
    """Answer a text in quotes, with what would end them, or the line, escaped."""
    return json.dumps(text)


class AccessLog:
    """Where entries go, and how many there were.

    Args:
        file: appended to, a line at a time; None keeps the counts alone. written: called after each entry.
    """

    def __init__(self, file: Path | None, utc: Callable[[], datetime], written: Callable[[], None]) -> None:
        self.utc = utc
        self.counts: Counter[str] = Counter()
        self._written = written
        self._file = file.open("a", encoding="utf-8", buffering=1) if file else None

    def write(self, entry: Entry) -> None:
        """Write an entry.

        A target's status counts as its own where it was passed on; else the status is the load balancer's.
        """
        self.counts["requests"] += 1
        side = "target" if entry.target_status and entry.status == entry.target_status else "elb"
        self.counts[f"{side}_{entry.status // 100}xx"] += 1
        if self._file:
            self._file.write(entry.line(self.utc()) + "\n")
        self._written()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def of_malformed(self) -> type[AbstractAccessLogger]:
        """Answer what aiohttp's server is to log with: the requests that it refuses before anybody else sees them."""
        log = self

        class Malformed(AbstractAccessLogger):
            """Logs what has no entry of its own."""

            def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
                """Log one."""
                if LOGGED not in request:
                    address = "{}:{}".format(*client(request))
                    entry = Entry(log.utc(), client=address, status=response.status, reason="malformed-request")
                    entry.received = field_bytes(request.raw_headers)
                    log.write(entry)

        return Malformed


def counted(counts: Counter[str]) -> dict[str, Any]:
    """Answer the counts for the state page."""
    return {"requests": 0, **{f"{side}_{kind}xx": 0 for side in ("elb", "target") for kind in (2, 3, 4, 5)}} | counts
