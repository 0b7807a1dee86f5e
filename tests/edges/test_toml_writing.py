from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.toml_writing import toml_of

values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(values)
def test_what_is_written_reads_back(value: object) -> None:
    assert tomllib.loads(f"a = {toml_of(value)}") == {"a": value}
