"""Another version is rolled out and taken back while guests order; one that cannot serve never takes a place."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.comanda import figures
from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House
from tests.cluster.comanda.releases import ELSEWHERE, Clone, changed, clone_in, with_file

IMAGE = "comanda-api:0.1.0"
NOWHERE = f"{ELSEWHERE}:20260101-000000-abcdef1@sha256:{'0' * 64}"
BROKEN: dict[str, Callable[[House], str]] = {
    "an image that is nowhere": lambda _: NOWHERE,
    "an image that never becomes ready": lambda house: changed(house, "sleeps", "--entrypoint=sleep,3600"),
    "a migration that fails": lambda house: with_file(
        house, "divides", "database/migrations/9999_divides.sql", "SELECT 1 / 0;"
    ),
}


@pytest.fixture
def clone(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """An operator's clone; at the end the cluster has again what this tree says."""
    yield clone_in(tmp_path_factory.mktemp("operator") / "clone", house)
    for step in ("database", "api"):
        house.deploy("step", step, "--yes")
    house.at_rest()


@pytest.mark.takes(310)
def test_a_new_image_is_rolled_out_and_back(house: House, clone: Clone) -> None:
    clone.update(house)
    new = clone.named()
    assert new.startswith(f"{house.facts['registry']}/comanda-api:2")
    with ordering(house) as guests:
        began = time.monotonic()
        said = clone.verb("deploy-api")
        out = time.monotonic() - began
        assert _running(house) == {new}, said
        house.at_rest()
        guests.wait_for_served(10)
        began = time.monotonic()
        said = clone.verb("rollback-api")
        back = time.monotonic() - began
        assert _running(house) == {IMAGE}, said
        assert clone.named() == IMAGE
        house.at_rest()
        guests.wait_for_served(10)
    figures.note("a new image rolled out, and back", guests, out=out, back=back)
    guests.were_all_served()
    guests.balance()


@pytest.mark.takes(100)
@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_serve_is_rolled_back_by_itself(house: House, clone: Clone, what: str) -> None:
    bad = BROKEN[what](house)
    clone.name(bad)
    pods = {pod["metadata"]["uid"] for pod in house.pods("comanda-api")}
    with ordering(house) as guests:
        began = time.monotonic()
        said = clone.verb("deploy-api", "--patience", "45", codes=(1,))
        seconds = time.monotonic() - began
        assert bad.partition("@")[0] in said, said
        assert "rollback-api" in said, said
        house.at_rest()
        guests.wait_for_served(10)
    figures.note(f"{what}: rolled back by itself", guests, rolled_back=seconds)
    assert pods & {pod["metadata"]["uid"] for pod in house.pods("comanda-api")}, "the old version's pods served on"
    assert _running(house) == {IMAGE}
    guests.were_all_served()
    guests.balance()

    clone.verb("rollback-api")
    assert clone.named() == IMAGE, "the manifests name what runs"
    assert _running(house) == {IMAGE}


def test_somebody_else_s_lock_is_respected(house: House, clone: Clone) -> None:
    clone.name(NOWHERE)
    house.deploy("lock", "--why", "the fridge is being repaired")
    try:
        for verb in ("deploy-api", "rollback-api"):
            assert "the fridge is being repaired" in clone.verb(verb, codes=(1,))
    finally:
        house.deploy("unlock", "--yes")
    assert _running(house) == {IMAGE}


def _running(house: House) -> set[str]:
    found = json.loads(house.kube("--namespace=comanda", "get", "deployments", "--output=json"))["items"]
    return {
        container["image"]
        for each in found
        for those in ("containers", "initContainers")
        for container in each["spec"]["template"]["spec"].get(those, [])
    }
