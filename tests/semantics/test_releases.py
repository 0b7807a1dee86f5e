"""Releases: what is stored under which name, how long it is kept, and how it is reused when somebody goes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from edgecache.http.message import ResponseHead
from edgecache.semantics import releases
from edgecache.semantics.policy import Policy
from edgecache.semantics.presenting import shown_head
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Forward, Refuse, Serve, Validate, decide, may_serve_instead
from edgecache.semantics.unkeyed import doubtful
from tests.semantics.build import NOW, fields, freshness, request, response, stored

PAGES = Policy(by_release=True, retain=86_400.0)
WEEK = 7 * 86_400.0


# What is stored.


@pytest.mark.parametrize(
    ("lines", "active", "held", "reason"),
    [
        ((), "v2", False, None),
        (("Edgecache-Release: v2",), "v2", False, None),
        (("Edgecache-Release: v1",), "v2", False, Reason.OTHER_RELEASE),
        (("Edgecache-Release: v2", "Edgecache-Release: v1"), "v2", False, Reason.OTHER_RELEASE),
        (("Edgecache-Release:",), "v2", False, Reason.OTHER_RELEASE),
        # gone back to: the origin may run another, unless it says that it does not
        ((), "v2", True, Reason.HELD),
        (("Edgecache-Release: v2",), "v2", True, None),
        (("Edgecache-Release: v3",), "v2", True, Reason.OTHER_RELEASE),
        # not active: ahead of its activation, or overtaken by the next
        ((), "v1", False, Reason.OTHER_RELEASE),
        ((), "v1", True, Reason.OTHER_RELEASE),
        ((), "", False, Reason.OTHER_RELEASE),
        (("Edgecache-Release: v2",), "v1", False, None),
        (("Edgecache-Release: v2",), "v1", True, None),
    ],
)
def test_what_was_asked_for_v2(lines: tuple[str, ...], active: str, held: bool, reason: Reason | None) -> None:
    assert releases.refusal(fields(lines), "v2", active, held=held) is reason


def test_the_field_is_for_this_cache_alone() -> None:
    head = response("Edgecache-Release: v2", "X: y")
    assert shown_head(head, Policy()) == ResponseHead(200, fields(["X: y"]))
    assert doubtful(request("Edgecache-Release: v2"), Policy()) == ()  # it is not sent on


# How long.


@pytest.mark.parametrize(
    ("lines", "status", "policy", "kept"),
    [
        (("Cache-Control: max-age=60, must-revalidate",), 200, PAGES, 60 + 86_400),
        (("Cache-Control: no-cache", 'ETag: "1"'), 200, PAGES, 86_400),
        (("Cache-Control: no-cache", 'ETag: "1"'), 200, replace(PAGES, keep=WEEK), WEEK),
        (("Cache-Control: max-age=60, must-revalidate",), 302, PAGES, 60 + 86_400),
        (("Cache-Control: max-age=60, must-revalidate",), 404, PAGES, 60),
        (("Cache-Control: no-cache", 'ETag: "1"'), 200, Policy(retain=86_400.0), 3600),
    ],
)
def test_what_is_of_a_release_is_kept_until_somebody_may_go_back(
    lines: tuple[str, ...], status: int, policy: Policy, kept: float
) -> None:
    assert freshness(*lines, status=status, policy=policy).discard_at == NOW + kept


def test_it_does_not_stand_in_for_a_page_that_its_own_release_has_not() -> None:
    page = stored("Cache-Control: max-age=60", policy=PAGES)
    assert may_serve_instead(page, NOW + 61, status=404) is None


# How it is reused.


@pytest.mark.parametrize(
    "lines",
    [
        ("Cache-Control: max-age=60",),
        ("Cache-Control: max-age=60, must-revalidate",),
        ("Cache-Control: s-maxage=60",),
        ("Cache-Control: no-cache", 'ETag: "1"'),
        ("Cache-Control: max-age=0", 'ETag: "1"'),
    ],
)
@pytest.mark.parametrize("asked", [(), ("Cache-Control: no-cache",), ("Cache-Control: max-age=0",), ("Pragma: x",)])
@pytest.mark.parametrize("age", [0, 61, WEEK])
def test_what_is_stored_of_it_is_served_whatever_its_age(
    lines: tuple[str, ...], asked: tuple[str, ...], age: float
) -> None:
    response = stored(*lines)
    assert decide(request(*asked), [response], PAGES, NOW + age, 9.0, held=True) == Serve(response, Reason.HELD)


def test_it_is_served_even_to_who_asks_only_the_cache() -> None:
    asked = request("Cache-Control: only-if-cached")
    assert isinstance(decide(asked, [stored("Cache-Control: max-age=60")], PAGES, NOW + 99, held=True), Serve)
    assert isinstance(decide(asked, [], PAGES, NOW, held=True), Refuse)


def test_an_error_is_no_page_of_a_release() -> None:
    error = stored("Cache-Control: max-age=60", status=404)
    assert decide(request(), [error], PAGES, NOW + 59, held=True) == Serve(error, Reason.FRESH)
    assert decide(request(), [error], PAGES, NOW + 60, held=True) == Validate(error, Reason.STALE)


def test_what_may_have_been_purged_is_confirmed_by_the_origin() -> None:
    page = stored("Cache-Control: max-age=60")
    doubted = structs.replace(page, freshness=page.freshness.unproven())
    assert isinstance(decide(request(), [doubted], PAGES, NOW, held=True), Validate)


def test_another_variant_is_not_it() -> None:
    page = stored("Cache-Control: max-age=60", "Vary: Accept-Language", of=request("Accept-Language: de"))
    assert decide(request("Accept-Language: fr"), [page], PAGES, NOW, held=True) == Forward(Reason.VARY_MISS)
