"""`db-restore`: the database as it was at a backup, whatever is left of it now, and then the money of what came since.

Each part looks at how things are before it does anything, so that the same command goes on where another one ended.
The disk from before is never deleted: it stays, let go of, until somebody deletes it.
"""

import argparse
import json
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from comanda_deploy import backups, commands, jobs, kubectl, rotation, waiting
from comanda_deploy import lock as locks
from comanda_deploy.arguments import Parser, add_json, confirm
from comanda_deploy.aws_errors import explain
from comanda_deploy.backups import CLAIM, UNDER_WAY, UNSETTLED, Backup, claim_for, snapshot_for
from comanda_deploy.context import Context
from comanda_deploy.database_state import POD, SET, Facts, claim_of, look, node_answers, pod_of, serves_since
from comanda_deploy.errors import DeployError
from comanda_deploy.names import DATABASE_NAMESPACE, NAMESPACE
from comanda_deploy.objects import Json

ENDS_SECONDS = 150
"""How long the pod may take to end: its grace is 120 s. One that takes longer is on a node that does not answer."""
SILENT_SECONDS = 5
"""The same, where its node is known not to answer."""
GOES_SECONDS = 60
COMES_BACK_SECONDS = 30
"""How long a database that has its disk may take to serve again before it is restored over: it recovers in less from a
kill, a restart, a node that was away for a moment. --replace-living does not wait."""
STARTS_SECONDS = 600
"""How long the new disk may take to be made, attached, and recovered on."""
ROLLS_SECONDS = 600
SETTLES_SECONDS = 1200


def add_options(parser: Parser) -> None:
    """Add what db-restore takes beside --yes."""
    add_json(parser)
    parser.add_argument("backup", nargs="?", metavar="BACKUP", help="its name, or EBS's; otherwise the newest")
    parser.add_argument("--list", action="store_true", help="only say which backups there are")
    parser.add_argument("--before", type=_moment, metavar="TIME", help="the newest before that: 2026-11-26T14:05:00Z")
    parser.add_argument(
        "--replace-living",
        action="store_true",
        help="restore although the database serves: what it took in since the backup is then on the old disk alone",
    )
    parser.add_argument(
        "--lost",
        choices=("refund", "keep"),
        default="refund",
        help="what becomes of payments whose orders the backup does not know: the money goes back, or, if the kitchen "
        "is sure to have served them, is kept and marked for a person to look at",
    )


def restore(options: Namespace) -> int:
    """Restore a backup, and settle what was paid since.

    Raises:
        DeployError: it cannot be done, or ended half-way: what was done, and that the same command goes on.
    """
    context = commands.context_of(options)
    kubectl.reach(context)
    known = backups.all_of(context)
    if options.list:
        return _list(known, options)
    facts = look(context)
    if not facts.exists:
        raise DeployError(
            "there is no StatefulSet to restore into: infra/scripts/eks-cluster-mng.sh deploy-database makes an empty "
            "one, then say this again with --replace-living"
        )
    if not facts.template:
        raise DeployError("StatefulSet database asks for no disk: put it back with eks-cluster-mng.sh deploy-database")
    backup = _which(known, facts, options)
    begins = facts.under_way != backup.name
    say = _Saying(context, sys.stderr if options.json else sys.stdout)
    if begins and facts.may_come_back and not options.replace_living:
        say.line(
            f"The database does not serve, and its disk {facts.disk} is there: it may come back by itself, and lose "
            f"nothing. Waiting {COMES_BACK_SECONDS} s for it."
        )
        waiting.until(context, lambda: look(context).alive, COMES_BACK_SECONDS)
        facts = look(context)
    if facts.alive and begins and not options.replace_living:
        age = _age(context.clock(), backup)
        raise DeployError(
            f"the database is alive. {backup.name} is {age} old: what came since would be on the old disk alone. If "
            "that is what you want, say --replace-living"
        )
    say.line(f"Restore {backup.name} ({backup.handle or 'on the disk by now'}), {_age(context.clock(), backup)} old.")
    if not begins:
        say.line("It was begun already: what is left of it is done.")
    elif facts.claim:
        say.line(f"The disk that is there now, {facts.disk or 'not made yet'}, is kept and let go of.")
    say.line("Guests get 503 until it serves again. Then money that came since is settled with Mercado Pago.")
    if options.json and not options.yes:
        print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    confirm(options, "" if options.json else "Go on? [y/N] ")
    with locks.locked(context, "db-restore"):
        # Another operator may have been at it while this one was asked; or it has recovered by itself.
        now = look(context)
        if now.identity != facts.identity or (begins and now.alive and not facts.alive):
            raise DeployError("what there is of the database has changed meanwhile: say it again")
        done = _carry_out(context, backup, facts, options, say)
    if options.json:
        print(json.dumps(done))
    else:
        say.line(f"Restored: {backup.name}, after {done['seconds']} s. {in_words(done['settled'])}")
        say.line("Next: comanda-deploy status")
    return 0


