"""lm-eval tasks over documents, with all taken as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from trimllm.data import Document


def task_of(name: str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, Any]:
    """What lm-eval tasks over documents have in common, whose rows hold the `prompt` as it is."""
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


def task_of_documents(name: str, documents: list[Document]) -> dict[str, Any]:
    """An lm-eval task over documents with choices: all is taken as it is."""
    rows = [
        {"prompt": one.prompt, "choices": list(one.choices), "answer": one.answer}
        for one in documents
    ]
    return task_of(name, rows, ["acc"]) | {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
    }
