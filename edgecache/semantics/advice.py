"""One suggestion for an explanation in which something is off; none when all is as it should be.

Theory
    Why something is not reused is told by its reason. What can be done about it is mostly one of a few things, and most
    of them are the origin's to do: a rule here is the second best, and an unsafe one the last. So a suggestion names
    what the origin should say first, and the setting of a rule after it.

Pure; called by ``engine.explaining``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from edgecache.semantics.explanation import Explanation, Judged
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Basis

__all__ = ["REFUSALS", "advised"]

_Wording: TypeAlias = Callable[[Judged], str]

_NARROW: Final = frozenset({"user-agent", "cookie", "referer", "authorization"})
"""Fields that nearly every visitor has a value of their own of."""


def advised(explanation: Explanation) -> str:
    """Return one suggestion, empty when nothing is off."""
    action, reason = explanation.present.action, explanation.present.reason
    if action in ("serve", "serve-stale"):
        return _of_served(explanation)
    if action == "pass" or reason in (Reason.METHOD, Reason.PRECONDITION, Reason.RELOAD):
        return ""
    if reason in _DECISIONS:
        return _DECISIONS[reason]
    latest = explanation.latest
    if latest is not None and not latest.stored and latest.reason in REFUSALS:
        return REFUSALS[latest.reason](latest)
    if explanation.unkeyed:
        return _about_unkeyed(explanation.unkeyed)
    if reason == Reason.VARY_MISS:
        return _about_variants(explanation)
    return _about_miss(explanation)


_DECISIONS: Final[Mapping[str, str]] = {
    Reason.UNPROVEN: "the purge log is not heard of here, so the origin has to confirm what is stored: look at "
    "/readyz?verbose of the admin listener",
    Reason.CLOCK: "a clock is wrong: that of this machine, or of the one that stored it",
}


def _of_served(explanation: Explanation) -> str:
    copy = next((one for one in explanation.stored if one.selected and one.usable), None)
    if copy is not None and copy.lifetime.basis == Basis.HEURISTIC:
        return "its lifetime is a guess from Last-Modified: let the origin say it in Cache-Control"
    return ""


def _about_unkeyed(names: tuple[str, ...]) -> str:
    listed = ", ".join(names)
    return (
        f"{listed} may change the response and selects nothing, so such a request goes alone: let the origin name "
        "it in Vary, or a rule in key_fields; if it changes nothing, list it in known_fields of [cache]"
    )


def _about_variants(explanation: Explanation) -> str:
    differing = {one.name for copy in explanation.stored for one in copy.selecting if not one.matches}
    narrow = sorted(differing & _NARROW)
    if narrow:
        return f"Vary names {', '.join(narrow)}, of which nearly everybody has another: let the origin vary on less"
    return ""


def _about_miss(explanation: Explanation) -> str:
    other = next((one for one in explanation.elsewhere if one.matched), None)
    if other is None or explanation.present.reason != Reason.URI_MISS:
        return ""
    return f"something is stored under {other.url} ({other.what}): is that what is meant?"


# Of a response that was not stored.


def _is_everybodys(_: Judged) -> str:
    return (
        "if the response is the same for everybody, let the origin say so: Cache-Control: public, max-age=…; "
        "if not, it is right that it is not stored"
    )


def _cookie(_: Judged) -> str:
    return (
        "let the origin set no cookie with what is the same for everybody; where it cannot be helped, a rule with "
        "unsafe_strip_cookies keeps cookies away in both directions"
    )


def _request_cookie(judged: Judged) -> str:
    names = ", ".join(judged.cookies)
    return (
        f"the request has a Cookie ({names}) and the response no lifetime: give the response Cache-Control: public, "
        "max-age=…, or a rule that says which cookies count (key_cookies)"
    )


def _unkeyed(judged: Judged) -> str:
    return (
        _about_unkeyed(judged.unkeyed)
        if judged.unkeyed
        else ("Access-Control-Allow-Origin repeats the request's Origin: let the origin name Origin in Vary")
    )


def _mistyped(judged: Judged) -> str:
    found = next((value for name, value in judged.fields if name.lower() == "content-type"), "no Content-Type")
    return (
        f"the name says another type than {found}: let the origin answer 404 to names that it does not have, instead "
        "of a page; a rule with unsafe_ignore_content_type stores it all the same"
    )


def _authorized(_: Judged) -> str:
    return "if the response is the same whoever asks, let the origin say so: Cache-Control: public, max-age=…"


def _said(text: str) -> _Wording:
    return lambda _: text


REFUSALS: Final[Mapping[str, _Wording]] = {
    Reason.NO_STORE: _is_everybodys,
    Reason.PRIVATE: _is_everybodys,
    Reason.AUTHORIZATION: _authorized,
    Reason.SET_COOKIE: _cookie,
    Reason.REQUEST_COOKIE: _request_cookie,
    Reason.UNKEYED_FIELD: _unkeyed,
    Reason.TYPE_MISMATCH: _mistyped,
    Reason.VARY_STAR: _said("let the origin name in Vary what the response depends on; with * nothing can be reused"),
    Reason.NO_FRESHNESS: _said(
        "let the origin send Cache-Control: max-age=…, or an ETag to ask with; or a rule with default_ttl"
    ),
    Reason.STATUS: _said("such a status is stored only with a lifetime of its own: Cache-Control: max-age=…"),
    Reason.TOO_MANY_TAGS: _said("let the origin send fewer tags: a response has 256 at most, of 1024 characters"),
    Reason.TOO_LARGE: _said("raise max_object in [cache], or memory"),
    Reason.CLOSE_DELIMITED: _said(
        "let the origin send Content-Length or chunks, so that an end can be told from a break"
    ),
    Reason.TRUNCATED: _said("the origin broke off in the middle of the response: look at its log"),
    Reason.CONTENT_RANGE: _said("the origin's Content-Range is wrong: it does not fit what it sent"),
    Reason.ERROR_KEPT_OUT: _said("the origin answers with errors: look at its log"),
}
"""What can be done about each reason that people can do something about."""
