"""`make run MONITORING=1`: Prometheus with the rules that ship, over what runs here, and exporters where they are."""

import asyncio
import json
import os
import platform
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from comanda_local.child import Child
from comanda_local.folder import DataFolder
from comanda_local.orphans import MARK
from comanda_local.postgres import EmbeddedPostgres
from comanda_local.private_file import write_private
from comanda_local.programs import find_programs, known_flags
from comanda_local.prometheus import Target, configuration, shipped
from comanda_local.wishes import Wishes

# As long as in the cluster, since budgets are counted over 30 days; on a disk that is somebody's own.
# As flags: the fields of the configuration that came after them are not known to every Prometheus 3.
RETENTION = ("--storage.tsdb.retention.time=31d", "--storage.tsdb.retention.size=1GB")
# As 4-db-stateful-set.yaml gives them.
POSTGRES_EXPORTER_FLAGS = (
    "--no-collector.stat_statements",
    "--collector.long_running_transactions",
    "--collector.database_wraparound",
)
NO_NODE_EXPORTER = "no node_exporter found: panels of the machine stay empty"
NO_POSTGRES_EXPORTER = "no postgres_exporter found: panels of PostgreSQL stay empty"
GIVEN_DATABASE = "the database is a given one, so no postgres_exporter looks at it: panels of PostgreSQL stay empty"


class Monitoring:
    """Prometheus and the exporters of this machine, found before anything is started.

    Raises:
        LocalError: there is no Prometheus that will do.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._programs = find_programs(environment)
        self._shipped = shipped()
        self.notes: list[str] = []
        """What the person at the terminal should know, a line each; complete after `children`."""

    def children(
        self, folder: DataFolder, wishes: Wishes, worker_ops_port: int, postgres: EmbeddedPostgres | None
    ) -> Iterator[Child]:
        """Answer what is to be started, each when it is asked for; Prometheus last, who looks at the others.

        Args:
            wishes: with the ports that were taken.
            worker_ops_port: the worker's, which nobody chooses.
            postgres: the running embedded one; None if the database is a given one.
        """
        # Nothing of the caller's: among it are tokens, and DATA_SOURCE_NAME would lead an exporter elsewhere.
        environment = {MARK: str(folder.path), "PATH": os.environ.get("PATH", os.defpath)}
        # Not those of a run before, of another version of ours.
        shutil.rmtree(folder.prometheus / "rules", ignore_errors=True)
        folder.prometheus.mkdir(mode=0o700, exist_ok=True)
        (folder.prometheus / "rules").mkdir(mode=0o700)
        targets = [
            Target("comanda-api", wishes.ops_port),
            Target("comanda-worker", worker_ops_port),
            Target("prometheus", wishes.prometheus_port),
        ]
        if (program := self._programs.node_exporter) is None:
            self.notes.append(NO_NODE_EXPORTER)
        else:
            targets.append(Target("node-exporter", wishes.node_exporter_port))
            yield _child("node_exporter", [str(program)], environment, folder, wishes.node_exporter_port)
        if postgres is None:
            self.notes.append(GIVEN_DATABASE)
        elif (program := self._programs.postgres_exporter) is None:
            self.notes.append(NO_POSTGRES_EXPORTER)
        else:
            targets.append(Target("postgresql", wishes.postgres_exporter_port))
            command = [str(program), *known_flags(program, POSTGRES_EXPORTER_FLAGS)]
            source = _data_source(postgres, folder.prometheus)
            yield _child("postgres_exporter", command, environment | source, folder, wishes.postgres_exporter_port)
        command = [str(self._programs.prometheus), *RETENTION, *self._configured(folder.prometheus, targets)]
        yield _child("Prometheus", command, environment, folder, wishes.prometheus_port, "/-/ready")

    def _configured(self, folder: Path, targets: list[Target]) -> list[str]:
        """Write configuration and rules, and answer the flags that name them."""
        for name, text in self._shipped.rules.items():
            write_private(folder / "rules" / name, text)
        here = configuration(self._shipped.configuration, targets, folder / "rules", platform.node())
        # JSON is YAML, and quotes what must be quoted.
        write_private(folder / "prometheus.yml", json.dumps(here, indent=2) + "\n")
        return [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]


def _data_source(postgres: EmbeddedPostgres, folder: Path) -> dict[str, str]:
    """Give the exporter's user a password of this run, in a file that the exporter reads; answer how it is told."""
    # Here because it costs time that the other children use to start.
    from comanda_local.database import DATABASE, METRICS_USER, make_metrics_user  # noqa: PLC0415

    password = secrets.token_urlsafe(24)
    asyncio.run(make_metrics_user(postgres.superuser_url, password))
    file = folder / "metrics-password"
    write_private(file, password)
    return {
        "DATA_SOURCE_URI": f"127.0.0.1:{postgres.port}/{DATABASE}?sslmode=disable&application_name=metrics",
        "DATA_SOURCE_USER": METRICS_USER,
        "DATA_SOURCE_PASS_FILE": str(file),
    }


def _child(
    name: str, command: list[str], environment: Mapping[str, str], folder: DataFolder, port: int, ready: str = "/"
) -> Child:
    listens = f"--web.listen-address=127.0.0.1:{port}"
    return Child(name, [*command, listens], environment, folder.log_of(name), f"http://127.0.0.1:{port}{ready}")
