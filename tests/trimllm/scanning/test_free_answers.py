"""A scan of free answers finds what plain transformers find without each unit."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from models import FAMILIES, random_documents, tiny, word_tokenizer, zero

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.scanning import from_record, scan, to_record
from trimllm.sublayers import Unit, drop, units

DOCUMENTS = random_documents(9, choices=1)


@torch.no_grad()
def by_transformers(model: torch.nn.Module, documents: list[Document]) -> float:
    """Mean over documents of the mean log-probability of the answer's tokens and its end."""
    tokenizer, means = word_tokenizer(), []
    for document in documents:
        prompt = tokenizer.encode(document.prompt)
        whole = tokenizer.encode(document.prompt + document.choices[0]) + [tokenizer.eos_token_id]
        logits = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        said = [float(logits[at - 1, whole[at]]) for at in range(len(prompt), len(whole))]
        means.append(sum(said) / len(said))
    return sum(means) / len(means)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row_budget", [1, 150, 100_000])
def test_the_answer_likelihood_is_that_of_dropping_each_unit(family: str, row_budget: int) -> None:
    gone = [Unit(0, "attention"), Unit(2, "mlp")]
    model = drop(tiny(family), gone)
    found = scan(model, word_tokenizer(), DOCUMENTS, row_budget=row_budget)
    assert list(found.answer_likelihood) == found.scored == units(model)
    for unit, likelihood in found.answer_likelihood.items():
        oracle = zero(tiny(family), [*gone, unit])
        assert likelihood == pytest.approx(by_transformers(oracle, DOCUMENTS), abs=1e-4)
    whole = by_transformers(zero(tiny(family), gone), DOCUMENTS)
    assert found.baseline_answer_likelihood == pytest.approx(whole, abs=1e-4)
    assert found.free and not found.correct and not found.likelihood and found.baseline is None


def test_norms_do_not_depend_on_what_is_scored() -> None:
    """Where a second choice adds no token to a row."""
    free = [Document(one.prompt, (" w7",), 0) for one in DOCUMENTS]
    chosen = [Document(one.prompt, (" w7 w8", " w9"), 0) for one in DOCUMENTS]
    model, tokenizer = tiny("llama"), word_tokenizer()
    first, second = (scan(model, tokenizer, documents).norm for documents in (free, chosen))
    assert first == pytest.approx(second)


def test_the_record_gives_the_scan_back() -> None:
    found = scan(tiny("llama"), word_tokenizer(), DOCUMENTS)
    assert from_record(json.loads(json.dumps(to_record(found)))) == found


def test_what_a_scan_of_free_answers_refuses() -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    with pytest.raises(UserError, match="calibration: 9 of 11 documents have a free answer"):
        scan(model, tokenizer, [*DOCUMENTS, *random_documents(2)])


def test_a_document_alone_and_among_others_has_one_likelihood() -> None:
    """Documents count alike, however long their answers are."""
    model, tokenizer = copy.deepcopy(tiny("opt")), word_tokenizer()
    alone = [scan(model, tokenizer, [one]).baseline_answer_likelihood for one in DOCUMENTS]
    together = scan(model, tokenizer, DOCUMENTS).baseline_answer_likelihood
    assert together == pytest.approx(sum(alone) / len(alone), abs=1e-5)
