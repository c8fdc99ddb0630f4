"""Things are made and removed as a whole, here and in EC2, whoever is killed between the two.

A thing is made in this order: a note that it is begun, EC2, the disk, its record; then the note goes. It is removed in
this one: its record is set apart, EC2, the disk; then the record goes. So whatever EC2 or the disks have beyond the
records is named by a note, or is a disk without a record: it was never answered to anybody, and is removed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.cluster.ebs.ec2 import Account
from tests.cluster.ebs.server import Refused
from tests.cluster.ebs.state import Begun, State

log = logging.getLogger(__name__)


@contextmanager
def making(state: State, account: Account, kind: str, name: str) -> Iterator[None]:
    """Make something whole: what an earlier try left is removed first, and what this one leaves if it fails.

    Args:
        kind: "volume" or "snapshot".

    Raises:
        Refused: an earlier try has left something, and EC2 does not answer.
    """
    begun = Begun(kind, name)
    if state.begin(begun):
        _take_back(state, account, begun)
    try:
        yield
    except Exception:
        with suppress(Refused):  # the note stays
            _take_back(state, account, begun)
            state.end(begun)
        raise
    state.end(begun)


def remove_volume(state: State, account: Account, volume: str) -> None:
    """Remove a volume whose record is set apart, as far as it is still there.

    Raises:
        Refused: EC2 does not answer.
    """
    account.remove("volume", volume)
    state.disks.remove(volume)
    state.leaving_volumes.remove(volume)


def remove_snapshot(state: State, account: Account, snapshot: str) -> None:
    """Remove a snapshot whose record is set apart, as far as it is still there.

    Raises:
        Refused: EC2 does not answer.
    """
    account.remove("snapshot", snapshot)
    state.disks.remove(snapshot)
    state.leaving_snapshots.remove(snapshot)


def sweep(state: State, account: Account) -> None:
    """End what a killed process began. Nobody makes or removes anything meanwhile.

    Raises:
        Refused: EC2 does not answer; what is left stays for the next time.
    """
    for begun in state.begun():
        if _take_back(state, account, begun):
            state.end(begun)
        # Else EC2 may still be at it. The note stays, for whoever tries again or sweeps next.
    for volume in state.leaving_volumes.all():
        remove_volume(state, account, volume.id)
    for snapshot in state.leaving_snapshots.all():
        remove_snapshot(state, account, snapshot.id)
    known = {each.id for each in state.volumes.all()} | {each.id for each in state.snapshots.all()}
    for disk in state.disks.all() - known:
        log.warning("the disk %s belongs to nothing and is removed", disk)
        state.disks.remove(disk)
    for lost in sorted(known - account.all()):
        # Whoever removed it there has removed it, or the account is a new one. The data is not ours to throw away.
        log.warning("%s stands no longer in EC2", lost)


def _take_back(state: State, account: Account, begun: Begun) -> bool:
    """Remove what was made under a name and has no record; answer whether there was any."""
    records = state.volumes if begun.kind == "volume" else state.snapshots
    found = [each for each in account.named(begun.kind, begun.name) if records.get(each) is None]
    for each in found:
        log.warning("%s, made for %s and never answered to anybody, is removed", each, begun.name)
        account.remove(begun.kind, each)
        state.disks.remove(each)
    return bool(found)
