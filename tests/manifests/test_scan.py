"""A scanner that knows other people's mistakes, checkov, looks over manifests and image.

It lives in an environment of its own, `scripts/venv scan`, and is asked once: it takes seconds to start.
"""

import json
import os
import subprocess
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.manifests.reading import CLONE, DEPLOYMENT, OVERLAYS, WORKLOADS, everything

SCANNER = CLONE / "build" / "scan" / "bin" / "checkov"
EXCEPTIONS: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "scan.toml").read_text(encoding="utf-8"),
)["exception"]
FAULTY = """\
apiVersion: v1
kind: Pod
metadata: {name: faulty, namespace: faulty}
spec: {containers: [{name: faulty, image: "faulty:latest", securityContext: {privileged: true}}]}
"""
Finding = tuple[str, str]
"""The check, and what it is about."""


def scan(files: list[Path], home: Path) -> tuple[set[Finding], set[Finding]]:
    """Answer what failed, and what passed."""
    subprocess.run(["sh", "scripts/venv", "scan"], cwd=CLONE, check=True, timeout=900)
    command = [str(SCANNER), "--framework", "kubernetes", "dockerfile", "--output", "json", "--compact"]
    # Neither anybody's settings nor a service on the net have a say.
    command += ["--skip-download", "--soft-fail", "--file", *map(str, files)]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LOG_LEVEL": "ERROR"}
    answer = subprocess.run(
        command, cwd=CLONE, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert answer.returncode == 0, answer.stderr
    reports = json.loads(answer.stdout)
    assert {report["check_type"] for report in reports} == {"kubernetes", "dockerfile"}
    assert not any(report["results"]["parsing_errors"] for report in reports)
    failed, passed = (
        {(each["check_id"], each["resource"]) for report in reports for each in report["results"][kind]}
        for kind in ("failed_checks", "passed_checks")
    )
    return failed, passed


def explained(finding: Finding, by: dict[str, Any]) -> bool:
    """Answer whether an exception is for this."""
    check, what = finding
    return check == by["check"] and any(fnmatchcase(what, pattern) for pattern in by["of"])


def test_the_scanner_finds_nothing_that_has_no_reason_to_be_so(tmp_path: Path) -> None:
    faulty = [tmp_path / "faulty.yaml", tmp_path / "Dockerfile"]
    faulty[0].write_text(FAULTY, encoding="utf-8")
    faulty[1].write_text("FROM faulty:latest\n", encoding="utf-8")
    ours = [*sorted(DEPLOYMENT.rglob("*.yaml")), *sorted(OVERLAYS.rglob("*.yaml"))]
    ours += sorted((CLONE / "docker").glob("*Dockerfile"))
    failed, passed = scan([each.relative_to(CLONE) for each in ours] + faulty, tmp_path)

    # It looked: at what it should find, and at each of ours.
    planted = {finding for finding in failed if "faulty" in finding[1] or str(tmp_path) in finding[1]}
    assert {check for check, _ in planted} >= {"CKV_K8S_16", "CKV_K8S_23", "CKV_DOCKER_3", "CKV_DOCKER_7"}
    seen = {what for _, what in failed | passed}
    assert seen >= {f"{each.kind}.{each.namespace}.{each.name}" for each in everything() if each.kind in WORKLOADS}
    assert seen >= {f"{each.relative_to(CLONE)}." for each in ours if each.name.endswith("Dockerfile")}

    found = failed - planted
    assert {each for each in found if not any(explained(each, by) for by in EXCEPTIONS)} == set()
    without_use = [
        (by["check"], pattern)
        for by in EXCEPTIONS
        for pattern in by["of"]
        if not any(explained(each, {**by, "of": [pattern]}) for each in found)
    ]
    assert without_use == []


def test_each_exception_has_its_reason() -> None:
    assert all(set(each) == {"check", "of", "reason"} for each in EXCEPTIONS)
    assert all(len(each["reason"].split()) >= 10 for each in EXCEPTIONS)
    checks = [each["check"] for each in EXCEPTIONS]
    assert len(set(checks)) == len(checks)


def test_no_manifest_tells_the_scanner_to_look_away() -> None:
    for folder in (DEPLOYMENT, OVERLAYS, CLONE / "docker"):
        for file in folder.rglob("*"):
            # What Python has compiled of a script there is none.
            if file.is_file() and "__pycache__" not in file.parts:
                assert "checkov" not in file.read_text(encoding="utf-8"), file
