"""Accuracies are those of lm-eval's own HFLM on the same documents."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.models.huggingface import HFLM
from models import FAMILIES, random_documents, tiny, word_tokenizer

from trimllm import checkpoint
from trimllm.base.errors import UserError
from trimllm.data import write_documents
from trimllm.evaluate import evaluate
from trimllm.evaluate.run import samples_of
from trimllm.score.encode import encode_pair
from trimllm.sublayers import Unit, drop

DOCUMENTS = random_documents(20, seed=8, longest=7)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_lm_eval(family: str, tmp_path: Path) -> None:
    model = drop(tiny(family), [Unit(1, "attention"), Unit(4, "mlp")])
    write_documents(tmp_path / "docs.jsonl", DOCUMENTS)
    tasks = {"mine": tmp_path / "docs.jsonl"}
    found = evaluate(model, word_tokenizer(), tasks, batch_tokens=50)["mine"]
    stock = HFLM(pretrained=model, tokenizer=word_tokenizer(), batch_size=1)
    samples = samples_of(stock, "mine", DOCUMENTS)
    assert found["correct"] == [sample["acc"] for sample in samples]
    # The choice with the highest summed log-likelihood, against the document's own answer.
    for one, sample in zip(DOCUMENTS, samples, strict=True):
        sums = [score for score, _ in sample["filtered_resps"]]
        assert sample["acc"] == float(sums.index(max(sums)) == one.answer)
    assert found["n"] == 20 and found["acc"] == pytest.approx(5 * sum(found["correct"]))
    assert found["chance"] == pytest.approx(100 / 3)
    assert found["ci95"][0] <= found["acc"] <= found["ci95"][1]
    # lm-eval reports no loss, but the likelihood of every choice.
    nats = -sum(sample["filtered_resps"][sample["target"]][0] for sample in samples)
    answers = [encode_pair(word_tokenizer(), d.prompt, d.choices[d.answer])[1] for d in DOCUMENTS]
    assert found["answer_loss"] == pytest.approx(nats / sum(map(len, answers)), abs=1e-4)


def test_a_streamed_model_gives_the_same_result(tmp_path: Path) -> None:
    path = checkpoint.save(drop(tiny("opt"), [Unit(1, "mlp")]), word_tokenizer(), tmp_path / "m")
    models = checkpoint.load(path)[0], checkpoint.load_streamed(path)[0]
    tasks = {"mine": tmp_path / "docs.jsonl"}
    write_documents(tasks["mine"], DOCUMENTS)
    whole, streamed = (evaluate(m, word_tokenizer(), tasks, batch_tokens=50) for m in models)
    assert streamed == whole and checkpoint.stream_of(models[1]) is not None
    write_documents(tasks["mine"], random_documents(2, choices=1))
    with pytest.raises(UserError, match="set compute.weights_on: device"):
        evaluate(models[1], word_tokenizer(), tasks)
    write_documents(tasks["mine"], [*DOCUMENTS[:2], *random_documents(1, choices=1)])
    with pytest.raises(UserError, match="task mine: 1 of 3 documents have a free answer"):
        evaluate(models[0], word_tokenizer(), tasks)
