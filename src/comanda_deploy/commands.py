"""The commands: what each asks, does, and says in the end."""

import json
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from getpass import getpass
from pathlib import Path
from typing import Any

import boto3
import msgspec
from botocore.session import Session as BotocoreSession

from comanda_deploy import engine, inventory, needs, report, tools
from comanda_deploy import lock as locks
from comanda_deploy.arguments import confirm
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import CLUSTER, OPERATOR_USER
from comanda_deploy.runbook import BOOTSTRAP, REMOVAL, STEPS, named
from comanda_deploy.settings import KEEPABLE, Settings, read_settings
from comanda_deploy.status import as_text, status_of
from comanda_deploy.step import Step
from comanda_deploy.steps import kubeconfig, roles

SCRIPTS = Path(__file__).parents[2] / "infra" / "scripts"

SOMETHING_TO_DO = 2
AFTER_BOOTSTRAP = f"make an access key for {OPERATOR_USER}, then infra/scripts/eks-cluster-deploy.sh setup-aws-auth"
AFTER_REMOVAL = "nothing: of it the account has only AWS's own service-linked roles left, which cost nothing"


def run(options: Namespace) -> int:
    """Run the command that was asked for, and answer the exit code."""
    command: Callable[[Namespace], int] = globals()[options.command]
    return command(options)


def plan(options: Namespace) -> int:
    """Say what apply would do."""
    context = context_of(options)
    plans = engine.plan(context, STEPS)
    _show(plans, options)
    to_do = any(each.to_do for each in plans)
    if to_do and not options.json:
        print("Next: comanda-deploy apply")
    return SOMETHING_TO_DO if to_do else 0


def apply(options: Namespace) -> int:
    """Make all of it so."""
    again = "comanda-deploy apply"
    return _apply(context_of(options), STEPS, options, why="apply", again=again, next_="comanda-deploy status")


def step(options: Namespace) -> int:
    """Make one step so, or several."""
    context = context_of(options)
    steps = [named(name) for name in options.names]
    if options.only_plan:
        plans = engine.plan(context, steps)
        _show(plans, options)
        return SOMETHING_TO_DO if any(each.to_do for each in plans) else 0
    needs.look(context, steps)
    names = " ".join(options.names)
    # A verb of the runbook's scripts goes on under the name it was typed by.
    again = getattr(options, "goes_on_with", f"comanda-deploy step {names}")
    return _apply(
        context, steps, options, why=again, again=again, next_=getattr(options, "next", "comanda-deploy plan")
    )


def bootstrap(options: Namespace) -> int:
    """Make the operator's user and every role, or take them away."""
    if options.only_print:
        print(roles.console_way())
        return 0
    context = context_of(options)
    return _apply(
        context,
        BOOTSTRAP,
        options,
        why="bootstrap",
        again="comanda-deploy bootstrap",
        next_=AFTER_REMOVAL if options.remove else AFTER_BOOTSTRAP,
        removal=options.remove,
        locked=False,  # the lock is the operator's; whoever bootstraps may stand before there is one
    )


def destroy(options: Namespace) -> int:
    """Take all of it down, and prove that nothing is left."""
    context = context_of(options)
    if options.keep is not None:
        context.settings = _keeping(context.settings, options.keep)
    kept = ", ".join(context.settings.destroy.keep) or "nothing"
    plans = engine.plan(context, REMOVAL, removal=True)
    if any(each.to_do for each in plans):
        print(report.as_text(plans))
        print(f"Kept: {kept}.")
        confirm(options, f"This deletes the cluster and what is in it. Type its name, {CLUSTER}: ", CLUSTER)
        with locks.locked(context, "destroy"):
            _carry_out(context, REMOVAL, again="comanda-deploy destroy", removal=True)
    found = inventory.take(context)
    print(inventory.as_text(found))
    if left := [thing for thing in found if not thing.kept]:
        raise DeployError(f"{len(left)} things are left that were not to be kept: run comanda-deploy destroy again")
    return 0


def status(options: Namespace) -> int:
    """Say how things are."""
    context = context_of(options)
    found = status_of(context)
    print(json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False) if options.json else as_text(found))
    return 0 if found.healthy else 1


def lock(options: Namespace) -> int:
    """Keep others away."""
    holder = locks.take(context_of(options), options.why, stays=True)
    print(f"Locked by {holder}. Next: comanda-deploy unlock, when it is over")
    return 0


