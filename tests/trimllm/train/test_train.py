"""Training: what learns, on which documents, in which precision."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from models import FAMILIES, logits_of, random_documents, tiny, word_tokenizer

from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype, round_weights_
from trimllm.scanning import scan
from trimllm.select import trainable_blocks
from trimllm.sublayers import Unit, drop, unit_parameters, units
from trimllm.train import TrainSettings, fine_tune, loop, set_trainable, train_pass
from trimllm.train.batching import (
    WINDOW,
    Example,
    answer_losses,
    batches_of,
    documents_of_epoch,
    examples_of,
    tensors_of,
)

SETTINGS = TrainSettings(learning_rate=1e-3, batch_size=4, dtype="float32", seed=3)
documents = partial(random_documents, longest=7)


def changed(before: dict, model: torch.nn.Module) -> set[str]:
    return {name for name, value in model.state_dict().items() if not value.equal(before[name])}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ratio", [1, 1 / 4])
def test_a_sparse_update_trains_exactly_its_blocks(family: str, ratio: float) -> None:
    model = tiny(family)
    before = copy.deepcopy(model.state_dict())
    initial = scan(model, word_tokenizer(), documents(4, 9), dtype="auto")
    given = {"train": documents(12), "settings": SETTINGS, "epochs": 1, "ratio": ratio}
    record = fine_tune(model, word_tokenizer(), initial=initial, **given)
    layers = {int(name.split("layers.")[1].split(".")[0]) for name in changed(before, model)}
    assert sorted(layers) == record["trainable_blocks"] and len(layers) == math.ceil(5 * ratio)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    with pytest.raises(UserError, match="needs the scan"):
        fine_tune(tiny(family), word_tokenizer(), **given)


@pytest.mark.parametrize("embeddings", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_units_are_trained_and_embeddings_if_the_settings_say(
    family: str, embeddings: bool
) -> None:
    model = tiny(family)
    before = copy.deepcopy(model.state_dict())
    train_pass(
        model, word_tokenizer(), documents(12), replace(SETTINGS, train_embeddings=embeddings)
    )
    in_layers = {name for name in before if "layers." in name}
    # no gradient ever reaches a key's bias: softmax does not change when it shifts
    silent = {name for name in in_layers if name.endswith("k_proj.bias")}
    moved = changed(before, model)
    assert in_layers - silent <= moved and bool(moved - in_layers) == embeddings


def test_a_trainable_block_that_lost_its_units_is_not_replaced() -> None:
    model = drop(tiny("llama"), [Unit(2, "attention"), Unit(2, "mlp"), Unit(3, "mlp")])
    parameters = unit_parameters(model)
    assert set_trainable(model, [2, 3]) == parameters[Unit(3, "attention")]
    with pytest.raises(UserError, match="none of the trainable blocks"):
        train_pass(model, word_tokenizer(), documents(4), SETTINGS, blocks=[2])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_answers_cross_entropy_alone(family: str) -> None:
    model = tiny(family)
    examples = examples_of(word_tokenizer(), documents(5))
    expected = 0.0
    for example in examples:
        logits = logits_of(model, torch.tensor([example.prompt + example.answer]))[0]
        logs = logits[len(example.prompt) - 1 : -1].log_softmax(-1)
        expected -= float(logs[range(len(example.answer)), example.answer].sum())
    found = answer_losses(model, tensors_of(examples, 0, "cpu")).sum().item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_gradient_accumulation_is_a_larger_batch() -> None:
    models = []
    for size, every in ((8, 1), (2, 4)):
        models.append(tiny("llama"))
        settings = replace(SETTINGS, batch_size=size, gradient_accumulation=every)
        train_pass(models[-1], word_tokenizer(), documents(8), settings)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_bfloat16_trains_float32_weights_and_gives_frozen_ones_back() -> None:
    model = tiny("llama")
    settings = TrainSettings(learning_rate=1e-6, batch_size=4, dtype="bfloat16")
    before = copy.deepcopy(model.state_dict())
    record = train_pass(model, word_tokenizer(), documents(8), settings, blocks=[4])
    assert model.dtype == torch.float32 and math.isfinite(record.loss)
    assert all(".layers.4." in name for name in changed(before, model))
    weight = "model.layers.4.mlp.down_proj.weight"
    # steps far below a bfloat16's resolution of these weights are kept
    assert 0 < (model.state_dict()[weight] - before[weight]).abs().max() < 1e-5
    given = (model, word_tokenizer(), documents(8), replace(settings, learning_rate=float("inf")))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match="not a number"):
        train_pass(*given, blocks=[4])
    assert all(".layers.4." in name for name in changed(before, model))
    # What bfloat16 holds exactly may stay in it.
    model = round_weights_(tiny("llama"), torch.bfloat16).float()
    train_pass(model, *given[1:3], settings, blocks=[3], lean=True)
    types = {name: p.dtype for name, p in model.named_parameters() if "down_proj" in name}
    assert types.pop("model.layers.3.mlp.down_proj.weight") == torch.float32
    assert {*types.values()} == {torch.bfloat16}
    with pytest.raises(UserError, match="int8"):
        compute_dtype("int8")


def test_epochs_go_through_all_documents_before_repeating_one() -> None:
    docs = documents(10)
    seen = [d for epoch in range(5) for d in documents_of_epoch(docs, epoch, 4, seed=1)]
    assert {d.hash for d in seen[:10]} == {d.hash for d in docs} == {d.hash for d in seen[10:]}
    assert documents_of_epoch(docs, 0, 4, seed=1) != documents_of_epoch(docs, 0, 4, seed=2)
    assert len(documents_of_epoch(docs, 3, None, seed=1)) == 10
    assert len(documents_of_epoch(docs, 1, 25, seed=1)) == 25
    with pytest.raises(UserError, match="no training documents"):
        documents_of_epoch([], 0, 4, seed=1)


@pytest.mark.parametrize("epoch", [-1, 3])
def test_an_epoch_past_the_last_is_refused(epoch: int) -> None:
    """There the learning rate would be below zero, and training would unlearn."""
    model = tiny("llama")
    with pytest.raises(UserError, match=f"^epoch {epoch} of 0 to 2: the learning rate ends before"):
        train_pass(model, word_tokenizer(), documents(3), SETTINGS, epoch=epoch, epochs=3)
    assert not changed(tiny("llama").state_dict(), model)


def test_no_two_passes_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the run's seed and the epoch: dropout would hide the same weights in both."""
    seeds, plain = [], loop._conditions

    def conditions(model: torch.nn.Module, seed: int, eager: bool) -> Any:
        seeds.append(seed)
        return plain(model, seed, eager)

    monkeypatch.setattr(loop, "_conditions", conditions)
    for place in range(9):
        settings = replace(SETTINGS, seed=place // 3)
        given = (tiny("llama"), word_tokenizer(), documents(4), settings)
        train_pass(*given, epoch=place % 3, epochs=3)
    assert len({*seeds}) == 9 == len(seeds)


def test_a_row_of_one_token_has_nothing_to_learn_from_a_teachers_states() -> None:
    """The first token's state is left out; the loss is a number all the same."""
    model, (document,) = tiny("llama"), documents(1)
    batch = tensors_of([Example((5,), (6,), document)], 0, "cpu", lambda _: torch.ones(1, 32))
    plain, taught = (answer_losses(model, batch, hidden=h).item() for h in (0, 9.0))
    assert taught == pytest.approx(plain)


@pytest.mark.parametrize("longest", [3, 5, 30])
def test_what_is_too_long_loses_its_left_end_and_keeps_a_token_of_the_prompt(longest: int) -> None:
    """A model of `longest` positions reads all tokens but the last, which it predicts."""
    whole = examples_of(word_tokenizer(), documents(40))
    cut = examples_of(word_tokenizer(), documents(40), longest)
    assert any(len(one) > 8 for one in whole)
    for before, after in zip(whole, cut, strict=True):
        assert after.answer == before.answer and after.prompt
        assert len(after) == min(len(before), longest + 1)
        assert before.prompt[-len(after.prompt) :] == after.prompt
    with pytest.raises(UserError, match="a choice of 3 tokens does not fit"):
        examples_of(word_tokenizer(), documents(40), 2)


def test_batches_hold_every_example_once_and_little_padding() -> None:
    examples = examples_of(word_tokenizer(), documents(WINDOW * 8))
    batches = batches_of(examples, 4, seed=0, epoch=1)
    assert sorted(map(repr, examples)) == sorted(repr(e) for batch in batches for e in batch)
    padded = sum(max(map(len, batch)) * len(batch) for batch in batches)
    assert padded < 1.15 * sum(map(len, examples))
    assert batches != batches_of(examples, 4, seed=0, epoch=2)


@pytest.mark.parametrize("rule, left", [("bottom", [2, 3, 4]), ("top", [0, 1, 2])])
def test_rules_drop_blocks_at_once_and_train_those_that_are_left(
    rule: str, left: list[int]
) -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    initial = scan(model, tokenizer, documents(6, 9), dtype="float32")
    expected = drop(copy.deepcopy(model), [u for u in units(model) if u.block not in left])
    given = {"train": documents(8), "settings": SETTINGS, "epochs": 1, "initial": initial}
    record = fine_tune(model, tokenizer, rule=rule, dropped=4, ratio=0.4, **given)
    assert units(model) == units(expected) and record["units_left"] == 6
    # Of five blocks two are trained, the most important ones of the three that are left.
    blocks = trainable_blocks(initial, "both", 0.4, left)
    assert record["trainable_blocks"] == blocks and len(blocks) == 2
    # The same as dropping first and training those blocks.
    order = documents_of_epoch(documents(8), 0, None, SETTINGS.seed)
    train_pass(expected, tokenizer, order, SETTINGS, blocks=blocks)
    assert not changed(expected.state_dict(), model)


def test_a_random_rule_draws_by_the_seed() -> None:
    def blocks(seed: int) -> list[int]:
        given = {"settings": replace(SETTINGS, seed=seed), "epochs": 0, "train": documents(2)}
        fine_tune(model := tiny("llama"), word_tokenizer(), rule="random", dropped=4, **given)
        return sorted({unit.block for unit in units(model)})

    assert blocks(1) == blocks(1) and len({tuple(blocks(seed)) for seed in range(6)}) > 1


def test_settings_out_of_range_are_refused() -> None:
    for name, value in {
        "batch_size": 0,
        "gradient_accumulation": -1,
        "learning_rate": 0.0,
        "clip": 0.0,
        "kl": 1.5,
        "hidden": -1.0,
    }.items():
        with pytest.raises(UserError, match=f"{name} = {value} is "):
            TrainSettings(**{name: value})
    with pytest.raises(UserError, match="optimizer 'sgd' is none of adamw, adamw_8bit"):
        TrainSettings(optimizer="sgd")
    with pytest.raises(UserError, match="'cosine' is none of chain, epoch, constant"):
        TrainSettings(schedule="cosine")
