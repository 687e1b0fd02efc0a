"""Sources: where rows are read from.

Three kinds, told apart by their key in the domain's YAML:

    {file: PATH}                             local .jsonl, .json, .csv, .tsv or .parquet
    {hub: ID, revision: SHA, name:, split:}  a data set of the hub, through `datasets`
    {task: NAME, split:}                     documents of an lm-eval task, with its own prompts

`lines` keeps the given zero-based lines of a file only, `label` names the class of all its rows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.lines import csv_rows, json_rows, lines_of

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
Numbered = list[tuple[str, Any]]
"""(where, row): a JSON object, a finished document, or the `RowError` of a broken line."""


class Read(NamedTuple):
    """The rows of a source, and the sha256 (of the hub the revision, of a task the version) of
    every file by name."""

    rows: Numbered
    sha256: dict[str, str]


def read_source(source: Mapping[str, Any]) -> Read:
    """Read a source of a domain's YAML; `UserError` where it is missing or not readable."""
    if "file" in source:
        return _read_file(expand(source["file"]), source.get("lines"))
    from trimllm.data import hub  # brings lm-eval and `datasets` with it

    return hub.read_set(source) if "hub" in source else hub.read_task(source)


def entries(rows: Iterable[Any], name: str, mark: str = ", row ") -> Numbered:
    """Rows, each with its place, which counts from 1; `mark` is ":" of lines."""
    return [(f"{name}{mark}{number}", row) for number, row in enumerate(rows, start=1)]


def expand(path: str) -> Path:
    """Fill in `${VARIABLE}` from the environment; `UserError` where one is not set."""
    for name in re.findall(r"\$\{(\w+)\}", path):
        if not os.environ.get(name):
            raise UserError(f"{path} needs the environment variable {name}, which is not set")
    return Path(os.path.expandvars(path)).expanduser()


def _read_file(path: Path, wanted: Iterable[int] | None) -> Read:
    if not path.is_file():
        raise UserError(f"file {path} does not exist")
    rows = _rows_of(path)
    if wanted is not None:
        if outside := [number for number in wanted if not 0 <= number < len(rows)]:
            raise UserError(f"there is no line {outside[0]} in {path.name}, which has {len(rows)}")
        rows = [rows[number] for number in wanted]
    if path.suffix == ".jsonl":
        rows = list(json_rows(rows))
    # Splits of several data sets often have one name, and the folder tells them apart.
    return Read(rows, {f"{path.absolute().parent.name}/{path.name}": files.sha256_of(path)})


def _rows_of(path: Path) -> Numbered:
    """All rows of a file; JSON lines as they stand."""
    kind, name = path.suffix, path.name
    if kind not in SUFFIXES:
        raise UserError(f"file {path} is not {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        if kind == ".parquet":
            import pyarrow.parquet  # which other kinds of files need not wait for

            return entries(pyarrow.parquet.read_table(path).to_pylist(), name)
        if kind == ".json":
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            rows = content.get("data") if isinstance(content, dict) else content
            if not isinstance(rows, list):
                raise UserError(f"file {path} is neither a list of rows nor has a list named data")
            return entries(rows, name)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}:{line}: not UTF-8; save the file in the encoding UTF-8") from None
    except ValueError as error:
        raise UserError(f"file {path} is not readable ({error})") from None
    with path.open("rb") as stream:
        lines = lines_of(stream, name)
    return entries(lines, name, ":") if kind == ".jsonl" else csv_rows(lines, name)
