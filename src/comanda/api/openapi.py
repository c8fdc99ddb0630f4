"""The OpenAPI 3.1 document: routes and parameters from the framework, types from msgspec, which also decodes them."""

from typing import Any

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute


def document(app: Litestar) -> dict[str, Any]:
    """Build the document of an application.

    The framework's own description of structs leaves out that unknown fields are refused, and bounds of zero.
    """
    schema = app.openapi_schema.to_schema()
    _, types = msgspec.json.schema_components(_structs(app), ref_template="#/components/schemas/{name}")
    schema["components"]["schemas"] |= types
    for operations in schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _without_null(parameter["schema"])
    return schema


def _structs(app: Litestar) -> list[Any]:
    """Answer every struct that a route takes or answers with."""
    found: dict[Any, None] = {}
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            signature = handler.parsed_fn_signature
            taken = [handler.parsed_data_field.annotation] if handler.parsed_data_field else []
            answered = [spec.data_container for spec in (handler.responses or {}).values()]
            for kind in (*taken, signature.return_type.annotation, *answered):
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                    found[kind] = None
    return list(found)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop null from a parameter's type: one that is not given is left out, no header or query can be null."""
    kinds: list[dict[str, Any]] = [kind for kind in schema.get("oneOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {name: value for name, value in schema.items() if name != "oneOf"} | kinds[0]
