"""What field values are made of (RFC 9110 §5.5, §5.6, §7.6.1, §8.8.3; RFC 9111 §1.2.2, §5.1).

Theory
    Every field that this cache acts upon is built from the few forms here, so that each form has one parser and
    one opinion about input that does not follow its grammar. The parsers take values as received, never raise,
    and take time linear in their input: a quoted string is closed at the first quote that can close it, and one
    that is never closed quotes nothing, so that it cannot hide the members after it.

Called by every floor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from edgecache.http.memo import memoised

if TYPE_CHECKING:
    from edgecache.http.message import FieldsView, Pair

__all__ = [
    "CONNECTION_FIELDS",
    "DELTA_SECONDS_MAX",
    "OWS",
    "EntityTag",
    "combined",
    "connection_options",
    "entity_tag_list",
    "format_http_date",
    "is_field_value",
    "is_token",
    "members",
    "parse_age",
    "parse_delta_seconds",
    "parse_entity_tag",
    "parse_http_date",
    "split_list",
    "without_connection_fields",
]

OWS: Final = " \t"
"""Optional white space (RFC 9110 §5.6.3), to strip."""

# ---------------------------------------------------------------------------------------- tokens and values

# token = 1*tchar (RFC 9110 §5.6.2)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# field-vchar = VCHAR / obs-text, with SP and HTAB between them (RFC 9110 §5.5)
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def is_token(s: str) -> bool:
    """Whether ``s`` is a token: a method, a field name, a directive's name."""
    return _TOKEN.fullmatch(s) is not None


def is_field_value(s: str) -> bool:
    """Whether ``s`` can stand in a field line: no control but HTAB, nothing beyond one byte per character.

    White space around it is not part of a value (RFC 9110 §5.5) and does no harm.
    """
    return (s.isascii() and s.isprintable()) or _FIELD_VALUE.fullmatch(s) is not None  # the former is all but always so


# ----------------------------------------------------------------------------------------------------- lists

# A member is a run of anything but commas, except inside quoted strings. What follows a quote always matches,
# so there is nothing to backtrack into; the group tells that the last quote was never closed.
_MEMBER: Final = re.compile(r'(?:[^",]+|"(?:[^"\\]+|\\.)*(?:"|(\\?\Z)))+', re.DOTALL)
# The same with entity tags in it, where a backslash escapes nothing (RFC 9110 §8.8.3).
_TAG_MEMBER: Final = re.compile(r'(?:[^",]+|"[^"]*(?:"|(\Z)))+')


def split_list(value: str) -> list[str]:
    """Return the members of a comma-separated list, trimmed, empty ones left out (RFC 9110 §5.6.1)."""
    return _split(_MEMBER, value)


def entity_tag_list(value: str) -> list[str]:
    """Return the members of If-None-Match or If-Match as received (RFC 9110 §13.1.1, §13.1.2)."""
    return _split(_TAG_MEMBER, value)


def _split(member: re.Pattern[str], value: str) -> list[str]:
    if '"' not in value:
        pieces = value.split(",")
    else:
        pieces = []
        for match in member.finditer(value):
            pieces += [match[0]] if match[1] is None else match[0].split(",")
    return [trimmed for piece in pieces if (trimmed := piece.strip(OWS))]


def combined(fields: FieldsView, name: str) -> str | None:
    """Return all values of a field as one, in order (RFC 9110 §5.3); None when there is no such field."""
    lines = fields.getall(name, None)
    return None if lines is None else ", ".join(lines)


def members(fields: FieldsView, name: str) -> list[str]:
    """Return the members of a list-based field, over all its lines."""
    value = combined(fields, name)
    return [] if value is None else split_list(value)


# ------------------------------------------------------------------------------------------ numbers of seconds

DELTA_SECONDS_MAX: Final = 2**31
"""What a larger number of seconds is taken for (RFC 9111 §1.2.2)."""

_DIGITS: Final = re.compile(r"[0-9]+")


def parse_delta_seconds(s: str) -> int | None:
    """Return a non-negative number of seconds, at most ``DELTA_SECONDS_MAX``; None when it is not one."""
    if _DIGITS.fullmatch(s) is None:
        return None
    significant = s.lstrip("0")
    # Longer ones are not converted: int() refuses thousands of digits.
    return min(int(significant or "0"), DELTA_SECONDS_MAX) if len(significant) <= 10 else DELTA_SECONDS_MAX


