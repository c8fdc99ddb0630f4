"""Logs in JSON, one line each, with the request's id. No names, keys, tokens or bodies: whoever logs names fields."""

import contextlib
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

import asyncpg
import msgspec

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request, or of the stored row's request, that is being worked on."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record with its `extra` fields as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Answer the line for a record."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        current = request_id.get()
        if current is not None:
            line["request_id"] = current
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                line[name] = value
        if record.exc_info:
            _forget_details(record.exc_info[1])
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def _forget_details(error: BaseException | None) -> None:
    """Take from database errors what they quote: a violated CHECK comes with the whole row, a guest's name in it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
        error = error.__cause__ or error.__context__


class AccessLine(msgspec.Struct, kw_only=True):
    """The line of one request. It passes `logging` by, which costs six times as much."""

    at: datetime
    level: str = "INFO"
    logger: str = "comanda.access"
    message: str = "request"
    request_id: str
    method: str
    route: str
    status: int
    milliseconds: float


_encode = msgspec.json.Encoder().encode


def write_access(line: AccessLine) -> None:
    """Write a request's line, in the same form and to the same place as all others."""
    # One write for the whole line, so that no other thread's comes into it. As in `logging`, a log that nobody can
    # take (a full disk, a reader that went) is no reason to refuse an order.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.buffer.write(_encode(line) + b"\n")
        sys.stdout.buffer.flush()


def set_up_logs(level: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream`, by default standard output, as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Granian says little that our own lines do not, and asyncio's slow-callback notes are for debugging.
    # The pool says at length, and under whatever request is at work, what our own lines say of an outage.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)
    for name in ("_granian", "granian", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
