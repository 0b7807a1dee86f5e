"""An origin that is a directory: files answered as a web server answers them, without a web server.

Theory
    What a client sees of a file is its content and a strong entity tag made of that. There is neither Last-Modified nor
    Cache-Control, on purpose. Without them no cache may think a response fresh by itself (RFC 9111 §4.2.2), so each
    use is validated, which costs an open and a look at a table, and a changed file is seen by the next request. A
    modification time would be worse than none: deploys set it to whatever they like, and a tenth of it
    would become a lifetime. How long something may be used without asking is for the rules to say.

    ``app.js.br``, ``app.js.zst`` and ``app.js.gz`` beside ``app.js`` are the same thing in other codings (RFC 9110
    §8.4.1), if they are not older. Each is a representation with a tag of its own, chosen by Accept-Encoding.

    Nothing is listed, nothing is made up. Whatever a request names that is not a readable file below the root is 404,
    without saying why: not there, not allowed, not a file.

Called by the engine, through ``base.Origin``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgecache.http.conditional import not_modified_fields
from edgecache.http.fields import combined, format_http_date
from edgecache.http.message import Pair, ResponseHead, fields_of, reason_phrase
from edgecache.http.negotiation import IDENTITY, ranked_codings
from edgecache.http.ranges import ContentRange, render_content_range, render_unsatisfied
from edgecache.origin.entity_tags import EntityTags
from edgecache.origin.file_paths import file_path, with_slash
from edgecache.origin.file_response import FileResponse, Selected, select
from edgecache.origin.file_tree import Tree
from edgecache.origin.media_types import media_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgecache.http.message import FieldsView, RequestHead
    from edgecache.origin.base import InterimHandler, RequestBody
    from edgecache.origin.file_paths import FilePath
    from edgecache.origin.file_tree import Place
    from edgecache.origin.open_file import OpenFile

__all__ = ["FileOrigin"]

_INDEX: Final = "index.html"
_SUFFIXES: Final = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
"""Coding -> end of the name of a file in it, in the order in which they are taken when a client likes them equally."""

_SMALL: Final = 64 * 1024
"""Bytes that are read at once; what is larger is read by threads, piece by piece."""

_SECOND: Final = 1_000_000_000
_MICROSECOND: Final = 1_000
_NOSNIFF: Final = ("X-Content-Type-Options", "nosniff")
_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The representation that a request gets; ``varies`` when another request may get another one."""

    file: OpenFile
    coding: str
    varies: bool


class FileOrigin:
    """The files below a directory (``base.Origin``). ``clock`` gives POSIX seconds.

    Raises ``ConfigError`` when there is no such directory.
    """

    def __init__(self, directory: str, *, clock: Callable[[], float] = time.time) -> None:
        self._tree = Tree(directory)
        self._tags = EntityTags(clock)
        self._clock = clock

    async def send(
        self,
        head: RequestHead,
        body: RequestBody | None = None,
        *,
        upgrade: str | None = None,
        on_interim: InterimHandler | None = None,
        apart_from: Sequence[str] = (),
    ) -> FileResponse:
        """Answer a request (``base.Origin.send``); no file has a use for anything but its head.

        Raises:
            OriginError: the file system failed, or a file was written while it was read.
        """
        if head.method not in ("GET", "HEAD"):
            return self._says(head, 405, ("Allow", "GET, HEAD"))
        path = file_path(head.target)
        found = None if path is None else self._find(head, path)
        if path is None or found is None:
            return self._says(head, 404)
        if isinstance(found, str):
            return self._says(head, 308, ("Location", found))
        try:
            return await self._represent(head, path.names[-1] if not path.is_directory else _INDEX, found)
        except BaseException:
            found.file.close()
            raise

    @property
    def is_one_name(self) -> bool:
        """There is one directory."""
        return True

    def has_other(self, tried: Sequence[str]) -> bool:
        """There is none."""
        return False

    async def close(self) -> None:
        """Nothing is held between two requests."""

    def _find(self, head: RequestHead, path: FilePath) -> _Chosen | str | None:
        """Return the file, opened, or where to look for it instead, or None."""
        with self._tree.reach((*path.names, _INDEX) if path.is_directory else path.names) as place:
            if place is None:
                return None
            if not place.is_directory:
                return _choose(place, head.fields)
            return None if path.is_directory else with_slash(head.target)

    async def _represent(self, head: RequestHead, name: str, chosen: _Chosen) -> FileResponse:
        file, content = chosen.file, None
        etag = self._tags.known(file.version)
        if etag is None and file.size <= _SMALL:
            etag, content = self._tags.read(file)
        elif etag is None:
            etag = await self._tags.of(file)
        selected = select(head, etag, file.size, self._clock())
        if selected.status == 412:
            file.close()
            return self._says(head, 412)
        response_head = ResponseHead(selected.status, fields_of(self._fields(name, chosen, etag, selected)))
        first, stop = selected.first, selected.stop
        if head.method == "GET" and stop - first > _SMALL:
            return FileResponse(response_head, stretch=(file, first, stop))
        if head.method == "HEAD" or selected.status == 304:
            content = None
        else:
            content = file.read(first, stop - first) if content is None else content[first:stop]
        file.close()
        return FileResponse(response_head, content)

    def _fields(self, name: str, chosen: _Chosen, etag: str, selected: Selected) -> list[Pair]:
        pairs = [("Date", format_http_date(self._clock())), ("Content-Type", media_type(name)), _NOSNIFF]
        pairs += [("Content-Encoding", chosen.coding)] if chosen.coding != IDENTITY else []
        pairs += [("Vary", "Accept-Encoding")] if chosen.varies else []
        pairs += [("ETag", etag), ("Accept-Ranges", "bytes")]
        if selected.status == 206:
            part = ContentRange(selected.first, selected.stop - 1, chosen.file.size)
            pairs.append(("Content-Range", render_content_range(part)))
        elif selected.status == 416:
            pairs.append(("Content-Range", render_unsatisfied(chosen.file.size)))
        pairs.append(("Content-Length", str(selected.stop - selected.first)))
        return not_modified_fields(pairs) if selected.status == 304 else pairs

    def _says(self, head: RequestHead, status: int, *more: Pair) -> FileResponse:
        """Answer without a file."""
        content = f"{status} {reason_phrase(status)}\n".encode()
        pairs = [("Date", format_http_date(self._clock())), _TEXT, _NOSNIFF, *more]
        pairs.append(("Content-Length", str(len(content))))
        return FileResponse(ResponseHead(status, fields_of(pairs)), None if head.method == "HEAD" else content)


def _choose(place: Place, fields: FieldsView) -> _Chosen | None:
    """Open what the request likes best of what is there; None when nothing can be opened."""
    there = [coding for coding, suffix in _SUFFIXES.items() if _is_current(place.neighbour(suffix), place.modified)]
    for coding in ranked_codings(combined(fields, "accept-encoding"), there):
        file = place.open(_SUFFIXES.get(coding, ""))
        if file is not None:
            return _Chosen(file, coding, varies=bool(there))
    return None


def _is_current(modified: int | None, original: int) -> bool:
    """Whether a neighbour belongs to the original as it is now; both written when, in nanoseconds.

    Compressors copy the time of the original. Some know whole seconds only, others (WhiteNoise) a binary fraction of
    them, which is off by a quarter of a microsecond.
    """
    if modified is None:
        return False
    return modified >= original - _MICROSECOND or modified == original // _SECOND * _SECOND
