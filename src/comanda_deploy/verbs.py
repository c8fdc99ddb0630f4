"""The runbook's verbs, as its scripts take them: which steps each is, and what it says of itself."""

import difflib
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comanda_deploy import commands, image, sign_in, tools
from comanda_deploy.arguments import Parser, add_settings, add_yes

Options = Namespace


@dataclass(frozen=True)
class Verb:
    """One verb.

    Args:
        name: as the runbook spells it. aliases: other spellings of it.
        does: what it will do, for people: one sentence for the list, more after it for its help.
        run: does it, and answers the exit code. steps: those of the runbook that it is, if it is any.
        adds: adds its own options.
    """

    name: str
    does: str
    run: Callable[[Options], int] = commands.step
    steps: tuple[str, ...] = ()
    adds: Callable[[Parser], None] | None = None
    aliases: tuple[str, ...] = ()


ADDONS = (
    "Every add-on of EKS is looked at with it: vpc-cni with network policies on, kube-proxy, coredns, Pod Identity "
    "agent, metrics server, snapshot controller, EBS driver."
)

DEPLOY = (
    Verb(
        "setup-env",
        "Install the AWS CLI, kubectl and helm where they are missing or too old, and say their versions. They go to "
        "~/.local/bin, checked against their checksums; no root is needed.",
        tools.set_up,
        adds=tools.add_options,
    ),
    Verb(
        "setup-aws-auth",
        "Sign in to AWS: single sign-on or access keys, kept as a named profile, then who you are. A profile that "
        "works is left alone.",
        sign_in.sign_in,
        adds=sign_in.add_options,
    ),
    Verb(
        "create-ecr-repo",
        "Create the image repository: tags never move, images are scanned, old ones go.",
        steps=("ecr",),
    ),
    Verb(
        "create-eks-cluster",
        "Create the EKS cluster, and the network first where it is missing.",
        steps=("network", "cluster"),
    ),
    Verb(
        "create-node-group",
        "Create the node groups: one for the database, one in each zone for the rest.",
        steps=("nodes",),
    ),
    Verb(
        "update-kubeconfig",
        "Let kubectl know the cluster: a context `comanda` in your kubeconfig. No other context is touched.",
        steps=("kubeconfig",),
    ),
    Verb(
        "install-metrics-server",
        f"Install the metrics server, by which the API is scaled. {ADDONS}",
        steps=("addons",),
    ),
    Verb(
        "install-external-secrets-operator",
        "Install External Secrets: what stands in Secrets Manager reaches the pods.",
        steps=("external-secrets",),
    ),
    Verb(
        "install-cluster-autoscale",
        "Install the Cluster Autoscaler: nodes come and go with the pods. Its identity in AWS is made before it, so "
        "the verbs for its service account are the same.",
        steps=("cluster-autoscaler",),
        aliases=("create-service-account-autoscaler", "cretae-service-account-autoscaler"),
    ),
    Verb(
        "install-ebs-csi-driver",
        f"Install the EBS driver and the snapshot controller: disks for the database, and their backups. {ADDONS}",
        steps=("addons",),
    ),
    Verb(
        "create-secrets",
        "Create the secrets of API and database in Secrets Manager. What is ours is made at random, what is Mercado "
        "Pago's is asked for without echo; what is there is left alone.",
        steps=("secrets",),
    ),
    Verb(
        "install-load-balancer-controller",
        "Install the AWS Load Balancer Controller: an Ingress becomes a load balancer.",
        steps=("load-balancer-controller",),
    ),
    Verb(
        "create-address",
        "Create certificate and DNS name of address.host in the settings; without a host there is nothing to make. "
        "Once more after the API is deployed: then the name leads to its load balancer.",
        steps=("address",),
    ),
)

MANAGE = (
    Verb(
        "ecr-login",
        "Sign docker, podman or buildah in to the image registry, for your own pulls and pushes. update-api-image "
        "does not need it: it signs in by itself, and out again.",
        image.ecr_login,
    ),
    Verb(
        "update-api-image",
        "Build the image of API, worker and migrations, push it, and write it into the manifests, by its digest. The "
        "tag is the time and the commit, for the nodes' architecture; docker, podman or buildah builds it. Behind a "
        "firewall: PIP_CONFIG_FILE and PIP_CERT, pip's own, are mounted for the build and are no part of the image.",
        image.update,
        adds=image.add_options,
    ),
    Verb(
        "deploy-database",
        "Apply the manifests of infra/deployment/db in their order, as `kubectl apply` does by hand, and wait until "
        "PostgreSQL runs. What is there already and differs is changed to what the manifests say.",
        steps=("database",),
    ),
    Verb(
        "deploy-api",
        "Apply the manifests of infra/deployment/api in their order, as `kubectl apply` does by hand, and wait until "
        "API and worker run. An image that is not in the registry is refused: update-api-image makes one.",
        steps=("api",),
    ),
)

SCRIPTS: dict[str, tuple[Verb, ...]] = {"eks-cluster-deploy.sh": DEPLOY, "eks-cluster-mng.sh": MANAGE}
"""In the runbook's order, mended where it fails: kubectl can only know a cluster that is there."""


def run(script: str, arguments: Sequence[str]) -> int:
    """Run a script with its arguments, and answer the exit code.

    Args:
        script: its name, as "eks-cluster-deploy.sh". arguments: the verb and its options.
    """
    verbs = SCRIPTS[script]
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(_listing(script, verbs))
        return 0 if arguments else 2
    name, *rest = arguments
    verb = next((each for each in verbs if name in {each.name, *each.aliases}), None)
    if verb is None:
        known = [name for each in verbs for name in (each.name, *each.aliases)]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        near.sort(key=lambda each: not each.startswith(name))
        meant = f"did you mean {', '.join(near)}?" if near else f"see {script} --help"
        print(f"{script}: there is no verb {name}: {meant}", file=sys.stderr)
        return 2
    return verb.run(_options(script, verb, name, rest))


def _listing(script: str, verbs: Sequence[Verb]) -> str:
    width = max(len(each.name) for each in verbs) + 2
    order = ", in this order" if verbs is DEPLOY else ""
    lines = [f"usage: {script} VERB [options]{order}. What one does: {script} VERB --help", ""]
    for each in verbs:
        lines.append(f"  {each.name:{width}}{each.does.split('. ')[0].removesuffix('.')}")
        lines += [f"    or {alias}" for alias in each.aliases]
    return "\n".join(lines)


def _options(script: str, verb: Verb, name: str, arguments: Sequence[str]) -> Options:
    parser = Parser(prog=f"{script} {name}", description=verb.does, epilog="The runbook: docs/runbook.md")
    add_settings(add_yes(parser))
    if verb.steps:
        parser.add_argument("--plan", dest="only_plan", action="store_true", help="only say what it would do")
        parser.add_argument("--json", action="store_true", help="with --plan: for scripts")
    if verb.adds:
        verb.adds(parser)
    options = parser.parse_args(arguments)
    options.names = list(verb.steps)
    options.goes_on_with = f"{script} {name}"
    after = SCRIPTS[script][SCRIPTS[script].index(verb) + 1 :]
    options.next = f"{script} {after[0].name}" if after else "comanda-deploy status"
    return options
