"""`configure`: only what is particular to an account changes in the manifests, and it goes back to the last byte."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from comanda_deploy import agreement, configure, objects
from comanda_deploy.__main__ import main
from comanda_deploy.configured import Particulars
from comanda_deploy.errors import DeployError
from comanda_deploy.settings import Settings, read_settings
from comanda_deploy.steps import address
from comanda_testbed.bed import TestBed, running_testbed
from tests.deployment.account import changed

CLONE = Path(__file__).parents[2]
HOST = "pedidos.example.org"
ARN = "arn:aws:acm:eu-west-1:123456789012:certificate/0b9c6f0e-6b60-4a3e-9d5e-9c1b7f2f0a01"
ELSEWHERE = {"aws": {"region": "eu-west-1"}, "network": {"cidr": "10.30.64.0/18"}, "address": {"host": HOST}}
Said = pytest.CaptureFixture[str]


def clone(to: Path) -> Path:
    """Answer a clone's manifests, apart from those that are published."""
    for each in ("infra/deployment", "infra/overlays"):
        shutil.copytree(CLONE / each, to / each)
    return to


def particulars(settings: Settings, arn: str = ARN) -> Particulars:
    """Answer what would be written for some settings."""
    host = settings.address.host
    return Particulars(
        settings.aws.region,
        IPv4Network(settings.network.cidr),
        tuple(agreement.public_subnets(settings)),
        agreement.services_of(settings),
        host,
        arn if host else "",
    )


def write(root: Path, settings: Settings, arn: str = ARN) -> list[str]:
    """Configure a clone, and answer the names of the files that changed."""
    edits = configure.edits_of(root, particulars(settings, arn))
    for each in edits:
        each.file.write_bytes(each.after.encode())
    return [each.file.name for each in edits if each.before != each.after]


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*.yaml"))}


def some_settings(chance: random.Random) -> Settings:
    """Answer settings as somebody may have them: any network that a VPC may have, public ones among them."""
    size = chance.randrange(16, 21)
    first = chance.choice(
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "52.0.0.0/8"]
    )
    within = IPv4Network(first)
    number = chance.randrange(2 ** (size - within.prefixlen))
    block = IPv4Network((int(within.network_address) + number * 2 ** (32 - size), size))
    host = chance.choice(["", "a.example.com", "pedidos.diner.com.br", "comanda.example.com", "rules.http.example"])
    region = chance.choice(["sa-east-1", "us-east-1", "eu-west-1"])
    return changed(read_settings(), aws={"region": region}, network={"cidr": str(block)}, address={"host": host})


def test_whatever_was_written_the_published_settings_give_the_published_bytes(
    chance: random.Random, tmp_path: Path
) -> None:
    root = clone(tmp_path)
    published = contents(root)
    assert write(root, read_settings()) == [], "as published they are as the published settings say"
    for _ in range(8):
        settings = some_settings(chance)
        write(root, settings)
        said = [*(each for folder in configure.FOLDERS for each in objects.read(root / configure.MANIFESTS / folder))]
        assert [text for each in said for text in agreement.disagreements(settings, each)] == [], settings
        assert write(root, settings) == [], f"a second time changes nothing: {settings}"
        after = contents(root)
        # Not by which way one came, but what is asked for in the end.
        fresh = clone(tmp_path / "fresh")
        write(fresh, settings)
        assert contents(fresh) == after, settings
        shutil.rmtree(fresh)
    write(root, read_settings())
    assert contents(root) == published


