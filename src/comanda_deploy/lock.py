"""One operator at a time: the lock is an SSM parameter that says who holds it, since when and why."""

import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import LOCK_PARAMETER, tag_list


@dataclass(frozen=True)
class Holder:
    """Who holds the lock.

    Args:
        who: the person's name on their machine, and who AWS takes them for.
        host: that machine. pid: the process there, 0 for a lock that a person has set.
        when: since when, aware, in UTC, as ISO 8601.
        key: tells this holding from every other.
    """

    who: str
    host: str
    pid: int
    when: str
    why: str
    key: str

    def __str__(self) -> str:
        """Answer one phrase: who, since when, why."""
        since = datetime.fromisoformat(self.when).strftime("%Y-%m-%d %H:%M UTC")
        return f"{self.who} on {self.host} since {since} ({self.why})"


def holder_of(context: Context) -> Holder | None:
    """Answer who holds the lock, None if nobody does."""
    try:
        text = context.client("ssm").get_parameter(Name=LOCK_PARAMETER)["Parameter"]["Value"]
    except ClientError as error:
        if code_of(error) == "ParameterNotFound":
            return None
        raise
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):
        return Holder("somebody", "unknown", 0, context.clock().isoformat(), f"unreadable: {text[:60]!r}", "")


def take(context: Context, why: str, *, stays: bool = False) -> Holder:
    """Take the lock.

    Args:
        why: what for, in a few words: other operators read it.
        stays: whether it outlives this process, as a person's own lock does.

    Raises:
        DeployError: another holds it.
    """
    ours = Holder(
        who=f"{getpass.getuser()} ({context.caller['Arn']})",
        host=socket.gethostname(),
        pid=0 if stays else os.getpid(),
        when=context.clock().isoformat(timespec="seconds"),
        why=why,
        key=str(uuid4()),
    )
    for _ in range(3):
        try:
            # Without Overwrite a name that is there is refused: SSM is what decides who was first.
            context.client("ssm").put_parameter(
                Name=LOCK_PARAMETER,
                Value=json.dumps(asdict(ours)),
                Type="String",
                Overwrite=False,
                Tags=tag_list(),
            )
        except ClientError as error:
            if code_of(error) != "ParameterAlreadyExists":
                raise
        else:
            return ours
        holder = holder_of(context)
        if holder is not None and holder.key == ours.key:
            return ours  # the answer to our own call was lost, and boto3 asked again
        if holder is not None and not _left_behind(holder):
            raise DeployError(
                f"locked by {holder}: wait for it, or run comanda-deploy unlock if it is no longer at work"
            )
        release(context, holder)
    raise DeployError("the lock changes hands too quickly: run it again")


def release(context: Context, holder: Holder | None) -> None:
    """Give the lock back, if it is still `holder`'s."""
    now = holder_of(context)
    if now is not None and (holder is None or now.key == holder.key):
        with suppress(context.client("ssm").exceptions.ParameterNotFound):
            context.client("ssm").delete_parameter(Name=LOCK_PARAMETER)


@contextmanager
def locked(context: Context, why: str) -> Iterator[None]:
    """Hold the lock for a `with` block.

    Raises:
        DeployError: another holds it.
    """
    holder = take(context, why)
    try:
        yield
    finally:
        # Credentials may have expired meanwhile: the fault that ended the block is worth more than this one.
        with suppress(ClientError, BotoCoreError):
            release(context, holder)


def _left_behind(holder: Holder) -> bool:
    """Whether the process that took the lock was on this machine and is no more."""
    if holder.pid == 0 or holder.host != socket.gethostname() or not holder.who.startswith(f"{getpass.getuser()} ("):
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
