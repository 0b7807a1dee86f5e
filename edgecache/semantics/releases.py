"""Releases: of which one a response is, and whether it may be stored as one of the release it was asked for.

Theory
    Pages are stored and looked up under the name of the active release (``Policy.by_release``), so that activating
    another switches all of them at once. Which release the *origin* runs is another matter: it is switched a little
    before, server by server, and after a rollback it may be the newer one for a while. A page that is stored under the
    wrong name is served for as long as that release is active, or comes to light when somebody goes back to it.

    So an origin can say of which release its answer is (``FIELD``), and is told which one is wanted by a field of the
    same name; one that has several at a time can choose. What names another release is not stored. What names none
    is believed as long as nothing speaks against it: the release it was asked for is active, and was not gone back
    to (``HELD``). What is asked for ahead of an activation has to name its release, for until then the origin answers
    with another one, as far as anybody can tell.

Invariants
    * Nothing is said about responses that are not bound to a release.
    * The field is addressed to this cache alone: no client sees it, and none can write it.

Pure; called by the engine.
"""

from __future__ import annotations

from typing import Final

from edgecache.http.fields import combined
from edgecache.http.message import FieldsView
from edgecache.semantics.reason import Reason

__all__ = ["FIELD", "contradicts", "refusal", "tag_of"]

FIELD: Final = "Edgecache-Release"
"""Of a response: the release it is of. Of a request to the origin: the release that is wanted."""


def contradicts(fields: FieldsView, release: str) -> bool:
    """Whether a response says that it is of another release. A value that is no name is another's too."""
    named = combined(fields, FIELD)
    return named is not None and named != release


def refusal(fields: FieldsView, release: str, active: str, *, held: bool) -> Reason | None:
    """Return why a response is not stored under ``release``, for which it was asked, or None.

    ``active`` is the release that is active now, ``held`` whether it was gone back to.
    """
    if FIELD in fields:
        return Reason.OTHER_RELEASE if contradicts(fields, release) else None
    if active != release:
        return Reason.OTHER_RELEASE
    return Reason.HELD if held else None


def tag_of(release: str) -> str:
    """Return the tag of everything that was stored for a release."""
    return f"release:{release}"
