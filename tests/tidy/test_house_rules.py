"""House rules that a reader would otherwise have to remember. An exception stands here, with its reason."""

import ast
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from comanda.settings import Settings
from tests.tidy.sources import ROOT, Module, all_modules, modules, texts

MONEY = ("orders", "payments", "checkout", "menu")
LONGEST = 400
"""Lines of a file in src. One that is longer holds two ideas."""
LONGEST_STEP = 600
"""Of a step of the deployment, which is one file from what it sees to how each of its changes is made."""

EKS_OPERATION = r"(create|describe|list|update|delete|associate|disassociate|tag|untag)_"
AS_AWS_NAMES_THEM = "comanda_testbed.eks"
"""The operations of EKS itself, in the EKS API reference: a sentence here would say it again."""

SECONDS = re.compile(r"second|timeout|retry_after|pause|answered_within|buckets|_at$", re.IGNORECASE)
"""What may be a float where money is handled: durations, by their names."""

JOINS_PATHS = {"comanda.payments.mercado_pago"}
"""Where `/` is yarl's, between the parts of an URL. Amounts are read and written in mercado_pago_wire."""

DECIDES_BY_DATABASE_CLOCK = {
    # When a migration was applied is for people to read; nothing is decided by it.
    "src/comanda/database/migrate.py",
    "src/comanda/database/schema.sql",
}


def money_modules() -> Iterator[Module]:
    """Answer the modules in which money is handled."""
    return (module for module in modules("comanda") if module.name.split(".")[1:2] in [[part] for part in MONEY])


