"""Evaluation by lm-evaluation-harness on files of documents. Metrics of free answers, each 0 to 1:
lm-eval's `exact_match` (ignoring case and punctuation), SQuAD's F1 of common words, and ROUGE-L,
the F1 of the longest common subsequence of words (Latin letters and digits)."""

import contextlib
import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lm_eval
from datasets import Dataset
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from more_itertools import map_reduce
from scipy.stats import binomtest
from torch import nn
from transformers.data.metrics.squad_metrics import compute_f1

from trimllm.base.errors import UserError
from trimllm.base.files import content_hash
from trimllm.checkpoint import stream_of
from trimllm.data import Document, all_free, read_documents
from trimllm.score import Row, rendered, score, score_rows
from trimllm.score.encode import encode_pair

METRICS = ("exact_match", "token_f1", "rouge_l")
# Free answers that are generated at once: on a CPU more give little, and their keys and values must
# fit beside the weights of a 7B model.
ANSWERS_AT_ONCE = 8


class TrimLM(HFLM):
    """HFLM whose requests that share a prompt run as one row (see `trimllm.score`). It does not say
    whether greedy decoding would write a choice: of our tasks none asks."""

    token_budget = 2048  # tokens of rows that run at once

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        # A request: texts, tokens of prompt and choice.
        numbers_of = map_reduce(range(len(requests)), lambda number: tuple(requests[number][1]))
        rows = [
            Row(prompt, tuple(tuple(requests[number][2]) for number in numbers))
            for prompt, numbers in numbers_of.items()
        ]
        scored = score_rows(self.model, rows, token_budget=self.token_budget)
        answers: list[Any] = [None] * len(requests)
        for numbers, one in zip(numbers_of.values(), scored, strict=True):
            for number, log_likelihood in zip(numbers, one.log_likelihoods, strict=True):
                answers[number] = (log_likelihood, False)
        return answers


