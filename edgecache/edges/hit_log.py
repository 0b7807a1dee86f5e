"""Lines of the access log for the hit lane: the same lines, made of what does not change from hit to hit.

A line of text ends with what a client says of itself, and its connection says the same again and again; so the end of
the line rests with the header section. JSON is made as for everybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgecache.edges.access_log import FORMATS, LineWriter, common_line, escaped, how, who
from edgecache.edges.finished import Aborted, Finished
from edgecache.edges.lane import Hit, HitLog, Section
from edgecache.engine.exchange import Request
from edgecache.http.message import RequestHead
from edgecache.semantics.reason import Reason

__all__ = ["hit_log"]

_HIT: Final = how("hit", Reason.FRESH, 0.0)


def hit_log(writer: LineWriter, format_name: str) -> HitLog:
    """Return what writes a line in one of ``FORMATS`` for each answer of the lane."""
    if (end := _ENDS.get(format_name)) is not None:
        return lambda hit: writer.write(_text(hit, end))
    line = FORMATS[format_name]
    return lambda hit: writer.write(line(_finished(hit), hit.now))


def _text(hit: Hit, end: Callable[[Section], str]) -> str:
    section, reply = hit.section, hit.reply
    if section.line_end is None:
        section.line_end = end(section)
    request = escaped(hit.line[:-2].decode("latin-1"))
    return common_line(hit.peer, int(hit.now), request, reply.status, reply.length) + section.line_end


_ENDS: Final[dict[str, Callable[[Section], str]]] = {
    "common": lambda _: "",
    "combined": lambda section: who(section.field("referer"), section.field("user-agent")),
    "extended": lambda section: who(section.field("referer"), section.field("user-agent")) + _HIT,
}


def _finished(hit: Hit) -> Finished:
    method, target, _ = hit.line.decode("latin-1").split(" ")
    manner, reply = hit.section.manner, hit.reply
    head = RequestHead(method, manner.scheme, manner.authority, target, hit.section.fields())
    return Finished(
        exchange=reply.exchange(Request(head), hit.now),
        method=method,
        target=target,
        authority=manner.authority,
        version="1.1",
        peer=hit.peer,
        status=reply.status,
        bytes_sent=reply.length,
        seconds=0.0,
        first_byte_seconds=0.0,
        aborted=Aborted.NO,
        fields=head.fields,
    )
