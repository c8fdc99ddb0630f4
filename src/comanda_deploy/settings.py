"""The operator's settings: one commented TOML file that is also its own schema.

The line `#: rule` above a setting in `infra/settings.toml` says what is allowed. A second file, of the same form, may
say what differs in one environment.
"""

import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from comanda_deploy.errors import DeployError

KEEPABLE = ("volumes", "snapshots", "images", "secrets", "logs")
"""What `destroy` can leave behind."""

FILE = Path(__file__).parents[2] / "infra" / "settings.toml"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Aws(_Section, frozen=True):
    """Where and as whom."""

    region: str
    profile: str


class Network(_Section, frozen=True):
    """The VPC."""

    cidr: str
    private_nodes: bool


class Cluster(_Section, frozen=True):
    """The EKS cluster."""

    kubernetes_version: str
    endpoint_cidrs: tuple[str, ...]
    admins: tuple[str, ...]
    logs: tuple[str, ...]
    log_days: int
    deletion_protection: bool


class Nodes(_Section, frozen=True):
    """The node groups."""

    instance_types: tuple[str, ...]
    database_instance_types: tuple[str, ...]
    capacity: str
    min_per_zone: int
    max_per_zone: int
    disk_gib: int


class Address(_Section, frozen=True):
    """Under which name guests come."""

    host: str
    hosted_zone: str


class Logs(_Section, frozen=True):
    """What becomes of what the pods write."""

    retention_days: int


class Destroy(_Section, frozen=True):
    """What outlives the cluster."""

    keep: tuple[str, ...]


class Settings(_Section, frozen=True):
    """All of it, as `infra/settings.toml` describes it."""

    aws: Aws
    network: Network
    cluster: Cluster
    nodes: Nodes
    address: Address
    logs: Logs
    destroy: Destroy


Rule = Callable[[Any], bool]


def read_settings(overrides: Path | None = None, *, file: Path = FILE) -> Settings:
    """Answer the settings of `file`, with those of `overrides` in their place.

    Raises:
        DeployError: a file cannot be read, or one line in it is wrong: which, and what is allowed.
    """
    values, rules = _load(file), _rules(file)
    _check(values, rules, file)
    missing = [f"{section}.{key}" for section, key in rules if key not in values.get(section, {})]
    if missing:
        raise DeployError(f"{file}: {missing[0]} is missing: every setting stands in this file, put it back")
    if overrides is not None:
        differing = _load(overrides)
        _check(differing, rules, overrides)
        for section, settings in differing.items():
            values[section].update(settings)
    try:
        settings_read = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise DeployError(f"{file}: {error}: put the line above the setting back as it was published") from error
    _check_together(settings_read, overrides or file)
    return settings_read


def _load(file: Path) -> dict[str, dict[str, Any]]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeployError(f"{file}: cannot be read ({error.strerror}): name another with --settings") from error
    except UnicodeDecodeError as error:
        raise DeployError(f"{file}: is not UTF-8 text: save it as such") from error
    except tomllib.TOMLDecodeError as error:
        raise DeployError(f"{file}: is not valid TOML: {error}") from error
    return values


def _lines(file: Path) -> dict[tuple[str, str], tuple[int, str]]:
    """Answer each setting's line number and the rule above it, by section and key."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    section = rule = ""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if heading := re.match(r"\s*\[([^\[\]]+)\]", line):
            section = heading[1].strip()
            found.setdefault((section, ""), (number, ""))
        elif line.startswith("#:"):
            rule = line[2:].strip()
        elif setting := re.match(r"\s*\"?([A-Za-z0-9_-]+)\"?\s*=", line):
            found[section, setting[1]] = (number, rule)
            rule = ""
    return found


def _rules(file: Path) -> dict[tuple[str, str], str]:
    return {place: rule for place, (_, rule) in _lines(file).items() if rule}


def _check(values: Mapping[str, Any], rules: Mapping[tuple[str, str], str], file: Path) -> None:
    lines = _lines(file)
    sections = list(dict.fromkeys(section for section, _ in rules))
    for section, settings in values.items():
        if section not in sections or not isinstance(settings, dict):
            number = lines.get((section, ""), lines.get(("", section), (1, "")))[0]
            raise DeployError(f"{file}:{number}: [{section}] is no section: there are {', '.join(sections)}")
        for key, value in settings.items():
            number = lines.get((section, key), (1, ""))[0]
            if (section, key) not in rules:
                known = ", ".join(name for place, name in rules if place == section)
                raise DeployError(f"{file}:{number}: {section}.{key} is no setting: [{section}] has {known}")
            rule = rules[section, key]
            if not rule_of(rule)(value):
                raise DeployError(f"{file}:{number}: {section}.{key} = {_shown(value)}: allowed is {rule}")


def _check_together(settings: Settings, file: Path) -> None:
    nodes = settings.nodes
    for key, types in (
        ("instance_types", nodes.instance_types),
        ("database_instance_types", nodes.database_instance_types),
    ):
        if not types:
            raise DeployError(f"{file}: nodes.{key} is empty: name one type at least, as t3.large")
    if nodes.max_per_zone < nodes.min_per_zone:
        raise DeployError(
            f"{file}: nodes.max_per_zone = {nodes.max_per_zone} is less than min_per_zone = {nodes.min_per_zone}"
        )


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def rule_of(text: str) -> Rule:
    """Answer the check that a rule's words stand for.

    The words: `true or false`; `whole number from A to B`; `one of A, B, ...` in TOML's notation; `text matching
    REGEX`; `block from /A to /B` (CIDR); and `list of` any of these.

    Raises:
        DeployError: the rule itself is not understood.
    """
    if text == "true or false":
        return lambda value: isinstance(value, bool)
    if found := re.fullmatch(r"whole number from (\d+) to (\d+)", text):
        low, high = int(found[1]), int(found[2])
        return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    if found := re.fullmatch(r"one of (.+)", text):
        choices = tomllib.loads(f"choices = [{found[1]}]")["choices"]
        return lambda value: any(type(value) is type(choice) and value == choice for choice in choices)
    if found := re.fullmatch(r"text matching (.+)", text):
        pattern = re.compile(found[1])
        return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None
    if found := re.fullmatch(r"block from /(\d+) to /(\d+)", text):
        shortest, longest = int(found[1]), int(found[2])
        return lambda value: isinstance(value, str) and _is_block(value, shortest, longest)
    if found := re.fullmatch(r"list of (.+)", text):
        inner = rule_of(found[1])
        return lambda value: isinstance(value, list) and all(map(inner, value)) and len(set(value)) == len(value)
    raise DeployError(f"the rule {text!r} is not understood: put the settings file's `#:` line back as published")


def _is_block(value: str, shortest: int, longest: int) -> bool:
    try:
        block = ipaddress.IPv4Network(value)
    except ValueError:
        return False
    return shortest <= block.prefixlen <= longest and "/" in value
