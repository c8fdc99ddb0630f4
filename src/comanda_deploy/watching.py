"""Watches the rollouts of Deployments until all are done or one will come to nothing, and reads why from the pods."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from comanda_deploy import kubectl, objects, rollout
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, NotFromHereError
from comanda_deploy.objects import Key
from comanda_deploy.rollout import Memory, Seen, State, Unready, Verdict

LOOKS_EVERY_SECONDS = 2.0
ASKS_AGAIN_SECONDS = 5.0
UNREACHED = timedelta(seconds=60)
"""How long the cluster may not answer, or credentials not be had, before nobody watches any longer."""
LINES = 20
"""Of a container's log."""
PODS = 2
"""Of a Deployment: more of them fail for the same reason."""

Found = TypeVar("Found")
Say = Callable[[str], None]


class UnreachedError(DeployError):
    """The cluster has not answered for a minute: what is under way there goes on, and nobody sees it."""


def look(context: Context, keys: Sequence[Key]) -> dict[Key, Seen]:
    """Answer how the Deployments of some keys are.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    found = []
    for namespace in sorted({key[2] for key in keys}):
        kinds = "deployments.apps,replicasets.apps,pods"
        arguments = ("get", kinds, "--namespace", namespace or "default", "--output", "json")
        found += objects.items(kubectl.answer_of(context, *arguments))
    return rollout.seen_of(found, keys)


def patiently(context: Context, ask: Callable[[], Found], say: Say) -> Found:
    """Answer what the cluster answers, asked again where it does not for a while.

    Raises:
        UnreachedError: it has not answered for a minute.
        DeployError: it answered, and refused.
    """
    since, told = context.clock(), False
    while True:
        try:
            return ask()
        except NotFromHereError:
            raise
        except DeployError as error:
            if objects.REFUSED.search(str(error)):
                raise
            if context.clock() - since > UNREACHED:
                raise UnreachedError(str(error)) from error
            if not told:
                say(f"  not to be asked just now, which is tried again for a minute: {error}")
            told = True
            context.sleep(ASKS_AGAIN_SECONDS)


def watch(
    context: Context, keys: Sequence[Key], say: Say, *, patience: timedelta, stale: Mapping[Key, str]
) -> dict[Key, Verdict]:
    """Watch until all are done; answer {} then, or what failed.

    Args:
        patience: how long nothing may move. stale: `rollout.deadline_of` each before its rollout began.
        say: takes a line whenever something changed.

    Raises:
        UnreachedError: the cluster has not answered for a minute.
    """
    memories = {key: Memory(context.clock()) for key in keys}
    told: dict[Key, str] = {}
    while True:
        asked = context.clock()
        seen = patiently(context, lambda: look(context, keys), say)
        now = context.clock()
        if now - asked > timedelta(seconds=ASKS_AGAIN_SECONDS):
            # Whether anything moved while nobody looked, nobody knows.
            memories = {key: replace(memory, moved=now) for key, memory in memories.items()}
        verdicts = {
            key: rollout.judge(seen[key], memories[key], now, patience=patience, stale=stale.get(key, ""))
            for key in keys
        }
        memories = {key: verdict.memory for key, verdict in verdicts.items()}
        for key, verdict in verdicts.items():
            if told.get(key) != verdict.said:
                told[key] = verdict.said
                say(f"{SIGNS[verdict.state]} {objects.named(key)}: {verdict.said}")
        if failed := {key: verdict for key, verdict in verdicts.items() if verdict.state is State.FAILED}:
            return failed
        if all(verdict.state is State.DONE for verdict in verdicts.values()):
            return {}
        context.sleep(LOOKS_EVERY_SECONDS)


SIGNS = {State.DONE: " ", State.ROLLING: "…", State.FAILED: "!"}


def tell(context: Context, key: Key, unready: Sequence[Unready]) -> None:
    """Say, on stderr, of the pods of a Deployment that failed why, and the last that their containers wrote."""
    for each in unready[:PODS]:
        print(f"  pod {each.pod}: {each.reason}", file=sys.stderr)
        for which, lines in _logs(context, key[2], each):
            print(f"    {which}:", file=sys.stderr)
            for line in lines:
                print(f"      | {line}", file=sys.stderr)
    if len(unready) > PODS:
        print(f"  and {len(unready) - PODS} more pods of {objects.named(key)}", file=sys.stderr)


def _logs(context: Context, namespace: str, each: Unready) -> Iterator[tuple[str, list[str]]]:
    """Answer the end of a container's logs: of the start before, where there was one, and of the last."""
    if not each.started:
        return
    known: list[str] = []
    for name, flags in (("before", ["--previous"]), ("last", [])) if each.ended else (("last", []),):
        arguments = ["--namespace", namespace or "default", "--container", each.container, f"--tail={LINES}", *flags]
        try:
            answer = kubectl.run(context, "logs", each.pod, *arguments)
        except DeployError as error:
            yield f"the log of {each.container} cannot be had", [str(error)]
            return
        # The node keeps one of a start before only for a while: that it is gone is no news.
        lines = [_printable(line) for line in answer.stdout.splitlines()[-LINES:]] if not answer.returncode else []
        if lines and lines != known:
            known = lines
            yield f"{each.container}, {name} start", lines


def _printable(line: str) -> str:
    """Answer a line that does nothing to the terminal that it is shown on."""
    return "".join(each if each.isprintable() or each == "\t" else "?" for each in line)
