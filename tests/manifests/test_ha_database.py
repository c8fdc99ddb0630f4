"""The database of three instances is to its users what the one of one instance is, and is not lost with a zone."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from comanda_deploy.names import DATABASE_NAMESPACE, DATABASE_SECRET, NAMESPACE
from comanda_deploy.settings import read_settings
from comanda_deploy.steps.network import PRIVATE, places
from comanda_deploy.steps.secrets import GENERATED, URLS
from tests.manifests.reading import CLONE, OVERLAYS, Json, documents_of, matches, of_kind

FOLDER = OVERLAYS / "ha-database"
HELM = CLONE / "infra" / "helm" / "cloudnative-pg.yaml"
PAGE = CLONE / "docs" / "ha-database.md"

CNPG_S_OWN = {"listen_addresses", "unix_socket_directories", "log_line_prefix", "shared_preload_libraries"}
"""Settings that CloudNativePG makes itself, and refuses or has no use for."""
OTHERWISE = {"superuser_reserved_connections"}
"""CloudNativePG itself keeps some superuser's connections."""
MORE = {"pg_stat_statements.track", "max_slot_wal_keep_size", "wal_level"}


OURS = documents_of("ha-database")


def the(kind: str, name: str = "") -> Json:
    """Answer the one object of a kind, or of a kind and a name."""
    [found] = [each for each in OURS if each.kind == kind and name in ("", each.name)]
    return found.body


def cluster() -> Json:
    """Answer what the cluster shall be."""
    spec: Json = the("Cluster")["spec"]
    return spec


def single(name: str) -> str:
    """Answer a file of the configuration of the database of one instance."""
    [found] = [each for each in of_kind("ConfigMap") if each.namespace == DATABASE_NAMESPACE]
    return str(found.body["data"][name])


def peers(rule: Json) -> set[tuple[str, str]]:
    """Answer whom a rule of a network policy names: namespace (or "" for its own) and pods, or the addresses."""
    found = set()
    for peer in [*rule.get("from", []), *rule.get("to", [])]:
        if "ipBlock" in peer:
            found.add(("", peer["ipBlock"]["cidr"]))
            continue
        space = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", "")
        pods = peer["podSelector"]
        for name in [*pods.get("matchLabels", {}).values(), *pods.get("matchExpressions", [{}])[0].get("values", [])]:
            found.add((space, name))
    return found


def ports(rule: Json) -> set[tuple[str, int]]:
    """Answer the ports of a rule."""
    return {(each["protocol"], each["port"]) for each in rule["ports"]}


@pytest.mark.parametrize("folder", [FOLDER, OVERLAYS / "rds", OVERLAYS / "rds-moving"], ids=lambda each: each.name)
def test_the_kustomization_names_each_file_once_and_in_its_order(folder: Path) -> None:
    named = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert named == [file.name for file in sorted(folder.glob("*.yaml")) if file.name != "kustomization.yaml"]


