"""The database's users: their passwords, set and tried in the database's own pod.

PostgreSQL is given what it keeps of a password, made here (RFC 5802, RFC 7677): the password itself is in no statement,
and so in no log of the server's and no statistic. Nothing of it is on a command line: statements and passwords go by
standard input, and of what psql complains of only the SQLSTATE is shown.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

from comanda_deploy import kubectl
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import DATABASE_NAMESPACE

PASSWORDS = {
    "comanda_api_a": "API_A_PASSWORD",
    "comanda_api_b": "API_B_PASSWORD",
    "comanda_owner": "OWNER_PASSWORD",
    "comanda_metrics": "METRICS_PASSWORD",
    "postgres": "SUPERUSER_PASSWORD",
}
"""Every user that has a password, and under which key of the entry of the database it stands."""

ITERATIONS = 4096
"""PostgreSQL's own (scram_iterations). More would slow each login down and add nothing to 256 random bits."""

QUIETLY = """\
SET log_statement = none;
SET log_min_error_statement = panic;
SET log_min_duration_statement = -1;
SET pg_stat_statements.track_utility = off;
SET lock_timeout = '10s';
"""
"""As at their making (infra/deployment/db/4-db-stateful-set.yaml): no log has it, whatever goes wrong."""

PSQL = ("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=sqlstate")
BY_SOCKET = (*PSQL, "--username=postgres", "--dbname=postgres", "--file=-")
LOG_IN = 'IFS= read -r PGPASSWORD && export PGPASSWORD && exec "$@"'
"""Takes the password from standard input; a variable of the environment is seen by its own user alone."""

WRONG_PASSWORD = ("password authentication failed", "28P01")


def verifier(password: str, salt: bytes | None = None) -> str:
    """Answer what PostgreSQL keeps of a password (`pg_authid.rolpassword`): SCRAM-SHA-256.

    Args:
        password: of ASCII, so that it need not be normalised (RFC 4013). salt: 16 bytes, random if not given.

    Raises:
        ValueError: it is not of ASCII.
    """
    if not password.isascii():
        raise ValueError("only passwords of ASCII need no normalising")
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    of_salt, of_stored, of_server = (base64.b64encode(each).decode() for each in (salt, stored, server))
    return f"SCRAM-SHA-256${ITERATIONS}:{of_salt}${of_stored}:{of_server}"


def set_passwords(context: Context, passwords: Mapping[str, str]) -> None:
    """Set users' passwords in PostgreSQL: all of them or none. Once more is no harm.

    Args:
        passwords: by user.

    Raises:
        DeployError: there is no database to be asked, or it refused; nothing was changed then.
    """
    statements = "".join(f"ALTER ROLE {user} PASSWORD {_literal(value)};\n" for user, value in passwords.items())
    answer = kubectl.inside(
        context,
        kubectl.ready_pod(context, "database", namespace=DATABASE_NAMESPACE),
        BY_SOCKET,
        namespace=DATABASE_NAMESPACE,
        container="postgresql",
        standard_input=f"{QUIETLY}BEGIN;\n{statements}COMMIT;\n",
    )
    if answer.returncode:
        raise DeployError(f"PostgreSQL did not take the passwords of {', '.join(passwords)}: {kubectl.said(answer)}")


def lets_in(context: Context, user: str, password: str) -> bool:
    """Answer whether PostgreSQL lets a user in by a password, as it does over the network.

    Args:
        user: any but `postgres`, who is let in by the socket alone.

    Raises:
        DeployError: there is no database to be asked, or it answered something else.
    """
    database = "postgres" if user == "comanda_metrics" else "comanda"
    psql = (
        *PSQL,
        "--host=127.0.0.1",
        f"--username={user}",
        f"--dbname={database}",
        "--no-password",
        "--command=SELECT 1",
    )
    answer = kubectl.inside(
        context,
        kubectl.ready_pod(context, "database", namespace=DATABASE_NAMESPACE),
        ("sh", "-c", LOG_IN, "sh", *psql),
        namespace=DATABASE_NAMESPACE,
        container="postgresql",
        standard_input=f"{password}\n",
    )
    if answer.returncode and not any(each in answer.stderr for each in WRONG_PASSWORD):
        raise DeployError(f"PostgreSQL does not say whether {user} may log in: {kubectl.said(answer)}")
    return not answer.returncode


def _literal(password: str) -> str:
    if password.isascii():
        return f"'{verifier(password)}'"
    # One that was set by hand: how it is normalised is for PostgreSQL to know.
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    return f"E'{quoted}'"
