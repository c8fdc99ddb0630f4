"""Fluent Bit could not be run here: its configuration is read as it reads it, and held to what the pages say of it."""

import fnmatch
import hashlib
import json
import logging
import re
from pathlib import PurePosixPath

import pytest
import yaml

from comanda.http.logs import JsonFormatter
from comanda_deploy.names import DATABASE_NAMESPACE, LOGGING_NAMESPACE, MONITORING_NAMESPACE, NAMESPACE
from comanda_deploy.steps.logs import GROUPS, IDENTITY
from tests.manifests.reading import CLONE, Document, Json, documents_of

SPACES = (NAMESPACE, DATABASE_NAMESPACE, MONITORING_NAMESPACE)
ID = "0123456789abcdef" * 4
KNOWN: dict[str, set[str]] = {
    "tail": {
        *("name", "alias", "path", "tag", "tag_regex", "multiline.parser", "db", "db.locking", "read_from_head"),
        *("refresh_interval", "rotate_wait", "buffer_max_size", "skip_long_lines", "storage.type"),
    },
    "parser": {"name", "match", "key_name", "parser", "reserve_data"},
    "grep": {"name", "match", "exclude"},
    "record_modifier": {"name", "match", "remove_key"},
    "cloudwatch_logs": {
        *("name", "alias", "match", "region", "log_group_name", "log_stream_prefix", "auto_create_group"),
        *("retry_limit", "storage.total_limit_size"),
    },
}
"""Options as Fluent Bit's manual spells them, of version 5: another is a fault at its start."""


def the(kind: str, name: str = "fluent-bit") -> Document:
    [found] = [each for each in documents_of("logs") if (each.kind, each.name) == (kind, name)]
    return found


def said() -> str:
    return str(the("ConfigMap").body["data"]["fluent-bit.yaml"])


CONFIGURATION: Json = yaml.safe_load(said())
PIPELINE: dict[str, list[Json]] = CONFIGURATION["pipeline"]
INPUTS, FILTERS, OUTPUTS = (PIPELINE[part] for part in ("inputs", "filters", "outputs"))
POD: Json = the("DaemonSet").pod
[CONTAINER] = POD["spec"]["containers"]


def file_of(pod: str, namespace: str, container: str) -> str:
    """Answer where the kubelet links a container's log."""
    return f"/var/log/containers/{pod}_{namespace}_{container}-{ID}.log"


def way_of(file: str) -> list[tuple[str, str]]:
    """Answer into which group and stream a file's lines go: one, or none at all."""
    found = []
    for each in INPUTS:
        if not fnmatch.fnmatchcase(file, each["path"]):
            continue
        fields = re.search(each["tag_regex"].replace("(?<", "(?P<"), file)
        assert fields, f"{each['alias']} has no tag for it"
        tag = re.sub(r"<(\w+)>", lambda name, fields=fields: fields[name[1]], each["tag"])  # type: ignore[misc]
        found += [
            (out["log_group_name"], out["log_stream_prefix"].replace("${NODE_NAME}", "node-1") + tag)
            for out in OUTPUTS
            if fnmatch.fnmatchcase(tag, out["match"])
        ]
    return found


@pytest.mark.parametrize(
    ("pod", "namespace", "container", "stream"),
    [
        ("comanda-api-7d9f8b6c5-x2x4z", "comanda", "api", "node-1/comanda.comanda-api-7d9f8b6c5-x2x4z.api"),
        ("comanda-worker-5b7-abcde", "comanda", "worker", "node-1/comanda.comanda-worker-5b7-abcde.worker"),
        ("database-0", "comanda-db", "database", "node-1/comanda-db.database-0.database"),
        ("prometheus-0", "monitoring", "prometheus", "node-1/monitoring.prometheus-0.prometheus"),
        ("with.a.dot", "comanda", "with-a-dash", "node-1/comanda.with.a.dot.with-a-dash"),
    ],
)
def test_a_container_s_lines_go_to_its_namespace_s_group_and_a_stream_of_its_own(
    pod: str, namespace: str, container: str, stream: str
) -> None:
    assert way_of(file_of(pod, namespace, container)) == [(f"/comanda/{namespace}", stream)]


