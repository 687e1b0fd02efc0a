"""What a checkpoint says outside of its domain, against transformers' own loss."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from exports import byte_tokenizer
from models import random_documents, tiny

from trimllm.data import Document, write_documents
from trimllm.evaluate import evaluate
from trimllm.evaluate.run import compare
from trimllm.score import score
from trimllm.score.encode import encode_document
from trimllm_paper.own import answers


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return tiny("llama", vocab_size=320, max_position_embeddings=1024)


def test_perplexity_is_that_of_transformers(model: torch.nn.Module) -> None:
    tokenizer = byte_tokenizer()
    nats, tokens = 0.0, 0
    for document in answers.neutral_documents():
        head = len(tokenizer(document.prompt).input_ids)
        ids = torch.tensor([tokenizer(document.prompt + document.choices[0]).input_ids])
        labels = ids.clone()
        labels[:, :head] = -100
        with torch.no_grad():
            loss = model(ids, labels=labels).loss
        nats += float(loss) * (ids.shape[1] - head)
        tokens += ids.shape[1] - head
    found, counted = answers.perplexity(model, tokenizer)
    assert counted == tokens
    assert found == pytest.approx(math.exp(nats / tokens), rel=1e-4)


def test_answers_are_those_of_the_scorer(model: torch.nn.Module) -> None:
    tokenizer, documents = byte_tokenizer(), random_documents(5)
    found = answers.answers(model, tokenizer, documents)
    best = [one.best for one in score(model, tokenizer, documents)]
    for document, picked, one in zip(documents, best, found["documents"], strict=True):
        assert one["answer"] == document.choices[picked].strip()
        assert one["right"] == document.choices[document.answer].strip()
        assert one["correct"] == (picked == document.answer)


def test_free_answers_are_written_as_an_evaluation_writes_them(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    tokenizer = byte_tokenizer()
    documents = [
        Document(f"Question: {i}?\nAnswer:", (f" It is {i}.",), 0, (("user", f"What is {i}?"),))
        for i in range(4)
    ]
    write_documents(tmp_path / "free.jsonl", documents)
    found = answers.answers(model, tokenizer, documents)["documents"]
    tested = evaluate(model, tokenizer, {"free": tmp_path / "free.jsonl"}, answer_tokens=96)
    longest = max(len(encode_document(tokenizer, d)[1][0]) for d in documents)
    assert longest < answers.LONGEST
    assert [one["right"] for one in found] == [f"It is {i}." for i in range(4)]
    for one in found:
        assert one["f1"] == pytest.approx(compare(one["answer"], one["right"])["token_f1"])
        assert "\n" not in one["answer"]
    assert len(tested["free"]["answers"]["by_document"]["token_f1"]) == 4
    # How it is asked: as a chat only where the model has a template.
    assert [one["message"] for one in found] == [f"What is {i}?" for i in range(4)]
    tokenizer.chat_template = None
    assert answers.message(tokenizer, documents[0]) is None
