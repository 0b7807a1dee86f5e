"""Who may purge what: every kind of selector in every scope, secrets, rates, and the machine's own token."""

from __future__ import annotations

import itertools
import logging
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.token_file import LocalToken, local_secret
from edgecache.edges.tokens import Scope, Token, Tokens, digest_of, environment_token
from edgecache.errors import ConfigError
from edgecache.purging.expression import Both, Either, Expression, Not, Tag
from edgecache.purging.selector import Kind, Selector

SCOPES = {
    "nothing": Scope(),
    "host": Scope(hosts=("shop.example",)),
    "glob": Scope(hosts=("*.shop.example", "shop.example:8080")),
    "any host": Scope(hosts=("*",)),
    "tag": Scope(tag_prefixes=("product:", "list")),
    "both": Scope(hosts=("shop.example",), tag_prefixes=("product:",)),
    "all": Scope(all=True),
}

MATRIX = {
    "url:shop.example/a": "host, any host, both, all",
    "url:shop.example/a?x=http://blog.example/": "host, any host, both, all",
    "url:SHOP.example:80/a": "host, any host, both, all",
    "url:shop.example:8080/a": "glob, any host, all",
    "url:a.shop.example/": "glob, any host, all",
    "url:shop.example.evil.example/": "any host, all",
    "url:blog.example/shop.example": "any host, all",
    "host:shop.example": "host, any host, both, all",
    "host:a.b.shop.example": "glob, any host, all",
    "host:blog.example": "any host, all",
    "prefix:shop.example/": "host, any host, both, all",
    "prefix:blog.example/a": "any host, all",
    "prefix:/a": "any host, all",
    "glob:shop.example/**": "host, any host, both, all",
    "glob:a.shop.example/*.css": "glob, any host, all",
    "glob:*.shop.example/**": "glob, any host, all",
    "glob:*shop.example/**": "any host, all",
    "glob:shop.exampl?/**": "any host, all",
    "glob:shop.example**": "any host, all",
    "glob:**.shop.example/": "any host, all",
    "glob:shop\\.example/a": "any host, all",
    "glob:shop.example\\/a": "any host, all",
    "glob:*/a": "any host, all",
    "glob:**": "any host, all",
    "glob:/a": "any host, all",
    "regex:^shop\\.example/a$": "any host, all",
    "tag:product:42": "tag, both, all",
    "tag:list": "tag, all",
    "tag:listing": "tag, all",
    "tag:Product:42": "all",
    "tag:post:1": "all",
    "expr:product:42": "tag, both, all",
    "expr:product:42 & post:1": "tag, both, all",
    "expr:product:42 & !post:1": "tag, both, all",
    "expr:product:42 | post:1": "all",
    "expr:product:42 | list": "tag, all",
    "expr:(product:42 | post:1) & product:1": "tag, both, all",
    "expr:!product:42": "all",
    "expr:!(!product:42)": "all",
    "all:": "all",
}


@pytest.mark.parametrize(("text", "scope"), list(itertools.product(MATRIX, SCOPES)))
def test_a_selector_is_within_a_scope_when_all_it_can_match_is(text: str, scope: str) -> None:
    allowed = scope in MATRIX[text].split(", ")
    reason = SCOPES[scope].refuses(Selector.parse(text))
    assert (reason is None) == allowed, reason


@pytest.mark.parametrize(("kind", "soft"), list(itertools.product(Kind, [True, False])))
def test_kinds_and_softness_narrow_a_token_for_everything(kind: Kind, soft: bool) -> None:
    selector = Selector(kind, "a", soft)
    assert (Scope(all=True, kinds=frozenset({Kind.TAG})).refuses(selector) is None) == (kind is Kind.TAG)
    assert (Scope(all=True, soft_only=True).refuses(selector) is None) == soft


