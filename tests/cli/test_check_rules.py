"""``edgecache check`` of rules, ``--rules``: what is printed where, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import SMALL, edgecache, written

RULE = '[[rule]]\nname = "a"\nset.edge_ttl = "1h"\n'
EXAMPLE = (
    '[[example]]\nname = "x"\nrequest = "GET https://h/"\nresponse_headers.Content-Type = "text/html"\n'
    'expect.edge_ttl = "1h"\n'
)


def test_check_counts_rules_and_examples(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RULE + EXAMPLE, "utf-8")
    code, output, errors = edgecache("check", "api", str(path))
    assert (code, errors) == (0, "")
    assert output == f"api: ok, 1 rule, 7 examples\n{path}: ok, 1 rule, 1 example\n"


def test_check_of_a_configuration_tries_its_examples(tmp_path: Path) -> None:
    path = written(tmp_path, f'{SMALL}[rules]\nuse = ["spa"]\n{RULE}{EXAMPLE}')
    assert edgecache("check", "-c", path) == (0, f"{path}: ok, 4 rules, 1 example\n", "")
    Path(path).write_text(f"{SMALL}{RULE}{EXAMPLE}".replace('"1h"\n', '"2h"\n', 1), "utf-8")
    code, output, errors = edgecache("check", "-c", path)
    assert (code, output) == (2, "")
    assert errors == (
        f'{path}:10:19: "x": edge_ttl is "2h", expected "1h"\n'
        '    expect.edge_ttl = "1h"\n'
        "                      ^^^^\n"
        f"  why: its lifetime comes from rule; rules that apply: a ({path}:3)\n"
    )


def test_check_of_both(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    assert edgecache("check", "api", "-c", path) == (0, f"api: ok, 1 rule, 7 examples\n{path}: ok\n", "")


def test_a_warning_is_shown_and_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(RULE, "utf-8")
    warning = "warning: mine.toml: no example shows what these rules do\n  fix: write [[example]] tables\n"
    assert edgecache("check", "mine.toml") == (0, "mine.toml: ok, 1 rule, 0 examples\n", warning)
    Path("edgecache.toml").write_text(f'{SMALL}[rules]\nuse = ["mine.toml"]\n', "utf-8")
    assert edgecache("check") == (0, "edgecache.toml: ok, 1 rule, 0 examples\n", warning)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("check", "stat-assets"), 'stat-assets: "stat-assets" is no rule set\n  fix: did you mean static-assets?'),
        (("check", "absent.toml"), "absent.toml: cannot be read: No such file or directory"),
        (("proxy", "--to", "http://a", "--rules", "zzz"), '--rules: use: "zzz" is no rule set'),
        (("proxy", "--to", "http://a", "--rules", "api", "--rules", "api"), "--rules: use: api is there twice"),
        (("demo", "--rules", "zzz"), '--rules: use: "zzz" is no rule set'),
    ],
)
def test_what_is_wrong_with_rules_exits_2(arguments: tuple[str, ...], error: str) -> None:
    code, output, errors = edgecache(*arguments)
    assert (code, output) == (2, "")
    assert error in errors


def test_one_set_that_is_right_is_told_beside_one_that_is_wrong() -> None:
    code, output, errors = edgecache("check", "api", "zzz")
    assert (code, output) == (2, "api: ok, 1 rule, 7 examples\n")
    assert '"zzz" is no rule set' in errors