@dataclass
class _Saying:
    """Says what is done and when, counted from the beginning."""

    context: Context
    to: Any
    began: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.context.clock()

    @property
    def seconds(self) -> int:
        return round((self.context.clock() - self.began).total_seconds())

    def line(self, text: str) -> None:
        print(text, file=self.to, flush=True)

    def done(self, text: str) -> None:
        self.line(f"{self.seconds:5d} s  {text}")


def _carry_out(context: Context, backup: Backup, facts: Facts, options: Namespace, say: _Saying) -> Json:
    old = ""
    # From then on the same command goes on without being told so, and once all is done it is refused.
    begun = facts.under_way == backup.name
    # A restore whose money was never settled may have been before this one.
    since = min(filter(None, (backup.taken, facts.unsettled)))
    try:
        _kubectl_db(context, "annotate", "statefulset", SET, f"{UNSETTLED}={since.isoformat()}", "--overwrite")
        if not begun:
            claim = json.dumps(claim_for(backup, facts.template))
            old = facts.disk
            _let_go(context, facts, say)
            if not backup.in_cluster:
                _make_known(context, backup, say)
            kubectl.answer_of(context, "apply", "--filename=-", standard_input=claim)
            begun = True
        _start(context, say)
        rotation.passwords_into_database(context)
        say.done("its users have the passwords of now")
        _restart(context, say)
        settled = _settle(context, since, options, say)
        _kubectl_db(context, "annotate", "statefulset", SET, f"{UNSETTLED}-")
        # The next drill compares with it, and what was just settled is worth keeping.
        jobs.run(context, DATABASE_NAMESPACE, backups.JOB, seconds=backups.TAKES_SECONDS)
        say.done("a new backup is there")
        # Last of all: until then the same command goes on. A dash takes an annotation away.
        _kubectl_db(context, "annotate", "persistentvolumeclaim", CLAIM, f"{UNDER_WAY}-")
    except (DeployError, ClientError, BotoCoreError) as error:
        living = " --replace-living" if options.replace_living and not begun else ""
        again = f"infra/scripts/eks-cluster-mng.sh db-restore {backup.name} --lost {options.lost}{living} --yes"
        kept = f"\n  The disk from before is kept: {old}." if old else ""
        raise DeployError(f"{explain(error)}{kept}\n  Mend the cause, then go on with: {again}") from error
    return {**backups.as_json(backup), "seconds": say.seconds, "old_disk": old, "settled": settled}


