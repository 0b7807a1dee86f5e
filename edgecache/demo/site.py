"""The demo site: one page that explains itself, and one resource for each thing that a cache may do.

Each resource carries real cache control and nothing about edgecache; what happens is the edge's doing. Every
answer made here counts itself, so that a page that shows the same count twice was not made twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import time
from importlib import resources
from typing import Final

from aiohttp import ETag, web

__all__ = ["BIG_BYTES", "make_site"]

BIG_BYTES: Final = 5 * 1024 * 1024
_PAGES: Final = resources.files("edgecache.demo") / "pages"
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_ASSETS: Final = ("app.css", "app.js", "logo.svg")
_YEAR: Final = 31_536_000
_EVENTS: Final = 20
_GREETINGS: Final = {"en": "Good morning", "de": "Guten Morgen", "fr": "Bonjour", "es": "Buenos días"}
_SLOW_SECONDS: Final = 2.0
_EVENT_SECONDS: Final = 0.5

_MADE: Final = web.AppKey("made", itertools.count)
_SLOW: Final = web.AppKey("slow", float)
_EVENT: Final = web.AppKey("event", float)
_FILES: Final = web.AppKey("files", dict[str, bytes])
_INDEX: Final = web.AppKey("index", bytes)


def make_site(*, slow_seconds: float = _SLOW_SECONDS, event_seconds: float = _EVENT_SECONDS) -> web.Application:
    """Return the site. ``/slow`` takes ``slow_seconds``; the events of ``/stream`` are ``event_seconds`` apart."""
    site = web.Application()
    site[_MADE] = itertools.count(1)
    site[_SLOW], site[_EVENT] = slow_seconds, event_seconds
    site[_FILES], site[_INDEX] = _read_pages()
    site.router.add_get("/", _index)
    site.router.add_get("/assets/{name}", _asset)
    site.router.add_get("/api/time", _time)
    site.router.add_get("/slow", _slow)
    site.router.add_get("/private", _private)
    site.router.add_get("/lang", _lang)
    site.router.add_get("/stream", _stream)
    site.router.add_get("/big", _big)
    return site


def _read_pages() -> tuple[dict[str, bytes], bytes]:
    """Assets by their hashed names, and the page that refers to them."""
    files, index = {}, (_PAGES / "index.html").read_text("utf-8")
    for name in _ASSETS:
        content = (_PAGES / name).read_bytes()
        stem, _, suffix = name.partition(".")
        hashed = f"{stem}.{hashlib.sha256(content).hexdigest()[:8]}.{suffix}"
        files[hashed] = content
        index = index.replace(f"/assets/{name}", f"/assets/{hashed}")
    return files, index.encode()


async def _index(request: web.Request) -> web.Response:
    """``no-cache`` and an entity tag: stored, and validated before every use; a 304 costs a few bytes."""
    content = request.app[_INDEX]
    tag = hashlib.sha256(content).hexdigest()[:16]
    unchanged = any(candidate.value == tag for candidate in request.if_none_match or ())
    response = web.Response(status=304) if unchanged else web.Response(body=content, content_type="text/html")
    response.headers["Cache-Control"] = "no-cache"
    response.etag = ETag(tag)
    return response


async def _asset(request: web.Request) -> web.Response:
    """A name that changes with its content never has to be asked for again."""
    name = request.match_info["name"]
    content = request.app[_FILES].get(name)
    if content is None:
        return web.Response(status=404, text="no such asset\n", headers={"Cache-Control": "no-store"})
    kind = _TYPES[name.rpartition(".")[2]]
    caching = {"Cache-Control": f"public, max-age={_YEAR}, immutable"}
    return web.Response(body=content, content_type=kind, charset="utf-8", headers=caching)


async def _time(request: web.Request) -> web.Response:
    """Fresh for five seconds, then served stale while a new one is fetched."""
    return _made(request, {"time": time.strftime("%H:%M:%S")}, "max-age=5, stale-while-revalidate=30")


async def _slow(request: web.Request) -> web.Response:
    """What a cache is for; and many who ask at once wait for one answer."""
    await asyncio.sleep(request.app[_SLOW])
    return _made(request, {"took": f"{request.app[_SLOW]:g} s at the origin"}, "max-age=60")


async def _private(request: web.Request) -> web.Response:
    """One person's page, never stored."""
    response = _made(request, {"for": "your eyes only"}, "no-store")
    response.set_cookie("visitor", hashlib.sha256(str(time.time_ns()).encode()).hexdigest()[:12], httponly=True)
    return response


async def _lang(request: web.Request) -> web.Response:
    """One stored response per language."""
    wanted = request.headers.get("Accept-Language", "en")[:2].lower()
    greeting = _GREETINGS.get(wanted, _GREETINGS["en"])
    response = _made(request, {"greeting": greeting}, "max-age=60")
    response.headers["Vary"] = "Accept-Language"
    return response


async def _stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events, which pass through as they come."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    for number in range(1, _EVENTS + 1):
        await response.write(f"data: event {number} of {_EVENTS} at {time.strftime('%H:%M:%S')}\n\n".encode())
        await asyncio.sleep(request.app[_EVENT])
    return response


async def _big(request: web.Request) -> web.Response:
    """Five megabytes: fetched once, then any range of it comes from memory."""
    line = b"edgecache demo, sixty-four bytes to a line, over and over......\n"
    body = line * (BIG_BYTES // len(line))
    response = web.Response(body=body, content_type="text/plain", headers={"Cache-Control": "max-age=300"})
    response.etag = ETag("big")
    return response


def _made(request: web.Request, facts: dict[str, str], cache_control: str) -> web.Response:
    """A JSON answer that tells how many the origin has made so far."""
    made = request.app[_MADE]
    body = json.dumps({**facts, "made": next(made)}, ensure_ascii=False) + "\n"
    headers = {"Cache-Control": cache_control}
    return web.Response(text=body, content_type="application/json", headers=headers)
