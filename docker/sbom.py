"""Writes down what the image is made of, as CycloneDX 1.6, when it is built.

A stage of docker/Dockerfile runs this with the base's own Python, so it takes nothing but the standard library, and
nothing of it is in the image. The wheels are those that pip reports to have installed, each with the hash of its file;
the rest is what the base says of itself. The same input gives the same file, byte for byte.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]
IMAGE = "comanda-api"
PACKAGES = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n"


def main() -> int:
    """Write the document that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--installed", type=Path, required=True, help="what pip install --report wrote")
    parser.add_argument("--version", default="", help="Comanda's")
    parser.add_argument("--created", default="", help="the time of the build, ISO 8601; none: none is written")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    reported = json.loads(options.installed.read_text(encoding="utf-8"))["install"]
    parts = [*_debian(), _python(), *_of_base(), *_wheels(reported), _comanda(options.version)]
    written = json.dumps(document(parts, options.version, options.created), indent=1, ensure_ascii=False)
    options.output.write_text(written + "\n", encoding="utf-8")
    return 0


def document(parts: Iterable[Json], version: str, created: str) -> Json:
    """Answer the whole document.

    Args:
        parts: the components, in any order. version: of the image; may be empty.
        created: when the image is built, ISO 8601; may be empty.
    """
    components = sorted(parts, key=lambda part: str(part["bom-ref"]))
    image = _component("container", IMAGE, version, reference=IMAGE)
    metadata: Json = {"lifecycles": [{"phase": "build"}], "component": image}
    if created:
        metadata["timestamp"] = created
    body: Json = {
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": [{"ref": IMAGE, "dependsOn": [part["bom-ref"] for part in components]}],
    }
    # Made from the content, not drawn: two builds of the same are then the same layer.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": serial.urn, **body}


def _debian() -> Iterator[Json]:
    """Answer Debian itself and its installed packages, named as scanners look for them: with the source's name."""
    system = platform.freedesktop_os_release()
    name, release = system["ID"], system["VERSION_ID"]
    yield _component("operating-system", name, release, reference=f"{name}-{release}")
    answer = subprocess.run(  # noqa: S603 - all of it is written here
        ["/usr/bin/dpkg-query", "--show", f"--showformat={PACKAGES}"], check=True, capture_output=True, text=True
    )
    for line in answer.stdout.splitlines():
        status, package, version, architecture, source, source_version = line.split("\t")
        if not status.startswith("ii"):
            continue
        qualifiers = {"arch": architecture, "distro": f"{name}-{release}"}
        if source_version != version:
            qualifiers["upstream"] = f"{source}@{source_version}"
        elif source != package:
            qualifiers["upstream"] = source
        yield _component("library", package, version, purl=_purl(f"deb/{name}", package, version, qualifiers))


def _python() -> Json:
    version = platform.python_version()
    part = _component("platform", "python", version, purl=_purl("generic", "python", version))
    return part | {"cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*"}


def _of_base() -> Iterator[Json]:
    """Answer what the base's own Python has beside its standard library: pip, as a rule."""
    for each in distributions():
        yield _of_pypi(each.metadata["Name"], each.version)


def _wheels(reported: Iterable[Json]) -> Iterator[Json]:
    """Answer our locked packages, each with the hash of the wheel that it was unpacked from."""
    for each in reported:
        metadata, digest = each["metadata"], each["download_info"]["archive_info"]["hashes"]["sha256"]
        part = _of_pypi(metadata["name"], metadata["version"])
        part["hashes"] = [{"alg": "SHA-256", "content": digest}]
        if expression := metadata.get("license_expression"):
            part["licenses"] = [{"expression": expression}]
        yield part


def _of_pypi(name: str, version: str) -> Json:
    normal = re.sub(r"[-_.]+", "-", name).lower()
    return _component("library", normal, version, purl=_purl("pypi", normal, version))


def _comanda(version: str) -> Json:
    # `generic`: of PyPI's packages none is this one, whoever may take the name there.
    part = _component("application", "comanda", version, purl=_purl("generic", "comanda", version))
    return part | {"licenses": [{"expression": "Apache-2.0"}]}


def _component(kind: str, name: str, version: str, *, purl: str = "", reference: str = "") -> Json:
    part = {"type": kind, "bom-ref": purl or reference, "name": name, "version": version, "purl": purl}
    return {key: value for key, value in part.items() if value}


def _purl(kind: str, name: str, version: str, qualifiers: dict[str, str] | None = None) -> str:
    said = "&".join(f"{key}={quote(value, safe=':')}" for key, value in sorted((qualifiers or {}).items()))
    at = f"@{quote(version, safe=':')}" if version else ""
    return f"pkg:{kind}/{quote(name, safe=':')}{at}" + (f"?{said}" if said else "")


if __name__ == "__main__":
    sys.exit(main())
