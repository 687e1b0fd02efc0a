"""Training against a plain loop of torch and transformers alone, and what the loop would notice."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from models import random_documents as documents
from models import tiny, word_tokenizer
from peft import LoraConfig, get_peft_model
from torch import nn

from trimllm.train import Teacher, TrainSettings, fine_tune, loop, train_pass
from trimllm.train import model as training
from trimllm.train.batching import Example, batches_of, documents_of_epoch, examples_of, packed

PASSES, BATCH, PEAK, CLIP = 2, 3, 2e-3, 0.9
BLOCKS = [1, 3]
LORA = {"rank": 4, "alpha": 12}
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SETTINGS = TrainSettings(learning_rate=PEAK, batch_size=BATCH, clip=CLIP, dtype="float32", seed=3)
# Weights of our training and of the oracle's differ by so much at most, times the peak rate: a step
# of AdamW moves a weight by up to the rate, rounding by far less.
CLOSE = 0.02


def ours(
    settings: TrainSettings, blocks: list[int] | None, width: int | None = None, **options: Any
) -> dict:
    model = tiny("llama", mlp_width=width)
    given = {"train": documents(11), "settings": settings, "epochs": PASSES, "trainable": blocks}
    fine_tune(model, word_tokenizer(), **given, **options)
    return dict(model.named_parameters())


def run(model: nn.Module, example: Any, choice: int) -> tuple[Any, Any]:
    """Logarithms of the probabilities of a choice's tokens, and last states, of its row alone."""
    prompt, text = example.row.prompt, example.row.choices[choice]
    output = model(torch.tensor([prompt + text]), output_hidden_states=True)
    return output.logits[0, len(prompt) - 1 : -1].log_softmax(-1), output.hidden_states[-1][0, :-1]


def loss_of(
    example: Any, settings: TrainSettings, model: nn.Module, head: nn.Module, teacher: Any
) -> torch.Tensor:
    """The loss of an answer's tokens, times their number."""
    (prompt, choices), right, divergences, errors = example.row, example.answer, [], []
    log = run(model, example, right)[0]
    loss = -log[range(len(choices[right])), list(choices[right])].sum()
    if teacher is None:
        return loss
    shown = range(len(choices)) if settings.choices else [right]
    for number, choice in enumerate(shown):
        log, mine = run(model, example, choice)
        with torch.no_grad():
            other = run(teacher, example, choice)[1]
            target = head(other[len(prompt) - 1 :]).log_softmax(-1)
        divergences += (target.exp() * (target - log)).sum(-1)
        error = ((mine - other) ** 2).sum(-1) / (other**2).sum(-1)
        errors += error[len(prompt) if number else 1 :]  # the prompt counts once
    loss = (1 - settings.kl) * loss
    loss = loss + settings.kl * len(choices[right]) * sum(divergences) / len(divergences)
    return loss + settings.hidden * len(choices[right]) * sum(errors) / len(errors)


def choice_loss_of(example: Any, settings: TrainSettings, model: nn.Module, teacher: Any) -> Any:
    """The loss of the softmax over the choices."""
    if not settings.choices:
        return 0.0

    def sums(model: nn.Module) -> torch.Tensor:
        logs = [run(model, example, number)[0] for number in range(len(example.row.choices))]
        pairs = zip(logs, example.row.choices, strict=True)
        return torch.stack([log[range(len(text)), list(text)].sum() for log, text in pairs])

    mine = sums(model).log_softmax(-1)
    loss = -settings.choice_loss * mine[example.answer]
    if settings.choice_kl:
        with torch.no_grad():
            other = sums(teacher).log_softmax(-1)
        loss = loss + settings.choice_kl * (other.exp() * (other - mine)).sum()
    return loss


def plain(
    settings: TrainSettings,
    blocks: list[int] | None,
    teacher: nn.Module | None = None,
    adapted: nn.Module | None = None,
) -> dict:
    """The same by a loop that shares nothing with ours but the order of documents.

    Every document is a row of its own and all its logits are computed, AdamW is written out. Of an
    `adapted` model the adapters are trained.
    """
    model, tokenizer = adapted or tiny("llama"), word_tokenizer()
    head, steps = model.get_output_embeddings(), settings.gradient_accumulation
    trained = {
        name: p
        for name, p in model.named_parameters()
        if (p.requires_grad if adapted else ".layers." in name)
        and (blocks is None or int(name.split(".")[2]) in blocks)
    }
    for epoch in range(PASSES):
        moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in trained.items()}
        order = documents_of_epoch(documents(11), epoch, None, 3)
        examples = examples_of(tokenizer, order, choices=settings.choices)
        batches = batches_of(examples, BATCH, 3, epoch)
        groups = [batches[at : at + steps] for at in range(0, len(batches), steps)]
        for number, group in enumerate(groups):
            done = number / len(groups)
            share = {"chain": (epoch + done) / PASSES, "epoch": done, "constant": 0}
            rate = PEAK * (1 - share[settings.schedule])
            examples = [example for batch in group for example in batch]
            answer_tokens = sum(len(example.row.choices[example.answer]) for example in examples)
            total = torch.zeros(())
            for example in examples:
                loss = loss_of(example, settings, model, head, teacher)
                choices = choice_loss_of(example, settings, model, teacher)
                total = total + loss / answer_tokens + choices / len(examples)
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
@pytest.mark.parametrize(("blocks", "accumulation"), [(None, 1), (BLOCKS, 2)])
def test_training_is_the_plain_loop(schedule, blocks, accumulation):
    settings = replace(SETTINGS, schedule=schedule, gradient_accumulation=accumulation)
    expected = plain(settings, blocks)
    assert apart(dict(tiny("llama").named_parameters()), expected) > 1
    assert apart(ours(settings, blocks), expected) < CLOSE


