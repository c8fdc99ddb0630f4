"""Four floors and no way up: doors, stories, nouns, ground. Who may import whom within `comanda`."""

import pytest

from tests.tidy.sources import PACKAGES, Module, all_modules, modules

GROUND = {"comanda", "money", "errors", "clock", "settings", "tasks", "cluster"}
DATABASE = GROUND | {"database"}
HTTP = DATABASE | {"http"}
NOUNS = DATABASE | {"orders", "payments", "menu"}

MAY_IMPORT = {
    # The ground knows nobody but itself.
    "comanda": set[str](),
    "money": set[str](),
    "errors": set[str](),
    "clock": set[str](),
    "settings": set[str](),
    "tasks": set[str](),
    "cluster": set[str](),
    # Nouns know the ground, and not each other: what joins them is a story.
    "database": DATABASE,
    "orders": DATABASE | {"orders"},
    "payments": DATABASE | {"payments"},
    "menu": DATABASE | {"menu"},
    # What the doors share knows no noun.
    "http": HTTP,
    # Stories.
    "staff": DATABASE | {"staff"},
    "kitchen": NOUNS | {"kitchen"},
    "checkout": NOUNS | {"http", "checkout"},
    # What they save they know by its tables, not by its nouns: those change, a backup does not.
    "backups": DATABASE | {"backups"},
    # Doors.
    "api": NOUNS | {"http", "staff", "kitchen", "checkout", "api"},
    "process": HTTP | {"payments"},
    "app": NOUNS | {"http", "checkout", "api", "process"},
    "worker": NOUNS | {"http", "backups", "checkout", "kitchen", "process"},
    "after_restore": NOUNS | {"http", "checkout", "process"},
    # Speaks to Kubernetes alone.
    "follow_settings": {"cluster"},
    "__main__": NOUNS | {"http", "staff", "backups", "process", "app", "worker", "after_restore", "follow_settings"},
}
"""By floor of `comanda`, a package or a module beside it: the floors that it may import."""

EXCEPTIONS = {
    # The provider's protocol is structs without I/O, and no store or client comes with it.
    ("comanda.payments.model", "comanda.payments.provider"),
}

OURS = {module.name for module in modules("comanda")}


def floor(name: str) -> str:
    """Answer the floor of a dotted name within `comanda`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "comanda"


def imported(module: Module) -> set[str]:
    """Answer the modules of `comanda` that a module imports."""
    found = set()
    for name in module.imports():
        if name.split(".")[0] != "comanda":
            continue
        while name not in OURS:
            name = name.rpartition(".")[0]  # noqa: PLW2901 (a name in a module, whose module is meant)
        found.add(name)
    return found


@pytest.mark.parametrize("module", modules("comanda"), ids=lambda module: module.name)
def test_nobody_imports_upwards(module: Module) -> None:
    allowed = MAY_IMPORT[floor(module.name)]
    wrong = {name for name in imported(module) if floor(name) not in allowed}
    assert not wrong, f"{module.where} may not import {sorted(wrong)}"


def test_every_floor_is_there() -> None:
    assert {floor(name) for name in OURS} == set(MAY_IMPORT)


def test_models_know_only_the_ground() -> None:
    for module in modules("comanda"):
        if module.name.endswith(".model"):
            above = {name for name in imported(module) if floor(name) not in GROUND}
            above -= {name for by, name in EXCEPTIONS if by == module.name}
            assert not above, f"{module.where}: {sorted(above)}"


def test_stores_never_reach_the_provider() -> None:
    for module in modules("comanda"):
        if module.name.rpartition(".")[2] in {"store", "refunds", "webhooks"} and floor(module.name) != "api":
            reached = {name for name in module.imports() if "mercado_pago" in name or name.startswith("aiohttp")}
            assert not reached, f"{module.where}: {sorted(reached)}"


def test_the_packages_know_nothing_of_each_other() -> None:
    """Only the launcher may know what it launches; the pods' client must not know of the sandbox.

    Nor does the operator's tool know that it is rehearsed, nor the account in which it is who comes.
    """
    for module in all_modules():
        own = module.name.split(".")[0]
        others = set(PACKAGES) - {own}
        if own == "comanda_local":
            others.remove("comanda")
        known = {name for name in module.imports() if name.split(".")[0] in others}
        assert not known, f"{module.where}: {sorted(known)}"
    for module in modules("comanda"):
        assert "sandbox" not in module.text.lower(), f"{module.where} names the sandbox"
