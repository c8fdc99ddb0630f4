"""The image's bill of materials: valid, the same for the same, and neither more nor less than what is inside."""

import importlib.util
import json
import re
import sys
from importlib.metadata import distributions
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from tests.image.building import ROOT, Updated
from tests.image.test_image import ran

Json = dict[str, Any]
PLACE = "opt/comanda/sbom.cdx.json"


def written(updated: Updated) -> Json:
    """Answer it, as whoever has nothing but the image reads it."""
    document: Json = json.loads(ran(updated.image.other_command(["cat", f"/{PLACE}"])))
    return document


def listed(updated: Updated, kind: str) -> dict[str, Json]:
    """Answer the components of one kind of package URL, by name, or by name and version if there are several."""
    found = [each for each in written(updated)["components"] if each.get("purl", "").startswith(f"pkg:{kind}/")]
    by_name = {f"{each['name']} {each['version']}": each for each in found}
    assert len(by_name) == len(found), "none is listed twice"
    return by_name


def locked() -> dict[str, set[str]]:
    """Answer the hashes of the lock's wheels, by name and version."""
    text = (ROOT / "requirements" / "base.txt").read_text(encoding="utf-8")
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {
        " ".join(re.split("[=; ]+", each)[:2]): set(re.findall(r"sha256:([0-9a-f]{64})", each)) for each in packages
    }


@pytest.mark.root
def test_it_is_valid_in_the_strictest_reading(updated: Updated) -> None:
    assert updated.image.config["Labels"]["comanda.sbom"] == f"/{PLACE}"
    text = (updated.image.root / PLACE).read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    for each in document["components"]:
        if "purl" in each:
            assert PackageURL.from_string(each["purl"]).to_string() == each["purl"]
    names = [each["bom-ref"] for each in document["components"]]
    assert document["dependencies"] == [{"ref": "comanda-api", "dependsOn": names}]
    assert len(set(names)) == len(names)


@pytest.mark.root
def test_it_says_of_which_build_it_is(updated: Updated) -> None:
    metadata, labels = written(updated)["metadata"], updated.image.config["Labels"]
    assert metadata["component"]["name"] == labels["org.opencontainers.image.title"]
    assert metadata["component"]["version"] == labels["org.opencontainers.image.version"]
    assert metadata["timestamp"] == labels["org.opencontainers.image.created"]


@pytest.mark.root
def test_it_lists_the_locked_wheels_that_are_installed_by_their_hashes(updated: Updated) -> None:
    root = updated.image.root
    [ours] = root.glob("opt/comanda/lib/python3.*/site-packages")
    others = [*root.glob("usr/local/lib/python3.*/site-packages"), *root.glob("usr/lib/python3/dist-packages")]

    def within(*places: Any) -> set[str]:
        found = distributions(path=[str(place) for place in places])
        return {f"{re.sub(r'[-_.]+', '-', each.metadata['Name']).lower()} {each.version}" for each in found}

    wheels = listed(updated, "pypi")
    assert set(wheels) == within(ours) | within(*others)
    lock = locked()
    assert {name for name, each in wheels.items() if "hashes" in each} == within(ours)
    assert within(ours) <= set(lock)
    for name in within(ours):
        [digest] = wheels[name]["hashes"]
        assert digest["alg"] == "SHA-256"
        assert digest["content"] in lock[name], name
    licensed = [each["licenses"] for name, each in wheels.items() if name.partition(" ")[0] == "msgspec"]
    assert licensed == [[{"expression": "BSD-3-Clause"}]], "as far as a wheel says it in SPDX's words"


@pytest.mark.root
def test_it_lists_every_package_of_debian_s(updated: Updated) -> None:
    paragraphs = (updated.image.root / "var/lib/dpkg/status").read_text(encoding="utf-8").strip().split("\n\n")
    fields = [dict(re.findall(r"^([A-Z][^:]*): *(.*)$", each, re.MULTILINE)) for each in paragraphs]
    installed = [each for each in fields if each["Status"] == "install ok installed"]
    packages = listed(updated, "deb")
    assert set(packages) == {f"{each['Package']} {each['Version']}" for each in installed}
    for each in installed:
        purl = PackageURL.from_string(packages[f"{each['Package']} {each['Version']}"]["purl"])
        assert (purl.namespace, purl.name, purl.version) == ("debian", each["Package"], each["Version"])
        assert isinstance(purl.qualifiers, dict)
        assert purl.qualifiers["arch"] == each["Architecture"]
        assert purl.qualifiers["distro"] == "debian-13"
        source, _, version = (each.get("Source") or each["Package"]).rstrip(")").partition(" (")
        upstream = f"{source}@{version}" if version else source
        assert purl.qualifiers.get("upstream", each["Package"]) == upstream, "scanners look for the source"


@pytest.mark.root
def test_it_lists_python_and_ourselves(updated: Updated) -> None:
    version = ran(updated.image.other_command(["python", "-c", "import platform; print(platform.python_version())"]))
    comanda = updated.image.config["Labels"]["org.opencontainers.image.version"]
    assert set(listed(updated, "generic")) == {f"python {version.strip()}", f"comanda {comanda}"}
    [system] = [each for each in written(updated)["components"] if each["type"] == "operating-system"]
    assert (system["name"], system["version"]) == ("debian", "13")


@pytest.mark.root
def test_nothing_of_what_wrote_it_is_inside(updated: Updated) -> None:
    names = {each.name for each in updated.image.root.rglob("*")}
    assert not names & {"sbom.py", "installed.json", "cyclonedx", "packageurl"}
    found = [each.relative_to(updated.image.root).as_posix() for each in updated.image.root.rglob("*sbom*")]
    # A wheel may have one of its own, of what was compiled into it.
    assert [place for place in found if ".dist-info/sboms" not in place] == [PLACE]


def test_the_same_image_has_the_same_bill() -> None:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "docker" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    sbom = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sbom)
    assert "sbom" not in sys.modules
    one, other = sbom._of_pypi("Typing_Extensions", "4.1"), sbom._of_pypi("aiohttp", "3.14+local~1")
    assert one["purl"] == "pkg:pypi/typing-extensions@4.1"
    assert other["purl"] == "pkg:pypi/aiohttp@3.14%2Blocal~1"
    first = sbom.document([one, other], "0.1.0", "")
    assert first == sbom.document([other, one], "0.1.0", "")
    assert "timestamp" not in first["metadata"], "a time of its own would make each build another"
    assert first["serialNumber"] != sbom.document([one], "0.1.0", "")["serialNumber"]
    without_version = json.dumps(sbom.document([one], "", ""))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(without_version) is None
