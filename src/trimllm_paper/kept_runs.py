"""Kept runs: all small results of a run as lines of one file, beside its configuration.

A kept run is a folder with `config.yaml`, `records.jsonl` (a line a file of the run: its `path`
below the folder, and its `content`, or its `text` if it is not JSON), `manifest.json` (sha256 of
both) and the `tables` rendered from them. The functions here find a file of a run, such as
results/reference/scans/smollm2-135m/sciq.json, on disk or in the records.jsonl of a folder above.
"""

import json
import os
from collections.abc import Mapping
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from trimllm.base import files

CONFIG, RECORDS = "config.yaml", "records.jsonl"
Record = dict[str, Any]
"""`content` (parsed JSON) or `text` of a file."""


def is_kept(folder: str | Path) -> bool:
    """Whether a folder holds a kept run, which is rendered and never computed again."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in (RECORDS, files.MANIFEST))


def records_of(folder: str | Path) -> Mapping[str, Record]:
    """Path -> record of every file of a kept run. Read only: the result is cached."""
    file = Path(folder, RECORDS)
    return _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _read(file: Path, modified: int) -> Mapping[str, Record]:
    return {record.pop("path"): record for record in files.read_json(file, lines=True)}


def _packed(path: str | Path) -> tuple[Mapping[str, Record], str]:
    """Records of the kept run that a path lies in, and its name there; empty outside of one."""
    path = Path(path)
    root = next(filter(is_kept, path.parents), None)
    return (records_of(root), path.relative_to(root).as_posix()) if root else ({}, "")


def _record(path: str | Path) -> Record | None:
    """The record of a file that is not on disk."""
    records, name = _packed(path)
    return None if os.path.exists(path) else records.get(name)


def is_file(path: str | Path) -> bool:
    """Whether there is such a file."""
    return os.path.isfile(path) or _record(path) is not None


def is_folder(path: str | Path) -> bool:
    """Whether there is such a folder."""
    return os.path.isdir(path) or bool(glob(path, "**/*"))


def glob(folder: str | Path, pattern: str) -> list[Path]:
    """Files of a folder that match a pattern, sorted; hidden (unfinished) files are left out."""
    folder = Path(folder)
    names = {path.relative_to(folder).as_posix() for path in folder.glob(pattern)}
    records, prefix = _packed(folder / "*")
    start, packed = len(prefix) - 1, prefix[:-1] + pattern.replace("**/", "*")
    names |= {name[start:] for name in records if fnmatch(name, packed)}
    shown = [name for name in names if not any(part[0] == "." for part in name.split("/"))]
    return [folder / name for name in sorted(shown)]


def read_text(path: str | Path) -> str:
    """Text of a file. Raises `OSError` where it is missing."""
    record = _record(path)
    return Path(path).read_text(encoding="utf-8") if record is None else text_of(record)


def read_json(path: str | Path) -> Any:
    """Content of a JSON file; `UserError` where it is missing or not JSON."""
    record = _record(path)
    return files.read_json(path) if record is None else record["content"]


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    record = _record(path)
    return files.sha256_of(path) if record is None else files.content_hash(text_of(record))


def text_of(record: Record) -> str:
    """The bytes of a record's file, as text."""
    if "text" in record:
        return str(record["text"])
    return json.dumps(record["content"], indent=1, sort_keys=True, allow_nan=False) + "\n"


def write(folder: Path, records: Mapping[str, Record], config: str) -> None:
    """Write a kept run with a configuration (YAML) atomically, in place of what `folder` holds."""
    lines = [{"path": name, **records[name]} for name in sorted(records)]
    text = "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines)
    with files.scratch(folder) as temporary:
        files.write_text(temporary / CONFIG, config)
        files.write_text(temporary / RECORDS, text)
        files.write_manifest(temporary)
        files.publish(temporary, folder)
