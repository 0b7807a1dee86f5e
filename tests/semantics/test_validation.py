from __future__ import annotations

import pytest
from hypothesis import given

from edgecache.http.message import RequestHead, ResponseHead, render_fields, render_status_line
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.reason import Reason
from edgecache.semantics.reuse import Serve, Validate, decide, may_serve_instead
from edgecache.semantics.stored import Birth, StoredResponse
from edgecache.semantics.validation import (
    NOT_UPDATED,
    completing,
    condition,
    freshen,
    head_agrees,
    merge,
    unconditional,
)
from tests.semantics import messages
from tests.semantics.build import BODY, NOW, date, partial, request, response, store, stored

LATER = NOW + 1000
CONDITIONS = [
    'If-None-Match: "9"',
    f"If-Modified-Since: {date(-9)}",
    'If-Range: "9"',
    "Range: bytes=0-1",
]


def lines(message: RequestHead | StoredResponse) -> list[str]:
    pairs = message.fields.items() if isinstance(message, RequestHead) else message.fields
    return [f"{name}: {value}" for name, value in pairs]


def freshened(
    old: StoredResponse,
    *fields: str,
    of: RequestHead | None = None,
    delay: float = 0,
    at: float = LATER,
    policy: Policy = DEFAULT,
) -> StoredResponse:
    return freshen(
        of or request(),
        old,
        response(*fields, status=304),
        policy,
        birth=Birth(b"epoch", 7),
        request_time=at - delay,
        response_time=at,
    )


# ------------------------------------------------------------------------------------------------ of one user


def test_an_update_for_one_user_adds_nothing_to_what_others_get() -> None:
    old = stored("Cache-Control: max-age=60", 'ETag: "1"', "X-Csrf: a")
    for credentials in ("Cookie: id=1", "Authorization: Basic x"):
        new = freshened(old, 'ETag: "1"', "X-Csrf: b", "X-User: 1", f"Date: {date(1000)}", of=request(credentials))
        assert ("X-Csrf", "a") in new.fields
        assert "x-user" not in {name.lower() for name, _ in new.fields}
        assert ("Date", date(1000)) in new.fields
    offered = freshened(old, "Cache-Control: public, max-age=9", "X-User: 1", of=request("Cookie: id=1"))
    assert ("X-User", "1") in offered.fields
    assert ("X-User", "1") in freshened(old, "X-User: 1").fields
    keyed = freshened(old, "X-User: 1", of=request("Cookie: id=1"), policy=Policy(key_cookies=("id",)))
    assert ("X-User", "1") in keyed.fields


def test_an_update_that_changes_the_type_is_for_one_request() -> None:
    of = request(target="/a.css")
    old = stored("Cache-Control: max-age=60", "Content-Type: text/css", of=of)
    assert freshened(old, "Content-Type: text/css", of=of).freshness.is_fresh(LATER)
    assert freshened(old, "Content-Type: text/html", of=of).freshness.must_validate


# --------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("validators", "added"),
    [
        ([], []),
        (['ETag: "1"'], ['If-None-Match: "1"']),
        (['ETag: W/"1"'], ['If-None-Match: W/"1"']),
        ([f"Last-Modified: {date(-5)}"], [f"If-Modified-Since: {date(-5)}"]),
        (['ETag: "1"', f"Last-Modified: {date(-5)}"], ['If-None-Match: "1"', f"If-Modified-Since: {date(-5)}"]),
        (["ETag: as-received"], ["If-None-Match: as-received"]),
    ],
)
def test_the_stored_validators_are_the_only_conditions(validators: list[str], added: list[str]) -> None:
    asked = request("X: 1", *CONDITIONS, "Cookie: id=1", target="/p", method="QUERY")
    sent = condition(asked, stored(*validators))
    assert lines(sent) == ["X: 1", "Cookie: id=1", *added]
    assert (sent.method, sent.target_uri) == ("QUERY", "http://example.com/p")


def test_what_fills_a_store_is_asked_without_conditions() -> None:
    assert lines(unconditional(request("X: 1", *CONDITIONS, "X: 2"))) == ["X: 1", "X: 2"]


@pytest.mark.parametrize(("first", "last", "value"), [(5, None, "bytes=5-"), (0, 3, "bytes=0-3")])
def test_missing_bytes_are_asked_of_the_same_representation(first: int, last: int | None, value: str) -> None:
    sent = completing(request("X: 1", *CONDITIONS), partial(0, 4, 10, 'ETag: "1"'), first, last)
    assert lines(sent) == ["X: 1", f"Range: {value}", 'If-Range: "1"']


