"""Fine-tuning ends when held-back documents say so, and keeps the pass that answers them best."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from models import random_documents as documents
from models import tiny, word_tokenizer

from trimllm.base.errors import UserError
from trimllm.train import Teacher, TrainSettings, fine_tune, held_back_score, train_pass

# A rate at which what is learned by heart soon hurts elsewhere.
SETTINGS = TrainSettings(
    learning_rate=1e-2, batch_size=4, dtype="float32", seed=3, schedule="epoch"
)


def tuned(**options: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    model = tiny("llama")
    given = {"train": documents(12), "settings": SETTINGS, "epochs": 6}
    return model, fine_tune(model, word_tokenizer(), **given | options)


def curve_of(record: dict[str, Any]) -> list[tuple[float, float]]:
    return [(one["accuracy"] or 0, one["likelihood"]) for one in record["held_back"]]


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(v.equal(other.state_dict()[name]) for name, v in one.state_dict().items())


@pytest.mark.parametrize(("choices", "patience"), [(3, 1), (1, 2)])
def test_training_ends_and_the_best_pass_is_kept(patience, choices):
    held_back, train = documents(20, 9, choices=choices), documents(12, choices=choices)
    model, record = tuned(train=train, held_back=held_back, patience=patience)
    curve, kept = curve_of(record), record["kept_pass"]
    assert len(curve) == len(record["passes"]) == min(6, kept + 1 + patience)
    assert curve[kept] == max(curve) and kept == curve.index(max(curve))
    again, _ = tuned(train=train, epochs=kept + 1)
    assert same_weights(again, model)
    score_of_kept = held_back_score(model, word_tokenizer(), held_back, "float32")
    assert score_of_kept == record["held_back"][kept]
    # So it is where the limit comes before patience ends.
    model, record = tuned(train=train, held_back=held_back, patience=9, epochs=kept + 2)
    assert (record["kept_pass"], len(record["passes"])) == (kept, kept + 2)
    assert same_weights(again, model)


@pytest.mark.parametrize("changed", [{}, {"least": 2}, {"epochs": 3}])
def test_no_pass_is_kept_before_every_document_was_seen(changed):
    # These like the first pass best.
    given = {"train": documents(12), "documents": 3, "held_back": documents(20, 17), **changed}
    model, record = tuned(**given)
    curve, kept = curve_of(record), record["kept_pass"]
    first = min(changed.get("least", 4), changed.get("epochs", 6)) - 1
    assert max(curve) == curve[0] and curve[0] not in curve[1:]
    assert kept == first + curve[first:].index(max(curve[first:]))
    assert len(curve) == min(changed.get("epochs", 6), kept + 2)
    assert same_weights(tuned(**given | {"epochs": kept + 1, "held_back": ()})[0], model)


def test_a_teacher_that_does_not_fit_is_refused():
    tokenizer, docs, taught = word_tokenizer(), documents(4), replace(SETTINGS, kl=0.5)
    fits = Teacher.of(tiny("llama", 1), tokenizer, docs)
    narrow = Teacher({key: states[:, 1:] for key, states in fits.states.items()})
    for teacher, changed, problem in (
        (Teacher({}), {}, "the teacher has no states .* of a document of . tokens"),
        (narrow, {}, "with the same tokenizer and head"),
        (None, {}, "`kl`, `hidden` and `choice_kl` need a teacher"),
        (fits, {"train_embeddings": True}, "need a teacher and `train_embeddings=False`"),
    ):
        with pytest.raises(UserError, match=problem):
            train_pass(tiny("llama"), tokenizer, docs, replace(taught, **changed), teacher=teacher)
