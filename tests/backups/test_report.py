"""What jobs report the worker's metrics say; what nobody reported they do not, and never as 0."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from comanda import worker
from comanda.backups import report
from comanda.backups.report import BackupReport, DrillReport, Reports, tell
from comanda.process import ProcessError
from tests.backups.scene import NOW, OPERATIONS, Scene
from tests.manifests.reading import of_kind
from tests.unit.samples import a_settings

BEFORE = datetime(2026, 11, 26, 11, 45, tzinfo=UTC)


def samples(folder: Path) -> dict[str, float]:
    """Answer what a scrape would see."""
    registry = CollectorRegistry()
    registry.register(Reports(folder))
    lines = generate_latest(registry).decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if not line.startswith("#")}


def mounted(scene: Scene, folder: Path) -> None:
    """As kubelet: each key of the ConfigMap is a file."""
    for name, text in (scene.server.objects[OPERATIONS].get("data") or {}).items():
        (folder / name).write_text(text, encoding="utf-8")


def test_where_nothing_was_reported_there_is_no_sample(tmp_path: Path) -> None:
    assert samples(tmp_path) == {}
    assert samples(tmp_path / "not-even-a-folder") == {}


def test_what_jobs_say_is_what_metrics_say(scene: Scene, tmp_path: Path) -> None:
    assert tell(scene.cluster, BackupReport(at=NOW, success=True, newest=BEFORE)) == ""
    mounted(scene, tmp_path)
    assert samples(tmp_path) == {
        "comanda_backup_last_success": 1,
        "comanda_backup_newest_timestamp_seconds": BEFORE.timestamp(),
    }
    assert tell(scene.cluster, DrillReport(at=NOW, success=False, seconds=93, backup="x", reason="damaged")) == ""
    mounted(scene, tmp_path)
    assert samples(tmp_path) == {
        "comanda_backup_last_success": 1,
        "comanda_backup_newest_timestamp_seconds": BEFORE.timestamp(),
        "comanda_restore_drill_timestamp_seconds": NOW.timestamp(),
        "comanda_restore_drill_success": 0,
        "comanda_restore_drill_seconds": 93,
    }


def test_a_failed_backup_is_0_and_without_any_that_can_be_restored_there_is_no_moment(
    scene: Scene, tmp_path: Path
) -> None:
    tell(scene.cluster, BackupReport(at=NOW, success=False, reason="no disk"))
    mounted(scene, tmp_path)
    assert samples(tmp_path) == {"comanda_backup_last_success": 0}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1}', '{"success": true}'])
def test_what_cannot_be_read_is_no_sample_and_the_other_is(
    scene: Scene, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    tell(scene.cluster, DrillReport(at=NOW, success=True, seconds=1))
    mounted(scene, tmp_path)
    (tmp_path / "backup.json").write_text(text)
    assert set(samples(tmp_path)) == {
        "comanda_restore_drill_timestamp_seconds",
        "comanda_restore_drill_success",
        "comanda_restore_drill_seconds",
    }
    assert "a report cannot be read" in caplog.text


def test_one_report_leaves_the_other_as_it_is(scene: Scene) -> None:
    tell(scene.cluster, BackupReport(at=NOW, success=True))
    before = scene.server.objects[OPERATIONS]["data"]["backup.json"]
    tell(scene.cluster, DrillReport(at=NOW, success=True, seconds=1))
    assert scene.server.objects[OPERATIONS]["data"]["backup.json"] == before


def test_where_it_cannot_be_told_why_is_said(scene: Scene) -> None:
    scene.server.forbidden.add(OPERATIONS)
    assert "answered 403" in tell(scene.cluster, BackupReport(at=NOW, success=True))


async def test_the_worker_says_them_before_its_ops_port_is_open(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(scene.cluster, BackupReport(at=NOW, success=True, newest=BEFORE))
    mounted(scene, tmp_path)
    registry, scraped = CollectorRegistry(), []

    async def no_port(*_: object) -> None:
        scraped.append(generate_latest(registry).decode())
        raise ProcessError("taken")

    monkeypatch.setattr(worker, "REGISTRY", registry)
    monkeypatch.setattr(worker, "Reports", lambda: Reports(tmp_path))
    monkeypatch.setattr(worker, "stop_on_signals", asyncio.Event)
    monkeypatch.setattr(worker, "open_ops", no_port)
    with pytest.raises(ProcessError):
        await worker.work(a_settings())
    assert "comanda_backup_last_success 1.0" in scraped[0]


def test_the_manifest_mounts_what_is_written_where_it_is_read_and_applies_no_data_over_it() -> None:
    [worker] = [each for each in of_kind("Deployment") if each.name == "comanda-worker"]
    [volume] = worker.pod["spec"]["volumes"]
    assert volume["configMap"] == {"name": report.CONFIG_MAP, "optional": True}
    [mount] = worker.pod["spec"]["containers"][0]["volumeMounts"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], str(report.FOLDER))
    assert "subPath" not in mount, "else a change would never be seen"
    [shipped] = [each for each in of_kind("ConfigMap") if each.name == report.CONFIG_MAP]
    assert shipped.namespace == report.NAMESPACE
    assert "data" not in shipped.body
