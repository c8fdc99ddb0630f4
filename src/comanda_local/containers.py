"""`python -m comanda_local.containers`: what docker/compose.yaml runs before API and worker.

It makes of containers what `make run` makes of processes: the same secrets, drawn at the first start and kept, the
same roles, sample menu and keys. Each container gets the secrets that are its own, in a volume of its own.
"""

import argparse
import asyncio
import os
import secrets as chance
import shlex
import sys
from pathlib import Path

import asyncpg

from comanda_local.database import API_USER, DATABASE, OWNER, make_roles, prepare_given
from comanda_local.errors import LocalError
from comanda_local.folder import DataFolder, Secrets
from comanda_local.private_file import write_private

PLACE = Path("/secrets")
HOST = "database:5432"


def main(arguments: list[str] | None = None) -> int:
    """Do one of the steps; answer the exit code."""
    parser = argparse.ArgumentParser(prog="python -m comanda_local.containers", description=__doc__)
    steps = {"secrets": share, "roles": roles, "sample": sample}
    parser.add_argument("step", choices=steps)
    try:
        steps[parser.parse_args(arguments).step](PLACE)
    except LocalError as error:
        line = str(error)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        line = str(error) or type(error).__name__
    else:
        return 0
    print(f"comanda: {' '.join(line.split())}", file=sys.stderr)
    return 1


def share(place: Path) -> None:
    """Draw the secrets that are not there yet, and lay out to each container what it needs of them.

    Args:
        place: where the volumes are mounted: `kept` has all of them, the others are each for one reader.
    """
    kept = _kept(place)
    password = place / "kept" / "superuser"
    if not password.exists():
        write_private(password, chance.token_urlsafe(24))
    # PostgreSQL runs as another user than we do. Who does not mount the volume does not see it.
    shared = place / "database" / "SUPERUSER_PASSWORD"
    write_private(shared, password.read_text(encoding="utf-8"))
    shared.chmod(0o444)
    _write(place / "migration", {"MIGRATION_DATABASE_URL": _url(OWNER, kept.owner_password)})
    _write(
        place / "pods",
        {
            "DATABASE_URL": _url(API_USER, kept.api_password),
            "MERCADO_PAGO_ACCESS_TOKEN": kept.sandbox_token,
            "MERCADO_PAGO_WEBHOOK_SECRET": kept.webhook_secret,
        },
    )
    _write(place / "sandbox", {"SANDBOX_TOKEN": kept.sandbox_token, "SANDBOX_WEBHOOK_SECRET": kept.webhook_secret})


def roles(place: Path) -> None:
    """Make or mend the database and its users, as the superuser."""
    password = (place / "kept" / "superuser").read_text(encoding="utf-8")
    asyncio.run(make_roles(_url("postgres", password, "postgres"), _kept(place)))


def sample(place: Path) -> None:
    """Load the sample menu and the keys, if they are not there yet, and say where the diner is."""
    kept = _kept(place)
    url = _url(OWNER, kept.owner_password)
    prepare_given(url, url, kept)
    port, sandbox = os.environ.get("PORT") or "8000", os.environ.get("SANDBOX_PORT") or "8001"
    for name, value in (
        ("guests and API", f"http://127.0.0.1:{port}  (described at /docs)"),
        ("Pix sandbox", f"http://127.0.0.1:{sandbox}  (pay an open order here)"),
        ("manager key", kept.manager_key),
        ("staff key", kept.staff_key),
    ):
        print(f"  {name:<16} {value}", flush=True)


def _kept(place: Path) -> Secrets:
    return DataFolder(place / "kept").secrets()


def _url(user: str, password: str, database: str = DATABASE) -> str:
    return f"postgresql://{user}:{password}@{HOST}/{database}"


def _write(folder: Path, variables: dict[str, str]) -> None:
    """Write variables as a shell reads them: docker/compose.yaml has one read them before it starts the program."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    write_private(folder / "settings", "".join(lines))


if __name__ == "__main__":
    sys.exit(main())