def unlock(options: Namespace) -> int:
    """Let others in again."""
    context = context_of(options)
    holder = locks.holder_of(context)
    if holder is None:
        print("It is not locked.")
        return 0
    confirm(options, f"Locked by {holder}. Take the lock away? [y/N] ")
    locks.release(context, holder)
    print("Unlocked.")
    return 0


def env(options: Namespace) -> int:
    """Print what the scripts' environment is made of."""
    settings = read_settings(options.settings)
    values = {
        "AWS_REGION": settings.aws.region,
        "AWS_DEFAULT_REGION": settings.aws.region,
        "AWS_PROFILE": None if _has_keys() else os.environ.get("AWS_PROFILE") or settings.aws.profile,
        "COMANDA_SETTINGS": str(options.settings.resolve()) if options.settings else None,
        "COMANDA_CLUSTER": CLUSTER,
        "KUBECONFIG": kubeconfig.with_our_context(os.environ),
        "PATH": os.pathsep.join([*_before_path(), os.environ.get("PATH", os.defpath)]),
    }
    for name, value in values.items():
        if value is not None:
            print(f"export {name}={shlex.quote(value)}")
    return 0


def _before_path() -> list[str]:
    """Answer where comanda-deploy, the scripts, and what setup-env installs are, but for what is in PATH already."""
    there = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [place for place in map(str, (SCRIPTS, tools.bin_folder(os.environ))) if place not in there]


def context_of(options: Namespace) -> Context:
    """Answer what a command works with: the settings that were asked for, and AWS as whoever runs it."""
    settings = read_settings(options.settings)
    environment = dict(os.environ)
    environment.setdefault("AWS_REGION", settings.aws.region)
    return Context(
        settings=settings,
        session=_session(settings),
        environment=environment,
        ask=getpass if sys.stdin.isatty() else None,
    )


def _session(settings: Settings) -> boto3.Session:
    """Answer boto3's session: AWS_PROFILE goes first, then keys in the environment, then the settings' profile."""
    profile: str | None = None
    if not os.environ.get("AWS_PROFILE") and not _has_keys():
        known = BotocoreSession().available_profiles
        profile = settings.aws.profile if settings.aws.profile in known else None
    return boto3.Session(profile_name=profile, region_name=settings.aws.region)


def _has_keys() -> bool:
    return bool(os.environ.get("AWS_ACCESS_KEY_ID"))


def _show(plans: Sequence[engine.StepPlan], options: Namespace) -> None:
    print(report.as_json(plans) if options.json else report.as_text(plans))


def _apply(
    context: Context,
    steps: Sequence[Step[Any]],
    options: Namespace,
    *,
    why: str,
    again: str,
    next_: str,
    removal: bool = False,
    locked: bool = True,
) -> int:
    plans = engine.plan(context, steps, removal=removal)
    print(report.as_text(plans))
    if not any(each.to_do for each in plans):
        print(f"Nothing to do: all of it is as it should be. Next: {next_}")
        return 0
    confirm(options, "Go on? [y/N] ")
    if locked:
        with locks.locked(context, why):
            done = _carry_out(context, steps, again=again, removal=removal)
    else:
        done = _carry_out(context, steps, again=again, removal=removal)
    print(f"Done: {done} changes. Next: {next_}")
    return 0


def _carry_out(context: Context, steps: Sequence[Step[Any]], *, again: str, removal: bool = False) -> int:
    progress = report.Terminal(context)
    try:
        return len(engine.apply(context, steps, progress, removal=removal))
    except engine.Failure as failure:
        raise DeployError(
            f"{failure}\n"
            f"  {len(failure.done)} changes were made and stay; nothing else was touched, and the lock is free.\n"
            f"  Mend the cause, then go on with: {again}   (comanda-deploy plan says what is left)"
        ) from failure


def _keeping(settings: Settings, kinds: str) -> Settings:
    keep = () if kinds == "none" else tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
    if unknown := set(keep) - set(KEEPABLE):
        raise DeployError(f"--keep {', '.join(sorted(unknown))}: allowed is {', '.join(KEEPABLE)}, or none")
    return msgspec.structs.replace(settings, destroy=msgspec.structs.replace(settings.destroy, keep=keep))
