"""`deploy-api`: API and worker applied, their rollout watched, and taken back by itself if it comes to nothing."""

import argparse
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from comanda_deploy import backups, commands, engine, going_back, kubectl, needs, objects, report, rollout, watching
from comanda_deploy import lock as locks
from comanda_deploy.arguments import Parser, confirm
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.going_back import Before
from comanda_deploy.names import DATABASE_NAMESPACE, NAMESPACE
from comanda_deploy.objects import Json, Key, Object
from comanda_deploy.outcome import Failed, Outcome, Result, ended
from comanda_deploy.rollout import Verdict
from comanda_deploy.steps import application
from comanda_deploy.steps.application import Application
from comanda_deploy.watching import UnreachedError

API: Key = ("apps", "Deployment", NAMESPACE, "comanda-api")
"""Whose image is said to be the one that serves."""
PREVIOUS = "comanda/previous-image"
PREVIOUS_OF = "comanda/previous-image-of"
"""Annotations of that Deployment, for `rollback-api`: the image before, and before which: what comes by another way
than this verb notes nothing, and an old note must not be taken for its own."""
PATIENCE_SECONDS = 180
DEPLOY = "eks-cluster-mng.sh deploy-api"
ROLL_BACK = "eks-cluster-mng.sh rollback-api"
UPDATE = "eks-cluster-mng.sh update-api-image"
STATUS = "comanda-deploy status"


def add_options(parser: Parser) -> None:
    """Add what deploy-api and rollback-api take beside --yes and --json."""
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=PATIENCE_SECONDS,
        metavar="SECONDS",
        help=f"how long nothing may move before it is rolled back ({PATIENCE_SECONDS}); pods that only wait for a node "
        "have ten minutes",
    )


def deploy(options: Namespace) -> int:
    """Roll out what the manifests say; if it does not come up, roll it back.

    Raises:
        DeployError: it was rolled back, or could not be begun, or not be rolled back: which, and what serves now.
    """
    if options.only_plan:
        return commands.step(options)
    return ended(options, lambda context: _deploy(context, options))


def _deploy(context: Context, options: Namespace) -> Result:
    needs.look(context, [application.API])
    if not plan(context):
        image = image_named(objects.read(application.API.folder))
        said = "Nothing to do: all of it is as it should be."
        return Result(Outcome.UNCHANGED, said, STATUS, image=image, serves=image)
    confirm(options, "Go on? [y/N] ")
    with locks.locked(context, options.goes_on_with):
        return carry_out(context, options)


def plan(context: Context) -> bool:
    """Show what would be done, and answer whether there is anything."""
    plans = engine.plan(context, [application.API])
    print(report.as_text(plans))
    return any(each.to_do for each in plans)


def image_named(wanted: Sequence[Object]) -> str:
    """Answer which image of ours the API's Deployment is to have, by its manifest."""
    return next((rollout.image_of(each.body) for each in wanted if each.key == API), "")


def carry_out(context: Context, options: Namespace) -> Result:
    """Apply, watch, and roll back where that is needed; whoever calls this holds the lock.

    Raises:
        DeployError: nothing was changed.
    """
    progress = report.Terminal(context, sys.stderr)
    progress.step(application.API)
    wanted = objects.read(application.API.folder)
    before = going_back.remember(context, wanted)
    patience = timedelta(seconds=options.patience)
    return _Rollout(context, progress, wanted, before, patience, options.goes_on_with).run()