def _let_go(context: Context, facts: Facts, say: _Saying) -> None:
    """Stop the database and part it from its disk."""
    _kubectl_db(context, "scale", "statefulset", SET, "--replicas=0")
    patience = ENDS_SECONDS if node_answers(context) else SILENT_SECONDS
    if not waiting.until(context, lambda: pod_of(context) is None, patience):
        # Its node does not answer. Two servers on one disk it cannot come to: the next one gets another disk.
        _kubectl_db(context, "delete", "pod", POD, "--force", "--grace-period=0", "--ignore-not-found", "--wait=false")
        _wait(context, "the pod to be gone", lambda: pod_of(context) is None, GOES_SECONDS)
    say.done("the database is stopped")
    if facts.claim is None:
        return
    if facts.disk and kubectl.one(context, "persistentvolume", facts.disk):
        retain = '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'
        kubectl.answer_of(context, "patch", "persistentvolume", facts.disk, f"--patch={retain}")
    _kubectl_db(context, "delete", "persistentvolumeclaim", CLAIM, "--ignore-not-found", "--wait=false")
    if not waiting.until(context, lambda: claim_of(context) is None, GOES_SECONDS):
        # A snapshot of a disk that is no more is never done, and holds the claim. The disk itself is kept by now.
        _kubectl_db(context, "patch", "persistentvolumeclaim", CLAIM, '--patch={"metadata":{"finalizers":null}}')
        _wait(context, "the claim to be gone", lambda: claim_of(context) is None, GOES_SECONDS)
    say.done(f"its disk {facts.disk} is kept, and let go of" if facts.disk else "its claim, without a disk, is gone")


def _make_known(context: Context, backup: Backup, say: _Saying) -> None:
    for each in snapshot_for(backup):
        kubectl.answer_of(context, "apply", "--filename=-", standard_input=json.dumps(each))

    def ready() -> bool:
        found = kubectl.one(context, backups.SNAPSHOTS, backup.name, namespace=DATABASE_NAMESPACE) or {}
        return bool((found.get("status") or {}).get("readyToUse"))

    _wait(context, f"the cluster to know {backup.handle}", ready, GOES_SECONDS)
    say.done("the cluster knows the snapshot")


def _start(context: Context, say: _Saying) -> None:
    _kubectl_db(context, "scale", "statefulset", SET, "--replicas=1")

    def serves() -> bool:
        pod = pod_of(context)
        return pod is not None and kubectl.is_ready(pod)

    _wait(
        context,
        "the database to serve",
        serves,
        STARTS_SECONDS,
        why=lambda: _warning(context),
    )
    say.done("the database serves")


def _restart(context: Context, say: _Saying) -> None:
    """Have the API's pods made anew: the backup may want migrations that the running version had."""
    for name in ("comanda-api", "comanda-worker"):
        if kubectl.one(context, "deployment", name, namespace=NAMESPACE) is None:
            raise DeployError(
                "the API is not deployed, and with it what settles payments: eks-cluster-mng.sh deploy-api"
            )
    names = ("deployment/comanda-api", "deployment/comanda-worker")
    kubectl.answer_of(context, "rollout", "restart", *names, "--namespace", NAMESPACE)
    for name in names:
        command = ("rollout", "status", name, "--namespace", NAMESPACE, f"--timeout={ROLLS_SECONDS}s")
        answer = context.run([*kubectl.KUBECTL, *command], timeout=ROLLS_SECONDS + 10)
        if answer.returncode:
            raise DeployError(f"{name} does not come back: {kubectl.said(answer)}")
    say.done("API and worker are at it again")


def _settle(context: Context, since: datetime, options: Namespace, say: _Saying) -> Json:
    """Settle what was paid between a moment and now; answer what became of it, as the product says it."""
    # As the cluster's clock has it: what changes at the provider after that reaches a database that knows of it.
    until = serves_since(pod_of(context))
    between = ("--since", since.isoformat(), "--until", until)
    command = ("comanda", "settle-restored", *between, "--lost", options.lost)
    answer = kubectl.inside(
        context,
        kubectl.ready_pod(context, "comanda-worker"),
        command,
        namespace=NAMESPACE,
        container="worker",
        seconds=SETTLES_SECONDS,
    )
    found: Json = _document(answer.stdout)
    if answer.returncode or not found:
        left = f"; open: {json.dumps(found['open'])}" if found.get("open") else ""
        last = " ".join(answer.stderr.strip().splitlines()[-1:])[:400]
        raise DeployError(f"payments since the backup are not all settled ({last}){left}")
    say.done("what was paid since the backup is settled")
    return found


