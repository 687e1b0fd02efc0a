"""lm-eval tasks over documents, with choices or with free answers; all text is taken as it is.

Free answers are generated greedily and compared with the reference answer, each comparison 0 to 1:
lm-eval's `exact_match` (letter case and punctuation aside), SQuAD's F1 of the words that both have,
and ROUGE-L, the F1 of the longest common subsequence of words. The words of ROUGE are those of
`rouge_score`: Latin letters and digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import datasets

from trimllm.data import Document

METRICS = ("exact_match", "token_f1", "rouge_l")
"""Of free answers."""


def _task_of(
    name: str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> dict[str, Any]:
    """A task whose rows hold the `prompt` as it is."""
    return {
        "task": name,
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list([*rows])},
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        # What follows the prompt brings its own leading space.
        "target_delimiter": "",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in metrics
        ],
        "metadata": {"version": 1},
    }


def task_of_documents(name: str, documents: Sequence[Document]) -> dict[str, Any]:
    """An lm-eval task over documents with choices."""
    rows = [
        {"prompt": one.prompt, "choices": list(one.choices), "answer": one.answer}
        for one in documents
    ]
    more = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "answer"}
    return _task_of(name, rows, ["acc"]) | more


def task_of_answers(name: str, documents: Sequence[Document], most: int) -> dict[str, Any]:
    """An lm-eval task over documents with free answers.

    Generation ends with EOS, after `most` tokens, and where no reference answer goes on: at a line
    break if none has one, at an empty line if none has that.

    Args:
        documents: as the model's chat template renders them, if it does.
    """
    rows = [{"prompt": one.prompt, "reference": one.choices[0]} for one in documents]
    answers = [row["reference"].strip() for row in rows]
    until = [end for end in ("\n", "\n\n") if not any(end in answer for answer in answers)]

    def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
        return compared(results[0], doc["reference"])

    return _task_of(name, rows, METRICS) | {
        "output_type": "generate_until",
        "doc_to_target": "{{reference}}",
        # The first is enough: an empty line begins with a line break.
        "generation_kwargs": {"until": until[:1], "max_gen_toks": most, "do_sample": False},
        "process_results": process_results,
    }


def compared(answer: str, reference: str) -> dict[str, float]:
    """`METRICS` of a generated answer."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from transformers.data.metrics.squad_metrics import compute_f1

    answer, reference = answer.strip(), reference.strip()
    same = exact_match_hf_evaluate([answer], [reference], ignore_case=True, ignore_punctuation=True)
    return {
        "exact_match": float(same["exact_match"]),
        "token_f1": float(compute_f1(reference, answer)),
        "rouge_l": float(_rouge().score(reference, answer)["rougeL"].fmeasure),
    }


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # brings all of nltk with it

    return RougeScorer(["rougeL"])
