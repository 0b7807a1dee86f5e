"""The shape of the program, read from its source: who may import whom, who may ask the time, what is too large.

To change the shape, change ``MAY_IMPORT`` in the same commit, and say there why.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = sorted((ROOT / "edgecache").rglob("*.py"))
MODULES: Final = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES
}

_WORDS: Final = ("errors", "http")
_DECISIONS: Final = (*_WORDS, "semantics")
_PROTOCOLS: Final = (
    *_DECISIONS,
    "stores.base",
    "stores.body",
    "origin.base",
    "origin.retry_budget",
    "purging.base",
    "purging.selector",
    "purging.verdict",
)

MAY_IMPORT: Final = {
    "errors": (),
    # Floor 0
    "http": _WORDS,
    # Floor 1
    "semantics": _DECISIONS,
    # Floor 2: rooms with closed doors between them; two of them keep what they have on the same servers
    "redis_client": ("errors",),
    "stores": (*_DECISIONS, "redis_client", "stores"),
    "purging": (*_DECISIONS, "redis_client", "purging"),
    "origin": (*_DECISIONS, "origin"),
    "assets": (*_DECISIONS, "assets"),
    # Floor 3: of floor 2 the protocols only
    "engine": (*_PROTOCOLS, "engine"),
    # Floor 4: never a concrete store; what an origin can be told is part of the configuration
    "edges": (*_PROTOCOLS, "purging", "origin.settings", "origin.address", "assets", "engine", "edges"),
    "caching": (*_PROTOCOLS, "purging", "assets", "caching"),
    # Floor 5
    "processes": (*_PROTOCOLS, "edges", "engine", "app", "shared", "processes"),
    "cli": (*_PROTOCOLS, "assets", "edges", "app", "processes", "demo", "cli"),
    "demo": ("demo",),
    # The composition root, in two modules; of what makes processes it knows what a process is given
    "shared": (*_DECISIONS, "stores", "purging", "edges"),
    "app": (
        *(*_DECISIONS, "stores", "purging", "origin", "assets", "engine", "edges", "caching", "shared"),
        *("processes.inheritance", "processes.scoreboard"),
    ),
}
"""Room -> the rooms and modules it may import, each with everything inside it."""

TIMELESS: Final = ("http", "semantics")
CLOCKS: Final = frozenset({"time", "random", "secrets", "asyncio", "logging", "sched", "threading"})
ASKS_THE_TIME: Final = frozenset({"now", "utcnow", "today"})
EXECUTES_DATA: Final = frozenset({"pickle", "marshal", "shelve", "dill", "cloudpickle"})
SAYS_NOTHING: Final = frozenset({"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"})
MAX_FILE: Final = 400
MAX_FUNCTION: Final = 60


def room(module: str) -> str:
    """``edgecache.http.fields`` -> ``http``; the package itself is the empty room."""
    return module.partition(".")[2].partition(".")[0]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every import with its line, wherever it stands: in a function or for type checkers only as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield node.lineno, inside if inside in MODULES else str(node.module)


def wrong_direction(module: str, tree: ast.AST) -> Iterator[str]:
    allowed = MAY_IMPORT.get(room(module))
    if room(module) and allowed is None:
        yield f"1: no line in MAY_IMPORT for {room(module)}: on which floor is it?"
        return
    for line, name in imported(tree):
        if name.startswith("."):
            yield f"{line}: relative import {name}: write it out, so that it can be found"
        elif name.startswith("edgecache."):
            target = name.removeprefix("edgecache.")
            if not any(target == prefix or target.startswith(prefix + ".") for prefix in allowed or ()):
                yield f"{line}: {room(module) or 'edgecache'} may not import {name}"


def asks_the_time(module: str, tree: ast.AST) -> Iterator[str]:
    if room(module) not in TIMELESS:
        return
    for line, name in imported(tree):
        if name.partition(".")[0] in CLOCKS:
            yield f"{line}: imports {name}: below floor 2 nobody asks the time, waits, rolls dice or logs"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ASKS_THE_TIME:
            yield f"{node.lineno}: .{node.attr}: `now` is a parameter here"


def executes_data(module: str, tree: ast.AST) -> Iterator[str]:
    for line, name in imported(tree):
        if name.partition(".")[0] in EXECUTES_DATA:
            yield f"{line}: imports {name}: data must not be able to run code"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            yield f"{node.lineno}: {node.func.id}(): data must not be able to run code"


def too_long(module: str, tree: ast.AST) -> Iterator[str]:
    lines = len(MODULES[module].read_text().splitlines()) if module in MODULES else 0
    if lines > MAX_FILE:
        yield f"{lines}: more than {MAX_FILE} lines: which two things does it do?"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION:
                yield f"{node.lineno}: {node.name} has {length} lines, more than {MAX_FUNCTION}"


def says_nothing(module: str, tree: ast.AST) -> Iterator[str]:
    for part in module.split("."):
        if SAYS_NOTHING & set(part.split("_")):
            yield f"1: the name {part} says nothing: what is it about?"
    if isinstance(tree, ast.Module) and tree.body and ast.get_docstring(tree) is None:
        yield "1: opens without a docstring: its theory, its invariants, who may call it"


Rule = Callable[[str, ast.AST], Iterator[str]]
RULES: Final[tuple[Rule, ...]] = (wrong_direction, asks_the_time, executes_data, too_long, says_nothing)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_program_keeps_its_shape(rule: Rule) -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{message}"
        for module, path in MODULES.items()
        for message in rule(module, ast.parse(path.read_text()))
    ]
    assert not broken, "\n" + "\n".join(broken)


def test_there_is_a_program() -> None:
    assert {room(module) for module in MODULES} >= {
        "errors",
        "http",
        "semantics",
        "stores",
        "origin",
        "engine",
        "edges",
    }


@pytest.mark.parametrize(
    ("rule", "module", "source", "message"),
    [
        (
            wrong_direction,
            "edgecache.http.x",
            "import edgecache.semantics.key",
            "http may not import edgecache.semantics",
        ),
        (wrong_direction, "edgecache.http.x", "from edgecache import app", "http may not import edgecache.app"),
        (wrong_direction, "edgecache.http.x", "from . import message", "relative import"),
        (wrong_direction, "edgecache.stores.x", "from edgecache.origin.base import Origin", "stores may not import"),
        (
            wrong_direction,
            "edgecache.origin.x",
            "def f():\n  from edgecache.stores import base",
            "origin may not import",
        ),
        (
            wrong_direction,
            "edgecache.engine.x",
            "if TYPE_CHECKING:\n  from edgecache.stores.memory import A",
            "engine may",
        ),
        (wrong_direction, "edgecache.edges.x", "from edgecache.stores import memory", "edges may not import"),
        (wrong_direction, "edgecache.attic.x", "", "no line in MAY_IMPORT for attic"),
        (wrong_direction, "edgecache", "from edgecache.app import run", "edgecache may not import"),
        (asks_the_time, "edgecache.http.x", "from time import monotonic", "imports time"),
        (asks_the_time, "edgecache.semantics.x", "datetime.now(UTC)", ".now"),
        (executes_data, "edgecache.cli.x", "import pickle", "imports pickle"),
        (executes_data, "edgecache.cli.x", "eval('1')", "eval()"),
        (too_long, "edgecache.cli.x", "def f():\n" + "  1\n" * 60, "f has 61 lines"),
        (says_nothing, "edgecache.cli.string_utils", "'''Strings.'''", "string_utils says nothing"),
        (says_nothing, "edgecache.cli.x", "a = 1", "without a docstring"),
    ],
)
def test_a_rule_finds_what_breaks_it(rule: Rule, module: str, source: str, message: str) -> None:
    found = list(rule(module, ast.parse(source)))
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (wrong_direction, "edgecache.http.x", "from edgecache.errors import StoreError\nimport edgecachex.app"),
        (wrong_direction, "edgecache.cli.x", "from edgecache import __version__, app"),
        (asks_the_time, "edgecache.engine.x", "import asyncio, time"),
        (executes_data, "edgecache.stores.x", "redis.eval('script')"),
        (says_nothing, "edgecache.cli", ""),
    ],
)
def test_a_rule_lets_pass_what_keeps_it(rule: Rule, module: str, source: str) -> None:
    assert list(rule(module, ast.parse(source))) == []
