"""Training: what learns, on which documents, and to the same bytes every time."""

from __future__ import annotations

import copy
import dataclasses
import math
import sys
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import FAMILIES, logits_of, random_documents, some_ids, tiny, word_tokenizer

from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype
from trimllm.scanning import scan
from trimllm.select import trainable_blocks
from trimllm.sublayers import Unit, drop, unit_parameters, units
from trimllm.train import (
    TrainSettings,
    fine_tune,
    set_trainable,
    train_pass,
)
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
@pytest.mark.parametrize("ratio", [1, 1 / 2, 1 / 4, 1 / 8])
def test_a_sparse_update_trains_exactly_its_blocks(family: str, ratio: float) -> None:
    model = tiny(family)
    before = copy.deepcopy(model.state_dict())
    record = fine_tune(
        model,
        word_tokenizer(),
        train=documents(12),
        settings=SETTINGS,
        epochs=1,
        initial=scan(model, word_tokenizer(), documents(4, 9), dtype="auto"),
        ratio=ratio,
    )
    layers = {int(name.split("layers.")[1].split(".")[0]) for name in changed(before, model)}
    assert sorted(layers) == record["trainable_blocks"]
    assert len(layers) == math.ceil(5 * ratio)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_full_fine_tuning_trains_all_units_and_embeddings_only_if_asked(family: str) -> None:
    for embeddings in (False, True):
        model = tiny(family)
        before = copy.deepcopy(model.state_dict())
        settings = TrainSettings(learning_rate=1e-3, train_embeddings=embeddings, dtype="float32")
        train_pass(model, word_tokenizer(), documents(12), settings)
        in_layers = {name for name in before if "layers." in name}
        # no gradient ever reaches a key's bias: softmax does not change when it shifts
        silent = {name for name in in_layers if name.endswith("k_proj.bias")}
        moved = changed(before, model)
        assert in_layers - silent <= moved
        assert bool(moved - in_layers) == embeddings


def test_a_trainable_block_that_lost_its_units_is_not_replaced() -> None:
    model = drop(tiny("llama"), [Unit(2, "attention"), Unit(2, "mlp"), Unit(3, "mlp")])
    parameters = unit_parameters(model)
    assert set_trainable(model, [2, 3]) == parameters[Unit(3, "attention")]
    with pytest.raises(UserError, match="none of the trainable blocks"):
        train_pass(model, word_tokenizer(), documents(4), SETTINGS, blocks=[2])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_answers_cross_entropy_alone(family: str) -> None:
    model, tokenizer = tiny(family), word_tokenizer()
    examples = examples_of(tokenizer, documents(5))
    batch = tensors_of(examples, 0, "cpu")
    expected = 0.0
    for example in examples:
        logits = logits_of(model, torch.tensor([example.prompt + example.answer]))[0]
        logs = logits[len(example.prompt) - 1 : -1].log_softmax(-1)
        expected -= float(logs[range(len(example.answer)), example.answer].sum())
    assert answer_losses(model, batch).sum().item() == pytest.approx(expected, rel=1e-4)


def test_gradient_accumulation_is_a_larger_batch() -> None:
    results = []
    for size, every in ((8, 1), (2, 4)):
        model = tiny("llama")
        examples = documents(8)
        settings = TrainSettings(
            learning_rate=1e-3, batch_size=size, gradient_accumulation=every, dtype="float32"
        )
        train_pass(model, word_tokenizer(), examples, settings)
        results.append(model.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-3, atol=1e-5)


def test_bfloat16_trains_float32_master_weights() -> None:
    model = tiny("llama")
    settings = TrainSettings(learning_rate=1e-6, batch_size=4, dtype="bfloat16")
    before = copy.deepcopy(model.state_dict())
    record = train_pass(model, word_tokenizer(), documents(8), settings, blocks=[4])
    moved = changed({k: v.bfloat16().float() for k, v in before.items()}, model)
    assert model.dtype == torch.float32 and math.isfinite(record.loss)
    weight = "model.layers.4.mlp.down_proj.weight"
    step = (model.state_dict()[weight] - before[weight]).abs().max()
    # steps far below a bfloat16's resolution of these weights are kept
    assert 0 < step < 1e-5 and weight in moved
    assert compute_dtype("float32") == torch.float32
    with pytest.raises(UserError, match="int8"):
        compute_dtype("int8")


