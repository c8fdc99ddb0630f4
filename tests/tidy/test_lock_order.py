"""The rows of an order are locked together in one place, in one order; whoever did it elsewhere could deadlock."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "comanda"
LOCKING = {"comanda.orders.store.lock", "comanda.payments.store.lock_by_order", "comanda.payments.refunds.lock"}
ALLOWED = {
    "checkout/locks.py": LOCKING,
    # No money is involved: the kitchen's own step locks the order alone.
    "kitchen/advance_order.py": {"comanda.orders.store.lock"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Parse every module of the pods."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def names(tree: ast.Module) -> set[str]:
    """Answer what a module uses of others, by full name, however it was imported."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {(alias.asname or alias.name): alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {(alias.asname or alias.name): f"{node.module}.{alias.name}" for alias in node.names}
    used = set(known.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            base, _, rest = ast.unparse(node).rpartition(".")
            used.add(f"{known.get(base, base)}.{rest}")
    return used


def test_rows_are_locked_for_update_only_where_stores_say_so() -> None:
    found = {}
    for name, tree in modules():
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, ast.Module)}
        plain = [text for text in texts if text not in docs and "FOR UPDATE" in text]
        waiting = [text for text in plain if "SKIP LOCKED" not in text]
        if waiting:
            found[name] = len(waiting)
    assert found == {"orders/store.py": 1, "payments/store.py": 1, "payments/refunds.py": 1}


def test_they_are_taken_only_through_checkout_locks() -> None:
    found = {name: names(tree) & LOCKING for name, tree in modules()}
    assert {name: used for name, used in found.items() if used} == ALLOWED