def _document(text: str) -> Json:
    try:
        found: Json = json.loads(text)
    except ValueError:
        return {}
    return found


def _which(known: list[Backup], facts: Facts, options: Namespace) -> Backup:
    asked = options.backup or ("" if options.before else facts.under_way)
    if facts.restored and asked == facts.under_way and asked not in {each.name for each in known}:
        return facts.restored
    if facts.under_way and not options.backup and not options.before:
        return backups.chosen(known, name=facts.under_way)
    if not options.backup and not options.before:
        _refuse_to_guess(known, facts)
    return backups.chosen(known, name=options.backup, before=options.before)


def _refuse_to_guess(known: list[Backup], facts: Facts) -> None:
    """Refuse to take the newest of a disk that was begun empty where there are some of the disk before.

    Where a disk was lost the set makes an empty one, of which the cluster soon takes backups too.
    """
    began = facts.begun_empty
    before = [each for each in known if began and each.taken < began]
    if began and before:
        since = [each for each in known if each.taken >= began]
        newest = f"; the newest, {since[0].name}, is of that disk" if since else ""
        raise DeployError(
            f"the disk that is there was begun empty at {began:%Y-%m-%d %H:%M:%S} UTC{newest}. The last backup of the "
            f"disk before is {before[0].name}: say which, as in db-restore {before[0].name}"
        )


def _list(known: list[Backup], options: Namespace) -> int:
    if options.json:
        print(json.dumps([backups.as_json(each) for each in known]))
        return 0
    for each in known:
        place = "" if each.in_cluster else "  in EBS alone"
        print(f"{each.name}  {each.taken:%Y-%m-%d %H:%M:%S} UTC  {each.size >> 30} GiB  {each.handle}{place}")
    if not known:
        print("There is no backup.")
    return 0


def in_words(settled: Json) -> str:
    """Answer what became of the payments, as a person reads it, and which of them want a person.

    Args:
        settled: what `comanda settle-restored` says.
    """
    count = {name: settled.get(name, 0) for name in ("payments", "settled", "recreated", "cancelled", "kept")}
    owed = int(settled.get("refunds_owed_cents", 0))
    rare = {
        "charged a second time, which goes back": settled.get("second_charges", 0),
        "of which nothing was left": settled.get("nothing_owed", 0),
    }
    more = "".join(f", {number} {what}" for what, number in rare.items() if number)
    lines = [
        f"{count['payments']} payments since: {count['settled']} settled, {count['recreated']} of orders that the "
        f"backup did not know, {count['cancelled']} cancelled, {count['kept']} kept{more}. "
        f"R$ {owed // 100},{owed % 100:02d} go back, as the worker asks for it."
    ]
    if foreign := settled.get("not_ours"):
        lines.append(f"Not touched, as they seem to be another's: {json.dumps(foreign)}")
        lines.append("Look at these in Mercado Pago's panel: money that was paid to this diner is nobody else's.")
    return "\n".join(lines)


def _age(now: datetime, backup: Backup) -> str:
    minutes = int((now - backup.taken).total_seconds()) // 60
    return (
        f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
    )


def _warning(context: Context) -> str:
    return kubectl.last_event(context, "type=Warning", namespace=DATABASE_NAMESPACE)


def _kubectl_db(context: Context, *arguments: str) -> str:
    return kubectl.answer_of(context, *arguments, "--namespace", DATABASE_NAMESPACE)


def _wait(
    context: Context, what: str, so: Callable[[], bool], seconds: int, why: Callable[[], str] = lambda: ""
) -> None:
    if not waiting.until(context, so, seconds):
        raise DeployError(f"waited {seconds} s for {what}, in vain. {why()}".strip())


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no time: write it as 2026-11-26T14:05:00Z") from None
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} says no time zone: write it as 2026-11-26T14:05:00Z")
    return found
