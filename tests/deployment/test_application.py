"""The manifests' step: what is read and in which order, and what is decided of it, as data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import objects
from comanda_deploy.errors import DeployError
from comanda_deploy.objects import Found, Key
from comanda_deploy.registry import Verdict
from comanda_deploy.step import Kind
from comanda_deploy.steps.application import ApplicationFacts
from tests.deployment.account import USUAL, as_said, changed
from tests.deployment.application import (
    API,
    DATABASE,
    EXTERNAL,
    IMAGE,
    MEND,
    NAMESPACE,
    SETTINGS,
    manifest,
    put,
    step_of,
)

# What is read.


def test_files_go_by_their_number_and_then_by_their_name(tmp_path: Path) -> None:
    for name in ("10-last.yaml", "2-second.yml", "1-first.yaml", "b.yaml", "a.yaml", "3.json", "notes.md"):
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "0.yaml").mkdir()
    names = [file.name for file in objects.files_of(tmp_path)]
    assert names == ["1-first.yaml", "2-second.yml", "10-last.yaml", "a.yaml", "b.yaml"]
    assert objects.files_of(tmp_path / "none") == []


def test_what_is_read_is_what_kubectl_reads(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\ndata: {day: 2026-11-25}\n"
    put(tmp_path, a1=[NAMESPACE, API]).joinpath("2.yaml").write_text(f"{text}---\n# nothing\n---\n", encoding="utf-8")
    read = objects.read(tmp_path)
    assert [str(each) for each in read] == ["Namespace comanda", "Deployment comanda/api", "ConfigMap a"]
    assert read[2].body["data"] == {"day": "2026-11-25"}, "a date is text"
    assert read[1].resource == "deployment.apps"
    assert read[1].images == (IMAGE,)


def test_the_images_of_whatever_makes_pods_are_found(tmp_path: Path) -> None:
    pods = {"initContainers": [{"name": "i", "image": "one"}], "containers": [{"name": "c", "image": "two"}]}
    job = manifest("CronJob", "a", "batch/v1", spec={"jobTemplate": {"spec": {"template": {"spec": pods}}}})
    pod = manifest("Pod", "b", spec=pods)
    assert [each.images for each in objects.read(put(tmp_path, a1=[job, pod, SETTINGS]))] == [
        ("one", "two"),
        ("one", "two"),
        (),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "cannot be read"),
        ("- just\n- a list\n", "document 1 is no object of Kubernetes"),
        ("apiVersion: v1\nkind: List\nitems: []\n", "document 1 is no object of Kubernetes"),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n", "document 1 is no object of Kubernetes"),
    ],
)
def test_what_is_no_manifest_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "1-wrong.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DeployError, match=rf"1-wrong\.yaml.*{said}.*: mend it"):
        objects.read(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"spec": {"replicas": 2}}, {"spec": {"replicas": 3}}, ["spec.replicas"]),
        ({"spec": {"a": None}}, {"spec": {}}, []),
        ({"c": [{"name": "x", "image": "1"}]}, {"c": [{"name": "x", "image": "2"}]}, ["c[x].image"]),
        ({"c": [{"name": "x"}]}, {"c": [{"name": "x"}, {"name": "y"}]}, ["c"]),
        ({"ports": [{"port": 1}, {"port": 2}]}, {"ports": [{"port": 1}, {"port": 3}]}, ["ports[1].port"]),
    ],
)
def test_a_difference_is_named_by_its_path(one: Any, other: Any, expected: list[str]) -> None:
    assert list(objects.paths(one, other)) == expected


# What is decided.


def facts_of(folder: Path, **more: Any) -> ApplicationFacts:
    """Answer the facts of a cluster in which all is as the manifests say."""
    wanted = objects.read(folder)
    found: dict[Key, Found] = {each.key: Found(each.body) for each in wanted}
    return replace(ApplicationFacts(wanted, True, found=found), **more)


def decided(folder: Path, facts: ApplicationFacts) -> list[str]:
    return as_said(step_of(folder).decide(USUAL, facts))


def test_as_it_should_be_there_is_nothing_to_do(tmp_path: Path) -> None:
    folder = put(tmp_path / "api", a1=[NAMESPACE, API], a2=[SETTINGS])
    assert decided(folder, facts_of(folder)) == []
    assert decided(folder, ApplicationFacts()) == [f"note manifests of {tmp_path.name}/api: there are none"]


def test_without_a_cluster_all_is_to_be_made_and_one_that_does_not_answer_is_said_to_be_so(tmp_path: Path) -> None:
    folder = put(tmp_path / "api", a1=[NAMESPACE], a2=[EXTERNAL])
    nothing = facts_of(folder, cluster=False, found={})
    assert decided(folder, nothing) == ["create Namespace comanda: 1.yaml", "create ExternalSecret comanda/api: 2.yaml"]
    silent = replace(nothing, cluster=True, trouble="no such host")
    assert decided(folder, silent) == [
        f"later manifests of {tmp_path.name}/api: the cluster could not be asked: no such host"
    ]
    assert decided(folder, replace(silent, here=True)) == [
        f"later manifests of {tmp_path.name}/api: the cluster could not be asked from this machine: no such host"
    ]


def test_what_needs_a_kind_that_is_missing_waits_with_all_that_follows_it(tmp_path: Path) -> None:
    folder = put(tmp_path, a1=[NAMESPACE], a2=[SETTINGS, EXTERNAL], a3=[API])
    facts = facts_of(
        folder,
        found={},
        unknown=frozenset({("external-secrets.io", "ExternalSecret")}),
        late={("apps", "Deployment", "comanda", "other"): "0 of 1"},
    )
    why = "2.yaml goes first, and its kind ExternalSecret comes with step external-secrets"
    assert decided(folder, facts) == [
        "create Namespace comanda: 1.yaml",
        f"later ConfigMap comanda/settings: {why}",
        f"later ExternalSecret comanda/api: {why}",
        f"later Deployment comanda/api: {why}",
    ]


def test_a_change_names_its_fields_and_whether_a_hand_made_it(tmp_path: Path) -> None:
    folder = put(tmp_path, a1=[NAMESPACE, API, SETTINGS])
    facts = facts_of(folder)
    (_, api, settings) = facts.wanted
    found = {
        **facts.found,
        api.key: Found(api.body, tuple("abcde"), by_hand=True),
        settings.key: Found(settings.body, ("data.LEVEL",)),
    }
    assert decided(folder, replace(facts, found=found)) == [
        "change Deployment comanda/api: changed by hand: a, b, c and 2 more",
        "change ConfigMap comanda/settings: 1.yaml: data.LEVEL",
    ]


def test_what_cannot_be_changed_in_place_is_refused_with_the_way_by_hand(tmp_path: Path) -> None:
    folder = put(tmp_path, a1=[DATABASE])
    facts = facts_of(folder)
    why = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden"
    found = {facts.wanted[0].key: Found(DATABASE, refused=why)}
    (change,) = step_of(folder).decide(USUAL, replace(facts, found=found))
    assert (change.kind, change.detail) == (Kind.REFUSED, why)
    assert change.mend[0] == f"mend {folder}/1.yaml"
    assert (
        "kubectl --context comanda delete statefulset.apps database --namespace comanda --cascade=orphan"
        in change.mend[1]
    )


def test_what_is_being_deleted_or_does_not_run_yet_is_waited_for(tmp_path: Path) -> None:
    folder = put(tmp_path, a1=[SETTINGS, API])
    facts = facts_of(folder)
    settings, api = facts.wanted
    found = {**facts.found, settings.key: Found(SETTINGS, deleting="2026-11-25T00:00:00Z")}
    assert decided(folder, replace(facts, found=found, late={api.key: "1 of 2 pods are available"})) == [
        "wait ConfigMap comanda/settings: it is being deleted",
        "wait Deployment comanda/api: 1 of 2 pods are available",
    ]


@pytest.mark.parametrize(
    ("verdict", "there", "expected"),
    [
        (Verdict.THERE, False, []),
        (Verdict.MISSING, False, f"refused image {IMAGE}: the account's registry has no such image"),
        (
            Verdict.NAMELESS,
            False,
            f"refused image {IMAGE}: it names no registry, and EKS's nodes would look for it at ",
        ),
        # What runs already is not to be applied: nothing else must wait for it.
        (Verdict.MISSING, True, f"note image {IMAGE}: the account's registry has no such image: no new pod of it can "),
        (Verdict.NO_REPOSITORY, False, f"note image {IMAGE}: it was not pushed yet: the account has no image reposit"),
        (Verdict.ELSEWHERE, False, f"note image {IMAGE}: it is in another registry or repository, where nobo"),
        (Verdict.AS_NODES_KNOW, False, f"note image {IMAGE}: it names no registry: the nodes must have one for it"),
    ],
)
def test_an_image_that_is_not_there_is_not_applied(
    tmp_path: Path, verdict: Verdict, there: bool, expected: str
) -> None:
    folder = put(tmp_path, a1=[NAMESPACE, API])
    facts = facts_of(folder, images={IMAGE: verdict})
    changes = step_of(folder).decide(USUAL, facts if there else replace(facts, found={}))
    assert len(changes) == (0 if there else 2) + bool(expected)
    if expected:
        assert as_said(changes)[0].startswith(expected)
        assert changes[0].kind is not Kind.REFUSED or changes[0].mend[0].startswith(MEND)


def removed(folder: Path, facts: ApplicationFacts, *keep: str) -> list[str]:
    return as_said(step_of(folder).decide_removal(changed(USUAL, destroy={"keep": keep}), facts))


def test_what_was_made_goes_last_first_and_with_claims_kept_their_namespace_stays(tmp_path: Path) -> None:
    claim = manifest("PersistentVolumeClaim", "backups")
    folder = put(tmp_path, a1=[NAMESPACE, SETTINGS], a2=[claim, DATABASE])
    facts = facts_of(folder)
    gone = ["delete StatefulSet comanda/database"]
    assert removed(folder, facts) == [
        *gone,
        "delete PersistentVolumeClaim comanda/backups",
        "delete ConfigMap comanda/settings",
        "delete Namespace comanda",
    ]
    assert removed(folder, facts, "volumes") == [
        *gone,
        "note PersistentVolumeClaim comanda/backups: kept, and what it stands for",
        "delete ConfigMap comanda/settings",
        "note Namespace comanda: kept, for its volumes and snapshots",
    ]
    assert removed(folder, facts, "snapshots")[-1] == "note Namespace comanda: kept, for its volumes and snapshots"
    assert removed(folder, facts, "images", "secrets", "logs") == removed(folder, facts)


def test_a_namespace_without_claims_goes_whatever_is_kept(tmp_path: Path) -> None:
    folder = put(tmp_path, a1=[NAMESPACE, API])
    assert removed(folder, facts_of(folder), "volumes", "snapshots") == [
        "delete Deployment comanda/api",
        "delete Namespace comanda",
    ]


def test_destroy_waits_for_what_is_on_its_way_but_not_for_ever_nor_for_a_cluster_that_is_silent(tmp_path: Path) -> None:
    folder = put(tmp_path / "api", a1=[SETTINGS, API])
    facts = facts_of(folder)
    settings, api = facts.wanted
    facts = replace(facts, found={**facts.found, api.key: Found(API, deleting="2026-11-25T00:00:00Z")})
    assert removed(folder, facts) == [
        "delete ConfigMap comanda/settings",
        "wait Deployment comanda/api: it is being deleted",
    ]
    assert removed(folder, replace(facts, stuck=frozenset({api.key})))[0] == (
        "note Deployment comanda/api: nobody sees to its end: it goes with the cluster"
    )
    silent = replace(facts, found={}, trouble="no such host")
    assert removed(folder, silent) == [f"note manifests of {tmp_path.name}/api: go with the cluster: no such host"]
    assert removed(folder, ApplicationFacts()) == []
    assert settings.key in facts.found
