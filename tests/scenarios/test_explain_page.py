"""``docs/explain.md`` shows what the program prints."""

from __future__ import annotations

import pytest

from tests.scenarios.explain_page import BLOCK, CASES, PAGE, shown, written

BLOCKS = dict(BLOCK.findall(PAGE.read_text("utf-8")))


@pytest.mark.parametrize("case", CASES)
async def test_a_block_is_what_the_program_prints(case: str) -> None:
    assert BLOCKS[case] == await shown(case), "write it anew: python -m tests.scenarios.explain_page"


@pytest.mark.parametrize("case", CASES)
def test_what_is_shown_fits_on_a_page(case: str) -> None:
    assert max(map(len, BLOCKS[case].splitlines())) <= 100


def test_there_is_no_other_block() -> None:
    page = PAGE.read_text("utf-8")
    assert set(BLOCKS) == set(CASES)
    assert page.count("```") == 2 * len(CASES)


async def test_a_page_is_written_anew() -> None:
    outdated = "before\n<!-- scan -->\n```\n$ something else\n```\nafter\n"
    assert await written(outdated) == f"before\n<!-- scan -->\n```\n{await shown('scan')}```\nafter\n"