# ------------------------------------------------------------------------------------------------------- merging


@pytest.mark.parametrize("name", sorted(NOT_UPDATED))
def test_what_describes_the_stored_bytes_stays(name: str) -> None:
    assert merge([(name, "stored")], response(f"{name.title()}: new", status=304)) == [(name, "stored")]
    assert merge([], response(f"{name}: new", status=304)) == []


@pytest.mark.parametrize(
    ("stored_lines", "answer", "merged"),
    [
        (["A: 1"], [], ["A: 1"]),
        (["A: 1"], ["a: 2"], ["a: 2"]),
        (["A: 1", "A: 2", "B: 3"], ["A: 4"], ["B: 3", "A: 4"]),
        (["A: 1"], ["B: 2", "B: 3"], ["A: 1", "B: 2", "B: 3"]),
        (["Content-Type: text/plain"], ["Content-Type: text/html"], ["Content-Type: text/html"]),
        (["Cache-Control: max-age=1", "Cache-Control: public"], ["Cache-Control: max-age=2"],
         ["Cache-Control: max-age=2"]),
    ],
)  # fmt: skip
def test_each_field_is_replaced_whole(stored_lines: list[str], answer: list[str], merged: list[str]) -> None:
    pairs = merge(response(*stored_lines).fields.items(), response(*answer, status=304))
    assert [f"{name}: {value}" for name, value in pairs] == merged


# ---------------------------------------------------------------------------------------------------- freshening


def test_freshening_keeps_what_was_stored_and_judges_it_anew() -> None:
    asked = request("Accept: a", target="/p")
    old = stored(
        "Cache-Control: max-age=60", 'ETag: "1"', "Vary: Accept", "Age: 50", "X: old", 'Cache-Groups: "g"', of=asked
    )
    new = freshened(old, "Cache-Control: max-age=90", f"Date: {date(1000)}", "X: new", "Age: 5", "Vary: *", delay=2)
    assert (new.key, new.uri, new.status, new.selecting) == (old.key, old.uri, old.status, old.selecting)
    assert new.body is old.body
    assert (new.validators, new.content_range) == (old.validators, None)
    assert (new.birth, new.response_time) == (Birth(b"epoch", 7), LATER)
    assert (new.freshness.lifetime, new.freshness.age(LATER)) == (90, 7)
    assert new.tags == {"group http://example.com/g"}
    assert sorted(lines(new)) == sorted(
        [
            'ETag: "1"',
            "Vary: Accept",
            "Via: 1.1 edgecache",
            "Cache-Control: max-age=90",
            f"Date: {date(1000)}",
            "X: new",
            'Cache-Groups: "g"',
        ]
    )
    assert new.rendered == render_status_line(200) + render_fields(new.fields)


def test_a_part_stays_a_part() -> None:
    old = partial(0, 4, 10, 'ETag: "1"')
    new = freshened(old)
    assert (new.status, new.content_range, new.body) == (206, old.content_range, old.body)


def test_a_bare_304_starts_the_lifetime_again() -> None:
    new = freshened(stored("Cache-Control: max-age=60", 'ETag: "1"', f"Date: {date()}"), 'ETag: "1"')
    assert (new.freshness.lifetime, new.freshness.age(LATER)) == (60, 0)
    assert f"Date: {date(1000)}" in lines(new)


def test_expires_is_measured_from_the_answer_that_brought_it() -> None:
    old = stored(f"Expires: {date(10)}", 'ETag: "1"', f"Date: {date()}")
    assert freshened(old, f"Expires: {date(1010)}").freshness.lifetime == 10
    assert freshened(old).freshness.lifetime == 0


def test_a_cookie_in_a_304_is_nobody_elses() -> None:
    old = stored("Cache-Control: max-age=60", 'ETag: "1"')
    assert "set-cookie" not in freshened(old, "Set-Cookie: id=1").head().fields
    unsafe = Policy(unsafe_store_set_cookie=True)
    assert freshened(old, "Set-Cookie: id=1", policy=unsafe).head().fields["set-cookie"] == "id=1"


