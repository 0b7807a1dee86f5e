"""How long a slot stays empty, by how its workers fared."""

from __future__ import annotations

import pytest

from edgecache.processes.crew import LONGEST_PAUSE, Slot


@pytest.mark.parametrize(
    ("ages", "pauses"),
    [
        ([3600], [0]),
        ([0.5], [0]),
        ([0.5, 0.5, 0.5, 0.5, 0.5], [0, 0.1, 0.2, 0.4, 0.8]),
        ([0] * 100, [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[LONGEST_PAUSE] * 93]),
        ([0.5, 0.5, 60, 0.5, 0.5], [0, 0.1, 0, 0, 0.1]),
    ],
)
def test_pauses(ages: list[float], pauses: list[float]) -> None:
    slot, seen = Slot(), []
    for age in ages:
        seen.append(slot.mourn(age, 1000.0))
        assert slot.again_at == 1000.0 + seen[-1]
    assert seen == pauses