def test_training_learns() -> None:
    model, docs = tiny("llama"), documents(8)
    settings = TrainSettings(learning_rate=3e-3, batch_size=4, dtype="float32")
    record = fine_tune(model, word_tokenizer(), train=docs, settings=settings, epochs=12)
    losses = [done["loss"] for done in record["passes"]]
    assert losses[-1] < 0.5 * losses[0]


def test_epochs_walk_through_all_documents_before_repeating_one() -> None:
    docs = documents(10)
    seen = [d for epoch in range(5) for d in documents_of_epoch(docs, epoch, 4, seed=1)]
    assert {d.hash for d in seen[:10]} == {d.hash for d in docs} == {d.hash for d in seen[10:]}
    assert documents_of_epoch(docs, 0, 4, seed=1) != documents_of_epoch(docs, 0, 4, seed=2)
    assert len(documents_of_epoch(docs, 3, None, seed=1)) == 10
    assert len(documents_of_epoch(docs, 1, 25, seed=1)) == 25
    with pytest.raises(UserError, match="no training documents"):
        documents_of_epoch([], 0, 4, seed=1)


@pytest.mark.parametrize("epoch", [-1, 3])
def test_there_is_no_epoch_past_the_last(epoch: int) -> None:
    """There the learning rate would be below zero, and training would unlearn."""
    model, settings = tiny("llama"), TrainSettings(learning_rate=0.01)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match="of 0 to 2"):
        train_pass(model, word_tokenizer(), [], settings, epoch=epoch, epochs=3)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def test_no_two_passes_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the run's seed and the epoch: dropout would hide the same weights in both."""
    seeds, loop = [], sys.modules[train_pass.__module__]
    plain = loop._conditions

    def conditions(model: torch.nn.Module, seed: int, eager: bool) -> Any:
        seeds.append(seed)
        return plain(model, seed, eager)

    monkeypatch.setattr(loop, "_conditions", conditions)
    for seed in (0, 1, 2):
        for epoch in (0, 1, 2):
            settings = dataclasses.replace(SETTINGS, seed=seed)
            given = (tiny("llama"), word_tokenizer(), documents(4), settings)
            train_pass(*given, epoch=epoch, epochs=3)
    assert len({*seeds}) == 9 == len(seeds)


