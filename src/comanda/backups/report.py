"""What the last backup and the last drill came to, where the worker finds it and its metrics say it.

The jobs end, and nobody asks a job for metrics. So each writes its result into a ConfigMap of namespace `comanda`,
which kubelet puts into the worker's pods as files.
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from comanda.cluster import Cluster, ClusterError, within

logger = logging.getLogger(__name__)

NAMESPACE = "comanda"
CONFIG_MAP = "comanda-operations"
FOLDER = Path("/etc/comanda/operations")
"""Where it is mounted into the worker's pods."""


class BackupReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the last attempt at a backup.

    Args:
        at: when it ended. success: whether the backup was made and pruning went well. reason: why not.
        newest: the moment to which the newest backup that can be restored goes back, None if there is none.
    """

    at: datetime
    success: bool
    newest: datetime | None = None
    reason: str = ""


class DrillReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the last drill.

    Args:
        at: when it ended. success: whether it was green. seconds: how long it took. backup: which one was restored.
    """

    at: datetime
    success: bool
    seconds: int
    backup: str = ""
    reason: str = ""


FILES: dict[type[msgspec.Struct], str] = {BackupReport: "backup.json", DrillReport: "drill.json"}
Report = TypeVar("Report", BackupReport, DrillReport)


def tell(cluster: Cluster, report: BackupReport | DrillReport) -> str:
    """Write a report where the worker finds it; answer why it could not be, "" if it is there.

    That it cannot is no reason for what is reported to have failed: the database may stand before there is an API.
    """
    body = {"data": {FILES[type(report)]: msgspec.json.encode(report).decode()}}
    try:
        cluster.ask("PATCH", within(NAMESPACE, "api/v1", f"configmaps/{CONFIG_MAP}"), body)
    except ClusterError as error:
        return f"metrics do not learn of it: {error}"
    return ""


class Reports(Collector):
    """The metrics of what the reports say, read at each look. Of what was never reported there is no sample: not 0.

    Args:
        folder: where the reports are.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Answer the samples of now."""
        backup, drill = self._read(BackupReport), self._read(DrillReport)
        if backup is not None:
            yield _gauge("comanda_backup_last_success", "Whether the last backup was made.", int(backup.success))
            if backup.newest is not None:
                text = "Moment of the newest backup that can be restored, Unix time."
                yield _gauge("comanda_backup_newest_timestamp_seconds", text, backup.newest.timestamp())
        if drill is not None:
            text = "When the last restore drill ended, Unix time."
            yield _gauge("comanda_restore_drill_timestamp_seconds", text, drill.at.timestamp())
            yield _gauge("comanda_restore_drill_success", "Whether it was green.", int(drill.success))
            yield _gauge("comanda_restore_drill_seconds", "How long it took.", drill.seconds)

    def _read(self, kind: type[Report]) -> Report | None:
        file = self._folder / FILES[kind]
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("a report cannot be read", extra={"file": file.name, "error": type(error).__name__})
            return None


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
