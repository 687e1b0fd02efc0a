"""Rows from the hub: a data set, or the documents of an lm-eval task."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import datasets
from lm_eval.tasks import TaskManager

from trimllm.base.errors import UserError
from trimllm.data.document import Document, bare
from trimllm.data.rows import Row, RowError
from trimllm.data.sources import Read, numbered

SPLITS = {"train": "training_docs", "validation": "validation_docs", "test": "test_docs"}
task_manager = cache(TaskManager)  # lm-eval's index of tasks takes seconds to build


def read_set(source: Mapping[str, Any]) -> Read:
    """Rows of a data set of the hub."""
    name, split, revision = source["hub"], source["split"], source.get("revision")
    title = f"{name} {'/'.join(str(source[key]) for key in ('name', 'split') if key in source)}"
    try:
        rows = datasets.load_dataset(name, source.get("name"), split=split, revision=revision)
    except Exception as error:  # `datasets` raises many kinds
        raise _unreadable(f"hub data set {title}", error) from error
    return numbered(rows, title), {title: f"revision {revision or 'not pinned'}"}


def _unreadable(title: str, error: Exception) -> UserError:
    reason = str(error).split("\n")[0] or type(error).__name__
    return UserError(f"{title} cannot be read: {reason}")


def read_task(source: Mapping[str, Any]) -> Read:
    """Documents of a single multiple-choice task of lm-eval, with its own prompt and choices."""
    name, split = source["task"], source.get("split", "test")
    title, manager = f"lm-eval task {name}", task_manager(include_path=source.get("include_path"))
    if name not in manager.all_tasks:
        raise UserError(f"lm-eval has no task {name!r}")
    try:
        task = manager.load([name])["tasks"].get(name)
        docs = getattr(task, SPLITS[split])() if task else None
    except Exception as error:  # its data set is not there, for one of many reasons
        raise _unreadable(title, error) from error
    if task is None or task.OUTPUT_TYPE != "multiple_choice" or task.multiple_input:
        raise UserError(f"{title} is not a single multiple-choice task")
    if docs is None and split == "test":  # lm-eval then reports on validation
        docs = task.validation_docs()
    if docs is None:
        raise UserError(f"{title} has no {split} documents")
    rows = numbered((_task_row(task, doc) for doc in docs), name)
    return rows, {f"lm-eval {name}": f"{task.config.dataset_path}, version {task.VERSION}"}


def _task_row(task: Any, doc: Any) -> Row | RowError:
    """lm-eval's zero-shot prompt and choices (`Task.construct_requests`), and the right answer."""
    prompt = task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))
    choices, answer = list(task.doc_to_choice(doc)), task.doc_to_target(doc)
    texts = tuple(f"{task.config.target_delimiter}{choice}" for choice in choices)
    try:
        index = choices.index(answer) if isinstance(answer, str) else int(answer)
        return Row(prompt, group=bare(prompt), document=Document(prompt, texts, index))
    except (TypeError, ValueError) as error:  # more than one right answer, for example
        return RowError(str(error))
