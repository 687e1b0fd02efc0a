"""Free answers: generation is greedy decoding, metrics follow their definitions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import random_documents, tiny, word_tokenizer

from trimllm.data import Document, write_documents
from trimllm.evaluate import evaluate
from trimllm.evaluate.run import compare, ends_of
from trimllm.sublayers import Unit, drop

WORDS = st.lists(st.sampled_from(["cat", "sat", "mat", "dog", "ran"]), max_size=7)


@given(answer=WORDS, reference=WORDS.filter(bool))
def test_metrics_are_their_textbook_definitions(answer: list[str], reference: list[str]) -> None:
    def f1(common: int) -> float:
        return 2 * common / (len(answer) + len(reference)) if common else 0.0

    # Longest common subsequence, by its recurrence.
    longest = [[0] * (len(reference) + 1) for _ in range(len(answer) + 1)]
    for i, one in enumerate(answer):
        for j, other in enumerate(reference):
            grown = longest[i][j] + 1 if one == other else 0
            longest[i + 1][j + 1] = max(grown, longest[i][j + 1], longest[i + 1][j])
    both = sum(min(answer.count(word), reference.count(word)) for word in {*answer})
    expected = [float(answer == reference), f1(both), f1(longest[-1][-1])]
    assert [*compare(" ".join(answer), " ".join(reference)).values()] == pytest.approx(expected)


def test_case_and_punctuation_are_ignored_and_articles_in_f1() -> None:
    assert set(compare(" The Cat!\n", "the cat").values()) == {1.0}
    assert [*compare("a cat", "the cat").values()] == [0.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("answers", "ends"),
    [([" one", " two "], ["\n"]), ([" one\ntwo"], ["\n\n"]), ([" one\n\ntwo", " a"], [])],
)
def test_generation_ends_where_no_reference_goes_on(answers: list[str], ends: list[str]) -> None:
    assert ends_of([Document("p", (answer,), 0) for answer in answers]) == ends


@torch.no_grad()
def written(model: torch.nn.Module, prompt: str, most: int) -> str:
    """Greedy decoding without a cache, a token at a time."""
    tokenizer = word_tokenizer()
    ids = tokenizer.encode(prompt)
    start = len(ids)
    while len(ids) - start < most:
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


@torch.no_grad()
def loss_of(model: torch.nn.Module, documents: list[Document]) -> float:
    """Mean loss of the answers' tokens and of the end that follows each, nats a token."""
    tokenizer, losses = word_tokenizer(), []
    for one in documents:
        prompt = tokenizer.encode(one.prompt)
        answer = [*tokenizer.encode(one.choices[0]), tokenizer.eos_token_id]
        scores = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        losses += (-scores.log_softmax(-1)[range(len(answer)), answer]).tolist()
    return sum(losses) / len(losses)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_greedy_answers_are_compared(family: str, tmp_path: Path) -> None:
    """In a batch, with a cache, of a trimmed model."""
    model = drop(tiny(family), [Unit(1, "attention"), Unit(3, "mlp")])
    documents = random_documents(6, choices=1)
    # One that is right, and one that is nearly.
    right = written(model, documents[0].prompt, 4)
    documents[0] = Document(documents[0].prompt, (" " + right,), 0)
    first = " ".join(written(model, documents[1].prompt, 4).split()[:2])
    documents[1] = Document(documents[1].prompt, (f" {first} w1 w2",), 0)
    write_documents(tmp_path / "free.jsonl", documents)
    tasks = {"mine": tmp_path / "free.jsonl"}
    found = evaluate(model, word_tokenizer(), tasks, answer_tokens=4)["mine"]
    expected = [compare(written(model, one.prompt, 4), one.choices[0]) for one in documents]
    for metric, values in found["answers"]["by_document"].items():
        assert values == pytest.approx([one[metric] for one in expected])
        assert found["answers"][metric] == pytest.approx(100 * sum(values) / 6)
    assert found["correct"] == [int(one["exact_match"]) for one in expected]
    assert found["correct"][0] == 1 and found["answers"]["by_document"]["token_f1"][1] > 0
    assert found["acc"] == pytest.approx(found["answers"]["exact_match"])
    assert found["chance"] is None and found["n"] == 6
    assert found["answer_loss"] == pytest.approx(loss_of(model, documents), abs=1e-4)
    perplexity = math.exp(found["answer_loss"])
    assert found["answers"]["perplexity"] == pytest.approx(perplexity, rel=1e-3)


def test_prompts_are_rendered_by_the_chat_template(tmp_path: Path) -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    prompts = [one.prompt for one in random_documents(4, choices=1)]
    answers = [(" " + written(model, prompt, 2),) for prompt in prompts]
    tokenizer.chat_template = "{% for m in messages %}{{m.content}} {% endfor %}"
    pairs, tasks = list(zip(prompts, answers, strict=True)), {}
    for name in ("plain", "chats"):
        tasks[name] = tmp_path / f"{name}.jsonl"
    write_documents(tasks["plain"], [Document(prompt, answer, 0) for prompt, answer in pairs])
    chats = [Document("w1", answer, 0, (("user", prompt),)) for prompt, answer in pairs]
    write_documents(tasks["chats"], chats)
    first, second = evaluate(model, tokenizer, tasks, answer_tokens=3).values()
    assert first["answers"]["by_document"] == second["answers"]["by_document"]
    assert first["answers"]["token_f1"] > 0
