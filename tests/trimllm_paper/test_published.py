"""The paper's numbers are complete, typed, and the ones that the paper prints."""

from __future__ import annotations

from typing import Any

import pytest

from trimllm_paper import published


def test_every_table_is_rectangular() -> None:
    assert published.tables() == tuple(f"table{i}" for i in range(1, 10))
    for name in published.tables():
        found = published.table(name)
        assert found.columns and found.blocks
        for block in found.blocks:
            assert {len(row) for row in found.blocks[block].values()} == {len(found.columns)}
            for row in found.rows(block):
                values = [found.value(row, column, block) for column in found.columns]
                assert all(isinstance(value, int | float | str) for value in values)


@pytest.mark.parametrize(
    ("table", "block", "row", "column", "value"),
    [
        ("table1", "RTX3090", "trimllm", "throughput", 26.8),
        ("table2", "llama-7b", "full_ft", "sciq", 95.6),
        ("table2", "llama-13b", "trimllm_30", "financeqa", 41.0),
        ("table2", "llama-7b", "awq_int4", "final_mem", ">25%"),
        ("table3", "", "both", "medmcqa", 53.1),
        ("table6", "r_1_4", "both", "final_mem", ">=50%"),
        ("table8", "opt-6.7b", "trimllm_40", "lexglue", 33.7),
        ("table9", "", "trimllm", "8", 6.5),
    ],
)
def test_values(table: str, block: str, row: str, column: str, value: object) -> None:
    assert published.table(table).value(row, column, block) == value


@pytest.mark.parametrize(
    ("printed", "number"),
    [(">=50%", 50.0), (">25%", 25.0), ("100%", 100.0), (">12.5%", 12.5), (4.1, 4.1), (None, None)],
)
def test_bounds(printed: published.Value, number: float | None) -> None:
    assert published.bound_percent(printed) == number


@pytest.mark.parametrize("one", published.contradictions(), ids=lambda one: one["id"])
def test_a_contradiction_names_numbers_of_the_tables(one: dict[str, Any]) -> None:
    for place, value in one["numbers"].items():
        table, *block, row, column = place.split("/")
        printed = published.table(table).value(row, column, *block)
        assert published.bound_percent(printed) == value, place
        assert f"{value:g}" in one["text"]
    assert {*one.get("claims", [])} <= {claim["id"] for claim in published.claims()}
