"""`/docs`: the OpenAPI document as a page to read, without script and without anything from elsewhere."""

import html
import json
from base64 import b64encode
from hashlib import sha256
from typing import Any

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from comanda.api.replies import json_reply

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d1d1f;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #ccc}code,pre{font:14px/1.4 ui-monospace,monospace}
pre{background:#f4f4f6;padding:.75rem;overflow:auto;border-radius:6px}details{margin:.75rem 0}
summary{cursor:pointer;padding:.25rem 0}b.m{display:inline-block;min-width:4.5rem}table{border-collapse:collapse}
td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#141416;color:#eee}pre{background:#232327}a{color:#8ab4ff}}
"""

# Nothing but the one style above.
POLICY = f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'"


def handlers(schema: dict[str, Any]) -> list[HTTPRouteHandler]:
    """Build the handlers that serve an OpenAPI document, for programs and for people."""
    as_json = json.dumps(schema, ensure_ascii=False).encode()
    as_page = render_docs(schema)

    @get("/openapi.json", include_in_schema=False)
    async def openapi_json() -> Response[bytes]:
        """Answer the OpenAPI 3.1 document."""
        return json_reply(as_json, headers={"cache-control": "no-cache"})

    @get("/docs", include_in_schema=False, media_type=MediaType.HTML)
    async def docs() -> Response[str]:
        """Answer the document as a page."""
        return Response(as_page, headers={"content-security-policy": POLICY, "cache-control": "no-cache"})

    return [openapi_json, docs]


def render_docs(schema: dict[str, Any]) -> str:
    """Build the page of an OpenAPI document: every request with its parameters, body and answers, then every type."""
    groups: dict[str, list[str]] = {}
    for path, operations in sorted(schema["paths"].items()):
        for method, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                tag = (operation.get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append(_operation(path, method, operation))
    types = schema.get("components", {}).get("schemas", {})
    body = "".join(f"<h2>{html.escape(tag.capitalize())}</h2>{''.join(parts)}" for tag, parts in groups.items())
    models = "".join(
        f'<details id="{html.escape(name)}"><summary><code>{html.escape(name)}</code></summary>{_json(model)}</details>'
        for name, model in sorted(types.items())
    )
    info = schema["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(info['title'])}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(info['title'])} {html.escape(info['version'])}</h1>"
        f"<p>{html.escape(info.get('description') or '')}</p>"
        f'<p>The same for programs: <a href="/openapi.json">openapi.json</a></p>{body}<h2>Types</h2>{models}</html>'
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(parameter['name'])}</code><td>{html.escape(parameter['in'])}"
        f"<td>{html.escape(parameter.get('description') or '')}"
        for parameter in operation.get("parameters") or []
    )
    body = ""
    for content in ((operation.get("requestBody") or {}).get("content") or {}).values():
        body += f"<p>Body</p>{_json(content.get('schema', {}))}"
    answers = "".join(
        f"<tr><td>{html.escape(str(status))}<td>{html.escape(answer.get('description') or '')}<td>{_types(answer)}"
        for status, answer in sorted(operation["responses"].items())
    )
    lock = " (key)" if operation.get("security") else ""
    return (
        f"<details><summary><b class=m>{method.upper()}</b> <code>{html.escape(path)}</code> "
        f"{html.escape(operation.get('summary') or '')}{lock}</summary>"
        f"<p>{html.escape(operation.get('description') or '')}</p><table>{rows}</table>{body}"
        f"<table><tr><th>Answer<th><th>Type{answers}</table></details>"
    )


def _types(answer: dict[str, Any]) -> str:
    names = []
    for content in (answer.get("content") or {}).values():
        name = str((content.get("schema") or {}).get("$ref", "")).rpartition("/")[2]
        if name:
            names.append(f'<a href="#{html.escape(name)}">{html.escape(name)}</a>')
    return ", ".join(names)


def _json(value: object) -> str:
    return f"<pre>{html.escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"
