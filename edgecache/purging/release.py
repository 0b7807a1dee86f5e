"""The active release: one register beside the purges, which every process knows and reads at each lookup.

Theory
    Responses that are bound to a release are stored and looked up under its name. To activate another deletes nothing
    and fetches nothing: one word changes, at every process, and with it where they look. To go back is the same word
    again, and what was stored of the older release is still there. ``held`` says that it was gone back to: the origin
    may run the newer release still, so what is stored of this one is served without asking.

    An activation goes the way of a purge: it takes a place in the ledger, is in force here when it is ordered, and is
    confirmed when every process has switched or may not serve. What the ledger forgets of its past it need not know
    again; which release is active it must. So that is kept beside the entries, and the last writer wins.

    The last writer is the one with the highest ``sequence``. In one process it is the ledger's own. A shared log that
    was lost begins its own again, and whoever knows the newer release may come back later than somebody who knows an
    older one; so there it is the time of the log's server, in microseconds, or one more than the highest known to the
    log or to whoever activates, if that is more.

Invariants
    * ``sequence`` grows with every activation, also with one of what is active already; nothing else changes then.
    * ``previous`` is never ``name``, and empty as long as there was no other.
    * ``Release.parse`` reads what ``str`` wrote, and nothing else. A shared log compares by the number that it begins
      with, and changes it as ``then`` does (``scripts/activate.lua``).

Made by ``local``, ``node`` and the shared log; read by whoever makes keys. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edgecache.errors import ClientError

__all__ = ["NO_RELEASE", "Release"]

_NONE: Final = "-"
_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_IS_NAME: Final = re.compile(_NAME, re.ASCII)
_TEXT: Final = re.compile(
    rf"(?P<sequence>0|[1-9][0-9]{{0,15}}) (?P<name>{_NAME}|-) (?P<state>active|held) (?P<previous>{_NAME}|-)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Release:
    """Which release is active.

    Attributes:
        name: empty when none was ever activated.
        held: whether it was rolled back to: what is stored of it is served without asking the origin.
        previous: the name of the one that was active before it: what a rollback goes back to.
        sequence: orders activations: the later has the higher. Nothing else can be compared with it.
    """

    name: str = ""
    held: bool = False
    previous: str = ""
    sequence: int = 0

    @classmethod
    def parse(cls, text: str) -> Release:
        """Return what ``str`` wrote; raise ``ValueError``."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a release: {text[:200]!r}")
        name, previous = (match[part].removeprefix(_NONE) for part in ("name", "previous"))
        release = cls(name, match["state"] == "held", previous, int(match["sequence"]))
        if previous == name if name else release != cls():
            raise ValueError(f"no release is like that: {text!r}")
        return release

    def __str__(self) -> str:
        return f"{self.sequence} {self.name or _NONE} {'held' if self.held else 'active'} {self.previous or _NONE}"

    def then(self, name: str, *, held: bool = False, sequence: int) -> Release:
        """Return what an activation makes of this; raise ``ClientError`` (400) for what cannot be a name."""
        if not _IS_NAME.fullmatch(name):
            what = "1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or a digit"
            raise ClientError(400, f"{name[:64]!r} is not the name of a release: {what}")
        return Release(name, held, self.previous if name == self.name else self.name, sequence)


NO_RELEASE: Final = Release()
"""None was ever activated."""
