"""Scripts of origins that several stories begin with, and the questions that go with them."""

from __future__ import annotations

from typing import Final

from edgecache.http.message import Pair
from edgecache.http.ranges import parse_range, resolve
from tests.scenarios.conftest import RunningEdge
from tests.scenarios.rig import ClientResponse, FieldsLike, Received, Reply, Script

__all__ = ["CONTENT", "FRESH", "TAGGED", "bodies", "numbered", "ranged", "representation", "validating"]

FRESH: Final = {"Cache-Control": "max-age=60"}
TAGGED: Final = {**FRESH, "ETag": '"1"'}
CONTENT: Final = bytes(range(256)) * 2


def numbered(*fields: Pair, status: int = 200) -> Script:
    """Answer each request with its number."""
    return lambda request: Reply(status, fields, b"answer %d" % request.number)


def validating(*fields: Pair, etag: str = '"1"') -> Script:
    """Answer 304 to whoever has ``etag``, else the whole; ``Request`` is the number of the request."""

    def script(request: Received) -> Reply:
        given = (("ETag", etag), ("Request", str(request.number)), *fields)
        return Reply(304, given) if request.fields.get("if-none-match") == etag else Reply(200, given, b"content")

    return script


def representation(content: bytes = CONTENT, fields: dict[str, str] | None = None) -> Script:
    """Serve ``content`` as an origin that knows single ranges, If-Range and If-None-Match."""
    given = TAGGED if fields is None else fields
    etag = given.get("ETag")

    def script(request: Received) -> Reply:
        if etag is not None and request.fields.get("if-none-match") == etag:
            return Reply(304, given)
        specs = parse_range(request.fields.get("range", ""))
        if specs is None or request.fields.get("if-range", etag) != etag or request.method != "GET":
            return Reply(200, given, content)
        wanted = resolve(specs, len(content))
        if not wanted:
            return Reply(416, {"Content-Range": f"bytes */{len(content)}"})
        ((first, last),) = wanted
        return Reply(206, {**given, "Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1])

    return script


async def bodies(edge: RunningEdge, *fields: FieldsLike) -> list[bytes]:
    """Ask for ``/a`` once with each of ``fields``; return the contents."""
    return [(await edge.fetch("/a", fields=each)).body for each in fields]


async def ranged(edge: RunningEdge, value: str, more: dict[str, str] | None = None) -> ClientResponse:
    """Ask for a range of ``/a``."""
    return await edge.fetch("/a", fields={"Range": value, **(more or {})})
