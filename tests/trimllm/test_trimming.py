"""Algorithm 1: what an epoch drops and trains, and that a chain cut anywhere is the whole one."""

import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models import job_folder, tiny, train_job, word_tokenizer
from models import random_documents as documents
from safetensors.torch import load_file

import trimllm
from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.precision import round_weights_
from trimllm.data import Document
from trimllm.scanning import scan, to_record
from trimllm.sublayers import Unit, drop, unit_parameters, units
from trimllm.train import TrainSettings, held_back_score
from trimllm.trimming import make_epoch

SETTINGS = TrainSettings(learning_rate=1e-3, batch_size=4, dtype="float32", seed=3)
CHAIN = {"step": 2, "until": 6, "criterion": "both", "ratio": 0.8}
DROPS = (0, 2, 4, 6)


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
def base(tmp_path):
    given = {"train": documents(12), "calibration": documents(6, 9), "held_back": documents(7, 11)}
    return job_folder(tmp_path, tiny("llama"), **given)


def as_jobs(root: Path, settings: TrainSettings, **more: Any) -> list[dict]:
    """The records of the chain as the pipeline has it, a job an epoch; `more` of its arguments."""
    records: list[dict] = []
    for epoch, dropped in enumerate(DROPS):
        arguments = {**CHAIN, "start": epoch, "documents": 6, **more}
        if records:
            arguments["trainable"] = records[0]["trainable_blocks"]
        before, target = (root / f"drop_{number:02}" for number in (dropped - 2, dropped))
        fields = {"checkpoint": str(before)} if epoch else {}
        job = train_job(root, settings=asdict(settings), arguments=arguments, exact=True, **fields)
        records.append(make_epoch(job, target, record_name="epoch", provenance=dict))
    return records


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_epoch_a_job_and_the_whole_chain_in_one_call_give_the_same_bytes(base, dtype):
    """Frozen weights that bfloat16 would round keep their bytes in both."""
    settings = replace(SETTINGS, dtype=dtype)
    records = as_jobs(base, settings, scan_documents=4)
    model, tokenizer = trimllm.load(base / "base")
    calls = trim(model, documents=6, settings=settings, scan_documents=4)
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


def test_frozen_weights_have_the_bytes_of_the_start_at_the_end_of_a_chain(base):
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


def test_calibration_documents_are_drawn_anew_for_every_scan():
    def hashes(**options: Any) -> list[str]:
        given = {"calibration": documents(9, 9), "ratio": 1.0, "documents": 0} | options
        chain = trim(tiny("llama"), scan_documents=4, **given)
        return [epoch.scan.documents_sha256 for epoch in chain]

    found = hashes()
    assert len(set(found)) == 4 and found == hashes()
    assert not set(found) & set(hashes(settings=replace(SETTINGS, seed=4)))


def test_without_training_units_go_and_weights_stay(base):
    model = tiny("llama")
    epochs = list(trim(model, documents=0))
    assert [epoch.loss for epoch in epochs] == [None] * 4 and epochs[-1].dropped == 6
    gone = [unit for epoch in epochs for unit in epoch.selection.dropped]
    left = tiny("llama", dropped=gone).state_dict()
    assert all(value.equal(model.state_dict()[name]) for name, value in left.items())
    records = as_jobs(base, SETTINGS, documents=0)
    assert records[-1]["training"]["steps"] == 0 and records[-1]["held_back"]["documents"] == 7
    assert [r["units_dropped"] for r in records] == [e.record()["units_dropped"] for e in epochs]


def test_training_heals_what_a_drop_broke():
    docs = [Document(f"w{n} w{7 * n % 90}", (" w1", " w2"), 0) for n in range(3, 43)]
    model = tiny("llama")
    chain = trim(model, train=docs[:24], calibration=docs[24:30], step=4, until=4)
    next(chain)
    before, epoch = copy.deepcopy(model), next(chain)
    models = drop(before, epoch.selection.dropped), model
    broken, healed = (held_back_score(m, word_tokenizer(), docs[30:], "float32") for m in models)
    assert healed["likelihood"] > broken["likelihood"]


