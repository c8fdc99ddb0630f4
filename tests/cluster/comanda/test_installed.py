"""`comanda-deploy` puts database and API onto a cluster that has nothing of them, and brings it to this version.

The version before is installed first, so that this one's migrations run under orders.
"""

import time

import pytest

from comanda.database.migrate import migrations
from tests.cluster.comanda import figures
from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House
from tests.cluster.comanda.releases import clone_in, image_before
from tests.cluster.comanda.test_backups import CONTENTS
from tests.manifests.reading import documents

STEPS = {"database": "db", "api": "api"}
"""The steps, and of which folder their manifests are."""
NAMESPACES = ("comanda-db", "comanda")
BEFORE = "88c3d299dee77c696acd6294ef57b704a1d5889f"
"""The version before this one: what was on main when this one was begun."""


@pytest.mark.takes(900)
@pytest.mark.commit(BEFORE)
def test_the_version_before_is_installed_from_nothing_and_brought_to_this_one_and_back(
    house: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = clone_in(tmp_path_factory.mktemp("operator") / "clone", house)
    this, before = clone.named(), image_before(house, BEFORE)
    _remove(house)
    clone.name(before)
    for step, folder in STEPS.items():
        said = house.deploy("step", step, "--yes", clone=clone.folder)
        for each in documents():
            if each.namespace in NAMESPACES and each.file.parent.name == folder:
                assert f"+ create  {each.kind} {each.namespace}/{each.name}: " in said, said
        assert "Done: " in said, said
    # What Prometheus has in their namespaces went with them.
    house.deploy("step", "monitoring", "--yes", clone=clone.folder)
    house.opened()
    house.at_rest()
    known = set(_applied(house))
    with ordering(house, guests=3) as guests:
        began = time.monotonic()
        for image in (this, before, this):
            clone.name(image)
            clone.verb("deploy-api")
            house.at_rest()
            guests.wait_for_served(6)
        seconds = time.monotonic() - began
    figures.note("the version before to this one, back, and to it again", guests, all_three=seconds)
    assert _applied(house) == [name for name, _ in migrations()]
    print("migrations of this version:", sorted(set(_applied(house)) - known))
    guests.were_all_served()
    guests.balance()


def _applied(house: House) -> list[str]:
    return house.psql("SELECT name FROM schema_migrations ORDER BY name").split()


def _remove(house: House) -> None:
    """Take both namespaces away, and what the database keeps outside of its own."""
    kube = house.kube
    [claim] = kube.get("--namespace=comanda-db", "persistentvolumeclaims")
    volume = claim["spec"]["volumeName"]
    # As shipped the disk would be kept. Nobody needs this one.
    kube("patch", "persistentvolume", volume, '--patch={"spec":{"persistentVolumeReclaimPolicy":"Delete"}}')
    # Its backups go too: db-restore would ask of which disk one is meant, after a disk that was begun empty.
    for content in kube.get(CONTENTS):
        kube(
            "patch",
            CONTENTS,
            content["metadata"]["name"],
            "--type=merge",
            '--patch={"spec":{"deletionPolicy":"Delete"}}',
        )
    kube("delete", "namespace", *NAMESPACES, "--timeout=180s")
    kube("wait", "--for=delete", f"persistentvolume/{volume}", "--timeout=60s")
    outside = [each for each in documents() if not each.namespace and each.file.parent.name in STEPS.values()]
    for each in outside:
        if each.kind == "Namespace":
            continue
        kube("delete", each.kind.lower(), each.name)