@pytest.mark.parametrize("namespace", ["kube-system", "logging", "external-secrets", "comanda-of-somebody", "default"])
def test_no_other_namespace_is_read(namespace: str) -> None:
    """Its own least of all: what it says of a line that cannot be sent would be a line to send."""
    assert way_of(file_of("comanda-api-1", namespace, "comanda")) == []


def test_each_namespace_has_its_input_its_output_and_its_group_and_there_are_no_others() -> None:
    assert [each["alias"] for each in INPUTS] == [each["alias"] for each in OUTPUTS] == [*SPACES]
    assert [each["log_group_name"] for each in OUTPUTS] == [*GROUPS]
    assert len({each["db"] for each in INPUTS}) == len(INPUTS)


def test_it_makes_no_group_since_it_may_not() -> None:
    allowed = json.loads((CLONE / "infra" / "iam" / "ComandaLogs.json").read_text(encoding="utf-8"))["Statement"]
    assert [each["Action"] for each in allowed] == [["logs:CreateLogStream", "logs:PutLogEvents"]]
    for each in OUTPUTS:
        assert each["auto_create_group"] is False
        assert "log_retention_days" not in each


def test_every_option_is_one_that_its_plugin_has() -> None:
    for each in (*INPUTS, *FILTERS, *OUTPUTS):
        assert set(each) <= KNOWN[each["name"]], each


def test_every_parser_that_is_named_is_defined_and_every_defined_one_is_used() -> None:
    defined = {each["name"] for each in CONFIGURATION["parsers"]}
    assert {each["parser"] for each in FILTERS if "parser" in each} == defined
    # `cri` is built in: it joins what the runtime has cut.
    assert {each["multiline.parser"] for each in INPUTS} == {"cri"}


def test_a_line_of_ours_becomes_fields_and_no_key_of_it_is_taken_for_its_time() -> None:
    [parser] = CONFIGURATION["parsers"]
    assert parser == {"name": "comanda-line", "format": "json"}
    [first, *_] = FILTERS
    # `log` is where the parser `cri` leaves what the container wrote.
    assert (first["name"], first["key_name"], first["reserve_data"]) == ("parser", "log", True)
    record = logging.makeLogRecord({"msg": "order placed", "levelname": "INFO", "order_id": "o-1"})
    fields = json.loads(JsonFormatter().format(record))
    assert (fields["message"], fields["order_id"]) == ("order placed", "o-1")
    assert not {"log", "stream", "_p"} & set(fields), "what the filter keeps beside would be there twice"


@pytest.mark.parametrize(
    ("line", "goes"),
    [
        ("23514comanda_api_a@comanda comanda DETAIL:  Failing row contains (0b9c, Maria, 1200, null).", False),
        ("23514comanda_api_a@comanda comanda ERROR:  new row for relation violates check constraint", True),
        ("40P01comanda_api_a@comanda comanda DETAIL:  Process 71 waits for ShareLock on transaction 9", True),
    ],
)
def test_a_row_that_postgresql_quotes_does_not_leave_the_node(line: str, goes: bool) -> None:
    [filter_] = [each for each in FILTERS if each["name"] == "grep"]
    assert fnmatch.fnmatchcase("comanda-db.database-0.database", filter_["match"])
    key, _, pattern = filter_["exclude"].partition(" ")
    assert (key, re.search(pattern, line) is None) == ("log", goes)


def test_a_new_configuration_means_new_pods() -> None:
    digest = hashlib.sha256(said().encode()).hexdigest()[:16]
    assert POD["metadata"]["annotations"]["comanda/configuration"] == digest
    # YAML would make a number of such a one, and Kubernetes refuse it: then change a comment.
    assert isinstance(yaml.safe_load(digest), str)


