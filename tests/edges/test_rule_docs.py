"""``docs/rules.md`` says what the program knows: every key, every setting, every word that is printed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecache.cli.main import main
from edgecache.edges.rule_examples import EXAMPLE, EXPECT
from edgecache.edges.rule_tables import MARKETING, MATCH, QUERY, RULE, SET
from edgecache.edges.rulesets import shipped
from edgecache.semantics.policy import Strategy
from edgecache.semantics.rules import REQUEST_SETTINGS

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "rules.md").read_text("utf-8")


def table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    titles = head.split(" | ")
    lines = [f"| {head} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def match_table() -> str:
    return table(
        "key | holds when | example",
        ((f"`{name}`", key.setting.prose, f"`{name} = {key.setting.example}`") for name, key in MATCH.items()),
    )


def set_table() -> str:
    return table(
        "key | what it is | example",
        ((f"`{name}`", key.setting.prose, f"`{name} = {key.setting.example}`") for name, key in SET.items()),
    )


def query_table() -> str:
    return table(
        "key | what it is | example",
        ((f"`{name}`", one.prose, f"`{name} = {one.example}`") for name, one in QUERY.items()),
    )


def rule_table() -> str:
    return table(
        "key | what it is | example",
        ((f"`{name}`", one.prose, f"`{name} = {one.example}`") for name, one in RULE.items()),
    )


def strategy_table() -> str:
    return table("`browser` | Cache-Control", ((f"`{one}`", f"`{one.cache_control}`") for one in Strategy))


def example_table() -> str:
    return table(
        "key | what it is | example",
        ((f"`{name}`", one.prose, f"`{name} = {one.example}`") for name, one in EXAMPLE.items()),
    )


def expect_table() -> str:
    return table(
        "key | what happens | example",
        ((f"`{name}`", one.setting.prose, f"`{name} = {one.setting.example}`") for name, one in EXPECT.items()),
    )


def before_a_response() -> str:
    return ", ".join(f"`{name}`" for name, key in SET.items() if key.field in REQUEST_SETTINGS)


def marketing() -> str:
    return ", ".join(f"`{name}`" for name in MARKETING)


TABLES = [match_table, set_table, query_table, rule_table, strategy_table, example_table, expect_table]


@pytest.mark.parametrize("made", [*TABLES, before_a_response, marketing], ids=lambda one: one.__name__)
def test_every_table_is_that_of_the_program(made: object) -> None:
    assert callable(made)
    assert re.sub(r"\s+", " ", made()) in re.sub(r"\s+", " ", TEXT)


def test_every_set_that_is_shipped_is_told_about() -> None:
    for text in (TEXT, (ROOT / "rules" / "README.md").read_text("utf-8")):
        told = re.findall(r"^\| `([a-z-]+)` \|", text[text.index("| set |") :], re.MULTILINE)
        assert sorted(told) == list(shipped())


def block(after: str, begins: str = "") -> str:
    """Return the first block of code that comes after a piece of text, and begins with another."""
    found = re.search(rf"^```\w*\n({re.escape(begins)}.*?)^```$", TEXT[TEXT.index(after) :], re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def checked(name: str) -> str:
    result = CliRunner().invoke(main, ["check", name])
    return f"$ edgecache check {name}\n{result.stdout}{result.stderr}"


def test_the_first_example_is_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shop.toml").write_text(block("# Rules"), "utf-8")
    assert checked("shop.toml") == "$ edgecache check shop.toml\nshop.toml: ok, 1 rule, 1 example\n"


def test_an_example_that_is_not_met_is_shown_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rule, header, example = block("# Rules").partition("[[example]]")
    Path("shop.toml").write_text(rule + header + example.replace('"1d"', '"2d"'), "utf-8")
    assert checked("shop.toml") == block("One that is not met")


def test_a_file_with_ten_mistakes_names_each_with_its_line_and_a_suggestion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mistakes.toml").write_text(block("This file has ten"), "utf-8")
    shown = checked("mistakes.toml")
    assert shown == block("This file has ten", begins="$ ")
    assert len(re.findall(r"^mistakes\.toml:[0-9]+:[0-9]+: ", shown, re.MULTILINE)) == 10
    assert len(re.findall(r"^  fix: ", shown, re.MULTILINE)) == 10
