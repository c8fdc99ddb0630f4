"""`python -m tests.manifests.crds.fetch`: writes the schemas in this folder anew, from Go's module proxy.

Another version: change its line below, with the checksum that a first run names and that
`go mod download -json MODULE@VERSION` confirms. One kind more: add it to `kinds`. With `--check` it writes nothing, and
says what differs.
"""

import base64
import hashlib
import io
import json
import os
import re
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
HERE = Path(__file__).parent
FOR_PEOPLE = {"description", "title", "example", "externalDocs"}
UNUSED = {"default", "x-kubernetes-validations"}
"""Of a schema's words, those that nothing here asks for: a manifest is judged as it stands, CEL is not evaluated."""

PROVIDERS = ("spec", "provider")
"""Of the SecretStore's forty providers one is kept: another is an unknown field here."""


class CannotBeHad(Exception):
    """The proxy has not got it, or not what was pinned."""


@dataclass(frozen=True)
class Source:
    """A module of Go's, and which of its files describe kinds.

    Args:
        checksum: of the module, as go.sum has it.
        kinds: which are kept, with the file that each is in.
        only: of a kind's fields, by the path to their parent, those that are kept.
    """

    module: str
    version: str
    checksum: str
    licence: str
    kinds: dict[str, str]
    only: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)


_SECRETS, _POSTGRESQL = "config/crds/bases/external-secrets.io", "config/crd/bases/postgresql.cnpg.io"
_SNAPSHOTS = "config/crd/snapshot.storage.k8s.io"
SOURCES = (
    Source(
        # The newest that the proxy has; comanda-deploy installs 2.9.0, which serves the same v1.
        "github.com/external-secrets/external-secrets",
        "v1.3.2",
        "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
        "Apache-2.0",
        {"ExternalSecret": f"{_SECRETS}_externalsecrets.yaml", "SecretStore": f"{_SECRETS}_secretstores.yaml"},
        {"SecretStore": (PROVIDERS, "aws")},
    ),
    Source(
        "github.com/kubernetes-csi/external-snapshotter/client/v8",
        "v8.7.0",
        "h1:HVaSUeRRHPu49aSiL8eXOjS9Re9G6pM0NzdTGI7mM14=",
        "Apache-2.0",
        {
            "VolumeSnapshot": f"{_SNAPSHOTS}_volumesnapshots.yaml",
            "VolumeSnapshotClass": f"{_SNAPSHOTS}_volumesnapshotclasses.yaml",
        },
    ),
    Source(
        "github.com/cloudnative-pg/cloudnative-pg",
        "v1.30.1",
        "h1:d1jxp0jQi7/3zrEhsv9ycD+G5ssmkNvDvTmogaGccCw=",
        "Apache-2.0",
        {
            "Cluster": f"{_POSTGRESQL}_clusters.yaml",
            "ImageCatalog": f"{_POSTGRESQL}_imagecatalogs.yaml",
            "ScheduledBackup": f"{_POSTGRESQL}_scheduledbackups.yaml",
        },
    ),
)


def main() -> int:
    """Fetch all of it; answer the exit code."""
    checking = sys.argv[1:] == ["--check"]
    wrong = []
    for path, text in schemas():
        if not checking:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong.append(path.name)
    print(f"not as published: {', '.join(wrong)}" if wrong else "as published" if checking else "written")
    return 1 if wrong else 0


def schemas() -> Iterator[tuple[Path, str]]:
    """Answer each file of this folder, and what belongs into it.

    Raises:
        CannotBeHad: the proxy has not got a module, or not the one that was pinned.
    """
    for source in SOURCES:
        with zipfile.ZipFile(io.BytesIO(_fetch(source))) as module:
            if (checksum := checksum_of(module)) != source.checksum:
                raise CannotBeHad(f"{source.module}@{source.version} is {checksum}, pinned is {source.checksum}")
            for kind, file in source.kinds.items():
                body = yaml.safe_load(module.read(f"{source.module}@{source.version}/{file}"))
                yield from _read(source, kind, body)


def _fetch(source: Source) -> bytes:
    # The proxies that GOPROXY names; `direct` and `off` are for Go itself.
    proxies = re.split("[,|]", os.environ.get("GOPROXY", "https://proxy.golang.org"))
    escaped = re.sub("[A-Z]", lambda found: f"!{found[0].lower()}", source.module)
    said = []
    for proxy in filter(lambda each: each.startswith("https://"), proxies):
        try:
            address = f"{proxy.rstrip('/')}/{escaped}/@v/{source.version}.zip"
            with urllib.request.urlopen(address, timeout=120) as answer:  # noqa: S310 (it begins with https)
                content: bytes = answer.read()
                return content
        except OSError as error:
            said.append(f"{proxy}: {error}")
    raise CannotBeHad(f"{source.module}@{source.version}: {'; '.join(said) or 'GOPROXY names no proxy'}")


def checksum_of(module: zipfile.ZipFile) -> str:
    """Answer the checksum that go.sum has of a module (golang.org/x/mod/sumdb/dirhash, Hash1)."""
    lines = (f"{hashlib.sha256(module.read(name)).hexdigest()}  {name}\n" for name in sorted(module.namelist()))
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


def _read(source: Source, kind: str, body: Json) -> Iterator[tuple[Path, str]]:
    for version in body["spec"]["versions"]:
        if not version["served"]:
            continue
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"].pop("status", None)
        if kind in source.only:
            path, kept = source.only[kind]
            at = schema
            for name in path:
                at = at["properties"][name]
            at["properties"] = {kept: at["properties"][kept]}
        group = body["spec"]["group"]
        said = {
            "source": f"{source.module}@{source.version}",
            "licence": source.licence,
            "apiVersion": f"{group}/{version['name']}",
            "kind": kind,
            "namespaced": body["spec"]["scope"] == "Namespaced",
            "schema": trimmed(schema),
        }
        path_of = HERE / f"{kind.lower()}-{group}-{version['name']}.json"
        yield path_of, json.dumps(said, indent=1, sort_keys=True) + "\n"


def trimmed(schema: Json) -> Json:
    """Answer a schema without what is for people, and without defaults: what has one need not be said."""
    kept: Json = {}
    for word, value in schema.items():
        if word in FOR_PEOPLE | UNUSED:
            continue
        if word == "properties":
            kept[word] = {name: trimmed(each) for name, each in value.items()}
        elif word == "required":
            with_default = {name for name, each in schema.get("properties", {}).items() if "default" in each}
            if needed := [name for name in value if name not in with_default]:
                kept[word] = needed
        elif isinstance(value, dict):
            kept[word] = trimmed(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            kept[word] = [trimmed(each) for each in value]
        else:
            kept[word] = value
    return kept


if __name__ == "__main__":
    sys.exit(main())
