from __future__ import annotations

import pytest
from hypothesis import given

from edgecache.http.message import RequestHead, ResponseHead, fields_of
from edgecache.http.ranges import ContentRange
from edgecache.semantics.freshness import assess, govern
from edgecache.semantics.policy import DEFAULT, Policy, Strategy
from edgecache.semantics.presenting import consumed_fields
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Selecting
from edgecache.semantics.storing import UNDERSTOOD, answers_a_get, objections, of_partial, refusal_of_body
from edgecache.stores.body import MemoryBody
from tests.semantics import messages
from tests.semantics.build import BIRTH, BODY, NOW, date, refusal, request, response, stored

FRESH = "Cache-Control: max-age=60"
GROUPS = "Cache-Groups: " + ", ".join(f'"{n}"' for n in range(129))

# -------------------------------------------------------------------------------------------- refused, and why


@pytest.mark.parametrize(
    ("reason", "lines", "status", "of"),
    [
        (Reason.METHOD, [FRESH], 200, request(method="HEAD")),
        (Reason.METHOD, [FRESH], 200, request(method="POST")),
        (Reason.METHOD, [FRESH], 200, request(method="get")),
        (Reason.STATUS, [FRESH], 101, request()),
        (Reason.STATUS, [FRESH], 304, request()),
        *((Reason.STATUS, [FRESH], status, request()) for status in (408, 412, 416, 417, 421, 425, 428, 429, 431, 511)),
        (Reason.STATUS, [], 302, request()),
        (Reason.STATUS, [f"Last-Modified: {date()}"], 500, request()),
        (Reason.NOT_UNDERSTOOD, ["Cache-Control: max-age=60, must-understand"], 299, request()),
        (Reason.NOT_UNDERSTOOD, ["Cache-Control: max-age=60, must-understand, no-store"], 599, request()),
        (Reason.CONTENT_RANGE, [FRESH], 206, request()),
        (Reason.CONTENT_RANGE, [FRESH, "Content-Range: bytes 5-4/10"], 206, request()),
        (Reason.CONTENT_RANGE, [FRESH, "Content-Range: bytes 0-9/10", "Content-Range: bytes 0-9/10"], 206, request()),
        (Reason.CONTENT_RANGE, [FRESH, "Content-Range: lines 0-9/10"], 206, request()),
        (Reason.NO_STORE, [FRESH, "Cache-Control: no-store"], 200, request()),
        (Reason.PRIVATE, [FRESH, "Cache-Control: private"], 200, request()),
        (Reason.PRIVATE, ["Cache-Control: max-age=60, private, must-understand, no-store"], 200, request()),
        (Reason.REQUEST_NO_STORE, [FRESH], 200, request("Cache-Control: no-store")),
        (Reason.REQUEST_NO_STORE, ["Cache-Control: max-age=60, must-understand, no-store"], 200,
         request("Cache-Control: no-store")),
        (Reason.VARY_STAR, [FRESH, "Vary: *"], 200, request()),
        (Reason.VARY_STAR, [FRESH, "Vary: Accept", "Vary: X, *"], 200, request()),
        (Reason.TOO_MANY_TAGS, [FRESH, GROUPS], 200, request()),
        (Reason.TOO_MANY_TAGS, [FRESH, f'Cache-Groups: "{"x" * 129}"'], 200, request()),
        (Reason.AUTHORIZATION, [FRESH], 200, request("Authorization: Basic x")),
        (Reason.SET_COOKIE, [FRESH, "Set-Cookie: id=1"], 200, request()),
        (Reason.SET_COOKIE, ["Cache-Control: public, max-age=60", "Set-Cookie: id=1"], 200, request()),
        (Reason.SET_COOKIE, ['Cache-Control: max-age=60, no-cache="Set-Cookie"', "Set-Cookie: id=1"], 200, request()),
        (Reason.REQUEST_COOKIE, ['ETag: "1"'], 200, request("Cookie: id=1")),
        (Reason.REQUEST_COOKIE, [f"Last-Modified: {date(-100)}"], 200, request("Cookie: id=1")),
        # A lifetime that is over is none: whether another user's is still the same, Last-Modified does not tell.
        (Reason.REQUEST_COOKIE, ["Cache-Control: max-age=0", f"Last-Modified: {date(-100)}"], 200,
         request("Cookie: id=1")),
        (Reason.REQUEST_COOKIE, ["Expires: 0", 'ETag: "1"'], 200, request("Cookie: id=1")),
        (Reason.REQUEST_COOKIE, [f"Expires: {date(-1)}", 'ETag: "1"'], 200, request("Cookie: id=1")),
        (Reason.REQUEST_COOKIE, ["Cache-Control: s-maxage=0, max-age=60", 'ETag: "1"'], 200, request("Cookie: id=1")),
        (Reason.NO_FRESHNESS, [], 200, request()),
        (Reason.NO_FRESHNESS, ["Cache-Control: max-age=0"], 200, request()),
        (Reason.NO_FRESHNESS, [FRESH, "Age: unbelievable"], 200, request()),
        (Reason.NO_FRESHNESS, ["Cache-Control: no-cache"], 200, request()),
        # Fresh or not, it would have to be validated, and cannot be.
        (Reason.NO_FRESHNESS, ["Cache-Control: no-cache, max-age=60"], 200, request()),
        (Reason.NO_FRESHNESS, ["Cache-Control: max-age=0, must-revalidate, stale-if-error=60"], 200, request()),
    ],
)  # fmt: skip
def test_refused(reason: Reason, lines: list[str], status: int, of: RequestHead) -> None:
    assert refusal(*lines, status=status, of=of) is reason


