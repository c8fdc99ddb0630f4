"""What the driver remembers, in files: volumes, snapshots, who has which volume, and what was begun and not ended.

All processes of a cluster share one folder, as all of a region's shares EC2. A file comes and goes by one rename, so
that whoever is killed leaves either the old state or the new.
"""

import fcntl
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from tests.cluster.ebs.disks import Disks

KEY = re.compile(r"(vol|snap|begun)-[0-9a-f]{8,32}")


class Volume(msgspec.Struct, frozen=True):
    """A volume.

    Args:
        name: what the provisioner calls it. size: in bytes, as it is now. asked: what it was made by, to tell whether
            a second request of the same name is the same. snapshot: what it was made from, "" if from nothing.
    """

    id: str
    name: str
    zone: str
    size: int
    asked: dict[str, str]
    snapshot: str = ""


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot.

    Args:
        volume: what it was made of, which may be gone. size: in bytes, of the volume at that time. made: in seconds
            since 1970.
    """

    id: str
    name: str
    volume: str
    size: int
    made: float


class Begun(msgspec.Struct, frozen=True):
    """Something is being made in EC2 and here; if nobody ends it, it is to be taken back.

    Args:
        kind: "volume" or "snapshot".
    """

    kind: str
    name: str

    @property
    def key(self) -> str:
        """What it is found by: a name may have any character."""
        return f"begun-{hashlib.sha256(f'{self.kind} {self.name}'.encode()).hexdigest()[:32]}"


Record = TypeVar("Record")


class Records(Generic[Record]):
    """Records of one kind, by key, a file each."""

    def __init__(self, folder: Path, kind: type[Record]) -> None:
        self.folder = folder
        self._kind = kind
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> Record | None:
        """Answer one, None if there is none. A key from outside may be anything."""
        if not KEY.fullmatch(key):
            return None
        return self._read(self._file(key))

    def all(self) -> list[Record]:
        """Answer all, in the order of their keys."""
        read = (self._read(file) for file in sorted(self.folder.glob("*.json")))
        return [each for each in read if each is not None]

    def put(self, key: str, record: Record) -> None:
        """Write one, new or changed."""
        new = self._file(key).with_suffix(".new")
        new.write_bytes(msgspec.json.encode(record))
        new.replace(self._file(key))

    def move(self, key: str, to: "Records[Record]") -> None:
        """Let one be of another kind from now on."""
        self._file(key).replace(to._file(key))

    def remove(self, key: str) -> None:
        """Forget one, if there is one."""
        self._file(key).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _read(self, file: Path) -> Record | None:
        try:
            return msgspec.json.decode(file.read_bytes(), type=self._kind)
        except FileNotFoundError:
            return None


class State:
    """The folder, by its parts.

    Args:
        folder: is made if need be.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self.disks = Disks(self.folder)
        self.volumes = Records(self.folder / "volumes", Volume)
        self.snapshots = Records(self.folder / "snapshots", Snapshot)
        self.leaving_volumes = Records(self.folder / "leaving-volumes", Volume)
        self.leaving_snapshots = Records(self.folder / "leaving-snapshots", Snapshot)
        self._begun = Records(self.folder / "begun", Begun)
        self._attached = self.folder / "attached"
        self._locks = self.folder / "locks"
        for each in (self._attached, self._locks):
            each.mkdir(exist_ok=True)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Let nobody else, in any process, be at the same thing: a volume by its id, or the account as a whole."""
        with (self._locks / what).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def open(self) -> None:
        """Have the disks mounted."""
        with self.alone("disks"):
            self.disks.open()

    def begin(self, begun: Begun) -> bool:
        """Note that something is being made; answer whether that was noted already, by somebody who did not end it."""
        noted = self._begun.get(begun.key) is not None
        self._begun.put(begun.key, begun)
        return noted

    def end(self, begun: Begun) -> None:
        """Forget it: it is there, or nothing of it is."""
        self._begun.remove(begun.key)

    def begun(self) -> list[Begun]:
        """Answer what was begun and is not ended."""
        return self._begun.all()

    def attached(self, volume: str) -> str:
        """Answer the node that has a volume, "" if none has."""
        file = self._attached / volume
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def attachments(self) -> dict[str, str]:
        """Answer the nodes that have a volume, by the volumes' ids."""
        return {each.name: self.attached(each.name) for each in self._attached.glob("vol-*") if not each.suffix}

    def attach(self, volume: str, node: str) -> None:
        """Give a volume to a node. Whoever calls has the volume to itself."""
        new = (self._attached / volume).with_suffix(".new")
        new.write_text(node, encoding="utf-8")
        new.replace(self._attached / volume)

    def detach(self, volume: str) -> None:
        """Take a volume from the node that has it, if one has. Whoever calls has the volume to itself."""
        (self._attached / volume).unlink(missing_ok=True)
