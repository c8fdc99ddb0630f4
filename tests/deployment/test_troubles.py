"""What AWS does to its callers, and what a person sees of it: it is survived, or said in one line."""

import json
import os
import random
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from comanda_deploy import lock
from comanda_deploy.errors import DeployError
from comanda_testbed.front import Dropped
from tests.deployment.account import Account, assert_made_once


def drop() -> None:
    """Break the connection."""
    raise Dropped


def test_throttling_is_survived(account: Account, chance: random.Random) -> None:
    for action in chance.sample(["ec2:CreateVpc", "ec2:CreateSubnet", "eks:CreateCluster", "iam:GetRole"], 3):
        account.bed.arm(action, code="ThrottlingException" if action[0] == "e" else "Throttling", times=2)
    assert any(each.startswith("create EKS cluster") for each in account.apply())
    assert account.plan() == []


def test_a_call_that_never_arrived_is_made_again(account: Account) -> None:
    for action in ("ec2:CreateVpc", "ec2:CreateSubnet", "eks:CreateNodegroup"):
        account.bed.arm(action, code="ServiceUnavailable", status=503)
    account.bed.arm("ecr:CreateRepository", hook=drop)
    account.apply()
    assert account.plan() == []


LOST = (
    "ec2:CreateVpc",
    "ec2:CreateSubnet",
    "ec2:CreateInternetGateway",
    "ec2:CreateRouteTable",
    "ecr:CreateRepository",
    "logs:CreateLogGroup",
    "eks:CreateCluster",
    "eks:CreateNodegroup",
    "eks:CreateAddon",
    "eks:CreateAccessEntry",
    "eks:CreatePodIdentityAssociation",
    "ec2:CreateLaunchTemplate",
    "secretsmanager:CreateSecret",
)


def test_answers_that_were_lost_make_nothing_twice(account: Account) -> None:
    """The tool looks again, and AWS has it already: by its token it answers the same, or it refuses; both go on."""
    for action in LOST:
        account.bed.arm(action, code="ServiceUnavailable", status=503, done_first=True)
    account.apply()
    assert not [fault.action for fault in account.bed.faults.armed if fault.times], "each struck"
    assert account.plan() == []
    assert_made_once(account)


def test_throttling_that_does_not_end_is_one_line_and_the_next_run_goes_on(account: Account) -> None:
    fault = account.bed.arm("ec2:CreateSubnet", code="RequestLimitExceeded", skip=1, times=10**6)
    with pytest.raises(DeployError, match="step network, create subnet comanda-public-b: AWS throttles CreateSubnet"):
        account.apply()
    fault.times = 0
    account.apply()
    assert account.plan() == []


def test_a_refusal_of_aws_says_what_is_done_and_how_to_go_on_and_frees_the_lock(account: Account) -> None:
    account.bed.arm("ec2:CreateSubnet", code="SubnetLimitExceeded", skip=1)
    answer = account.command("apply", "--yes")
    assert answer.returncode == 1
    assert "step network, create subnet comanda-public-b: AWS refuses CreateSubnet: SubnetLimitEx" in answer.stderr
    assert "changes were made and stay; nothing else was touched, and the lock is free" in answer.stderr
    assert "go on with: comanda-deploy apply" in answer.stderr
    assert lock.holder_of(account.context()) is None
    assert account.command("apply", "--yes").returncode == 0


def test_expired_credentials_half_way_are_one_line(account: Account) -> None:
    fault = account.bed.arm("*", code="ExpiredToken", skip=150, times=10**6)
    answer = account.command("apply", "--yes")
    fault.times = 0
    assert answer.returncode == 1
    last = answer.stderr.strip().splitlines()
    assert any(
        "the AWS credentials have expired: run infra/scripts/eks-cluster-deploy.sh setup-aws-auth" in x for x in last
    )
    assert "Traceback" not in answer.stderr
    # The lock could not be given back; its process is gone, so the next run takes it over.
    assert account.command("apply", "--yes").returncode == 0
    assert account.plan() == []


