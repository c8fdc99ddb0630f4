"""`make run`, in the order in which things happen."""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from comanda_local.child import Child
from comanda_local.errors import LocalError
from comanda_local.folder import DataFolder, Secrets
from comanda_local.guard import Guard, Guarded, how_it_ended
from comanda_local.interruption import Interrupted, Interruption
from comanda_local.log_file import last_lines, trim_log
from comanda_local.orphans import MARK, end_orphans
from comanda_local.ports import free_port
from comanda_local.postgres import EmbeddedPostgres
from comanda_local.wishes import Wishes, read_wishes, take_ports

if TYPE_CHECKING:
    from comanda_local.monitoring import Monitoring

NOBODYS_EMAIL = "guest@comanda.example.com"
READY_TIMEOUT_SECONDS = 45.0
LOOK_SECONDS = 1.0
TRIM_SECONDS = 60.0
# How long each may take to end by itself, in the order in which they are ended.
STOP_SECONDS = {
    "API": 12.0,
    "worker": 12.0,
    "sandbox": 5.0,
    "Prometheus": 10.0,
    "node_exporter": 3.0,
    "postgres_exporter": 3.0,
}
POSTGRES_STOP_SECONDS = 10.0


class LocalRun:
    """Everything that one `make run` starts, and its end."""

    def __init__(self, folder: DataFolder, interruption: Interruption) -> None:
        self._folder = folder
        self._interruption = interruption
        self._postgres: EmbeddedPostgres | None = None
        self._children: list[Child] = []
        self._began = time.monotonic()
        self._worker_ops_port = 0

    def start(self) -> None:
        """Start all of it, wait until all of it is ready, then say and publish where it is.

        Raises:
            LocalError: something cannot be had; nothing that was started is stopped here, `stop` does that.
        """
        wishes = read_wishes(os.environ)
        monitoring = _find_monitoring(wishes)
        self._folder.take()
        if ended := end_orphans(self._folder.path):
            say(f"ended {ended} process(es) that an earlier, killed run had left")
        wishes = take_ports(wishes)
        secrets = self._folder.secrets()
        webhook_secret = wishes.webhook_secret or secrets.webhook_secret
        if wishes.sandboxed:
            self._launch_sandbox(wishes, secrets, webhook_secret)
        database_url = self._prepare_database(wishes, secrets)
        self._launch_pods(wishes, secrets, webhook_secret, database_url)
        if monitoring is not None:
            for child in monitoring.children(self._folder, wishes, self._worker_ops_port, self._postgres):
                self._start(child)
        self._wait_until_ready()
        document = {
            "api": f"http://127.0.0.1:{wishes.port}",
            "ops": f"http://127.0.0.1:{wishes.ops_port}",
            "sandbox": f"http://127.0.0.1:{wishes.sandbox_port}" if wishes.sandboxed else None,
            "prometheus": f"http://127.0.0.1:{wishes.prometheus_port}" if wishes.monitoring else None,
            "database_url": database_url,
            "staff_key": secrets.staff_key,
            "manager_key": secrets.manager_key,
            "webhook_secret": webhook_secret,
            "sandbox_token": secrets.sandbox_token if wishes.sandboxed else None,
        }
        self._folder.publish(document)
        self._announce(document, wishes)
        for note in monitoring.notes if monitoring is not None else ():
            say(note)
        say("Ctrl-C stops it; the data stays")

    def watch(self) -> None:
        """Keep all of it running until somebody wants us to stop."""
        guarded: list[Guarded] = [*self._children, *([self._postgres] if self._postgres else [])]
        guards = [Guard(each, say) for each in guarded]
        trimmed = time.monotonic()
        while not self._interruption.asked:
            for guard in guards:
                guard.look()
            if time.monotonic() - trimmed > TRIM_SECONDS:
                trimmed = time.monotonic()
                for log in self._folder.logs.glob("*.log"):
                    trim_log(log)
            self._interruption.wait(0.1 if any(guard.waits for guard in guards) else LOOK_SECONDS)

    def stop(self) -> None:
        """End all of it in order: who takes requests first, the database last. Takes a bounded time."""
        if self._interruption.asked:
            say("stopping")
        self._folder.withdraw()
        order = list(STOP_SECONDS)
        for child in sorted(self._children, key=lambda child: order.index(child.name)):
            if not child.stop(STOP_SECONDS[child.name], lambda: self._interruption.hurried):
                say(f"the {child.name} did not end by itself and was killed")
        if self._postgres is not None:
            self._postgres.stop("fast", POSTGRES_STOP_SECONDS)

    def _prepare_database(self, wishes: Wishes, secrets: Secrets) -> str:
        if wishes.embedded:
            self._postgres = EmbeddedPostgres(
                self._folder.postgres,
                settings={"max_connections": 100, "shared_buffers": "128MB"},
                log_file=self._folder.logs / "postgresql.log",
            )
            if not self._folder.postgres.exists():
                say("making the database (once)")
            self._postgres.start()
        # Only now: the sandbox and PostgreSQL start meanwhile, and these imports cost a quarter of a second.
        from comanda_local import database  # noqa: PLC0415

        if self._postgres is not None:
            return database.prepare_embedded(self._postgres, secrets)
        return database.prepare_given(wishes.database_url, wishes.migration_database_url, secrets)

    def _launch_sandbox(self, wishes: Wishes, secrets: Secrets, webhook_secret: str) -> None:
        environment = self._environment()
        environment |= {"SANDBOX_TOKEN": secrets.sandbox_token, "SANDBOX_WEBHOOK_SECRET": webhook_secret}
        command = [sys.executable, "-m", "comanda_sandbox", "--host", "127.0.0.1"]
        command += ["--port", str(wishes.sandbox_port), "--ledger", str(self._folder.sandbox_ledger)]
        command += ["--webhook-url", f"http://127.0.0.1:{wishes.port}/v1/webhooks/mercado-pago"]
        self._launch("sandbox", command, environment, f"http://127.0.0.1:{wishes.sandbox_port}/")

    def _launch_pods(self, wishes: Wishes, secrets: Secrets, webhook_secret: str, database_url: str) -> None:
        environment = self._environment()
        # Chosen here unless the caller has chosen; the rest is what this run is made of.
        environment.setdefault("PAYER_EMAIL", NOBODYS_EMAIL)
        environment.setdefault("PUBLIC_URL", f"http://127.0.0.1:{wishes.port}")
        environment.setdefault("DRAIN_SECONDS", "0")  # there is no load balancer to wait for
        environment.setdefault("SHUTDOWN_TIMEOUT", "8")
        environment |= {
            "DATABASE_URL": database_url,
            "MERCADO_PAGO_ACCESS_TOKEN": wishes.access_token or secrets.sandbox_token,
            "MERCADO_PAGO_WEBHOOK_SECRET": webhook_secret,
            "HOST": "127.0.0.1",
            "PORT": str(wishes.port),
            "OPS_HOST": "127.0.0.1",
            "RATE_LIMIT_EXEMPT": "127.0.0.0/8,::1/128",
        }
        if wishes.sandboxed:
            environment["MERCADO_PAGO_BASE_URL"] = f"http://127.0.0.1:{wishes.sandbox_port}"
        self._worker_ops_port = free_port()
        for name, verb, ops_port in (
            ("API", "serve", wishes.ops_port),
            ("worker", "worker", self._worker_ops_port),
        ):
            self._launch(
                name,
                [sys.executable, "-m", "comanda", verb],
                {**environment, "OPS_PORT": str(ops_port)},
                f"http://127.0.0.1:{ops_port}/readyz",
            )

    def _launch(self, name: str, command: list[str], environment: dict[str, str], ready_url: str) -> None:
        self._start(Child(name, command, environment, self._folder.log_of(name), ready_url))

    def _start(self, child: Child) -> None:
        self._children.append(child)
        child.start()

    def _environment(self) -> dict[str, str]:
        """What every child gets: the caller's variables but those that would lead it elsewhere."""
        away = ("DATABASE_URL", "MIGRATION_DATABASE_URL")
        kept = {
            name: value
            for name, value in os.environ.items()
            # PGHOST and its kin would complete a connection URL in ways that nobody meant.
            if name not in away and not name.startswith("PG") and value
        }
        return kept | {MARK: str(self._folder.path), "PYTHONUNBUFFERED": "1"}

    def _wait_until_ready(self) -> None:
        waiting = list(self._children)
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while waiting:
            waiting = [child for child in waiting if not child.is_ready()]
            for child in waiting:
                process = child.process
                if process is not None and process.poll() is not None:
                    raise LocalError(_failed(child, how_it_ended(process.returncode)))
                if time.monotonic() > deadline:
                    raise LocalError(_failed(child, f"is not ready after {READY_TIMEOUT_SECONDS:.0f} s"))
            if waiting:
                self._interruption.wait(0.02)

    def _announce(self, document: dict[str, str | None], wishes: Wishes) -> None:
        say(f"ready after {time.monotonic() - self._began:.1f} s")
        rows = [
            ("guests and API", f"{document['api']}  (described at /docs)"),
            ("metrics, health", f"{document['ops']}/metrics"),
            ("of the worker", f"http://127.0.0.1:{self._worker_ops_port}/metrics"),
            ("Pix sandbox", f"{document['sandbox']}  (pay an open order here)" if wishes.sandboxed else None),
            ("Prometheus", f"{document['prometheus']}  (alerts at /alerts)" if wishes.monitoring else None),
            ("manager key", document["manager_key"]),
            ("staff key", document["staff_key"]),
            ("sandbox token", document["sandbox_token"]),
            ("data, logs", f"{self._folder.path}  (all of this: local.json)"),
        ]
        for name, value in rows:
            if value is not None:
                _print(f"  {name:<16} {value}")
        if not wishes.sandboxed:
            say("payments go to the provider at MERCADO_PAGO_BASE_URL, with the token that was given")
            if not os.environ.get("PAYER_EMAIL", "").strip():
                say(f"no PAYER_EMAIL was given, so {NOBODYS_EMAIL} stands for it: give an address of the diner's")
            if not wishes.webhook_secret:
                say(
                    "no MERCADO_PAGO_WEBHOOK_SECRET was given, so one was made: webhooks are refused until "
                    "the provider's own is given; payments are asked for meanwhile"
                )