def test_a_chain_whose_trained_blocks_are_gone_goes_on_untrained(capsys):
    """By sparse update the blocks are chosen once; all their units may be dropped in the end."""
    first = [epoch.selection.dropped for epoch in trim(tiny("llama"), documents=0, until=8)]
    blocks = [unit.block for dropped in first for unit in dropped]
    gone = next(block for block in blocks if blocks.count(block) == 2)
    model = tiny("llama")
    # (So little that the same units go.)
    hardly = replace(SETTINGS, learning_rate=1e-12)
    for epoch in trim(model, trainable=[gone], until=8, settings=hardly):
        left = {unit.block for unit in units(model)}
        assert (epoch.training.steps == 0) == (gone not in left)
        assert ("nothing is trained any more" in capsys.readouterr().err) == (gone not in left)
    assert gone not in left and epoch.record()["training"]["trainable_parameters"] == 0


@pytest.mark.parametrize(("criterion", "choices"), [("likelihood", 3), ("answer_likelihood", 1)])
def test_an_epoch_drops_what_its_scan_says_and_keeps_the_trainable_blocks(criterion, choices):
    given = {"calibration": documents(6, 9, choices=choices), "step": 3, "until": 3}
    first, second = trim(tiny("llama"), criterion=criterion, ratio=0.25, **given)
    assert first.selection.margin is None and first.selection.ties is None and first.dropped == 0
    ranked = sorted(second.scan.scored, key=lambda u: -second.scan.sublayers[u].likelihood)
    assert list(second.selection.dropped) == ranked[:3] and second.dropped == 3
    assert second.trainable == first.trainable
    other = "both" if choices == 1 else "answer_likelihood"
    with pytest.raises(UserError, match=f"'{other}' needs calibration documents with "):
        next(trim(tiny("llama"), criterion=other, **given))


def test_a_scan_made_before_takes_the_place_of_the_first(base):
    initial = scan(tiny("llama"), word_tokenizer(), documents(6, 9))
    chains = [trim(tiny("llama"), initial=given) for given in (None, initial)]
    pairs = [[without_times(next(chain).record()) for _ in range(2)] for chain in chains]
    assert pairs[0] == pairs[1] and pairs[0][0]["scan"] != pairs[0][1]["scan"]
    files.write_json(base / "scan.json", {"scan": to_record(initial)})
    fields = {"settings": asdict(SETTINGS), "arguments": {**CHAIN, "start": 0}}
    fields["calibration"] = str(base / "train.jsonl")  # on which the scan would differ
    job = train_job(base, scan=str(base / "scan.json"), **fields)
    record = make_epoch(job, base / "to", record_name="epoch", provenance=dict)
    assert without_times(record) == pairs[0][0]


@pytest.mark.parametrize(
    ("before", "step", "until", "dropped"),
    [
        ([], 2, 5, [0, 2, 4]),  # of two equally near ends the first
        ([], 3, 0.5, [0, 3, 6]),
        ([Unit(1, "mlp")], 2, 5, [1, 3, 5]),  # trimmed before the chain begins
    ],
)
def test_a_chain_ends_at_the_nearest_whole_step(before, step, until, dropped):
    chain = trim(tiny("llama", dropped=before), step=step, until=until, documents=0)
    assert [epoch.dropped for epoch in chain] == dropped


def test_a_chain_goes_on_only_where_it_was_left_and_leaves_something():
    with pytest.raises(UserError, match="epoch 3 .* 2 sublayers an epoch .* lacks 0"):
        next(trim(tiny("llama"), start=3))
    for step, until in ((2, 0), (2, 10), (1, -0.5)):  # of the ten sublayers of a tiny model
        with pytest.raises(UserError, match=rf"until = {until}: {step} sublayers at a time"):
            next(trim(tiny("llama"), step=step, until=until))


TOY = """
from trimllm.select import register
late = lambda scan, unit: (-unit.block, unit.kind == "mlp")
register("late", late)
early = None
"""


def test_a_criterion_of_ones_own_trims_by_its_name(tmp_path, monkeypatch):
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
