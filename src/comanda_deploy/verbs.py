"""The runbook's verbs, as its scripts take them: which steps each is, and what it says of itself."""

import difflib
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comanda_deploy import (
    backing_up,
    commands,
    configure,
    db_connect,
    deploy,
    disk,
    first_use,
    grafana,
    image,
    load_dashboards,
    logs,
    prometheus,
    restore,
    rollback,
    rotation,
    sign_in,
    tools,
)
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
        "Create the secrets of API, database and Grafana in Secrets Manager. What is ours is made at random, what is "
        "Mercado Pago's is asked for without echo; what is there is left alone.",
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
        "configure",
        "Write what is particular to this account into the manifests of infra/deployment: region, the network's "
        "blocks, host and certificate, from the settings. Only those values change, as git shows, and nothing is "
        "applied.",
        configure.configure,
        adds=configure.add_options,
    ),
    Verb(
        "deploy-database",
        "Apply the manifests of infra/deployment/db in their order, as `kubectl apply` does by hand, and wait until "
        "PostgreSQL runs. What is there already and differs is changed to what the manifests say.",
        steps=("database",),
    ),
    Verb(
        "deploy-api",
        "Apply the manifests of infra/deployment/api in their order, as `kubectl apply` does by hand, and watch until "
        "API and worker run. If the new pods do not come up it shows why, and their last logs, and rolls back by "
        "itself. An image that is not in the registry is refused: update-api-image makes one.",
        deploy.deploy,
        steps=("api",),
        adds=deploy.add_options,
    ),
    Verb(
        "deploy-monitoring",
        "Apply the manifests of infra/deployment/monitoring in their order, as `kubectl apply` does by hand, and wait "
        "until Prometheus, Alertmanager and Grafana run. Guests do not notice it.",
        steps=("monitoring",),
    ),
    Verb(
        "rollback-api",
        "Go back to the image before: the manifests name it, and it is rolled out as deploy-api does, watched and "
        "taken back if it does not come up. After a deploy that was rolled back only the manifests are written. The "
        "database's schema stays as it is.",
        rollback.roll_back,
        adds=rollback.add_options,
    ),
    Verb(
        "rotate-secrets",
        "Give out new passwords, keys and tokens, with those before still good until nobody uses them: of the database "
        "while it serves, of staff and managers, of Mercado Pago. Without saying what: which there are, and when each "
        "was last changed. Ended half-way, the same command goes on.",
        rotation.rotate,
        adds=rotation.add_options,
    ),
    Verb(
        "create-manager-key",
        "Make a key for a manager, or with --role staff for a kitchen tablet, and print it, for the only time. Keys "
        "that there are stay as they are.",
        first_use.create_key,
        adds=first_use.add_key_options,
    ),
    Verb(
        "load-menu",
        "Fill an empty menu, with the sample menu or a JSON document of this machine. A menu that has something in it "
        "is left alone.",
        first_use.load_menu,
        adds=first_use.add_menu_options,
    ),
    Verb(
        "logs",
        "Show what all pods of API and worker wrote, as one, oldest first: all of it, the errors, or what belongs to "
        "one order, request or payment. Of a container that was started again what it wrote before, too. Times are in "
        "UTC.",
        logs.show,
        adds=logs.add_options,
    ),
    Verb(
        "deploy-logs",
        "Take what the pods write off the nodes, to CloudWatch: its groups with logs.retention_days, the identity, "
        "Fluent Bit on every node. Where the setting is 0, take Fluent Bit and its identity away; the groups stay.",
        steps=("logs",),
    ),
    Verb(
        "db-connect",
        "Open psql in the database's pod, read-only; -c SQL or standard input instead of a terminal runs statements. "
        "--write is the owner's session, and asks before. Leave with \\q.",
        db_connect.connect,
        adds=db_connect.add_options,
    ),
    Verb(
        "prometheus-connect",
        "Print the address at which your browser finds Prometheus, and keep it open until Ctrl-C, while pods come and "
        "go too. It is on this machine's loopback alone; --port N takes another port.",
        prometheus.connect,
        adds=prometheus.add_options,
    ),
    Verb(
        "grafana-psw",
        "Print the password of Grafana's admin, from Secrets Manager, alone on the standard output.",
        grafana.show_password,
        adds=grafana.add_password_options,
    ),
    Verb(
        "grafana-connect",
        "Print the address at which your browser finds Grafana, and keep it open until Ctrl-C, while pods come and go "
        "too. It is on this machine's loopback alone; --port N takes another port.",
        grafana.connect,
        adds=grafana.add_connect_options,
    ),
    Verb(
        "load-dashboards",
        "Load dashboards 1860 and 14565 of grafana.com into Grafana, as infra/grafana-com.json pins them. This machine "
        "fetches them; Grafana reaches no internet. Grafana forgets them when its pod goes: then again.",
        load_dashboards.load,
        adds=load_dashboards.add_options,
    ),
)

BACKUPS = (
    Verb(
        "db-backup",
        "Take a backup of the database now, as the cluster does by itself every quarter of an hour: a snapshot of its "
        "disk, while it serves. Ends when it can be restored.",
        backing_up.back_up,
        adds=backing_up.add_options,
    ),
    Verb(
        "db-restore",
        "Restore the database from a backup, the newest or a named one, whatever is left of it; then settle with "
        "Mercado Pago what was paid since. A database that is alive is only replaced with --replace-living. The disk "
        "from before is kept. Ended half-way, the same command goes on.",
        restore.restore,
        adds=restore.add_options,
    ),
    Verb(
        "db-drill",
        "Prove now that the newest backup can be restored: beside the database, compared with it, and cleared away. "
        "It comes by itself every week.",
        backing_up.drill,
        adds=backing_up.add_options,
    ),
    Verb(
        "db-grow",
        "Give the database a larger disk while it serves, and write its size into the manifest.",
        disk.grow,
        adds=disk.add_options,
    ),
)

SCRIPTS: dict[str, tuple[Verb, ...]] = {"eks-cluster-deploy.sh": DEPLOY, "eks-cluster-mng.sh": (*MANAGE, *BACKUPS)}
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
        parser.add_argument(
            "--json", action="store_true", help=f"{'with --plan: ' if verb.run is commands.step else ''}for scripts"
        )
    if verb.adds:
        verb.adds(parser)
    options = parser.parse_args(arguments)
    options.names = list(verb.steps)
    options.goes_on_with = f"{script} {name}"
    after = SCRIPTS[script][SCRIPTS[script].index(verb) + 1 :]
    # A step leads to the next one; what follows the last of them is for other days.
    goes_on = after and (after[0].steps or not verb.steps)
    options.next = f"{script} {after[0].name}" if goes_on else "comanda-deploy status"
    return options
