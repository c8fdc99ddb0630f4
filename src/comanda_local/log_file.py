"""The children's logs: kept from growing without end, and quoted when one of them fails."""

import contextlib
import shutil
from pathlib import Path

MAX_LOG_BYTES = 20_000_000
_BYTES_READ = 8_000


def trim_log(path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
    """Move what `path` holds to `NAME.log.1`, in place of what was there, if it is longer than `max_bytes`.

    Whoever writes it goes on writing: it is open for appending, so its next line comes first in the file.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size > max_bytes:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            with path.open("r+b") as log:
                log.truncate(0)


def last_lines(path: Path, count: int = 5, *, since: int = 0) -> list[str]:
    """Answer the end of a log, of what was written after the byte `since`; nothing if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(since, log.seek(0, 2) - _BYTES_READ))
            return log.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
