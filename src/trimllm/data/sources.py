"""Sources of rows, of three kinds by their key in the domain's YAML:

    {file: PATH}                             local .jsonl, .json, .csv, .tsv or .parquet
    {hub: ID, revision: SHA, name:, split:}  a data set of the hub, through `datasets`
    {task: NAME, split:}                     documents of an lm-eval task, with its own prompts

`lines` keeps the given zero-based lines of a file only, `label` names the class of all its rows.
Values of text files stay as they are written: nothing is guessed, nothing cached.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.rows import RowError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
LONGEST = 1_000_000  # characters of a CSV's field; a longer one lacks the quote at its end
# (place, row): a JSON object, a task's `Row`, or the `RowError` of a broken line.
Numbered = list[tuple[str, Any]]


# Rows of a source; by its name the sha256 of a file, revision of a data set or version of a task.
Read = tuple[Numbered, dict[str, str]]


def read_source(source: Mapping[str, Any]) -> Read:
    """Read a source of a domain's YAML; `UserError` if it is missing or not readable."""
    if "file" not in source:
        from trimllm.data import hub  # imports lm-eval and `datasets`

        return hub.read_set(source) if "hub" in source else hub.read_task(source)
    path = Path(os.path.expandvars(source["file"])).expanduser()
    if unset := re.search(r"\$\{(\w+)\}", str(path)):
        raise UserError(f"{path} needs the environment variable {unset[1]}, which is not set")
    if not path.is_file():
        raise UserError(f"file {path} does not exist")
    rows = _rows_of(path)
    if (lines := source.get("lines")) is not None:
        if max(lines, default=0) >= len(rows):
            raise UserError(f"there is no line {max(lines)} in {path.name}, which has {len(rows)}")
        rows = [rows[number] for number in lines]
    rows = [(place, row) for place, row in rows if row is not None]
    # Splits of several data sets often have the same name; the folder tells them apart.
    return rows, {f"{path.absolute().parent.name}/{path.name}": files.sha256_of(path)}


def numbered(rows: Iterable[Any], name: str, mark: str = ", row ") -> Numbered:
    """Rows, each with its place, counted from 1; lines have the mark ":"."""
    return [(f"{name}{mark}{number}", row) for number, row in enumerate(rows, start=1)]


def _rows_of(path: Path) -> Numbered:
    """All rows of a file; None for blank lines, which count."""
    kind, name = path.suffix, path.name
    if kind not in SUFFIXES:
        raise UserError(f"file {path} is not {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        if kind == ".parquet":
            import pyarrow.parquet  # slow to import

            return numbered(pyarrow.parquet.read_table(path).to_pylist(), name)
        text = path.read_bytes().decode("utf-8-sig")
        if kind == ".jsonl":
            return numbered(map(_parsed, text.removesuffix("\n").split("\n")), name, ":")
        if kind != ".json":
            return _csv_rows(text, name)
        content = json.loads(text)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        fault = f"{name}:{line}: not UTF-8; save the file in the encoding UTF-8"
        raise UserError(fault) from None
    except ValueError as error:
        raise UserError(f"file {path} is not readable ({error})") from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(f"file {path} is neither a list of rows nor has a list named data")
    return numbered(rows, name)


def _parsed(line: str) -> Any:
    """The content of a JSON line: None if it is blank, a `RowError` if it is not JSON."""
    try:
        return json.loads(line) if line.strip() else None
    except (json.JSONDecodeError, RecursionError):
        return RowError("not JSON")


def _csv_rows(text: str, name: str) -> Numbered:
    """Rows of a CSV as mappings of texts by the header's names, each with its last line; the
    delimiter is the one of , ; and tab that the header has most of."""
    csv.field_size_limit(LONGEST)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: Numbered = []
    try:
        names = [field.strip() for field in next(reader, ())]
        if not all(names) or not 0 < len(names) == len({*names}):
            raise UserError(f"{name}:1: the header needs a name for each column, each once")
        fault = RowError(f"not the {len(names)} fields that the header names")
        for row in filter(None, reader):  # without empty lines
            fields = dict(zip(names, row, strict=True)) if len(row) == len(names) else fault
            rows.append((f"{name}:{reader.line_num}", fields))
    except csv.Error as error:
        place = f"after {rows[-1][0]}" if rows else f"{name}:1"
        raise UserError(f"{place}: not a row of a CSV ({error}); look for a quote there") from None
    return rows
