"""What a checkpoint says outside of its domain, against transformers' own loss."""

from __future__ import annotations

import math

import pytest
import torch
from exports import byte_tokenizer
from models import random_documents, tiny

from trimllm.score import score
from trimllm_paper.own import outside


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return tiny("llama", vocab_size=320, max_position_embeddings=1024)


def test_perplexity_is_that_of_transformers(model: torch.nn.Module) -> None:
    tokenizer = byte_tokenizer()
    nats, tokens = 0.0, 0
    for document in outside.paragraphs():
        head = len(tokenizer(document.prompt).input_ids)
        ids = torch.tensor([tokenizer(document.prompt + document.choices[0]).input_ids])
        labels = ids.clone()
        labels[:, :head] = -100
        with torch.no_grad():
            loss = model(ids, labels=labels).loss
        nats += float(loss) * (ids.shape[1] - head)
        tokens += ids.shape[1] - head
    found, counted = outside.perplexity(model, tokenizer)
    assert counted == tokens
    assert found == pytest.approx(math.exp(nats / tokens), rel=1e-4)


def test_the_text_is_prose_of_several_paragraphs() -> None:
    documents = outside.paragraphs()
    words = [len((d.prompt + d.choices[0]).split()) for d in documents]
    assert len(documents) >= 6 and sum(words) > 400 and min(words) > 40
    assert "".join(d.prompt + d.choices[0] for d in documents).isascii()


def test_answers_are_those_of_the_scorer(model: torch.nn.Module) -> None:
    tokenizer, documents = byte_tokenizer(), random_documents(5)
    found = outside.answers(model, tokenizer, documents)
    best = [one.best for one in score(model, tokenizer, documents)]
    assert [one["picked"] for one in found["documents"]] == best
    assert [one["prompt"] for one in found["documents"]] == [d.prompt for d in documents]
