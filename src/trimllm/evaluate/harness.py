"""Evaluation by lm-evaluation-harness, on its own tasks and on files of documents."""

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

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.base.files import content_hash
from trimllm.base.precision import compute_dtype, round_weights_
from trimllm.checkpoint import stream_of
from trimllm.data import Document, all_free, read_documents
from trimllm.evaluate.model import TrimLM
from trimllm.evaluate.tasks import METRICS, task_of_answers, task_of_documents
from trimllm.score import rendered, score
from trimllm.score.encode import encode_pair
from trimllm.sublayers import device_of

FEWSHOT_SEED = 1234  # lm-eval's default


def evaluate(
    model: nn.Module,
    tokenizer: Any,
    tasks: Mapping[str, str | Path],
    *,
    limit: int | None = None,
    batch_tokens: int = 2048,
    answer_tokens: int = 128,
    dtype: str = "float32",
) -> dict[str, dict[str, Any]]:
    """Evaluate a model on tasks.

    Args:
        tasks: by name, a path of documents as JSON lines, or the name of one of lm-eval's tasks.
        limit: evaluate the first so many documents of a task; None takes all.
        batch_tokens: packed tokens that run at once.
        answer_tokens: tokens that are generated for a free answer, at most; fewer where all
            reference answers are shorter.
        dtype: type that the model is cast to and runs in: "float32", "bfloat16", or "auto",
            bfloat16 where the processor is fast at it. Packed formats keep their kernels' type.

    Returns:
        By name: task, n, acc (%), stderr (%), ci95 (Wilson, %), chance (%: mean of one over the
        number of choices), answer_loss (nats a token of the right answers: a model that has lost
        its language shows here, not in its accuracy), correct (0 or 1 a document, in order),
        document_hashes_sha256 (of the documents' hashes, in order: equal where results can be
        paired), lm_eval_version.

        Of free answers `acc` and `correct` are the exact matches, `chance` is None, and `answers`
        holds exact_match, token_f1, rouge_l (%; see `trimllm.evaluate.tasks`), perplexity (of the
        reference answers by token, e to the answer_loss) and by_document: token_f1 and rouge_l of
        each document in order, 0 to 1.

    Raises:
        UserError: a task that there is not, or whose documents are of both kinds; free answers of a
            streamed model.
    """
    # The harness writes a great deal that is of no interest here.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if not kernels.is_quantized(model):
        round_weights_(model, compute_dtype(dtype, device_of(model)))
    harness = TrimLM(model, tokenizer=tokenizer, token_budget=batch_tokens)
    return {
        name: _one(harness, name, source, limit, answer_tokens) for name, source in tasks.items()
    }


def _one(
    harness: TrimLM, name: str, source: str | Path, limit: int | None, most: int
) -> dict[str, Any]:
    documents: list[Document] = []
    task: Any = source
    if isinstance(source, Path) or source.endswith(".jsonl"):
        documents = read_documents(source)[:limit]
        shown = [rendered(harness.tokenizer, one) for one in documents]
        if all_free(documents, f"task {name}"):
            return _free(harness, name, documents, shown, most)
        task = task_of_documents(name, shown)
    samples = _samples(harness, name, task, limit)
    if "acc" not in samples[0]:
        raise UserError(f"task {name}: lm-eval reports no accuracy for {source!r}")
    correct = [int(sample["acc"]) for sample in samples]
    hashes = [documents[s["doc_id"]].hash if documents else s["doc_hash"] for s in samples]
    nats = tokens = 0.0  # of the right answers, all documents' together
    for sample in samples:
        right = int(sample["target"])
        nats -= float(sample["filtered_resps"][right][0])
        tokens += len(encode_pair(harness.tokenizer, *sample["arguments"][right])[1])
    return {
        **_counted(name, correct, hashes),
        "source": "documents" if documents else source,
        "chance": 100 * sum(1 / len(sample["resps"]) for sample in samples) / len(samples),
        "answer_loss": nats / max(1, tokens),
    }


def _free(
    harness: TrimLM, name: str, documents: list[Document], shown: list[Document], most: int
) -> dict[str, Any]:
    """Documents with free answers: generated ones, and the likelihood of the reference answers.

    Args:
        shown: the documents as the model's chat template renders them.
    """
    if stream_of(harness.model) is not None:
        raise UserError(
            f"task {name}: free answers are generated, which takes the whole model in memory; set "
            "compute.weights_on: device"
        )
    scored = score(harness.model, harness.tokenizer, documents, token_budget=harness.token_budget)
    tokens = [one.tokens[0] for one in scored]
    loss = -sum(one.log_likelihoods[0] for one in scored) / sum(tokens)
    # Half of the positions are left to the prompt.
    most = min(most, max(tokens), max(1, harness.max_length // 2))
    samples = _samples(harness, name, task_of_answers(name, shown, most), None)
    each = {metric: [float(sample[metric]) for sample in samples] for metric in METRICS}
    means = {metric: 100 * sum(values) / len(values) for metric, values in each.items()}
    exact = [round(value) for value in each.pop("exact_match")]
    return {
        **_counted(name, exact, [one.hash for one in documents]),
        "source": "documents",
        "chance": None,
        "answer_loss": loss,
        "answers": {**means, "perplexity": math.exp(min(loss, 700.0)), "by_document": each},
    }


def _samples(harness: TrimLM, name: str, task: Any, limit: int | None) -> list[dict[str, Any]]:
    """The samples that lm-eval logs of a task, its own by name or a new one, in order."""
    manager = TaskManager(include_defaults=isinstance(task, str))
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            loaded = manager.load([task])
        except KeyError as error:
            raise UserError(f"task {name}: lm-eval has no task {task!r} ({error})") from None
        # What lm-eval's simple_evaluate does, without its report of the environment by `pip list`.
        for part in loaded["tasks"].values():
            if part.get_config("num_fewshot") is None:
                part.set_config(key="num_fewshot", value=0)
            part.set_fewshot_seed(seed=FEWSHOT_SEED)
        results = lm_eval.evaluate(
            harness, loaded, limit=limit, bootstrap_iters=0, log_samples=True
        )
    samples = sorted(sum(results["samples"].values(), []), key=lambda sample: sample["doc_id"])
    if not samples:
        raise UserError(f"task {name}: lm-eval has no documents of {task!r}")
    return samples


def _counted(name: str, correct: list[int], hashes: list[str]) -> dict[str, Any]:
    """What results have in common: right answers, and what was asked."""
    n, accuracy = len(correct), sum(correct) / len(correct)
    interval = binomtest(sum(correct), n).proportion_ci(method="wilson")
    return {
        "task": name,
        "n": n,
        "acc": 100 * accuracy,
        "stderr": 100 * (accuracy * (1 - accuracy) / max(1, n - 1)) ** 0.5,
        "ci95": [100 * interval.low, 100 * interval.high],
        "correct": correct,
        "document_hashes_sha256": content_hash("\n".join(hashes)),
        "lm_eval_version": lm_eval.__version__,
    }
