"""Answers and perplexity of a checkpoint, against the scorer's and transformers' own loss."""

import math

import pytest
import torch
from exports import byte_tokenizer
from models import random_documents, tiny

from trimllm.data import Document
from trimllm.evaluate.run import compare
from trimllm.score import score
from trimllm_paper.own import answers


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return tiny("llama", vocab_size=320, max_position_embeddings=1024)


def test_answers_are_those_of_the_scorer_and_perplexity_that_of_transformers(
    model: torch.nn.Module,
) -> None:
    tokenizer, documents = byte_tokenizer(), random_documents(5)
    result = answers.answers(model, tokenizer, documents)
    best = [one.best for one in score(model, tokenizer, documents)]
    for document, index, one in zip(documents, best, result["documents"], strict=True):
        assert one["answer"] == document.choices[index].strip()
        assert one["right"] == document.choices[document.answer].strip()
        assert one["correct"] == (index == document.answer)
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
    assert result["tokens"] == tokens
    assert result["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)


def test_free_answers_are_written(model: torch.nn.Module) -> None:
    tokenizer = byte_tokenizer()
    documents = [
        Document(f"Question: {i}?\nAnswer:", (f" It is {i}.",), 0, (("user", f"What is {i}?"),))
        for i in range(4)
    ]
    rows = answers.answers(model, tokenizer, documents)["documents"]
    assert [one["right"] for one in rows] == [f"It is {i}." for i in range(4)]
    for one in rows:
        assert one["f1"] == pytest.approx(compare(one["answer"], one["right"])["token_f1"])
        assert "\n" not in one["answer"]
    # As a chat only where the model has a template.
    assert [one["message"] for one in rows] == [f"What is {i}?" for i in range(4)]
    tokenizer.chat_template = None
    assert answers.answers(model, tokenizer, documents[:1])["documents"][0]["message"] is None
