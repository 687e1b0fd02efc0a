"""Records of trim runs: what was dropped, and which of it only a tie-break chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chain_files import change, epoch, every_unit, places, plain_chain, write_chain
from evaluation_files import Evaluations
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.chains import KINDS, Run, checkpoints, read_chain, read_chains
from trimllm_paper.measured import Results

RUN = Run(0.25, 6)


def test_drops_are_those_of_whole_epochs(tmp_path: Path) -> None:
    chain = read_chain(write_chain(tmp_path, plain_chain()))
    assert (chain.model, chain.domain, chain.criterion, chain.run) == ("tiny", "sciq", "both", RUN)
    assert len(chain.dropped()) == 4
    assert chain.dropped(at_most=3) == chain.dropped(at_most=2) == [(0, "mlp"), (1, "mlp")]


def test_a_clear_choice_is_no_tie(tmp_path: Path) -> None:
    counts = read_chain(write_chain(tmp_path, plain_chain())).counts()
    assert counts.clear == {"attention": 2, "mlp": 2} and counts.tied == dict.fromkeys(KINDS, 0)


def test_a_tie_is_one_where_equals_stayed(tmp_path: Path) -> None:
    """One unit is clearly best; the second is one of four equals, three of them attention."""
    scores = every_unit(mlp0=9, attention1=7, attention2=7, attention3=7, mlp3=7)
    path = write_chain(tmp_path, [epoch(0, [(0, "mlp"), (3, "mlp")], scores)])
    counts = read_chain(path).counts()
    assert counts.clear == {"attention": 0, "mlp": 1}
    assert counts.tied == {"attention": 0, "mlp": 1}
    assert counts.even == {"attention": 0.75, "mlp": 0.25}
    assert counts.total("mlp") == 2


@given(st.lists(st.integers(0, 10), min_size=8, max_size=8), st.integers(1, 7))
def test_every_drop_is_counted_once(tmp_path_factory, correct: list[int], drops: int) -> None:
    scores = dict(zip(every_unit(), correct, strict=True))
    best = sorted(scores, key=lambda unit: -scores[unit])[:drops]
    path = write_chain(tmp_path_factory.mktemp("chain"), [epoch(0, best, scores)])
    counts = read_chain(path).counts()
    assert counts.total("attention") + counts.total("mlp") == drops
    assert sum(counts.even.values()) == pytest.approx(sum(counts.tied.values()))
    # Drawn by lot or not, a tie has no part in what is strictly better than the last one dropped.
    bar = scores[best[-1]]
    assert sum(counts.clear.values()) >= sum(scores[unit] > bar for unit in best)


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda epochs: epochs[1:], "not 0, 1, 2"),
        (lambda epochs: [{**one, "criterion": "likelihood"} for one in epochs], "criterion"),
        (lambda epochs: [{k: v for k, v in epochs[0].items() if k != "scan"}], "lacks"),
        (lambda epochs: [], "lacks"),
    ],
)
def test_broken_records_are_refused(tmp_path: Path, change, complaint: str) -> None:
    path = write_chain(tmp_path, change(plain_chain()))
    with pytest.raises(UserError, match=complaint):
        read_chain(path)


@given(st.data())
def test_no_value_can_be_changed_unnoticed(tmp_path_factory, data: st.DataObject) -> None:
    """Whichever it is, in whichever epoch; how the file is laid out does not matter."""
    path = write_chain(tmp_path_factory.mktemp("chain"), plain_chain())
    epochs = files.read_jsonl(path)
    path.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n\n" for one in epochs))
    assert read_chain(path).epochs == tuple(epochs)
    one = data.draw(st.sampled_from(epochs))
    place = data.draw(
        st.sampled_from([p for p in places(one) if p[0] not in ("epoch", "criterion")])
    )
    change(one, place)
    files.write_jsonl(path, epochs)
    with pytest.raises(UserError, match=r"d6\.jsonl was changed after it was written"):
        read_chain(path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="RUN.jsonl"):
        read_chain(tmp_path / "records/tiny/sciq/full_ft.jsonl")


def test_chains_of_other_runs_are_left_out(tmp_path: Path) -> None:
    paths = [
        write_chain(tmp_path, plain_chain()),
        write_chain(tmp_path, plain_chain(), run="r0.5_d6"),
        write_chain(tmp_path, plain_chain(), model="other"),
    ]
    assert set(read_chains(paths, "tiny", RUN)) == {("sciq", "both")}


def test_checkpoints_come_in_order_and_compressed_ones_apart(evaluations: Evaluations) -> None:
    evaluations.add_domain("sciq")
    evaluations.add("trim_both_r0.25_d6/drop_30+awq_int4", 60, kept=30)
    evaluations.add("trim_both_r0.5_d6/drop_30", 60, kept=30)
    results = Results(evaluations.paths)
    found = checkpoints(results, "tiny", "sciq", ["sciq"], "both", RUN)
    assert [dropped for dropped, _ in found] == [30, 36, 42]
    found = checkpoints(results, "tiny", "sciq", ["sciq"], "both", RUN, "awq_int4")
    assert [(dropped, accuracy.percent) for dropped, accuracy in found] == [(30, 60)]