@pytest.mark.parametrize(
    ("lines", "status", "of"),
    [
        ([FRESH], 200, request()),
        ([FRESH], 200, request(method="QUERY")),
        ([FRESH], 302, request()),
        ([FRESH], 503, request()),
        ([FRESH], 599, request()),
        (["Cache-Control: public", 'ETag: "1"'], 302, request()),
        ([f"Expires: {date(60)}"], 200, request()),
        ([f"Last-Modified: {date(-100)}"], 404, request()),
        (['ETag: "1"'], 200, request()),
        (["Cache-Control: max-age=0", 'ETag: "1"'], 200, request()),
        (["Cache-Control: no-cache", 'ETag: "1"'], 200, request()),
        (["Cache-Control: stale-while-revalidate=60"], 200, request()),
        (["Cache-Control: stale-if-error=60"], 200, request()),
        ([FRESH, "Content-Range: bytes 0-4/10"], 206, request()),
        ([FRESH, "Vary: Accept, Accept-Encoding"], 200, request()),
        ([FRESH, 'Cache-Groups: "a", "b"'], 200, request()),
        ([FRESH, 'Cache-Groups: not, a; list of " strings'], 200, request()),
        ([FRESH], 200, request("Cookie: id=1")),
        (["Cache-Control: public", 'ETag: "1"'], 200, request("Cookie: id=1")),
        # Understood, so no-store is not meant for us (§5.2.2.3).
        (["Cache-Control: max-age=60, must-understand, no-store"], 200, request()),
        # Only some fields are.
        (['Cache-Control: max-age=60, private="X-User"', "X-User: 7"], 200, request()),
        # Cache-Control is for others when a targeted field speaks to us (RFC 9213 §2.2).
        (["CDN-Cache-Control: max-age=60", "Cache-Control: no-store, private"], 200, request()),
        (["Surrogate-Control: max-age=60", "Cache-Control: no-store"], 200, request()),
    ],
)
def test_stored(lines: list[str], status: int, of: RequestHead) -> None:
    assert refusal(*lines, status=status, of=of) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("CDN-Cache-Control: max-age=60, no-store", Reason.NO_STORE),
        ("CDN-Cache-Control: max-age=60, private", Reason.PRIVATE),
        ("Surrogate-Control: max-age=60, no-store", Reason.NO_STORE),
        ("Surrogate-Control: no-store-remote", Reason.NO_STORE),
    ],
)
def test_a_targeted_field_can_forbid_what_cache_control_allows(line: str, reason: Reason) -> None:
    assert refusal(line, "Cache-Control: public, max-age=60", 'ETag: "1"') is reason


