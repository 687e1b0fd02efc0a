"""Accuracy by lm-evaluation-harness, on its own tasks and on files of documents."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import lm_eval
from lm_eval.tasks import TaskManager
from torch import nn

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.base.files import content_hash
from trimllm.base.intervals import wilson
from trimllm.base.precision import compute_dtype, round_weights_
from trimllm.data import Document, read_documents
from trimllm.evaluate.model import TrimLM
from trimllm.score.encode import encode_pair
from trimllm.units.adapters import device_of

FEWSHOT_SEED = 1234  # lm-eval's default


def task_of_documents(name: str, documents: list[Document]) -> dict[str, Any]:
    """An lm-eval task over documents: prompt and choices are taken as they are."""
    rows = [document.as_dict() for document in documents]
    return {
        "task": name,
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(rows)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        # choices bring their own leading space
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }


def evaluate(
    model: nn.Module,
    tokenizer: Any,
    tasks: Mapping[str, str | Path],
    *,
    limit: int | None = None,
    batch_tokens: int = 2048,
    dtype: str = "float32",
) -> dict[str, dict[str, Any]]:
    """Evaluate a model on tasks.

    Args:
        tasks: by name, a path of documents as JSON lines, or the name of one of lm-eval's tasks.
        limit: evaluate the first so many documents of a task; None takes all.
        batch_tokens: packed tokens that run at once.
        dtype: type that the model is cast to and runs in: "float32", "bfloat16", or "auto",
            bfloat16 where the processor is fast at it. Packed formats keep their kernels' type.

    Returns:
        By name: task, n, acc (%), stderr (%), ci95 (Wilson, %), chance (%: mean of one over the
        number of choices), answer_loss (nats a token of the right answers: a model that has lost
        its language shows here, not in its accuracy), correct (0 or 1 a document, in order),
        document_hashes_sha256 (of the documents' hashes, in order: equal where results can be
        paired), lm_eval_version.
    """
    # The harness writes a great deal that is of no interest here.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if not kernels.is_quantized(model):
        round_weights_(model, compute_dtype(dtype, device_of(model)))
    harness = TrimLM(model, tokenizer=tokenizer, token_budget=batch_tokens)
    return {name: _one(harness, name, source, limit) for name, source in tasks.items()}


def _one(harness: TrimLM, name: str, source: str | Path, limit: int | None) -> dict[str, Any]:
    documents, task = None, source
    if isinstance(source, Path) or source.endswith(".jsonl"):
        documents = read_documents(source)
        task = task_of_documents(name, documents)
    manager = TaskManager(include_defaults=documents is None)
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            loaded = manager.load([task])
        except KeyError as error:
            raise UserError(f"task {name}: lm-eval has no task {source!r} ({error})") from None
        # What lm-eval's simple_evaluate does, without its report of the environment by `pip list`.
        for part in loaded["tasks"].values():
            if part.get_config("num_fewshot") is None:
                part.set_config(key="num_fewshot", value=0)
            part.set_fewshot_seed(seed=FEWSHOT_SEED)
        found = lm_eval.evaluate(harness, loaded, limit=limit, bootstrap_iters=0, log_samples=True)
    samples = sorted(sum(found["samples"].values(), []), key=lambda sample: sample["doc_id"])
    if not samples or "acc" not in samples[0]:
        raise UserError(f"task {name}: lm-eval reports no accuracy for {source!r}")
    correct = [int(sample["acc"]) for sample in samples]
    choices = [len(sample["resps"]) for sample in samples]
    hashes = [documents[s["doc_id"]].hash if documents else s["doc_hash"] for s in samples]
    n, accuracy = len(correct), sum(correct) / len(correct)
    return {
        "task": name,
        "source": "documents" if documents else source,
        "n": n,
        "acc": 100 * accuracy,
        "stderr": 100 * (accuracy * (1 - accuracy) / max(1, n - 1)) ** 0.5,
        "ci95": list(wilson(sum(correct), n)),
        "chance": 100 * sum(1 / count for count in choices) / n,
        "answer_loss": _answer_loss(harness, samples),
        "correct": correct,
        "document_hashes_sha256": content_hash("\n".join(hashes)),
        "lm_eval_version": lm_eval.__version__,
    }


def _answer_loss(harness: TrimLM, samples: list[dict[str, Any]]) -> float:
    """Nats a token of the right answers, all documents' tokens together."""
    nats, tokens = 0.0, 0
    for sample in samples:
        right = int(sample["target"])
        nats -= float(sample["filtered_resps"][right][0])
        tokens += len(encode_pair(harness.tokenizer, *sample["arguments"][right])[1])
    return nats / max(1, tokens)
