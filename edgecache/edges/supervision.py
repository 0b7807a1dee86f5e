"""What a supervisor knows of its workers, as operators are shown it. ``processes`` makes it; metrics and admin read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Supervision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """A snapshot.

    Attributes:
        generation: of the workers that serve; each configuration put into service is one.
        workers: how many of these run.
        workers_wanted: how many of these there should be.
        workers_draining: of earlier generations, which only finish their responses.
        restarts: workers started because another one died.
        reloads: configurations put into service after the first.
        reloads_refused: reloads that changed nothing, because the new configuration was wrong.
        last_reload_ok: whether the latest reload was put into service; true when there was none.
        last_reload_error: why not; empty when it was.
    """

    generation: int = 0
    workers: int = 0
    workers_wanted: int = 0
    workers_draining: int = 0
    restarts: int = 0
    reloads: int = 0
    reloads_refused: int = 0
    last_reload_ok: bool = True
    last_reload_error: str = ""
