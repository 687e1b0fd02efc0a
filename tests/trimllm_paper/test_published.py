"""The paper's numbers are the ones that it prints."""

from __future__ import annotations

from typing import Any

import pytest

from trimllm_paper import published


@pytest.mark.parametrize(
    ("table", "block", "row", "column", "value", "number"),
    [
        ("table1", "RTX3090", "trimllm", "throughput", 26.8, 26.8),
        ("table2", "llama-7b", "full_ft", "sciq", 95.6, 95.6),
        ("table2", "llama-7b", "awq_int4", "final_mem", ">25%", 25.0),
        ("table6", "r_1_4", "both", "final_mem", ">=50%", 50.0),
        ("table9", "", "trimllm", "8", 6.5, 6.5),
    ],
)
def test_values(
    table: str, block: str, row: str, column: str, value: float | str, number: float
) -> None:
    printed = published.table(table).value(row, column, block)
    assert printed == value and published.bound_percent(value) == number


@pytest.mark.parametrize("one", published.contradictions(), ids=lambda one: one["id"])
def test_a_contradiction_names_numbers_of_the_tables(one: dict[str, Any]) -> None:
    for place, value in one["numbers"].items():
        table, *block, row, column = place.split("/")
        printed = published.table(table).value(row, column, *block)
        assert published.bound_percent(printed) == value, place
        assert f"{value:g}" in one["text"]
    assert {*one.get("claims", [])} <= {claim["id"] for claim in published.claims()}
