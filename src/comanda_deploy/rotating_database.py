"""New passwords for the database's users, while it serves: at no moment is a running pod locked out.

The API has two users. The one that no pod uses gets a new password, the URL in `comanda/api` then names it, and only
when every pod of API and worker runs with that URL the other gets a new one too, so that what leaked is worth nothing.
The owner, the metrics and the superuser have one password each, which changes in an instant: who is logged in stays so,
and a pod that starts to migrate just then does it at its next try.

How far it is stands in Secrets Manager alone, in the key `ROTATING` of `comanda/db`: what is still to be done. Each
part may be done again from its beginning. So the same command goes on where another one was killed, on another machine
too.
"""

from urllib.parse import quote, unquote, urlsplit, urlunsplit

from comanda_deploy import database_users, taking_over
from comanda_deploy.context import Context
from comanda_deploy.database_users import PASSWORDS
from comanda_deploy.errors import DeployError
from comanda_deploy.names import API_SECRET, DATABASE_NAMESPACE, DATABASE_SECRET, NAMESPACE
from comanda_deploy.steps.secrets import DATABASE_HOST, change_entry, new_password, values_of
from comanda_deploy.taking_over import Say

ROTATING = "ROTATING"
API_USERS = ("comanda_api_a", "comanda_api_b")
OTHERS = ("comanda_owner", "comanda_metrics", "postgres")
URL, OWNER_URL = "DATABASE_URL", "MIGRATION_DATABASE_URL"


def rotate(context: Context, say: Say) -> None:
    """Give every user of the database a new password; go on with a rotation that was begun.

    Raises:
        DeployError: it cannot be done here, or ended half-way. Running again goes on.
    """
    used = api_user(context)
    under_way = left_to_do(context)
    if under_way:
        say(f"going on with the rotation that was begun: {', '.join(under_way)} are still to be done")
    else:
        # Whoever changed the URL by hand may have pods that do not have it yet, and use the other user.
        taking_over.by_all_pods(context, say)
        idle = _other(used)
        change_entry(
            context,
            DATABASE_SECRET,
            {PASSWORDS[idle]: new_password(), ROTATING: " ".join([used, *OTHERS])},
        )
        under_way = [used, *OTHERS]
    for place, user in enumerate(under_way):
        if user in API_USERS:
            _replace(context, user, say)
        else:
            _renew(context, user, say)
        rest = under_way[place + 1 :]
        if not rest:
            values = values_of(context, DATABASE_SECRET)
            wanted = {key: str(values[key]) for key in PASSWORDS.values()}
            taking_over.copied(context, DATABASE_NAMESPACE, "database", wanted, say)
        change_entry(context, DATABASE_SECRET, {ROTATING: " ".join(rest) or None})


def left_to_do(context: Context) -> list[str]:
    """Answer whose passwords a rotation that was begun has still to change, [] if none is under way.

    Raises:
        DeployError: what stands there was not written by it.
    """
    users = str(values_of(context, DATABASE_SECRET).get(ROTATING) or "").split()
    if unknown := [each for each in users if each not in PASSWORDS]:
        raise DeployError(
            f"{ROTATING} of secret {DATABASE_SECRET} names {', '.join(unknown)}, no user of ours: take that key away "
            "in the Secrets Manager console, then run it again"
        )
    return users


def api_user(context: Context) -> str:
    """Answer as whom the API's pods log in, by the entry of the API.

    Raises:
        DeployError: the database is another one, or another user's, and not to be rotated here.
    """
    url = str(values_of(context, API_SECRET).get(URL) or "")
    if not url:
        raise DeployError(
            f"secret {API_SECRET} has no {URL}: run infra/scripts/eks-cluster-deploy.sh create-secrets first"
        )
    user, _ = login_of(url)
    host = url.rpartition("@")[2].partition("/")[0]
    if host != DATABASE_HOST:
        raise DeployError(
            f"{URL} of secret {API_SECRET} leads to {host or 'no host'}, not to {DATABASE_HOST}: how passwords of a "
            "database elsewhere change is in docs/rds.md and docs/ha-database.md"
        )
    if user not in API_USERS:
        raise DeployError(f"{URL} of secret {API_SECRET} is not of {' or '.join(API_USERS)}: put one of them there")
    return user


def login_of(url: str) -> tuple[str, str]:
    """Answer user and password of a database's URL, "" for what it lacks."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return unquote(parts.username or ""), unquote(parts.password or "")


def with_login(url: str, user: str, password: str) -> str:
    """Answer the same URL for another user or password."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))


def _replace(context: Context, former: str, say: Say) -> None:
    """Have the API's pods log in as the other user, then give the former one a password that nobody has."""
    new = _other(former)
    url = str(values_of(context, API_SECRET)[URL])
    if login_of(url)[0] == former:
        password = str(values_of(context, DATABASE_SECRET)[PASSWORDS[new]])
        _set(context, new, password, say)
        change_entry(context, API_SECRET, {URL: with_login(url, new, password)})
        say(f"{URL} names {new}")
    taking_over.by_all_pods(context, say)
    password = new_password()
    change_entry(context, DATABASE_SECRET, {PASSWORDS[former]: password})
    _set(context, former, password, say)


def _renew(context: Context, user: str, say: Say) -> None:
    """Give a user who has one password alone another one, wherever it stands."""
    password = new_password()
    change_entry(context, DATABASE_SECRET, {PASSWORDS[user]: password})
    _set(context, user, password, say)
    if user == "comanda_owner":
        url = with_login(str(values_of(context, API_SECRET)[OWNER_URL]), user, password)
        change_entry(context, API_SECRET, {OWNER_URL: url})
        taking_over.copied(context, NAMESPACE, "comanda-migration", {OWNER_URL: url}, say)


def _set(context: Context, user: str, password: str, say: Say) -> None:
    database_users.set_passwords(context, {user: password})
    # Of the superuser nobody over the network takes any password: there is no login to be tried.
    if user != "postgres" and not database_users.lets_in(context, user, password):
        raise DeployError(f"PostgreSQL took a new password of {user} and does not let it in: kubectl logs database-0")
    say(f"{user} has a new password")


def _other(user: str) -> str:
    return next(each for each in API_USERS if each != user)