def test_must_understand() -> None:
    """What RFC 9110 §15 defines and does not deprecate, less what answers one request only."""
    lines = ["Cache-Control: max-age=60, must-understand, no-store", "Content-Range: bytes 0-9/10"]
    reasons = {status: refusal(*lines, status=status) for status in range(200, 600)}
    understood = {status for status, reason in reasons.items() if reason is None}
    assert understood == {
        *range(200, 207),
        *(300, 301, 302, 303, 307, 308),
        *(400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 413, 414, 415, 422, 426),
        *range(500, 506),
    }
    assert set(reasons.values()) == {None, Reason.NOT_UNDERSTOOD, Reason.STATUS}


@pytest.mark.parametrize(
    ("directives", "is_shared"),
    [
        ("max-age=60", False),
        ("max-age=60, public", True),
        ("max-age=60, must-revalidate", True),
        ("max-age=0, must-revalidate", False),
        ("must-revalidate", False),
        ("s-maxage=0", True),
        ("s-maxage=60", True),
        ("s-maxage=0, max-age=60", True),
        ("max-age=60, proxy-revalidate", False),
        ("max-age=60, immutable", False),
    ],
)
def test_authorization(directives: str, is_shared: bool) -> None:
    """RFC 9111 §3.5."""
    reason = refusal(f"Cache-Control: {directives}", 'ETag: "1"', of=request("Authorization: Bearer x"))
    assert reason is (None if is_shared else Reason.AUTHORIZATION)


def test_permission_to_share_comes_from_the_field_that_governs() -> None:
    lines = ["CDN-Cache-Control: max-age=60", "Cache-Control: public"]
    assert refusal(*lines, of=request("Authorization: Bearer x")) is Reason.AUTHORIZATION
    lines = ["CDN-Cache-Control: max-age=60, public", "Cache-Control: private"]
    assert refusal(*lines, of=request("Authorization: Bearer x")) is None


RULES = [
    Policy(edge_ttl=60.0),
    Policy(default_ttl=60.0),
    Policy(strategy=Strategy.IMMUTABLE),
    Policy(strategy=Strategy.IMMUTABLE, edge_ttl=60.0, browser_ttl=60.0),
]
"""What rules can do for a lifetime."""

SAYS_NOTHING = [
    [],
    ['ETag: "1"'],
    ["Cache-Control: max-age=0"],
    ["Cache-Control: max-age=0, must-revalidate"],
    ["Cache-Control: must-revalidate"],
    ["Expires: 0"],
    [f"Expires: {date(-1)}"],
    ["Cache-Control: immutable"],
    ["Cache-Control: s-maxage=0"],
]
"""What is no leave to give a response to others."""


@pytest.mark.parametrize("lines", SAYS_NOTHING)
@pytest.mark.parametrize("policy", RULES)
def test_a_rule_gives_no_leave_to_share_what_may_be_one_users(policy: Policy, lines: list[str]) -> None:
    assert refusal(*lines, of=request("Cookie: id=1"), policy=policy) is Reason.REQUEST_COOKIE
    if policy.edge_ttl or not lines:
        assert refusal(*lines, of=request("Authorization: x"), policy=policy) is Reason.AUTHORIZATION
        assert refusal(*lines, policy=policy) is None
    assert refusal("Cache-Control: public, max-age=0", of=request("Cookie: id=1"), policy=RULES[0]) is None
    assert refusal("Cache-Control: s-maxage=1", of=request("Authorization: x"), policy=RULES[0]) is None


def test_set_cookie_is_stored_only_by_an_unsafe_switch() -> None:
    policy = Policy(unsafe_store_set_cookie=True)
    assert refusal(FRESH, "Set-Cookie: id=1", policy=policy) is None
    assert refusal("Cache-Control: private, max-age=60", "Set-Cookie: id=1", policy=policy) is Reason.PRIVATE


# ------------------------------------------------------------------------------------------------ POST and 206


