"""The operator's kubeconfig: what is decided of it, as data; and that nothing else in it is touched."""

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from comanda_deploy.context import Context
from comanda_deploy.engine import Failure
from comanda_deploy.errors import DeployError
from comanda_deploy.runbook import named
from comanda_deploy.step import Change
from comanda_deploy.steps.kubeconfig import Kubeconfig, KubeconfigFacts, knows_the_cluster
from tests.deployment.account import USUAL, Account, as_said

WANTED = {
    "clusters": {"server": "https://1.eks.amazonaws.com", "certificate-authority-data": "LS0t"},
    "users": {"exec": {"command": "aws"}},
    "contexts": {"cluster": "comanda", "user": "comanda"},
}
FILE = Path("home") / ".kube" / "config"
BUILT = KubeconfigFacts(FILE, cluster=True, there=WANTED, wanted=WANTED)

OTHERS = """\
apiVersion: v1
kind: Config
current-context: elsewhere
preferences: {colors: true}
clusters:
- {name: elsewhere, cluster: {server: "https://elsewhere", certificate-authority: /etc/ca.pem}}
- {name: comanda, cluster: {server: "https://gone"}}
contexts:
- {name: comanda, context: {cluster: comanda, user: comanda, namespace: old}}
- {name: elsewhere, context: {cluster: elsewhere, user: somebody, namespace: theirs}}
users:
- {name: somebody, user: {token: "0123"}}
"""


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (BUILT, []),
        (replace(BUILT, there={}), [f"create context comanda: in {FILE}"]),
        (
            replace(BUILT, there={**WANTED, "clusters": {"server": "https://gone"}}),
            [f"change context comanda: in {FILE}"],
        ),
        (replace(BUILT, there={"users": WANTED["users"]}), [f"change context comanda: in {FILE}"]),
        # A plan of an empty account says what is to come.
        (KubeconfigFacts(FILE, cluster=False, there={}, wanted={}), [f"create context comanda: in {FILE}"]),
    ],
)
def test_what_is_decided(facts: KubeconfigFacts, expected: list[str]) -> None:
    assert as_said(Kubeconfig().decide(USUAL, facts)) == expected


def test_without_a_cluster_it_says_which_verb_makes_one() -> None:
    (change,) = Kubeconfig().decide(USUAL, KubeconfigFacts(FILE, cluster=False, there={}, wanted={}))
    with pytest.raises(DeployError, match="no cluster yet: run create-eks-cluster"):
        carry_out(change, FILE)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (BUILT, [f"delete context comanda: in {FILE}"]),
        # The cluster goes before it: its entries do not stay for that.
        (replace(BUILT, cluster=False, wanted={}), [f"delete context comanda: in {FILE}"]),
        (replace(BUILT, there={}), []),
    ],
)
def test_ours_is_taken_out(facts: KubeconfigFacts, expected: list[str]) -> None:
    assert as_said(Kubeconfig().decide_removal(USUAL, facts)) == expected


# The file.


def context_with(*files: Path) -> Context:
    environment = {"KUBECONFIG": ":".join(map(str, files)), "HOME": str(files[0].parent)}
    return Context(USUAL, boto3.Session(region_name="sa-east-1"), environment=environment)


def carry_out(change: Change, file: Path) -> None:
    assert change.do is not None
    change.do(context_with(file))


def write(file: Path) -> None:
    (change,) = Kubeconfig().decide(USUAL, KubeconfigFacts(file, cluster=True, there={}, wanted=WANTED))
    carry_out(change, file)


def remove(file: Path) -> None:
    (change,) = Kubeconfig().decide_removal(USUAL, KubeconfigFacts(file, cluster=True, there=WANTED, wanted=WANTED))
    carry_out(change, file)


def read(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return loaded


def entries(config: dict[str, Any], name: str) -> list[Any]:
    """Answer what a file says of one name."""
    return [
        entry for section in ("clusters", "contexts", "users") for entry in config[section] if entry["name"] == name
    ]


def test_a_new_file_is_the_operator_s_alone_and_makes_ours_the_current_context(tmp_path: Path) -> None:
    file = tmp_path / ".kube" / "config"
    write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert read(file) == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "comanda", "cluster": WANTED["clusters"]}],
        "users": [{"name": "comanda", "user": WANTED["users"]}],
        "contexts": [{"name": "comanda", "context": WANTED["contexts"]}],
        "current-context": "comanda",
    }
    assert list(file.parent.iterdir()) == [file], "no half-written file is left"
    assert knows_the_cluster(context_with(file))


