"""Contradictions of the paper cite its tables."""

from typing import Any

import pytest

from trimllm_paper import published


@pytest.mark.parametrize("one", published.contradictions())
def test_a_contradiction_names_numbers_of_the_tables(one: dict[str, Any]) -> None:
    for place, value in one["numbers"].items():
        table, *block, row, column = place.split("/")
        printed = published.table(table).value(row, column, *block)
        assert published.bound_percent(printed) == value, place
        assert f"{value:g}" in one["text"]