def test_the_losses_of_a_pass_are_those_of_its_answers():
    """By token; with a rate that changes nothing."""
    model, tokenizer, docs = tiny("llama"), word_tokenizer(), documents(31)
    record = train_pass(model, tokenizer, docs, replace(SETTINGS, learning_rate=1e-12))
    losses = []  # of each answer token, by step
    for batch in batches_of(examples_of(tokenizer, docs), BATCH, SETTINGS.seed, 0):
        losses.append([])
        for example in batch:
            with torch.no_grad():
                log = run(model, example, example.answer)[0]
            answer = example.row.choices[example.answer]
            losses[-1] += (-log[range(len(answer)), list(answer)]).tolist()
    assert len(losses) == 11 == record.steps and record.documents == 31
    every = [one for step in losses for one in step]
    assert record.loss == pytest.approx(sum(every) / len(every), rel=1e-4)


def test_moments_in_eight_bits_train_nearly_alike():
    """Only tensors of 4,096 weights and more have them."""
    pytest.importorskip("bitsandbytes")
    in_32, in_8 = (
        ours(replace(SETTINGS, optimizer=name), BLOCKS, width=256)
        for name in ("adamw", "adamw_8bit")
    )
    start = dict(tiny("llama", mlp_width=256).named_parameters())
    for name, value in in_32.items():
        if ".layers." in name:
            trained = int(name.split(".")[2]) in BLOCKS
            moved, off = (apart({name: p[name]}, {name: value}) for p in (start, in_8))
            assert (moved > 1) == trained
            assert off < CLOSE if value.numel() < 4096 or not trained else CLOSE < off < moved / 4


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"hidden": 4.0}, 2048),
        ({"kl": 0.3, "hidden": 4.0}, 1),
        ({"choice_kl": 2.0}, 2048),
        ({"kl": 0.7, "hidden": 4.0, "choice_loss": 1.5, "choice_kl": 0.5}, 20),
    ],
)
def test_learning_from_a_teacher_is_the_plain_loop(changes, tokens, monkeypatch):
    """A batch in one part, of every document alone, or of as many as fit."""
    sizes: list[int] = []

    def counted(part: Any, device: Any) -> Any:
        sizes.append(len(part))
        return packed(part, device)

    monkeypatch.setattr(loop, "TOKENS_AT_ONCE", tokens)
    monkeypatch.setattr(loop, "packed", counted)
    taught = tiny("llama")
    train_pass(taught, word_tokenizer(), documents(11), replace(SETTINGS, learning_rate=1e-2))
    teacher = Teacher.of(taught, word_tokenizer(), documents(11), dtype="float32")
    sizes.clear()
    settings = replace(SETTINGS, **changes)
    expected = plain(settings, BLOCKS, taught)
    assert apart(ours(settings, BLOCKS, teacher=teacher), expected) < CLOSE
    assert sum(sizes) == PASSES * 11 and (len(sizes) > PASSES * 4) == (tokens < 2048)
    # ... and the teacher does make a difference.
    assert apart(ours(SETTINGS, BLOCKS), expected) > 10 * CLOSE


def test_adapters_train_as_by_peft_and_the_plain_loop_and_are_merged():
    found, before = ours(SETTINGS, None, lora=LORA), dict(tiny("llama").named_parameters())
    config = LoraConfig(r=4, lora_alpha=12, target_modules=list(MATRICES))
    base = tiny("llama")
    torch.manual_seed(SETTINGS.seed)
    adapted = get_peft_model(base, config)
    plain(SETTINGS, None, adapted=adapted)
    expected = dict(adapted.merge_and_unload().named_parameters())
    assert found.keys() == expected.keys() == before.keys()
    assert apart(found, expected) < CLOSE
    for name, value in before.items():
        matrix = name.split(".")[-2] in MATRICES
        assert value.equal(found[name]) != matrix, name
        assert (apart({name: value}, {name: expected[name]}) > 0.2) == matrix, name


def decay(parameters: Any, **options: Any) -> torch.optim.Optimizer:
    return ADAMW(parameters, **options | {"weight_decay": 1.0})


ADAMW, TRAINABLE = torch.optim.AdamW, training.set_trainable


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


def on_the_prompt(examples: Any, device: Any) -> Any:
    rows = [one.input_row for one in examples]
    whole = [
        row._replace(prompt=row.prompt[:1], choices=(row.prompt[1:] + row.choices[0],))
        for row in rows
    ]
    return packed([Example(row, 0, False) for row in whole], device)


def one_too_early(examples: Any, device: Any) -> Any:
    batch, answers = packed(examples, device)
    return replace(batch, places=batch.places - 1), answers


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
    "loss over the prompt": (loop, "packed", on_the_prompt),
    "label shifted": (loop, "packed", one_too_early),
    "a frozen block trained": (
        training,
        "set_trainable",
        lambda model, blocks, embeddings: TRAINABLE(model, [*blocks, 4], embeddings),
    ),
    "the wrong blocks trained": (
        training,
        "set_trainable",
        lambda model, blocks, embeddings: TRAINABLE(model, [b + 1 for b in blocks], embeddings),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_training_is_noticed(name, monkeypatch):
    where, what, instead = MUTANTS[name]
    expected = plain(SETTINGS, BLOCKS)
    monkeypatch.setattr(where, what, instead)
    assert apart(ours(SETTINGS, BLOCKS), expected) > 5 * CLOSE
