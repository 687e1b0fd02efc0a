"""Free answers: generation is greedy decoding, metrics follow their definitions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from models import random_documents, tiny, word_tokenizer

from trimllm.data import Document, write_documents
from trimllm.evaluate import evaluate
from trimllm.evaluate.model import TrimLM
from trimllm.evaluate.tasks import compare, ends_of
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
    found = compare(" ".join(answer), " ".join(reference))
    assert found["exact_match"] == (answer == reference)
    assert found["token_f1"] == pytest.approx(f1(both))
    assert found["rouge_l"] == pytest.approx(f1(longest[-1][-1]))


def test_case_and_punctuation_are_ignored_and_articles_in_f1() -> None:
    assert set(compare(" The Cat!\n", "the cat").values()) == {1.0}
    found = compare("a cat", "the cat")
    assert (found["exact_match"], found["token_f1"], found["rouge_l"]) == (0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("answers", "ends"),
    [([" one", " two "], ["\n"]), ([" one\ntwo"], ["\n\n"]), ([" one\n\ntwo", " a"], [])],
)
def test_generation_ends_where_no_reference_goes_on(answers: list[str], ends: list[str]) -> None:
    assert ends_of([Document("p", (answer,), 0) for answer in answers]) == ends


def written(model: torch.nn.Module, prompt: str, most: int) -> str:
    """Greedy decoding without a cache, a token at a time."""
    tokenizer = word_tokenizer()
    ids = tokenizer.encode(prompt)
    start = len(ids)
    with torch.no_grad():
        while len(ids) - start < most:
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


def trimmed(family: str = "llama") -> torch.nn.Module:
    return drop(tiny(family), [Unit(1, "attention"), Unit(3, "mlp")])


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_batches_of_a_trimmed_model_are_decoded_greedily(family: str) -> None:
    model, prompts = trimmed(family), [one.prompt for one in random_documents(10)]
    options = {"max_gen_toks": 4, "do_sample": False, "until": []}
    requests = [Instance("generate_until", {}, (prompt, options), 0) for prompt in prompts]
    answers = TrimLM(model, word_tokenizer()).generate_until(requests, disable_tqdm=True)
    assert answers == [written(model, prompt, 4) for prompt in prompts]


def test_greedy_answers_are_compared(tmp_path: Path) -> None:
    model, documents = trimmed(), random_documents(6, choices=1)
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
    assert found["correct"][:2] == [1, 0] and 0 < found["answers"]["by_document"]["token_f1"][1] < 1
    assert found["acc"] == pytest.approx(found["answers"]["exact_match"])
    assert found["chance"] is None and found["n"] == 6


def test_perplexity_is_that_of_the_references_by_token(tmp_path: Path) -> None:
    model, tokenizer, documents = tiny("llama"), word_tokenizer(), random_documents(5, choices=1)
    write_documents(tmp_path / "free.jsonl", documents)
    found = evaluate(model, tokenizer, {"mine": tmp_path / "free.jsonl"}, answer_tokens=1)["mine"]
    nats, tokens = 0.0, 0
    for one in documents:
        prompt = tokenizer.encode(one.prompt)
        answer = [*tokenizer.encode(one.choices[0]), tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        nats += float(torch.nn.functional.cross_entropy(logits, torch.tensor(answer))) * len(answer)
        tokens += len(answer)
    assert found["answer_loss"] == pytest.approx(nats / tokens, abs=1e-4)
    assert found["answers"]["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-3)


def test_prompts_are_rendered_by_the_chat_template(tmp_path: Path) -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    plain = [
        Document(one.prompt, (" " + written(model, one.prompt, 2),), 0)
        for one in random_documents(4, choices=1)
    ]
    chats = [Document("w1", one.choices, 0, (("user", one.prompt),)) for one in plain]
    tokenizer.chat_template = "{% for m in messages %}{{m.content}} {% endfor %}"
    tasks = {name: tmp_path / f"{name}.jsonl" for name in ("plain", "chats")}
    write_documents(tasks["plain"], plain)
    write_documents(tasks["chats"], chats)
    found = evaluate(model, tokenizer, tasks, answer_tokens=3)
    first, second = (one["answers"] for one in found.values())
    assert first.pop("by_document") == second.pop("by_document") and first["token_f1"] > 0
    assert first == pytest.approx(second)
