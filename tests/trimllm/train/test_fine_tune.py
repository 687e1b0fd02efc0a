"""Fine-tuning ends when held-back documents say so, and keeps the pass that answers them best."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from models import random_documents, tiny, word_tokenizer

from trimllm.base.errors import UserError
from trimllm.scanning import scan
from trimllm.score import score
from trimllm.train import HeldBackScore, Teacher, TrainSettings, fine_tune, train_pass

documents = partial(random_documents, longest=7)
# A rate at which what is learned by heart soon hurts elsewhere.
SETTINGS = TrainSettings(
    learning_rate=1e-2, batch_size=4, dtype="float32", seed=3, schedule="epoch"
)


def tuned(**options: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    model = tiny("llama")
    given = {"train": documents(12), "settings": SETTINGS, "epochs": 6}
    return model, fine_tune(model, word_tokenizer(), **given | options)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(v.equal(other.state_dict()[name]) for name, v in one.state_dict().items())


def test_held_back_documents_are_scored_as_by_the_scorer() -> None:
    model, tokenizer, held_back = tiny("llama"), word_tokenizer(), documents(7, 9)
    found = HeldBackScore.of(model, tokenizer, held_back, "float32")
    scores = [one.log_likelihoods for one in score(model, tokenizer, held_back)]
    pairs = list(zip(scores, held_back, strict=True))
    right = sum(max(range(len(s)), key=s.__getitem__) == d.answer for s, d in pairs)
    assert found.documents == 7 and found.accuracy == pytest.approx(100 * right / 7)
    logs = [s[d.answer] - math.log(sum(map(math.exp, s))) for s, d in pairs]
    assert found.likelihood == pytest.approx(sum(logs) / 7, abs=1e-4)
    free = documents(7, 9, choices=1)
    found = HeldBackScore.of(model, tokenizer, free, "float32")
    expected = scan(model, tokenizer, free).baseline.likelihood
    assert found.accuracy is None and found.likelihood == pytest.approx(expected, abs=1e-5)
    with pytest.raises(UserError, match="held back: 7 of 9 documents have a free answer"):
        HeldBackScore.of(model, tokenizer, [*free, *documents(2)], "float32")


def test_the_better_score_has_more_right_and_then_more_likely() -> None:
    assert HeldBackScore(60, -2.0, 10) > HeldBackScore(50, -1.0, 10)
    assert HeldBackScore(50, -1.0, 10) > HeldBackScore(50, -1.5, 10)
    assert HeldBackScore(None, -1.0, 7) > HeldBackScore(None, -2.0, 7)


@pytest.mark.parametrize("choices", [3, 1])
@pytest.mark.parametrize("patience", [1, 2])
def test_training_ends_and_the_best_pass_is_kept(patience: int, choices: int) -> None:
    held_back, train = documents(20, 9, choices=choices), documents(12, choices=choices)
    model, record = tuned(train=train, held_back=held_back, patience=patience)
    curve = [HeldBackScore(**one) for one in record["held_back"]]
    kept = record["kept_pass"]
    assert len(curve) == len(record["passes"]) == min(6, kept + 1 + patience)
    assert curve[kept] == max(curve) and kept == curve.index(max(curve))
    again, _ = tuned(train=train, epochs=kept + 1)
    assert same_weights(again, model)
    assert HeldBackScore.of(model, word_tokenizer(), held_back, "float32") == curve[kept]
    # So it is where the limit comes with it, or a pass later.
    for limit in (kept + 1, kept + 2):
        model, record = tuned(train=train, held_back=held_back, patience=9, epochs=limit)
        assert (record["kept_pass"], len(record["passes"])) == (kept, limit)
        assert same_weights(again, model)


@pytest.mark.parametrize("changed", [{}, {"least": 4}, {"epochs": 3}, {"least": 2}])
def test_no_pass_is_kept_before_every_document_was_seen(changed: dict[str, Any]) -> None:
    # These like the first pass best.
    given = {"train": documents(12), "documents": 3, "held_back": documents(20, 17), **changed}
    model, record = tuned(**given)
    curve = [HeldBackScore(**one) for one in record["held_back"]]
    first = min(changed.get("least", 4), changed.get("epochs", 6)) - 1
    assert max(curve) == curve[0] and curve[0] not in curve[1:]
    kept = record["kept_pass"]
    assert kept == first + curve[first:].index(max(curve[first:]))
    assert len(curve) == min(changed.get("epochs", 6), kept + 2)
    assert same_weights(tuned(**given | {"epochs": kept + 1, "held_back": ()})[0], model)


def test_without_held_back_documents_the_last_pass_is_kept() -> None:
    model, record = tuned(epochs=2, trainable=[1, 3])
    assert record["kept_pass"] == 1 and record["held_back"] == [] and len(record["passes"]) == 2
    before = tiny("llama").state_dict()
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert record["trainable_blocks"] == [1, 3]
    assert {name.split(".")[2] for name in moved} == {"1", "3"}
    model, record = tuned(epochs=0)
    assert record["passes"] == [] and record["kept_pass"] is None
    assert same_weights(tiny("llama"), model)


def test_a_pass_of_many_is_that_of_the_whole() -> None:
    (whole, _), (first, _) = tuned(epochs=2), tuned(epochs=2, passes=(0, 1))
    fine_tune(
        first, word_tokenizer(), train=documents(12), settings=SETTINGS, epochs=2, passes=(1, 2)
    )
    assert same_weights(whole, first)


def of(docs: list[Any], seed: int = 1, **options: Any) -> Teacher:
    return Teacher.of(tiny("llama", seed), word_tokenizer(), docs, dtype="float32", **options)


def test_a_teacher_that_does_not_fit_is_refused() -> None:
    tokenizer, docs = word_tokenizer(), documents(4)
    taught, every = replace(SETTINGS, kl=0.5), replace(SETTINGS, hidden=1.0)
    narrow = Teacher({d.hash: torch.ones(1, 7) for d in docs})
    cut = Teacher({d.hash: torch.ones(40, 32) for d in docs})
    for teacher, settings, problem in (
        (of(documents(4, 5)), taught, "has not run the document"),
        (None, taught, "`kl` and `hidden` need a teacher"),
        (of(docs), replace(taught, train_embeddings=True), "need a teacher and `train_embedd"),
        # Padded states of the prompt would be trained to.
        (of(docs), every, "kept those of answers; use Teacher.of.*every_token=True"),
        (narrow, taught, r"are \(1, 7\), not .*, 32\): a teacher needs the same"),
        (cut, taught, r"are \(40, 32\), not .*a teacher needs the same tokenizer"),
    ):
        with pytest.raises(UserError, match=problem):
            train_pass(tiny("llama"), tokenizer, docs, settings, teacher=teacher)


def test_a_teacher_keeps_states_in_the_given_type_in_memory_or_in_a_file(tmp_path: Path) -> None:
    model, tokenizer, docs = tiny("llama"), word_tokenizer(), documents(4)
    exact, rounded = (
        Teacher.of(model, tokenizer, docs, dtype=dtype) for dtype in ("float32", "bfloat16")
    )
    for document in docs:
        one, other = exact.states[document.hash], rounded.states[document.hash]
        assert (one.dtype, other.dtype) == (torch.float32, torch.bfloat16)
        assert other.float().allclose(one, atol=0.3) and not other.float().equal(one)
    exact.save(tmp_path / "x.safetensors")
    every = Teacher.of(model, tokenizer, docs, dtype="float32", every_token=True)
    models = [tiny("llama", 1) for _ in range(3)]
    for model, teacher in zip(
        models, (exact, Teacher.load(tmp_path / "x.safetensors"), every), strict=True
    ):
        train_pass(model, tokenizer, docs, replace(SETTINGS, kl=0.5), teacher=teacher)
    assert same_weights(*models[:2]) and same_weights(*models[1:])
