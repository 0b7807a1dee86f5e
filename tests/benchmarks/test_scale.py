"""The question of scale is put to stores in processes of their own, and each is answered."""

from __future__ import annotations

import pytest

from benchmarks.scale import FIELDS, SETTINGS, SHAPES, asked, measured_bytes, measured_pauses, response, weight
from edgecache.stores.memory import MemoryStore


@pytest.mark.parametrize("fields", SHAPES)
def test_a_response_has_so_many_fields(fields: int) -> None:
    assert len(response(7, fields).fields) == fields


def test_a_store_has_room_for_as_many_as_their_weight_says() -> None:
    store = MemoryStore(100 * weight())
    for number in range(200):
        store.put_now(response(number))
    assert 95 < store.statistics().responses <= 100


def test_bytes_are_measured() -> None:
    assert asked(measured_bytes, 500, FIELDS).keys() == {"RSS", "account"}


@pytest.mark.parametrize("settings", SETTINGS)
def test_collections_are_watched(settings: str) -> None:
    assert asked(measured_pauses, 500, settings)["collections"] > 0
