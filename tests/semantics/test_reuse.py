from __future__ import annotations

import pytest
from hypothesis import given
from msgspec.structs import replace

from edgecache.http.message import RequestHead, ResponseHead
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import (
    Complete,
    Decision,
    Forward,
    Refuse,
    Serve,
    ServeStale,
    Validate,
    covers,
    decide,
    may_serve_instead,
)
from edgecache.semantics.stored import StoredResponse
from tests.semantics import messages
from tests.semantics.build import NOW, date, partial, request, store, stored


def decision(asked: RequestHead, *candidates: StoredResponse, age: float = 0, policy: Policy = DEFAULT) -> Decision:
    return decide(asked, candidates, policy, NOW + age)


def kind(decision: Decision) -> tuple[str, str]:
    return type(decision).__name__, decision.reason


# --------------------------------------------------------------------------------- before anything is looked at


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "PURGE"])
def test_other_methods_are_forwarded(method: str) -> None:
    assert decision(request(method=method), stored("Cache-Control: max-age=60")) == Forward(Reason.METHOD)


@pytest.mark.parametrize("method", ["GET", "HEAD", "QUERY"])
def test_reusable_methods(method: str) -> None:
    response = stored("Cache-Control: max-age=60")
    assert decision(request(method=method), response) == Serve(response)


@pytest.mark.parametrize("line", ['If-Match: "1"', "If-Match: *", f"If-Unmodified-Since: {date()}"])
def test_preconditions_for_the_origin_are_forwarded(line: str) -> None:
    response = stored("Cache-Control: max-age=60", 'ETag: "1"')
    assert decision(request(line), response) == Forward(Reason.PRECONDITION)
    assert decision(request(line)) == Forward(Reason.PRECONDITION)


@pytest.mark.parametrize("line", ['If-None-Match: "1"', f"If-Modified-Since: {date()}", 'If-Range: "1"'])
def test_conditions_for_a_cache_are_not(line: str) -> None:
    response = stored("Cache-Control: max-age=60", 'ETag: "1"')
    assert decision(request(line), response) == Serve(response)


# ----------------------------------------------------------------------------------------------------- selection


def test_misses() -> None:
    assert decision(request()) == Forward(Reason.URI_MISS)
    response = stored("Cache-Control: max-age=60", "Vary: X", of=request("X: 1"))
    assert decision(request("X: 2"), response) == Forward(Reason.VARY_MISS)
    assert decision(request("X: 1"), response) == Serve(response)


def test_the_most_recent_of_several_is_used() -> None:
    older = stored("Cache-Control: max-age=60", at=NOW - 5)
    newer = stored("Cache-Control: max-age=60", "Vary: X", at=NOW)
    assert decision(request(), older, newer) == Serve(newer)
    assert decision(request("X: 1"), older, newer) == Serve(older)


def test_a_stale_newer_one_is_not_passed_over_for_a_fresh_older_one() -> None:
    older = stored("Cache-Control: max-age=60", at=NOW - 5)
    newer = stored("Cache-Control: max-age=1", "Vary: X", at=NOW)
    assert decision(request(), older, newer, age=2) == Validate(newer, Reason.STALE)


# ----------------------------------------------------------------------------------------------- one, by its age

VALIDATE, SERVE, STALE, REFUSE = "Validate", "Serve", "ServeStale", "Refuse"