@pytest.mark.parametrize("steps", [5, 6])
def test_where_a_pass_stands_is_told_every_few_steps_but_after_the_last(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at this clock is a hundred seconds after the one before."""
    loop, told, ticks = sys.modules[train_pass.__module__], [], count(10, 100)
    monkeypatch.setattr(loop, "STEPS", 2)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))

    def keep(inside: Any) -> None:
        told.append(copy.deepcopy(inside()))  # which copies nothing

    given = (word_tokenizer(), documents(4 * steps), SETTINGS)
    record = train_pass(tiny("llama"), *given, keep=keep)
    assert record.steps == steps and record.seconds == 300
    assert [(len(one.losses), one.seconds) for one in told] == [(2, 100), (4, 200)]
    del told[1:]
    again = train_pass(
        tiny("llama"), *given, keep=keep, inside=dataclasses.replace(told[0], seconds=500)
    )
    assert (again.loss, again.seconds) == (record.loss, 700)
    assert [(len(one.losses), one.seconds) for one in told[1:]] == [(4, 600)]


def test_a_row_of_one_token_has_nothing_to_learn_from_a_teachers_states() -> None:
    """The first token's state is left out; the loss is a number all the same."""
    model = tiny("llama")
    taught = torch.ones(1, model.config.hidden_size)
    alone = Example((5,), (6,), taught)
    plain, told = (answer_losses(model, tensors_of([alone], 0, "cpu", hidden=h)) for h in (0, 9.0))
    assert told.item() == pytest.approx(plain.item())


@pytest.mark.parametrize("longest", [1, 2, 3, 5, 8, 30])
def test_what_is_too_long_loses_its_left_end_and_keeps_a_token_of_the_prompt(longest: int) -> None:
    """A model of `longest` positions reads all tokens but the last, which it predicts."""
    whole = examples_of(word_tokenizer(), documents(40))
    cut = examples_of(word_tokenizer(), documents(40), longest)
    assert any(len(one) > 8 for one in whole)
    for before, after in zip(whole, cut, strict=True):
        assert after.answer == before.answer[:longest]
        assert len(after) == min(len(before), longest + 1) and after.prompt
        assert before.prompt[-len(after.prompt) :] == after.prompt


def test_batches_hold_every_example_once_and_little_padding() -> None:
    examples = examples_of(word_tokenizer(), documents(WINDOW * 8))
    batches = batches_of(examples, 4, seed=0, epoch=1)
    assert sorted(map(repr, examples)) == sorted(repr(e) for batch in batches for e in batch)
    padded = sum(max(map(len, batch)) * len(batch) for batch in batches)
    assert padded < 1.15 * sum(map(len, examples))
    assert batches != batches_of(examples, 4, seed=0, epoch=2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule, left", [("bottom", [2, 3, 4]), ("top", [0, 1, 2])])
def test_rules_drop_blocks_at_once_and_train_those_that_are_left(
    family: str, rule: str, left: list[int]
) -> None:
    model, tokenizer = tiny(family), word_tokenizer()
    initial = scan(model, tokenizer, documents(6, 9), dtype="float32")
    expected = copy.deepcopy(model)
    record = fine_tune(
        model,
        tokenizer,
        train=documents(8),
        settings=SETTINGS,
        rule=rule,
        dropped=4,
        epochs=2,
        initial=initial,
        ratio=0.4,
    )
    assert [unit.block for unit in units(model)] == [block for block in left for _ in range(2)]
    assert record["units_left"] == 6 and len(record["passes"]) == 2
    # Of five blocks two are trained, the most important ones of the three that are left.
    blocks = trainable_blocks(initial, "both", 0.4, left)
    assert record["trainable_blocks"] == blocks and len(blocks) == 2
    # The same as dropping first and training those blocks.
    drop(expected, [unit for unit in units(expected) if unit.block not in left])
    for epoch in range(2):
        train_pass(
            expected, tokenizer, documents_of_epoch(documents(8), epoch, None, SETTINGS.seed),
            SETTINGS, blocks=blocks, epoch=epoch, epochs=2,
        )  # fmt: skip
    assert torch.equal(logits_of(model, some_ids()), logits_of(expected, some_ids()))


def test_a_random_rule_draws_by_the_seed() -> None:
    def blocks(seed: int) -> list[int]:
        model = tiny("llama")
        settings = TrainSettings(learning_rate=1e-3, dtype="float32", seed=seed)
        fine_tune(
            model,
            word_tokenizer(),
            train=documents(2),
            settings=settings,
            rule="random",
            dropped=4,
            epochs=1,
        )
        return sorted({unit.block for unit in units(model)})

    assert blocks(1) == blocks(1) and len({tuple(blocks(seed)) for seed in range(6)}) > 1


def test_the_original_model_is_not_touched_by_what_a_copy_learns() -> None:
    model = tiny("llama")
    before = logits_of(model, some_ids())
    train_pass(copy.deepcopy(model), word_tokenizer(), documents(8), SETTINGS)
    assert torch.equal(before, logits_of(model, some_ids()))


def test_a_sparse_update_needs_a_scan() -> None:
    with pytest.raises(UserError, match="needs the scan"):
        fine_tune(
            *(tiny("llama"), word_tokenizer()),
            train=documents(8),
            settings=SETTINGS,
            epochs=1,
            ratio=0.5,
        )
