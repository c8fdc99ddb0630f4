"""The settings file is its own schema: what is wrong in it is said with its line and what is allowed."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from comanda_deploy.errors import DeployError
from comanda_deploy.settings import FILE, KEEPABLE, Settings, read_settings, rule_of


def test_as_published_it_is_valid() -> None:
    settings = read_settings()
    assert settings.aws.region == "sa-east-1"
    assert settings.network.private_nodes is False, "a NAT gateway costs money that nobody asked to spend"
    assert settings.cluster.endpoint_cidrs == (), "nobody's address is open to the world by default"
    assert settings.cluster.deletion_protection


def test_every_setting_has_a_rule_and_a_word_to_a_person() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-z_]+ = ", line):
            assert lines[number - 1].startswith("#: "), line
    section = ""
    explained = 0
    for number, line in enumerate(lines):
        section = line if line.startswith("[") else section
        if line.startswith("#: "):
            explained += lines[number - 1].startswith("# ")
    assert explained >= 18


def test_the_file_and_the_types_name_the_same_settings() -> None:
    in_file = {section: set(settings) for section, settings in tomllib.loads(FILE.read_text(encoding="utf-8")).items()}
    in_types = {
        field.name: {inner.name for inner in msgspec.structs.fields(field.type)}
        for field in msgspec.structs.fields(Settings)
    }
    assert in_file == in_types


def test_what_can_be_kept_is_what_the_file_allows() -> None:
    allowed = re.search(r"#: list of (one of .*)\nkeep", FILE.read_text(encoding="utf-8"))
    assert allowed is not None
    assert all(rule_of(allowed[1])(kind) for kind in KEEPABLE)


@pytest.mark.parametrize(
    ("line", "wrong", "said"),
    [
        ('region = "sa-east-1"', 'region = "São Paulo"', "aws.region"),
        ("private_nodes = false", 'private_nodes = "no"', "allowed is true or false"),
        ("min_per_zone = 1", "min_per_zone = 0", "allowed is whole number from 1 to 20"),
        ("min_per_zone = 1", "min_per_zone = true", "allowed is whole number from 1 to 20"),
        ('capacity = "ON_DEMAND"', 'capacity = "CHEAP"', 'allowed is one of "ON_DEMAND", "SPOT"'),
        ('cidr = "10.20.0.0/16"', 'cidr = "10.20.1.0/16"', "allowed is block from /16 to /20"),
        ('cidr = "10.20.0.0/16"', 'cidr = "10.20.0.0/8"', "network.cidr"),
        ("endpoint_cidrs = []", 'endpoint_cidrs = ["203.0.113.7"]', "cluster.endpoint_cidrs"),
        ("endpoint_cidrs = []", 'endpoint_cidrs = "203.0.113.7/32"', "cluster.endpoint_cidrs"),
        ("log_days = 30", "log_days = 31", "allowed is one of 1, 3, 7"),
        ("disk_gib = 30", "disc_gib = 30", "nodes.disc_gib is no setting: [nodes] has instance_types"),
    ],
)
def test_a_wrong_value_names_its_line_and_what_is_allowed(tmp_path: Path, line: str, wrong: str, said: str) -> None:
    text = FILE.read_text(encoding="utf-8")
    file = tmp_path / "settings.toml"
    file.write_text(text.replace(line, wrong), encoding="utf-8")
    number = text.splitlines().index(line) + 1
    with pytest.raises(DeployError) as raised:
        read_settings(file=file)
    # Under a wrong name the rule above it goes with it: it is then the file's own schema that lacks a setting.
    if "disc_gib" in wrong:
        assert "nodes" in str(raised.value)
        return
    assert f"{file}:{number}: " in str(raised.value)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nodes]\ndisc_gib = 30\n", ":2: nodes.disc_gib is no setting: [nodes] has instance_types"),
        ("[node]\ndisk_gib = 30\n", ":1: [node] is no section: there are aws, network"),
        ('[nodes]\ncapacity = "CHEAP"\n', ':2: nodes.capacity = "CHEAP": allowed is one of'),
        ("[nodes]\nmin_per_zone = 9\n", "max_per_zone = 3 is less than min_per_zone = 9"),
        ("[nodes]\ninstance_types = []\n", "nodes.instance_types is empty"),
        ("[nodes\n", "is not valid TOML"),
        ("region = 'x'\n", "is no section"),
    ],
)
def test_a_second_file_says_what_differs_under_the_same_rules(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "staging.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DeployError, match=re.escape(said)):
        read_settings(file)


def test_a_second_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "staging.toml"
    file.write_text('[cluster]\nendpoint_cidrs = ["203.0.113.7/32"]\n', encoding="utf-8")
    settings = read_settings(file)
    assert settings.cluster.endpoint_cidrs == ("203.0.113.7/32",)
    assert settings.network == read_settings().network


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"absent\.toml: cannot be read"):
        read_settings(tmp_path / "absent.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(DeployError, match="is not UTF-8"):
        read_settings(binary)


def test_a_setting_taken_out_of_the_file_is_missed(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    text = FILE.read_text(encoding="utf-8")
    file.write_text(text.replace("disk_gib = 30\n", ""), encoding="utf-8")
    with pytest.raises(DeployError, match="disk_gib"):
        read_settings(file=file)