def test_only_the_values_change_and_the_order_stays(tmp_path: Path) -> None:
    root = clone(tmp_path)
    before = [each.key for folder in configure.FOLDERS for each in objects.read(root / configure.MANIFESTS / folder)]
    names = write(root, changed(read_settings(), **{**ELSEWHERE, "address": {"host": ""}}))
    assert names == [
        *("1-db-secrets-store.yaml", "6-db-backup.yaml"),
        *("1-api-secrets-store.yaml", "3-api-deployment.yaml"),
        *("6-prometheus-dployment.yaml", "8-alertmanager.yaml", "9-kube-state-metrics.yaml"),
    ]
    lines = {
        (old.strip(), new.strip())
        for name, data in contents(root).items()
        for old, new in zip((CLONE / name).read_bytes().decode().splitlines(), data.decode().splitlines(), strict=True)
        if old != new
    }
    assert lines == {
        ("region: sa-east-1", "region: eu-west-1"),
        ("cidr: 10.20.0.0/20", "cidr: 10.30.64.0/22"),
        ("cidr: 10.20.16.0/20", "cidr: 10.30.68.0/22"),
        ("cidr: 10.20.0.0/16", "cidr: 10.30.64.0/18"),
        ("TRUSTED_PROXIES: 10.20.0.0/20,10.20.16.0/20", "TRUSTED_PROXIES: 10.30.64.0/22,10.30.68.0/22"),
    }
    after = [each.key for folder in configure.FOLDERS for each in objects.read(root / configure.MANIFESTS / folder)]
    assert after == before


def ingress_of(file: Path) -> dict[str, Any]:
    (found,) = [each for each in yaml.safe_load_all(file.read_text("utf-8")) if each["kind"] == "Ingress"]
    return dict(found)


def test_with_a_host_the_ingress_is_the_overlay_s_with_the_certificate_named(tmp_path: Path) -> None:
    root = clone(tmp_path)
    write(root, changed(read_settings(), address={"host": HOST}))
    expected = ingress_of(root / configure.HTTPS)
    expected["metadata"]["annotations"]["alb.ingress.kubernetes.io/certificate-arn"] = ARN
    expected["spec"]["rules"][0]["host"] = HOST
    assert ingress_of(root / configure.MANIFESTS / "api" / configure.HTTPS.name) == expected
    text = (root / configure.MANIFESTS / "api" / "3-api-deployment.yaml").read_text("utf-8")
    assert f'  PUBLIC_URL: "https://{HOST}"\n' in text


def test_the_overlay_copied_over_the_file_by_hand_is_taken_up(tmp_path: Path) -> None:
    root = clone(tmp_path)
    there = root / configure.MANIFESTS / "api" / configure.HTTPS.name
    shutil.copy(root / configure.HTTPS, there)
    write(root, changed(read_settings(), address={"host": HOST}))
    assert ingress_of(there)["spec"]["rules"][0]["host"] == HOST
    write(root, read_settings())
    assert ingress_of(there) == ingress_of(CLONE / configure.MANIFESTS / "api" / configure.HTTPS.name)


def test_a_vpc_on_public_addresses_is_left_out_of_the_world(tmp_path: Path) -> None:
    root = clone(tmp_path)
    write(root, changed(read_settings(), network={"cidr": "52.8.0.0/16"}))
    text = (root / configure.MANIFESTS / "api" / "3-api-deployment.yaml").read_text("utf-8")
    assert "except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 169.254.0.0/16, 52.8.0.0/16]\n" in text
    assert text.count("cidr: 10.100.0.0/16\n") == 1, "EKS' other block of services"


@pytest.mark.parametrize("network", ["172.20.0.0/16", "10.100.0.0/16"])
def test_a_vpc_where_services_might_be_is_not_taken_for_theirs(network: str, tmp_path: Path) -> None:
    root = clone(tmp_path)
    published = contents(root)
    write(root, changed(read_settings(), network={"cidr": network}))
    text = (root / configure.MANIFESTS / "db" / "6-db-backup.yaml").read_text("utf-8")
    assert text.count(f"cidr: {network}\n") == 1
    write(root, read_settings())
    assert contents(root) == published


