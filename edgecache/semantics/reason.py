"""Every reason a decision can have: one closed list.

The same word is the ``detail`` of Cache-Status, a column of the access log, a label of a metric and a heading of
the documentation. A reason that no test produces is a reason to delete it.
"""

from __future__ import annotations

import enum

__all__ = ["Reason"]


class Reason(enum.StrEnum):
    """Why something was, or was not, served from or put into the store."""

    explanation: str

    def __new__(cls, token: str, explanation: str) -> Reason:
        """Make a member whose value is its token."""
        member = str.__new__(cls, token)
        member._value_ = token
        member.explanation = explanation
        return member

    __hash__ = str.__hash__  # as what it is equal to, and without a call of Python's for each count

    # Served from the store.
    FRESH = "fresh", "freshness lifetime exceeds the current age (RFC 9111 §4.2)"
    GRACE = "grace", "stale, served while one request validates it (RFC 5861 §3)"
    MAX_STALE = "max-stale", "stale, and the request accepts that (RFC 9111 §5.2.1.2)"
    IF_ERROR = "if-error", "stale, served in the place of a server error (RFC 5861 §4)"
    UNREACHABLE = "unreachable", "stale, served because the origin cannot be reached (RFC 9111 §4.2.4)"
    VALIDATED = "validated", "the origin answered 304 (RFC 9111 §4.3.4)"
    EARLY = "early", "still fresh, refreshed ahead of its end so that not everybody comes at once (XFetch)"
    RETAINED = "retained", "an asset of an earlier release, which the origin does not have any more"
    HELD = "held", "the active release was gone back to, which the origin may not have: served, but not stored"
    COLLAPSED = "collapsed", "another request's fetch answered this one too (RFC 9111 §4)"

    # Forwarded.
    URI_MISS = "uri-miss", "nothing is stored under this key"
    VARY_MISS = "vary-miss", "what is stored was selected by other request fields (RFC 9111 §4.1)"
    STALE = "stale", "the current age has reached the freshness lifetime (RFC 9111 §4.2)"
    NO_CACHE = "no-cache", "the response must be validated before each reuse (RFC 9111 §5.2.2.4)"
    UNPROVEN = "unproven", "whether it was purged cannot be said now, so the origin has to confirm it"
    CLOCK = "clock", "received at a time that has not come yet: a clock was wrong, so its age is not known"
    RELOAD = "reload", "the request asks for validation: no-cache, max-age or min-fresh (RFC 9111 §5.2.1)"
    PARTIAL = "partial", "only some bytes of the representation are stored (RFC 9111 §3.3)"
    METHOD = "method", "the method's responses are not reused (RFC 9111 §2)"
    PRECONDITION = "precondition", "If-Match and If-Unmodified-Since are the origin's to evaluate (RFC 9111 §4.3.2)"
    UPGRADE = "upgrade", "the request asks to leave HTTP (RFC 9110 §7.8)"
    RULE_PASS = "rule-pass", "a rule says that such requests are neither looked up nor stored"
    CONTENT = "request-content", "the request has content that is no part of a key"
    ONLY_IF_CACHED = "only-if-cached", "the request forbids forwarding (RFC 9111 §5.2.1.7)"

    # Not stored.
    STATUS = "status", "the status code is not one that may be stored here (RFC 9111 §3)"
    NOT_UNDERSTOOD = "must-understand", "the status code's caching requirements are not known (RFC 9111 §5.2.2.3)"
    NO_STORE = "no-store", "the response says no-store (RFC 9111 §5.2.2.5)"
    REQUEST_NO_STORE = "request-no-store", "the request says no-store (RFC 9111 §5.2.1.5)"
    PRIVATE = "private", "the response is for one user (RFC 9111 §5.2.2.7)"
    AUTHORIZATION = "authorization", "the request was authenticated and the response does not allow sharing (§3.5)"
    SET_COOKIE = "set-cookie", "the response sets a cookie, which would be replayed to everybody"
    AMBIGUOUS_PATH = "ambiguous-path", "the path has dot segments or control characters, which servers read differently"
    TYPE_MISMATCH = "type-mismatch", "the content is not of the type that the name says (cache deception)"
    UNKEYED_FIELD = "unkeyed-field", "the request had a field that may have changed the response, and selects nothing"
    REQUEST_COOKIE = "request-cookie", "the request had a cookie and the response no explicit lifetime"
    VARY_STAR = "vary-star", "Vary: * can match no other request (RFC 9111 §4.1)"
    NO_FRESHNESS = "no-freshness", "neither a lifetime nor a validator: it could never be reused"
    CLOSE_DELIMITED = "close-delimited", "the end of the body cannot be told from a broken connection (RFC 9112 §8)"
    CONTENT_RANGE = "content-range", "a 206 whose Content-Range is missing, invalid or of another size (§14.4)"
    TOO_LARGE = "too-large", "the body exceeds the largest that is stored"
    TRUNCATED = "truncated", "the body broke off"
    TOO_MANY_TAGS = "too-many-tags", "more labels, or longer ones, than are kept: a purge could miss it"
    DIGEST_MISMATCH = "digest-mismatch", "the content is not what its name says, by a build manifest's word"
    ERROR_KEPT_OUT = (
        "error-kept-out",
        "an error does not replace a response that can still be used, nor stand beside it",
    )
    PURGED = "purged", "purged while it was on its way"
    OTHER_RELEASE = "other-release", "not known to be of the release that it was asked for"

    # Made here.
    ORIGIN_ERROR = "origin-error", "the origin failed and nothing stored may be served instead"
    ORIGIN_TIMEOUT = "origin-timeout", "the origin took too long and nothing stored may be served instead"
