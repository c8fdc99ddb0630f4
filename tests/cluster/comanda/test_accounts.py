"""Each service account can do what it must, and nothing more."""

import json
from pathlib import Path

import pytest

from tests.cluster.comanda.house import House
from tests.cluster.machine import Failed
from tests.cluster.objects import Json, Kubectl
from tests.cluster.suite.kube import until
from tests.manifests.reading import of_kind

NAMESPACES = ("comanda", "comanda-db", "monitoring")
NOBODY = "system:serviceaccount:kube-public:nobody"
"""An account without any right of its own: what it may, everybody may."""

Right = tuple[str, str, str, str]
"""A verb, an API group, a resource, and the one object's name, or "" for all of them."""

EVERYWHERE = ""
"""What is in no namespace, and so in none and all of them."""

SNAPSHOTS = "snapshot.storage.k8s.io"
OPERATIONS: Right = ("patch", "", "configmaps", "comanda-operations")
READ, WATCH = ("get", "list", "watch"), ("list", "watch")
PODS = {(verb, "", "pods", "") for verb in READ}
MUST: dict[str, dict[str, set[Right]]] = {
    "comanda/comanda-follow-settings": {
        "comanda": {
            ("get", "", "secrets", "comanda-api"),
            ("get", "", "configmaps", "comanda-settings"),
            ("get", "apps", "deployments", "comanda-api"),
            ("get", "apps", "deployments", "comanda-worker"),
            ("patch", "apps", "deployments", "comanda-api"),
            ("patch", "apps", "deployments", "comanda-worker"),
        },
    },
    "comanda-db/database-backup": {
        EVERYWHERE: {(verb, SNAPSHOTS, "volumesnapshotcontents", "") for verb in ("list", "patch", "delete")},
        "comanda-db": {
            *((verb, SNAPSHOTS, "volumesnapshots", "") for verb in ("list", "create", "delete")),
            ("get", "", "persistentvolumeclaims", "data-database-0"),
        },
        "comanda": {OPERATIONS},
    },
    "comanda-db/database-drill": {
        "comanda-db": {
            ("list", SNAPSHOTS, "volumesnapshots", ""),
            ("get", "", "persistentvolumeclaims", "data-database-0"),
            ("get", "", "persistentvolumeclaims", "database-restored-data"),
            ("get", "", "podtemplates", "database-restored"),
            ("get", "", "pods", ""),
            ("create", "", "pods", ""),
            ("delete", "", "pods", "database-restored"),
            ("list", "", "events", ""),
        },
        "comanda": {OPERATIONS},
    },
    # Where what it scrapes is found; of nodes their metrics, and not the rest that their kubelet does.
    "monitoring/prometheus": {
        EVERYWHERE: {*((verb, "", "nodes", "") for verb in READ), ("get", "", "nodes/metrics", "")},
        "comanda": {
            *PODS,
            *((verb, "", "services", "") for verb in READ),
            *((verb, "discovery.k8s.io", "endpointslices", "") for verb in READ),
        },
        **dict.fromkeys(("comanda-db", "monitoring", "kube-system"), PODS),
    },
    "monitoring/kube-state-metrics": {
        EVERYWHERE: {
            (verb, group, resource, "")
            for verb in WATCH
            for group, resources in {
                "": ("nodes", "persistentvolumeclaims", "persistentvolumes", "pods"),
                "apps": ("daemonsets", "deployments", "statefulsets"),
                "batch": ("cronjobs", "jobs"),
                "autoscaling": ("horizontalpodautoscalers",),
                "policy": ("poddisruptionbudgets",),
            }.items()
            for resource in resources
        },
    },
}
"""What each may, by namespace; who is not named here may nothing, and nobody anything elsewhere."""

ACCOUNTS = sorted({f"{each.namespace}/{each.name}" for each in of_kind("ServiceAccount")})
ALL = [*ACCOUNTS, *(f"{namespace}/default" for namespace in NAMESPACES)]


@pytest.mark.parametrize("account", ALL)
def test_it_may_what_it_must_and_nothing_more(house: House, account: str) -> None:
    home, name = account.split("/")
    must = MUST.get(account, {})
    for namespace in (*NAMESPACES, "default", "kube-system"):
        may = _rights(house, f"system:serviceaccount:{home}:{name}", namespace) - _rights(house, NOBODY, namespace)
        assert may == must.get(namespace, set()) | must.get(EVERYWHERE, set()), namespace


def test_what_follows_the_settings_does_its_work_with_them(house: House) -> None:
    kube, name = house.kube, "by-hand-for-a-test"
    kube("--namespace=comanda", "delete", "job", name, "--ignore-not-found")
    kube("--namespace=comanda", "create", "job", name, "--from=cronjob/comanda-follow-settings")
    try:
        kube("--namespace=comanda", "wait", f"job/{name}", "--for=condition=complete", "--timeout=60s")
    finally:
        kube("--namespace=comanda", "delete", "job", name)


@pytest.fixture
def thief(house: House, tmp_path: Path) -> Kubectl:
    """kubectl with nothing but the one token that a pod of ours has."""
    known = json.loads(house.kube("config", "view", "--raw", "--minify", "--output=json"))
    token = house.kube("--namespace=comanda", "create", "token", "comanda-follow-settings").strip()
    known["users"] = [{"name": each["name"], "user": {"token": token}} for each in known["users"]]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(known), encoding="utf-8")
    return Kubectl(house.kube.command, kubeconfig)


@pytest.mark.parametrize(
    "forbidden",
    [
        "--namespace=comanda get secret comanda-migration",
        "--namespace=comanda get secrets",
        "--namespace=comanda-db get secret database",
        "--namespace=comanda-db get pods",
        "--namespace=comanda delete pod any --dry-run=server",
        "--namespace=comanda delete deployment comanda-api --dry-run=server",
        "--namespace=comanda create configmap new --dry-run=server",
        "get nodes",
    ],
)
def test_with_its_token_a_thief_gets_nothing_else(thief: Kubectl, forbidden: str) -> None:
    assert thief("--namespace=comanda", "get", "configmap", "comanda-settings", "--output=name")
    with pytest.raises(Failed, match=r"(?i)forbidden"):
        thief(*forbidden.split())


@pytest.mark.parametrize(
    ("namespace", "what"),
    [("comanda", "deployment/comanda-api"), ("comanda", "deployment/comanda-worker"), ("comanda-db", "pod/database-0")],
)
def test_a_pod_that_needs_no_token_has_none(house: House, namespace: str, what: str) -> None:
    command = ("test", "!", "-e", "/var/run/secrets/kubernetes.io")
    until("without a token", lambda: house.kube(f"--namespace={namespace}", "exec", what, "--", *command) == "", 5)


def _rights(house: House, account: str, namespace: str) -> set[Right]:
    """Ask the API server itself, as that account."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    arguments = ("create", f"--as={account}", "--filename=-", "--output=json", "--validate=false")
    answer: Json = json.loads(house.kube(*arguments, stdin=json.dumps(review)))
    assert not answer["status"].get("incomplete"), answer
    return {
        (verb, group, resource, name)
        for rule in answer["status"]["resourceRules"]
        for verb in rule["verbs"]
        for group in rule.get("apiGroups", [""])
        for resource in rule.get("resources", [])
        for name in rule.get("resourceNames") or [""]
    }