def edited(root: Path, name: str, old: str, new: str) -> None:
    (file,) = (root / configure.MANIFESTS).glob(f"*/{name}")
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def test_what_somebody_added_stays(tmp_path: Path) -> None:
    root = clone(tmp_path)
    office = "        - ipBlock:\n            cidr: 192.0.2.0/24\n"
    edited(
        root, "3-api-deployment.yaml", "    - from:\n        - ipBlock:\n", f"    - from:\n{office}        - ipBlock:\n"
    )
    edited(root, "3-api-deployment.yaml", "TRUSTED_PROXIES: ", "TRUSTED_PROXIES: 192.0.2.0/24, ")
    edited(root, "3-api-deployment.yaml", "169.254.0.0/16]", "169.254.0.0/16, 203.0.113.0/24]  # ours")
    edited(root, "1-api-secrets-store.yaml", "region: sa-east-1", "region: 'sa-east-1'   # a comment")
    before = contents(root)
    write(root, changed(read_settings(), **ELSEWHERE))
    text = contents(root)["infra/deployment/api/3-api-deployment.yaml"].decode()
    assert "TRUSTED_PROXIES: 192.0.2.0/24, 10.30.64.0/22,10.30.68.0/22\n" in text
    assert office + "        - ipBlock:\n            cidr: 10.30.64.0/22\n" in text
    assert b"region: 'eu-west-1'   # a comment" in contents(root)["infra/deployment/api/1-api-secrets-store.yaml"]
    write(root, read_settings())
    assert contents(root) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("3-api-deployment.yaml", "cidr: 10.20.16.0/20", "cidr: 10.20.32.0/20", "NetworkPolicy to-api does not have"),
        ("3-api-deployment.yaml", "name: to-api", "name: to-others", "there is no NetworkPolicy to-api"),
        ("3-api-deployment.yaml", "10.20.0.0/20,10.20.16.0/20", "10.20.0.0/20", "TRUSTED_PROXIES does not have"),
        ("6-db-backup.yaml", "10.20.0.0/16", "10.21.0.0/16", "NetworkPolicy from-backup-and-drill does not have"),
        ("5-api-service-load-balancer.yaml", '{"HTTP": 80}', '{"HTTP": 8080}', "Ingress does not have"),
        ("5-api-service-load-balancer.yaml", "  rules:\n", "  rules: # x\n", "Ingress does not have the lines"),
        ("1-db-secrets-store.yaml", "region: sa-east-1", "region: >-\n        sa-east-1", "does not have its value in"),
        ("1-db-secrets-store.yaml", "region: sa-east-1", "region: [", "cannot be read"),
    ],
)
def test_what_is_not_as_it_can_be_written_into_is_named(
    name: str, old: str, new: str, says: str, tmp_path: Path
) -> None:
    root = clone(tmp_path)
    edited(root, name, old, new)
    with pytest.raises(DeployError, match=says) as refused:
        configure.edits_of(root, particulars(changed(read_settings(), **ELSEWHERE)))
    assert "\n" not in str(refused.value)


def test_configured_manifests_are_held_to_the_same_as_the_published(tmp_path: Path) -> None:
    root = clone(tmp_path / "clone")
    for each in ("tests", "docs", "docker", "src"):
        shutil.copytree(CLONE / each, root / each, ignore=shutil.ignore_patterns("__pycache__"))
    for each in ("pyproject.toml", "infra/settings.toml"):
        shutil.copy(CLONE / each, root / each)
    write(root, changed(read_settings(), **ELSEWHERE))
    tests = [f"tests/manifests/test_{each}.py" for each in ("meaning", "schemas", "rights", "custom_kinds")]
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-3000:]


# The verb.


@pytest.fixture(scope="module")
def bed() -> Iterator[TestBed]:
    with running_testbed() as running:
        yield running


Verb = Callable[..., int]


