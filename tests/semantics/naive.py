"""A second reading of RFC 9111 §4, slow and literal: may this stored response be reused for this request?

Theory
    It shares nothing with ``edgecache.semantics``: it looks at the messages as they came, parses what it needs with
    the standard library, and follows the text of the RFC section by section. Where this cache means to do something
    else than the text says, that is a ``Departure`` with its reason; without any, what is here is the letter.

It understands only what ``tests.semantics.messages`` writes: no quoted commas, no obsolete dates.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from edgecache.http.message import FieldsView, RequestHead, ResponseHead
from edgecache.semantics.policy import Policy

__all__ = ["ALL", "Answer", "Departure", "Kept", "answer", "answer_from"]


class Answer(enum.Enum):
    """What §4 says about one stored response, or about several."""

    FRESH = "reuse it, it is fresh"
    STALE = "reuse it, that is allowed although it is stale"
    VALIDATE = "do not reuse it without successful validation"
    NO_MATCH = "it does not answer this request at all"
    REFUSE = "answer 504"


class Departure(enum.Enum):
    """Where this cache leaves the letter, and why it may, or why it is right to."""

    SHARED_LIFETIME_WITH_GRACE = (
        "s-maxage forbids stale reuse (§5.2.2.10), but an origin that writes stale-while-revalidate beside it "
        "addresses caches that understand both (RFC 5861 §3)"
    )
    IMMUTABLE = "a fresh immutable response is not validated for a request's max-age (RFC 8246 §2)"
    LANGUAGE = "Accept-Language may differ when the stored response is in the one preferred language (§4.1)"
    TRUST_AGE = (
        "apparent_age counts only with Via and without Age: the conservative formula is for caches too old to send "
        "Age (§4.2.3), and punishes origins whose clock is wrong"
    )
    DISTRUST_INVALID_AGE = "an Age that is no number means stale, and is not ignored (§5.1): it hides how old it is"
    WINDOWS_ARE_HALF_OPEN = "stale-while-revalidate=n ends before n seconds are over, not after (RFC 5861 §3)"
    PRAGMA_OF_RESPONSES = "Pragma: no-cache in a response means nothing (§5.4), but it is no sign for a heuristic"
    NO_NEGATIVE_LIFETIME = "an Expires before Date is a lifetime of nothing; staleness is counted from there (§4.2.1)"
    LATEST_RECEIVED = "of several, the most recently received is used, not the one with the latest Date (§4)"
    OPERATOR_IGNORES_RELOADS = "with honour_reload off, requests cannot ask for validation (§5.2.1 is advice)"


ALL = frozenset(Departure)


@dataclass(frozen=True)
class Kept:
    """A response as it came, with the request that got it. Instants are POSIX seconds."""

    request: RequestHead
    response: ResponseHead
    request_time: float
    response_time: float


def answer(
    presented: RequestHead, stored: Sequence[Kept], policy: Policy, now: float, departures: Collection[Departure] = ()
) -> Answer:
    """What to do with a request, given everything that is stored under its target URI."""
    suitable = [kept for kept in stored if _suits(presented, kept, departures)]
    if _says_no_forwarding(presented):
        verdict = answer_from(presented, _latest(suitable, departures), policy, now, departures) if suitable else None
        return verdict if verdict in (Answer.FRESH, Answer.STALE) else Answer.REFUSE
    if not suitable:
        return Answer.NO_MATCH
    return answer_from(presented, _latest(suitable, departures), policy, now, departures)


def answer_from(
    presented: RequestHead, kept: Kept, policy: Policy, now: float, departures: Collection[Departure] = ()
) -> Answer:
    """§4 for one stored response."""
    if not _suits(presented, kept, departures):
        return Answer.NO_MATCH
    directives = _governing(kept.response.fields, policy)
    # "the stored response does not contain the no-cache directive, unless it is successfully validated"
    if directives.get("no-cache", "fields") is None:
        return Answer.VALIDATE
    asked = _request_directives(presented.fields)
    age = _current_age(kept, now, departures)
    lifetime = _freshness_lifetime(kept, directives, policy, departures)
    is_fresh = lifetime > age
    if not 200 <= kept.response.status < 300:
        directives.pop("immutable", None)  # a failure may be mended any moment, whatever it says
    if not _request_accepts(asked, directives, age, lifetime, policy, departures):
        return Answer.VALIDATE
    if is_fresh:
        return Answer.FRESH
    # Out of band, the operator agrees to prolong lifetimes, and to nothing where there is none.
    agreed = policy.grace if lifetime > 0 else 0.0
    return Answer.STALE if _may_be_stale(asked, directives, age - lifetime, agreed, departures) else Answer.VALIDATE


# ------------------------------------------------------------------------------------- §4: does it answer at all?


def _suits(presented: RequestHead, kept: Kept, departures: Collection[Departure]) -> bool:
    # "the presented target URI and that of the stored response match"
    if (presented.scheme, presented.authority, presented.target) != (
        kept.request.scheme,
        kept.request.authority,
        kept.request.target,
    ):
        return False
    # "the request method associated with the stored response allows it to be used for the presented request"
    if presented.method not in ("GET", "HEAD"):
        return False
    # §4.3.2: a cache must not evaluate If-Match and If-Unmodified-Since; the origin has to.
    if "if-match" in presented.fields:
        return False
    return _vary_matches(presented, kept, departures) and _has_all_bytes(presented, kept)


def _says_no_forwarding(presented: RequestHead) -> bool:
    """§5.2.1.7, for what a cache could answer."""
    return presented.method in ("GET", "HEAD") and "only-if-cached" in _request_directives(presented.fields)


def _latest(suitable: Sequence[Kept], departures: Collection[Departure]) -> Kept:
    """§4: "a cache MUST use the most recent one (as determined by the Date header field)"."""
    if Departure.LATEST_RECEIVED in departures:
        return max(suitable, key=lambda kept: kept.response_time)
    return max(suitable, key=_date_value)


def _vary_matches(presented: RequestHead, kept: Kept, departures: Collection[Departure]) -> bool:
    """§4.1."""
    for line in kept.response.fields.getall("vary", []):
        for name in line.lower().split(","):
            name = name.strip()
            then, now = (_normalised(fields, name) for fields in (kept.request.fields, presented.fields))
            if then != now and not (
                Departure.LANGUAGE in departures
                and name == "accept-language"
                and _is_in_preferred_language(presented, kept)
            ):
                return False
    return True


def _normalised(fields: FieldsView, name: str) -> object:
    """One value for all that mean the same: None, a set of codings, language preferences, or members in order."""
    if name not in fields:
        return None
    members = [member.replace(" ", "") for line in fields.getall(name) for member in line.split(",")]
    weighted = {member.partition(";q=")[0]: float(member.partition(";q=")[2] or "1") for member in members}
    if name == "accept-encoding":
        return {coding for coding, weight in weighted.items() if weight}
    return weighted if name == "accept-language" else members


def _is_in_preferred_language(presented: RequestHead, kept: Kept) -> bool:
    weights = _normalised(presented.fields, "accept-language")
    if not isinstance(weights, dict):
        return False
    best = [language for language, weight in weights.items() if weight == max(weights.values())]
    return best == [kept.response.fields.get("content-language")]


def _has_all_bytes(presented: RequestHead, kept: Kept) -> bool:
    """§3.3: an incomplete response answers only a range request for bytes within it."""
    if kept.response.status != 206:
        return True
    value = kept.response.fields.get("content-range")
    if value is None:
        return True  # not one that is ever stored
    held, _, length = value.removeprefix("bytes ").partition("/")
    first, last = (int(position) for position in held.split("-"))
    asked = presented.fields.get("range", "")
    if length == "*" or presented.method != "GET" or not asked.startswith("bytes=") or "," in asked:
        return False
    wanted_first, _, wanted_last = asked.removeprefix("bytes=").partition("-")
    end = int(length) - 1
    if not wanted_first:
        return first <= end - int(wanted_last) + 1 and end <= last
    return first <= int(wanted_first) and (min(int(wanted_last), end) if wanted_last else end) <= last


# ------------------------------------------------------------------------------------------------ §4.2: freshness


def _freshness_lifetime(
    kept: Kept, directives: dict[str, str | None], policy: Policy, departures: Collection[Departure]
) -> float:
    """§4.2.1, with the operator's heuristic of §4.2.2."""
    fields = kept.response.fields
    if Departure.DISTRUST_INVALID_AGE in departures and not fields.get("age", "0").isdigit():
        return 0.0
    # "If the cache is shared and the s-maxage response directive is present, use its value"
    for name in ("s-maxage", "max-age"):
        if name in directives:
            value = directives[name] or ""
            # "caches are encouraged to consider responses that have invalid freshness information to be stale"
            return float(value) if value.isdigit() else 0.0
    is_targeted = _targeted_field(fields, policy) is not None
    if "expires" in fields and not is_targeted:
        expires = _http_date(fields["expires"])
        lifetime = 0.0 if expires is None else expires - _date_value(kept)
        return max(0.0, lifetime) if Departure.NO_NEGATIVE_LIFETIME in departures else lifetime
    heuristically_cacheable = kept.response.status in (200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501)
    modified = _http_date(fields.get("last-modified", ""))
    if modified is None or not (heuristically_cacheable or "public" in directives):
        return 0.0
    if Departure.PRAGMA_OF_RESPONSES in departures and "pragma" in fields:
        return 0.0
    return min(policy.heuristic_max, policy.heuristic_fraction * max(0.0, _date_value(kept) - modified))


