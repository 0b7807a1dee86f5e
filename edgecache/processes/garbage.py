"""How the collector of cycles is kept from stopping a worker.

Theory
    Python frees nearly everything when the last reference to it goes; its collector only looks for cycles, and to find
    them it looks at every object that has survived so far. A stored response is seven such objects, so with a million
    responses each full collection stopped the process for seconds, and there was one whenever a quarter more had come.

    What was stored is never garbage that only a collector would find (``stores.eviction``). So whatever survives a full
    collection is set aside (``gc.freeze``): it is looked at in three collections, one of each generation, and never
    again; it is still freed when its last reference goes. A full collection looks at what has come since the one
    before, and comes so often that this is little.

Risk
    A cycle that was set aside before it came to be garbage is freed no more, until the worker ends. What lives as long
    as a request or a connection makes cycles (a message and its exchange, a parser and whom it feeds, an exception
    and its traceback), and therefore takes itself apart when it ends; ``tests/processes/test_garbage.py`` looks at
    what is left of connections. What is garbage while it is young, as nearly all of it is, is found as ever.

Called by ``processes.worker``, once, before anything is stored.
"""

from __future__ import annotations

import gc
from typing import Any, Final

__all__ = ["bound_pauses"]

_YOUNG: Final = 700
"""Objects made, less those freed, before a collection of the young generation: Python's own number."""

_MIDDLE: Final = 3
"""Collections of the young generation before one of the middle generation."""

_FULL: Final = 1
"""Collections of the middle generation before a full one, which looks at some eight thousand objects then."""


def bound_pauses() -> None:
    """Set aside what has been imported, and from now on whatever survives a full collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _FULL)
    if _set_aside not in gc.callbacks:
        gc.callbacks.append(_set_aside)


def _set_aside(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
