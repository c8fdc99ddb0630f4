"""Ten API pods that start at once on an empty database migrate it once, and run the image by its digest."""

import base64
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from comanda.database.migrate import ADVISORY_LOCK, migrations
from tests.cluster.cache import binary
from tests.cluster.comanda.copying import copied
from tests.cluster.comanda.house import House
from tests.cluster.machine import Failed, run
from tests.cluster.objects import Json
from tests.cluster.suite.kube import FOREIGN, until

SUFFIX = "-copy"
PODS = 10
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
HOLDERS = "FROM pg_locks WHERE locktype = 'advisory' AND granted"


@pytest.fixture
def digest(house: House) -> str:
    """The digest of our image, pushed as an operator's tool pushes it: into a registry of one's own."""
    crane, registry = str(binary("crane")), house.facts["registry"]
    run(crane, "copy", f"{registry}/library/comanda-api:0.1.0", f"{registry}/comanda-api:copy", "--insecure")
    return run(crane, "digest", f"{registry}/comanda-api:copy", "--insecure").strip()


@pytest.fixture
def database_of_its_own(house: House, digest: str, tmp_path: Path) -> Iterator[list[Json]]:
    """A copy's database, running and empty; answers what else the copy has, to be applied."""
    objects = copied(tmp_path / "deployment", SUFFIX, f"{FOREIGN}/comanda-api:copy@{digest}")
    passwords = {
        f"{name}_PASSWORD": secrets.token_urlsafe(16) for name in ("SUPERUSER", "OWNER", "API_A", "API_B", "METRICS")
    }
    host = f"database.comanda-db{SUFFIX}.svc:5432/comanda"
    live = house.kube.get("--namespace=comanda", "secret", "comanda-api")["data"]
    settings = {name: base64.b64decode(value).decode() for name, value in live.items()}
    settings["DATABASE_URL"] = f"postgresql://comanda_api_a:{passwords['API_A_PASSWORD']}@{host}"
    owner = {"MIGRATION_DATABASE_URL": f"postgresql://comanda_owner:{passwords['OWNER_PASSWORD']}@{host}"}
    namespaces = [each for each in objects if each["kind"] == "Namespace"]
    of_database = [each for each in objects if each["metadata"].get("namespace") == f"comanda-db{SUFFIX}"]
    _delete(house, namespaces)  # of a run that was killed: its passwords were others
    try:
        house.kube.apply(namespaces)
        house.kube.apply(
            [
                _secret("database", f"comanda-db{SUFFIX}", passwords),
                _secret("comanda-api", f"comanda{SUFFIX}", settings),
                _secret("comanda-migration", f"comanda{SUFFIX}", owner),
                *of_database,
            ]
        )
        house.rolled_out("statefulset/database", f"comanda-db{SUFFIX}")
        yield [each for each in objects if each["metadata"].get("namespace") == f"comanda{SUFFIX}"]
    finally:
        _delete(house, namespaces)


def test_ten_pods_migrate_once(house: House, database_of_its_own: list[Json], digest: str) -> None:
    [deployment] = [each for each in database_of_its_own if each["metadata"]["name"] == "comanda-api" and _runs(each)]
    deployment["spec"]["replicas"] = PODS
    with nobody_first(house):
        house.kube.apply(database_of_its_own)
        until("all of them want to migrate", lambda: _asked(house, WAITING) == str(PODS), 90)
    house.rolled_out("deployment/comanda-api", f"comanda{SUFFIX}")

    pods = house.pods("comanda-api", f"comanda{SUFFIX}")
    assert len(pods) == PODS
    restarts = [each["restartCount"] for pod in pods for each in pod["status"]["initContainerStatuses"]]
    assert restarts == [0] * PODS, "one did not wait for the others"
    said = Counter(
        house.kube(
            f"--namespace=comanda{SUFFIX}", "logs", pod["metadata"]["name"], "--container=migrate", "--tail=1"
        ).strip()
        for pod in pods
    )
    names = [name for name, _ in migrations()]
    assert said == {f"{len(names)} migrations applied": 1, "nothing to migrate": PODS - 1}
    applied = house.psql("SELECT name FROM schema_migrations ORDER BY name", namespace=f"comanda-db{SUFFIX}")
    assert applied.split() == names
    running = {each["imageID"].rpartition("@")[2] for pod in pods for each in pod["status"]["containerStatuses"]}
    assert running == {digest}


@contextmanager
def nobody_first(house: House) -> Iterator[None]:
    """Hold what only one may have who migrates, so that nobody is done before the last has begun."""
    statement = f"SELECT pg_advisory_lock({ADVISORY_LOCK}); SELECT pg_sleep(600)"
    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(_held, house, statement)
        try:
            until("it is held", lambda: held.done() or _asked(house, f"SELECT count(*) {HOLDERS}") == "1", 30)
            assert not held.done(), held.result()
            yield
        finally:
            _asked(house, f"SELECT pg_terminate_backend(pid) {HOLDERS}")


def _held(house: House, statement: str) -> str:
    try:
        return _asked(house, statement)
    except Failed as ended:
        return str(ended)


def _asked(house: House, statement: str) -> str:
    return house.psql(statement, namespace=f"comanda-db{SUFFIX}")


def _delete(house: House, namespaces: list[Json]) -> None:
    _let_go_of_the_disk(house)
    names = [each["metadata"]["name"] for each in namespaces]
    house.kube("delete", "namespace", *names, "--ignore-not-found", "--timeout=120s")


def _let_go_of_the_disk(house: House) -> None:
    """Have the copy's disk deleted with its claim: as shipped it would be kept."""
    claims = house.kube.get(f"--namespace=comanda-db{SUFFIX}", "persistentvolumeclaims")
    for volume in filter(None, (claim["spec"].get("volumeName") for claim in claims)):
        house.kube("patch", "persistentvolume", volume, '--patch={"spec":{"persistentVolumeReclaimPolicy":"Delete"}}')


def _runs(body: Json) -> bool:
    return bool(body["kind"] == "Deployment")


def _secret(name: str, namespace: str, values: dict[str, str]) -> Json:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}
