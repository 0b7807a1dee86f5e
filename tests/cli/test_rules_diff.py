"""``edgecache rules diff``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import SMALL, edgecache, written
from tests.edges.test_replay import line

NEW = """
[[rule]]
name = "pages"
set.query = { drop = ["utm_*"] }
set.edge_ttl = "1h"

[[rule]]
name = "accounts"
match.path = "/account"
set.unsafe_store_private = true

[[example]]
name = "a page"
request = "GET http://h.example/a?utm_x=1"
response_headers.Content-Type = "text/html"
expect.url = "http://h.example/a"
"""
LOG = (
    line("/a?utm_x=1"),
    line("/a?utm_x=2", at=10),
    line("/account", at=20, reason="private", lifetime=None),
    line("/b", at=30, reason="no-freshness", lifetime=None),
    "nonsense",
)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("new.toml").write_text(NEW, "utf-8")
    Path("access.log").write_text("\n".join(LOG), "utf-8")
    return "access.log"


SHOWN = """\
requests   4, 4 of them GET or HEAD; 1 lines not understood
keys       4 -> 3; 2 change
  http://h.example/a?utm_x=1 -> http://h.example/a  (1)
  http://h.example/a?utm_x=2 -> http://h.example/a  (1)
lifetimes  2 change
  http://h.example/a?utm_x=1  1m -> 1h  (1)
  http://h.example/a?utm_x=2  1m -> 1h  (1)
stored     2 newly, 0 no longer
  + http://h.example/account  (1)
  + http://h.example/b  (1)
risky      1
  ! http://h.example/account  takes unsafe_store_private  (1)
hits       0.0 % -> 25.0 % (+25.0 points), in a store without bounds
"""


def test_what_would_change(log: str) -> None:
    assert edgecache("rules", "diff", "new.toml", "--replay", log) == (1, SHOWN, "")


def test_what_is_in_force_is_compared_with(log: str, tmp_path: Path) -> None:
    written(tmp_path, f'{SMALL}[rules]\nuse = ["new.toml"]\n')
    code, output, _ = edgecache("rules", "diff", "new.toml", "--replay", log)
    assert code == 0  # what is risky has been so before
    assert "0 change" in output
    code, output, _ = edgecache("rules", "diff", "default", "--replay", log)
    assert code == 0
    assert "risky      0" in output


def test_only_so_many_are_shown(log: str) -> None:
    _, output, _ = edgecache("rules", "diff", "new.toml", "--replay", log, "--top", "1")
    assert "  and 1 more\n" in output


def test_everything_as_json(log: str) -> None:
    code, output, errors = edgecache("rules", "diff", "new.toml", "--replay", log, "--json")
    found = json.loads(output)
    assert (code, errors) == (1, "")
    assert found["risky"] == [{"url": "http://h.example/account", "setting": "unsafe_store_private", "requests": 1}]
    assert (found["hits"], found["distinct"]) == ({"old": 0, "new": 1}, {"old": 4, "new": 3})


def test_mistakes_are_shown(log: str) -> None:
    code, output, errors = edgecache("rules", "diff", "absent.toml", "defualt", "--replay", log)
    assert (code, output) == (2, "")
    assert "absent.toml: cannot be read" in errors
    assert "did you mean default?" in errors
