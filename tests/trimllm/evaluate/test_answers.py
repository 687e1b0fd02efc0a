"""Free answers: what is generated is what the model writes, compared as the metrics are defined."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from models import random_documents, tiny, word_tokenizer

from trimllm import checkpoint
from trimllm.base.errors import UserError
from trimllm.data import Document, write_documents
from trimllm.evaluate import evaluate
from trimllm.evaluate.model import TrimLM
from trimllm.evaluate.tasks import compared, task_of_answers
from trimllm.sublayers import Unit, drop

WORDS = st.lists(st.sampled_from(["cat", "sat", "mat", "dog", "ran"]), max_size=7)


@given(said=WORDS, reference=WORDS.filter(bool))
def test_the_comparisons_are_their_textbook_definitions(
    said: list[str], reference: list[str]
) -> None:
    def f1(common: int) -> float:
        return 2 * common / (len(said) + len(reference)) if common else 0.0

    # Longest common subsequence, by its recurrence.
    longest = [[0] * (len(reference) + 1) for _ in range(len(said) + 1)]
    for i, one in enumerate(said):
        for j, other in enumerate(reference):
            grown = longest[i][j] + 1 if one == other else 0
            longest[i + 1][j + 1] = max(grown, longest[i][j + 1], longest[i + 1][j])
    both = sum(min(said.count(word), reference.count(word)) for word in {*said})
    found = compared(" ".join(said), " ".join(reference))
    assert found["exact_match"] == (said == reference)
    assert found["token_f1"] == pytest.approx(f1(both))
    assert found["rouge_l"] == pytest.approx(f1(longest[-1][-1]))


def test_layout_case_and_punctuation_do_not_count_and_articles_do_not_in_f1() -> None:
    assert compared(" The Cat!\n", "the cat") == pytest.approx(
        {"exact_match": 1.0, "token_f1": 1.0, "rouge_l": 1.0}
    )
    found = compared("a cat", "the cat")
    assert (found["exact_match"], found["token_f1"], found["rouge_l"]) == (0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("answers", "until"),
    [([" one", " two "], ["\n"]), ([" one\ntwo"], ["\n\n"]), ([" one\n\ntwo", " a"], [])],
)
def test_generation_ends_where_no_reference_goes_on(answers: list[str], until: list[str]) -> None:
    documents = [Document("p", (answer,), 0) for answer in answers]
    assert task_of_answers("mine", documents, 5)["generation_kwargs"]["until"] == until


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


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_batches_of_a_trimmed_model_generate_what_greedy_decoding_writes(
    family: str, batch_size: int
) -> None:
    model = drop(tiny(family), [Unit(1, "attention"), Unit(3, "mlp")])
    prompts = [one.prompt for one in random_documents(6)]
    how = {"max_gen_toks": 4, "do_sample": False, "until": []}
    requests = [Instance("generate_until", {}, (prompt, how), 0) for prompt in prompts]
    harness = TrimLM(model, tokenizer=word_tokenizer(), batch_size=batch_size)
    answers = harness.generate_until(requests, disable_tqdm=True)
    assert answers == [written(model, prompt, 4) for prompt in prompts]


def test_greedy_answers_are_compared(tmp_path: Path) -> None:
    model = drop(tiny("llama"), [Unit(1, "attention"), Unit(3, "mlp")])
    documents = random_documents(6, choices=1)
    # One that is right, and one that is nearly.
    right = written(model, documents[0].prompt, 4)
    documents[0] = Document(documents[0].prompt, (" " + right,), 0)
    first = " ".join(written(model, documents[1].prompt, 4).split()[:2])
    documents[1] = Document(documents[1].prompt, (f" {first} w1 w2",), 0)
    write_documents(tmp_path / "free.jsonl", documents)
    tasks = {"mine": tmp_path / "free.jsonl"}
    found = evaluate(model, word_tokenizer(), tasks, answer_tokens=4)["mine"]
    expected = [compared(written(model, one.prompt, 4), one.choices[0]) for one in documents]
    for metric, values in found["answers"]["by_document"].items():
        assert values == pytest.approx([one[metric] for one in expected])
        assert found["answers"][metric] == pytest.approx(100 * sum(values) / 6)
    assert found["correct"] == [int(one["exact_match"]) for one in expected]
    assert found["correct"][:2] == [1, 0] and 0 < found["answers"]["by_document"]["token_f1"][1] < 1
    assert found["acc"] == pytest.approx(found["answers"]["exact_match"])
    assert found["chance"] is None and found["n"] == 6
    few = evaluate(model, word_tokenizer(), tasks, answer_tokens=4, limit=2)["mine"]
    assert few["correct"] == [1, 0]


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


def test_a_chat_template_renders_what_is_asked(tmp_path: Path) -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    plain = [
        Document(one.prompt, (" " + written(model, one.prompt, 2),), 0)
        for one in random_documents(4, choices=1)
    ]
    said = [Document("w1", one.choices, 0, (("user", one.prompt),)) for one in plain]
    tokenizer.chat_template = "{% for m in messages %}{{m.content}} {% endfor %}"
    write_documents(tmp_path / "plain.jsonl", plain)
    write_documents(tmp_path / "said.jsonl", said)
    tasks = {name: tmp_path / f"{name}.jsonl" for name in ("plain", "said")}
    found = evaluate(model, tokenizer, tasks, answer_tokens=3)
    first, second = (one["answers"] for one in found.values())
    assert first.pop("by_document") == second.pop("by_document") and first["token_f1"] > 0
    assert first == pytest.approx(second)


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    write_documents(tmp_path / "x.jsonl", [*random_documents(2), *random_documents(1, choices=1)])
    tasks = {"mine": tmp_path / "x.jsonl"}
    with pytest.raises(UserError, match="task mine: 1 of 3 documents have a free answer"):
        evaluate(tiny("llama"), word_tokenizer(), tasks)
    write_documents(tmp_path / "x.jsonl", random_documents(2, choices=1))
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "m")
    with pytest.raises(UserError, match="set compute.weights_on: device"):
        evaluate(checkpoint.load_streamed(path)[0], word_tokenizer(), tasks)
