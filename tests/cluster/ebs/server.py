"""A gRPC server on a socket: what is asked is logged in a line, what is refused is answered as CSI wants it."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from tests.cluster.ebs.protocol import of, service

LONGEST = 107
"""Bytes of a socket's path, by sun_path."""

SAID = ("name", "volume_id", "snapshot_id", "source_volume_id", "staging_target_path", "target_path", "volume_path")
"""What of a request is logged. Nothing else: requests carry secrets."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """What is asked is not done. Both the status and the text are for the caller."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def invalid(text: str) -> Refused:
    """Answer the refusal of a request that is wrong in itself."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> Refused:
    """Answer the refusal of a request for what there is none of."""
    return Refused(grpc.StatusCode.NOT_FOUND, text)


def not_now(text: str) -> Refused:
    """Answer the refusal of a request that may be granted once something else has changed."""
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, text)


def given(value: Any, what: str) -> Any:
    """Answer a field that must be there.

    Raises:
        Refused: it is not.
    """
    if not value:
        raise invalid(f"{what} not provided")
    return value


def start(socket: Path, services: Iterable[tuple[str, object]]) -> grpc.Server:
    """Serve on a socket, which replaces the one that a killed process left.

    Args:
        services: each by its full name, with the object that has its methods. A method that it lacks is answered as
            unimplemented.

    Raises:
        SystemExit: the socket's path is too long for Linux.
    """
    if len(os.fsencode(socket)) > LONGEST:
        raise SystemExit(f"{socket}: a socket's path has {LONGEST} bytes at most")
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers([_handlers(name, answering) for name, answering in services])
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    socket.chmod(0o600)
    return server


def _handlers(name: str, answering: object) -> grpc.GenericRpcHandler:
    methods = {
        each.name: grpc.unary_unary_rpc_method_handler(
            _logged(each.name, answer),
            request_deserializer=of(each.input_type).FromString,
            response_serializer=of(each.output_type).SerializeToString,
        )
        for each in service(name).methods
        if (answer := getattr(answering, _in_python(each.name), None))
    }
    return grpc.method_handlers_generic_handler(name, methods)


def _in_python(method: str) -> str:
    """Answer how a method is called here: create_volume."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()


def _logged(method: str, answer: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        began = time.monotonic()
        asked = " ".join([method, *(value for each in SAID if (value := getattr(request, each, "")))])

        def say(level: int, how: str) -> None:
            log.log(level, "%s: %s, %.0f ms", asked, how, (time.monotonic() - began) * 1000)

        try:
            answered = answer(request)
        except Refused as refusal:
            say(logging.WARNING, f"{refusal.code.name}: {refusal}")
            context.abort(refusal.code, str(refusal))
        except Exception as error:
            log.exception("%s", asked)
            say(logging.ERROR, f"INTERNAL: {error}")
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        say(logging.INFO, "OK")
        return answered

    return call