@pytest.fixture
def verb(bed: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Run configure on a clone of one's own."""
    monkeypatch.setattr(configure, "ROOT", clone(tmp_path / "clone"))
    for name, value in {**bed.environment, "AWS_ACCESS_KEY_ID": "AKIATESTBEDADMIN0000"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-test-bed")

    def run(*arguments: str, settings: str = "") -> int:
        file = tmp_path / "settings.toml"
        file.write_text(settings, "utf-8")
        return main(["verb", "eks-cluster-mng.sh", "configure", "--settings", str(file), *arguments])

    return run


NETWORK = '[network]\ncidr = "10.30.0.0/16"\n'


def test_it_is_shown_and_written_only_when_it_was_agreed_to(verb: Verb, capsys: Said) -> None:
    before = contents(configure.ROOT)
    assert verb() == 0
    assert capsys.readouterr().out == "Nothing to do: the manifests say what the settings say.\n"
    assert verb("--plan", settings=NETWORK) == 2
    said = capsys.readouterr().out
    assert "--- a/infra/deployment/api/3-api-deployment.yaml\n" in said
    assert "-            cidr: 10.20.16.0/20\n+            cidr: 10.30.16.0/20\n" in said
    assert verb(settings=NETWORK) == 1
    assert "nobody is there to be asked: say --yes" in capsys.readouterr().err
    assert contents(configure.ROOT) == before
    assert verb("--yes", "--json", settings=NETWORK) == 0
    assert json.loads(capsys.readouterr().out) == {
        "files": [
            "infra/deployment/db/6-db-backup.yaml",
            "infra/deployment/api/3-api-deployment.yaml",
            "infra/deployment/monitoring/prometheus/6-prometheus-dployment.yaml",
            "infra/deployment/monitoring/prometheus/9-kube-state-metrics.yaml",
        ],
        "written": True,
    }
    assert verb("--plan", settings=NETWORK) == 0
    capsys.readouterr()
    assert verb("--yes") == 0
    assert "nothing was applied. Next: git diff infra/deployment" in capsys.readouterr().out
    assert contents(configure.ROOT) == before
    assert not [*configure.ROOT.rglob(".*.new")]


def test_what_is_not_ours_to_mend_is_named_and_nothing_written(verb: Verb, capsys: Said) -> None:
    own = configure.ROOT / configure.MANIFESTS / "api" / "7-own.yaml"
    policy = {"ingress": [{"from": [{"ipBlock": {"cidr": "10.20.32.0/20"}}]}]}
    own.write_text(
        json.dumps(
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "own"}, "spec": policy}
        )
    )
    before = contents(configure.ROOT)
    assert verb("--yes", settings=NETWORK) == 1
    assert "7-own.yaml: NetworkPolicy own: ingress from 10.20.32.0/20" in capsys.readouterr().err
    assert contents(configure.ROOT) == before


def test_a_host_wants_an_issued_certificate(
    verb: Verb, bed: TestBed, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = f'[address]\nhost = "{HOST}"\n'
    assert verb("--yes", settings=settings) == 1
    said = capsys.readouterr().err
    assert f"the certificate of {HOST} is not there" in said
    assert "eks-cluster-deploy.sh create-address" in said
    with monkeypatch.context() as patch:
        patch.setattr(address, "certificate_of", lambda *_: (ARN, "PENDING_VALIDATION", None))
        assert verb("--yes", settings=settings) == 1
    assert f"the certificate of {HOST} is PENDING_VALIDATION" in capsys.readouterr().err
    client = bed.client("acm")
    arns = []
    for name, tags in ((f"*.{HOST.partition('.')[2]}", []), (HOST, [{"Key": "Project", "Value": "comanda"}])):
        # One for all names of the domain does; our own goes before it.
        asked = {"DomainName": name, "ValidationMethod": "DNS"} | ({"Tags": tags} if tags else {})
        arns.append(client.request_certificate(**asked)["CertificateArn"])
        assert verb("--yes", settings=settings) == 0
        there = configure.ROOT / configure.MANIFESTS / "api" / configure.HTTPS.name
        assert ingress_of(there)["metadata"]["annotations"]["alb.ingress.kubernetes.io/certificate-arn"] == arns[-1]
    assert len({*arns}) == 2