names = st.sampled_from(["p:1", "p:2", "q", "r"])
expressions: st.SearchStrategy[Expression] = st.recursive(
    names.map(Tag),
    lambda inner: (
        inner.map(Not)
        | st.lists(inner, min_size=2, max_size=3).map(lambda some: Both(tuple(some)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda some: Either(tuple(some)))
    ),
    max_leaves=8,
)


@given(expressions, st.frozensets(names))
def test_an_expression_within_a_scope_never_matches_outside(expression: Expression, tags: frozenset[str]) -> None:
    selector = Selector.of("expr", str(expression))
    if Scope(tag_prefixes=("p:",)).refuses(selector) is None and selector.matcher()(None, tags):  # type: ignore[arg-type]
        assert any(tag.startswith("p:") for tag in tags)


def test_a_refusal_names_the_token_the_selector_and_what_is_allowed() -> None:
    token = Token("ci", digest_of("s"), Scope(tag_prefixes=("blog:",)))
    selectors = [Selector.of("tag", "blog:1"), Selector.of("tag", "product:42")]
    assert token.refuses(selectors[:1]) is None
    assert token.refuses(selectors) == ("the token ci may not purge tag:product:42: its tags begin with blog:")
    assert len(token.refuses([Selector.of("tag", "x" * 1000)]) or "") < 300


# Secrets.


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Bearer secret-a", "a"),
        ("bearer  secret-b", "b"),
        ("BEARER secret-c==", "c"),
        ("Bearer secret-", None),
        ("Bearer secret-aa", None),
        ("Bearer Secret-a", None),
        ("Bearer secret-a ", None),
        ("Bearer secret-a, Bearer secret-b", None),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic secret-a", None),
        ("secret-a", None),
        ("", None),
        ("Bearer s\udce9cret", None),
        (f"Bearer {digest_of('secret-a')}", None),
    ],
)
def test_only_the_secret_itself_is_a_token(header: str, name: str | None) -> None:
    secrets = {"a": "secret-a", "b": "secret-b", "c": "secret-c=="}
    found = Tokens(Token(name, digest_of(secret), Scope()) for name, secret in secrets.items()).authenticate(header)
    assert (found.name if found else None) == name


def test_an_empty_secret_is_nobody_s() -> None:
    tokens = Tokens([Token("none", digest_of(""), Scope(all=True))])
    assert tokens.authenticate("") is None
    assert tokens.authenticate("Bearer ") is None


@given(st.text())
def test_any_header_is_judged(header: str) -> None:
    assert Tokens([Token("a", digest_of("secret"), Scope())]).authenticate(header) is None


def test_a_rate_is_a_bucket_that_fills_over_a_minute() -> None:
    now = [100.0]
    token, other = Token("ci", "1" * 64, Scope(rate=2)), Token("free", "2" * 64, Scope())
    tokens = Tokens([token, other], lambda: now[0])
    assert [tokens.delay(token) for _ in range(4)] == [0, 0, 30, 30]
    now[0] += 29
    assert tokens.delay(token) == pytest.approx(1)
    now[0] += 1
    assert [tokens.delay(token) for _ in range(2)] == [0, pytest.approx(30)]
    now[0] += 3600
    assert [tokens.delay(token) for _ in range(3)] == [0, 0, 30]
    assert {tokens.delay(other) for _ in range(100)} == {0}


def test_the_environment_s_token_is_for_everything() -> None:
    assert environment_token({}) is None
    assert environment_token({"EDGECACHE_TOKEN": ""}) is None
    token = environment_token({"EDGECACHE_TOKEN": "s3cret"})
    assert token == Token("(environment)", digest_of("s3cret"), Scope(all=True, deploy=True))


@pytest.mark.parametrize("text", ["two words", "caf\u00e9", "line\n", "a,b", "\udcff"])
def test_what_cannot_be_sent_is_no_token_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        environment_token({"EDGECACHE_TOKEN": text})
    assert text not in f"{caught.value}{caught.value.hint}{caught.value.where}{caught.value.line}"


# The token of the machine.


