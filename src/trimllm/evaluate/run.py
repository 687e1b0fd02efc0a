"""Evaluation by lm-evaluation-harness on files of documents."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.tasks import TaskManager
from scipy.stats import binomtest
from torch import nn

from trimllm.base.errors import UserError
from trimllm.base.files import content_hash
from trimllm.checkpoint import stream_of
from trimllm.data import Document, all_free, read_documents
from trimllm.evaluate.model import TrimLM
from trimllm.evaluate.tasks import METRICS, task_of
from trimllm.score import rendered, score
from trimllm.score.encode import encode_pair


def evaluate(
    model: nn.Module,
    tokenizer: Any,
    tasks: Mapping[str, str | Path],
    *,
    batch_tokens: int = 2048,
    answer_tokens: int = 128,
) -> dict[str, dict[str, Any]]:
    """Evaluate a model, in its own type, on tasks.

    Args:
        tasks: by name, a file of documents as JSON lines.
        batch_tokens: packed tokens that run at once; bounds memory.
        answer_tokens: maximal tokens of a generated answer; fewer where all references are shorter.

    Returns:
        By name: task, n, acc (%), stderr (%), ci95 (Wilson, %), chance (%: mean of one over the
        number of choices), answer_loss (nats a token of the right answers: it shows a model that
        has lost its language), correct (0 or 1 a document, in order), document_hashes_sha256 (of
        the documents' hashes, in order: equal where results can be paired), source,
        lm_eval_version.

        For free answers `acc` and `correct` are the exact matches, `chance` is None, and `answers`
        holds exact_match, token_f1, rouge_l (%; see `trimllm.evaluate.tasks`), perplexity (of the
        reference answers by token, e to the answer_loss) and by_document: token_f1 and rouge_l of
        each document in order, 0 to 1.

    Raises:
        UserError: a task whose documents are of both kinds; free answers of a streamed model.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    harness, results = TrimLM(model, tokenizer, batch_tokens), {}
    for name, path in tasks.items():
        documents = read_documents(path)
        if not all_free(documents, f"task {name}"):
            measured = _chosen(harness, name, documents)
        elif stream_of(model) is None:
            measured = _written(harness, name, documents, answer_tokens)
        else:
            raise UserError(
                f"task {name}: free answers are generated, which takes the whole model in memory; "
                "set compute.weights_on: device"
            )
        n, right = len(documents), sum(measured["correct"])
        interval = binomtest(right, n).proportion_ci(method="wilson")
        results[name] = {
            "task": name,
            "source": "documents",
            "n": n,
            "acc": 100 * right / n,
            "stderr": 100 * (right / n * (1 - right / n) / max(1, n - 1)) ** 0.5,
            "ci95": [100 * interval.low, 100 * interval.high],
            "document_hashes_sha256": content_hash("\n".join(one.hash for one in documents)),
            "lm_eval_version": lm_eval.__version__,
            **measured,
        }
    return results


def _chosen(harness: TrimLM, name: str, documents: list[Document]) -> dict[str, Any]:
    """Answers by the choice with the highest summed log-likelihood."""
    shown = [rendered(harness.tokenizer, one) for one in documents]
    nats, tokens = 0.0, 0  # of the right answers, all documents' together
    samples = _samples(harness, task_of(name, shown))
    for one, sample in zip(shown, samples, strict=True):
        nats -= float(sample["filtered_resps"][one.answer][0])
        tokens += len(encode_pair(harness.tokenizer, one.prompt, one.choices[one.answer])[1])
    return {
        "correct": [int(sample["acc"]) for sample in samples],
        "chance": 100 * sum(1 / len(one.choices) for one in documents) / len(documents),
        "answer_loss": nats / max(1, tokens),
    }


def _written(
    harness: TrimLM, name: str, documents: list[Document], max_tokens: int
) -> dict[str, Any]:
    """Generated answers, and the likelihood of the reference answers."""
    scored = score(harness.model, harness.tokenizer, documents, token_budget=harness.token_budget)
    tokens = [one.tokens[0] for one in scored]
    loss = -sum(one.log_likelihoods[0] for one in scored) / sum(tokens)
    # Half of the positions are left to the prompt.
    max_tokens = min(max_tokens, max(tokens), max(1, harness.max_length // 2))
    shown = [rendered(harness.tokenizer, one) for one in documents]
    samples = _samples(harness, task_of(name, shown, max_tokens))
    each = {metric: [float(sample[metric]) for sample in samples] for metric in METRICS}
    means = {metric: 100 * sum(values) / len(values) for metric, values in each.items()}
    return {
        "correct": [round(value) for value in each.pop("exact_match")],
        "chance": None,
        "answer_loss": loss,
        "answers": {**means, "perplexity": math.exp(min(loss, 700.0)), "by_document": each},
    }


def _samples(harness: TrimLM, task: dict[str, Any]) -> list[dict[str, Any]]:
    """The samples that lm-eval logs of a task, in order of the documents."""
    with contextlib.redirect_stderr(io.StringIO()):
        # Not `simple_evaluate`, which reports the environment by `pip list`.
        loaded = TaskManager(include_defaults=False).load([task])
        results = lm_eval.evaluate(harness, loaded, bootstrap_iters=0, log_samples=True)
    return sorted(results["samples"][task["task"]], key=lambda sample: sample["doc_id"])
