"""`setup-aws-auth`: keys or single sign-on into a named profile by AWS's own CLI, and then who that is."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from comanda_deploy.runbook import named
from tests.deployment.account import Account
from tests.deployment.terminal import typed

VERB = [sys.executable, "-m", "comanda_deploy", "verb", "eks-cluster-deploy.sh", "setup-aws-auth"]


@pytest.fixture
def shell(account: Account) -> dict[str, str]:
    """The environment of an operator who has no profile yet, and an access key on paper."""
    environment = {key: value for key, value in account.environment.items() if not key.startswith("AWS_")}
    # AWS's own CLI is beside the tests' Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    return {**environment, "AWS_ENDPOINT_URL": account.bed.url, "AWS_EC2_METADATA_DISABLED": "true", "PATH": path}


def keys_of(account: Account) -> tuple[str, str]:
    return account.environment["AWS_ACCESS_KEY_ID"], account.environment["AWS_SECRET_ACCESS_KEY"]


def run(shell: dict[str, str], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VERB, *arguments],
        env={**shell, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_keys_typed_without_echo_become_a_profile_and_it_says_who_you_are(
    account: Account, shell: dict[str, str]
) -> None:
    key, secret = keys_of(account)
    answer = typed(VERB, [("1 or 2: ", "2"), ("Access key id: ", key), ("Secret access key: ", secret)], shell)
    assert answer.returncode == 0, answer.stdout
    who = "You are arn:aws:iam::123456789012:user/comanda-operator in account 123456789012, region sa-east-1"
    assert f"{who}, profile comanda." in answer.stdout
    assert "Next: comanda-deploy plan" in answer.stdout
    assert key not in answer.stdout
    assert secret not in answer.stdout
    credentials = account.home / ".aws" / "credentials"
    assert secret in credentials.read_text(encoding="utf-8")
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600

    again = run(shell)
    assert again.returncode == 0
    assert "Profile comanda works already" in again.stdout


def test_keys_that_aws_does_not_know_are_not_kept(account: Account, shell: dict[str, str]) -> None:
    account.bed.arm("sts:GetCallerIdentity", code="InvalidClientTokenId", status=403)
    answer = run(shell, "--keys", AWS_ACCESS_KEY_ID="AKIAWRONG", AWS_SECRET_ACCESS_KEY="of somebody else")
    assert answer.returncode == 1
    assert "nothing was kept: AWS does not know these credentials" in answer.stderr
    assert not (account.home / ".aws").exists()


def test_keys_of_the_environment_are_kept_where_nobody_can_be_asked(account: Account, shell: dict[str, str]) -> None:
    key, secret = keys_of(account)
    answer = run(shell, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)
    assert answer.returncode == 0, answer.stderr
    assert "The keys in your environment go before that profile" in answer.stdout
    assert run(shell).returncode == 0, "the profile stands without them"
    plan = subprocess.run(
        [sys.executable, "-m", "comanda_deploy", "plan"], env=shell, capture_output=True, text=True, check=False
    )
    assert plan.returncode == 2, "and the tool finds it by itself"


def test_nobody_to_ask_and_no_keys_is_one_line(shell: dict[str, str]) -> None:
    answer = run(shell)
    assert answer.returncode == 1
    assert answer.stderr == (
        "eks-cluster-deploy.sh: nobody is there to be asked: say --sso, or --keys with AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY set\n"
    )
    keyless = run(shell, "--keys")
    assert keyless.returncode == 1
    assert "an access key is needed" in keyless.stderr
    without = run(shell, "--sso")
    assert without.returncode == 1
    assert "single sign-on asks for its address: run it in a terminal" in without.stderr


def test_without_aws_s_cli_setup_env_is_named(account: Account, shell: dict[str, str], tmp_path: Path) -> None:
    key, secret = keys_of(account)
    answer = run(shell, "--keys", AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, PATH=str(tmp_path))
    assert answer.returncode == 1
    assert "aws is not installed: run infra/scripts/eks-cluster-deploy.sh setup-env" in answer.stderr


def test_single_sign_on_that_ran_out_is_signed_in_again(account: Account, shell: dict[str, str]) -> None:
    """AWS's browser cannot be had here, so what is asked of its CLI is what can be seen."""
    folder = account.home / ".aws"
    folder.mkdir()
    (folder / "config").write_text(
        "[profile comanda]\nsso_session = diner\nsso_account_id = 123456789012\nsso_role_name = Operator\n"
        "[sso-session diner]\nsso_start_url = https://diner.example/start\nsso_region = sa-east-1\n",
        encoding="utf-8",
    )
    noted = account.home / "noted"
    cli = account.home / "bin" / "aws"
    cli.parent.mkdir()
    cli.write_text(f'#!/bin/sh\necho "$@" >> {noted}\nexit 3\n', encoding="utf-8")
    cli.chmod(0o755)
    answer = run(shell, PATH=f"{cli.parent}{os.pathsep}{shell['PATH']}")
    assert answer.returncode == 1
    assert noted.read_text(encoding="utf-8") == "sso login --profile comanda\n"
    assert "aws sso login failed" in answer.stderr


def test_kubectl_gets_its_token_by_that_profile(account: Account, shell: dict[str, str]) -> None:
    key, secret = keys_of(account)
    run(shell, "--keys", AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)
    account.apply([named("network"), named("cluster")])
    step = [sys.executable, "-m", "comanda_deploy", "step", "kubeconfig", "--yes"]
    answer = subprocess.run(step, env=shell, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    (user,) = yaml.safe_load(Path(shell["KUBECONFIG"]).read_text(encoding="utf-8"))["users"]
    execute = user["user"]["exec"]
    token = subprocess.run(
        [execute["command"], *execute["args"]],
        env={**shell, **{each["name"]: each["value"] for each in execute.get("env", [])}},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(token.stdout)
    assert said["kind"] == "ExecCredential"
    assert re.match(r"k8s-aws-v1\.", said["status"]["token"])
