"""`rotate-secrets grafana`: the new password counts once it is through, and not only from some start in the future."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from comanda_deploy import commands, kubectl, verbs
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_testbed.bed import TestBed
from tests.deployment.account import USUAL, Time
from tests.deployment.in_cluster import InCluster

ENTRY = "comanda/grafana"
Said = pytest.CaptureFixture[str]


@dataclass
class Monitoring:
    """A cluster with Grafana, which reads its password when it starts.

    Args:
        copies: whether External Secrets brings what has changed. comes_back: whether Grafana starts again.
        known: by what its admin is let in. secret: what the cluster has of the entry.
    """

    bed: TestBed
    deployed: bool = True
    copies: bool = True
    comes_back: bool = True
    known: str = "old"
    secret: str = "old"
    generation: int = 1
    seen: int = 1
    asked: list[str] = field(default_factory=list)

    def entry(self) -> str:
        """What Secrets Manager has."""
        text = self.bed.client("secretsmanager").get_secret_value(SecretId=ENTRY)["SecretString"]
        return str(json.loads(text)["ADMIN_PASSWORD"])

    def context(self) -> Context:
        """Answer a context in which it is the cluster."""
        time = Time()
        clients: dict[tuple[str, bool], Any] = {
            (name, False): self.bed.client(name) for name in ("secretsmanager", "ssm", "sts")
        }
        more: Any = {"clock": time, "sleep": time.sleep, "environment": {}, "_clients": clients, "cluster": self}
        return InCluster(USUAL, self.bed.session(), **more)

    def answer(self, arguments: list[str], standard_input: str | None) -> Any:
        """Answer kubectl."""
        self.asked.append(" ".join(arguments[:3]))
        match arguments:
            case ["get", "externalsecrets.external-secrets.io", "grafana", *_]:
                return json.dumps({"kind": "ExternalSecret"}) if self.deployed else ""
            case ["get", "secret", "grafana", *_]:
                value = base64.b64encode(self.secret.encode()).decode()
                return json.dumps({"kind": "Secret", "data": {"ADMIN_PASSWORD": value}})
            case ["annotate", *_]:
                self.secret = self.entry() if self.copies else self.secret
                return ""
            case ["get", "deployment.apps", "grafana", *_]:
                return json.dumps(self._deployment()) if self.deployed else ""
            case ["rollout", "restart", "deployment/grafana", *_]:
                self.generation += 1
                return ""
        raise AssertionError(arguments)

    def _deployment(self) -> dict[str, Any]:
        """Answer it, one look behind: what was started again is not ready at once."""
        behind, is_back = self.seen < self.generation, self.comes_back or self.generation == 1
        if behind and is_back:
            self.seen, self.known = self.generation, self.secret
        done = not behind and is_back
        return {
            "kind": "Deployment",
            "metadata": {"name": "grafana", "generation": self.generation},
            "spec": {"replicas": 1},
            "status": {
                "observedGeneration": self.generation,
                "replicas": 1,
                "updatedReplicas": 1 if done else 0,
                "conditions": [
                    {"type": "Available", "status": "True"},
                    {"type": "Progressing", "reason": "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"},
                ],
            },
        }


@pytest.fixture
def monitoring(shared_bed: TestBed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitoring]:
    client = shared_bed.client("secretsmanager")
    client.create_secret(Name=ENTRY, SecretString=json.dumps({"ADMIN_PASSWORD": "old", "MORE": "kept"}))
    made = Monitoring(shared_bed)
    monkeypatch.setattr(kubectl, "where", lambda _: kubectl.Where(True))
    monkeypatch.setattr(commands, "context_of", lambda _: made.context())
    for name, value in shared_bed.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    client.delete_secret(SecretId=ENTRY, ForceDeleteWithoutRecovery=True)


def rotate() -> int:
    return verbs.run("eks-cluster-mng.sh", ["rotate-secrets", "grafana", "--yes"])


def test_at_its_end_grafana_takes_the_new_one_and_not_the_old(monitoring: Monitoring, capsys: Said) -> None:
    assert rotate() == 0
    new = monitoring.entry()
    assert new != "old"
    assert len(new) > 40
    assert monitoring.known == new
    restart = monitoring.asked.index("rollout restart deployment/grafana")
    assert [each for each in monitoring.asked[:restart] if each.startswith("annotate")], "not before it has come"
    said = capsys.readouterr()
    assert "Grafana was started again and takes it" in said.out
    assert said.out.splitlines()[-1] == "Rotated: grafana. Next: eks-cluster-mng.sh grafana-psw"
    assert new not in said.out + said.err
    text = monitoring.bed.client("secretsmanager").get_secret_value(SecretId=ENTRY)["SecretString"]
    assert json.loads(text)["MORE"] == "kept"


def test_without_grafana_nobody_is_started_again(monitoring: Monitoring, capsys: Said) -> None:
    monitoring.deployed = False
    assert rotate() == 0
    assert "Grafana is not deployed yet: nobody uses it" in capsys.readouterr().out
    assert monitoring.entry() != "old"
    assert not [each for each in monitoring.asked if each.startswith(("rollout", "annotate"))]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (
            kubectl.Where(True, "run update-kubeconfig"),
            "whether it runs cannot be seen from here: run update-kubeconfig",
        ),
        (kubectl.Where(False), "Grafana is not deployed yet: nobody uses it"),
    ],
)
def test_it_can_be_done_without_a_cluster(
    monitoring: Monitoring, monkeypatch: pytest.MonkeyPatch, capsys: Said, place: kubectl.Where, says: str
) -> None:
    monkeypatch.setattr(kubectl, "where", lambda _: place)
    assert rotate() == 0
    assert says in capsys.readouterr().out
    assert monitoring.entry() != "old"
    assert monitoring.asked == []


def test_where_it_is_not_copied_grafana_goes_on_with_the_old_one(monitoring: Monitoring) -> None:
    monitoring.copies = False
    with pytest.raises(DeployError, match=r"(?s)has not copied it to monitoring/grafana.*rotate-secrets grafana$"):
        rotate()
    assert monitoring.known == "old"
    assert monitoring.generation == 1


def test_one_that_does_not_come_back_is_said_with_where_to_look(monitoring: Monitoring) -> None:
    monitoring.comes_back = False
    with pytest.raises(
        DeployError, match="has not come back with it within 180 s: kubectl describe pods --namespace mon"
    ):
        rotate()