@pytest.fixture(params=["XDG_RUNTIME_DIR", "HOME"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    return {request.param: str(tmp_path)}


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("bound", "admin"),
    [
        (("127.0.0.1", 8081), "http://127.0.0.1:8081"),
        (("127.0.0.1", 8081), "http://127.0.0.1"),
        (("127.0.0.1", 9), "http://localhost:9/"),
        (("::1", 9, 0, 0), "http://localhost:9"),
        (("::1", 9, 0, 0), "http://[::1]:9"),
        (("0.0.0.0", 9), "http://127.0.0.1:9"),
        (("::", 9, 0, 0), "http://localhost:9"),
        (("192.0.2.7", 9), "http://192.0.2.7:9"),
        ("/run/edge/admin.sock", "unix:/run/edge/admin.sock"),
    ],
)
def test_a_command_finds_what_the_edge_left(environ: dict[str, str], tmp_path: Path, bound: object, admin: str) -> None:
    local = LocalToken(environ)
    assert local_secret(admin, environ) is None
    local.write([bound])
    secret = local_secret(admin, environ)
    assert secret is not None
    assert Tokens([local.token]).authenticate(f"Bearer {secret}") is local.token
    (path,) = files(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    local.remove()
    assert files(tmp_path) == []
    assert local_secret(admin, environ) is None


@pytest.mark.parametrize(
    ("bound", "admin"),
    [
        (("127.0.0.1", 9), "http://127.0.0.1:10"),
        (("127.0.0.1", 9), "http://127.0.0.2:9"),
        (("127.0.0.1", 9), "http://edge.example:9"),
        (("0.0.0.0", 9), "http://192.0.2.7:9"),
        (("0.0.0.0", 9), "http://*:9"),
        (("192.0.2.7", 9), "http://127.0.0.1:9"),
        ("/run/a", "unix:/run/b"),
        ("/run/a", "unix:/run/b/../a"),
    ],
)
def test_a_secret_is_sent_nowhere_else(environ: dict[str, str], bound: object, admin: str) -> None:
    LocalToken(environ).write([bound])
    assert local_secret(admin, environ) is None


def test_a_later_edge_at_the_same_address_keeps_its_own(environ: dict[str, str]) -> None:
    first, second = LocalToken(environ), LocalToken(environ)
    first.write([("127.0.0.1", 9)])
    second.write([("127.0.0.1", 9)])
    first.remove()
    secret = local_secret("http://127.0.0.1:9", environ)
    assert secret is not None
    assert Tokens([first.token, second.token]).authenticate(f"Bearer {secret}") is second.token
    second.remove()
    second.remove()


def test_an_edge_that_was_killed_leaves_nothing_of_use(environ: dict[str, str]) -> None:
    LocalToken(environ).write([("127.0.0.1", 9)])
    secret, successor = local_secret("http://127.0.0.1:9", environ), LocalToken(environ)
    assert Tokens([successor.token]).authenticate(f"Bearer {secret}") is None


def test_a_file_of_the_home_is_found_beside_a_runtime_directory(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path / "home")}
    LocalToken(home).write([("127.0.0.1", 9)])
    assert local_secret("http://127.0.0.1:9", {**home, "XDG_RUNTIME_DIR": str(tmp_path / "run")})


@pytest.mark.parametrize("kind", ["no directory", "a file in its place"])
def test_where_no_file_can_be_left_the_edge_starts_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    (tmp_path / "edgecache").write_text("in the way")
    environ: Mapping[str, str] = {} if kind == "no directory" else {"XDG_RUNTIME_DIR": str(tmp_path)}
    local = LocalToken(environ)
    with caplog.at_level(logging.WARNING):
        local.write([("127.0.0.1", 9)])
    assert "edgecache purge needs a token here" in caplog.text
    local.remove()


@pytest.mark.parametrize(
    ("scope", "hosts", "refusal"),
    [
        (Scope(deploy=True, hosts=("a.example",)), ["a.example"], None),
        (Scope(deploy=True, hosts=("*.example",)), ["a.example", "b.example"], None),
        (Scope(deploy=True, all=True), ["a.example"], None),
        (Scope(deploy=True), [], None),
        (Scope(all=True), [], "it may not deploy"),
        (Scope(deploy=True), ["a.example"], "it may not warm a.example: its hosts are none"),
        (Scope(deploy=True, hosts=("b.example",)), ["b.example", "a.example"], "it may not warm a.example: its hosts"),
    ],
)
def test_who_may_deploy(scope: Scope, hosts: list[str], refusal: str | None) -> None:
    reason = scope.refuses_to_warm(hosts)
    assert reason == refusal if refusal is None else reason is not None and reason.startswith(refusal)
