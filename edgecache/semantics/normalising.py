"""A request brought to what counts of it: what is looked up, and, if need be, sent to the origin.

Theory
    What an origin sees and a key does not have can be used to store a response that others did not ask for. So where
    the operator says that something does not count (a marketing parameter, a cookie), it is not only left out of the
    key: the origin does not see it either. From here on there is one request, and its target URI says what is stored,
    purged and invalidated.

Invariants
    * A normalised request is a fixed point. Nothing is decoded; what is kept stays as it was spelled.
    * Only requests whose responses can be reused are touched; everything else goes on as it came.
    * With the default policy the request itself is returned.

Pure; called by ``semantics.rules``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from edgecache.http.message import FieldsView, RequestHead, fields_of
from edgecache.semantics.key import KEYED_METHODS, cookies
from edgecache.semantics.policy import Policy, QueryKey
from edgecache.semantics.unkeyed import doubtful

__all__ = ["normalised", "takes_all", "without_other_cookies"]


def takes_all(policy: Policy) -> bool:
    """Whether everything counts, of every request."""
    touches_fields = policy.unsafe_strip_cookies or policy.drop_unknown_fields
    return policy.path is None and policy.query.is_plain and not touches_fields


def normalised(request: RequestHead, policy: Policy) -> RequestHead:
    """Return what counts of a request."""
    if policy.passes or request.method not in KEYED_METHODS:
        return request
    target = _target(request.target, policy)
    fields = _fields(request, policy)
    if target == request.target and fields is request.fields:
        return request
    return replace(request, target=target, fields=fields)


def _target(target: str, policy: Policy) -> str:
    if policy.path is not None:
        return policy.path
    if policy.query.is_plain or "?" not in target:
        return target
    path, _, query = target.partition("?")
    kept = "&".join(_parameters(query.split("&"), policy.query))
    return f"{path}?{kept}" if kept else path


def _parameters(given: Iterable[str], rule: QueryKey) -> list[str]:
    kept = [part for part in given if rule.counts(part.partition("=")[0])]
    return sorted(kept, key=lambda part: part.partition("=")[0]) if rule.sort else kept


def _fields(request: RequestHead, policy: Policy) -> FieldsView:
    fields = request.fields
    if policy.unsafe_strip_cookies and "cookie" in fields:
        fields = without_other_cookies(fields, policy.key_cookies)
    if policy.drop_unknown_fields and (dropped := doubtful(request, policy)):
        fields = fields_of(pair for pair in fields.items() if pair[0].lower() not in dropped)
    return fields


def without_other_cookies(fields: FieldsView, names: Collection[str]) -> FieldsView:
    """Return the fields with no cookies but those of these names; without Cookie when there is none."""
    kept = [(name, value) for name, value in cookies(fields) if name in names]
    pairs = [pair for pair in fields.items() if pair[0].lower() != "cookie"]
    if kept:
        pairs.append(("Cookie", "; ".join(f"{name}={value}" for name, value in kept)))
    return fields_of(pairs)
