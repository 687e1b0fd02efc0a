"""Algorithm 1: what an epoch drops and trains, and that a chain cut anywhere is the whole one."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from models import random_documents, tiny, word_tokenizer
from safetensors.torch import load_file

import trimllm
from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.precision import round_weights_
from trimllm.data.document import write_documents
from trimllm.scanning import scan, to_record
from trimllm.sublayers import Unit, drop, unit_parameters, units
from trimllm.train import NO_PASS, TrainJob, TrainSettings, fine_tune, held_back_score
from trimllm.trimming import Resume, ScanSettings, make_epoch

SETTINGS = TrainSettings(learning_rate=1e-3, batch_size=4, dtype="float32", seed=3)
CHAIN = {"step": 2, "until": 6, "criterion": "both", "ratio": 0.8}
DROPS = (0, 2, 4, 6)

documents = partial(random_documents, longest=7)


def trim(model: torch.nn.Module, **options: Any) -> Any:
    given = {"train": documents(12), "calibration": documents(6, 9), "settings": SETTINGS}
    return trimllm.trim(model, word_tokenizer(), **given | CHAIN | options)


def without_times(record: dict) -> dict:
    """A record but for what differs from run to run, and the score that jobs alone have."""
    found = copy.deepcopy(record)
    for part in (found, found["scan"], found["training"]):
        part.pop("seconds")
    found.pop("held_back", None)
    return found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "base")
    write_documents(tmp_path / "train.jsonl", documents(12))
    write_documents(tmp_path / "calibration.jsonl", documents(6, 9))
    write_documents(tmp_path / "held_back.jsonl", documents(7, 11))
    return tmp_path


def as_jobs(root: Path, settings: TrainSettings, **more: Any) -> list[dict]:
    """The records of the chain as the pipeline has it, a job an epoch; `more` of its arguments."""
    records: list[dict] = []
    for epoch, dropped in enumerate(DROPS):
        arguments = {**CHAIN, "start": epoch, "documents": 6, "scans": {}, **more}
        if records:
            arguments["trainable"] = records[0]["trainable_blocks"]
        job = TrainJob(
            checkpoint=str(root / f"drop_{dropped - 2:02}" if epoch else root / "base"),
            train=str(root / "train.jsonl"),
            calibration=str(root / "calibration.jsonl"),
            held_back=str(root / "held_back.jsonl"),
            settings=asdict(settings),
            arguments=arguments,
            exact=True,
        )
        target = root / f"drop_{dropped:02}"
        records.append(make_epoch(job, target, record_name="epoch", provenance=dict))
    return records


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_epoch_a_job_and_the_whole_chain_in_one_call_give_the_same_bytes(
    base: Path, dtype: str
) -> None:
    """Frozen weights that bfloat16 would round keep their bytes in both."""
    settings = replace(SETTINGS, dtype=dtype)
    records = as_jobs(base, settings, scans={"documents": 4})
    model, tokenizer = trimllm.load(base / "base")
    calls = trimllm.trim(
        model,
        tokenizer,
        train=documents(12),
        calibration=documents(6, 9),
        documents=6,
        settings=settings,
        scans=ScanSettings(documents=4),
        **CHAIN,
    )
    for epoch, record in zip(calls, records, strict=True):
        path = base / "one_call"
        with files.scratch(path) as folder:
            checkpoint.store.write(model, tokenizer, folder, dtype="bfloat16", exact=True)
            checkpoint.store.complete(folder, path)
        expected = files.verify_manifest(base / f"drop_{2 * epoch.number:02}")["files"]
        assert expected.pop("epoch.json")
        assert files.verify_manifest(path)["files"] == expected
        assert without_times(epoch.record()) == without_times(record)
        assert epoch.dropped == 2 * epoch.number and epoch.loss == record["training"]["loss"]
        score = held_back_score(model, tokenizer, documents(7, 11), dtype)
        assert record["held_back"] == score


def test_frozen_weights_have_the_bytes_of_the_start_at_the_end_of_a_chain(base: Path) -> None:
    start = round_weights_(tiny("llama"), torch.bfloat16)
    checkpoint.save(start, word_tokenizer(), base / "base", dtype="bfloat16")
    records = as_jobs(base, SETTINGS, ratio=0.4)
    trained, seen = set(records[0]["trainable_blocks"]), set()
    assert 0 < len(trained) < 5
    stored = load_file(base / "drop_06/model.safetensors")
    model, _ = trimllm.load(base / "drop_06")
    names = {id(p): name for name, p in model.named_parameters()}
    before = dict(unit_parameters(start))
    for unit, parameters in unit_parameters(model).items():
        for old, parameter in zip(before[unit], parameters, strict=True):
            kept = stored[names[id(parameter)]]
            frozen = unit.block not in trained
            # What was trained is stored as fine as it was trained, the rest as it came.
            assert kept.dtype == (torch.bfloat16 if frozen else torch.float32)
            assert kept.equal(old) == frozen
            seen.add(frozen)
    assert seen == {True, False}
    assert stored["model.embed_tokens.weight"].equal(start.model.embed_tokens.weight)


def test_calibration_documents_are_drawn_anew_for_every_scan() -> None:
    def hashes(resample: bool = True, **options: Any) -> list[str]:
        given = {"calibration": documents(9, 9), "ratio": 1.0, "documents": 0} | options
        chain = trim(tiny("llama"), scans=ScanSettings(4, resample), **given)
        return [epoch.scan.documents_sha256 for epoch in chain]

    found = hashes()
    assert len(set(found)) == 4 and found == hashes()
    assert set(hashes(resample=False)) == {found[0]}
    assert not set(found) & set(hashes(settings=replace(SETTINGS, seed=4)))
    # No fewer than there are.
    assert len(set(hashes(calibration=documents(4, 9)))) == 1


def test_without_training_units_go_and_weights_stay(base: Path) -> None:
    model, before = tiny("llama"), tiny("llama")
    epochs = list(trim(model, documents=0))
    assert [epoch.loss for epoch in epochs] == [None] * 4
    assert epochs[-1].record()["training"]["steps"] == 0 and epochs[-1].dropped == 6
    left = drop(before, [unit for epoch in epochs for unit in epoch.selection.dropped])
    assert all(value.equal(model.state_dict()[name]) for name, value in left.state_dict().items())
    records = as_jobs(base, SETTINGS, documents=0)
    assert records[-1]["training"]["steps"] == 0 and records[-1]["held_back"]["documents"] == 7
    assert [r["units_dropped"] for r in records] == [e.record()["units_dropped"] for e in epochs]


def test_a_chain_whose_trained_blocks_are_gone_goes_on_untrained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By sparse update the blocks are chosen once; all their units may be dropped in the end."""
    first = [epoch.selection.dropped for epoch in trim(tiny("llama"), documents=0, until=8)]
    blocks = [unit.block for dropped in first for unit in dropped]
    gone = next(block for block in blocks if blocks.count(block) == 2)
    model = tiny("llama")
    # (So little that the same units go.)
    hardly = replace(SETTINGS, learning_rate=1e-12)
    for epoch in trim(model, resume=Resume(trainable=[gone]), until=8, settings=hardly):
        left = {unit.block for unit in units(model)}
        assert (epoch.training is NO_PASS) == (gone not in left)
        assert ("nothing is trained any more" in capsys.readouterr().err) == (gone not in left)
    assert gone not in left and epoch.record()["training"]["trainable_parameters"] == 0
    # Nor does fine-tuning change anything; the model is scored all the same.
    before, held_back = copy.deepcopy(model.state_dict()), documents(7, 11)
    given = {"train": documents(11), "settings": SETTINGS, "held_back": held_back}
    record = fine_tune(model, word_tokenizer(), epochs=2, trainable=[gone], **given)
    assert record["passes"] == [] and record["kept_pass"] is None
    assert record["held_back"] == [held_back_score(model, word_tokenizer(), held_back, "float32")]
    assert all(value.equal(model.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(("criterion", "choices"), [("likelihood", 3), ("answer_likelihood", 1)])
def test_an_epoch_drops_what_its_scan_says_and_keeps_the_trainable_blocks(
    criterion: str, choices: int
) -> None:
    given = {
        "train": documents(9, choices=choices),
        "calibration": documents(6, 9, choices=choices),
    }
    first, second = trim(tiny("llama"), criterion=criterion, ratio=0.25, step=3, until=3, **given)
    assert first.selection.margin is None and first.selection.ties is None and first.dropped == 0
    ranked = sorted(second.scan.scored, key=lambda u: -second.scan.sublayers[u].likelihood)
    assert list(second.selection.dropped) == ranked[:3] and second.dropped == 3
    assert second.trainable == first.trainable
    # A model that cannot be scanned: a criterion for other documents is refused before that.
    other = "both" if choices == 1 else "answer_likelihood"
    with pytest.raises(
        UserError, match=f"'{other}' needs calibration documents with .*, and these"
    ):
        next(trim(torch.nn.Linear(1, 1), criterion=other, **given))


def test_a_scan_made_before_takes_the_place_of_the_first(base: Path) -> None:
    initial = scan(tiny("llama"), word_tokenizer(), documents(6, 9))
    chains = [trim(tiny("llama"), resume=Resume(scan=given)) for given in (None, initial)]
    pairs = [[without_times(next(chain).record()) for _ in range(2)] for chain in chains]
    assert pairs[0] == pairs[1] and pairs[0][0]["scan"] != pairs[0][1]["scan"]
    files.write_json(base / "scan.json", {"scan": to_record(initial)})
    job = TrainJob(
        checkpoint=str(base / "base"),
        train=str(base / "train.jsonl"),
        calibration=str(base / "train.jsonl"),  # on which the scan would differ
        scan=str(base / "scan.json"),
        settings=asdict(SETTINGS),
        arguments={**CHAIN, "start": 0, "scans": {}},
    )
    record = make_epoch(job, base / "to", record_name="epoch", provenance=dict)
    assert without_times(record) == pairs[0][0]


def test_a_chain_ends_at_the_nearest_whole_step() -> None:
    for step, until, dropped in (
        (2, 5, [0, 2, 4]),  # of two equally near ends the first
        (3, 0.5, [0, 3, 6]),
        (3, 0.6, [0, 3]),
        (1, 0.8, [0, 1, 2]),
    ):
        chain = trim(tiny("llama"), step=step, until=until, documents=0)
        assert [epoch.dropped for epoch in chain] == dropped


def test_a_chain_goes_on_only_where_it_was_left_and_leaves_something() -> None:
    model = drop(tiny("llama"), [Unit(1, "mlp")])  # trimmed before the chain begins
    assert [epoch.dropped for epoch in trim(model, until=5, documents=0)] == [1, 3, 5]
    with pytest.raises(UserError, match="epoch 3 .* 2 sublayers an epoch .* lacks 0"):
        next(trim(tiny("llama"), resume=Resume(3)))
    # Of the ten sublayers of a tiny model; three at a time are twelve where eleven are to go.
    for step, until in ((2, 0), (2, 10), (3, 11), (1, -0.5)):
        with pytest.raises(UserError, match=rf"until = {until}: {step} sublayers at a time"):
            next(trim(tiny("llama"), step=step, until=until))


TOY = """
from trimllm.select import register
late = lambda scan, unit: (-unit.block, unit.kind == "mlp")
register("late", late)
early = None
"""


def test_a_criterion_of_ones_own_trims_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_criterion.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("toy_criterion:late", "late"):  # imported when it is used, and then registered
        first, second = list(trim(tiny("llama"), criterion=name, until=2, ratio=0.2))
        # what is dropped first is missed least: the first block is the one that is trained
        assert first.trainable == [0]
        assert second.selection.dropped == (Unit(4, "attention"), Unit(4, "mlp"))
        assert second.record()["margin"] == 1 and second.selection.ties == 2
    for name in ("toy_criterion:early", "toy_criterion:earlier", "nowhere:late"):
        with pytest.raises(UserError, match=name):
            next(trim(tiny("llama"), criterion=name))
