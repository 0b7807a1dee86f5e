from __future__ import annotations

from typing import Any

import http_sf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgecache.http.cache_control import (
    RequestDirectives,
    ResponseDirectives,
    parse_request,
    parse_response,
    parse_surrogate_control,
    parse_targeted,
)
from edgecache.http.fields import DELTA_SECONDS_MAX
from edgecache.http.message import fields_of

latin1 = st.binary(max_size=60).map(lambda octets: octets.decode("latin-1"))
directive_like = st.lists(
    st.sampled_from(
        [
            "max-age",
            "s-maxage",
            "no-store",
            "private",
            "no-cache",
            "=",
            '"',
            "\\",
            ",",
            ";",
            " ",
            "0",
            "60",
            "-",
            "?1",
            "a",
        ]
    )
).map("".join)
anything = latin1 | st.text(max_size=60) | directive_like


def response(*lines: str) -> ResponseDirectives:
    return parse_response(fields_of([("Cache-Control", line) for line in lines]))


def request(*lines: str) -> RequestDirectives:
    return parse_request(fields_of([("cache-control", line) for line in lines]))


# --------------------------------------------------------------------------------------------------- responses


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", {}),
        ("foobar, x=y", {}),
        ("no-store", {"no_store": True}),
        ("No-StorE", {"no_store": True}),
        ("no-store=1", {"no_store": True}),
        ("public, max-age=60", {"public": True, "max_age": 60}),
        ("s-maxage=5,max-age=60", {"s_maxage": 5, "max_age": 60}),
        ("MaX-aGe=3600", {"max_age": 3600}),
        ("must-revalidate, proxy-revalidate", {"must_revalidate": True, "proxy_revalidate": True}),
        ("must-understand, no-store", {"must_understand": True, "no_store": True}),
        ("no-transform, immutable", {"no_transform": True, "immutable": True}),
        ("no-cache", {"no_cache": True}),
        ("no-storex, xno-cache", {}),
    ],
)
def test_directives_of_responses(value: str, expected: dict[str, Any]) -> None:
    assert response(value) == ResponseDirectives(**expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("max-age=3600", 3600),
        ('max-age="3600"', 3600),
        (r'max-age="36\00"', 3600),
        ("max-age=003600", 3600),
        ("max-age=2147483648", DELTA_SECONDS_MAX),
        ("max-age=99999999999", DELTA_SECONDS_MAX),
        ("max-age=" + "9" * 5000, DELTA_SECONDS_MAX),
        ("max-age='3600'", 0),
        ("max-age=-3600", 0),
        ("max-age=3600.0", 0),
        ("max-age=a3600", 0),
        ("max-age=3600a", 0),
        ("max-age =3600", 0),
        ("max-age= 3600", 0),
        ('max-age=" 3600"', 0),
        ('max-age="3600', 0),
        ("max-age=3600 60", 0),
        ("max-age", 0),
        ("max-age=", 0),
        ("max-age=3600, max-age=3600", 3600),
        ("max-age=3600, max-age=1800", 0),
        ("max-age=1800, max-age=x", 0),
        ('extension="max-age=3600", max-age=1', 1),
        ('max-age=1, extension="max-age=3600"', 1),
        ('extension="max-age=3600", max-age="1"', 1),
        (r'extension="\", max-age=3600", max-age=1', 1),
        ('foo="max-age=3600"', None),
        ("foo=max-age=3600", None),
        ("x-max-age=3600", None),
    ],
)
def test_max_age(value: str, expected: int | None) -> None:
    assert response(value).max_age == expected
    assert response(value.replace("max-age", "s-maxage")).s_maxage == expected
    assert request(value).max_age == expected


def test_lines_are_one_list() -> None:
    assert response("max-age=60", "private") == ResponseDirectives(max_age=60, private=True)
    assert response("max-age=3600", "max-age=1").max_age == 0


def test_a_quote_that_is_never_closed_hides_nothing() -> None:
    assert response('foo="bar, no-store').no_store
    assert response('foo="bar', "private").private


