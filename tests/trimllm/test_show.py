"""What an epoch and a scan look like: a line with their facts, a chart with every unit in it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from models import random_documents, tiny, word_tokenizer

import trimllm
from trimllm import show
from trimllm.scanning import Scan
from trimllm.sublayers import Unit
from trimllm.trimming import Epoch

SETTINGS = trimllm.TrainSettings(learning_rate=1e-3, batch_size=4, dtype="float32")
ALL = {f"{block}.{kind}" for block in range(5) for kind in ("attention", "mlp")}


@pytest.fixture(scope="module")
def epochs() -> list[Epoch]:
    """A chain of three epochs that drops two units in each but the first."""
    given = {"train": random_documents(8, longest=7), "calibration": random_documents(8, 9)}
    how = {"step": 2, "until": 4, "settings": SETTINGS, "held_back": random_documents(4, 5)}
    return list(trimllm.trim(tiny("llama"), word_tokenizer(), **given, **how))


def told(shown: Epoch | Scan) -> dict[str, str]:
    """Unit -> what its bar says, from HTML that is well-formed."""
    page = ElementTree.fromstring(shown._repr_html_())
    titles = [title.text.split(": ", 1) for title in page.iter("title")]
    assert len(titles) == len(dict(titles))
    return dict(titles)


def test_an_epoch_is_a_line_with_what_went_and_what_is_left(epochs: list[Epoch]) -> None:
    for epoch in epochs:
        for text in (repr(epoch), "".join(ElementTree.fromstring(epoch._repr_html_()).itertext())):
            assert f"Epoch {epoch.number} of 2" in text and f"{epoch.loss:.3f}" in text
            assert f"{10 - 2 * epoch.number} of 10 units left, {epoch.size['parameters']:,}" in text
            assert f"{epoch.held_back.accuracy:.1f}% right, " in text
            assert all(str(unit) in text for unit in epoch.selection.dropped)
        assert "\n" not in repr(epoch) and len(repr(epoch)) < 250
    assert "nothing dropped" in repr(epochs[0]) and "margin" not in repr(epochs[0])
    chosen = epochs[1].selection
    assert f"; loss {epochs[1].loss:.3f}; " in repr(epochs[1])
    assert f"; margin {chosen.margin:.4g} points by both; " in repr(epochs[1])
    assert (f"; {chosen.ties} tied; " if chosen.ties > 1 else "; no tie; ") in repr(epochs[1])
    assert "; not trained; " in repr(next(trim_once(documents=0)))


def trim_once(**more: object) -> object:
    given = {"train": [], "calibration": random_documents(4), "until": 1.0, "settings": SETTINGS}
    return trimllm.trim(
        tiny("llama"), word_tokenizer(), **given, held_back=given["calibration"], **more
    )


def test_the_chart_has_every_unit_of_the_full_model(epochs: list[Epoch]) -> None:
    gone: set[str] = set()
    for epoch in epochs:
        found, now = told(epoch), set(map(str, epoch.selection.dropped))
        assert found.keys() == ALL
        assert {unit for unit, words in found.items() if words == "gone before"} == gone
        assert {unit for unit, words in found.items() if words.startswith("dropped; ")} == now
        for unit, percent in epoch.scan.accuracy.items():
            assert found[str(unit)].endswith(f"{percent:.1f}% right without it")
        gone |= now
    assert len(gone) == 4


def test_a_bar_is_higher_the_less_its_unit_is_missed(epochs: list[Epoch]) -> None:
    scan = epochs[0].scan
    bars = ElementTree.fromstring(scan._repr_html_()).iter("rect")
    tall = {bar[0].text.split(":")[0]: float(bar.get("height")) for bar in bars}
    assert tall.keys() == ALL and min(tall.values()) > 0
    by_score = sorted(scan.correct, key=lambda unit: scan.correct[unit])
    assert sorted(tall.values()) == [tall[str(unit)] for unit in by_score]
    words = repr(scan)
    assert words.startswith(f"Scan of 8 documents: {scan.baseline:.1f}% right with nothing dropped")
    best, worst = by_score[-1], by_score[0]
    assert f"({scan.accuracy[best]:.1f}% right without it); most missed" in words
    assert f"({scan.accuracy[worst]:.1f}% right without it)" in words.partition("most missed")[2]


def test_scans_of_free_answers_eliminated_units_or_nothing() -> None:
    free = trimllm.scan(tiny("llama"), word_tokenizer(), random_documents(4, choices=1))
    assert f"{free.baseline_answer_likelihood:.3f} with nothing dropped; 10 units" in repr(free)
    assert told(free).keys() == ALL
    unit = Unit(0, "mlp")
    partly = Scan(4, norm={Unit(0, "attention"): 1.0, unit: 1.0}, eliminated={unit: 3})
    partly.correct = {Unit(0, "attention"): 2}
    assert told(partly)["0.mlp"] == "eliminated after 3 documents"
    assert repr(partly).endswith("; 1 eliminated early")
    assert repr(Scan(4)) == "Scan of 4 documents: 0 units" and told(Scan(4)) == {}


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("page", ["#ffffff", "#1e1e1e", "#111111"])
def test_bars_stand_out_on_light_and_dark_pages(epochs: list[Epoch], page: str) -> None:
    """By 3 to 1, as WCAG asks of graphics; what else is drawn has the page's own colour."""
    for color in show.COLORS.values():
        dark, light = sorted((luminance(color), luminance(page)))
        assert (light + 0.05) / (dark + 0.05) >= 3
    drawn = ElementTree.fromstring(epochs[1]._repr_html_()).iter()
    used = {one.get(key) for one in drawn for key in ("fill", "stroke", "color")} - {None, "none"}
    assert used == {"currentColor", *show.COLORS.values()}
