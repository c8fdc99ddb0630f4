"""A cluster to rotate secrets in: a real PostgreSQL in the database's pod, pods that log in, and a kill at any step.

What kubectl is asked is answered here, in this process; `psql` is a real one. External Secrets copies when it is told
to, `comanda-follow-settings` rolls out as it does in the cluster, and pods that were replaced drain for some looks.
"""

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from comanda_deploy.context import Context
from comanda_deploy.database_users import verifier
from comanda_local.postgres import EmbeddedPostgres, bin_dir
from comanda_testbed.bed import TestBed
from tests.deployment.account import MERCADO_PAGO, USUAL, Time
from tests.deployment.in_cluster import InCluster

HOST = "database.comanda-db.svc:5432"
DRAINS_FOR = 3
"""Looks at the pods until one that was replaced has ended."""
USERS = {
    "comanda_api_a": "API_A_PASSWORD",
    "comanda_api_b": "API_B_PASSWORD",
    "comanda_owner": "OWNER_PASSWORD",
    "comanda_metrics": "METRICS_PASSWORD",
    "postgres": "SUPERUSER_PASSWORD",
}
ROLES = """
CREATE ROLE harness SUPERUSER LOGIN PASSWORD 'harness';
CREATE DATABASE comanda;
CREATE ROLE comanda_app NOLOGIN;
CREATE ROLE comanda_api_a LOGIN IN ROLE comanda_app;
CREATE ROLE comanda_api_b LOGIN IN ROLE comanda_app;
CREATE ROLE comanda_owner LOGIN;
CREATE ROLE comanda_metrics LOGIN IN ROLE pg_monitor;
"""


def place_of(server: EmbeddedPostgres) -> dict[str, str]:
    """Answer the environment in which psql finds the server."""
    return {"PATH": os.environ["PATH"], "PGHOST": "127.0.0.1", "PGPORT": str(server.port)}