@pytest.mark.parametrize(
    ("response", "asks", "age", "expected"),
    [
        ("max-age=60", "", 0, (SERVE, Reason.FRESH)),
        ("max-age=60", "", 59.9, (SERVE, Reason.FRESH)),
        ("max-age=60", "", 60, (VALIDATE, Reason.STALE)),
        ("max-age=0", "", 0, (VALIDATE, Reason.STALE)),
        ("no-cache", "", 0, (VALIDATE, Reason.NO_CACHE)),
        ("no-cache, max-age=60", "", 0, (VALIDATE, Reason.NO_CACHE)),
        ("no-cache, max-age=60", "max-stale", 0, (VALIDATE, Reason.NO_CACHE)),
        ('no-cache="X", max-age=60', "", 0, (SERVE, Reason.FRESH)),
        # Grace (RFC 5861 §3).
        ("max-age=60, stale-while-revalidate=30", "", 59, (SERVE, Reason.FRESH)),
        ("max-age=60, stale-while-revalidate=30", "", 60, (STALE, Reason.GRACE)),
        ("max-age=60, stale-while-revalidate=30", "", 89.9, (STALE, Reason.GRACE)),
        ("max-age=60, stale-while-revalidate=30", "", 90, (VALIDATE, Reason.STALE)),
        ("s-maxage=60, stale-while-revalidate=30", "", 70, (STALE, Reason.GRACE)),
        ("max-age=60, stale-while-revalidate=30, must-revalidate", "", 70, (VALIDATE, Reason.STALE)),
        ("max-age=60, stale-while-revalidate=30, proxy-revalidate", "", 70, (VALIDATE, Reason.STALE)),
        # no-cache of the request (§5.2.1.4).
        ("max-age=60", "no-cache", 0, (VALIDATE, Reason.RELOAD)),
        ("max-age=60", "no-cache", 60, (VALIDATE, Reason.STALE)),
        ("max-age=60, immutable", "no-cache", 0, (VALIDATE, Reason.RELOAD)),
        ("max-age=60", "no-store", 0, (SERVE, Reason.FRESH)),
        # max-age of the request (§5.2.1.1).
        ("max-age=60", "max-age=0", 0, (SERVE, Reason.FRESH)),
        ("max-age=60", "max-age=0", 1, (VALIDATE, Reason.RELOAD)),
        ("max-age=60", "max-age=30", 30, (SERVE, Reason.FRESH)),
        ("max-age=60", "max-age=30", 30.5, (VALIDATE, Reason.RELOAD)),
        ("max-age=60", "max-age=x", 1, (VALIDATE, Reason.RELOAD)),
        ("max-age=60", "max-age=30, max-stale=60", 31, (VALIDATE, Reason.RELOAD)),
        ("max-age=60", "max-age=90, max-stale=60", 80, (SERVE, Reason.MAX_STALE)),
        ("max-age=60", "max-age=70, max-stale=60", 80, (VALIDATE, Reason.STALE)),
        # "Unless max-stale is also present, the client does not wish to receive a stale response."
        ("max-age=60, stale-while-revalidate=30", "max-age=100", 70, (VALIDATE, Reason.STALE)),
        ("max-age=60, stale-while-revalidate=30", "max-age=100, max-stale=5", 70, (STALE, Reason.GRACE)),
        # RFC 8246 §2.
        ("max-age=60, immutable", "max-age=0", 30, (SERVE, Reason.FRESH)),
        ("max-age=60, immutable", "max-age=0", 60, (VALIDATE, Reason.STALE)),
        # min-fresh (§5.2.1.3).
        ("max-age=60", "min-fresh=30", 30, (SERVE, Reason.FRESH)),
        ("max-age=60", "min-fresh=30", 30.5, (VALIDATE, Reason.RELOAD)),
        ("max-age=60", "min-fresh=30", 61, (VALIDATE, Reason.STALE)),
        ("max-age=60, immutable", "min-fresh=30", 31, (VALIDATE, Reason.RELOAD)),
        ("max-age=60", "min-fresh=x", 59, (SERVE, Reason.FRESH)),
        # max-stale (§5.2.1.2), which must-revalidate and its kin overrule (§4.2.4).
        ("max-age=60", "max-stale", 10_000, (SERVE, Reason.MAX_STALE)),
        ("max-age=60", "max-stale=10", 59, (SERVE, Reason.FRESH)),
        ("max-age=60", "max-stale=10", 70, (SERVE, Reason.MAX_STALE)),
        ("max-age=60", "max-stale=10", 70.5, (VALIDATE, Reason.STALE)),
        ("max-age=60", "max-stale=x", 61, (VALIDATE, Reason.STALE)),
        ("max-age=60, must-revalidate", "max-stale", 61, (VALIDATE, Reason.STALE)),
        ("max-age=60, proxy-revalidate", "max-stale", 61, (VALIDATE, Reason.STALE)),
        ("s-maxage=60", "max-stale", 61, (VALIDATE, Reason.STALE)),
        # only-if-cached (§5.2.1.7).
        ("max-age=60", "only-if-cached", 0, (SERVE, Reason.FRESH)),
        ("max-age=60", "only-if-cached", 60, (REFUSE, Reason.ONLY_IF_CACHED)),
        ("max-age=60", "only-if-cached, max-stale", 60, (SERVE, Reason.MAX_STALE)),
        ("max-age=60, stale-while-revalidate=30", "only-if-cached", 60, (STALE, Reason.GRACE)),
        ("max-age=60", "only-if-cached, no-cache", 0, (REFUSE, Reason.ONLY_IF_CACHED)),
        ("no-cache", "only-if-cached", 0, (REFUSE, Reason.ONLY_IF_CACHED)),
    ],
)
def test_decisions(response: str, asks: str, age: float, expected: tuple[str, str]) -> None:
    candidate = stored(f"Cache-Control: {response}")
    asked = request(f"Cache-Control: {asks}") if asks else request()
    assert kind(decision(asked, candidate, age=age)) == expected


