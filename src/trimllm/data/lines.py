"""Text files row by row: JSON lines and CSV, every row and every complaint with file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

from trimllm.base.errors import UserError
from trimllm.data.rows import LONGEST, RowError

LONGEST_LINE = 8 << 20
"""Bytes of a line. A longer one is a file without line breaks, which would not fit the memory."""
DELIMITERS = ",;\t"
"""What may part the columns of a CSV: what its header has most of."""


def lines_of(stream: IO[bytes], name: str) -> list[str]:
    """The lines of a UTF-8 file, each with its line break; a byte order mark is left out.

    Raises:
        UserError: a line that is not UTF-8, or too long.
    """
    lines: list[str] = []
    while raw := stream.readline(LONGEST_LINE + 1):
        where = f"{name}:{len(lines) + 1}"
        if len(raw) > LONGEST_LINE:
            raise UserError(
                f"{where}: a line of more than {LONGEST_LINE >> 20} MiB; give one row a line"
            )
        try:
            lines.append(raw.decode("utf-8" if lines else "utf-8-sig"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{where}: not UTF-8 (byte 0x{raw[error.start]:02x} in column {error.start + 1}); "
                "save the file in the encoding UTF-8"
            ) from None
    return lines


def json_rows(lines: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    """What JSON lines hold, (where, line) each; empty lines are left out."""
    for where, line in lines:
        if line.strip():
            try:
                yield where, json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                yield where, RowError("not JSON")


def csv_rows(lines: Sequence[str], name: str) -> list[tuple[str, Any]]:
    """The rows of a CSV as mappings of texts by the header's names, (where, row) each.

    Columns are parted by what the header has most of, a comma, semicolon or tab. Where is the first
    line of a row, which may have several.

    Raises:
        UserError: no header, a name twice in it, or quotes that do not match.
    """
    header = lines[0] if lines else ""
    csv.field_size_limit(LONGEST)
    reader = csv.reader(lines, delimiter=max(DELIMITERS, key=header.count), strict=True)
    found: list[tuple[str, Any]] = []
    names: list[str] | None = None
    while True:
        where = f"{name}:{reader.line_num + 1}"
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{where}: no row of a CSV ({error}); look for a quote there") from None
        if values is None:
            break
        if names is None:
            names = [value.strip() for value in values]
            if not all(names) or len({*names}) < len(names):
                raise UserError(f"{where}: the header needs a name for each column, each once")
        elif len(values) != len(names) and values:
            fault = RowError(f"{len(values)} fields, where the header names {len(names)}")
            found.append((where, fault))
        elif values:
            found.append((where, dict(zip(names, values, strict=True))))
    if names is None:
        raise UserError(f"{name}: empty; the first line of a CSV names its columns")
    return found