def evaluate(
    model: nn.Module,
    tokenizer: Any,
    tasks: Mapping[str, str | Path],
    *,
    batch_tokens: int = 2048,
    answer_tokens: int = 128,
) -> dict[str, dict[str, Any]]:
    """Evaluate a model, in its own type, on tasks: names with a file of documents each.

    Args:
        batch_tokens: packed tokens that run at once; bounds memory.
        answer_tokens: maximal tokens of a generated answer; fewer where all references are shorter.

    Returns by name: n, acc (%), stderr (%), ci95 (Wilson, %), chance (%: mean of one over the
    number of choices), answer_loss (nats a token of the right answers: it shows a model that has
    lost its language), correct (0 or 1 a document, in order), document_hashes_sha256 (equal where
    results can be paired). For free answers `correct` are the exact matches, `chance` is None, and
    `answers` holds the means of `METRICS` (%), perplexity (of the reference answers by token) and
    by_document (token_f1 and rouge_l of each document in order, 0 to 1). Raises `UserError`:
    documents of both kinds in a task; free answers of a streamed model.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    harness = TrimLM(pretrained=model, tokenizer=tokenizer, batch_size=ANSWERS_AT_ONCE)
    harness.token_budget, results = batch_tokens, {}
    for name, path in tasks.items():
        documents = read_documents(path)
        free = all_free(documents, f"task {name}")
        if free and stream_of(model) is not None:
            raise UserError(
                f"task {name}: free answers are generated, which takes the whole model in memory; "
                "set compute.weights_on: device"
            )
        if free:
            measured = _free_answers(harness, name, documents, answer_tokens)
        else:
            measured = _choices(harness, name, documents)
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


def _choices(harness: TrimLM, name: str, documents: Sequence[Document]) -> dict[str, Any]:
    """Answers by the choice with the highest summed log-likelihood."""
    shown = [rendered(harness.tokenizer, one) for one in documents]
    samples = samples_of(harness, name, shown)
    right = [(one.prompt, one.choices[one.answer]) for one in shown]
    tokens = sum(len(encode_pair(harness.tokenizer, *pair)[1]) for pair in right)
    scores = [one["filtered_resps"][one["target"]][0] for one in samples]
    return {
        "correct": [int(one["acc"]) for one in samples],
        "chance": 100 * sum(1 / len(one.choices) for one in documents) / len(documents),
        "answer_loss": -sum(map(float, scores)) / tokens,
    }


def _free_answers(
    harness: TrimLM, name: str, documents: Sequence[Document], max_tokens: int
) -> dict[str, Any]:
    """Generated answers, and the likelihood of the reference answers."""
    scored = score(harness.model, harness.tokenizer, documents, token_budget=harness.token_budget)
    tokens = [one.tokens[0] for one in scored]
    loss = -sum(one.log_likelihoods[0] for one in scored) / sum(tokens)
    # Half of the positions are left to the prompt.
    max_tokens = min(max_tokens, max(tokens), max(1, harness.max_length // 2))
    shown = [rendered(harness.tokenizer, one) for one in documents]
    pairs = zip(samples_of(harness, name, shown, max_tokens), shown, strict=True)
    compared = [compare(sample["filtered_resps"][0], one.choices[0]) for sample, one in pairs]
    each = {metric: [one[metric] for one in compared] for metric in METRICS}
    means = {metric: 100 * sum(values) / len(values) for metric, values in each.items()}
    return {
        "correct": [round(value) for value in each.pop("exact_match")],
        "chance": None,
        "answer_loss": loss,
        "answers": {**means, "perplexity": math.exp(min(loss, 700.0)), "by_document": each},
    }


def samples_of(
    harness: HFLM, name: str, documents: Sequence[Document], max_tokens: int | None = None
) -> list[dict[str, Any]]:
    """What lm-eval logs of a task over rendered documents, in their order; `max_tokens` of
    generated answers."""
    task: dict[str, Any] = {
        "task": name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(list(map(asdict, documents)))},
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "{{prompt}}",
        "target_delimiter": "",  # what follows the prompt brings its own leading space
        "metadata": {"version": 1},
    }
    if max_tokens is None:
        task |= {"output_type": "multiple_choice"}
        task |= {"doc_to_choice": "choices", "doc_to_target": "answer"}
    else:
        generation = {"until": ends_of(documents), "max_gen_toks": max_tokens, "do_sample": False}
        task |= {"output_type": "generate_until", "generation_kwargs": generation}
        task |= {"doc_to_target": "{{choices[0]}}"}
    with contextlib.redirect_stderr(io.StringIO()):
        # Not `simple_evaluate`, which reports the environment by `pip list`.
        loaded = TaskManager(include_defaults=False).load([task])
        results = lm_eval.evaluate(harness, loaded, bootstrap_iters=0, log_samples=True)
    return sorted(results["samples"][name], key=lambda sample: sample["doc_id"])


def ends_of(documents: Sequence[Document]) -> list[str]:
    """The text that ends a generated answer, beside EOS: a line break if no reference answer has
    one, else an empty line if none has that, else nothing."""
    answers = [document.choices[0].strip() for document in documents]
    return [end for end in ("\n", "\n\n") if not any(end in text for text in answers)][:1]


def compare(answer: str, reference: str) -> dict[str, float]:
    """`METRICS` of a generated answer."""
    from rouge_score.rouge_scorer import RougeScorer  # imports all of nltk

    rouge = RougeScorer(["rougeL"])
    # A chat template may put an empty block of thoughts before an answer.
    answer, reference = (one.rpartition("</think>")[2].strip() for one in (answer, reference))
    ignored = {"ignore_case": True, "ignore_punctuation": True}
    exact = exact_match_hf_evaluate([answer], [reference], **ignored)["exact_match"]
    return {
        "exact_match": float(exact),
        "token_f1": float(compute_f1(reference, answer)),
        "rouge_l": float(rouge.score(reference, answer)["rougeL"].fmeasure),
    }
