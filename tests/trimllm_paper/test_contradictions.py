"""The paper against itself: every contradiction holds for the numbers that we took from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimllm_paper import contradictions, published
from trimllm_paper.contradictions import Contradiction, found, of_claim, of_table


def texts() -> str:
    return "\n".join(one.text for one in found())


@pytest.mark.parametrize(
    "numbers",
    [
        ("43.4", "43.3", "sparse_ft"),
        ("40 in Table 1", "50 in Table 7"),
        ("13 printed accuracies on medmcqa", "9.1"),
        ("5.2 in Table 4", "33.3%"),
        ("81.1 in Table 6, r_1", "80.5"),
        ("by both more stands at r_1_8 in 1 of 5", "≥60%", "≥50%", "94.3 against 94.2 on sciq"),
        ("by calibration more stands at r_1_8 in 5 of 5 columns", "42.8 against 42.3"),
        ("r = 1 performs worst", "by activation_norm less stands at r_1_8 in 1 of 5", "39.6"),
        ("47.5 is 87%", "54.6"),
        ("pubmedqa by 29.3", "5.2 to 34.5"),
        ("3.48 times", "3.1x"),
        ("4.46 times", "3.1x"),
        ("More than 16", "≥50%"),
        ("leave 36%", "68%"),
        ("4.9x if 0", "6.1x if 16", "8.2x if 32", ">12.5%"),
        ("5 epochs", "7.35"),
        ("6.5 h for 8 epochs", "8.8"),
        ("82.2 on sciq", "6.8 below"),
    ],
)
def test_what_is_known_is_found(numbers: tuple[str, ...]) -> None:
    assert any(all(number in one.text for number in numbers) for one in found()), numbers


def test_each_has_two_numbers_with_places_and_nothing_is_told_twice() -> None:
    assert all(len(one.numbers) >= 2 for one in found())
    assert len({one.text for one in found()}) == len(found())
    known = {one["id"] for one in published.claims()}
    assert all({*one.claims} <= known for one in found())
    assert all({*one.tables} <= {*published.tables()} for one in found())


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """What is found in words, were another number printed in a row: TABLE, ROW, from, to."""

    def clear() -> None:
        published.table.cache_clear()
        found.cache_clear()

    def change(rows: dict[str, list[float]], row: str, old: float, new: float) -> str:
        assert rows[row].count(old) == 1
        monkeypatch.setitem(rows, row, [new if value == old else value for value in rows[row]])
        clear()
        return texts()

    yield change
    monkeypatch.undo()
    clear()


def test_a_paper_without_them_has_none(printed: Callable[..., str]) -> None:
    """Each check finds nothing where the numbers agree: one changed number, one finding less."""
    before = texts()
    after = printed(published._CONTENT["table2"]["llama-7b"], "sparse_ft", 43.4, 43.3)
    assert "43.4" not in after and set(after.split("\n")) < set(before.split("\n"))


@pytest.mark.parametrize(
    "table, row, old, told",
    [
        ("table5", "sciq_specialized", 91.2, "91.2 in Table 2, llama-7b, trimllm_40, sciq, 90 in"),
        (
            "table4",
            "medmcqa_specialized",
            47.5,
            "90 in Table 4, medmcqa_specialized, medmcqa, 47.5",
        ),
        ("table4", "lexglue_specialized", 9.1, "90 in Table 4, lexglue_specialized, medmcqa, 9.1"),
    ],
)
def test_what_tables_4_and_5_print_of_one_model_agrees(
    printed: Callable[..., str], table: str, row: str, old: float, told: str
) -> None:
    """On its own domain it is TrimLLM (40%) of Table 2."""
    assert "specialized, medmcqa, " not in texts()
    assert told in printed(published._CONTENT[table], row, old, 90)


def test_every_number_below_chance_has_its_place() -> None:
    low = [one for one in found() if "below chance" in one.text]
    assert sum(len(one.numbers) - 1 for one in low) == 30
    for one in low:
        (chance, *each) = one.numbers.values()
        assert one.text.startswith(f"{len(each)} ") and max(each) < chance


def test_what_is_a_difference_of_noise_contradicts_nothing(printed: Callable[..., str]) -> None:
    """OPT-6.7B at half of the units is 0.5 below the untrained model in SciQ, LLaMA-13B 0.3 at 40%
    in PIQA."""
    assert "88.5 on sciq" not in texts() and "79.1 on piqa" not in texts()
    row = published._CONTENT["table2"]["llama-13b"]
    assert "77 on piqa, 2.4 below the untrained 79.4" in printed(row, "trimllm_40", 79.1, 77)


def test_a_tables_own_come_first() -> None:
    mine = of_table("table2")
    assert all("Table 2," in text for text in mine[:3]) and "9.1 in Table 4" in mine[-1]


def test_tables_and_claims_have_their_own() -> None:
    assert any("43.4" in text for text in of_table("table2"))
    assert not any("tokens/s" in text or "29.3" in text for text in of_table("table2"))
    assert any("7.35" in text for text in of_claim("two_per_epoch"))
    assert of_claim("no_such_claim") == ()


def test_a_number_that_the_paper_does_not_print_is_an_error() -> None:
    with pytest.raises(KeyError, match="prints nothing"):
        contradictions.number("table3", "no_row", "sciq")


def test_the_page_lists_them_all(tmp_path: Path) -> None:
    contradictions.write(tmp_path / "contradictions.md")
    text = (tmp_path / "contradictions.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(found()) and all(line.count("|") == 4 for line in rows)
    assert f"{len(found())} contradictions" in text


def test_places_name_their_tables() -> None:
    one = Contradiction("1, not 2", {"Table 2, a": 1, "abstract": 2})
    assert one.tables == ("table2",)