def test_what_the_configuration_names_is_there() -> None:
    mounts = {each["mountPath"]: each for each in CONTAINER["volumeMounts"]}
    paths = [each["path"] for each in INPUTS] + [each["db"] for each in INPUTS]
    paths += [CONFIGURATION["service"]["storage.path"], CONTAINER["args"][0].removeprefix("--config=")]
    for path in paths:
        assert any(str(folder) in mounts for folder in PurePosixPath(path).parents), path
    # What the links lead to as well; and only its own folder can be written.
    assert "/var/log/pods" in mounts
    assert {path for path, each in mounts.items() if not each.get("readOnly")} == {"/buffer"}
    variables = set(re.findall(r"\$\{(\w+)\}", said()))
    # The region is Pod Identity's to set (EKS user guide, how Pod Identity works).
    assert variables == {each["name"] for each in CONTAINER["env"]} | {"AWS_REGION"}


def test_of_the_node_it_has_the_logs_alone() -> None:
    of_node = {each["hostPath"]["path"] for each in POD["spec"]["volumes"] if "hostPath" in each}
    assert of_node == {"/var/log/containers", "/var/log/pods"}
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        assert field not in POD["spec"]


def test_it_reads_what_belongs_to_the_group_root_and_is_not_root() -> None:
    security = POD["spec"]["securityContext"]
    assert (security["runAsNonRoot"], security["runAsGroup"]) == (True, 0)
    assert "fsGroup" not in security


def test_it_is_on_every_node() -> None:
    assert POD["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert "nodeSelector" not in POD["spec"]
    assert "affinity" not in POD["spec"]


def test_what_waits_is_bounded_and_fits_into_its_folder() -> None:
    assert {each["storage.type"] for each in INPUTS} == {"filesystem"}
    assert {each["retry_limit"] for each in OUTPUTS} == {"no_limits"}
    waits = sum(int(each["storage.total_limit_size"].removesuffix("M")) for each in OUTPUTS)
    [buffer] = [each["emptyDir"] for each in POD["spec"]["volumes"] if each["name"] == "buffer"]
    assert buffer == {"sizeLimit": "1Gi"}
    assert waits <= 700, "and how far each file was read is in there too"
    chunks = int(CONFIGURATION["service"]["storage.max_chunks_up"]) * 2
    assert chunks + 64 < int(CONTAINER["resources"]["limits"]["memory"].removesuffix("Mi"))


def test_it_ends_before_it_is_killed() -> None:
    assert CONFIGURATION["service"]["grace"] < POD["spec"]["terminationGracePeriodSeconds"]


def test_its_probes_ask_the_server_that_it_has() -> None:
    service = CONFIGURATION["service"]
    assert (service["http_server"], service["health_check"]) == (True, True)
    assert service["http_listen"] == "0.0.0.0"  # noqa: S104 - it binds nothing here
    assert [each["containerPort"] for each in CONTAINER["ports"]] == [service["http_port"]]
    # That CloudWatch does not answer is no reason to start it again: it would only read everything once more.
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/"


def test_it_is_whom_pod_identity_knows() -> None:
    account = the("ServiceAccount")
    assert (account.namespace, account.name) == (IDENTITY.namespace, IDENTITY.service_account)
    assert POD["spec"]["serviceAccountName"] == account.name
    assert account.namespace == LOGGING_NAMESPACE
    # It asks Kubernetes nothing: no role, and no token but Pod Identity's own.
    assert not [each for each in documents_of("logs") if "Role" in each.kind]


def test_it_reaches_names_cloudwatch_and_the_pod_identity_agent_and_nobody_reaches_it() -> None:
    nothing = the("NetworkPolicy", "nothing").body["spec"]
    assert (nothing["podSelector"], nothing["policyTypes"]) == ({}, ["Ingress", "Egress"])
    out = the("NetworkPolicy", "from-fluent-bit").body["spec"]
    assert out["policyTypes"] == ["Egress"]
    names, agent, world = out["egress"]
    assert {(each["protocol"], each["port"]) for each in names["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert agent == {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": [{"protocol": "TCP", "port": 80}]}
    assert world["ports"] == [{"protocol": "TCP", "port": 443}]
    [block] = [each["ipBlock"] for each in world["to"]]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(block["except"])