def parse_age(fields: FieldsView) -> int | None:
    """Return Age in seconds (RFC 9111 §5.1): 0 when absent, None when it says nothing that can be believed.

    Of a list the first member counts, as §5.1 asks. But an Age that was added where it should have been
    replaced hides how old the response is. That is the case with several lines, and with the same member
    repeated, which is how repeated lines look once combined. Nor is an invalid one ignored, as §5.1 would
    have it: the caller takes the response for stale, which errs on the safe side (§4.2.1).
    """
    lines = fields.getall("age", None)
    if lines is None:
        return 0
    ages = lines[0].split(",")
    if len(lines) > 1 or (len(ages) > 1 and len({age.strip(OWS) for age in ages}) == 1):
        return None
    return parse_delta_seconds(ages[0].strip(OWS))


# ----------------------------------------------------------------------------------------------------- dates

_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBER: Final = {name: number for number, name in enumerate(_MONTHS, start=1)}

_WEEKDAY: Final = "(?:" + "|".join(_WEEKDAYS) + ")"
_WEEKDAY_L: Final = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH: Final = "(?P<month>" + "|".join(_MONTHS) + ")"
# second = 60 is a leap second
_TIME: Final = "(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"

# The three forms of HTTP-date (RFC 9110 §5.6.7), in the order of their likelihood.
_HTTP_DATES: Final = (
    re.compile(f"{_WEEKDAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(f"{_WEEKDAY_L}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(f"{_WEEKDAY} {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = _EPOCH.toordinal()


def parse_http_date(value: str, now: float) -> float | None:
    """Return POSIX seconds; None when ``value`` is not exactly one HTTP-date of a day that exists.

    ``now`` only dates the two-digit years of the rfc850 form. The name of the day is not compared with the date.
    """
    for form in _HTTP_DATES:
        match = form.fullmatch(value)
        if match is not None:
            return _instant(match, now)
    return None


def _instant(match: re.Match[str], now: float) -> float | None:
    month, day = _MONTH_NUMBER[match["month"]], int(match["day"])
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, (month, day, hour, minute, second), now)
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return float(days * 86_400 + hour * 3_600 + minute * 60 + second)


def _full_year(two_digits: int, in_year: tuple[int, ...], now: float) -> int:
    """The latest such year that is not more than 50 years in the future (RFC 9110 §5.6.7)."""
    today = _EPOCH + timedelta(seconds=int(now))
    limit = (today.year + 50, today.month, today.day, today.hour, today.minute, today.second)
    year = limit[0] // 100 * 100 + two_digits
    return year if (year, *in_year) <= limit else year - 100


def format_http_date(t: float) -> str:
    """Return POSIX seconds as IMF-fixdate, fractions cut off. Raise OverflowError outside the years 1 to 9999."""
    at = _EPOCH + timedelta(seconds=t // 1)
    return (
        f"{_WEEKDAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} "
        f"{at.hour:02}:{at.minute:02}:{at.second:02} GMT"
    )


# ------------------------------------------------------------------------------------------------ entity tags

# entity-tag = [ %s"W/" ] DQUOTE *etagc DQUOTE (RFC 9110 §8.8.3)
_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True, slots=True)
class EntityTag:
    """An entity tag; ``opaque`` is what stands between the quotes."""

    weak: bool
    opaque: str

    def strong_equals(self, other: EntityTag) -> bool:
        """Whether they name the same bytes (RFC 9110 §8.8.3.2)."""
        return not self.weak and not other.weak and self.opaque == other.opaque

    def weak_equals(self, other: EntityTag) -> bool:
        """Whether they name equivalent representations (RFC 9110 §8.8.3.2)."""
        return self.opaque == other.opaque


def parse_entity_tag(s: str) -> EntityTag | None:
    """Return the entity tag, or None when it is not written as one."""
    match = _ENTITY_TAG.fullmatch(s)
    return None if match is None else EntityTag(match[1] is not None, match[2])


# ------------------------------------------------------------------------------------------ connection fields

CONNECTION_FIELDS: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that concern one connection whether Connection names them or not (RFC 9110 §7.6.1).

The proxy-auth ones are for the next proxy that wants them (§11.7), and that one is us.
"""


def connection_options(fields: FieldsView) -> frozenset[str]:
    """Return the options in Connection, lower case."""
    lines = fields.getall("connection", ())
    return _options(", ".join(lines)) if lines else _NO_OPTIONS


_NO_OPTIONS: Final[frozenset[str]] = frozenset()


@memoised
def _options(value: str) -> frozenset[str]:
    return frozenset(option.lower() for option in split_list(value))


def without_connection_fields(fields: FieldsView, options: frozenset[str] | None = None) -> list[Pair]:
    """Return the end-to-end field lines: what is neither a connection field nor named by Connection.

    ``options`` are those in Connection, where they are known.
    """
    options = connection_options(fields) if options is None else options
    dropped = CONNECTION_FIELDS if options <= CONNECTION_FIELDS else CONNECTION_FIELDS | options
    return [(name, value) for name, value in fields.items() if name.lower() not in dropped]