def test_pragma_reloads_when_there_is_no_cache_control() -> None:
    response = stored("Cache-Control: max-age=60")
    assert decision(request("Pragma: no-cache"), response) == Validate(response, Reason.RELOAD)
    assert decision(request("Pragma: no-cache", "Cache-Control: max-age=9"), response) == Serve(response)


@pytest.mark.parametrize("asks", ["no-cache", "max-age=0", "min-fresh=90"])
def test_an_operator_can_disregard_reloads(asks: str) -> None:
    response = stored("Cache-Control: max-age=60")
    assert decision(request(f"Cache-Control: {asks}"), response, age=1, policy=Policy(honour_reload=False)) == Serve(
        response
    )


def test_the_operators_grace() -> None:
    response = stored("Cache-Control: max-age=60", policy=Policy(grace=10))
    assert decision(request(), response, age=65) == ServeStale(response)


def test_age_counts_from_where_it_was_generated() -> None:
    response = stored("Cache-Control: max-age=60", "Age: 30", delay=10)
    assert decision(request(), response, age=19) == Serve(response)
    assert decision(request(), response, age=20) == Validate(response, Reason.STALE)


@pytest.mark.parametrize(
    "asked",
    [
        request("Cache-Control: only-if-cached"),
        request("Cache-Control: only-if-cached", 'If-Match: "1"'),
        request("Cache-Control: only-if-cached", method="HEAD"),
    ],
)
def test_only_if_cached_is_refused_when_nothing_is(asked: RequestHead) -> None:
    assert decision(asked) == Refuse()
    assert decision(asked, stored("Cache-Control: max-age=60", "Vary: X", of=request("X: 1"))) == Refuse()
    assert decision(asked, partial(0, 4, 10, 'ETag: "1"')) == Refuse()


# --------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request("Range: bytes=2-5"), True),
        (request("Range: bytes=3-4"), True),
        (request("Range: bytes=1-5"), False),
        (request("Range: bytes=2-6"), False),
        (request("Range: bytes=2-"), False),
        (request("Range: bytes=-4"), False),
        (request("Range: bytes=2-3, 5-5"), False),
        (request("Range: bytes=90-"), False),
        (request("Range: lines=2-3"), False),
        (request("Range: bytes=3-2"), False),
        (request(), False),
        (request("Range: bytes=2-5", method="HEAD"), False),
        (request("Range: bytes=2-5", method="QUERY"), False),
        # A Range under an If-Range that does not hold asks for all of it (RFC 9110 §13.1.5).
        (request("Range: bytes=2-5", 'If-Range: "1"'), True),
        (request("Range: bytes=2-5", 'If-Range: "2"'), False),
        (request("Range: bytes=2-5", 'If-Range: W/"1"'), False),
        (request("Range: bytes=2-5", f"If-Range: {date(-100)}"), True),
        (request("Range: bytes=2-5", f"If-Range: {date(-101)}"), False),
    ],
)
def test_a_part_covers_what_lies_within_it(asked: RequestHead, expected: bool) -> None:
    part = partial(2, 5, 10, 'ETag: "1"', f"Last-Modified: {date(-100)}", f"Date: {date()}")
    assert covers(part, asked) is expected
    whole = stored("Cache-Control: max-age=60")
    assert covers(whole, asked)


