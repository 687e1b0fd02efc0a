"""Sources: where rows are read from.

Three kinds, told apart by their key in the domain's YAML:

    {file: PATH}                             local .jsonl, .json, .csv, .tsv or .parquet
    {hub: ID, revision: SHA, name:, split:}  a data set of the hub, through `datasets`
    {task: NAME, split:}                     documents of an lm-eval task, with its own prompts

`lines` keeps the given zero-based lines of a file only, `label` names the class of all its rows.
Values of text files stay as they are written: nothing is guessed, nothing cached.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.rows import LONGEST, RowError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
DELIMITERS = ",;\t"
"""Delimiters of a CSV: the one that its header has most of."""
Numbered = list[tuple[str, Any]]
"""(place, row): a JSON object, a finished document, or the `RowError` of a broken line."""


class Read(NamedTuple):
    """The rows of a source, and by name the sha256 of a file, the revision of a data set of the
    hub, the version of a task."""

    rows: Numbered
    sha256: dict[str, str]


def read_source(source: Mapping[str, Any]) -> Read:
    """Read a source of a domain's YAML; `UserError` if it is missing or not readable."""
    if "file" in source:
        return _read_file(_expand(source["file"]), source.get("lines"))
    from trimllm.data import hub  # imports lm-eval and `datasets`

    return hub.read_set(source) if "hub" in source else hub.read_task(source)


def numbered(rows: Iterable[Any], name: str, mark: str = ", row ") -> Numbered:
    """Rows, each with its place, counted from 1; lines have the mark ":"."""
    return [(f"{name}{mark}{number}", row) for number, row in enumerate(rows, start=1)]


def _expand(path: str) -> Path:
    """Replace `${VARIABLE}` by the environment's; `UserError` if it is not set."""
    for name in re.findall(r"\$\{(\w+)\}", path):
        if not os.environ.get(name):
            raise UserError(f"{path} needs the environment variable {name}, which is not set")
    return Path(os.path.expandvars(path)).expanduser()


def _read_file(path: Path, lines: Sequence[int] | None) -> Read:
    if not path.is_file():
        raise UserError(f"file {path} does not exist")
    rows = _rows_of(path)
    if lines is not None:
        if outside := [number for number in lines if not 0 <= number < len(rows)]:
            raise UserError(f"there is no line {outside[0]} in {path.name}, which has {len(rows)}")
        rows = [rows[number] for number in lines]
    if path.suffix == ".jsonl":
        rows = [(place, _parsed(line)) for place, line in rows if line.strip()]
    # Splits of several data sets often have the same name; the folder tells them apart.
    return Read(rows, {f"{path.absolute().parent.name}/{path.name}": files.sha256_of(path)})


def _rows_of(path: Path) -> Numbered:
    """All rows of a file; JSON lines unparsed."""
    kind, name = path.suffix, path.name
    if kind not in SUFFIXES:
        raise UserError(f"file {path} is not {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        if kind == ".parquet":
            import pyarrow.parquet  # slow to import

            return numbered(pyarrow.parquet.read_table(path).to_pylist(), name)
        text = _decoded(path)
        if kind == ".jsonl":
            return numbered(text.removesuffix("\n").split("\n"), name, ":")
        if kind != ".json":
            return _csv_rows(text, name)
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"file {path} is not readable ({error})") from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(f"file {path} is neither a list of rows nor has a list named data")
    return numbered(rows, name)


def _decoded(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path.name}:{line}: not UTF-8; save the file in the encoding UTF-8"
        ) from None


def _parsed(line: str) -> Any:
    """The content of a JSON line, or a `RowError`."""
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return RowError("not JSON")


def _csv_rows(text: str, name: str) -> Numbered:
    """Rows of a CSV as mappings of texts by the header's names, each with the place of its first
    line.

    Raises:
        UserError: no header, a name twice in it, or unbalanced quotes.
    """
    header = text.partition("\n")[0]
    csv.field_size_limit(LONGEST)
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: Numbered = []
    names: list[str] = []
    place = f"{name}:1"
    try:
        for values in reader:
            if not names:
                names = [value.strip() for value in values]
                if not all(names) or len({*names}) < len(names):
                    raise UserError(f"{place}: the header needs a name for each column, each once")
            elif len(values) != len(names) and values:
                fault = f"{len(values)} fields, but the header names {len(names)}"
                rows.append((place, RowError(fault)))
            elif values:
                rows.append((place, dict(zip(names, values, strict=True))))
            place = f"{name}:{reader.line_num + 1}"
    except csv.Error as error:
        raise UserError(f"{place}: not a row of a CSV ({error}); look for a quote there") from None
    if not names:
        raise UserError(f"{name}: empty; the first line of a CSV names its columns")
    return rows
