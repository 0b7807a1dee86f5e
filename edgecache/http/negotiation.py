"""Selecting fields of requests, brought to one spelling per meaning (RFC 9111 §4.1, RFC 9110 §12.5).

Theory
    A response stored under one spelling is given to every request with the same canonical value. So two values
    may become one only when whatever was an acceptable answer to the first is one to the second. For
    Accept-Encoding that is the set of acceptable codings; weights and order only say which is liked best. For
    Accept-Language the order of the weights stays. For any other field nothing is known but that white space
    around commas and semicolons is optional.

Invariants
    * A canonical value is a fixed point: it is a valid field value, and its canonical value is itself.
    * What does not follow its field's grammar is not interpreted but compared as it is, since nobody knows what
      the origin made of it. Nothing that is well-formed shares a canonical value with it.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from edgecache.http.fields import is_token, split_list
from edgecache.http.memo import memoised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgecache.http.message import FieldsView

__all__ = [
    "IDENTITY",
    "accept_encoding",
    "accept_language",
    "most_preferred_language",
    "normalise",
    "ranked_codings",
    "selecting_value",
]

# A list member with an optional weight (RFC 9110 §12.4.2); q is case-insensitive.
_WEIGHTED: Final = re.compile(r"([^;\s]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")

# language-range = (1*8ALPHA *("-" 1*8alphanum)) / "*" (RFC 4647 §2.1)
_LANGUAGE_RANGE: Final = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*")

_QUOTED_OR_WHITE_SPACE: Final = re.compile(r"""("(?:[^"\\]+|\\.)*(?:"|\\?\Z))|[ \t]*([,;])[ \t]*|[ \t]+""", re.DOTALL)


def selecting_value(fields: FieldsView, name: str) -> str | None:
    """Return the canonical value of a request's field; None when the request does not have it."""
    lines = fields.getall(name, None)
    return None if lines is None else normalise(name, lines)


def normalise(name: str, lines: Sequence[str]) -> str:
    """Return the canonical value of a field's lines."""
    value = lines[0] if len(lines) == 1 else ", ".join(lines)
    return _CANONICAL.get(name.lower(), _canonical_spacing)(value)


def _canonical_spacing(value: str) -> str:
    """Drop white space around commas and semicolons, and make one space of the rest, outside quotes."""
    if " " not in value and "\t" not in value:
        return value
    return _QUOTED_OR_WHITE_SPACE.sub(lambda match: match[1] or match[2] or " ", value).strip(" ")


def _weights(value: str) -> list[tuple[str, float]] | None:
    """Return members, lower case, with their weights; None when one is not of that form."""
    weights: list[tuple[str, float]] = []
    for member in split_list(value):
        match = _WEIGHTED.fullmatch(member)
        if match is None:
            return None
        weights.append((match[1].lower(), 1.0 if match[2] is None else float(match[2])))
    return weights


# --------------------------------------------------------------------------------------------- Accept-Encoding

_ANY_CODING: Final = ("br", "deflate", "gzip", "zstd")
"""What ``*`` stands for: the codings that servers in general produce."""

_SYNONYMS: Final = {"x-gzip": "gzip", "x-compress": "compress"}  # RFC 9110 §8.4.1

IDENTITY: Final = "identity"
"""The coding of what is not encoded (RFC 9110 §12.5.3)."""

_IDENTITY_REFUSED: Final = "identity;q=0"


@memoised
def accept_encoding(value: str) -> str:
    """Return the acceptable content codings, sorted: ``br,gzip``; ``identity`` when there is none.

    Codings that nobody here has heard of stay in it, for an origin may know them. That even the uncoded
    representation is refused (RFC 9110 §12.5.3) is kept as a last member ``identity;q=0``.
    """
    weights = _weights(value)
    if weights is None or not all(is_token(coding) for coding, _ in weights):
        return _canonical_spacing(value)
    accepted: dict[str, bool] = {}
    for coding, weight in weights:
        # Refused once is refused: the answer suits whichever of two contradicting members was meant.
        name = _SYNONYMS.get(coding, coding)
        accepted[name] = weight > 0 and accepted.get(name, True)
    others = accepted.pop("*", None)
    identity = accepted.pop("identity", others is not False)
    if others:
        accepted = dict.fromkeys(_ANY_CODING, True) | accepted
    codings = sorted(coding for coding, is_accepted in accepted.items() if is_accepted)
    if not identity:
        codings.append(_IDENTITY_REFUSED)
    return ",".join(codings) or IDENTITY


def ranked_codings(value: str | None, available: Sequence[str]) -> tuple[str, ...]:
    """Return the content codings to try for a request, best liked first; the last one is ``identity``, always.

    ``value`` is the request's Accept-Encoding, and ``available`` what there is beside the uncoded
    representation, in the order in which it is taken when liked equally. A coding is only among them when it is
    in the canonical value (``accept_encoding``), so a cache gives nobody what another may not have.

    Who sends no Accept-Encoding gets the uncoded representation, though any would be acceptable; so does who refuses
    even that one (RFC 9110 §12.5.3 leaves both open).
    """
    weights: dict[str, float] = {}
    for coding, weight in (None if value is None else _weights(value)) or ():
        name = _SYNONYMS.get(coding, coding)
        weights[name] = min(weight, weights.get(name, weight))
    least = weights.get(IDENTITY, 0.0)  # not named, it is liked less than whatever is
    liked = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in available}
    ranked = sorted((coding for coding in available if liked[coding] > 0), key=lambda coding: -liked[coding])
    return (*(coding for coding in ranked if liked[coding] >= least), IDENTITY)


# --------------------------------------------------------------------------------------------- Accept-Language


@memoised
def accept_language(value: str) -> str:
    """Return the language ranges, lower case, by falling weight, then by name: ``de,en`` or ``de,en;q=0.5``.

    Weights that are all the same rank nothing and are left out.
    """
    weights = _language_weights(value)
    if weights is None:
        return _canonical_spacing(value)
    ranked = sorted(set(weights), key=lambda pair: (-pair[1], pair[0]))
    differ = len({weight for _, weight in ranked}) > 1
    refused = any(weight == 0 for _, weight in ranked)
    return ",".join(_render_weighted(*pair) if differ or refused else pair[0] for pair in ranked)


@memoised
def most_preferred_language(value: str) -> str | None:
    """Return the one language range, lower case, that an Accept-Language prefers to all its others.

    None when several share the highest weight, when it is ``*``, or when the value is not valid.
    """
    weights = _language_weights(value)
    if not weights:
        return None
    highest = max(weight for _, weight in weights)
    best = {language for language, weight in weights if weight == highest}
    language = best.pop()
    return None if best or language == "*" or highest == 0 else language


def _language_weights(value: str) -> list[tuple[str, float]] | None:
    weights = _weights(value)
    if weights is None or not all(_LANGUAGE_RANGE.fullmatch(language) for language, _ in weights):
        return None
    return weights


def _render_weighted(name: str, weight: float) -> str:
    return name if weight == 1 else f"{name};q={weight:g}"


_CANONICAL: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {"accept-encoding": accept_encoding, "accept-language": accept_language}
)