@dataclass(frozen=True)
class _Rollout:
    """One deploy.

    Args:
        wanted: what the manifests say. before: how it was. again: the command that goes on with it.
    """

    context: Context
    progress: report.Terminal
    wanted: tuple[Object, ...]
    before: Before
    patience: timedelta
    again: str

    @property
    def image(self) -> str:
        return image_named(self.wanted)

    @property
    def previous(self) -> str:
        return self.before.served.get(API, "")

    def run(self) -> Result:
        api = application.API
        step = Application(api.name, api.about, api.folder, waits=False)
        try:
            engine.apply(self.context, [step], self.progress)
            failed = self._watch(going_back.deployments(self.wanted), self.before.deadlines)
        except engine.Failure as failure:
            return self._back(f"it could not be applied: {failure}", {})
        except UnreachedError as error:
            return self._unwatched(str(error))
        except KeyboardInterrupt:
            return self._interrupted()
        if not failed:
            return self._done()
        why = "; ".join(f"{objects.named(key)}: {verdict.said}" for key, verdict in failed.items())
        try:
            for key, verdict in failed.items():
                watching.tell(self.context, key, verdict.unready)
            return self._back(f"the new version did not come up: {why}", failed)
        except KeyboardInterrupt:
            return self._interrupted()

    def _watch(self, keys: Sequence[Key], stale: Mapping[Key, str]) -> dict[Key, Verdict]:
        return watching.watch(self.context, keys, self.progress.say, patience=self.patience, stale=stale)

    def _done(self) -> Result:
        said = f"Done: {self.image or 'all of it'} serves."
        if self.previous and self.image and self.previous != self.image:
            said = f"Done: {self.image} serves, before it {self.previous} did."
            try:
                watching.patiently(self.context, self._annotate, self.progress.say)
            except DeployError as error:
                said += f" That could not be noted ({error}): rollback-api will want its --to."
        return self._result(Outcome.DEPLOYED, said, self._next(), serves=self.image)

    def _next(self) -> str:
        """Answer what comes next: the jobs of the backups are of the same image, and applied with the database."""
        try:
            job = kubectl.one(self.context, "cronjob", backups.JOB, namespace=DATABASE_NAMESPACE) or {}
        except DeployError:
            return STATUS
        template = job.get("spec", {}).get("jobTemplate", {}).get("spec", {}).get("template", {})
        runs = {each["image"] for each in template.get("spec", {}).get("containers", ())}
        if not self.image or runs <= {self.image}:
            return STATUS
        return f"eks-cluster-mng.sh deploy-database   (its backups still run {', '.join(sorted(runs))})"

    def _annotate(self) -> None:
        note(self.context, {PREVIOUS: self.previous, PREVIOUS_OF: self.image})

    def _back(self, why: str, failed: Mapping[Key, Verdict]) -> Result:
        """Bring back what was before, and answer how that ended."""
        documents = list(self.before.documents.values())
        try:
            documents, new = watching.patiently(self.context, self._undone, self.progress.say)
            if not documents and not new:
                return self._unchanged(why, failed)
            if not self.before.served:
                return self._left(why, failed, new)
            self.progress.say(f"- rolling back: {', '.join(_names(documents)) or 'nothing that was there before'}")
            # What is said of the rollout that failed is said of this one too, until it has moved.
            late = watching.patiently(self.context, self._deadlines, self.progress.say)
            if documents:
                bring_back = lambda: going_back.bring_back(self.context, documents)  # noqa: E731 - asked again
                watching.patiently(self.context, bring_back, self.progress.say)
            if worse := self._watch(list(self.before.served), late):
                for key, verdict in worse.items():
                    watching.tell(self.context, key, verdict.unready)
                text = "; ".join(f"{objects.named(key)}: {verdict.said}" for key, verdict in worse.items())
                return self._not_back(why, f"what was before is applied, and is not whole: {text}", failed, documents)
        except KeyboardInterrupt:
            said = "stopped while it was rolled back: what is applied stays, and Kubernetes goes on with it."
            next_ = f"{going_back.keep(self.context, documents)}   (finishes it)"
            return self._result(Outcome.INTERRUPTED, said, next_, failed=failed)
        except DeployError as error:
            return self._not_back(why, f"rolling back failed: {error}", failed, documents)
        lines = [
            why,
            f"  Rolled back: {self.previous or 'what was before'} serves, whole. The database's schema stays as it is.",
            *([f"  New, and left: {', '.join(new)}"] if new else []),
            f"  The manifests still name {self.image}: comanda-deploy apply would bring it again.",
        ]
        next_ = f"mend it, then {UPDATE} and {self.again}; or {ROLL_BACK} lets the manifests name what runs"
        return self._result(Outcome.ROLLED_BACK, "\n".join(lines), next_, self.previous, failed, new)

    def _undone(self) -> tuple[list[Json], list[str]]:
        return going_back.undone(self.context, self.wanted, self.before)

    def _deadlines(self) -> dict[Key, str]:
        seen = watching.look(self.context, going_back.deployments(self.wanted))
        return {key: rollout.deadline_of(each.deployment) for key, each in seen.items()}

    def _unchanged(self, why: str, failed: Mapping[Key, Verdict]) -> Result:
        said = f"{why}\n  Nothing was changed by this run, so there is nothing to take back; the lock is free."
        return self._result(Outcome.FAILED, said, f"mend the cause, then {self.again}", self.previous, failed)

    def _left(self, why: str, failed: Mapping[Key, Verdict], new: list[str]) -> Result:
        said = (
            f"{why}\n"
            "  No version served before it, so there is none to go back to: it is left as it is, to be looked at:\n"
            f"  {' '.join(kubectl.KUBECTL)} describe pods --namespace {NAMESPACE}"
        )
        return self._result(Outcome.LEFT, said, f"mend the cause, then {self.again}", "", failed, new)

    def _not_back(self, why: str, what: str, failed: Mapping[Key, Verdict], documents: Sequence[Json]) -> Result:
        command = going_back.keep(self.context, documents)
        lines = [why, f"  {what}", *(f"  {each}" for each in self._states())]
        return self._result(Outcome.NOT_ROLLED_BACK, "\n".join(lines), f"{command}   (finishes it)", failed=failed)

    def _states(self) -> list[str]:
        """Answer how each Deployment is, as far as the cluster says so."""
        try:
            seen = watching.look(self.context, going_back.deployments(self.wanted))
        except DeployError:
            return ["How it is now cannot be seen: the cluster does not answer."]
        return [
            f"{objects.named(key)} is to be of {rollout.image_of(each.deployment) or 'no image of ours'}; "
            f"{rollout.image_of(each.serving) or 'nothing'} serves"
            for key, each in seen.items()
        ]

    def _unwatched(self, why: str) -> Result:
        return self._alone(Outcome.UNWATCHED, f"the cluster has not answered for a minute: {why}\n  ")

    def _interrupted(self) -> Result:
        return self._alone(Outcome.INTERRUPTED, "stopped. ")

    def _alone(self, outcome: Outcome, why: str) -> Result:
        said = (
            f"{why}The rollout of {self.image} goes on by itself, and nothing takes it back. Pods from before serve "
            "until new ones are ready."
        )
        return self._result(outcome, said, f"{self.again} goes on watching; or {ROLL_BACK} goes back")

    def _result(
        self,
        outcome: Outcome,
        said: str,
        next_: str,
        serves: str = "",
        failed: Mapping[Key, Verdict] | None = None,
        stays: Sequence[str] = (),
    ) -> Result:
        pods = [each for key, verdict in (failed or {}).items() for each in _failed(key, verdict)]
        return Result(outcome, said, next_, self.image, self.previous, serves, failed=pods, stays=list(stays))


def note(context: Context, notes: Mapping[str, str]) -> None:
    """Write annotations of the API's Deployment, which `rollback-api` reads.

    Raises:
        DeployError: the cluster does not take them.
    """
    _, _, namespace, name = API
    words = [f"{each}={value}" for each, value in notes.items()]
    kubectl.answer_of(context, "annotate", "deployment.apps", name, *words, "--overwrite", "--namespace", namespace)


def _failed(key: Key, verdict: Verdict) -> list[Failed]:
    found = [Failed(key[3], each.pod, each.reason) for each in verdict.unready]
    return found or [Failed(key[3], "", verdict.said)]


def _names(documents: Sequence[Json]) -> list[str]:
    return [objects.named(objects.key_of(each)) for each in documents]


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds, as 180")
    return int(text)
