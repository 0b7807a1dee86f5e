"""From what an order to begin names to the requests that warm it: as a browser would ask, and as the edge got them.

Called by ``edges.deploy_api``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgecache.edges.forwarded import Peer, forwarded
from edgecache.errors import ClientError
from edgecache.http.message import Pair, RequestHead, fields_of
from edgecache.http.target import parse_authority, parse_target

if TYPE_CHECKING:
    from edgecache.edges.deploy_messages import BeginOrder

__all__ = ["requests_of"]

_SELF: Final = {scheme: Peer("127.0.0.1", trusted=False, scheme=scheme) for scheme in ("http", "https")}
_ANY: Final[tuple[Pair, ...]] = (
    ("User-Agent", "edgecache"),
    # As browsers say it: who warms another variant warms nothing.
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
)
_ASSET: Final[tuple[Pair, ...]] = (("Accept", "*/*"), *_ANY)
_PAGE: Final[tuple[Pair, ...]] = (
    ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    *_ANY,
    # A release may have been begun before, and built anew since: its assets have other names then, its pages have not.
    ("Cache-Control", "no-cache"),
)


def requests_of(order: BeginOrder) -> list[RequestHead]:
    """Return the requests for the assets and for the pages; raise ``ClientError`` (400) for what cannot be one."""
    try:
        scheme, authority, target = parse_target("GET", order.site)
        if not scheme or target != "/":
            raise ClientError(400, "a scheme and a host, such as https://www.example.org")
        site = scheme, parse_authority(authority, scheme)
    except ClientError as error:
        raise ClientError(400, f"{error.reason} - at `$.site`") from error
    return [
        *(_request(site, one, _ASSET, f"assets[{index}]") for index, one in enumerate(order.assets)),
        *(_request(site, one, _PAGE, f"pages[{index}]") for index, one in enumerate(order.pages)),
    ]


def _request(site: tuple[str, str], reference: str, pairs: tuple[Pair, ...], where: str) -> RequestHead:
    try:
        scheme, authority, target = parse_target("GET", reference)
        scheme, authority = (scheme, parse_authority(authority, scheme)) if scheme else site
    except ClientError as error:
        raise ClientError(400, f"{error.reason} - at `$.{where}`") from error
    fields = forwarded([("Host", authority), *pairs], _SELF[scheme], authority, scheme)
    return RequestHead("GET", scheme, authority, target, fields_of(fields))
