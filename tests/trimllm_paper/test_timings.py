"""Files of results/bench: found by what they are, refused when they contradict themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from timing_files import TimingFiles

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.timings import Timings, read_timing, trimmed_by


def test_a_file_is_what_its_path_says(timings: TimingFiles) -> None:
    path = timings.add("trim_both_r0.25_d6/drop_30+awq_int4", 30, kept=30, total=60, share=0.13)
    one = read_timing(path)
    assert (one.hardware, one.model, one.recipe, one.compressor) == (
        *("cpu-mine", "random-llama-1b", "trim_both_r0.25_d6/drop_30", "awq_int4"),
    )
    assert one.speedup == 3 and one.speedup_range == pytest.approx((2.97, 3.03))
    assert one.unit_bytes_percent == pytest.approx(13) and one.kept_percent == 50
    assert one.bytes_percent == pytest.approx(100 * (0.13 * 2e6 + 6e5) / 2.6e6)


def test_the_full_model_is_its_own_measure(timings: TimingFiles) -> None:
    one = read_timing(timings.add("full_ft", 12, full=None))
    assert one.is_full and one.speedup == 1 and one.speedup_range is None
    assert one.bytes_percent == one.unit_bytes_percent == 100


@pytest.mark.parametrize(
    "recipe, by",
    [
        ("trim_both_r0.25_d6/drop_30", "both"),
        ("trim_activation_norm_r1_d2/drop_02", "activation_norm"),
        ("trim_half/keep_50", "half"),
        ("full", None),
        ("full_ft", None),
    ],
)
def test_trimmed_by(recipe: str, by: str | None) -> None:
    assert trimmed_by(recipe) == by


def test_what_is_found_by_kept_fraction(timings: TimingFiles) -> None:
    timings.add_machine()
    found = Timings(timings.paths)
    at = ("cpu-mine", "random-llama-1b")
    assert found.groups() == [at]
    assert sorted(found.trimmed(*at, 50)) == ["chain", "half"]
    # 18 of 44 units are 40.9%
    assert list(found.trimmed(*at, 40)) == ["half"] and not found.trimmed(*at, 30)
    assert list(found.trimmed(*at, 50, "awq_int4")) == ["half"]
    assert found.full(*at).recipe == "full" and found.full(*at, "llm_int8").compressor == "llm_int8"
    assert found.full("h100", at[1]) is None


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model": "another"}, "says model 'another' but lies under"),
        ({"hardware": "a100"}, "says hardware 'a100' but lies under 'cpu-mine'"),
        ({"bytes": None}, "no measurement of throughput"),
    ],
)
def test_a_file_that_contradicts_itself(
    timings: TimingFiles, changes: dict[str, object], words: str
) -> None:
    path = timings.add("full", 10, full=None)
    import json

    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    with pytest.raises(UserError, match=words):
        read_timing(path)


def test_a_file_in_the_wrong_place(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "full.json"
    path.parent.mkdir()
    path.write_text("{}")
    with pytest.raises(UserError, match="not of the form bench/HARDWARE/MODEL/RECIPE.json"):
        read_timing(path)


def test_a_measurement_that_was_changed_by_hand_is_refused(timings: TimingFiles) -> None:
    path = timings.add("trim_half/keep_50", 20, kept=22)
    content = files.sealed(files.read_json(path))
    files.write_json(path, content)
    assert read_timing(path).median("decode_tokens_per_second") == 20
    content["decode_tokens_per_second"]["median"] = 30.0
    files.write_json(path, content)
    with pytest.raises(UserError, match=r"keep_50\.json was changed after it was written"):
        read_timing(path)
