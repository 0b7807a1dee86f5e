from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.errors import StoreError
from edgecache.stores.body import SLICE, MemoryBody, slices


@given(chunks=st.lists(st.binary(max_size=9)).map(tuple), data=st.data())
def test_slices_are_the_bytes_asked_for(chunks: tuple[bytes, ...], data: st.DataObject) -> None:
    whole = b"".join(chunks)
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    views = slices(chunks, start, stop)
    assert b"".join(views) == whole[start:stop]
    assert all(0 < len(view) <= SLICE for view in views)


@given(chunks=st.lists(st.binary(max_size=9)).map(tuple), start=st.integers(-3, 99), stop=st.integers(-3, 99))
def test_bytes_that_are_not_there_are_an_error(chunks: tuple[bytes, ...], start: int, stop: int) -> None:
    if 0 <= start <= stop <= sum(map(len, chunks)):
        assert sum(map(len, slices(chunks, start, stop))) == stop - start
    else:
        with pytest.raises(StoreError):
            slices(chunks, start, stop)


def test_large_chunks_are_cut_and_nothing_is_copied() -> None:
    chunks = (b"x" * (SLICE + 1), b"y" * (2 * SLICE))
    views = slices(chunks, 1, 3 * SLICE + 1)
    assert [len(view) for view in views] == [SLICE, SLICE, SLICE]
    assert [view.obj for view in views] == [chunks[0], chunks[1], chunks[1]]
    assert views[0].obj is chunks[0]


async def test_a_body_reads_what_it_holds() -> None:
    body = MemoryBody((b"ab", b"cde"))
    assert body.size == 5
    assert body.local == (b"ab", b"cde")
    assert [bytes(piece) async for piece in body.read(1, 4)] == [b"b", b"cd"]
    assert repr(body) == "MemoryBody(5 bytes in 2 chunks)"
