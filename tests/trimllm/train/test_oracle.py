"""Training against a plain loop of torch and transformers alone, and what the loop would notice."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from models import random_documents, tiny, word_tokenizer
from torch import nn

from trimllm.train import Teacher, TrainSettings, loop, train_pass
from trimllm.train import model as training
from trimllm.train.batching import batches_of, examples_of, tensors_of

documents = partial(random_documents, longest=7)
PASSES, BATCH, PEAK, CLIP = 2, 3, 2e-3, 0.9
BLOCKS = [1, 3]
SETTINGS = TrainSettings(learning_rate=PEAK, batch_size=BATCH, clip=CLIP, dtype="float32", seed=3)
# Weights of our training and of the oracle's differ by so much at most, times the peak rate: a step
# of AdamW moves a weight by up to the rate, rounding by far less.
CLOSE = 0.02


def settings_of(**changed: Any) -> TrainSettings:
    return TrainSettings(**SETTINGS.__dict__ | changed)


def ours(
    settings: TrainSettings,
    blocks: list[int] | None,
    teacher: Teacher | None = None,
    mlp_width: int | None = None,
) -> dict:
    model = tiny("llama", mlp_width=mlp_width)
    for epoch in range(PASSES):
        train_pass(
            *(model, word_tokenizer(), documents(11), settings),
            **{"blocks": blocks, "epoch": epoch, "epochs": PASSES, "teacher": teacher},
        )
    return dict(model.named_parameters())


def plain(
    settings: TrainSettings, blocks: list[int] | None, teacher: nn.Module | None = None
) -> dict:
    """The same by a loop that shares nothing with ours but the order of documents.

    Every document is a row of its own and all its logits are computed, AdamW is written out.
    """
    model, tokenizer = tiny("llama"), word_tokenizer()
    head, steps = model.get_output_embeddings(), settings.gradient_accumulation
    trained = {
        name: p
        for name, p in model.named_parameters()
        if ".layers." in name and (blocks is None or int(name.split(".")[2]) in blocks)
    }
    for epoch in range(PASSES):
        moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in trained.items()}
        batches = batches_of(examples_of(tokenizer, documents(11)), BATCH, 3, epoch)
        groups = [batches[at : at + steps] for at in range(0, len(batches), steps)]
        for number, group in enumerate(groups):
            done = number / len(groups)
            share = {"chain": (epoch + done) / PASSES, "epoch": done, "constant": 0}
            rate = PEAK * (1 - share[settings.schedule])
            examples = [example for batch in group for example in batch]
            answer_tokens = sum(len(example.answer) for example in examples)
            total = torch.zeros(())
            for example in examples:
                ids = torch.tensor([example.prompt + example.answer])
                output = model(ids, output_hidden_states=True)
                at = slice(len(example.prompt) - 1, -1)
                log = output.logits[0, at].log_softmax(-1)
                loss = -log[range(len(example.answer)), list(example.answer)].sum()
                if teacher is not None:
                    with torch.no_grad():
                        told = teacher(ids, output_hidden_states=True)
                        right = head(told.hidden_states[-1][0, at]).log_softmax(-1)
                    divergence = (right.exp() * (right - log)).sum()
                    loss = (1 - settings.kl) * loss + settings.kl * divergence
                    mine, other = output.hidden_states[-1][0, 1:-1], told.hidden_states[-1][0, 1:-1]
                    error = ((mine - other) ** 2).sum(-1) / (other**2).sum(-1)
                    loss = loss + settings.hidden * len(example.answer) * error.mean()
                total = total + loss / answer_tokens
            gradients = torch.autograd.grad(total, list(trained.values()))
            norm = torch.sqrt(sum((g**2).sum() for g in gradients))
            scale = min(1.0, settings.clip / (float(norm) + 1e-6))
            with torch.no_grad():
                for (name, p), gradient in zip(trained.items(), gradients, strict=True):
                    first, second = moments[name]
                    first.lerp_(scale * gradient, 0.1)
                    second.lerp_((scale * gradient) ** 2, 0.001)
                    unbiased = second / (1 - 0.999 ** (number + 1))
                    p -= rate * (first / (1 - 0.9 ** (number + 1))) / (unbiased.sqrt() + 1e-8)
    return dict(model.named_parameters())


def apart(found: dict, expected: dict) -> float:
    """Largest difference of two models' weights, in peak rates.

    Of each tensor all but the 0.5% that differ most: AdamW moves a weight by the rate
    however small its gradient is, also where that is nothing but rounding.
    """
    worst = 0.0
    for name, value in expected.items():
        differences = (found[name] - value).detach().abs().flatten()
        most = differences.sort().values[int(0.995 * (len(differences) - 1))]
        worst = max(worst, float(most) / PEAK)
    return worst


@pytest.mark.parametrize("schedule", ["chain", "epoch", "constant"])
@pytest.mark.parametrize("blocks", [None, BLOCKS])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_training_is_the_plain_loop(
    schedule: str, blocks: list[int] | None, accumulation: int
) -> None:
    settings = settings_of(schedule=schedule, gradient_accumulation=accumulation)
    expected = plain(settings, blocks)
    start = dict(tiny("llama").named_parameters())
    assert apart(start, expected) > 1
    assert apart(ours(settings, blocks), expected) < CLOSE


def test_the_losses_of_a_pass_are_those_of_its_answers() -> None:
    """Of all steps and of the last quarter of them, by token; with a rate that changes nothing."""
    model, tokenizer, docs = tiny("llama"), word_tokenizer(), documents(31)
    found = train_pass(model, tokenizer, docs, settings_of(learning_rate=1e-12))
    losses = []  # of each answer token, by step
    for batch in batches_of(examples_of(tokenizer, docs), BATCH, SETTINGS.seed, 0):
        losses.append([])
        for example in batch:
            with torch.no_grad():
                logits = model(torch.tensor([example.prompt + example.answer])).logits[0]
            log = logits[len(example.prompt) - 1 : -1].log_softmax(-1)
            losses[-1] += (-log[range(len(example.answer)), list(example.answer)]).tolist()
    assert len(losses) == 11 and found.steps == 11 and found.documents == 31
    for told, steps in ((found.loss, losses), (found.loss_last_quarter, losses[-2:])):
        every = [one for step in steps for one in step]
        assert told == pytest.approx(sum(every) / len(every), rel=1e-4)


def test_moments_in_eight_bits_train_nearly_alike() -> None:
    """Only tensors of 4,096 weights and more have them."""
    pytest.importorskip("bitsandbytes")
    in_32, in_8 = (
        ours(settings_of(optimizer=name), BLOCKS, mlp_width=256) for name in ("adamw", "adamw_8bit")
    )
    start = dict(tiny("llama", mlp_width=256).named_parameters())
    for name, value in in_32.items():
        if ".layers." in name:
            trained = int(name.split(".")[2]) in BLOCKS
            moved, off = (apart({name: p[name]}, {name: value}) for p in (start, in_8))
            assert (moved > 1) == trained
            assert off < CLOSE if value.numel() < 4096 or not trained else CLOSE < off < moved / 4


@pytest.mark.parametrize(("kl", "hidden"), [(0.7, 0.0), (1.0, 0.0), (0.3, 4.0)])
def test_learning_from_a_teacher_is_the_plain_loop(kl: float, hidden: float) -> None:
    taught = tiny("llama")
    train_pass(taught, word_tokenizer(), documents(11), settings_of(learning_rate=1e-2))
    settings = settings_of(kl=kl, hidden=hidden)
    kept = Teacher.of(
        taught, word_tokenizer(), documents(11), dtype="float32", every_token=hidden > 0
    )
    expected = plain(settings, BLOCKS, taught)
    assert apart(ours(settings, BLOCKS, kept), expected) < CLOSE
    # ... and the teacher does make a difference.
    assert apart(ours(settings_of(), BLOCKS), expected) > 10 * CLOSE


@pytest.mark.parametrize("tokens", [1, 18])
def test_a_batch_in_parts_is_the_batch(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every document alone, or as many as fit, with all parts of a loss."""
    counts: list[int] = []

    def counted(part: Any, *more: Any) -> Any:
        counts.append(len(part))
        return tensors_of(part, *more)

    taught, settings = tiny("llama"), settings_of(kl=0.3, hidden=4.0)
    train_pass(taught, word_tokenizer(), documents(11), settings_of(learning_rate=1e-2))
    monkeypatch.setattr(loop, "TOKENS_AT_ONCE", tokens)
    monkeypatch.setattr(loop, "tensors_of", counted)
    kept = Teacher.of(taught, word_tokenizer(), documents(11), dtype="float32", every_token=True)
    expected = plain(settings, None, taught)
    assert apart(ours(settings, None, kept), expected) < CLOSE
    assert sum(counts) == PASSES * 11
    assert set(counts) == {1} if tokens == 1 else len(set(counts)) > 1 and max(counts) < BATCH + 1


