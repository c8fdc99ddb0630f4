"""The runbook's scripts: every verb as it is spelled there, from any folder, and what it says where something lacks."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from comanda_deploy.__main__ import main
from comanda_deploy.runbook import STEPS
from comanda_deploy.verbs import DEPLOY, MANAGE
from comanda_testbed.bed import TestBed
from tests.deployment.account import MERCADO_PAGO, Account

SCRIPTS = Path(__file__).parents[2] / "infra" / "scripts"
SCRIPT = "eks-cluster-deploy.sh"

# As the runbook spells them, in its order; then those that were added.
RUNBOOK = (
    *("setup-env", "setup-aws-auth", "update-kubeconfig", "create-ecr-repo", "create-eks-cluster", "create-node-group"),
    *("install-metrics-server", "install-external-secrets-operator", "install-cluster-autoscale"),
    "cretae-service-account-autoscaler",
)
ADDED = (
    *("create-service-account-autoscaler", "install-ebs-csi-driver", "create-secrets"),
    *("install-load-balancer-controller", "create-address"),
)


@pytest.fixture
def operator(account: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An operator whose shell leads to the account."""
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    return account


def verb(*arguments: str) -> int:
    """Run a verb as the script does, and answer its exit code."""
    return main(["verb", SCRIPT, *arguments])