def test_unknown_keys_and_none_at_all_are_one_line(account: Account) -> None:
    account.bed.arm("sts:GetCallerIdentity", code="InvalidClientTokenId", status=403)
    answer = account.command("plan")
    assert answer.returncode == 1
    assert "AWS does not know these credentials" in answer.stderr
    without = {key: value for key, value in account.environment.items() if not key.startswith("AWS_ACCESS")}
    answer = subprocess.run(
        [sys.executable, "-m", "comanda_deploy", "plan"], env=without, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert "there are no AWS credentials" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_aws_that_cannot_be_reached_is_one_line(account: Account) -> None:
    answer = account.command("plan", AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert answer.returncode == 1
    assert "AWS cannot be reached" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_another_operator_s_lock_stops_every_command_that_changes(account: Account) -> None:
    account.context()
    holder = lock.Holder(
        "maria (arn:aws:iam::123456789012:user/maria)", "laptop", 4711, "2026-11-23T02:00:00+00:00", "apply", "k"
    )
    account.bed.client("ssm").put_parameter(Name="/comanda/lock", Value=json.dumps(holder.__dict__), Type="String")
    calls = len(account.bed.calls)
    for command in (["apply", "--yes"], ["step", "ecr", "--yes"]):
        answer = account.command(*command)
        assert answer.returncode == 1
        assert (
            "locked by maria (arn:aws:iam::123456789012:user/maria) on laptop since 2026-11-23 02:00 UTC (apply)"
            in answer.stderr
        )
    assert account.command("plan").returncode == 2, "looking is free"
    assert "Locked by maria" in account.command("status").stdout
    made = [call for call in account.bed.calls[calls:] if call.split(":")[1].startswith(("Create", "Run"))]
    assert made == []
    assert account.command("unlock", "--yes").returncode == 0
    assert account.command("step", "ecr", "--yes").returncode == 0


@pytest.mark.parametrize(
    ("what", "issue", "said"),
    [
        ("cluster comanda", ("InsufficientFreeAddresses", "no room"), "EKS cluster comanda: could not be made"),
        ("nodegroup comanda-general-a", ("AsgInstanceLaunchFailures", "no capacity in sa-east-1a"), "no capacity"),
    ],
)
def test_what_eks_fails_to_make_is_said_with_why_and_what_to_do(
    account: Account, what: str, issue: tuple[str, str], said: str
) -> None:
    account.bed.eks.failures[what] = issue
    answer = account.command("apply", "--yes")
    assert answer.returncode == 1
    assert said in answer.stderr
    assert issue[1] in answer.stderr
    assert "aws eks delete-" in answer.stderr
    eks = account.bed.client("eks")
    if what.startswith("nodegroup"):
        eks.delete_nodegroup(clusterName="comanda", nodegroupName="comanda-general-a")
    else:
        eks.delete_cluster(name="comanda")
    again = account.command("apply", "--yes")
    assert again.returncode == 0, again.stderr


def test_an_add_on_that_fails_is_made_anew(account: Account) -> None:
    account.bed.eks.failures["addon coredns"] = ("InsufficientNumberOfReplicas", "no node")
    done = account.apply()
    assert sum("add-on coredns" in each for each in done) == 3
    assert account.plan() == []


def test_who_may_not_is_told_before_anything_is_touched(account: Account) -> None:
    iam = account.bed.client("iam")
    iam.detach_user_policy(
        UserName="comanda-operator", PolicyArn="arn:aws:iam::123456789012:policy/EKSCLIAccessPolicy-network"
    )
    answer = account.command("apply", "--yes")
    assert answer.returncode == 1
    assert "comanda-operator may not ec2:CreateVpc" in answer.stderr
    assert "have an administrator run comanda-deploy bootstrap" in answer.stderr
    assert not account.bed.client("ecr").describe_repositories()["repositories"]


def test_nobody_there_to_be_asked_is_a_line_not_a_hang(account: Account) -> None:
    answer = account.command("apply")
    assert answer.returncode == 1
    assert "nobody is there to be asked: say --yes" in answer.stderr
    without = {key: value for key, value in account.environment.items() if not key.startswith("MERCADO")}
    answer = subprocess.run(
        [sys.executable, "-m", "comanda_deploy", "step", "secrets", "--yes"],
        env=without,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert "MERCADO_PAGO_ACCESS_TOKEN is needed and nobody is there to be asked" in answer.stderr


def test_without_helm_the_plan_says_so_and_apply_names_the_verb(account: Account, tmp_path: Path) -> None:
    bare = os.pathsep.join([str(tmp_path)])
    assert account.command("plan", PATH=bare).returncode == 2
    answer = account.command("apply", "--yes", PATH=bare)
    assert answer.returncode == 1
    assert "helm is not installed: run infra/scripts/eks-cluster-deploy.sh setup-env" in answer.stderr


def test_without_its_extra_the_tool_says_what_to_install(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    source = Path(__file__).parents[2] / "src"
    answer = subprocess.run(
        [str(tmp_path / "bare/bin/python"), "-m", "comanda_deploy", "plan"],
        env={"PYTHONPATH": str(source), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert "comanda-deploy needs the extra `deploy` (boto3 is missing): run make deploy-tools" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_no_secret_is_said_anywhere(account: Account) -> None:
    answers = [
        account.command("apply", "--yes"),
        account.command("plan", "--json"),
        account.command("status", "--json"),
    ]
    answers.append(account.command("env"))
    said = "".join(answer.stdout + answer.stderr for answer in answers)
    client = account.bed.client("secretsmanager")
    for name in ("comanda/api", "comanda/db", "comanda/grafana"):
        for key, value in json.loads(client.get_secret_value(SecretId=name)["SecretString"]).items():
            assert value not in said, key
    assert account.environment["AWS_SECRET_ACCESS_KEY"] not in said