def _current_age(kept: Kept, now: float, departures: Collection[Departure]) -> float:
    """§4.2.3, its names and its steps."""
    fields = kept.response.fields
    # §5.1: "if the field value is invalid, a cache SHOULD ignore the field"
    age_value = int(fields["age"]) if fields.get("age", "").isdigit() else 0
    apparent_age = max(0.0, kept.response_time - _date_value(kept))
    response_delay = kept.response_time - kept.request_time
    corrected_age_value = age_value + response_delay
    trusts_age = Departure.TRUST_AGE in departures and ("age" in fields or "via" not in fields)
    corrected_initial_age = corrected_age_value if trusts_age else max(apparent_age, corrected_age_value)
    resident_time = now - kept.response_time
    return corrected_initial_age + resident_time


def _date_value(kept: Kept) -> float:
    """RFC 9110 §6.6.1: without a Date, the time of receipt is recorded."""
    date = _http_date(kept.response.fields.get("date", ""))
    return kept.response_time if date is None else date


def _http_date(value: str) -> float | None:
    try:
        return datetime.strptime(value, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


# --------------------------------------------------------------------------------- §4.2.4: serving stale responses


def _may_be_stale(
    asked: dict[str, str | None],
    directives: dict[str, str | None],
    staleness: float,
    agreed: float,
    departures: Collection[Departure],
) -> bool:
    """§4.2.4; ``agreed`` is the operator's window."""
    # "MUST NOT generate a stale response if it is prohibited by an explicit in-protocol directive (e.g., by a no-cache
    # response directive, a must-revalidate response directive, or an applicable s-maxage or proxy-revalidate …)"
    if "must-revalidate" in directives or "proxy-revalidate" in directives:
        return False
    window = _seconds(directives, "stale-while-revalidate")
    if "s-maxage" in directives:
        return Departure.SHARED_LIFETIME_WITH_GRACE in departures and _within(staleness, window, departures)
    # "explicitly permitted by the client … (e.g., by the max-stale request directive)"
    if "max-stale" in asked and (asked["max-stale"] is None or staleness <= int(asked["max-stale"])):
        return True
    # "or origin server (… by extension directives … or by configuration in accordance with an out-of-band contract)"
    return _within(staleness, agreed if window is None else window, departures)


def _within(staleness: float, window: float | None, departures: Collection[Departure]) -> bool:
    """RFC 5861 §3: "after it becomes stale, up to the indicated number of seconds"."""
    if window is None:
        return False
    # A window of nothing opens for nothing.
    return staleness < window if Departure.WINDOWS_ARE_HALF_OPEN in departures else staleness <= window and window > 0


# ------------------------------------------------------------------------------------------ §5.2: cache directives


def _request_accepts(
    asked: dict[str, str | None],
    directives: dict[str, str | None],
    age: float,
    lifetime: float,
    policy: Policy,
    departures: Collection[Departure],
) -> bool:
    """§5.2.1.1, §5.2.1.3, §5.2.1.4."""
    if not policy.honour_reload and Departure.OPERATOR_IGNORES_RELOADS in departures:
        return True
    if "no-cache" in asked:
        return False
    # "no less than its current age plus the specified time in seconds"
    min_fresh = _seconds(asked, "min-fresh")
    if min_fresh is not None and not lifetime >= age + min_fresh:
        return False
    max_age = _seconds(asked, "max-age")
    if max_age is None:
        return True
    is_fresh = lifetime > age
    if is_fresh and "immutable" in directives and Departure.IMMUTABLE in departures:
        return True
    # "Unless the max-stale request directive is also present, the client does not wish to receive a stale response."
    return age <= max_age and (is_fresh or "max-stale" in asked)


def _targeted_field(fields: FieldsView, policy: Policy) -> str | None:
    return next((name for name in policy.targeted_fields if name in fields), None)


def _governing(fields: FieldsView, policy: Policy) -> dict[str, str | None]:
    """RFC 9213 §2.2: a targeted field, or else Cache-Control."""
    return _directives(fields, _targeted_field(fields, policy) or "cache-control")


def _request_directives(fields: FieldsView) -> dict[str, str | None]:
    """§5.4: Pragma: no-cache is read as Cache-Control: no-cache, but only when there is no Cache-Control."""
    return (
        {"no-cache": None}
        if "cache-control" not in fields and "pragma" in fields
        else _directives(fields, "cache-control")
    )


def _directives(fields: FieldsView, name: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for line in fields.getall(name, []):
        for member in filter(None, map(str.strip, line.split(","))):
            directive, equals, argument = member.partition("=")
            found[directive.lower()] = argument if equals else None
    return found


def _seconds(directives: dict[str, str | None], name: str) -> int | None:
    value = directives.get(name)
    return int(value) if value is not None and value.isdigit() else None
