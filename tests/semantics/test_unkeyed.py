"""Fields of a request that may change the response and select nothing."""

from __future__ import annotations

import pytest

from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.unkeyed import KNOWN, doubtful, reflects_origin
from tests.semantics.build import fields

BROWSERS = """
Host: example.com
Connection: keep-alive
sec-ch-ua: "Chromium";v="130"
sec-ch-ua-mobile: ?0
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0
Accept: text/html
Sec-Fetch-Site: none
Sec-Fetch-Mode: navigate
Sec-GPC: 1
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en
Cookie: a=1
If-None-Match: "1"
If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT
DNT: 1
Priority: u=0, i
Range: bytes=0-
Origin: https://example.com
X-Forwarded-For: 10.0.0.1
Forwarded: for=10.0.0.1
traceparent: 00-0-0-0
CF-Ray: 1
X-B3-TraceId: 1
"""


def test_what_browsers_and_proxies_send_is_known() -> None:
    lines = [line for line in BROWSERS.strip().splitlines() if not line.startswith("Connection")]
    assert doubtful(fields(lines), DEFAULT) == ()


@pytest.mark.parametrize(
    "name",
    [
        *("X-Host", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Forwarded-Scheme"),
        *("X-Forwarded-Server", "X-Forwarded-Prefix", "X-Api-Key", "X-Auth-Token", "X-Amz-Security-Token"),
        *("X-Debug", "X-Requested-With", "X-Country", "Transformation", "Sec", "X-Wap-Profile"),
    ],
)
def test_whatever_else_is_sent_is_doubtful(name: str) -> None:
    assert doubtful(fields([f"{name}: x", "Accept: y"]), DEFAULT) == (name.lower(),)


def test_what_selects_or_is_part_of_the_key_or_is_known_to_the_operator_is_not() -> None:
    asked = fields(["X-A: 1", "X-B: 2", "X-C: 3", "X-D: 4"])
    policy = Policy(key_fields=("x-b",), known_fields=("x-c",))
    assert doubtful(asked, policy, varied=("x-a",)) == ("x-d",)


def test_each_line_of_a_name_counts() -> None:
    assert set(doubtful(fields(["X-A: 1", "x-a: 2"]), DEFAULT)) == {"x-a"}


def test_names_are_compared_in_lower_case() -> None:
    assert all(name == name.lower() for name in KNOWN)
    assert doubtful(fields(["ACCEPT: x", "SEC-CH-UA: y"]), DEFAULT) == ()


@pytest.mark.parametrize(
    ("request_lines", "response_lines", "varied", "reflects"),
    [
        (["Origin: https://a"], ["Access-Control-Allow-Origin: https://a"], (), True),
        (["Origin: https://a"], ["Access-Control-Allow-Origin: https://a"], ("origin",), False),
        (["Origin: https://a"], ["Access-Control-Allow-Origin: *"], (), False),
        (["Origin: https://a"], ["Access-Control-Allow-Origin: https://b"], (), False),
        (["Origin: https://a"], [], (), False),
        ([], ["Access-Control-Allow-Origin: https://a"], (), False),
    ],
)
def test_what_is_for_pages_of_one_origin_alone(
    request_lines: list[str], response_lines: list[str], varied: tuple[str, ...], reflects: bool
) -> None:
    assert reflects_origin(fields(request_lines), fields(response_lines), varied) is reflects