@pytest.mark.parametrize(
    ("value", "unqualified", "names"),
    [
        ("{}", True, set()),
        ('{}="Set-Cookie"', False, {"set-cookie"}),
        ('{}="Set-Cookie, X-A ,,"', False, {"set-cookie", "x-a"}),
        ("{}=Set-Cookie", False, {"set-cookie"}),
        ('{}="a", {}="b"', False, {"a", "b"}),
        ('{}="a", {}', True, {"a"}),
        ('{}=""', True, set()),
        ("{}=", True, set()),
        ('{} ="a"', True, set()),
        ('{}="a b"', True, set()),
        ('{}="a, b c"', True, {"a"}),
        ("{}='a'", False, {"'a'"}),
        ('{}="a', True, set()),
    ],
)
def test_qualified_directives(value: str, unqualified: bool, names: set[str]) -> None:
    no_cache = response(value.replace("{}", "no-cache"))
    private = response(value.replace("{}", "private"))
    assert (no_cache.no_cache, set(no_cache.no_cache_fields)) == (unqualified, names)
    assert (private.private, set(private.private_fields)) == (unqualified, names)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{}=60", 60),
        ('{}="60"', 60),
        ("{}=60, {}=30", 30),
        ("{}=x, {}=30", 30),
        ("{}=-1", None),
        ("{}", None),
        ("{}=1.5", None),
        ("{} =60", None),
        ("{}=9999999999", DELTA_SECONDS_MAX),
    ],
)
def test_stale_windows(value: str, expected: int | None) -> None:
    assert response(value.replace("{}", "stale-while-revalidate")).stale_while_revalidate == expected
    assert response(value.replace("{}", "stale-if-error")).stale_if_error == expected
    assert request(value.replace("{}", "stale-if-error")).stale_if_error == expected


# ---------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", {}),
        ("no-store", {"no_store": True}),
        ("no-cache, no-transform", {"no_cache": True, "no_transform": True}),
        ("only-if-cached", {"only_if_cached": True}),
        ("max-age=0", {"max_age": 0}),
        ("max-stale", {"max_stale": DELTA_SECONDS_MAX}),
        ("max-stale=60", {"max_stale": 60}),
        ("max-stale, max-stale=60", {"max_stale": 60}),
        ("max-stale, max-stale", {"max_stale": DELTA_SECONDS_MAX}),
        ("max-stale=x", {}),
        ("max-stale=", {}),
        ("min-fresh=60", {"min_fresh": 60}),
        ("min-fresh=60, min-fresh=90", {"min_fresh": 90}),
        ("min-fresh", {}),
        ("min-fresh=-1", {}),
        ("stale-if-error=60", {"stale_if_error": 60}),
    ],
)
def test_directives_of_requests(value: str, expected: dict[str, Any]) -> None:
    assert request(value) == RequestDirectives(**expected)


@pytest.mark.parametrize(
    ("pairs", "no_cache"),
    [
        ([("Pragma", "no-cache")], True),
        ([("Pragma", "foo"), ("Pragma", "No-Cache")], True),
        ([("Pragma", "unrecognised-extension")], False),
        ([("Pragma", 'foo="no-cache"')], False),
        ([("Pragma", "no-cache"), ("Cache-Control", "max-age=60")], False),
        ([], False),
    ],
)
def test_pragma_counts_without_cache_control(pairs: list[tuple[str, str]], no_cache: bool) -> None:
    assert parse_request(fields_of(pairs)).no_cache is no_cache


# ---------------------------------------------------------------------------------------------------- targeted


def targeted(*lines: str) -> ResponseDirectives | None:
    return parse_targeted(fields_of([("CDN-Cache-Control", line) for line in lines]), "cdn-cache-control")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("max-age=60", {"max_age": 60}),
        ("max-age=60;foo, no-store", {"max_age": 60, "no_store": True}),
        ("max-age=60, max-age=30", {"max_age": 30}),
        ("max-age=99999999999", {"max_age": DELTA_SECONDS_MAX}),
        ("max-age=-1", {"max_age": 0}),
        ("s-maxage=5, must-revalidate=?1, public=?0", {"s_maxage": 5, "must_revalidate": True}),
        ("stale-while-revalidate=10, stale-if-error=20", {"stale_while_revalidate": 10, "stale_if_error": 20}),
        ("private", {"private": True}),
        ('private="set-cookie"', {"private_fields": {"set-cookie"}}),
        ('no-cache="A, b"', {"no_cache_fields": {"a", "b"}}),
        ("no-cache=set-cookie", {"no_cache_fields": {"set-cookie"}}),
        ('no-cache=""', {"no_cache": True}),
        ('max-age="60"', {}),
        ("max-age=60.5", {}),
        ("max-age=abc", {}),
        ("max-age", {}),
        ("no-store=1", {}),
        ("private=1, no-cache=(a b)", {}),
        ("unknown", {}),
        ("\tmax-age=60 ", {"max_age": 60}),
    ],
)
def test_targeted_fields_are_typed(value: str, expected: dict[str, Any]) -> None:
    assert targeted(value) == ResponseDirectives(**expected)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "Max-Age=60",
        "max-age=60,",
        "max-age=60,,no-store",
        "max-age=60 no-store",
        "max-age= 60",
        "max-age =60",
        "max-age='60'",
        'private="a',
        "max-age=9999999999999999",
        'private="\xe9"',
        "a=\u0100",
    ],
)
def test_a_targeted_field_with_an_error_is_as_if_absent(value: str) -> None:
    assert targeted(value) is None


