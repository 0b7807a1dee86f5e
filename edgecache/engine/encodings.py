"""Stored responses in content codings: encoded once, in a thread, on the first use that wants it.

Theory
    What is stored is what the origin sent. A coding of it depends on nothing but the bytes, so it needs no key, no
    purge and no lifetime of its own: it belongs to the body object, and goes when that goes, whatever has become of the
    responses that had it. A response that a 304 made good again keeps its body, and the codings with it.

    Whoever comes first gets the bytes as they are, and sets the work going; nobody waits for it. At most two threads
    work, so that codings never take the processor from requests for long.

Invariants
    * What is kept is at most ``max_bytes``; least recently used goes first.
    * A coding that saves less than a tenth is remembered as not worth it, and not tried again.
    * A range is always one of the uncoded bytes.

Called by ``engine.serve``, on one event loop.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from edgecache.engine.counters import Counters
from edgecache.http.codings import encode, encoded_fields, wanted_coding
from edgecache.http.message import RequestHead, ResponseHead, fields_of, render_fields, render_status_line
from edgecache.semantics.stored import Body, StoredResponse

__all__ = ["LARGEST", "SMALLEST", "Encoded", "Encodings"]

SMALLEST: Final = 256
"""Bytes below which a coding does not save a packet."""

LARGEST: Final = 8 * 1024 * 1024
"""Bytes above which a thread would be busy for the better part of a second."""

_WORTH_IT: Final = 0.9
_THREADS: Final = 2

_Name: TypeAlias = tuple[int, str]


@dataclass(slots=True)
class Encoded:
    """A body in a coding, and the head that goes with it, which is made anew when that of the response changes.

    ``content`` is None when the coding is not worth it.
    """

    coding: str
    body: weakref.ref[Body]
    content: bytes | None
    _of: bytes = b""
    _rendered: bytes = b""

    def rendered(self, response: StoredResponse) -> bytes:
        """Return status line and fields as clients get them, but for what is added at delivery."""
        if self._of is not response.rendered:
            self._of = response.rendered
            self._rendered = render_status_line(response.status) + render_fields(self.head(response).fields.items())
        return self._rendered

    def head(self, response: StoredResponse) -> ResponseHead:
        """Return the same as a value."""
        shown = response.shown()
        return ResponseHead(shown.status, fields_of(encoded_fields(shown.fields.items(), self.coding)))


class Encodings:
    """What has been encoded. One per process; ``max_bytes`` is beside what the store may take."""

    def __init__(self, max_bytes: int, counters: Counters) -> None:
        self._max_bytes: Final = max_bytes
        self._counters: Final = counters
        self._kept: OrderedDict[_Name, Encoded] = OrderedDict()
        self._bytes = 0
        self._busy: dict[_Name, asyncio.Task[None]] = {}
        self._threads: Final = asyncio.Semaphore(_THREADS)

    @property
    def bytes(self) -> int:
        """Length of everything that is kept."""
        return self._bytes

    @property
    def running(self) -> int:
        """How many bodies are being encoded."""
        return len(self._busy)

    def of(self, response: StoredResponse, request: RequestHead) -> Encoded | None:
        """Return what the request would rather have than the stored bytes, if it is there; else see that it will be."""
        if not response.encodable or "range" in request.fields:
            return None
        coding = wanted_coding(request.fields)
        if coding is None or not SMALLEST <= response.body.size <= LARGEST or response.body.local is None:
            return None
        name = (id(response.body), coding)
        encoded = self._kept.get(name)
        if encoded is not None:
            self._kept.move_to_end(name)
            return encoded if encoded.content is not None else None
        if name not in self._busy:
            self._begin(name, response.body, coding)
        return None

    async def close(self) -> None:
        """Wait for what is being encoded; a thread cannot be stopped."""
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def _begin(self, name: _Name, body: Body, coding: str) -> None:
        task = asyncio.get_running_loop().create_task(self._encode(name, body, coding))
        self._busy[name] = task
        task.add_done_callback(lambda _: self._busy.pop(name, None))

    async def _encode(self, name: _Name, body: Body, coding: str) -> None:
        chunks = body.local
        assert chunks is not None
        async with self._threads:
            content = await asyncio.to_thread(encode, coding, chunks)
        self._counters.encoded += 1
        is_worth_it = len(content) <= body.size * _WORTH_IT
        self._keep(name, Encoded(coding, weakref.ref(body, self._forgetting(name)), content if is_worth_it else None))

    def _forgetting(self, name: _Name) -> Callable[[weakref.ref[Body]], None]:
        """The body's memory may be another body's next: what belonged to it has to go at once."""
        this = weakref.ref(self)

        def forget(_: weakref.ref[Body]) -> None:
            encodings = this()
            if encodings is not None:
                encodings._drop(name)

        return forget

    def _keep(self, name: _Name, encoded: Encoded) -> None:
        self._kept[name] = encoded
        self._bytes += _cost(encoded)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: _Name) -> None:
        encoded = self._kept.pop(name, None)
        if encoded is not None:
            self._bytes -= _cost(encoded)


_PER_ENTRY: Final = 600
"""The objects of an entry and its rendered head, bytes, by estimate."""


def _cost(encoded: Encoded) -> int:
    return _PER_ENTRY + len(encoded.content or b"")
