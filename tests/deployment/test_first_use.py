"""The first use of what is deployed: a key to sign in with, and a menu to order from."""

import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from comanda.menu.sample import LARGEST as TAKEN
from comanda.menu.sample import sample_menu
from comanda_deploy import first_use, lock
from comanda_deploy.commands import context_of
from comanda_testbed.bed import TestBed, running_testbed
from tests.deployment.in_use import InUse, pod

MENU = '{"categories": [{"name": "Pães", "products": [{"name": "Pão na chapa", "price_cents": 700}]}]}'


@pytest.fixture(scope="module")
def bed() -> Iterator[TestBed]:
    """One account for all of these: of it only the lock is used."""
    with running_testbed() as running:
        yield running


@pytest.fixture
def diner(bed: TestBed, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InUse:
    """API pods on a migrated database."""
    pods = [pod("comanda-api-1", "comanda-api"), pod("comanda-worker-1", "comanda-worker")]
    made = InUse(tmp_path / "cluster", pods, environment={"DATABASE_URL": database_url})
    made.objects["ingresses.networking.k8s.io/comanda-api"] = {
        "status": {"loadBalancer": {"ingress": [{"hostname": "comanda-1.elb.amazonaws.com"}]}}
    }
    made.begin(bed, monkeypatch.setenv)
    return made


Said = pytest.CaptureFixture[str]


def test_a_manager_s_key_is_alone_on_the_standard_output(diner: InUse, capsys: Said) -> None:
    assert diner.does("create-manager-key") == 0
    said = capsys.readouterr()
    assert said.out.startswith("comanda_manager_")
    assert said.out.count("\n") == 1
    assert said.out.strip() not in said.err
    assert "typed in" in said.err
    assert "http://comanda-1.elb.amazonaws.com" in said.err
    assert said.err.splitlines()[-1] == "Next: infra/scripts/eks-cluster-mng.sh load-menu"
    assert said.out.strip() not in json.dumps(diner.calls), "a key is on no command line"


def test_a_tablet_s_key_for_a_script(diner: InUse, capsys: Said) -> None:
    assert diner.does("create-manager-key", "--role", "staff", "--name", "-tablet ção", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["role"]) == ("-tablet ção", "staff")
    assert made["key"].startswith("comanda_staff_")
    assert made["address"] == "http://comanda-1.elb.amazonaws.com"


def test_a_name_that_is_taken_is_told_with_both_ways_out(diner: InUse, capsys: Said) -> None:
    assert diner.does("create-manager-key") == 0
    capsys.readouterr()
    assert diner.does("create-manager-key") == 1
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert "a key named 'manager' of manager already" in line
    assert "--name" in line
    assert "rotate-secrets manager" in line
    assert "comanda keys list" in line
    assert diner.does("create-manager-key", "--role", "staff") == 0, "another role has another name by itself"


def test_a_name_that_the_product_refuses_is_refused_in_its_words(diner: InUse, capsys: Said) -> None:
    assert diner.does("create-manager-key", "--name", "x" * 61) == 1
    assert capsys.readouterr() == ("", "eks-cluster-mng.sh: a key's name has 1 to 60 printable characters\n")


def test_the_sample_menu_is_loaded_once_and_then_left_alone(diner: InUse, capsys: Said) -> None:
    assert diner.does("load-menu") == 0
    said = capsys.readouterr().out
    assert "products added" in said
    assert "Next: order something at http://comanda-1.elb.amazonaws.com" in said
    assert diner.does("load-menu", "--json") == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == {"added": 0, "was_empty": False}
    assert "left alone" in again.err


def test_a_menu_of_one_s_own_goes_by_standard_input(diner: InUse, capsys: Said, tmp_path: Path) -> None:
    own = tmp_path / "menu.json"
    own.write_bytes(b"\xef\xbb\xbf" + MENU.encode())
    assert diner.does("load-menu", str(own), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"added": 1, "was_empty": True}
    assert diner.calls[-2][:2] == ["exec", "comanda-api-1"]
    assert "Pão" not in json.dumps(diner.calls, ensure_ascii=False)


def test_a_menu_from_a_pipe(diner: InUse, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MENU.encode())))
    assert diner.does("load-menu", "-") == 0
    assert "1 products added" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b'{"categories": [\n{"name" "A"}]}', "menu.json:2: is not JSON (Expecting ':' delimiter, column 9)"),
        (b'{"categories":\n\n "\xff"}', "menu.json:3: is not UTF-8 text"),
        (b"", "menu.json:1: is not JSON"),
        (
            b'{"categories": [{"name": "A", "products": [{"name": "B", "price_cents": 1.5}]}]}',
            "$.categories[0].products",
        ),
        (b'{"categories": [{"name": "A", "products": []}, {"name": "a", "products": []}]}', "category named 'a'"),
        (b" " * (TAKEN + 1), f"more than {TAKEN} bytes"),
        (b"[" * 100_000, "menu.json: is no menu"),
    ],
)
def test_a_wrong_menu_is_refused_with_where_it_is_wrong(
    diner: InUse, capsys: Said, tmp_path: Path, document: bytes, says: str
) -> None:
    own = tmp_path / "menu.json"
    own.write_bytes(document)
    assert diner.does("load-menu", str(own)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert says in line
    assert diner.does("load-menu", "--json") == 0
    assert json.loads(capsys.readouterr().out)["was_empty"], "nothing was changed"


def test_a_menu_that_is_not_there(diner: InUse, capsys: Said) -> None:
    assert diner.does("load-menu", "/none/menu.json") == 1
    assert "/none/menu.json cannot be read (No such file or directory)" in capsys.readouterr().err
    assert diner.calls == []


def test_both_sides_take_as_much_and_the_sample_is_far_below() -> None:
    assert first_use.LARGEST == TAKEN
    assert len(sample_menu()) < TAKEN / 10


@pytest.mark.parametrize("verb", ["create-manager-key", "load-menu"])
def test_without_a_pod_it_says_which_verb_makes_one(diner: InUse, capsys: Said, verb: str) -> None:
    diner.pods = [pod("comanda-api-1", "comanda-api", ready=False)]
    assert diner.does(verb) == 1
    assert "the API is not deployed yet: run infra/scripts/eks-cluster-mng.sh deploy-api" in capsys.readouterr().err
    diner.objects["deployment.apps/comanda-api"] = {"kind": "Deployment"}
    assert diner.does(verb) == 1
    assert "no pod of comanda-api is ready: kubectl get pods --namespace comanda" in capsys.readouterr().err


def test_without_a_cluster_it_says_which_verb_makes_one(
    diner: InUse, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/none")
    assert diner.does("create-manager-key") == 1
    assert "there is no cluster yet: run infra/scripts/eks-cluster-deploy.sh create-eks-cluster" in (
        capsys.readouterr().err
    )


def test_another_operator_s_lock_is_respected(diner: InUse, capsys: Said) -> None:
    context = context_of(Namespace(settings=None))
    holder = lock.take(context, "a restore", stays=True)
    try:
        assert diner.does("create-manager-key") == 1
        assert "locked by" in capsys.readouterr().err
        assert "create" not in json.dumps(diner.calls)
    finally:
        lock.release(context, holder)


def test_a_database_that_is_away_is_told_without_its_password(diner: InUse, capsys: Said) -> None:
    diner.environment["DATABASE_URL"] = "postgresql://nobody:hidden-password@127.0.0.1:9/none"
    assert diner.does("load-menu") == 1
    said = capsys.readouterr().err
    assert "the database refused" in said
    assert "hidden-password" not in said
