"""An API of AWS as botocore knows it: requests are read by its model, and answers are held to it."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.validate import ParamValidator


class Refusal(Exception):
    """An error of AWS's kind: its code, what it says, and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        """Keep the three."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class RestJson:
    """A REST-JSON service: which operation a request is, what it says, and what may be answered.

    Args:
        service: botocore's name of it: "eks".
    """

    def __init__(self, service: str) -> None:
        """Read the service's model."""
        self.model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
        self._routes = [self._route(self.model.operation_model(name)) for name in self.model.operation_names]
        # The more a path says outright, the sooner it is tried: /addons/supported-versions before /addons/{name}.
        self._routes.sort(key=lambda route: -len(re.sub(r"\(\?P.*?\)", "", route[1].pattern)))

    @staticmethod
    def _route(operation: OperationModel) -> tuple[str, re.Pattern[str], OperationModel]:
        path = operation.http["requestUri"].split("?")[0]
        pattern = re.sub(r"\{(\w+)\+?\}", lambda found: f"(?P<{found[1]}>[^/]+)", path)
        return operation.http["method"], re.compile(pattern + "/?$"), operation

    def read(self, method: str, path: str, query: str, body: bytes) -> tuple[OperationModel, dict[str, Any]]:
        """Answer the operation of a request and its parameters.

        Raises:
            Refusal: there is no such operation, or a parameter is not what the model says.
        """
        for verb, pattern, operation in self._routes:
            if verb == method and (match := pattern.match(path)):
                parameters = self._parameters(operation, match, query, body)
                return operation, parameters
        raise Refusal("UnknownOperationException", f"no operation for {method} {path}", 404)

    def _parameters(self, operation: OperationModel, match: re.Match[str], query: str, body: bytes) -> dict[str, Any]:
        parameters: dict[str, Any] = json.loads(body) if body else {}
        asked = parse_qs(query)
        members = operation.input_shape.members if operation.input_shape else {}
        for name, shape in members.items():
            place = shape.serialization.get("location")
            wire = shape.serialization.get("name", name)
            if place == "uri":
                parameters[name] = unquote(match.group(wire))
            elif place == "querystring" and wire in asked:
                parameters[name] = _of_text(shape, asked[wire])
        if operation.input_shape:
            report = ParamValidator().validate(parameters, operation.input_shape)
            if report.has_errors():
                raise Refusal("InvalidParameterException", report.generate_report())
            _hold_enums(parameters, operation.input_shape)
        return parameters

    def answer(self, operation: OperationModel, result: dict[str, Any]) -> bytes:
        """Answer a result as the wire wants it, once it is sure that botocore's model allows it.

        Raises:
            AssertionError: it does not: a fault of this test bed.
        """
        if operation.output_shape:
            report = ParamValidator().validate(result, operation.output_shape)
            assert not report.has_errors(), f"{operation.name}: {report.generate_report()}"
            _hold_enums(result, operation.output_shape)
        return json.dumps(result, default=_timestamp).encode()


def _of_text(shape: Shape, values: list[str]) -> Any:
    readers: dict[str, Callable[[str], Any]] = {"integer": int, "boolean": lambda text: text == "true"}
    if shape.type_name == "list":
        return values
    return readers.get(shape.type_name, str)(values[0])


def _hold_enums(value: Any, shape: Any) -> None:
    """Botocore's validator lets any word pass for an enum; EKS does not."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if name in value:
                _hold_enums(value[name], member)
    elif shape.type_name == "list":
        for each in value:
            _hold_enums(each, shape.member)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        raise Refusal("InvalidParameterException", f"{value!r} is none of {', '.join(shape.enum)}")


def _timestamp(value: object) -> float:
    assert isinstance(value, datetime)
    return value.timestamp()
