"""Tables of throughput and of training time: ours beside the paper's, and never in its place."""

from pathlib import Path

import pytest
from result_files import (
    COLUMNS,
    TWO_A100,
    Evaluations,
    TimingFiles,
    blocks,
    build,
    epoch,
    rows,
    sublayers,
    write_chain,
    write_engine,
    write_training,
)

from trimllm.base.errors import UserError
from trimllm.throughput.result import summary
from trimllm_paper.render import Rendered

MINE = "cpu-mine/random-llama-1b"
SEEN, NOT_SEEN = "seen on the stand-in", "not seen on the stand-in"


def table1(timings: TimingFiles) -> Rendered:
    return build("table1", timings=timings.paths, models=[], trim={"kept_percent": [50]})


# ---- Table 1


def test_cells_walk_back_to_their_files(timings: TimingFiles) -> None:
    timings.add_machine()
    timings.add("trim_half/keep_42", 23, kept=17)  # 38.6%, farther from 40% than 40.9%
    table = table1(timings)
    cell = table.cell(MINE, "trimllm_40", "throughput")
    assert (cell.value, cell.printed) == (22, 103.1)
    assert cell.sources[0].endswith("trim_half/keep_40.json")
    speedup = table.cell(MINE, "trimllm_40", "speedup")
    assert speedup.value == 2.2 and speedup.printed == pytest.approx(103.1 / 42.3)
    # Student's t of five rounds: 2.78 * 1.58% / sqrt(5).
    assert (speedup.low, speedup.high) == pytest.approx((2.2 * 0.9805, 2.2 * 1.0197), abs=0.002)
    assert table.cell(MINE, "trimllm_50_awq_int4", "unit_bytes").value == pytest.approx(13)
    chain = table.cell(MINE, "trimllm_50_chain", "throughput")
    assert (chain.value, chain.section) == (19, "trimmed by chain: of PIQA")
    assert table.cell(MINE, "awq_int4", "mem").verdict is None


def test_speed_verdicts_follow_the_interval_over_rounds(timings: TimingFiles) -> None:
    timings.add_machine()
    timings.add("full+sparsegpt_2_4", 10.5, spread=0.06)
    # Quartiles lie above 1, the 95% interval does not.
    cell = table1(timings).cell(MINE, "sparsegpt_2_4", "speedup")
    assert cell.low < 1 < cell.value and cell.verdict == "undecided"
    timings.add("full+awq_int4", 23, share=0.26, speedup=summary([2.3]))
    assert table1(timings).cell(MINE, "awq_int4", "speedup").verdict == "undecided"  # one round


def test_a_row_of_the_papers_own_hardware_is_judged_by_its_number(timings: TimingFiles) -> None:
    model = "random-llama-7b"
    timings.add("full", 40, full=None, hardware="a100", model=model)
    timings.add("full+awq_int4", 60, full=40, share=0.26, hardware="a100", model=model)
    timings.add("full", 90, full=None, hardware="h100", model=model)
    table = table1(timings)
    own = table.cell(f"a100/{model}", "fp16", "throughput")
    assert (own.verdict, own.printed) == ("reproduced", 42.3)
    assert table.cell(f"a100/{model}", "awq_int4", "throughput").verdict == "not reproduced"
    assert table.cell(f"a100/{model}", "awq_int4", "mem").verdict == "not reproduced"
    assert table.cell(f"h100/{model}", "fp16", "throughput").verdict is None
    assert blocks(table) == [f"a100/{model}", f"h100/{model}", "V100", "RTX3090"]


def test_compiled_speeds_have_columns_where_they_were_measured(timings: TimingFiles) -> None:
    timings.add_machine()
    assert not {"compiled", "compiled_speedup"} & {one.key for one in table1(timings).columns}
    pair = {"decode_tokens_per_second": summary([60.0, 66.0, 72.0]), "speedup": summary([1.6])}
    timings.add("full", 10, full=None, compiled={"decode_tokens_per_second": summary([41.0])})
    timings.add("trim_half/keep_50", 18.5, kept=22, share=0.5, compiled=pair)
    timings.add("full+awq_int4", 23, share=0.26, compiled={"error": "no compiler"})
    table = table1(timings)
    cells = {row: table.cell(MINE, row, "compiled") for row in ("fp16", "trimllm_50", "awq_int4")}
    assert [cell.value for cell in cells.values()] == [41, 66, None]
    assert cells["awq_int4"].why == "no compiler"
    over = [table.cell(MINE, row, "compiled_speedup").value for row in cells]
    assert over == [1, 1.6, None]


