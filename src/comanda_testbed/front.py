"""The one address of the emulated account: sends each call to who answers it best, and keeps a list of them all."""

import json
import re
import traceback
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import WSGIApplication
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError
from werkzeug.test import EnvironBuilder, run_wsgi_app

from comanda_testbed.answer import Answer
from comanda_testbed.authorization import Simulator
from comanda_testbed.eks import Eks
from comanda_testbed.faults import Fault, Faults
from comanda_testbed.kubernetes import Kubernetes
from comanda_testbed.shapes import Refusal

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date", "content-encoding"}


@dataclass
class Front:
    """Who answers what.

    Args:
        moto: moto's application, which answers most services.
    """

    moto: WSGIApplication
    eks: Eks
    kubernetes: Kubernetes
    simulator: Simulator
    faults: Faults

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request of an AWS client, or of the commands in `bin`."""
        url = urlsplit(target)
        if url.path.startswith("/_kubernetes/"):
            return self._kubernetes(method, url.path.removeprefix("/_kubernetes/"), body)
        service = service_of(headers)
        operation, parameters = None, None
        if service == "eks":
            try:
                operation, parameters = self.eks.wire.read(method, url.path, url.query, body)
            except Refusal as refusal:
                return _refused(refusal)
        name = operation.name if operation else action_of(headers, body) or f"{method} {url.path}"
        fault = self.faults.meet(f"{service}:{name}")
        if fault and not fault.done_first:
            if fault.hook:
                fault.hook()
            else:
                return _fault(service, fault)
        if operation and parameters is not None:
            try:
                result = self.eks.call(operation.name, parameters)
                answered = Answer(200, self.eks.wire.answer(operation, result), {"Content-Type": "application/json"})
            except Refusal as refusal:
                answered = _refused(refusal)
        elif service == "iam" and name == "SimulatePrincipalPolicy":
            answered = self.simulator.answer(parse_qs(body.decode()))
        else:
            answered = self._forward(method, target, headers, body)
            if service == "iam" and not name.startswith(("Get", "List")):
                self.simulator.forget()
        if fault and fault.done_first:
            return _fault(service, fault)
        return answered

    def _forward(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        # By WSGI, without a second server between: it answers in a third of the time.
        environ = EnvironBuilder(target, method=method, headers=list(headers.items()), data=body).get_environ()
        answer, status, kept = run_wsgi_app(self.moto, environ, buffered=True)
        given = {key: value for key, value in kept.items() if key.lower() not in HOP_BY_HOP}
        return Answer(int(status.split()[0]), b"".join(answer), given)

    def _kubernetes(self, method: str, path: str, body: bytes) -> Answer:
        try:
            found = self.kubernetes.call(method, path, json.loads(body or b"{}"))
        except Refusal as refusal:
            return Answer(refusal.status, json.dumps({"message": refusal.message}).encode(), {})
        return Answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})


def service_of(headers: dict[str, str]) -> str:
    """Answer the service that a request was signed for (SigV4: the credential's scope names it)."""
    found = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request", headers.get("Authorization", ""))
    return found[1] if found else "unknown"


def action_of(headers: dict[str, str], body: bytes) -> str:
    """Answer the action of a request in the query or JSON protocols; "" of others."""
    if target := headers.get("X-Amz-Target"):
        return target.split(".")[-1]
    found = re.search(rb"(?:^|&)Action=(\w+)", body)
    return found[1].decode() if found else ""


def _refused(refusal: Refusal) -> Answer:
    body = json.dumps({"message": refusal.message, "code": refusal.code}).encode()
    return Answer(refusal.status, body, {"Content-Type": "application/json", "x-amzn-ErrorType": refusal.code})


QUERY_SERVICES = {"ec2", "iam", "sts", "autoscaling", "elasticloadbalancing"}


def _fault(service: str, fault: Fault) -> Answer:
    return _error(service, fault.code, f"made by the test bed: {fault.code}", fault.status)


def _error(service: str, code: str, words: str, status: int) -> Answer:
    """Answer an error in the service's own protocol."""
    said = f"<Code>{code}</Code><Message>{escape(words)}</Message>"
    if service == "ec2":
        text = f"<Response><Errors><Error>{said}</Error></Errors></Response>"
    elif service in QUERY_SERVICES or service == "route53":
        text = f"<ErrorResponse><Error>{said}</Error></ErrorResponse>"
    else:
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": code}
        return Answer(status, json.dumps({"__type": code, "message": words}).encode(), headers)
    return Answer(status, text.encode(), {"Content-Type": "text/xml"})


def serve(front: Front, port: int = 0) -> ThreadingHTTPServer:
    """Answer a server on loopback that is yet to be started; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                answer = front.answer(self.command, self.path, dict(self.headers.items()), body)
            except Dropped:
                self.close_connection = True
                return
            except ClientError as error:
                # What moto refuses us on the caller's behalf, the caller is told.
                said = error.response["Error"]
                answer = _error(service_of(dict(self.headers.items())), said["Code"], said["Message"], 400)
            except Exception:
                traceback.print_exc()
                answer = _error(service_of(dict(self.headers.items())), "TestBedFailure", "see its stderr", 400)
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _any  # noqa: N815 - http.server's names

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - http.server's names
            """Say nothing: the calls are in `faults.calls`."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server


class Dropped(Exception):
    """Raised by a fault's hook: the connection breaks, and nobody knows whether the call was carried out."""