def test_the_end_of_a_representation_covers_a_suffix() -> None:
    part = partial(6, 9, 10)
    assert covers(part, request("Range: bytes=-4"))
    assert covers(part, request("Range: bytes=7-"))
    assert covers(part, request("Range: bytes=7-100"))
    assert not covers(part, request("Range: bytes=-5"))


def test_a_part_of_unknown_whole_covers_nothing() -> None:
    assert not covers(partial(0, 9, None), request("Range: bytes=0-1"))


def test_a_part_that_covers_is_judged_like_any_other() -> None:
    part = partial(0, 4, 10, 'ETag: "1"')
    asked = request("Range: bytes=0-1")
    assert decision(asked, part) == Serve(part)
    assert decision(asked, part, age=60) == Validate(part, Reason.STALE)


def test_a_part_that_covers_is_preferred_to_a_newer_one_that_does_not() -> None:
    older, newer = partial(0, 4, 10, at=NOW - 5), partial(6, 9, 10)
    assert decision(request("Range: bytes=0-1"), newer, older) == Serve(older)
    whole = stored("Cache-Control: max-age=60", at=NOW - 5)
    assert decision(request(), newer, whole) == Serve(whole)


@pytest.mark.parametrize(
    ("part", "first", "last"),
    [
        (partial(0, 4, 10, 'ETag: "1"'), 5, None),
        (partial(0, 4, None, 'ETag: "1"'), 5, None),
        (partial(6, 9, 10, 'ETag: "1"'), 0, 5),
    ],
)
def test_a_missing_end_is_fetched_alone(part: StoredResponse, first: int, last: int | None) -> None:
    assert decision(request(), part) == Complete(part, first, last)


@pytest.mark.parametrize(
    ("part", "asked", "age", "reason"),
    [
        (partial(0, 4, 10), request(), 0, Reason.PARTIAL),
        (partial(0, 4, 10, 'ETag: W/"1"'), request(), 0, Reason.PARTIAL),
        (partial(2, 4, 10, 'ETag: "1"'), request(), 0, Reason.PARTIAL),
        (partial(2, 9, None, 'ETag: "1"'), request(), 0, Reason.PARTIAL),
        (partial(0, 4, 10, 'ETag: "1"'), request("Range: bytes=5-6"), 0, Reason.PARTIAL),
        (partial(0, 4, 10, 'ETag: "1"'), request(method="HEAD"), 0, Reason.PARTIAL),
        (partial(0, 4, 10, 'ETag: "1"'), request(), 60, Reason.STALE),
    ],
)
def test_parts_that_do_not_help(part: StoredResponse, asked: RequestHead, age: float, reason: Reason) -> None:
    assert decision(asked, part, age=age) == Forward(reason)


# ------------------------------------------------------------------------------------- in the place of a failure


@pytest.mark.parametrize(
    ("directives", "age", "on_error", "when_unreachable"),
    [
        # Fresh, and validated only because the request wanted it.
        ("max-age=60", 30, Reason.IF_ERROR, Reason.IF_ERROR),
        ("max-age=60, must-revalidate", 30, Reason.IF_ERROR, Reason.IF_ERROR),
        ("max-age=60", 60, None, Reason.UNREACHABLE),
        ("max-age=60", 60 + 3599, None, Reason.UNREACHABLE),
        ("max-age=60", 60 + 3600, None, None),
        ("max-age=60, stale-if-error=10", 69, Reason.IF_ERROR, Reason.IF_ERROR),
        ("max-age=60, stale-if-error=10", 70, None, None),
        ("max-age=60, stale-while-revalidate=10", 65, Reason.IF_ERROR, Reason.IF_ERROR),
        ("max-age=60, stale-while-revalidate=10", 70, None, Reason.UNREACHABLE),
        ("s-maxage=60, stale-if-error=10", 65, Reason.IF_ERROR, Reason.IF_ERROR),
        ("s-maxage=60", 60, None, None),
        ("max-age=60, must-revalidate", 60, None, None),
        ("max-age=60, must-revalidate, stale-if-error=10", 60, None, None),
        ("max-age=60, proxy-revalidate", 60, None, None),
        ("max-age=60, no-cache", 0, None, None),
    ],
)
def test_serving_instead_of_a_failure(
    directives: str, age: float, on_error: Reason | None, when_unreachable: Reason | None
) -> None:
    response = stored(f"Cache-Control: {directives}")
    assert may_serve_instead(response, NOW + age, status=503) is on_error
    assert may_serve_instead(response, NOW + age, status=None) is when_unreachable