@pytest.mark.parametrize("file", [*sorted(FOLDER.glob("*.yaml")), HELM], ids=lambda each: each.name)
def test_a_file_says_first_what_it_is_for(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")


def test_it_stands_beside_the_other_and_shares_nothing_with_it() -> None:
    there = {(each.kind, each.namespace, each.name) for each in of_kind(*{each.kind for each in OURS})}
    counted = Counter((each.kind, each.namespace, each.name) for each in OURS)
    assert set(counted.values()) == {1}
    assert not set(counted) & there
    assert {each.namespace for each in OURS} == {"", "comanda-db-ha", NAMESPACE}
    labels = the("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_an_object_s_namespace_is_made_before_it() -> None:
    kinds = [(each.kind, each.name) for each in OURS]
    made = kinds.index(("Namespace", "comanda-db-ha"))
    assert all(made < at for at, each in enumerate(OURS) if each.namespace == "comanda-db-ha")


def test_each_user_s_password_is_a_key_that_the_secrets_step_makes() -> None:
    read_keys = {}
    for each in (each.body["spec"] for each in OURS if each.kind == "ExternalSecret"):
        [datum] = each["data"]
        assert datum["remoteRef"]["key"] == DATABASE_SECRET
        template = each["target"]["template"]
        assert template["type"] == "kubernetes.io/basic-auth"
        assert template["metadata"]["labels"]["cnpg.io/reload"] == "true"
        assert template["data"] == {"username": template["data"]["username"], "password": "{{ .password }}"}
        read_keys[template["data"]["username"]] = (each["target"]["name"], datum["remoteRef"]["property"])
    assert {key for _, key in read_keys.values()} == {*GENERATED} - {"SUPERUSER_PASSWORD"}
    # The same users as in the API's URLs have the same passwords here.
    assert {user: read_keys[user][1] for user, _ in URLS.values()} == dict(URLS.values())
    asked = {role["name"]: role["passwordSecret"]["name"] for role in cluster()["managed"]["roles"]}
    initdb = cluster()["bootstrap"]["initdb"]
    assert {**asked, initdb["owner"]: initdb["secret"]["name"]} == {user: name for user, (name, _) in read_keys.items()}


def test_no_role_may_more_than_log_in_and_what_its_group_may() -> None:
    for role in cluster()["managed"]["roles"]:
        assert set(role) <= {"name", "ensure", "login", "inRoles", "passwordSecret", "connectionLimit"}
    assert cluster()["enableSuperuserAccess"] is False


def test_its_settings_are_those_of_the_other() -> None:
    wanted = dict(re.findall(r"^([a-z_.]+) = '?([^'\n]*)'?$", single("postgresql.conf"), re.MULTILINE))
    has = cluster()["postgresql"]["parameters"]
    assert all(isinstance(value, str) for value in has.values())
    assert set(has) == (set(wanted) - CNPG_S_OWN) | MORE
    assert {name for name in set(has) - MORE if has[name] != wanted[name]} == OTHERWISE
    assert "pg_stat_statements" in wanted["shared_preload_libraries"]


def test_it_sorts_as_the_other_does_and_checks_its_pages() -> None:
    [stateful] = of_kind("StatefulSet")
    [container] = [each for each in stateful.pod["spec"]["containers"] if each["name"] == "postgresql"]
    [arguments] = [each["value"] for each in container["env"] if each["name"] == "POSTGRES_INITDB_ARGS"]
    initdb = cluster()["bootstrap"]["initdb"]
    assert f"--locale-provider={initdb['localeProvider']}" in arguments
    assert f"--builtin-locale={initdb['builtinLocale']} --locale={initdb['locale']}" in arguments
    assert f"--encoding={initdb['encoding']}" in arguments
    assert "--data-checksums" in arguments
    assert initdb["dataChecksums"] is True


def test_who_comes_over_the_network_is_who_comes_to_the_other_and_by_tls() -> None:
    other = [line.split() for line in single("pg_hba.conf").splitlines() if line.startswith("host")]
    *rules, last = [line.split() for line in cluster()["postgresql"]["pg_hba"]]
    assert [rule[1:] for rule in rules] == [rule[1:] for rule in other]
    assert all(rule[0] == "hostssl" or rule[3] == "127.0.0.1/32" for rule in rules)
    # CloudNativePG's own last line would let in everybody who has a password.
    assert last == ["host", "all", "all", "all", "reject"]


def test_no_two_instances_are_in_one_zone_and_none_is_on_a_spot_node() -> None:
    affinity = cluster()["affinity"]
    assert cluster()["instances"] == 3
    assert affinity["enablePodAntiAffinity"] is True
    assert (affinity["podAntiAffinityType"], affinity["topologyKey"]) == ("required", "topology.kubernetes.io/zone")
    [stateful] = of_kind("StatefulSet")
    assert affinity["nodeAffinity"] == stateful.pod["spec"]["affinity"]["nodeAffinity"]


def test_what_was_committed_survives_a_lost_zone() -> None:
    synchronous = cluster()["postgresql"]["synchronous"]
    assert synchronous == {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True}
    assert cluster()["enablePDB"] is True
    assert cluster()["smartShutdownTimeout"] == 0


def test_its_disks_are_encrypted_kept_and_can_grow() -> None:
    disk = the("StorageClass")
    [other] = [each for each in of_kind("StorageClass") if each.name == "comanda-database"]
    assert {**disk, "metadata": None} == {**other.body, "metadata": None}
    assert disk["parameters"]["encrypted"] == "true"
    assert cluster()["storage"]["storageClass"] == disk["metadata"]["name"]


def test_its_version_is_exact_and_the_other_s() -> None:
    [stateful] = of_kind("StatefulSet")
    version = stateful.pod["spec"]["containers"][0]["image"].removeprefix("postgres:")
    image = rf"ghcr\.io/cloudnative-pg/postgresql:{re.escape(version)}-\d{{12}}-minimal-trixie@sha256:[0-9a-f]{{64}}"
    assert re.fullmatch(image, cluster()["imageName"])
    assert re.search(r"--version \d+\.\d+\.\d+ ", PAGE.read_text(encoding="utf-8"))


def test_it_has_room_for_what_cnpg_runs_in_its_container_too() -> None:
    resources = cluster()["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"] == "2Gi"


def test_a_backup_is_taken_every_quarter_of_an_hour_and_consistent_by_itself() -> None:
    backups = the("ScheduledBackup")["spec"]
    assert backups["schedule"] == "0 */15 * * * *"
    assert backups["cluster"]["name"] == the("Cluster")["metadata"]["name"]
    assert (backups["method"], backups["online"], backups["target"]) == ("volumeSnapshot", False, "prefer-standby")
    assert backups["backupOwnerReference"] == "none"
    assert cluster()["backup"]["volumeSnapshot"]["online"] is False


def test_nobody_else_reaches_it_and_it_reaches_nobody_else() -> None:
    nothing = the("NetworkPolicy", "nothing")["spec"]
    assert (nothing["podSelector"], nothing["policyTypes"]) == ({}, ["Ingress", "Egress"])
    here, instance = ("", "database"), {("TCP", 5432), ("TCP", 8000)}
    guests, kin = the("NetworkPolicy", "to-database")["spec"]["ingress"]
    assert (peers(guests), ports(guests)) == (
        {(NAMESPACE, "comanda-api"), (NAMESPACE, "comanda-worker")},
        {("TCP", 5432)},
    )
    assert (peers(kin), ports(kin)) == ({here, ("cnpg-system", "cloudnative-pg")}, instance)
    names, others, api = the("NetworkPolicy", "from-database")["spec"]["egress"]
    assert (peers(names), ports(names)) == ({("kube-system", "kube-dns")}, {("UDP", 53), ("TCP", 53)})
    assert (peers(others), ports(others)) == ({here}, instance)
    assert (peers(api), ports(api)) == ({("", network()), ("", "172.20.0.0/16")}, {("TCP", 443)})
    for name in ("to-database", "from-database"):
        assert the("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"] == {
            "cnpg.io/cluster": the("Cluster")["metadata"]["name"]
        }


def test_api_and_worker_are_let_out_to_it_and_no_other_pods() -> None:
    policy = the("NetworkPolicy", "to-database-ha")
    [rule] = policy["spec"]["egress"]
    assert (peers(rule), ports(rule)) == ({("comanda-db-ha", "database")}, {("TCP", 5432)})
    assert let_out(policy) == {"comanda-api", "comanda-worker"}


def test_api_and_worker_are_let_out_to_rds_in_the_private_subnets() -> None:
    [policy] = documents_of("rds")
    [rule] = policy.body["spec"]["egress"]
    assert (peers(rule), ports(rule)) == (private_subnets(), {("TCP", 5432)})
    assert let_out(policy.body) == {"comanda-api", "comanda-worker"}


def test_the_old_database_is_let_out_to_rds_in_a_file_of_its_own() -> None:
    [policy] = documents_of("rds-moving")
    names, rule = policy.body["spec"]["egress"]
    assert (peers(names), ports(names)) == ({("kube-system", "kube-dns")}, {("UDP", 53), ("TCP", 53)})
    assert (peers(rule), ports(rule)) == (private_subnets(), {("TCP", 5432)})
    assert let_out(policy.body) == {"database"}


def test_the_operator_cares_for_this_namespace_alone() -> None:
    values = yaml.safe_load(HELM.read_text(encoding="utf-8"))
    assert values["config"]["data"] == {"WATCH_NAMESPACE": the("Namespace")["metadata"]["name"]}
    assert values["nodeSelector"] == {"comanda/node-group": "general"}


def let_out(policy: Json) -> set[str]:
    """Answer the workloads of the manifests whose pods a policy is for, one that only lets out."""
    assert policy["spec"]["policyTypes"] == ["Egress"]
    return {
        each.name
        for each in of_kind("Deployment", "CronJob", "StatefulSet")
        if each.namespace == policy["metadata"]["namespace"]
        and matches(policy["spec"]["podSelector"], each.pod["metadata"]["labels"])
    }


def private_subnets() -> set[tuple[str, str]]:
    """Answer the addresses of the published settings' private subnets."""
    return {("", each.cidr) for each in places(read_settings(), ("a", "b"), {}) if each.kind == PRIVATE}


def network() -> str:
    """Answer the VPC's addresses."""
    return str(read_settings().network.cidr)
