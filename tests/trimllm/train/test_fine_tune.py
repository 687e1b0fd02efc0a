"""Fine-tuning ends when held-back documents say so, and leaves the pass that they like best."""

from __future__ import annotations

import math
from functools import partial
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


def test_held_back_documents_are_answered_as_the_scorer_answers_them() -> None:
    model, held_back = tiny("llama"), documents(7, 9)
    found = HeldBackScore.of(model, word_tokenizer(), held_back, "float32")
    scores = [one.log_likelihoods for one in score(model, word_tokenizer(), held_back)]
    right = [max(range(len(s)), key=s.__getitem__) for s in scores]
    assert found.documents == 7
    hits = sum(a == d.answer for a, d in zip(right, held_back, strict=True))
    assert found.accuracy == pytest.approx(100 * hits / 7)
    logs = [
        s[d.answer] - math.log(sum(map(math.exp, s)))
        for s, d in zip(scores, held_back, strict=True)
    ]
    assert found.likelihood == pytest.approx(sum(logs) / 7, abs=1e-4)


def test_free_answers_that_are_held_back_are_judged_by_their_likelihood() -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    held_back = documents(7, 9, choices=1)
    found = HeldBackScore.of(model, tokenizer, held_back, "float32")
    assert found.accuracy is None and found.documents == 7
    scanned = scan(model, tokenizer, held_back).baseline_answer_likelihood
    assert found.likelihood == pytest.approx(scanned, abs=1e-5)
    assert HeldBackScore(None, -1.0, 7) > HeldBackScore(None, -2.0, 7)
    with pytest.raises(UserError, match="held back: 7 of 9 documents have a free answer"):
        HeldBackScore.of(model, tokenizer, [*held_back, *documents(2)], "float32")


def test_the_better_one_has_more_right_and_then_more_likely() -> None:
    assert HeldBackScore(60, -2.0, 10) > HeldBackScore(50, -1.0, 10)
    assert HeldBackScore(50, -1.0, 10) > HeldBackScore(50, -1.5, 10)


@pytest.mark.parametrize("choices", [3, 1])
@pytest.mark.parametrize("patience", [1, 2])
def test_training_ends_and_the_best_pass_is_kept(patience: int, choices: int) -> None:
    held_back, train = documents(20, 9, choices=choices), documents(12, choices=choices)
    model, record = tuned(train=train, held_back=held_back, patience=patience)
    curve = [HeldBackScore(**one) for one in record["held_back"]]
    kept = record["kept_pass"]
    assert len(curve) == len(record["passes"]) <= 6
    assert curve[kept] == max(curve) and kept == curve.index(max(curve))
    assert len(curve) == min(6, kept + 1 + patience)
    # ... and the weights are those of that pass.
    again, _ = tuned(train=train, epochs=kept + 1)
    for name, value in again.state_dict().items():
        assert value.equal(model.state_dict()[name])
    assert HeldBackScore.of(model, word_tokenizer(), held_back, "float32") == curve[kept]
    # So it is where the limit comes with it, or a pass later.
    for limit in (kept + 1, kept + 2):
        model, record = tuned(train=train, held_back=held_back, patience=9, epochs=limit)
        assert (record["kept_pass"], len(record["passes"])) == (kept, limit)
        for name, value in again.state_dict().items():
            assert value.equal(model.state_dict()[name])


@pytest.mark.parametrize("told", [{}, {"least": 4}, {"epochs": 3}, {"least": 2}])
def test_no_pass_is_chosen_before_every_document_was_seen(told: dict[str, Any]) -> None:
    # These like the first pass best.
    given = {"train": documents(12), "documents": 3, "held_back": documents(20, 17), **told}
    model, record = tuned(**given)
    curve = [HeldBackScore(**one) for one in record["held_back"]]
    first = min(told.get("least", 4), told.get("epochs", 6)) - 1
    assert max(curve) == curve[0] and curve[0] not in curve[1:]
    kept = record["kept_pass"]
    assert kept == first + curve[first:].index(max(curve[first:]))
    assert len(curve) == min(told.get("epochs", 6), kept + 2)
    again, _ = tuned(**given | {"epochs": kept + 1, "held_back": ()})
    for name, value in again.state_dict().items():
        assert value.equal(model.state_dict()[name])


def test_without_held_back_documents_the_last_pass_is_kept() -> None:
    _, record = tuned(epochs=2)
    assert record["kept_pass"] == 1 and record["held_back"] == [] and len(record["passes"]) == 2


def test_no_pass_changes_nothing() -> None:
    model, record = tuned(epochs=0, trainable=[1])
    assert record["passes"] == [] and record["kept_pass"] is None
    assert all(v.equal(tiny("llama").state_dict()[n]) for n, v in model.state_dict().items())


def test_blocks_may_be_told() -> None:
    model, record = tuned(epochs=1, trainable=[1, 3])
    assert record["trainable_blocks"] == [1, 3]
    moved = {n for n, v in model.state_dict().items() if not v.equal(tiny("llama").state_dict()[n])}
    assert {name.split(".")[2] for name in moved} == {"1", "3"}


def test_a_teacher_has_seen_what_is_learned() -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    teacher = Teacher.of(tiny("llama", 1), tokenizer, documents(4), dtype="float32")
    settings = TrainSettings(**SETTINGS.__dict__ | {"kl": 0.5})
    train_pass(model, tokenizer, documents(4), settings, teacher=teacher)
    with pytest.raises(UserError, match="has not seen the document"):
        train_pass(model, tokenizer, documents(4, 5), settings, teacher=teacher)
    for wrong in ({"teacher": None}, {"teacher": teacher}):
        embeddings = wrong["teacher"] is not None
        unfit = TrainSettings(**settings.__dict__ | {"train_embeddings": embeddings})
        with pytest.raises(UserError, match="a teacher is listened to where"):
            train_pass(model, tokenizer, documents(4), unfit, **wrong)


def test_a_teacher_speaks_in_the_type_that_is_asked_for() -> None:
    model, tokenizer, (document, *_) = tiny("llama"), word_tokenizer(), documents(1)
    exact, rounded, again = (
        Teacher.of(model, tokenizer, [document], dtype=dtype).of_document(document)
        for dtype in ("float32", "bfloat16", "float32")
    )
    assert exact.dtype == torch.float32 and exact.equal(again)
    assert rounded.dtype == torch.bfloat16
    assert rounded.float().allclose(exact, atol=0.1) and not rounded.float().equal(exact)


def test_what_a_teacher_says_is_kept_in_a_file(tmp_path: Any) -> None:
    teacher = Teacher.of(tiny("llama"), word_tokenizer(), documents(4), every_token=True)
    teacher.save(tmp_path / "x.safetensors")
    again = Teacher.load(tmp_path / "x.safetensors")
    for document in documents(4):
        assert teacher.of_document(document).equal(again.of_document(document))


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(UserError, match="'cosine' is none of chain, epoch, constant"):
        TrainSettings(schedule="cosine")