# ---- Table 7


def test_accuracy_and_throughput_stand_in_one_row_and_name_the_timed_checkpoint(
    evaluations: Evaluations, timings: TimingFiles
) -> None:
    """Speed and size are those of PIQA's checkpoint, beside accuracies of other domains'."""
    chain, block = "trim_paper/drop_30", "cpu-mine/tiny"
    for domain in COLUMNS:
        evaluations.add_domain(domain, stand_in="Stand-in set")
        evaluations.add(f"{chain}+awq_int4", 66, domain=domain, kept=30)
    where = {"model": "tiny", "total": 60, "domain": "piqa"}
    timings.add("full_ft", 10, full=None, kept=60, **where)
    timings.add(chain, 19, kept=30, share=0.5, **where)
    timings.add(f"{chain}+awq_int4", 34, kept=30, share=0.13, **where)
    timings.add_machine()
    table = build("table7", evaluations.paths, timings=timings.paths)
    names = ("sciq", "speedup", "mem", "unit_bytes")
    cells = {name: table.cell(block, "trimllm_awq_int4", name) for name in names}
    assert (cells["sciq"].value, cells["sciq"].printed) == (66, 91.5)
    assert cells["speedup"].value == 3.4 and cells["mem"].printed == ">12.5%"
    assert cells["speedup"].printed == pytest.approx(188.7 / 42.3)
    assert cells["unit_bytes"].value == pytest.approx(13)
    assert cells["sciq"].sources[0].endswith(f"{chain}+awq_int4/sciq.json")
    assert table.columns[0].label == "SciQ†"
    assert any("checkpoint of PIQA" in line for line in table.header)
    # A missing half leaves the other.
    assert table.cell(block, "gptq_int4", "throughput").verdict == "not run"
    assert table.cell(block, "sparsegpt_2_4", "sciq").verdict == "not run"
    shape = table.cell(MINE, "trimllm_awq_int4", "sciq")
    assert (shape.value, shape.verdict, shape.printed) == (None, None, None)
    assert table.cell(MINE, "trimllm_awq_int4", "speedup").value == 3.5


# ---- Table E


def test_engines_show_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    """transformers and llama.cpp were measured, at 50% and 30%; vLLM was not."""
    block, batches = "cpu-mine/tiny", (1, 8)
    paths = [
        write_engine(tmp_path, {"transformers": {50: 1.4, 30: 2.0}}, batches=batches),
        write_engine(tmp_path, {"gguf_q8_0": {50: 1.6, 30: 2.2}}, batches=batches),
    ]
    formats = ["transformers", "awq_int4", "gptq_int4", "gguf_q8_0", "vllm"]
    engines = {"formats": formats, "batches": batches}
    table = build("table_engines", in_engines=paths, engines=engines)
    # 60 units of 40 kB and 0.6 MB beside: half of them are 1.8 of 3 MB.
    for name, gain in (("transformers", 1.4), ("gguf_q8_0", 1.6)):
        for batch in batches:
            row = f"{name}_{batch}_trimllm_50"
            expected = {"speedup": gain, "share_decode": 100 * gain * 1.8 / 3}
            expected |= {"decode": 8 * batch * gain, "share_prefill": 100 * gain / 2}
            for key, value in expected.items():
                assert table.cell(block, row, key).value == pytest.approx(value)
    assert table.cell(block, "gguf_q8_0_1_trimllm_50", "parity").value == 0.004
    assert table.cell(block, "transformers_1_full", "speedup").value == 1
    for row in ("vllm_1_full", "vllm_8_trimllm_50", "gguf_q8_0_1_trimllm_40"):
        for column in table.columns:
            cell = table.cell(block, row, column.key)
            assert (cell.value, cell.verdict) == (None, "not run")
    assert not any("gptq_int4" in row for row in rows(table, block))  # no run makes it
    with pytest.raises(UserError, match="table_engines: nothing was measured"):
        build("table_engines", in_engines=[], engines=engines)


# ---- Table 9

TRAIN, SCAN = [300, 240, 200, 160, 120, 100, 80, 60], [0, 60, 50, 40, 30, 20, 10, 5]