def test_the_operator_can_open_windows_for_failures() -> None:
    response = stored("Cache-Control: max-age=60", policy=Policy(if_error=10, if_unreachable=0))
    assert may_serve_instead(response, NOW + 65, status=503) is Reason.IF_ERROR
    assert may_serve_instead(response, NOW + 75, status=None) is None


@pytest.mark.parametrize(
    ("retain", "age", "expected"),
    [(0.0, 0.0, None), (0.0, 61.0, None), (9.0, 0.0, Reason.RETAINED), (9.0, 68.0, Reason.RETAINED), (9.0, 69.0, None)],
)
def test_what_is_gone_is_replaced_only_where_it_is_retained(retain: float, age: float, expected: Reason | None) -> None:
    response = stored("Cache-Control: max-age=60", policy=Policy(retain=retain))
    for status in (404, 410):
        assert may_serve_instead(response, NOW + age, status=status) is expected
    for status in (400, 401, 403, 405, 451):
        assert may_serve_instead(response, NOW + age, status=status) is None


# -------------------------------------------------------------------------------------------------- properties


@given(asked=messages.any_requests, of=messages.any_requests, head=messages.any_response_heads)
def test_a_decision_is_made_whatever_comes(asked: RequestHead, of: RequestHead, head: ResponseHead) -> None:
    candidate = store(head, of=of)
    made = decision(asked, candidate)
    assert made.reason in Reason
    may_serve_instead(candidate, NOW, status=None)


@given(asked=messages.requests(), head=messages.response_heads())
def test_time_only_takes_away(asked: RequestHead, head: ResponseHead) -> None:
    """What may not be served without validation now may not be so later."""
    candidate = store(head, of=asked)
    served = [isinstance(decision(asked, candidate, age=age), Serve | ServeStale) for age in range(0, 60, 3)]
    assert served == sorted(served, reverse=True)


@given(asked=messages.requests(), head=messages.response_heads(statuses=[200]))
def test_the_key_is_not_the_decisions_business(asked: RequestHead, head: ResponseHead) -> None:
    candidate = store(head, of=asked)
    elsewhere = replace(candidate, uri="http://example.net/")
    assert kind(decision(asked, candidate)) == kind(decision(asked, elsewhere))


@pytest.mark.parametrize(
    ("directives", "asked", "expected"),
    [
        ("max-age=60", "stale-if-error=20", Reason.IF_ERROR),
        ("max-age=60", "stale-if-error=10", None),
        ("max-age=60", "max-stale=20", None),
        ("max-age=60, must-revalidate", "stale-if-error=20", None),
        ("s-maxage=60", "stale-if-error=20", None),
        ("max-age=60, no-cache", "stale-if-error=20", None),
    ],
)
def test_a_request_may_accept_a_stale_response_instead_of_an_error(
    directives: str, asked: str, expected: Reason | None
) -> None:
    """RFC 5861 §4."""
    response = stored(f"Cache-Control: {directives}")
    asking = request(f"Cache-Control: {asked}")
    assert may_serve_instead(response, NOW + 75, status=503, request=asking) is expected


@pytest.mark.parametrize(
    ("retain", "age", "status", "expected"),
    [
        (0, 0, 404, None),  # a reload of what is fresh here, and gone
        (0, 61, 404, None),
        (60, 0, 404, Reason.RETAINED),
        (60, 119, 410, Reason.RETAINED),
        (60, 120, 404, None),
        (60, 61, 403, None),
    ],
)
def test_only_what_is_retained_stands_in_for_what_is_gone(
    retain: float, age: float, status: int, expected: Reason | None
) -> None:
    response = stored("Cache-Control: max-age=60", policy=Policy(retain=retain))
    assert may_serve_instead(response, NOW + age, status=status) is expected
    missing = stored("Cache-Control: max-age=60", policy=Policy(retain=retain), status=404)
    assert may_serve_instead(missing, NOW + age, status=status) is None
