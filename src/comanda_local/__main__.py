"""`python -m comanda_local`: runs everything on this machine, in the folder `.comanda` of the current one."""

import contextlib
import sys
import traceback
from pathlib import Path

from comanda_local.errors import LocalError
from comanda_local.postgres import PostgresError
from comanda_local.run import run


def main() -> int:
    """Run, and turn what goes wrong into one line. Answers the exit code."""
    folder = Path.cwd() / ".comanda"
    try:
        return run(folder)
    except (LocalError, PostgresError) as error:
        line = str(error)
    except OSError as error:
        # A full disk, no more processes, no more files: the system's own words say it best.
        line = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    except Exception as error:
        line = f"a fault of ours ({type(error).__name__}: {error}): report it with {folder}/logs/local.log"
        with contextlib.suppress(OSError):
            (folder / "logs" / "local.log").write_text(traceback.format_exc(), encoding="utf-8")
    print(f"comanda: {' '.join(line.split())}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