def test_an_absent_targeted_field() -> None:
    assert targeted() is None


def test_lines_of_a_targeted_field_are_one_dictionary() -> None:
    assert targeted("max-age=60", "private") == ResponseDirectives(max_age=60, private=True)
    assert targeted("max-age=60", "private,") is None


@given(
    st.dictionaries(
        st.sampled_from(["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"]),
        st.integers(0, DELTA_SECONDS_MAX),
        min_size=1,
    )
)
def test_targeted_and_plain_agree_on_what_both_can_say(values: dict[str, int]) -> None:
    written = http_sf.ser({name: (value, {}) for name, value in values.items()})
    assert targeted(written) == response(written)


# ------------------------------------------------------------------------------------------- Surrogate-Control


def surrogate(*lines: str) -> ResponseDirectives | None:
    return parse_surrogate_control(fields_of([("Surrogate-Control", line) for line in lines]), "edgecache")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("max-age=3600", {"max_age": 3600}),
        ("MaX-aGe=3600", {"max_age": 3600}),
        ("max-age=99999999999", {"max_age": DELTA_SECONDS_MAX}),
        ("max-age=0", {"max_age": 0}),
        ("max-age=3600+60", {"max_age": 3600, "stale_while_revalidate": 60}),
        ("max-age=3600+60;EdgeCache", {"max_age": 3600, "stale_while_revalidate": 60}),
        ("max-age=3600+", {"max_age": 0}),
        ("max-age=3600+x", {"max_age": 0}),
        ("max-age=x", {"max_age": 0}),
        ("max-age", {"max_age": 0}),
        ("max-age =100", {"max_age": 0}),
        ("max-age= 100", {"max_age": 0}),
        ("max-age=60, max-age=30", {"max_age": 0}),
        ("foobar, max-age=3600", {"max_age": 3600}),
        ("no-store", {"no_store": True}),
        ("no-store-remote", {"no_store": True}),
        ('no-store, content="ESI/1.0"', {"no_store": True}),
        ("max-age=3600;edgecache", {"max_age": 3600}),
        ("max-age=3600;edgecache, max-age=60", {"max_age": 3600}),
        ("max-age=3600;abc, max-age=60", {"max_age": 60}),
        ("max-age=60, no-store;edgecache", {"no_store": True}),
        ("no-store, max-age=60;edgecache", {"max_age": 60}),
        ('max-age=60, content="a;edgecache"', {"max_age": 60}),
        ("max-age=60 ; abc ; edgecache", {"max_age": 60}),
    ],
)
def test_surrogate_control(value: str, expected: dict[str, Any]) -> None:
    assert surrogate(value) == ResponseDirectives(**expected)


@pytest.mark.parametrize("value", ["", "foo", 'content="ESI/1.0"', 'content="max-age=1"', "max-age=3600;not-for-you"])
def test_a_surrogate_control_that_says_nothing_to_us(value: str) -> None:
    assert surrogate(value) is None


def test_surrogate_control_over_lines() -> None:
    assert surrogate() is None
    assert surrogate("max-age=60", "no-store") == ResponseDirectives(max_age=60, no_store=True)


# ---------------------------------------------------------------------------------------------------- anything


@given(st.lists(anything, min_size=1, max_size=3))
@example(['a="' + "\\" * 51])
@example(["max-age=@9999999999999"])
def test_no_value_raises_and_every_duration_is_bounded(lines: list[str]) -> None:
    for directives in (response(*lines), targeted(*lines), surrogate(*lines)):
        if directives is not None:
            for seconds in (directives.max_age, directives.s_maxage, directives.stale_while_revalidate):
                assert seconds is None or 0 <= seconds <= DELTA_SECONDS_MAX
    asked = request(*lines)
    for seconds in (asked.max_age, asked.max_stale, asked.min_fresh, asked.stale_if_error):
        assert seconds is None or 0 <= seconds <= DELTA_SECONDS_MAX


names = st.sampled_from(["no-store", "must-revalidate", "proxy-revalidate", "public", "must-understand", "immutable"])


@given(st.lists(names), st.lists(names), latin1.filter(lambda s: "," not in s and '"' not in s))
def test_what_stands_beside_a_directive_does_not_change_it(before: list[str], after: list[str], junk: str) -> None:
    directives = response(", ".join([*before, f"x{junk}", *after]))
    for name in before + after:
        assert getattr(directives, name.replace("-", "_"))