def run(folder: Path) -> int:
    """Run everything in `folder` until a signal ends it. Answers the exit code; raises LocalError and its
    like.
    """
    interruption = Interruption()
    local = LocalRun(DataFolder(folder), interruption)
    try:
        local.start()
        interruption.settle()
        local.watch()
    except Interrupted:
        pass
    finally:
        interruption.settle()
        local.stop()
    say("stopped")
    return 0


def _find_monitoring(wishes: Wishes) -> "Monitoring | None":
    """Answer monitoring if it is asked for. Raises LocalError if what it cannot do without is not here."""
    if not wishes.monitoring:
        return None
    # Only now: who did not ask for it does not wait for these imports.
    from comanda_local.monitoring import Monitoring  # noqa: PLC0415

    return Monitoring(os.environ)


def say(line: str) -> None:
    """Print one line for the person at the terminal."""
    _print(f"comanda: {line}")


def _print(line: str) -> None:
    # The terminal may be gone (SIGHUP, a closed pipe): that must not keep us from stopping in order.
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _failed(child: Child, how: str) -> str:
    lines = [line.strip() for line in last_lines(child.log_file, since=child.said_from) if line.strip()]
    if lines and lines[-1].startswith("comanda: "):
        # It said in one line what is wrong and how to mend it.
        return lines[-1].removeprefix("comanda: ")
    said = " / ".join(lines)
    return f"the {child.name} {how}: {said or 'it said nothing'}"
