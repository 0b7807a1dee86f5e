"""Which kind of origin the settings are about: servers, or a directory. Called by ``app``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgecache.origin.address import directory_of
from edgecache.origin.files import FileOrigin
from edgecache.origin.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgecache.origin.base import Origin
    from edgecache.origin.settings import OriginSettings

__all__ = ["origin_of"]


def origin_of(settings: OriginSettings, *, clock: Callable[[], float] = time.time) -> Origin:
    """Return the origin; ``clock`` gives POSIX seconds. Raise ``ConfigError`` when the settings cannot work.

    To a directory all settings but its URL mean nothing.
    """
    directory = directory_of(settings.urls)
    return Upstreams(settings) if directory is None else FileOrigin(directory, clock=clock)