@pytest.mark.parametrize(
    ("lines", "status", "method", "expected"),
    [
        ([FRESH, "Content-Location: /form"], 200, "POST", True),
        ([FRESH, "Content-Location: http://example.com/form"], 201, "POST", True),
        ([f"Expires: {date(60)}", "Content-Location: /form"], 200, "POST", True),
        ([FRESH], 200, "POST", False),
        ([FRESH, "Content-Location: /other"], 200, "POST", False),
        ([FRESH, "Content-Location: /form", "Content-Location: /form"], 200, "POST", False),
        ([FRESH, "Content-Location: https://example.com/form"], 200, "POST", False),
        (["Content-Location: /form", f"Last-Modified: {date(-100)}"], 200, "POST", False),
        ([FRESH, "Content-Location: /form"], 303, "POST", False),
        ([FRESH, "Content-Location: /form"], 404, "POST", False),
        ([FRESH, "Content-Location: /form"], 200, "PUT", False),
        ([FRESH, "Content-Location: /form"], 200, "PATCH", False),
    ],
)
def test_a_post_can_answer_later_gets(lines: list[str], status: int, method: str, expected: bool) -> None:
    """RFC 9110 §9.3.3."""
    asked, head = request(method=method, target="/form"), response(*lines, status=status)
    assert answers_a_get(asked, head, govern(head.fields, DEFAULT)) is expected
    assert refusal(*lines, status=status, of=asked) is (None if expected else Reason.METHOD)


@pytest.mark.parametrize(
    ("lines", "status", "size", "reason"),
    [
        ([], 200, 100, None),
        ([], 200, 101, Reason.TOO_LARGE),
        (["Content-Range: bytes 0-4/10"], 206, 5, None),
        (["Content-Range: bytes 0-4/10"], 206, 4, Reason.CONTENT_RANGE),
        (["Content-Range: bytes 0-4/10"], 206, 6, Reason.CONTENT_RANGE),
        (["Content-Range: bytes 0-4/*"], 206, 5, None),
        (["Content-Range: bytes 0-4/10"], 200, 10, None),
        (["Content-Range: bytes 0-199/200"], 206, 200, Reason.TOO_LARGE),
    ],
)
def test_bodies(lines: list[str], status: int, size: int, reason: Reason | None) -> None:
    assert refusal_of_body(response(*lines, status=status), size, Policy(max_object=100)) is reason


def test_what_part_is_held() -> None:
    line = "Content-Range: bytes 2-4/10"
    assert of_partial(response(line, status=206)) == ContentRange(2, 4, 10)
    assert of_partial(response(line, status=200)) is None
    assert stored(FRESH, line, status=206).content_range == ContentRange(2, 4, 10)


# ------------------------------------------------------------------------------------------------ what is kept


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["X: 1", "x: 2", "Age: 9", "Content-Length: 10"], ["X: 1", "x: 2"]),
        # Kept for a 304 that does not repeat them; what clients see is ``rendered``.
        (["Surrogate-Control: max-age=60"], ["Surrogate-Control: max-age=60"]),
        (["Edgecache-Cache-Control: max-age=60"], ["Edgecache-Cache-Control: max-age=60"]),
        (['Cache-Control: private="X-User, x-id"', "X-User: 7", "X-Id: 7"], ['Cache-Control: private="X-User, x-id"']),
        (['Cache-Control: no-cache="X-User"', "x-user: 7"], ['Cache-Control: no-cache="X-User"']),
        (["Via: 1.1 inner", "Warning: 199 - x"], ["Via: 1.1 inner", "Warning: 199 - x"]),
        (["Via: 1.1 edgecache"], ["Via: 1.1 edgecache"]),  # another of the same name, nearer to the origin
    ],
)
def test_kept_fields(lines: list[str], kept: list[str]) -> None:
    response = stored(f"Date: {date(-5)}", *lines)
    expected = [f"Date: {date(-5)}", *kept, "Via: 1.1 edgecache"]
    assert [f"{name}: {value}" for name, value in response.fields] == expected


