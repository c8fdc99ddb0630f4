"""`setup-aws-auth`: who the operator is to AWS, kept as a named profile by AWS's own CLI."""

import os
import subprocess
import sys
from argparse import Namespace
from getpass import getpass
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session as BotocoreSession

from comanda_deploy.arguments import Parser
from comanda_deploy.aws_errors import explain
from comanda_deploy.errors import DeployError
from comanda_deploy.settings import Settings, read_settings

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def add_options(parser: Parser) -> None:
    """Add what setup-aws-auth takes beside --yes."""
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--sso", action="store_true", help="single sign-on (IAM Identity Center), in the browser")
    way.add_argument(
        "--keys",
        action="store_true",
        help="access keys: asked for without echo, or those in the environment where nobody can be asked",
    )
    parser.add_argument("--again", action="store_true", help="even if the profile works: to become somebody else")


def sign_in(options: Namespace) -> int:
    """Sign in, keep it as the profile of the settings, and say who that is.

    Raises:
        DeployError: it did not work, and why.
    """
    settings = read_settings(options.settings)
    profile = os.environ.get("AWS_PROFILE") or settings.aws.profile
    if not options.again and (who := _who(profile, settings)):
        print(f"Profile {profile} works already. --again replaces it.")
    else:
        if _way(options, profile) == "sso":
            _single_sign_on(profile, settings)
        else:
            _access_keys(profile, settings)
        who = _who(profile, settings, must_work=True)
    print(f"You are {who}, region {settings.aws.region}, profile {profile}.")
    if os.environ.get(KEYS[0]) and not os.environ.get("AWS_PROFILE"):
        print(f"The keys in your environment go before that profile: unset {' '.join(KEYS)}, or open a new shell.")
    print("Next: comanda-deploy plan")
    return 0


def _who(profile: str, settings: Settings, *, must_work: bool = False) -> str:
    """Answer whom AWS takes the profile for, "" if it does not work."""
    environment = {key: os.environ.pop(key) for key in (*KEYS, "AWS_SESSION_TOKEN") if key in os.environ}
    try:
        session = boto3.Session(profile_name=profile, region_name=settings.aws.region)
        answer = session.client("sts").get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        if must_work:
            raise DeployError(f"the profile {profile} is there and does not work: {explain(error)}") from error
        return ""
    finally:
        os.environ.update(environment)
    return f"{answer['Arn']} in account {answer['Account']}"


def _way(options: Namespace, profile: str) -> str:
    if options.sso or options.keys:
        return "sso" if options.sso else "keys"
    if "sso_session" in _known(profile) or "sso_start_url" in _known(profile):
        return "sso"  # it was used before, and has only run out
    if not sys.stdin.isatty():
        if all(os.environ.get(key) for key in KEYS):
            return "keys"
        raise DeployError(f"nobody is there to be asked: say --sso, or --keys with {' and '.join(KEYS)} set")
    print("How do you sign in to AWS?\n  1  single sign-on (IAM Identity Center), in the browser\n  2  access keys")
    answer = input("1 or 2: ").strip()
    if answer not in {"1", "2"}:
        raise DeployError("nothing was touched")
    return "sso" if answer == "1" else "keys"


def _known(profile: str) -> dict[str, str]:
    found: dict[str, str] = BotocoreSession().full_config.get("profiles", {}).get(profile, {})
    return found


def _single_sign_on(profile: str, settings: Settings) -> None:
    """AWS's CLI asks, opens the browser and keeps the token; a profile that has only run out is signed in again."""
    known = _known(profile)
    if "sso_session" in known or "sso_start_url" in known:
        _aws(["sso", "login", "--profile", profile])
        return
    if not sys.stdin.isatty():
        raise DeployError("single sign-on asks for its address: run it in a terminal")
    _aws(["configure", "sso", "--profile", profile])
    _aws(["configure", "set", "region", settings.aws.region, "--profile", profile])


def _access_keys(profile: str, settings: Settings) -> None:
    """Look whether AWS knows the keys, then hand them to AWS's CLI by its standard input, which no `ps` shows."""
    if sys.stdin.isatty():
        keys = [getpass("Access key id: ").strip(), getpass("Secret access key: ").strip()]
    else:
        keys = [os.environ.get(key, "") for key in KEYS]
    if not all(keys):
        raise DeployError(f"an access key is needed: give both, or set {' and '.join(KEYS)}")
    try:
        session = boto3.Session(
            aws_access_key_id=keys[0], aws_secret_access_key=keys[1], region_name=settings.aws.region
        )
        session.client("sts").get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        raise DeployError(f"nothing was kept: {explain(error)}") from error
    _aws(["configure", "--profile", profile], answers=[*keys, settings.aws.region, "json"])


def _aws(arguments: list[str], answers: list[str] | None = None) -> None:
    """Run AWS's CLI: in the operator's terminal, or with answers to what it asks."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path.home() / ".local" / "bin")])
    environment = {key: value for key, value in os.environ.items() if key not in KEYS} | {"PATH": places}
    try:
        answer = subprocess.run(  # noqa: S603
            ["aws", *arguments],  # noqa: S607 - from PATH, as the operator's own would be
            input="\n".join([*answers, ""]) if answers else None,
            capture_output=answers is not None,
            text=True,
            check=False,
            env=environment,
        )
    except FileNotFoundError as error:
        raise DeployError("aws is not installed: run infra/scripts/eks-cluster-deploy.sh setup-env") from error
    if answer.returncode:
        said = " ".join((answer.stderr or "").split())[:300]
        raise DeployError(f"aws {' '.join(arguments[:2])} failed{': ' + said if said else ''}")