def test_another_cluster_s_entries_and_the_current_context_are_untouched(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(OTHERS, encoding="utf-8")
    before = read(file)
    write(file)
    after = read(file)
    for name in ("elsewhere", "somebody"):
        assert entries(after, name) == entries(before, name)
    assert after["current-context"] == "elsewhere"
    assert after["preferences"] == {"colors": True}
    assert [each for each in entries(after, "comanda") if "cluster" in each] == [
        {"name": "comanda", "cluster": WANTED["clusters"]}
    ], "what was there of ours is replaced, not doubled"
    remove(file)
    gone = read(file)
    assert entries(gone, "comanda") == []
    for name in ("elsewhere", "somebody"):
        assert entries(gone, name) == entries(before, name)
    assert gone["current-context"] == "elsewhere"


def test_no_context_is_current_once_ours_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "config"
    write(file)
    remove(file)
    assert read(file)["current-context"] == ""
    assert not knows_the_cluster(context_with(file))


def test_a_link_stays_a_link_and_a_file_that_others_could_read_is_closed(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "config", tmp_path / "config"
    real.parent.mkdir()
    real.write_text(OTHERS, encoding="utf-8")
    real.chmod(0o644)
    link.symlink_to(real)
    write(link)
    assert link.is_symlink()
    assert len(entries(read(real), "comanda")) == 3
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"clusters:\n- name: [elsewhere\ncontexts: []\n", ":3 is not valid YAML: mend it, or name another"),
        (b"a: b: c\n", ":1 is not valid YAML: mend it, or name another"),
        (b"\x00", " is not valid YAML: mend it, or name another"),
        (b"- a list\n", " is no kubeconfig: name another"),
        (b"clusters: {comanda: https://1}\n", " is no kubeconfig: name another"),
        (b"users: [comanda]\n", " is no kubeconfig: name another"),
        (b"\xff\xfe\xfa", " cannot be read ("),
    ],
)
def test_what_is_no_kubeconfig_is_named_with_its_line_and_left_as_it_is(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "config"
    file.write_bytes(content)
    for touch in (write, remove, lambda file: knows_the_cluster(context_with(file))):
        with pytest.raises(DeployError) as raised:
            touch(file)
        assert f"{file}{said}" in str(raised.value)
        assert str(raised.value).endswith("KUBECONFIG")
        assert "\n" not in str(raised.value)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file/config", r"cannot be read \(.*Not a directory"),
        ("folder", r"cannot be read \(.*Is a directory"),
        ("nowhere", r"cannot be written \(No such file or directory"),
    ],
)
def test_a_place_where_no_file_can_be_is_named(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "nowhere").symlink_to("/proc/no-folder-can-be-made-here/config")
    with pytest.raises(DeployError, match=f"{said}.*: name another with KUBECONFIG"):
        write(tmp_path / place)


@pytest.mark.parametrize("text", ["", "contexts:\n", "contexts: []\nusers: null\n", "clusters: [{name: comanda}]\n"])
def test_an_empty_file_or_half_an_entry_is_no_fault(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text, encoding="utf-8")
    assert not knows_the_cluster(context_with(file))
    write(file)
    assert knows_the_cluster(context_with(file))


# By the cluster.


def test_it_is_written_for_the_cluster_that_stands_its_region_and_the_operator_s_profile(account: Account) -> None:
    steps = [named("network"), named("cluster"), named("kubeconfig")]
    first, second = account.home / "first", account.home / "second"
    second.write_text(OTHERS, encoding="utf-8")
    account.environment["KUBECONFIG"] = f"{first}:{second}"
    account.apply(steps)
    assert account.plan(steps) == []
    (cluster, kube, user) = entries(read(first), "comanda")
    body = account.bed.eks.clusters["comanda"].body
    assert cluster["cluster"] == {
        "server": body["endpoint"],
        "certificate-authority-data": body["certificateAuthority"]["data"],
    }
    assert kube["context"] == {"cluster": "comanda", "user": "comanda"}
    arguments = user["user"]["exec"]["args"]
    assert arguments[arguments.index("--region") + 1] == "sa-east-1"
    assert arguments[arguments.index("--cluster-name") + 1] == "comanda"
    assert "env" not in user["user"]["exec"], "keys in the environment are kubectl's too"
    assert second.read_text(encoding="utf-8") == OTHERS, "only the first file is ours to write"

    body["endpoint"] = "https://another.eks.amazonaws.com"
    assert account.plan(steps) == [f"change context comanda: in {first}"]
    first.write_text("a: b: c", encoding="utf-8")
    with pytest.raises(Failure, match=r"step kubeconfig, looking at what is there: .*first:1 is not valid YAML"):
        account.plan(steps)


def test_a_named_profile_goes_into_the_file_and_no_key_does(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.apply([named("network"), named("cluster")])
    config = account.home / "aws"
    key, secret = account.environment["AWS_ACCESS_KEY_ID"], account.environment["AWS_SECRET_ACCESS_KEY"]
    config.write_text(
        f"[profile of-maria]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n", encoding="utf-8"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    account.session, account.clients = boto3.Session(profile_name="of-maria", region_name="sa-east-1"), {}
    account.apply([named("kubeconfig")])
    file = Path(account.environment["KUBECONFIG"])
    (_, _, user) = entries(read(file), "comanda")
    assert user["user"]["exec"]["env"] == [{"name": "AWS_PROFILE", "value": "of-maria"}]
    assert secret not in file.read_text(encoding="utf-8")


def test_a_cluster_on_its_way_has_no_address_yet(account: Account) -> None:
    account.apply([named("network"), named("cluster")])
    body = account.bed.eks.clusters["comanda"].body
    del body["endpoint"]
    with pytest.raises(Failure, match="no cluster yet: run create-eks-cluster"):
        account.apply([named("kubeconfig")])
