"""How the collector of cycles is kept from stopping a worker.

Theory
    Python frees nearly everything when the last reference to it goes; its collector only looks for cycles, and to find
    them it looks at every object that has survived so far. A stored response is seven such objects, so with a million
    responses each full collection stopped the process for seconds, and there was one whenever a quarter more had come.

    Nothing that is stored is part of a cycle. So whatever survives a full collection is set aside (``gc.freeze``): it is
    looked at in three collections, one of each generation, and never again; it is still freed when its last
    reference goes. What a full collection has to look at is then what has come since the one before. With ``_FULL`` of
    them, instead of ten, that is at most some twenty thousand objects: two or three milliseconds.

Risk
    A cycle that was set aside before it came to be garbage is freed no more. Cycles are made here by what lives for the
    length of a request or of a connection: a task and its frames, an exception and its traceback, a protocol and its
    transport. The former are garbage before they are set aside or take no part in one; the latter take themselves
    apart when they are closed (``tests/processes/test_garbage.py`` counts them). Whatever else there may be ends
    with the worker.

Called by ``processes.worker``, once, before anything is stored.
"""

from __future__ import annotations

import gc
from typing import Any, Final

__all__ = ["bound_pauses"]

_FULL: Final = 3
"""Collections of the middle generation, of ten thousand allocations each at most, before a full one."""


def bound_pauses() -> None:
    """Set aside what has been imported, and from now on whatever survives a full collection."""
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _FULL)
    if _set_aside not in gc.callbacks:
        gc.callbacks.append(_set_aside)


def _set_aside(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