def test_fields_for_this_cache_alone_are_shown_to_nobody() -> None:
    mine = ["Surrogate-Control: max-age=60", "Edgecache-Cache-Control: max-age=60"]
    rendered = stored(*mine, "CDN-Cache-Control: max-age=6").rendered
    assert b"Surrogate-Control" not in rendered
    assert b"Edgecache-Cache-Control" not in rendered
    assert b"CDN-Cache-Control: max-age=6\r\n" in rendered


def test_fields_for_this_cache_alone_end_here() -> None:
    tags = {"surrogate-key", "cache-tag", "edge-cache-tag", "xkey", "x-cache-tags", "cache-tags"}
    always = {"edgecache-release"}
    assert consumed_fields(DEFAULT) == {"surrogate-control", "edgecache-cache-control", *tags} | always
    assert consumed_fields(Policy(targeted_fields=(), tag_fields=("Tag",))) == {"surrogate-control", "tag"} | always
    mine = Policy(targeted_fields=("Mine", "CDN-Cache-Control"), tag_fields=(), surrogate_control=False)
    assert consumed_fields(mine) == {"mine"} | always


def test_date_is_added_when_the_origin_sent_none() -> None:
    assert stored(FRESH).fields == (("Cache-Control", "max-age=60"), ("Date", date()), ("Via", "1.1 edgecache"))


def test_made_from_the_whole_exchange() -> None:
    lines = [FRESH, 'ETag: "1"', f"Last-Modified: {date(-9)}", "Vary: X-B, x-a", 'Cache-Groups: "g"', f"Date: {date()}"]
    made = stored(*lines, of=request("X-A: 1 , 2", target="/p"), delay=2)
    assert made.key == made.uri == "http://example.com/p"
    assert made.status == 200
    assert made.freshness.generated_at == NOW - 2
    assert (made.validators.etag, made.validators.last_modified) == ('"1"', date(-9))
    assert (made.selecting.names, made.selecting.values) == (("x-a", "x-b"), ("1,2", None))
    assert made.tags == {"group http://example.com/g"}
    assert (made.birth, made.response_time, made.body.size) == (BIRTH, NOW, len(BODY))
    assert isinstance(made.body, MemoryBody)
    assert made.rendered.startswith(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n")
    assert made.rendered.endswith(b"\r\nVia: 1.1 edgecache\r\n")


def test_vary_star_selects_nothing_by_name() -> None:
    assert stored("Vary: *").selecting == Selecting()


# -------------------------------------------------------------------------------------------------- properties


@given(of=messages.any_requests, head=messages.any_response_heads, policy=messages.policies)
def test_nothing_personal_is_stored_whatever_else_the_message_says(
    of: RequestHead, head: ResponseHead, policy: Policy
) -> None:
    governing = govern(head.fields, policy)
    numbers = assess(head, governing, policy, request_time=NOW, response_time=NOW)
    if objections(of, head, governing, numbers, policy):
        return
    directives = governing.directives
    assert not directives.private
    assert not directives.no_store or (directives.must_understand and head.status in UNDERSTOOD)
    assert "set-cookie" not in head.fields
    assert "authorization" not in of.fields or (
        directives.public or directives.must_revalidate or directives.s_maxage is not None
    )
    assert of.method in ("GET", "QUERY") or answers_a_get(of, head, governing)
    assert "no-store" not in ",".join(of.fields.getall("cache-control", [])).lower().replace(" ", "").split(",")


@given(of=messages.any_requests, head=messages.any_response_heads)
def test_a_forbidding_line_forbids_whatever_stands_beside_it(of: RequestHead, head: ResponseHead) -> None:
    policy = Policy(targeted_fields=(), surrogate_control=False)
    for name, value in [("Cache-Control", "private"), ("Set-Cookie", "id=1"), ("Vary", "*")]:
        worse = head.fields.copy()
        # First, lest an unclosed quoted string before it swallow it.
        lines = [value, *worse.popall(name, [])]
        worse.extend((name, line) for line in lines)
        forbidden = ResponseHead(head.status, fields_of(worse.items()))
        governing = govern(forbidden.fields, policy)
        numbers = assess(forbidden, governing, policy, request_time=NOW, response_time=NOW)
        assert objections(of, forbidden, governing, numbers, policy)