def decay(parameters: Any, **options: Any) -> torch.optim.Optimizer:
    return ADAMW(parameters, **options | {"weight_decay": 1.0})


ADAMW, TENSORS, TRAINABLE = torch.optim.AdamW, loop.tensors_of, training.set_trainable


class CarriedOver:
    """An optimizer that keeps its moments from pass to pass."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] | None = None

    def __call__(self, parameters: Any, **options: Any) -> torch.optim.Optimizer:
        optimizer = ADAMW(parameters, **options)
        if self.kept:
            optimizer.load_state_dict(self.kept)
        optimizer.register_step_post_hook(lambda made, *_: setattr(self, "kept", made.state_dict()))
        return optimizer


def on_the_prompt(*args: Any) -> Any:
    found = TENSORS(*args)
    ids, mask = found.ids, found.mask.bool()
    labels = torch.where(mask, torch.roll(ids, -1, 1), found.labels)
    return found._replace(labels=torch.where(found.labels >= 0, found.labels, labels))


def one_too_early(*args: Any) -> Any:
    found = TENSORS(*args)
    labels = torch.roll(found.labels, -1, 1)
    labels[:, -1] = -100
    return found._replace(labels=torch.where(found.mask.bool(), labels, -100))


def one_block_more(model: nn.Module, blocks: Any, embeddings: bool = False) -> list[nn.Parameter]:
    return TRAINABLE(model, None if blocks is None else [*blocks, 4], embeddings)


def next_block(model: nn.Module, blocks: Any, embeddings: bool = False) -> list[nn.Parameter]:
    return TRAINABLE(model, None if blocks is None else [b + 1 for b in blocks], embeddings)


MUTANTS = {
    "rate at zero": (TrainSettings, "rate", lambda *_: 0.0),
    "rate constant": (TrainSettings, "rate", lambda *_: PEAK),
    "rate decays the other way": (
        TrainSettings,
        "rate",
        lambda self, epoch, epochs, done: PEAK * (epoch + done) / epochs,
    ),
    "rate decays within an epoch": (TrainSettings, "rate", lambda s, _, __, d: PEAK * (1 - d)),
    "no clip": (nn.utils, "clip_grad_norm_", lambda *_: None),
    "clip by value": (nn.utils, "clip_grad_norm_", nn.utils.clip_grad_value_),
    "weight decay": (torch.optim, "AdamW", decay),
    "moments carried over": (torch.optim, "AdamW", CarriedOver()),
    "another optimizer": (torch.optim, "AdamW", lambda p, **_: torch.optim.RMSprop(p, lr=PEAK)),
    "loss over the prompt": (loop, "tensors_of", on_the_prompt),
    "label shifted": (loop, "tensors_of", one_too_early),
    "a frozen block trained": (training, "set_trainable", one_block_more),
    "the wrong blocks trained": (training, "set_trainable", next_block),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_training_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, what, instead = MUTANTS[name]
    expected = plain(SETTINGS, BLOCKS)
    monkeypatch.setattr(where, what, instead)
    assert apart(ours(SETTINGS, BLOCKS), expected) > 5 * CLOSE


def test_frozen_weights_keep_their_bytes() -> None:
    before, after = dict(tiny("llama").named_parameters()), ours(SETTINGS, BLOCKS)
    for name, value in before.items():
        frozen = ".layers." not in name or int(name.split(".")[2]) not in BLOCKS
        assert value.equal(after[name]) == frozen