def parents(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    """Answer each node's parent."""
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def is_of_seconds(node: ast.AST, above: dict[ast.AST, ast.AST]) -> bool:
    """Whether a node belongs to an argument, variable or function that is named as one of seconds."""
    at: ast.AST | None = node
    while at is not None:
        match at:
            case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.FunctionDef(name=name):
                names = [name]
            case ast.AnnAssign(target=target):
                names = [ast.unparse(target)]
            case ast.Assign(targets=targets):
                names = [ast.unparse(target) for target in targets]
            case _:
                names = []
        # A default stands beside its argument, not below it.
        if isinstance(at, ast.arguments):
            names = [argument.arg for argument in at.kwonlyargs]
        if any(SECONDS.search(name) for name in names):
            return True
        at = above.get(at)
    return False


def test_no_float_where_money_is_handled() -> None:
    wrong = []
    for module in money_modules():
        above = parents(module.tree)
        for node in ast.walk(module.tree):
            named = isinstance(node, ast.Name) and node.id == "float"
            literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
            divided = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
            divided = divided and module.name not in JOINS_PATHS
            if (named or literal or divided) and not is_of_seconds(node, above):
                wrong.append(f"{module.where}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}")
    assert not wrong, wrong


def test_no_naive_times() -> None:
    naive = {"utcnow", "utcfromtimestamp", "today"}
    wrong = []
    for module in all_modules():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called, of = node.func.attr, ast.unparse(node.func.value)
            without_zone = {"now": not node.args, "fromtimestamp": len(node.args) + len(node.keywords) < 2}
            if of in {"datetime", "date", "datetime.datetime"} and (called in naive or without_zone.get(called)):
                wrong.append(f"{module.where}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, wrong


def test_time_is_an_argument_of_sql_too() -> None:
    clock = re.compile(r"\bnow\(\)|current_timestamp|current_date|clock_timestamp|localtime", re.IGNORECASE)
    folder = ROOT / "src" / "comanda"
    asking = set()
    for path in [*folder.rglob("*.sql"), *folder.rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            constants = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
            text = "\n".join(value for value in constants if isinstance(value, str))
        if clock.search(text):
            asking.add(str(path.relative_to(ROOT)))
    assert asking == DECIDES_BY_DATABASE_CLOCK


def test_no_provider_call_in_a_transaction() -> None:
    """What is handed to `in_transaction` is a function inside a story: none of them may reach the provider."""
    for module in modules("comanda"):
        for outer in ast.walk(module.tree):
            if not isinstance(outer, ast.AsyncFunctionDef):
                continue
            for inner in ast.walk(outer):
                if inner is not outer and isinstance(inner, ast.AsyncFunctionDef):
                    reached = [node for node in ast.walk(inner) if getattr(node, "attr", "") == "provider"]
                    assert not reached, f"{module.where}:{inner.lineno}: {inner.name} asks the provider"


def test_everything_public_says_what_it_is() -> None:
    silent = []
    for module in all_modules():
        if module.text.strip() and ast.get_docstring(module.tree) is None:
            silent.append(module.where)
        silent += [
            f"{module.where}:{line} {name}"
            for line, name in _without_docstring(module.tree)
            if not (module.name.startswith(AS_AWS_NAMES_THEM) and re.match(EKS_OPERATION, name))
        ]
    assert not silent, silent


def _without_docstring(within: ast.Module | ast.ClassDef) -> Iterator[tuple[int, str]]:
    for node in within.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.lineno, node.name
        if isinstance(node, ast.ClassDef):
            yield from _without_docstring(node)


def test_no_drawers_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "base"}
    for module in all_modules():
        assert not drawers & set(module.name.split(".")), module.where


def test_files_are_short() -> None:
    long = {module.where: len(module.text.splitlines()) for module in all_modules()}
    assert not {
        where: lines
        for where, lines in long.items()
        if lines > (LONGEST_STEP if "comanda_deploy/steps/" in where else LONGEST)
    }


def test_metrics_are_named_as_the_dashboards_know_them() -> None:
    for module in modules("comanda"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Counter", "Gauge", "Histogram", "Summary"}:
                assert isinstance(node.args[0], ast.Constant), module.where
                name = str(node.args[0].value)
                assert name.startswith(("comanda_", "http_request", "http_response")), f"{module.where}: {name}"


def test_nothing_is_left_to_do_in_a_comment() -> None:
    # Put together, so that this file does not name what it looks for.
    left = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    found = [path for path, text in texts() if left.search(text) and not path.startswith("requirements/")]
    assert not found


def test_no_file_knows_the_machine_that_it_was_written_on() -> None:
    places = {r"/work/(?:" + "main|shared)", r"/home/[a-z]", "/root/" + r"\."}
    if len(ROOT.parts) > 2:
        places.add(re.escape(f"{ROOT}/"))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "GOPROXY", "NPM_CONFIG_REGISTRY"):
        host = urlsplit(os.environ.get(name, "").split(",")[0]).hostname
        if host and host not in {"pypi.org", "proxy.golang.org", "registry.npmjs.org"}:
            places.add(re.escape(host))
    pattern = re.compile("|".join(sorted(places)))
    found = [f"{path}: {match[0]}" for path, text in texts() if (match := pattern.search(text))]
    assert not found


def test_locked_packages_name_no_registry() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        wrong = [
            line for line in lines if "://" in line or line.strip().startswith(("-i", "--index", "--extra", "--find"))
        ]
        assert not wrong, (path.name, wrong)


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*?) \|", text, re.MULTILINE))
    expected = {}
    for field in msgspec.structs.fields(Settings):
        default = "" if field.required or field.default == "" else f"`{field.default}`"
        expected[field.encode_name] = "required" if field.required else default or "empty"
    ours = {name: value for name, value in rows.items() if name in expected}
    assert ours == expected
    known = {*expected, "MIGRATION_DATABASE_URL"}
    assert set(rows) <= known, f"settings that are none: {set(rows) - known}"


def test_every_make_target_says_what_it_is_for() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):(?!=)", text, re.MULTILINE))
    described = set(re.findall(r"^([a-z][a-z0-9-]*):.*## \S", text, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY:(.*)$", text, re.MULTILINE)[0].split())
    assert targets == described == phony


def test_no_test_is_skipped() -> None:
    skips = re.compile(r"pytest\.(skip|importorskip)|mark\.(skip|xfail)|unittest\.skip")
    own = Path(__file__)
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py") if path != own]
    assert not [path for path in found if skips.search((ROOT / path).read_text(encoding="utf-8"))]


def test_every_process_collects_the_same_tests() -> None:
    """A random parameter has another name in every process, and pytest-xdist stops at that."""
    changing = re.compile(r"uuid4\(|random\.|secrets\.")
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("parametrize"):
                continue
            if changing.search(ast.unparse(node)):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_tests_wait_for_events_rather_than_for_time() -> None:
    """A short sleep between two looks is a look; a long one is a guess how long something takes."""
    long = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}:
                seconds = node.args[0]
                if isinstance(seconds, ast.Constant) and float(seconds.value) > 0.1:  # type: ignore[arg-type]
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    assert not long


def test_what_the_package_ships_beside_code_is_there() -> None:
    for name in ("grants.sql", "schema.sql"):
        assert files("comanda.database").joinpath(name).is_file()