@pytest.mark.parametrize(
    ("of", "line"),
    [
        (request(), "Cache-Control: private, max-age=60"),
        (request(), "Cache-Control: no-store, max-age=60"),
        (request(), "CDN-Cache-Control: private, max-age=60"),
        (request(), f'Cache-Groups: "{"x" * 129}"'),
        (request("Authorization: Basic x"), "Cache-Control: max-age=60"),
    ],
)
def test_an_answer_that_may_not_be_stored_is_for_one_request(of: RequestHead, line: str) -> None:
    old = stored("Cache-Control: max-age=60, stale-if-error=60", 'ETag: "1"')
    new = freshened(old, line, of=of)
    assert line in lines(new)
    assert new.body is old.body
    assert decide(request(), [new], DEFAULT, LATER) == Validate(new, Reason.NO_CACHE)
    assert may_serve_instead(new, LATER, status=None) is None
    assert new.freshness.discard_at <= LATER


@pytest.mark.parametrize(
    ("of", "line"),
    [
        (request("Authorization: Basic x"), "Cache-Control: public, max-age=60"),
        (request(), "Cache-Control: max-age=60, must-understand, no-store"),
        (request(), 'Cache-Control: max-age=60, private="X-User"'),
        (request("Cookie: id=1"), "Cache-Control: max-age=60"),
    ],
)
def test_an_answer_that_may_be_stored_is_for_all(of: RequestHead, line: str) -> None:
    new = freshened(stored("Cache-Control: max-age=5", 'ETag: "1"'), line, of=of)
    assert decide(request(), [new], DEFAULT, LATER + 59) == Serve(new)


@pytest.mark.parametrize("skew", [-5000, 5000])
def test_an_origin_with_a_wrong_clock_loses_nothing(skew: float) -> None:
    old = stored("Cache-Control: max-age=60", 'ETag: "1"', f"Date: {date(skew)}")
    assert freshened(old, f"Date: {date(1000 + skew)}").freshness.age(LATER) == 0


@pytest.mark.parametrize(
    ("before", "after", "via"),
    [
        ([], [], ["1.1 edgecache"]),
        (["Via: 1.1 inner"], [], ["1.1 inner", "1.1 edgecache"]),
        ([], ["Via: 1.1 inner"], ["1.1 inner", "1.1 edgecache"]),
        (["Via: 1.1 inner"], ["Via: 1.1 other"], ["1.1 other", "1.1 edgecache"]),
    ],
)
def test_we_are_in_via_exactly_once(before: list[str], after: list[str], via: list[str]) -> None:
    new = freshened(stored('ETag: "1"', *before), *after)
    assert new.head().fields.getall("via") == via
    assert freshened(new).head().fields.getall("via") == via


@given(of=messages.any_requests, head=messages.any_response_heads, answer=messages.any_response_heads)
def test_freshening_keeps_selecting_and_body_whatever_comes(
    of: RequestHead, head: ResponseHead, answer: ResponseHead
) -> None:
    old = store(head, of=of)
    new = freshen(of, old, answer, DEFAULT, birth=old.birth, request_time=LATER, response_time=LATER)
    assert (new.key, new.selecting, new.status, new.content_range) == (
        old.key,
        old.selecting,
        old.status,
        old.content_range,
    )
    assert (new.body, new.validators.etag) == (old.body, old.validators.etag)
    assert {"age", "content-length"}.isdisjoint(name.lower() for name, _ in new.fields)
    assert "date" in new.head().fields


# ----------------------------------------------------------------------------------------------------------- HEAD


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        ([], 200, True),
        (['ETag: "1"', f"Last-Modified: {date(-5)}", f"Content-Length: {len(BODY)}"], 200, True),
        (['ETag: "2"'], 200, False),
        (['ETag: W/"1"'], 200, False),
        ([f"Last-Modified: {date(-4)}"], 200, False),
        (["Content-Length: 11"], 200, False),
        (["Content-Length: ten"], 200, False),
        ([], 404, False),
    ],
)
def test_an_answer_to_head_agrees(answer: list[str], status: int, expected: bool) -> None:
    """RFC 9111 §4.3.5."""
    old = stored('ETag: "1"', f"Last-Modified: {date(-5)}")
    assert head_agrees(old, response(*answer, status=status)) is expected


def test_a_validator_that_was_not_there_before_does_not_agree() -> None:
    assert not head_agrees(stored(), response('ETag: "1"'))
    assert not head_agrees(stored(), response(f"Last-Modified: {date()}"))
    assert head_agrees(stored(), response("Content-Length: 10"))
