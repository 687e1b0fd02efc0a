"""lm-eval through the packed scorer says what lm-eval's own HFLM says."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from models import FAMILIES, random_documents, tiny, word_tokenizer

from trimllm import checkpoint
from trimllm.base.errors import UserError
from trimllm.data import write_documents
from trimllm.evaluate import TrimLM, evaluate, task_of_documents
from trimllm.score.encode import encode_pair
from trimllm.sublayers import Unit, drop

documents = partial(random_documents, seed=8, longest=7)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_harness(family: str) -> None:
    model = drop(tiny(family), [Unit(1, "attention"), Unit(4, "mlp")])
    requests = [
        Instance("loglikelihood", {}, (document.prompt, choice), 0)
        for document in documents(9)
        for choice in document.choices
    ]
    requests.append(Instance("loglikelihood", {}, ("", "w5 w6"), 0))
    theirs = HFLM(pretrained=model, tokenizer=word_tokenizer(), batch_size=1)
    ours = TrimLM(model, tokenizer=word_tokenizer(), token_budget=30)
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    for (value, greedy), (reference, is_greedy) in zip(
        ours.loglikelihood(requests, disable_tqdm=True), expected, strict=True
    ):
        assert value == pytest.approx(reference, abs=1e-4)
        assert greedy == is_greedy


@pytest.mark.parametrize("family", FAMILIES)
def test_a_streamed_model_is_evaluated_to_the_same_answers(family: str, tmp_path: Path) -> None:
    write_documents(tmp_path / "docs.jsonl", documents(20))
    path = checkpoint.save(drop(tiny(family), [Unit(1, "mlp")]), word_tokenizer(), tmp_path / "m")
    models = checkpoint.load(path)[0], checkpoint.load_streamed(path)[0]
    tasks = {"mine": tmp_path / "docs.jsonl"}
    whole, streamed = (evaluate(m, word_tokenizer(), tasks, batch_tokens=50) for m in models)
    assert streamed == whole
    assert checkpoint.stream_of(models[1]) is not None


def test_accuracy_counts_and_hashes(tmp_path: Path) -> None:
    docs = documents(20)
    write_documents(tmp_path / "docs.jsonl", docs)
    model, tokenizer = tiny("llama"), word_tokenizer()
    found = evaluate(model, tokenizer, {"mine": tmp_path / "docs.jsonl"}, batch_tokens=50)["mine"]
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)
    theirs = simple_evaluate(
        harness,
        tasks=[task_of_documents("mine", docs)],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    assert found["acc"] == pytest.approx(100 * theirs["results"]["mine"]["acc,none"])
    assert found["n"] == 20 == len(found["correct"])
    assert found["acc"] == pytest.approx(5 * sum(found["correct"]))
    assert found["chance"] == pytest.approx(100 / 3)
    low, high = found["ci95"]
    assert low <= found["acc"] <= high
    right = [encode_pair(tokenizer, one.prompt, one.choices[one.answer]) for one in docs]
    with torch.no_grad():
        nats = [
            torch.nn.functional.cross_entropy(
                model(torch.tensor([[*head, *tail]])).logits[0, len(head) - 1 : -1],
                torch.tensor(tail),
                reduction="sum",
            ).item()
            for head, tail in right
        ]
    assert found["answer_loss"] == pytest.approx(
        sum(nats) / sum(len(t) for _, t in right), abs=1e-4
    )
    first = evaluate(model, tokenizer, {"mine": tmp_path / "docs.jsonl"}, limit=7)["mine"]
    assert first["correct"] == found["correct"][:7]
    assert first["document_hashes_sha256"] != found["document_hashes_sha256"]


def test_the_model_class_is_registered_and_loads_a_directory(tmp_path: Path) -> None:
    assert get_model("trimllm") is TrimLM
    path = checkpoint.save(drop(tiny("opt"), [Unit(0, "mlp")]), word_tokenizer(), tmp_path / "m")
    loaded = TrimLM(str(path))
    in_memory = TrimLM(drop(tiny("opt"), [Unit(0, "mlp")]), tokenizer=word_tokenizer())
    request = [Instance("loglikelihood", {}, ("w1 w2", " w3"), 0)]
    assert loaded.loglikelihood(request) == in_memory.loglikelihood(request)


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no_such_task"):
        evaluate(tiny("llama"), word_tokenizer(), {"a": "no_such_task"})
