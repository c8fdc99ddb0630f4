"""What Kubernetes made in the account goes with the cluster, as data: what is there, and what destroy does next."""

import msgspec
import pytest

from comanda_deploy.settings import Settings, read_settings
from comanda_deploy.steps.drain import Drain, DrainFacts, Exposed, Left, LeftoverFacts, Leftovers

BALANCER = ("arn:aws:elasticloadbalancing:sa-east-1:1:loadbalancer/app/k8s-comanda/1", "k8s-comanda")
GROUP = ("arn:aws:elasticloadbalancing:sa-east-1:1:targetgroup/k8s-api/1", "k8s-api")
ALIVE = Exposed("ingress", "comanda", "api")
DELETING = Exposed("ingress", "comanda", "api", deleting=True)
STUCK = Exposed("ingress", "comanda", "api", deleting=True, stuck=True)


def keeping(*kinds: str) -> Settings:
    published = read_settings()
    return msgspec.structs.replace(published, destroy=msgspec.structs.replace(published.destroy, keep=kinds))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (DrainFacts(), []),
        (DrainFacts((ALIVE,), (BALANCER,), (GROUP,)), ["delete ingress comanda/api"]),
        (DrainFacts((DELETING,), (BALANCER,), (GROUP,)), ["wait load balancers"]),
        # Its controller is gone, or was never there: we do it.
        (DrainFacts((STUCK,), (BALANCER,)), ["delete load balancer k8s-comanda"]),
        # The cluster cannot be asked any more.
        (DrainFacts((), (BALANCER,), (GROUP,)), ["delete load balancer k8s-comanda", "delete target group k8s-api"]),
        (DrainFacts((), (), (GROUP,)), ["delete target group k8s-api"]),
        (DrainFacts((DELETING,)), []),
    ],
)
def test_load_balancers_go_by_their_controller_or_else_by_us(facts: DrainFacts, expected: list[str]) -> None:
    changes = Drain().decide_removal(keeping(), facts)
    assert [f"{change.kind} {change.what}" for change in changes] == expected


DISK = Left("vol-1", "data-db-0")
FACTS = LeftoverFacts(
    volumes=(DISK, Left("vol-2", in_use=True)),
    snapshots=(Left("snap-1"),),
    interfaces=(Left("eni-1", "aws-K8S-i-1"), Left("eni-2", "aws-K8S-i-2", in_use=True)),
    groups=(Left("sg-1", "k8s-traffic"),),
)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (
            (),
            [
                "delete volume vol-1 (data-db-0)",
                "delete snapshot snap-1",
                "delete network interface eni-1 (aws-K8S-i-1)",
                "delete security group sg-1 (k8s-traffic)",
                "wait volume vol-2",
            ],
        ),
        (
            ("volumes", "snapshots"),
            [
                "note volume vol-1 (data-db-0)",
                "note volume vol-2",
                "note snapshot snap-1",
                "delete network interface eni-1 (aws-K8S-i-1)",
                "delete security group sg-1 (k8s-traffic)",
            ],
        ),
    ],
)
def test_what_is_left_in_ec2_goes_but_for_what_is_kept(keep: tuple[str, ...], expected: list[str]) -> None:
    changes = Leftovers().decide_removal(keeping(*keep), FACTS)
    assert [f"{change.kind} {change.what}" for change in changes] == expected


def test_nothing_left_is_nothing_to_do() -> None:
    assert Leftovers().decide_removal(keeping(), LeftoverFacts()) == []
    assert Drain().decide(keeping(), DrainFacts()) == []
    assert Leftovers().decide(keeping(), FACTS) == []
