"""lm-eval tasks over documents, and how free answers are compared with the reference answers.

Metrics of free answers, each 0 to 1: lm-eval's `exact_match` (ignoring case and punctuation),
SQuAD's F1 of common words, and ROUGE-L, the F1 of the longest common subsequence of words. ROUGE's
words are those of `rouge_score`: Latin letters and digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from datasets import Dataset
from lm_eval.api.metrics import exact_match_hf_evaluate
from transformers.data.metrics.squad_metrics import compute_f1

from trimllm.data import Document

METRICS = ("exact_match", "token_f1", "rouge_l")


def task_of(
    name: str, documents: Sequence[Document], max_tokens: int | None = None
) -> dict[str, Any]:
    """An lm-eval task over documents as a tokenizer's chat template renders them.

    Args:
        max_tokens: of generated answers; None for documents with choices.
    """
    rows = [{"prompt": d.prompt, "choices": [*d.choices], "answer": d.answer} for d in documents]
    metrics = ("acc",) if max_tokens is None else METRICS
    task = {
        "task": name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "{{prompt}}",
        "target_delimiter": "",  # what follows the prompt brings its own leading space
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in metrics
        ],
        "metadata": {"version": 1},
    }
    if max_tokens is None:
        choices = {"doc_to_choice": "choices", "doc_to_target": "answer"}
        return task | choices | {"output_type": "multiple_choice"}

    def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
        return compare(results[0], doc["choices"][0])

    until = ends_of(documents)
    return task | {
        "output_type": "generate_until",
        "doc_to_target": "{{choices[0]}}",
        "generation_kwargs": {"until": until, "max_gen_toks": max_tokens, "do_sample": False},
        "process_results": process_results,
    }


def ends_of(documents: Sequence[Document]) -> list[str]:
    """The text that ends a generated answer, beside EOS: a line break if no reference answer has
    one, else an empty line if none has that, else nothing."""
    answers = [document.choices[0].strip() for document in documents]
    return [end for end in ("\n", "\n\n") if not any(end in text for text in answers)][:1]


def compare(answer: str, reference: str) -> dict[str, float]:
    """`METRICS` of a generated answer."""
    answer, reference = answer.strip(), reference.strip()
    exact = exact_match_hf_evaluate(
        [answer], [reference], ignore_case=True, ignore_punctuation=True
    )
    return {
        "exact_match": float(exact["exact_match"]),
        "token_f1": float(compute_f1(reference, answer)),
        "rouge_l": float(_rouge().score(reference, answer)["rougeL"].fmeasure),
    }


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # imports all of nltk

    return RougeScorer(["rougeL"])
