"""The project's own files, read once, for the rules that are checked on them."""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"
PACKAGES = ("comanda", "comanda_dashboards", "comanda_sandbox", "comanda_local", "comanda_deploy", "comanda_testbed")
# What is no part of the project, by name; the same as .gitignore, and git itself.
IGNORED = {".git", ".venv", ".comanda", "__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
IGNORED_AT_ROOT = {"build", "dist"}
BINARY = {".png", ".ico", ".woff2", ".pyc"}


@dataclass(frozen=True)
class Module:
    """A module of ours: its dotted name, its text, its tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def where(self) -> str:
        """How it is called in a failure."""
        return str(self.path.relative_to(ROOT))

    def imports(self) -> set[str]:
        """The dotted names that it imports, wherever in it, down to the names imported from a package of ours."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.where}: imports are absolute"
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
        return found


@cache
def modules(package: str) -> tuple[Module, ...]:
    """Answer all modules of one of our packages."""
    found = []
    for path in sorted((SOURCES / package).rglob("*.py")):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found.append(Module(name, path, text, ast.parse(text, str(path))))
    assert found, package
    return tuple(found)


def all_modules() -> Iterator[Module]:
    """Answer the modules of all of our packages."""
    for package in PACKAGES:
        yield from modules(package)


def texts() -> Iterator[tuple[str, str]]:
    """Answer every text file of the project, as (path from the root, text)."""
    for folder, names, files in os.walk(ROOT):
        here = Path(folder)
        ignored = IGNORED | (IGNORED_AT_ROOT if here == ROOT else set())
        names[:] = [name for name in names if name not in ignored and not name.endswith(".egg-info")]
        for file in sorted(files):
            path = here / file
            if path.suffix not in BINARY and not path.is_symlink() and not file.startswith(".coverage"):
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
