"""Who PostgreSQL runs as, and what that user can reach."""

import os
import subprocess
import sys
from pathlib import Path

from comanda_local.privileges import database_account, run_as

ASKS = """
import os, sys
program = sys.argv[1]
# access(2) asks for the real user and by itself forgets capabilities: initdb looks for its parts that way.
print(os.geteuid() != 0, os.access(program, os.X_OK), open(program).read(), end="")
"""


def test_a_program_below_a_closed_folder_is_reached_by_an_ordinary_user(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/true\n")
    program.chmod(0o755)
    command = [*run_as(database_account(tmp_path)), sys.executable, "-c", ASKS, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == "True True #!/bin/true\n"


def test_an_ordinary_user_stays_who_they_are(tmp_path: Path) -> None:
    account = database_account(tmp_path)
    assert (account is None) == (os.geteuid() != 0)


def test_data_that_has_an_owner_stays_theirs(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    account = database_account(tmp_path)
    assert account is None or (account.uid, account.name) == (65534, "nobody")


def test_an_owner_without_a_name_is_not_taken(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 54_321, 54_321)
    account = database_account(tmp_path)
    assert account is None or account.name == "nobody"
