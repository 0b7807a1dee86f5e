"""Every reason has a message that brings it about, or a place in the engine that does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgecache.engine
from edgecache.http.message import RequestHead
from edgecache.semantics import releases
from edgecache.semantics.finishing import Examined, finished
from edgecache.semantics.policy import Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import decide, may_serve_instead
from edgecache.semantics.storing import refusal_of_body
from tests.semantics.build import NOW, fields, partial, refusal, request, response, stored

FRESH = "Cache-Control: max-age=60"


def _decided(asked: RequestHead, *lines: str, age: float = 0) -> Reason:
    return decide(asked, [stored(*lines)], Policy(), NOW + age).reason


def _varied() -> Reason:
    return decide(request(), [stored(FRESH, "Vary: X", of=request("X: 1"))], Policy(), NOW).reason


def _finished() -> Reason | None:
    made = finished(stored(FRESH), Examined(is_as_named=False), Policy())
    return made if isinstance(made, Reason) else None


SEMANTICS: dict[Reason, Reason | None] = {
    Reason.FRESH: _decided(request(), FRESH),
    Reason.GRACE: _decided(request(), "Cache-Control: max-age=60, stale-while-revalidate=9", age=60),
    Reason.MAX_STALE: _decided(request("Cache-Control: max-stale"), FRESH, age=60),
    Reason.IF_ERROR: may_serve_instead(stored("Cache-Control: max-age=0, stale-if-error=9"), NOW, status=503),
    Reason.UNREACHABLE: may_serve_instead(stored("Cache-Control: max-age=0"), NOW, status=None),
    Reason.URI_MISS: decide(request(), [], Policy(), NOW).reason,
    Reason.VARY_MISS: _varied(),
    Reason.STALE: _decided(request(), FRESH, age=60),
    Reason.NO_CACHE: _decided(request(), "Cache-Control: no-cache"),
    Reason.RELOAD: _decided(request("Cache-Control: no-cache"), FRESH),
    Reason.PARTIAL: decide(request(), [partial(2, 4, 10)], Policy(), NOW).reason,
    Reason.METHOD: _decided(request(method="POST"), FRESH),
    Reason.PRECONDITION: _decided(request("If-Match: *"), FRESH),
    Reason.ONLY_IF_CACHED: _decided(request("Cache-Control: only-if-cached"), FRESH, age=60),
    Reason.STATUS: refusal(status=500),
    Reason.NOT_UNDERSTOOD: refusal("Cache-Control: must-understand", status=299),
    Reason.NO_STORE: refusal("Cache-Control: no-store"),
    Reason.REQUEST_NO_STORE: refusal(of=request("Cache-Control: no-store")),
    Reason.PRIVATE: refusal("Cache-Control: private"),
    Reason.AUTHORIZATION: refusal(of=request("Authorization: x")),
    Reason.SET_COOKIE: refusal("Set-Cookie: x"),
    Reason.REQUEST_COOKIE: refusal(of=request("Cookie: x")),
    Reason.VARY_STAR: refusal("Vary: *"),
    Reason.NO_FRESHNESS: refusal(),
    Reason.CONTENT_RANGE: refusal(status=206),
    Reason.TOO_LARGE: refusal_of_body(response(), 1, Policy(max_object=0)),
    Reason.EARLY: decide(request(), [stored(FRESH, policy=Policy(early=1.0), delay=1.0)], Policy(), NOW, 61.0).reason,
    Reason.RETAINED: may_serve_instead(stored(FRESH, policy=Policy(retain=60)), NOW + 61, status=404),
    Reason.AMBIGUOUS_PATH: refusal(FRESH, of=request(target="/static/..%2faccount")),
    Reason.HELD: decide(request(), [stored(FRESH)], Policy(), NOW + 99, held=True).reason,
    Reason.OTHER_RELEASE: releases.refusal(fields(["Edgecache-Release: v1"]), "v2", "v2", held=False),
    Reason.TYPE_MISMATCH: refusal("Content-Type: text/html", FRESH, of=request(target="/a.js")),
    Reason.UNKEYED_FIELD: refusal(FRESH, of=request("X-Debug: 1")),
    Reason.DIGEST_MISMATCH: _finished(),
    Reason.TOO_MANY_TAGS: refusal(f'Cache-Groups: "{"x" * 129}"'),
}

ENGINE = {
    Reason.UNPROVEN,
    Reason.CLOCK,
    Reason.VALIDATED,
    Reason.COLLAPSED,
    Reason.UPGRADE,
    Reason.RULE_PASS,
    Reason.CONTENT,
    Reason.CLOSE_DELIMITED,
    Reason.TRUNCATED,
    Reason.ERROR_KEPT_OUT,
    Reason.PURGED,
    Reason.ORIGIN_ERROR,
    Reason.ORIGIN_TIMEOUT,
}
"""What needs more than messages to come about; the engine's own tests bring it about."""

UNUSED: set[Reason] = set()
"""Named by nothing that runs."""


@pytest.mark.parametrize("reason", SEMANTICS)
def test_a_message_brings_it_about(reason: Reason) -> None:
    assert SEMANTICS[reason] is reason


def test_there_are_no_others() -> None:
    assert SEMANTICS.keys() | ENGINE | UNUSED == set(Reason)
    assert not SEMANTICS.keys() & ENGINE


def test_the_engine_knows_what_is_left_to_it() -> None:
    sources = [path.read_text("utf-8") for path in Path(*edgecache.engine.__path__).glob("*.py")]
    named = {
        node.attr
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason"
    }
    assert {reason.name for reason in ENGINE} <= named
    assert not {reason.name for reason in UNUSED} & named


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_can_be_written_anywhere(reason: Reason) -> None:
    """In Cache-Status as a token, in a label, in a column."""
    assert reason.value.replace("-", "").isalpha()
    assert reason.value == reason.value.lower()
    assert reason.explanation
