"""`deploy-api` as an operator types it: rolled out and watched, or taken back; and what is said of each.

The cluster is the test bed's. One stands for all tests here, and each begins with nothing in it.
"""

import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import commands, image, lock, objects
from comanda_deploy.__main__ import main
from comanda_deploy.context import Context
from comanda_deploy.runbook import named
from comanda_deploy.steps import application
from comanda_testbed.bed import running_testbed
from comanda_testbed.commands import kubectl
from tests.deployment.account import Account, bootstrapped, pushed
from tests.deployment.application import IMAGE, NAMESPACE, SETTINGS, manifest, put, workload

SCRIPT = "eks-cluster-mng.sh"
OLD, NEW = IMAGE, "comanda-api:0.2.0"
API, WORKER = ("apps", "Deployment", "comanda", "comanda-api"), ("apps", "Deployment", "comanda", "comanda-worker")
KEPT = "before-deploy-api.json"


class Quick(Context):
    """The test bed's kubectl without a process of its own: a rollout is looked at dozens of times.

    With one, the verbs are run in test_scripts.py.
    """

    def run(
        self, command: Sequence[str], *, standard_input: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        assert command[0] == "kubectl"
        out, err, stdin = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(standard_input or "")
        try:
            with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
                for name, value in self.environment.items():
                    patch.setenv(name, value)
                code: Any = kubectl(list(command[1:]))
        except SystemExit as refused:
            print(refused.code, file=err)
            code = 1
        finally:
            sys.stdin = stdin
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@dataclass
class Diner:
    """An operator with a clone, a cluster, and a way to be interrupted.

    Args:
        clone: whose manifests are applied. at: by how often the tool has slept, what happens then.
    """

    account: Account
    clone: Path
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    slept: int = 0

    @property
    def folder(self) -> Path:
        return self.clone / "infra" / "deployment" / "api"

    @property
    def cluster(self) -> Any:
        """What is applied."""
        return self.account.bed.kubernetes.applied

    def writes(self, image: str, **settings: str) -> None:
        """Let the manifests name an image."""
        pods = [workload("Deployment", name, image) for name in ("comanda-api", "comanda-worker")]
        put(self.folder, a1=[NAMESPACE], a2=[{**SETTINGS, "data": settings or {"LEVEL": "info"}}, *pods])

    def named(self) -> set[str]:
        """The images that the manifests name."""
        return {image for each in objects.read(self.folder) for image in each.images}

    def does(self, *arguments: str) -> int:
        """Run a verb, and answer its exit code."""
        return main(["verb", SCRIPT, *arguments])

    def image_of(self, key: objects.Key) -> str:
        """Which image a Deployment is to be of."""
        found: str = self.cluster.objects[key]["spec"]["template"]["spec"]["containers"][0]["image"]
        return found

    def served(self) -> dict[str, int]:
        """How many ready pods of the API there are of each image."""
        sets = self.cluster.rollouts.sets[API]
        return {each.template["spec"]["containers"][0]["image"]: each.up for each in sets if each.up}

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what is to happen by then."""
        self.slept += 1
        self.account.time.sleep(seconds)
        if self.slept in self.at:
            self.at.pop(self.slept)()

    def holder(self) -> lock.Holder | None:
        """Who has the lock."""
        return lock.holder_of(self.account.context())


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with running_testbed() as bed, pytest.MonkeyPatch.context() as patch:
        account = bootstrapped(bed, tmp_path_factory.mktemp("home"), patch.setenv)
        account.apply([named(name) for name in ("network", "ecr", "cluster", "nodes", "kubeconfig")])
        yield account


@pytest.fixture
def diner(standing: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Diner]:
    found = Diner(standing, tmp_path / "clone")
    standing.bed.kubernetes.applied = type(found.cluster)(found.cluster.brought)

    def context_of(_: object) -> Any:
        fields = {each.name: getattr(standing.context(), each.name) for each in dataclasses.fields(Context)}
        return Quick(**{**fields, "sleep": found.sleep})

    monkeypatch.setattr(commands, "context_of", context_of)
    monkeypatch.setattr(application.API, "folders", (found.folder,))
    monkeypatch.setattr(image, "ROOT", found.clone)
    monkeypatch.setitem(standing.environment, "XDG_STATE_HOME", str(tmp_path / "state"))
    yield found
    assert found.holder() is None, "the lock is free in every case"


@pytest.fixture
def deployed(diner: Diner, capsys: pytest.CaptureFixture[str]) -> Diner:
    """A diner whose first version serves, and whose manifests name the next one."""
    diner.writes(OLD)
    assert diner.does("deploy-api", "--yes") == 0
    diner.writes(NEW, LEVEL="debug")
    diner.cluster.rollouts.looks = 4
    diner.slept = 0
    capsys.readouterr()
    return diner


def level(diner: Diner) -> str:
    """A setting, as the cluster has it."""
    found: str = diner.cluster.objects["", "ConfigMap", "comanda", "settings"]["data"]["LEVEL"]
    return found


def as_applied(diner: Diner) -> dict[objects.Key, Any]:
    """What was applied last, by object."""
    return {key: objects.last_applied(body) for key, body in diner.cluster.objects.items()}


# It comes up.


def test_what_is_rolled_out_serves_and_the_image_before_is_noted(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployed.does("deploy-api", "--yes") == 0
    said = capsys.readouterr()
    assert said.out.endswith(f"Done: {NEW} serves, before it {OLD} did. Next: comanda-deploy status\n")
    assert (
        "… Deployment comanda/comanda-api: 0 of 2 new pods are ready, 2 of before are there; pod comanda-api-2-0: "
        in said.err
    )
    assert "Deployment comanda/comanda-worker: 2 pods are ready" in said.err
    assert deployed.served() == {NEW: 2}
    assert deployed.cluster.objects[API]["metadata"]["annotations"]["comanda/previous-image"] == OLD

    assert deployed.does("deploy-api") == 0, "nothing is asked where there is nothing to do"
    assert capsys.readouterr().out.endswith(
        "Nothing to do: all of it is as it should be. Next: comanda-deploy status\n"
    )
    assert deployed.account.plan([application.API]) == [], "and the note is no drift"


def test_backups_that_still_run_the_image_before_are_named_as_what_comes_next(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    pods = {"spec": {"containers": [{"name": "backup", "image": OLD}]}}
    spec = {"jobTemplate": {"spec": {"template": pods}}}
    job = manifest("CronJob", "database-backup", "batch/v1", namespace="comanda-db", spec=spec)
    deployed.cluster.objects["batch", "CronJob", "comanda-db", "database-backup"] = job
    assert deployed.does("deploy-api", "--yes") == 0
    said = capsys.readouterr().out
    assert said.endswith(f"Next: {SCRIPT} deploy-database   (its backups still run {OLD})\n")
    pods["spec"]["containers"][0]["image"] = "comanda-api:0.3.0"
    deployed.writes("comanda-api:0.3.0")
    assert deployed.does("deploy-api", "--yes") == 0
    assert capsys.readouterr().out.endswith("Next: comanda-deploy status\n")


def test_the_same_image_with_another_setting_leaves_the_note_alone(
    diner: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    diner.writes(OLD)
    assert diner.does("deploy-api", "--yes") == 0
    diner.writes(OLD, LEVEL="debug")
    assert diner.does("deploy-api", "--yes") == 0
    assert capsys.readouterr().out.endswith(f"Done: {OLD} serves. Next: comanda-deploy status\n")
    assert "comanda/previous-image" not in diner.cluster.objects[API]["metadata"]["annotations"]


def test_as_a_document_it_is_one_and_all_the_rest_is_on_stderr(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployed.does("deploy-api", "--yes", "--json") == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document.pop("seconds") > 0
    assert document == {
        "outcome": "deployed",
        "said": f"Done: {NEW} serves, before it {OLD} did.",
        "next": "comanda-deploy status",
        "image": NEW,
        "previous": OLD,
        "serves": NEW,
        "failed": [],
        "stays": [],
    }
    assert "change  Deployment comanda/comanda-api" in said.err
    assert deployed.does("deploy-api", "--plan", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["change"] == 0, "with --plan it is the plan's"


# It does not.


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (("ImagePullBackOff", "no such tag"), "ImagePullBackOff: no such tag"),
        (("CrashLoopBackOff", "back-off 10s"), "main ended with 1 (Error), again"),
        (
            ("Running", ""),
            "nothing has moved for 10 s: 0 of 2 new pods are ready, 2 of before are there; pod comanda-",
        ),
        (("ProgressDeadlineExceeded", ""), "its progressDeadlineSeconds are over: 0 of 2 new pods are ready"),
        (("Unschedulable", "0/3 nodes"), "nothing has moved for 602 s: 0 of 2 new pods are ready, 2 of before are the"),
    ],
)
def test_what_does_not_come_up_is_taken_back_by_itself(
    deployed: Diner, trouble: tuple[str, str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = as_applied(deployed)
    deployed.cluster.troubles[NEW] = trouble
    deployed.cluster.logs[NEW] = ("the start before\n", "".join(f"line {n}\n" for n in range(30)) + "\x1b[31mred\n")
    assert deployed.does("deploy-api", "--yes", "--patience=9") == 1
    said = capsys.readouterr().err
    first, *_, last = said[said.index(f"{SCRIPT}: ") :].splitlines()
    assert first.startswith(f"{SCRIPT}: the new version did not come up: Deployment comanda/comanda-api: ")
    assert why in first
    assert "pod comanda-api-2-0: " in first
    starts = {"CrashLoopBackOff", "Running", "ProgressDeadlineExceeded"}
    assert f"\n  Rolled back: {OLD} serves, whole." in said
    assert f"\n  The manifests still name {NEW}: comanda-deploy apply would bring it again.\n" in said
    assert last == (
        f"Next: mend it, then {SCRIPT} update-api-image and {SCRIPT} deploy-api; "
        f"or {SCRIPT} rollback-api lets the manifests name what runs"
    )
    assert ("      | line 29\n      | ?[31mred\n" in said) is (trouble[0] in starts)
    assert "line 10\n" not in said, "the end of it only"
    assert ("main, before start:\n      | the start before\n" in said) is (trouble[0] == "CrashLoopBackOff")
    assert deployed.served() == {OLD: 2}
    assert [each.revision for each in deployed.cluster.rollouts.sets[API]] == [2, 3], "the set from before, again"
    assert level(deployed) == "info", "with the setting from before"
    assert as_applied(deployed) == before, "and nothing is changed by hand"
    assert deployed.named() == {NEW}


def test_a_document_says_which_pods_failed(deployed: Diner, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.cluster.troubles[NEW] = ("CrashLoopBackOff", "")
    assert deployed.does("deploy-api", "--yes", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["outcome"], document["image"], document["previous"]) == ("rolled_back", NEW, OLD)
    assert document["serves"] == OLD
    assert document["failed"] == [
        {"deployment": name, "pod": f"{name}-2-0", "reason": "main ended with 1 (Error), again"}
        for name in ("comanda-api", "comanda-worker")
    ]


def test_of_many_pods_two_are_shown_and_one_deployment_takes_the_other_back(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.cluster.troubles["comanda-worker"] = ("CrashLoopBackOff", "")
    deployed.at[3] = deployed.cluster.troubles.clear
    assert deployed.does("deploy-api", "--yes") == 1
    assert "did not come up: Deployment comanda/comanda-worker: pod" in capsys.readouterr().err
    assert deployed.served() == {OLD: 2}


def test_what_is_new_stays_and_is_named(deployed: Diner, capsys: pytest.CaptureFixture[str]) -> None:
    put(deployed.folder, a3=[manifest("ConfigMap", "more", data={})])
    deployed.cluster.troubles[NEW] = ("CrashLoopBackOff", "")
    assert deployed.does("deploy-api", "--yes") == 1
    assert "\n  New, and left: ConfigMap comanda/more\n" in capsys.readouterr().err
    assert ("", "ConfigMap", "comanda", "more") in deployed.cluster.objects


def test_a_first_version_that_does_not_come_up_is_left_to_be_looked_at(
    diner: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    diner.writes(OLD)
    diner.cluster.troubles[OLD] = ("ImagePullBackOff", "no such tag")
    for _ in range(2):  # once more it is the same: what is there never served
        assert diner.does("deploy-api", "--yes", "--patience", "30") == 1
        said = capsys.readouterr().err
        assert "the new version did not come up: Deployment comanda/comanda-api: pod comanda-api-0: ImagePull" in said
    diner.writes(NEW)
    diner.cluster.troubles[NEW] = ("ImagePullBackOff", "no such tag")
    assert diner.does("deploy-api", "--yes") == 1
    said = capsys.readouterr().err
    assert "No version served before it, so there is none to go back to: it is left as it is" in said
    assert said.endswith(f"Next: mend the cause, then {SCRIPT} deploy-api\n")
    assert diner.image_of(API) == NEW
    del diner.cluster.troubles[NEW]
    assert diner.does("deploy-api", "--yes") == 0, "and mended it goes on"


def test_a_manifest_that_is_refused_half_way_takes_back_what_was_applied(
    deployed: Diner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = manifest("ConfigMap", "more", namespace="nowhere", data={})
    put(deployed.folder, a3=[elsewhere])
    assert deployed.does("deploy-api", "--yes") == 1
    said = capsys.readouterr().err
    assert f"{SCRIPT}: it could not be applied: step api, create ConfigMap nowhere/more: kubectl apply failed: " in said
    assert f"Rolled back: {OLD} serves, whole." in said
    assert (level(deployed), deployed.image_of(API)) == ("info", OLD)


def test_what_is_refused_before_anything_is_touched_is_only_said(
    deployed: Diner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("comanda_deploy.context.AWS_HOSTS", ("127.0.0.1",))  # as if this were AWS: names no registry
    assert deployed.does("deploy-api", "--yes") == 1
    said = capsys.readouterr().err
    assert f"refused image {NEW}: it names no registry" in said
    assert f"infra/scripts/{SCRIPT} update-api-image makes one" in said, "which command makes one"
    assert "Nothing was changed by this run" in said
    assert deployed.image_of(API) == OLD


# What was broken off, or changed by hand.


def test_broken_off_it_says_how_it_goes_on_and_again_it_does(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    deployed.cluster.troubles[NEW] = ("Running", "")
    deployed.at[3] = interrupt
    assert deployed.does("deploy-api", "--yes") == 130
    said = capsys.readouterr().err
    assert f"{SCRIPT}: stopped. The rollout of {NEW} goes on by itself, and nothing takes it back." in said
    assert said.endswith(f"Next: {SCRIPT} deploy-api goes on watching; or {SCRIPT} rollback-api goes back\n")
    assert deployed.holder() is None

    # Again: what is applied already, and never came up, is taken back to what serves.
    assert deployed.does("deploy-api", "--yes", "--patience=5") == 1
    assert f"Rolled back: {OLD} serves, whole." in capsys.readouterr().err
    assert (deployed.image_of(API), deployed.image_of(WORKER)) == (OLD, OLD)
    assert deployed.served() == {OLD: 2}


def test_stopped_while_it_is_taken_back_the_command_that_finishes_it_is_named(
    deployed: Diner, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def spoil() -> None:
        deployed.cluster.rollouts.sets[API][0].up = 0
        deployed.cluster.troubles["comanda-api"] = ("Running", "")
        deployed.at[deployed.slept + 6] = interrupt

    deployed.cluster.troubles[NEW] = ("Running", "")
    deployed.at[1] = spoil
    assert deployed.does("deploy-api", "--yes", "--patience=7") == 130
    said = capsys.readouterr().err
    assert "stopped while it was rolled back" in said
    kept = tmp_path / "state" / "comanda" / KEPT
    assert said.endswith(f"Next: kubectl --context comanda apply --filename {kept}   (finishes it)\n")
    assert kept.stat().st_mode & 0o777 == 0o600
    names = [each["metadata"]["name"] for each in json.loads(kept.read_text(encoding="utf-8"))["items"]]
    assert names == ["settings", "comanda-api", "comanda-worker"]


def test_what_was_rolled_back_by_hand_meanwhile_is_what_it_goes_back_to(deployed: Diner) -> None:
    assert deployed.does("deploy-api", "--yes") == 0
    live = deployed.cluster.objects[API]  # kubectl rollout undo
    live["spec"]["template"] = deployed.cluster.rollouts.sets[API][0].template
    live["metadata"]["generation"] += 1
    deployed.cluster.rollouts.changed(API, live)
    deployed.writes("comanda-api:0.3.0")
    deployed.cluster.troubles["comanda-api:0.3.0"] = ("CrashLoopBackOff", "")
    assert deployed.does("deploy-api", "--yes") == 1
    assert (deployed.image_of(API), deployed.image_of(WORKER)) == (OLD, NEW)
    assert (
        objects.last_applied(deployed.cluster.objects[API])["spec"]["template"]["spec"]["containers"][0]["image"] == OLD
    )


# The cluster is away.


def test_a_cluster_that_is_away_for_a_while_is_waited_for(deployed: Diner, capsys: pytest.CaptureFixture[str]) -> None:
    def away() -> None:
        deployed.account.bed.kubernetes.silent = 5

    deployed.cluster.troubles[NEW] = ("Running", "")
    deployed.at[2] = away
    deployed.at[9] = deployed.cluster.troubles.clear
    assert deployed.does("deploy-api", "--yes") == 0
    assert capsys.readouterr().err.count("not to be asked just now, which is tried again for a minute: ") == 1
    assert deployed.served() == {NEW: 2}


def test_a_cluster_that_stays_away_is_no_longer_watched_and_again_goes_on(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    def away() -> None:
        deployed.account.bed.kubernetes.silent = 1000

    deployed.at[1] = away
    assert deployed.does("deploy-api", "--yes") == 1
    said = capsys.readouterr().err
    assert f"{SCRIPT}: the cluster has not answered for a minute: kubectl get failed: Error: The connection" in said
    assert f"The rollout of {NEW} goes on by itself" in said
    assert f"Next: {SCRIPT} deploy-api goes on watching" in said
    deployed.account.bed.kubernetes.silent = 0
    assert deployed.does("deploy-api", "--yes") == 0


def test_a_cluster_that_is_lost_while_it_is_taken_back_says_what_finishes_it(
    deployed: Diner, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def away() -> None:
        deployed.account.bed.kubernetes.silent = 1000

    deployed.cluster.troubles[NEW] = ("CrashLoopBackOff", "")
    real = deployed.cluster.log

    def log(*arguments: str, before: bool) -> str:
        away()
        return str(real(*arguments, before=before))

    deployed.cluster.logs[NEW] = ("", "a line")
    deployed.cluster.log = log
    assert deployed.does("deploy-api", "--yes", "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["outcome"] == "not_rolled_back"
    assert "\n  rolling back failed: " in said.err
    assert "\n  How it is now cannot be seen: the cluster does not answer.\n" in said.err
    kept = tmp_path / "state" / "comanda" / KEPT
    assert said.err.endswith(f"Next: kubectl --context comanda apply --filename {kept}   (finishes it)\n")
    deployed.account.bed.kubernetes.silent = 0
    deployed.cluster.put(json.loads(kept.read_text(encoding="utf-8"))["items"])
    assert (level(deployed), deployed.image_of(API)) == ("info", OLD)


def test_what_was_before_and_is_not_whole_either_is_no_success(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil() -> None:
        deployed.cluster.rollouts.sets[API][0].up = 0
        deployed.cluster.troubles["comanda-api"] = ("CrashLoopBackOff", "")

    deployed.at[1] = spoil
    assert deployed.does("deploy-api", "--yes") == 1
    said = capsys.readouterr().err
    assert "\n  what was before is applied, and is not whole: Deployment comanda/comanda-api: pod comanda-api-" in said
    assert f"\n  Deployment comanda/comanda-api is to be of {OLD}; " in said


# Others.


@pytest.mark.parametrize("verb", ["deploy-api", "rollback-api"])
def test_another_operator_s_lock_is_respected(deployed: Diner, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    holder = lock.take(deployed.account.context(), "the auditors are here", stays=True)
    before = as_applied(deployed)
    assert deployed.does(verb, "--yes", "--json") == 1
    said = capsys.readouterr()
    assert f"{SCRIPT}: locked by {holder}: wait for it" in said.err
    assert "the auditors are here" in json.loads(said.out)["said"]
    assert as_applied(deployed) == before
    assert deployed.named() == {NEW}
    lock.release(deployed.account.context(), holder)


def test_nobody_to_be_asked_is_nothing_done(deployed: Diner, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("deploy-api", "rollback-api"):
        assert deployed.does(verb) == 1
        assert capsys.readouterr().err.endswith(f"{SCRIPT}: nobody is there to be asked: say --yes\n")
    assert deployed.image_of(API) == OLD
    with pytest.raises(SystemExit) as ended:
        deployed.does("deploy-api", "--patience", "soon")
    assert ended.value.code == 2


# `rollback-api`.


def test_back_to_the_image_before_and_forth_again(deployed: Diner, capsys: pytest.CaptureFixture[str]) -> None:
    assert deployed.does("deploy-api", "--yes") == 0
    capsys.readouterr()
    assert deployed.does("rollback-api", "--yes") == 0
    said = capsys.readouterr()
    assert f"  ~ from {NEW}\n      to {OLD}: the one before\n" in said.out
    assert "The database's schema stays as it is" in said.out
    assert "Written into infra/deployment/api/2.yaml\n" in said.out
    assert said.out.endswith(f"Done: {OLD} serves, before it {NEW} did. Next: comanda-deploy status\n")
    assert (deployed.named(), deployed.served()) == ({OLD}, {OLD: 2})
    assert level(deployed) == "debug", "the image goes back, a setting does not"
    assert deployed.does("rollback-api", "--yes") == 1, "said twice, in the night, it does not undo itself"
    assert f"if you want it again, say --to {NEW}" in capsys.readouterr().err
    assert deployed.does("rollback-api", "--yes", "--to", NEW) == 0
    assert (deployed.named(), deployed.served()) == ({NEW}, {NEW: 2})


def test_after_a_deploy_that_was_taken_back_only_the_manifests_are_written(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.cluster.troubles[NEW] = ("CrashLoopBackOff", "")
    assert deployed.does("deploy-api", "--yes") == 1
    before = as_applied(deployed)
    capsys.readouterr()
    assert deployed.does("rollback-api", "--yes") == 0
    said = capsys.readouterr().out
    assert f"to {OLD}: it serves, and the manifests name another" in said
    assert "Nothing is rolled out: it serves already." in said
    assert said.endswith(f"Done: the manifests name {OLD}, which serves. Next: comanda-deploy plan\n")
    assert deployed.named() == {OLD}
    assert as_applied(deployed) == before


def test_a_rollout_under_way_is_taken_back_by_it(deployed: Diner, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    deployed.cluster.troubles[NEW] = ("Running", "")
    deployed.at[2] = interrupt
    assert deployed.does("deploy-api", "--yes") == 130
    assert deployed.does("rollback-api", "--yes") == 0
    assert f"to {OLD}: it serves, and the rollout of another is under way" in capsys.readouterr().out
    assert (deployed.named(), deployed.served(), deployed.image_of(WORKER)) == ({OLD}, {OLD: 2}, OLD)


def test_an_image_that_does_not_come_up_is_not_gone_back_to(
    deployed: Diner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployed.does("deploy-api", "--yes") == 0
    deployed.cluster.troubles[OLD] = ("ImagePullBackOff", "no such tag")
    capsys.readouterr()
    assert deployed.does("rollback-api", "--yes", "--json") == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["outcome"], document["image"], document["serves"]) == ("rolled_back", OLD, NEW)
    assert deployed.served() == {NEW: 2}
    assert f"The manifests still name {OLD}" in said.err
    del deployed.cluster.troubles[OLD]
    assert deployed.does("rollback-api", "--yes") == 0, "and again: they name what serves"
    assert deployed.named() == {NEW}


def test_to_an_image_that_is_named(deployed: Diner, capsys: pytest.CaptureFixture[str]) -> None:
    other = f"registry.example:5000/{NEW}@sha256:{'5e' * 32}"
    assert deployed.does("rollback-api", "--yes", "--to", other) == 0
    assert (deployed.named(), deployed.served()) == ({other}, {other: 2})
    capsys.readouterr()
    assert deployed.does("rollback-api", "--to", other) == 0
    said = f"Nothing to do: {other} serves, and the manifests name it. Next: comanda-deploy status\n"
    assert capsys.readouterr().out == said
    for wrong in ("postgres:18", "comanda-api", "comanda-api:1 # x", "comanda-api:"):
        with pytest.raises(SystemExit) as ended:
            deployed.does("rollback-api", "--yes", "--to", wrong)
        assert ended.value.code == 2
        assert "is no image of Comanda" in capsys.readouterr().err
    assert deployed.named() == {other}


def test_an_image_that_the_registry_does_not_have_is_refused(
    deployed: Diner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = "123456789012.dkr.ecr.sa-east-1.amazonaws.com/comanda-api"
    tag = "20261125-100000-aaaaaaa"
    assert deployed.does("rollback-api", "--yes", "--to", f"{registry}:{tag}") == 1
    said = capsys.readouterr().err
    assert f"{SCRIPT}: image {registry}:{tag}: the account's registry has no such image: name another with --to" in said
    assert deployed.named() == {NEW}
    pushed(deployed.account, tag)
    assert deployed.does("rollback-api", "--yes", "--to", f"{registry}:{tag}") == 0
    assert deployed.served() == {f"{registry}:{tag}": 2}


def test_without_an_image_before_it_is_said_how_one_is_named(diner: Diner, capsys: pytest.CaptureFixture[str]) -> None:
    diner.writes(OLD)
    assert diner.does("rollback-api", "--yes") == 1
    assert f"no image of ours serves yet, so there is none to go back from: {SCRIPT} deploy-api" in (
        capsys.readouterr().err
    )
    assert diner.does("deploy-api", "--yes") == 0
    capsys.readouterr()
    assert diner.does("rollback-api", "--yes") == 1
    said = capsys.readouterr().err
    assert said == f"{SCRIPT}: no image before {OLD} is known: name one, {SCRIPT} rollback-api --to IMAGE\n"


def test_what_came_by_another_way_is_gone_back_from_to_what_was_right_before_it(deployed: Diner) -> None:
    assert deployed.does("deploy-api", "--yes") == 0
    third = "comanda-api:0.3.0"
    deployed.writes(third)
    assert main(["step", "api", "--yes"]) == 0, "which notes nothing"
    assert deployed.served() == {third: 2}
    assert deployed.does("rollback-api", "--yes") == 0
    assert deployed.served() == {NEW: 2}, "and not two back"


def test_what_was_gone_back_from_once_and_deployed_again_can_be_gone_back_to(deployed: Diner) -> None:
    assert deployed.does("deploy-api", "--yes") == 0
    assert deployed.does("rollback-api", "--yes") == 0
    deployed.writes(NEW)
    assert deployed.does("deploy-api", "--yes") == 0
    deployed.writes("comanda-api:0.3.0")
    assert deployed.does("deploy-api", "--yes") == 0
    assert deployed.does("rollback-api", "--yes") == 0
    assert deployed.served() == {NEW: 2}


def test_from_an_image_that_was_named_it_goes_back_to_the_one_before(deployed: Diner) -> None:
    assert deployed.does("rollback-api", "--yes", "--to", NEW) == 0
    assert deployed.does("rollback-api", "--yes") == 0
    assert deployed.served() == {OLD: 2}


def test_without_a_note_the_replica_sets_know_the_image_before(deployed: Diner) -> None:
    assert deployed.does("deploy-api", "--yes") == 0
    del deployed.cluster.objects[API]["metadata"]["annotations"]["comanda/previous-image"]
    assert deployed.does("rollback-api", "--yes") == 0
    assert deployed.served() == {OLD: 2}


def test_a_note_that_cannot_be_written_is_no_failed_deploy(
    deployed: Diner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        deployed.account.bed.kubernetes.silent = 100
        deployed.account.bed.kubernetes._reachable()

    monkeypatch.setattr(deployed.cluster, "annotate", refuse)
    assert deployed.does("deploy-api", "--yes") == 0
    deployed.account.bed.kubernetes.silent = 0
    assert "That could not be noted (kubectl annotate failed: " in capsys.readouterr().out
