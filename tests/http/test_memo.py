from __future__ import annotations

from typing import TYPE_CHECKING

from edgecache.http.memo import LONGEST_REMEMBERED, REMEMBERED_VALUES, memoised

if TYPE_CHECKING:
    from collections.abc import Callable


def counting(parsed: list[str]) -> Callable[[str], int]:
    def parse(value: str) -> int:
        parsed.append(value)
        return len(value)

    return memoised(parse)


def test_a_short_value_is_parsed_once() -> None:
    parsed: list[str] = []
    parse = counting(parsed)
    assert [parse("a"), parse("a"), parse("bc")] == [1, 1, 2]
    assert parsed == ["a", "bc"]


def test_a_long_value_is_parsed_each_time() -> None:
    parsed: list[str] = []
    parse = counting(parsed)
    long = "a" * (LONGEST_REMEMBERED + 1)
    assert parse(long) == parse(long) == len(long)
    assert len(parsed) == 2


def test_the_number_of_remembered_values_is_bounded() -> None:
    parsed: list[str] = []
    parse = counting(parsed)
    for number in range(REMEMBERED_VALUES + 1):
        parse(str(number))
    parse("0")
    assert parsed.count("0") == 2