def chain(root: Path, train: list[float], scan: list[float], seed: int = 0) -> list[Path]:
    """Records of a chain's epochs; each but the first drops a unit of sixty."""
    gone = [[], *([unit] for unit in sublayers(30)[1 : len(train)])]
    epochs = [
        epoch(n, drops, blocks=30, seconds=t, scan_seconds=s)
        for n, (drops, t, s) in enumerate(zip(gone, train, scan, strict=True))
    ]
    return write_chain(root, epochs, step=1, seed=seed)


def test_minutes_are_sums_of_epochs_without_their_scans(tmp_path: Path) -> None:
    trainings = [write_training(tmp_path, "full_ft", 600, 600)]
    trainings.append(write_training(tmp_path, "sparse_ft", *[360] * 8))
    table = build("table9", trainings=trainings, epochs=chain(tmp_path, TRAIN, SCAN))
    expected = {
        **{("full_ft", "minutes_2"): 20, ("sparse_ft", "minutes_4"): 24},
        **{("trimllm", "minutes_2"): 9, ("trimllm", "minutes_4"): 15},
        # 2.5 of 40 minutes, and 215 seconds of 80 minutes
        **{("trimllm", "scans_4"): 100 * 2.5 / 40, ("trimllm", "scans_8"): 100 * 215 / 4800},
        ("full_ft", "minutes_8"): 80,
    }
    for (row, column), value in expected.items():
        assert table.cell("tiny", row, column).value == pytest.approx(value), (row, column)
    assert table.cell("tiny", "full_ft", "scans_2").value is None  # fine-tuning scans nothing
    extended = table.cell("tiny", "full_ft", "minutes_8")
    assert "2 epochs measured, their mean times 8" in extended.why and extended.n == 2
    assert "8 epochs measured" in table.cell("tiny", "sparse_ft", "minutes_8").why


def test_verdicts_compare_shares_of_full_fine_tuning(tmp_path: Path) -> None:
    """Three runs, each a bit slower in all; the last one fine-tunes on another machine."""
    trainings, epochs = [], []
    for seed, slower, on in ((1, 1.0, {}), (2, 1.01, {}), (3, 1.02, TWO_A100)):
        place = tmp_path / str(seed)
        for recipe, seconds in (("full_ft", 600), ("sparse_ft", 356 * slower)):
            trainings.append(write_training(place, recipe, seconds * slower, seed=seed, **on))
        epochs += chain(place, [slower * one for one in TRAIN], SCAN, seed)
    table = build("table9", trainings=trainings, epochs=epochs)
    share = table.cell("tiny", "sparse_ft", "share_2")
    assert share.value == pytest.approx(60, abs=0.1) and share.verdict == SEEN
    assert share.printed == pytest.approx(100 * 2.5 / 4.1)
    # 9 of 20 minutes, the paper 44%; 21 of 80, the paper 39%.
    assert table.cell("tiny", "trimllm", "share_2").verdict == SEEN
    last = table.cell("tiny", "trimllm", "share_8")
    assert "26 (26 to 26)% of Full-FT, paper 39%" in last.why and last.verdict == NOT_SEEN
    # Full-FT is its own yardstick.
    full = [table.cell("tiny", "full_ft", name) for name in ("minutes_4", "share_4")]
    assert [cell.verdict for cell in full] == [None, None]
    # Minutes are those of the first machine's two seeds.
    assert (full[0].printed, full[0].value) == pytest.approx((8.3 * 60, 40.2))
    assert table.cell("tiny", "trimllm_ours", "minutes_2").verdict == "not run"


def test_epochs_have_as_many_tokens_as_those_of_full_fine_tuning(tmp_path: Path) -> None:
    trainings = [write_training(tmp_path, "full_ft", 600, tokens=200)]
    trainings.append(write_training(tmp_path, "sparse_ft", 90, tokens=50))
    table = build("table9", trainings=trainings, epochs=chain(tmp_path, [150, 150], [0, 60]))
    assert table.cell("tiny", "trimllm", "minutes_2").value == pytest.approx(10)
    assert table.cell("tiny", "sparse_ft", "share_2").value == pytest.approx(60)
    # A scan goes with the calibration documents: 1 of 20 minutes.
    assert table.cell("tiny", "trimllm", "scans_2").value == pytest.approx(5)
