"""The rules of a configuration: where they come from, in which order, and what ``--dump`` shows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgecache.edges.config import dump
from edgecache.edges.config_load import ConfigMistakes, load
from edgecache.http.message import fields_of
from edgecache.semantics.policy import Strategy
from edgecache.semantics.rules import BUILT_IN
from tests.edges.configured import SMALL, mistakes, written
from tests.semantics.build import request, response

MINE = """
[[rule]]
name = "mine"
match = { path = "/a", request_header = { Accept = "*html*" } }
set = { edge_ttl = "1h", query = { drop = ["marketing"], sort = true } }

[[example]]
name = "shown"
request = "GET https://h/a"
request_headers = { Accept = "text/html" }
response_headers = { Content-Type = "text/html" }
expect = { edge_ttl = "1h", grace = "9s" }
"""
SHOP = '[[rule]]\nname = "shop"\nset = { edge_ttl = "2h", keep = "3h" }\n'
CACHED = '[cache]\ngrace = "9s"\n'


def test_rules_of_the_file_come_first_then_those_of_the_sets_in_order(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(SHOP, "utf-8")
    path = written(tmp_path, f'{SMALL}{CACHED}[rules]\nuse = ["./shop.toml", "api"]\n{MINE}')
    config = load(path)
    assert [rule.name for rule in config.rules] == ["mine", "shop", "the interface"]
    assert [rule.source for rule in config.rules] == [f"{path}:8", f"{tmp_path}/shop.toml:1", "api.toml:3"]
    assert config.rulebook.use == (f"{tmp_path}/shop.toml", "api")
    assert config.sources["rules.use"] == f"{path}:6"
    assert config.rule_set().rules == (*BUILT_IN, *config.rules)
    policy = config.rule_set().applied(request(target="/b")).on(response())
    assert (policy.edge_ttl, policy.keep, policy.grace) == (7200.0, 10_800.0, 9.0)


def test_an_unmet_example_of_the_configuration_refuses_it(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, SMALL + MINE)
    assert mistake.message == '"shown": grace is "0s", expected "9s"'
    assert mistake.where.endswith("edgecache.toml:14:37")


def test_examples_of_the_configuration_are_tried_with_everything_that_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "first.toml").write_text(f"[[rule]]\nname = 'f'\npriority = 1\nset.edge_ttl = 5\n{SHOP}", "utf-8")
    (mistake,) = mistakes(tmp_path, f'{SMALL}{CACHED}[rules]\nuse = ["first.toml"]\n{MINE}')
    assert mistake.message == '"shown": edge_ttl is "5s", expected "1h"'
    assert "f (" in mistake.why


def test_examples_of_a_file_are_tried_with_its_own_rules_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINE.replace("9s", "0s"), "utf-8")
    config = load(
        written(tmp_path, f'{SMALL}{CACHED}[rules]\nuse = ["mine.toml"]\n[[rule]]\nname = "x"\nset.edge_ttl = 1')
    )
    assert [rule.name for rule in config.rules] == ["x", "mine"]


def test_the_environment_and_the_command_line_name_sets_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shop.toml").write_text(SHOP, "utf-8")
    environ = {"EDGECACHE_ORIGIN_URLS": "http://a", "EDGECACHE_RULES_USE": "api, ./shop.toml"}
    config = load(environ=environ)
    assert [rule.name for rule in config.rules] == ["the interface", "shop"]
    assert config.rules[1].source == "shop.toml:1"
    config = load(environ=environ, flags={("rules", "use"): ("--rules", ("shop.toml",))})
    assert [rule.name for rule in config.rules] == ["shop"]
    assert config.sources["rules.use"] == "--rules"


USED = [
    ('use = ["stat-assets"]', '"stat-assets" is no rule set', "did you mean static-assets?"),
    ('use = ["zzz"]', '"zzz" is no rule set', "there are api, default"),
    ('use = ["./zzz.toml"]', "cannot be read: No such file", "the shipped sets are api, default"),
    ('use = ["default", "default"]', "use: default is there twice", "write it once"),
    ('use = "default"', "use: not a list", 'use = ["static-assets"]'),
]


@pytest.mark.parametrize(("line", "message", "hint"), USED)
def test_a_mistake_about_what_is_used(tmp_path: Path, line: str, message: str, hint: str) -> None:
    (mistake,) = mistakes(tmp_path, f"{SMALL}[rules]\n{line}\n")
    assert message in mistake.message
    assert hint in mistake.hint


def test_mistakes_in_rules_are_told_with_all_others(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(SHOP.replace("keep", "kep"), "utf-8")
    text = f'{SMALL}[rules]\nuse = ["shop.toml"]\n[cache]\ngrase = 1\n[[rule]]\nname = "a"\nset.x = 1\n'
    found = mistakes(tmp_path, text)
    assert [one.message for one in found] == [
        "unknown key grase in [cache]",
        "unknown key x in set",
        "unknown key kep in set",
    ]
    assert found[-1].where == f"{tmp_path}/shop.toml:3:26"


def test_a_rule_that_is_misspelt_is_asked_for_by_its_brackets(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, f"{SMALL}[[ruel]]\nname = 'a'\n")
    assert (mistake.message, mistake.hint) == ("unknown table [[ruel]]", "did you mean [[rule]]?")


def test_warnings_are_no_mistakes(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(SHOP, "utf-8")
    config = load(written(tmp_path, f'{SMALL}[rules]\nuse = ["shop.toml"]\n'))
    assert [one.message for one in config.warnings] == ["no example shows what these rules do"]


def test_secrets_are_not_shown_among_rules_either(tmp_path: Path) -> None:
    text = f'{SMALL}[[rule]]\nname = "a"\nset.grace = 1\nsecret = "hunter2"\nx = "redis://me:hunter2@a"\n'
    found = mistakes(tmp_path, text)
    assert [one.message for one in found] == ["unknown key secret in [[rule]]", "unknown key x in [[rule]]"]
    assert all("hunter2" not in one.line for one in found)


def test_a_dump_shows_the_rules_in_force_and_reads_back_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(SHOP, "utf-8")
    path = written(tmp_path, f'{SMALL}{CACHED}[rules]\nuse = ["shop.toml", "media"]\n{MINE}')
    config = load(path)
    text = dump(config)
    comments = [line.split() for line in text.splitlines() if line.startswith("# ") and "toml:" in line]
    assert [line[1] for line in comments] == ["mine", "shop", "lists", "media"]
    assert comments[0][-1] == f"{path}:8"
    again = load(written(tmp_path, text))
    assert again.rulebook == config.rulebook
    assert again.inline == config.inline
    assert [(rule.name, rule.settings) for rule in again.rules] == [(rule.name, rule.settings) for rule in config.rules]


def test_without_rules_nothing_is_different(tmp_path: Path) -> None:
    config = load(written(tmp_path, SMALL))
    assert (config.rules, config.inline, config.warnings) == ((), {}, ())
    assert msgspec.structs.asdict(config.rulebook) == {"use": (), "manifests": ()}
    assert config.rule_set().applied(request()).head.fields == fields_of(())


def test_a_file_that_is_no_toml_is_a_mistake_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text("[[rule\n", "utf-8")
    with pytest.raises(ConfigMistakes) as caught:
        load(written(tmp_path, f'{SMALL}[rules]\nuse = ["shop.toml"]\n'))
    assert [one.where for one in caught.value.mistakes] == [f"{tmp_path}/shop.toml:1:7"]


# Manifests.

BUILT = '{"main.js": {"file": "assets/main-Dh9alFxD.js", "css": ["assets/main-DiwrgTda.css"]}}'


def test_what_a_manifest_lists_is_versioned_below_its_base(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "manifest.json").write_text(BUILT, "utf-8")
    config = load(
        written(tmp_path, f'{SMALL}[rules]\nuse = ["static-assets"]\nmanifests = ["/s/=dist/manifest.json"]\n')
    )
    listed = config.rule_set().applied(request(target="/s/assets/main-Dh9alFxD.js")).on(response())
    assert (listed.strategy, listed.edge_ttl) == (Strategy.IMMUTABLE, 365 * 86_400.0)
    assert config.assets is not None
    assert "/s/assets/main-DiwrgTda.css" in config.assets
    assert "/assets/main-DiwrgTda.css" not in config.assets
    assert config.rulebook.manifests == (f"/s/={tmp_path}/dist/manifest.json",)
    again = load(written(tmp_path, dump(config)))
    assert (again.rulebook, again.assets) == (config.rulebook, config.assets)


def test_a_manifest_may_stand_without_a_base_and_without_rules(tmp_path: Path) -> None:
    (tmp_path / "a=b.json").write_text(BUILT, "utf-8")
    config = load(written(tmp_path, f'{SMALL}[rules]\nmanifests = ["a=b.json"]\n'))
    assert config.rule_set().applied(request(target="/assets/main-DiwrgTda.css")).is_versioned
    assert config.rulebook.manifests == (f"/={tmp_path}/a=b.json",)


UNBUILT = [
    (None, "manifests: {}/m.json cannot be read: No such file or directory", ""),
    ("[]", "manifests: {}/m.json is not a build manifest: a JSON list, not an object", ""),
    ("{", "manifests: {}/m.json is not JSON", ""),
    ('{"a": 1}', "manifests: {}/m.json is not a build manifest", "known are "),
]


@pytest.mark.parametrize(("content", "message", "hint"), UNBUILT)
def test_a_mistake_about_a_manifest(tmp_path: Path, content: str | None, message: str, hint: str) -> None:
    if content is not None:
        (tmp_path / "m.json").write_text(content, "utf-8")
    (mistake,) = mistakes(tmp_path, f'{SMALL}[rules]\nmanifests = ["/static/=m.json"]\n')
    assert mistake.message.startswith(message.format(tmp_path))
    assert mistake.hint.startswith(hint)
    assert mistake.where == f"{tmp_path}/edgecache.toml:4:14"


@pytest.mark.parametrize("word", ["", "/static/="])
def test_what_names_no_manifest(tmp_path: Path, word: str) -> None:
    (mistake,) = mistakes(tmp_path, f'{SMALL}[rules]\nmanifests = ["{word}"]\n')
    assert mistake.message == f'manifests: "{word}" is not the path of a manifest'
    assert "/static/=dist/manifest.json" in mistake.hint
