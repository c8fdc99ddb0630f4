"""`configure`: what is particular to an account, written into the manifests of `infra/deployment`. Nothing is applied.

A manifest is a person's file: a value is found where it stands in the YAML, and of all the file's bytes only its own
are replaced. With the published settings the files are as published.
"""

import difflib
import json
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from comanda_deploy import agreement, commands, configured, objects
from comanda_deploy.arguments import Parser, add_json, confirm
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import CLUSTER
from comanda_deploy.settings import Settings
from comanda_deploy.steps import address

ROOT = Path(__file__).parents[2]
MANIFESTS = Path("infra", "deployment")
FOLDERS = ("db", "api", "monitoring/prometheus", "monitoring/grafana")
HTTPS = Path("infra", "overlays", "https", "5-api-service-load-balancer.yaml")
VERB = "infra/scripts/eks-cluster-mng.sh"
ISSUED = "ISSUED"
KEYS = ["RSA_2048", "RSA_3072", "RSA_4096", "EC_prime256v1", "EC_secp384r1"]
"""Of certificates that a load balancer takes; without being asked ACM lists those of RSA_2048 alone."""


@dataclass(frozen=True)
class Edit:
    """A file, and what shall stand in it."""

    file: Path
    before: str
    after: str


def add_options(parser: Parser) -> None:
    """Add what configure takes beside --yes."""
    add_json(parser)
    parser.add_argument(
        "--plan", dest="only_plan", action="store_true", help="only show it; exit code 2: it would change"
    )


def configure(options: Namespace) -> int:
    """Write it, once it was shown and agreed to.

    Raises:
        DeployError: a manifest is not as it can be written into, or there is no certificate for the host.
    """
    context = commands.context_of(options)
    settings = context.settings
    host = settings.address.host
    particulars = configured.Particulars(
        settings.aws.region,
        IPv4Network(settings.network.cidr),
        tuple(agreement.public_subnets(settings)),
        _services(context),
        host,
        certificate_for(context, host) if host else "",
    )
    edits = edits_of(ROOT, particulars)
    _refuse_what_does_not_agree(settings, edits)
    changing = [each for each in edits if each.before != each.after]
    names = [str(each.file.relative_to(ROOT)) for each in changing]
    if not options.json:
        print("".join(_diff(changing)), end="")
    if not changing:
        _end(options, names, written=False, text="Nothing to do: the manifests say what the settings say.")
        return 0
    if options.only_plan:
        _end(options, names, written=False, text=f"{len(changing)} files would change. Next: {VERB} configure")
        return commands.SOMETHING_TO_DO
    if options.json and not options.yes:
        print("Write it? [y/N] ", end="", file=sys.stderr, flush=True)
    confirm(options, "" if options.json else "Write it? [y/N] ")
    for each in changing:
        _write(each)
    next_ = f"git diff {MANIFESTS}, commit it; then {VERB} deploy-database, deploy-api and deploy-monitoring"
    text = f"Written into {len(changing)} files; nothing was applied. Next: {next_}"
    _end(options, names, written=True, text=text)
    return 0


def edits_of(root: Path, particulars: configured.Particulars) -> list[Edit]:
    """Answer every manifest with what shall stand in it.

    Raises:
        DeployError: one cannot be read, or is not as it can be written into.
    """
    files = [file for folder in FOLDERS for file in objects.files_of(root / MANIFESTS / folder)]
    texts = {file: _read(file) for file in files}
    was = configured.network_in(texts)
    overlay = _read(root / HTTPS)
    return [
        Edit(file, text, configured.with_particulars(file, text, particulars, was, overlay))
        for file, text in texts.items()
    ]


def certificate_for(context: Context, host: str) -> str:
    """Answer the ARN of an issued certificate for a host: ours, else another that covers it.

    Raises:
        DeployError: there is none.
    """
    arn, status, _ = address.certificate_of(context, host)
    if status == ISSUED:
        return arn
    wildcard = f"*.{host.partition('.')[2]}"
    listed = context.pages("acm", "list_certificates", "CertificateSummaryList", Includes={"keyTypes": KEYS})
    for each in listed:
        covered = {each["DomainName"], *each.get("SubjectAlternativeNameSummaries", ())}
        if {host, wildcard} & covered and each.get("Status") == ISSUED:
            return str(each["CertificateArn"])
    how = f"is {status}" if arn else "is not there"
    raise DeployError(
        f"the certificate of {host} {how}, and HTTPS needs an issued one: run infra/scripts/eks-cluster-deploy.sh "
        "create-address, or empty address.host in the settings"
    )


def _services(context: Context) -> IPv4Network:
    """Answer from which block the cluster gives services their addresses; without one: from which EKS will."""
    try:
        cluster = context.client("eks").describe_cluster(name=CLUSTER)["cluster"]
        block = (cluster.get("kubernetesNetworkConfig") or {}).get("serviceIpv4Cidr")
        if block:
            return IPv4Network(block)
    except (BotoCoreError, ClientError):
        # No cluster yet, or nobody to ask: this alone is no reason not to go on.
        pass
    return agreement.services_of(context.settings)


def _refuse_what_does_not_agree(settings: Settings, edits: list[Edit]) -> None:
    """See that nothing is left that would be refused when it is applied: what somebody has added by hand."""
    left = [
        f"{each.file.name}: {each}: {said}"
        for edit in edits
        for each in objects.parse(edit.file, edit.after)
        for said in agreement.disagreements(settings, each)
    ]
    if left:
        raise DeployError("nothing was written. What is not ours to mend, mend by hand:\n  " + "\n  ".join(left))


def _diff(changing: list[Edit]) -> Iterator[str]:
    for each in changing:
        name = str(each.file.relative_to(ROOT))
        before, after = each.before.splitlines(keepends=True), each.after.splitlines(keepends=True)
        yield from difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", n=2)


def _end(options: Namespace, names: list[str], *, written: bool, text: str) -> None:
    print(json.dumps({"files": names, "written": written}) if options.json else text)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"{file} cannot be read ({error}): mend that, then run it again") from error


def _write(edit: Edit) -> None:
    """Write a file whole or not at all."""
    new = edit.file.with_name(f".{edit.file.name}.new")
    try:
        new.write_bytes(edit.after.encode())
        shutil.copymode(edit.file, new)
        new.replace(edit.file)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise DeployError(f"{edit.file} cannot be written ({error.strerror}): mend that, then run it again") from error
