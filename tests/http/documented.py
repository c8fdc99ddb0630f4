"""Is an answer of the API one that its OpenAPI document promises? Asked of every answer that these tests see."""

import re
from functools import cache
from typing import Any

import jsonschema_rs

from comanda.app import describe
from tests.running_diner import Answer

METHODS = ("get", "post", "put", "patch", "delete")


@cache
def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Answer what is documented, by method and path template: ("GET", "/v1/menu")."""
    return {
        (method.upper(), path): item[method]
        for path, item in describe()["paths"].items()
        for method in METHODS
        if method in item
    }


def check(method: str, path: str, answer: Answer) -> None:
    """Fail unless the document knows of this answer: its status, media type and shape."""
    template = template_of(path.partition("?")[0])
    if template is None or method not in {name.upper() for name in METHODS}:
        return
    operation = operations().get((method, template))
    if operation is None:
        assert answer.status == 405, f"{method} {path} is not documented and answers {answer}"
        return
    promised = operation["responses"].get(str(answer.status))
    assert promised is not None, f"{method} {template} does not document {answer}"
    content = promised.get("content")
    if not content:
        assert not answer.body, f"{method} {template} documents no body with {answer}"
        return
    media = answer.headers["content-type"].partition(";")[0]
    assert media in content, f"{method} {template} does not document {media} with {answer.status}"
    if media.endswith("json"):
        validator(str(answer.status), method, template).validate(answer.body)


@cache
def validator(status: str, method: str, template: str) -> Any:
    """Build what checks the body of one documented answer."""
    [content] = operations()[method, template]["responses"][status]["content"].values()
    schema = {"components": describe()["components"], **content["schema"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def template_of(path: str) -> str | None:
    """Answer the documented path that `path` is one of, exact ones first."""
    paths = {path for _, path in operations()}
    if path in paths:
        return path
    for template in paths:
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return template
    return None