def run(*command: str, folder: str = "/", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts, from a folder that is not the clone."""
    return subprocess.run(
        [str(SCRIPTS / command[0]), *command[1:]],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", [*RUNBOOK, *ADDED])
def test_each_verb_says_what_it_will_do_under_the_name_it_was_typed_by(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        verb(name, "--help")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"{SCRIPT} {name}" in said
    does = next(each.does for each in DEPLOY if name in {each.name, *each.aliases})
    assert " ".join(does.split()) in " ".join(said.split())
    assert "--yes" in said


def test_every_step_but_the_look_around_has_its_verb() -> None:
    covered = {name for each in (*DEPLOY, *MANAGE) for name in each.steps}
    assert covered == {step.name for step in STEPS} - {"preflight"}


def test_a_script_runs_from_any_folder_and_by_a_link(tmp_path: Path) -> None:
    link = tmp_path / "deploy"
    link.symlink_to(SCRIPTS / SCRIPT)
    answer = subprocess.run(
        [str(link), "cretae-service-account-autoscaler", "--help"], cwd="/", capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert f"{SCRIPT} cretae-service-account-autoscaler" in answer.stdout


def test_a_verb_that_is_none_is_answered_with_those_that_are_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert verb("create-ecr") == 2
    assert "there is no verb create-ecr: did you mean create-ecr-repo" in capsys.readouterr().err
    assert verb("--help") == 0
    listed = capsys.readouterr().out
    for name in (*RUNBOOK, *ADDED):
        assert re.search(rf"^ +(or )?{name}\b", listed, re.MULTILINE), name
    assert verb() == 2


LACKING = {
    "update-kubeconfig": "no cluster yet: run create-eks-cluster",
    "create-node-group": "no cluster yet: run create-eks-cluster",
    "install-metrics-server": "no cluster yet: run create-eks-cluster",
    "install-ebs-csi-driver": "no cluster yet: run create-eks-cluster",
    "install-external-secrets-operator": "no cluster yet: run create-eks-cluster",
    "install-load-balancer-controller": "no cluster yet: run create-eks-cluster",
    "install-cluster-autoscale": "no cluster yet: run create-eks-cluster",
    "cretae-service-account-autoscaler": "no cluster yet: run create-eks-cluster",
}


def test_what_a_verb_needs_is_named_with_the_verb_that_makes_it(
    operator: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = len(operator.bed.calls)
    for name, said in LACKING.items():
        assert verb(name, "--yes") == 1
        assert capsys.readouterr().err == f"{SCRIPT}: {said}\n"
    assert not [call for call in operator.bed.calls[calls:] if ":Create" in call], "and nothing is begun"


def test_without_the_roles_bootstrap_is_named(
    bed: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**bed.environment, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config")}.items():
        monkeypatch.setenv(name, value)
    assert verb("create-eks-cluster", "--yes") == 1
    said = capsys.readouterr().err
    assert said == f"{SCRIPT}: there are no roles yet: run comanda-deploy bootstrap, by an administrator\n"


def test_verb_by_verb_a_cluster_is_built_and_each_again_is_a_success(
    operator: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("create-ecr-repo", "create-eks-cluster"):
        assert verb(name, "--yes") == 0
    capsys.readouterr()
    assert verb("install-external-secrets-operator", "--yes") == 1
    assert "there are no nodes yet: run create-node-group" in capsys.readouterr().err
    assert verb("create-node-group", "--yes") == 0
    capsys.readouterr()
    assert verb("install-external-secrets-operator", "--yes") == 1
    assert "kubectl does not know the cluster yet: run update-kubeconfig" in capsys.readouterr().err
    verbs = [each.name for each in DEPLOY if each.steps]
    for name in verbs[verbs.index("update-kubeconfig") :]:
        assert verb(name, "--yes") == 0, name
    applied = ("deploy-database", "deploy-api", "deploy-monitoring")
    for name in applied:
        assert main(["verb", "eks-cluster-mng.sh", name, "--yes"]) == 0, name
    assert capsys.readouterr().out.endswith("Next: comanda-deploy status\n")
    for name in [*verbs, "cretae-service-account-autoscaler"]:
        assert verb(name) == 0, name
        assert "Nothing to do: all of it is as it should be. Next: " in capsys.readouterr().out
    for name in applied:
        assert main(["verb", "eks-cluster-mng.sh", name]) == 0, name
    assert operator.plan() == []


def test_a_failure_goes_on_under_the_verb_that_was_typed(operator: Account, capsys: pytest.CaptureFixture[str]) -> None:
    operator.bed.arm("ec2:CreateSubnet", code="SubnetLimitExceeded", skip=1)
    assert verb("create-eks-cluster", "--yes") == 1
    assert f"go on with: {SCRIPT} create-eks-cluster" in capsys.readouterr().err


def test_infra_shell_exports_what_the_scripts_and_kubectl_need(tmp_path: Path) -> None:
    theirs = tmp_path / "config"
    theirs.write_text("apiVersion: v1\nkind: Config\ncurrent-context: production-of-somebody\n", encoding="utf-8")
    settings = tmp_path / "staging.toml"
    settings.write_text('[aws]\nregion = "us-east-1"\n', encoding="utf-8")
    environment = {"HOME": str(tmp_path), "KUBECONFIG": str(theirs), "XDG_STATE_HOME": "", "AWS_ACCESS_KEY_ID": ""}
    before = theirs.read_bytes()
    answer = run("infra-shell.sh", "env", folder=str(tmp_path), COMANDA_SETTINGS="staging.toml", **environment)
    assert answer.returncode == 0, answer.stderr
    exported = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    assert exported["AWS_REGION"] == exported["AWS_DEFAULT_REGION"] == "us-east-1"
    assert exported["AWS_PROFILE"] == "comanda"
    assert exported["COMANDA_SETTINGS"] == str(settings)
    assert str(SCRIPTS) in exported["PATH"].split(os.pathsep)
    first, second = exported["KUBECONFIG"].split(os.pathsep)
    assert second == str(theirs)
    assert yaml.safe_load(Path(first).read_text(encoding="utf-8"))["current-context"] == "comanda"
    assert theirs.read_bytes() == before, "the operator's own file is not touched"

    inside = run("infra-shell.sh", str(SCRIPTS / "infra-shell.sh"), "env", **{**environment, **exported})
    again = dict(line.split("=", 1) for line in inside.stdout.splitlines() if "=" in line)
    assert again["KUBECONFIG"] == exported["KUBECONFIG"], "a shell within the shell is the same"
    assert again["PATH"] == exported["PATH"]


def test_infra_shell_runs_one_command_and_ends_as_it_did(tmp_path: Path) -> None:
    assert run("infra-shell.sh", "sh", "-c", "exit 7", HOME=str(tmp_path)).returncode == 7
    answer = run("infra-shell.sh", HOME=str(tmp_path), SHELL="/usr/bin/env")
    assert answer.returncode == 0
    assert "COMANDA_CLUSTER=comanda" in answer.stdout
    wrong = run("infra-shell.sh", "env", HOME=str(tmp_path), COMANDA_SETTINGS=str(tmp_path / "none.toml"))
    assert wrong.returncode == 1
    assert "none.toml: cannot be read" in wrong.stderr
    assert "COMANDA_CLUSTER" not in wrong.stdout, "nothing runs with half an environment"


def test_the_operator_s_secrets_are_asked_for_by_their_names(operator: Account) -> None:
    assert set(MERCADO_PAGO) <= set(operator.environment)
    answer = run(SCRIPT, "create-secrets", "--yes", **operator.environment)
    assert answer.returncode == 0, answer.stderr
    for value in MERCADO_PAGO.values():
        assert value not in answer.stdout + answer.stderr
