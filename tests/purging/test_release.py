"""The active release: its text, its names, what an activation makes of it, and the ledger of one process."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.errors import ClientError
from edgecache.purging.base import Ledger
from edgecache.purging.local import LocalLedger
from edgecache.purging.receipt import State
from edgecache.purging.release import NO_RELEASE, Release
from edgecache.purging.selector import Selector
from edgecache.purging.verdict import Verdict

NAMES = st.from_regex(re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII), fullmatch=True)
SEQUENCES = st.integers(0, 10**16 - 1)

# ------------------------------------------------------------------------------------------------------- its text


@pytest.mark.parametrize(
    ("release", "text"),
    [
        (NO_RELEASE, "0 - active -"),
        (Release("v42", sequence=7), "7 v42 active -"),
        (Release("v42", previous="v41", sequence=1795572960456360), "1795572960456360 v42 active v41"),
        (Release("v41", held=True, previous="v42", sequence=8), "8 v41 held v42"),
        (Release("2026-01-31_7.a", sequence=1), "1 2026-01-31_7.a active -"),
    ],
)
def test_the_text_of_a_release(release: Release, text: str) -> None:
    assert str(release) == text
    assert Release.parse(text) == release


@pytest.mark.parametrize(
    "text",
    [
        "", "7", "7 v42", "7 v42 active", "v42", "7 v42 active - ", " 7 v42 active -", "7  v42 active -",
        "07 v42 active -", "-7 v42 active -",
        "7 v42 Active -", "7 v42 rolled -", "7 .v42 active -", "7 v/42 active -", "7 v42 active v42",
        "7 - active -", "0 - held -", "0 - active v41", "7 v42 active -\n", "\u0667 v42 active -", "7 vé active -",
        f"7 {'v' * 65} active -", "12345678901234567 v42 active -",
    ],
)  # fmt: skip
def test_what_is_not_the_text_of_a_release(text: str) -> None:
    with pytest.raises(ValueError, match="release"):
        Release.parse(text)


@given(NAMES, st.booleans(), NAMES | st.just(""), SEQUENCES)
def test_what_is_written_reads_back(name: str, held: bool, previous: str, sequence: int) -> None:
    release = Release(name, held, previous if previous != name else "", sequence)
    assert Release.parse(str(release)) == release


@given(st.text() | st.from_regex(re.compile(r"[0-9]{1,3} [a-c-]{1,2} (active|held) [a-c-]{1,2}"), fullmatch=True))
def test_any_text_is_a_release_or_an_error(text: str) -> None:
    try:
        release = Release.parse(text)
    except ValueError:
        return
    assert str(release) == text


# -------------------------------------------------------------------------------------- what an activation makes of it


@pytest.mark.parametrize(
    ("before", "name", "held", "after"),
    [
        (NO_RELEASE, "v1", False, Release("v1", sequence=9)),
        (Release("v1", sequence=5), "v2", False, Release("v2", previous="v1", sequence=9)),
        (Release("v2", previous="v1", sequence=5), "v1", True, Release("v1", True, "v2", 9)),
        (Release("v2", previous="v1", sequence=5), "v2", False, Release("v2", previous="v1", sequence=9)),
        (Release("v1", True, "v2", 5), "v1", False, Release("v1", False, "v2", 9)),
        (Release("v1", True, "v2", 5), "v3", False, Release("v3", previous="v1", sequence=9)),
    ],
)
def test_what_was_active_before_is_remembered(before: Release, name: str, held: bool, after: Release) -> None:
    assert before.then(name, held=held, sequence=9) == after


@given(NAMES)
def test_names(name: str) -> None:
    assert NO_RELEASE.then(name, sequence=1).name == name


BAD_NAMES = ["", "-", ".v1", "_v1", "-v1", "v 1", "v/1", "v1\n", "v:1", "é", "v" * 65, "v1\0", "\u0667"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_not_a_name(name: str) -> None:
    with pytest.raises(ClientError) as raised:
        NO_RELEASE.then(name, sequence=1)
    assert raised.value.status == 400


def test_nobody_can_purge_what_an_activation_is_in_the_log() -> None:
    with pytest.raises(ClientError):
        Selector.of("release", "v1")


# ----------------------------------------------------------------------------------------- the ledger of one process


async def test_the_ledger_of_one_process_switches_at_once() -> None:
    local = LocalLedger()
    ledger: Ledger = local
    assert ledger.release == NO_RELEASE
    receipt = await ledger.activate("v1")
    assert (receipt.state, receipt.sequence, receipt.missing) == (State.CONFIRMED, 1, ())
    assert ledger.release == Release("v1", sequence=1)
    local.purge_now([Selector.of("tag", "a")])
    await ledger.activate("v2")
    await ledger.activate("v1", held=True)
    assert ledger.release == Release("v1", True, "v2", 4)
    assert ledger.sequence == 4


async def test_the_same_again_is_confirmed_and_changes_nothing_else() -> None:
    ledger = LocalLedger()
    await ledger.activate("v1")
    await ledger.activate("v2")
    assert (await ledger.activate("v2")).state is State.CONFIRMED
    assert ledger.release == Release("v2", previous="v1", sequence=3)


async def test_an_activation_purges_nothing() -> None:
    ledger = LocalLedger()
    born = ledger.birth()
    await ledger.activate("v1")
    assert ledger.birth() != born
    assert ledger.verdict_of(born, "http://example.com/a", ["a"]) is Verdict.VALID
    assert ledger.last_hard == 0


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_bad_name_activates_nothing(name: str) -> None:
    ledger = LocalLedger()
    with pytest.raises(ClientError):
        await ledger.activate(name)
    assert (ledger.release, ledger.sequence) == (NO_RELEASE, 0)


async def test_who_is_replaced_activates_nothing() -> None:
    ledger = LocalLedger()
    await ledger.activate("v1")
    ledger.retire()
    assert (await ledger.activate("v2")).state is State.UNCONFIRMED
    assert ledger.release.name == "v1"
