"""Judges objects of kinds that Kubernetes has from others, by the schemas in `crds/`, as strictly as its API server.

Stricter in one thing: it drops a field that it does not know, here that is a fault. What it also evaluates, and this
does not, are the kinds' own rules in CEL.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

Json = dict[str, Any]
SCHEMAS = Path(__file__).parent / "crds"


@cache
def known() -> dict[tuple[str, str], Json]:
    """Answer what is in `crds/`, by API version and kind."""
    read = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(SCHEMAS.glob("*.json"))]
    return {(each["apiVersion"], each["kind"]): each for each in read}


def problems(body: Json, kubernetes: str) -> list[str]:
    """Answer what is wrong with an object, each with its place.

    Args:
        kubernetes: the version whose `metadata` it has.

    Raises:
        KeyError: its kind is not in `crds/`.
    """
    said = known()[body["apiVersion"], body["kind"]]
    errors = _validator(body["apiVersion"], body["kind"]).iter_errors(body)
    found = [f"{error.json_path}: {error.message}" for error in errors]
    if bool(body["metadata"].get("namespace")) is not said["namespaced"]:
        found.append("$.metadata.namespace: " + ("is missing" if said["namespaced"] else "it is cluster-wide"))
    try:
        # Every kind's is the same.
        bearer = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": body["metadata"]}
        kubernetes_validate.validate(bearer, kubernetes, strict=True)
    except kubernetes_validate.ValidationError as error:
        found.append(f"{error.json_path}: {error.message}")
    return found


@cache
def _validator(api_version: str, kind: str) -> Any:
    schema = strict(known()[api_version, kind]["schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"})
    return validator(schema)


def validator(schema: Json) -> Any:
    """Answer what judges by a schema, its lists that are sets or maps included."""
    lists = {"x-kubernetes-list-type": _unique}
    return jsonschema.validators.extend(jsonschema.Draft202012Validator, lists)(schema)


def strict(schema: Json) -> Json:
    """Answer a JSON Schema in which nothing unknown may stand, of OpenAPI's as CustomResourceDefinitions have it."""
    said: Json = {}
    for word, value in schema.items():
        if word == "properties":
            said[word] = {name: strict(each) for name, each in value.items()}
        elif isinstance(value, dict):
            said[word] = strict(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            said[word] = [strict(each) for each in value]
        elif word != "nullable":
            said[word] = value
    if schema.get("x-kubernetes-int-or-string"):
        said.setdefault("type", ["integer", "string"])
    if schema.get("x-kubernetes-embedded-resource"):
        for name, type_of in (("apiVersion", "string"), ("kind", "string"), ("metadata", "object")):
            said.setdefault("properties", {}).setdefault(name, {"type": type_of})
    # Within anyOf and its like there is no type: those only add to what stands beside them.
    if said.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        said.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in said:
        said["type"] = [said["type"], "null"]
        if "enum" in said:
            said["enum"] = [*said["enum"], None]
    return said


def _unique(validator: Any, list_type: str, items: object, schema: Json) -> Iterator[jsonschema.ValidationError]:
    """Yield what stands twice in a list that is a set, or a map by some of its items' fields."""
    if list_type == "atomic" or not isinstance(items, list):
        return
    keys = schema.get("x-kubernetes-list-map-keys", [])
    seen = set()
    for item in items:
        key = json.dumps([item.get(name) for name in keys] if keys and isinstance(item, dict) else item, sort_keys=True)
        if key in seen:
            yield jsonschema.ValidationError(f"{key} stands twice")
        seen.add(key)
