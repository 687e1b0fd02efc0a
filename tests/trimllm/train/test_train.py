"""Training: what learns, on which documents, in which precision."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from models import FAMILIES, job_folder, tiny, train_job, word_tokenizer
from models import random_documents as documents

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.scanning import scan, to_record
from trimllm.score import Row
from trimllm.select import trainable_blocks
from trimllm.sublayers import drop, units
from trimllm.train import TrainSettings, make_checkpoint, train_pass
from trimllm.train.batching import (
    WINDOW,
    Example,
    answer_loss,
    batches_of,
    documents_of_epoch,
    examples_of,
    packed,
)

SETTINGS = TrainSettings(learning_rate=1e-3, batch_size=4, dtype="float32", seed=3)


def changed(before: dict, model: torch.nn.Module) -> set[str]:
    return {name for name, value in model.state_dict().items() if not value.equal(before[name])}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("blocks", "embeddings"), [(None, True), ([1, 3], False)])
def test_the_given_blocks_are_trained_and_embeddings_if_the_settings_say(
    family, blocks, embeddings
):
    model = tiny(family)
    before = copy.deepcopy(model.state_dict())
    settings = replace(SETTINGS, train_embeddings=embeddings)
    train_pass(model, word_tokenizer(), documents(12), settings, blocks=blocks)
    of_units = {
        name
        for name in before
        if "layers." in name and int(name.split("layers.")[1].split(".")[0]) in (blocks or range(5))
    }
    # But for rounding no gradient reaches a key's bias: softmax does not change when it shifts.
    moved, keys = changed(before, model), {name for name in before if name.endswith("k_proj.bias")}
    assert of_units - keys <= moved and bool(moved - of_units) == embeddings
    assert not any("layers." in name for name in moved - of_units)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_a_row_of_one_token_has_nothing_to_learn_from_a_teachers_states():
    """The first token's state is left out; the loss is a number all the same."""
    lesson, taught = packed([Example(Row((5,), ((6,),)), 0, False)], "cpu"), torch.ones(1, 1, 32)
    plain, with_states = (
        answer_loss(tiny("llama"), *lesson, replace(SETTINGS, hidden=h), taught) for h in (0, 9.0)
    )
    assert with_states.item() == pytest.approx(plain.item())


def test_bfloat16_trains_float32_weights_and_gives_frozen_ones_back():
    model = tiny("llama")
    settings = TrainSettings(learning_rate=1e-6, batch_size=4, dtype="bfloat16")
    before = copy.deepcopy(model.state_dict())
    record = train_pass(model, word_tokenizer(), documents(8), settings, blocks=[4])
    assert model.dtype == torch.float32 and math.isfinite(record.loss)
    assert all(".layers.4." in name for name in changed(before, model))
    weight = "model.layers.4.mlp.down_proj.weight"
    # steps far below a bfloat16's resolution of these weights are kept
    assert 0 < (model.state_dict()[weight] - before[weight]).abs().max() < 1e-5
    diverging = replace(settings, learning_rate=float("inf"))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match="not a number"):
        train_pass(model, word_tokenizer(), documents(8), diverging, blocks=[4])
    assert all(".layers.4." in name for name in changed(before, model))


def test_epochs_go_through_all_documents_before_repeating_one():
    docs = documents(10)
    seen = [d for epoch in range(5) for d in documents_of_epoch(docs, epoch, 4, seed=1)]
    assert {d.hash for d in seen[:10]} == {d.hash for d in docs} == {d.hash for d in seen[10:]}
    assert documents_of_epoch(docs, 0, 4, seed=1) != documents_of_epoch(docs, 0, 4, seed=2)
    assert len(documents_of_epoch(docs, 3, None, seed=1)) == 10
    assert len(documents_of_epoch(docs, 1, 25, seed=1)) == 25
    with pytest.raises(UserError, match="no training documents"):
        documents_of_epoch([], 0, 4, seed=1)


def test_batches_hold_every_example_once_and_little_padding():
    examples = examples_of(word_tokenizer(), documents(WINDOW * 8))
    batches = batches_of(examples, 4, seed=0, epoch=1)
    assert sorted(map(repr, examples)) == sorted(repr(e) for batch in batches for e in batch)
    padded = sum(max(e.length for e in batch) * len(batch) for batch in batches)
    assert padded < 1.15 * sum(e.length for e in examples)
    assert batches != batches_of(examples, 4, seed=0, epoch=2)


@pytest.mark.parametrize("rule, left", [("bottom", [2, 3, 4]), ("top", [0, 1, 2])])
def test_a_job_drops_by_a_rule_and_trains_the_most_important_blocks_that_are_left(
    rule, left, tmp_path
):
    model, tokenizer = tiny("llama"), word_tokenizer()
    job_folder(tmp_path, model, train=documents(8))
    initial = scan(model, tokenizer, documents(6, 9), dtype="float32")
    files.write_json(tmp_path / "scan.json", {"scan": to_record(initial)})
    arguments = {"rule": rule, "dropped": 4, "ratio": 0.4, "epochs": 1}
    fields = {"settings": SETTINGS.__dict__, "arguments": arguments, "storage_dtype": "float32"}
    job = train_job(tmp_path, scan=str(tmp_path / "scan.json"), **fields)
    record = make_checkpoint(job, tmp_path / "to", record_name="training", provenance=dict)
    # Of five blocks two are trained, the most important ones of the three that are left.
    blocks = trainable_blocks(initial, "both", 0.4, left)
    assert record["trainable_blocks"] == blocks and len(blocks) == 2
    assert record["units_left"] == 6 and record["rule"] == rule and record["ratio"] == 0.4
    expected = drop(model, [unit for unit in units(model) if unit.block not in left])
    order = documents_of_epoch(documents(8), 0, None, SETTINGS.seed)
    train_pass(expected, tokenizer, order, SETTINGS, blocks=blocks)
    trained, _ = checkpoint.load(tmp_path / "to")
    assert units(trained) == units(expected)
    assert not changed(expected.state_dict(), trained)