def run_psql(
    server: EmbeddedPostgres, arguments: list[str], password: str, standard_input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run psql and answer what it said."""
    return subprocess.run(
        [f"{bin_dir()}/psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", *arguments],
        env={**place_of(server), "PGPASSWORD": password},
        input=standard_input,
        capture_output=True,
        text=True,
        check=False,
    )


def make_roles(server: EmbeddedPostgres) -> None:
    """Make the database and its users, as yet without a password."""
    for statement in ROLES.strip().splitlines():
        as_postgres = ["--username=postgres", "--dbname=postgres", f"--command={statement}"]
        answer = run_psql(server, as_postgres, server.password)
        assert answer.returncode == 0, answer.stderr


class Killed(BaseException):
    """The operator's process is no more."""


@dataclass
class Pod:
    """A pod of the API or the worker, and what it was started with."""

    name: str
    owner: str
    url: str
    looks_left: int | None = None


@dataclass
class Cluster:
    """What there is, and how often what changes something was called.

    Args:
        kill_at: the number of the change before which the process is killed: after the one before it, that is.
    """

    bed: TestBed
    server: EmbeddedPostgres
    deployed: bool = True
    sync_works: bool = True
    trouble: bool = False
    kill_at: int | None = None
    changes: int = 0
    commands: list[list[str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    locked_out: list[str] = field(default_factory=list)
    number: int = 0
    kept: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Put everything as it is after an installation, with passwords of which none is known from before."""
        passwords = {key: f"{key.lower()}-{os.urandom(6).hex()}" for key in USERS.values()}
        self.psql("".join(f"ALTER ROLE {user} PASSWORD '{passwords[key]}';" for user, key in USERS.items()))
        self.write("comanda/db", passwords)
        self.write(
            "comanda/api",
            {
                **MERCADO_PAGO,
                "DATABASE_URL": f"postgresql://comanda_api_a:{passwords['API_A_PASSWORD']}@{HOST}/comanda",
                "MIGRATION_DATABASE_URL": f"postgresql://comanda_owner:{passwords['OWNER_PASSWORD']}@{HOST}/comanda",
            },
        )
        self.sync()
        if self.deployed:
            self.roll_out()
        self.pods = [each for each in self.pods if each.looks_left is None]
        self.commands.clear()
        self.changes = 0

    # Secrets Manager

    def entry(self, name: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(
            self.bed.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
        )
        return found

    def write(self, name: str, values: dict[str, str]) -> None:
        client, text = self.bed.client("secretsmanager"), json.dumps(values)
        if name in {each["Name"] for each in client.list_secrets()["SecretList"]}:
            client.put_secret_value(SecretId=name, SecretString=text)
        else:
            client.create_secret(Name=name, SecretString=text)

    # The cluster

    def sync(self) -> None:
        api, database = self.entry("comanda/api"), self.entry("comanda/db")
        self.secrets = {
            "comanda-migration": {"MIGRATION_DATABASE_URL": api.pop("MIGRATION_DATABASE_URL")},
            "comanda-api": api,
            "database": {key: database[key] for key in USERS.values()},
        }

    def roll_out(self) -> None:
        mark = hashlib.sha256(json.dumps(self.secrets["comanda-api"], sort_keys=True).encode()).hexdigest()
        for name in ("comanda-api", "comanda-worker"):
            if self.marks.get(name) == mark:
                continue
            self.marks[name] = mark
            for pod in self.pods:
                if pod.owner.startswith(name) and pod.looks_left is None and not self.trouble:
                    pod.looks_left = DRAINS_FOR
            for _ in range(2):
                self.number += 1
                url = self.secrets["comanda-api"]["DATABASE_URL"]
                self.pods.append(Pod(f"{name}-{self.number}", f"{name} {mark}", url))

    def check(self) -> None:
        """See whether every pod that runs, or drains, could connect anew."""
        for url in {pod.url for pod in self.pods}:
            user, password = url.removeprefix("postgresql://").rpartition("@")[0].split(":")
            if not self.knows(user, password):
                self.locked_out.append(f"{user} at change {self.changes}")

    # PostgreSQL

    def knows(self, user: str, password: str) -> bool:
        """Answer the same as a login would, sooner: what PostgreSQL keeps is read once after each change."""
        if not self.kept:
            listed = self.psql("SELECT rolname || ' ' || rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
            self.kept = dict(line.split(" ") for line in listed.splitlines())
        salt = base64.b64decode(self.kept[user].split(":")[1].partition("$")[0])
        return verifier(password, salt) == self.kept[user]

    def psql(self, statement: str) -> str:
        answer = run_psql(self.server, ["--username=harness", "--dbname=postgres", f"--command={statement}"], "harness")
        assert answer.returncode == 0, answer.stderr
        self.kept = {}
        return answer.stdout.strip()

    def lets_in(self, user: str, password: str) -> bool:
        answer = run_psql(self.server, [f"--username={user}", "--dbname=postgres", "--command=SELECT 1"], password)
        assert not answer.returncode or "password authentication failed" in answer.stderr, answer.stderr
        return not answer.returncode

    # What the tool asks

    def context(self, **environment: str) -> Context:
        time = Time()
        clients: dict[tuple[str, bool], Any] = {
            (name, False): self.bed.client(name) for name in ("secretsmanager", "ssm", "sts", "ecr")
        }
        clients["secretsmanager", False] = Vault(self, clients["secretsmanager", False])
        return InCluster(
            USUAL,
            self.bed.session(),
            clock=time,
            sleep=time.sleep,
            environment=environment,
            _clients=clients,
            cluster=self,
        )

    def change(self, make: Callable[[], Any]) -> Any:
        """Make a change, unless the process is killed before."""
        self.changes += 1
        if self.changes == self.kill_at:
            raise Killed
        answer = make()
        self.check()
        return answer

    def answer(self, arguments: list[str], standard_input: str | None) -> Any:
        self.commands.append(list(arguments))
        match arguments:
            case ["get", "pods", *_]:
                app = next(
                    each.partition("=")[2].partition("=")[2] for each in arguments if each.startswith("--selector")
                )
                return self._listed(
                    [self._pod(each) for each in self.pods if each.owner.startswith(app)]
                    or [self._pod(Pod("database-0", "database x", ""))]
                )
            case ["get", "deployments.apps,replicasets.apps,pods", *_]:
                return self._look()
            case ["get", "externalsecrets.external-secrets.io", name, *_]:
                there = self.deployed or name == "database"
                return json.dumps({"kind": "ExternalSecret", "metadata": {"name": name}}) if there else ""
            case ["get", "secret", name, *_]:
                data = {key: base64.b64encode(value.encode()).decode() for key, value in self.secrets[name].items()}
                return json.dumps({"kind": "Secret", "data": data})
            case ["get", "job", name, *_]:
                done = [{"type": "Complete", "status": "True"}] if name in self.jobs else []
                return json.dumps({"status": {"conditions": done}})
            case ["annotate", "externalsecrets.external-secrets.io", *_]:
                return self.change(self.sync) if self.sync_works else ""
            case ["create", "job", name, *_, "--from=cronjob/comanda-follow-settings"]:
                self.jobs.append(name)
                return self.change(self.roll_out)
            case ["logs", *_]:
                return "rolled out\n"
            case ["delete", "job", *_]:
                return ""
            case ["exec", "database-0", *_]:
                return self._in_database(arguments[arguments.index("--") + 1 :], standard_input or "")
            case ["exec", pod, *_] if pod.startswith("comanda-worker"):
                return self._in_worker(arguments[arguments.index("--") + 1 :])
        raise AssertionError(arguments)

    def _in_database(self, command: list[str], standard_input: str) -> Any:
        if command[0] == "psql":
            # Nobody comes by a socket here: a superuser of the harness's own stands for `postgres` there.
            mine = ["--username=harness" if each == "--username=postgres" else each for each in command[1:]]
            self.kept = {}
            return self.change(lambda: run_psql(self.server, mine, "harness", standard_input))
        [shell, flag, script, *words] = command
        words[1] = f"{bin_dir()}/psql"
        return subprocess.run(
            [shell, flag, script, *words],
            env=place_of(self.server),
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
        )

    def _in_worker(self, command: list[str]) -> Any:
        if command[:3] == ["comanda", "keys", "list"]:
            return "".join(json.dumps(each) + "\n" for each in self.keys)
        assert command[:4] == ["comanda", "keys", "rotate", "--keep"]
        assert command[5] == "--"
        return f"comanda_staff_new-key-of-{command[6]}-for-{command[4]}\n"

    def _look(self) -> str:
        for pod in self.pods:
            if pod.looks_left is not None:
                pod.looks_left -= 1
        self.pods = [pod for pod in self.pods if pod.looks_left is None or pod.looks_left > 0]
        self.check()
        found: list[dict[str, Any]] = []
        status: dict[str, Any]
        for name in ("comanda-api", "comanda-worker") if self.deployed else ():
            template = {"metadata": {"annotations": {"comanda/settings": self.marks[name]}}}
            uid, new = f"uid of {name}", f"{name} {self.marks[name]}"
            waits = 2 if self.trouble and len({pod.owner for pod in self.pods if pod.owner.startswith(name)}) > 1 else 0
            status = {
                "observedGeneration": 1,
                "replicas": 2 + waits,
                "updatedReplicas": 2,
                "availableReplicas": 2 - waits,
                "conditions": [
                    {"type": "Available", "status": "True"},
                    {"type": "Progressing", "reason": "ReplicaSetUpdated" if waits else "NewReplicaSetAvailable"},
                ],
            }
            metadata = {"name": name, "namespace": "comanda", "uid": uid, "generation": 1}
            spec = {"replicas": 2, "template": template}
            found.append(
                {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec, "status": status}
            )
            owned = {pod.owner for pod in self.pods if pod.owner.startswith(name)}
            for owner in owned:
                of_set = {"name": owner, "namespace": "comanda", "uid": owner, "ownerReferences": [{"uid": uid}]}
                theirs = {"metadata": {"annotations": {"comanda/settings": owner.partition(" ")[2]}}}
                body = {"replicas": 2, "template": theirs}
                found.append(
                    {
                        "apiVersion": "apps/v1",
                        "kind": "ReplicaSet",
                        "metadata": of_set,
                        "spec": body,
                        "status": {"replicas": 2 if owner == new or waits else 0, "availableReplicas": 2},
                    }
                )
        return self._listed([*found, *(self._pod(pod) for pod in self.pods)])

    def _pod(self, pod: Pod) -> dict[str, Any]:
        leaving = {"deletionTimestamp": "2026-11-26T00:00:00Z"} if pod.looks_left is not None else {}
        name, _, mark = pod.owner.partition(" ")
        stuck = self.trouble and self.marks.get(name) == mark
        status: dict[str, Any] = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(not stuck)}]}
        if stuck:
            waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
            status["containerStatuses"] = [{"name": "api", "restartCount": 3, "state": waiting}]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.name, "namespace": "comanda", "ownerReferences": [{"uid": pod.owner}], **leaving},
            "spec": {"containers": [{"name": "api", "image": "comanda-api:1"}]},
            "status": status,
        }

    def _listed(self, found: list[dict[str, Any]]) -> str:
        return json.dumps({"kind": "List", "items": found})


@dataclass
class Vault:
    """Secrets Manager's client, whose changes count as steps."""

    cluster: Cluster
    client: Any

    def put_secret_value(self, **asked: Any) -> Any:
        return self.cluster.change(lambda: self.client.put_secret_value(**asked))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)
