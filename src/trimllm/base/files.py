"""Files and directories that are written atomically, and manifests with the hash of every file."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError

MANIFEST = "manifest.json"


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _sibling(final: Path, kind: str = "tmp") -> Path:
    """A new hidden name beside `final`, on the same file system."""
    final.parent.mkdir(parents=True, exist_ok=True)
    return final.with_name(f".{final.name}.{kind}-{uuid.uuid4().hex}")


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically: beside its place, then renamed."""
    temporary = _sibling(Path(path))
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, obj: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal content has equal bytes."""
    write_text(path, json.dumps(obj, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    """Write JSON lines atomically."""
    write_text(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the step that makes it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); delete it and make it anew") from None


def read_json(path: str | Path) -> Any:
    """Read a JSON file; `UserError` when it is missing or not JSON."""
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}); delete it and make it anew") from None


def read_jsonl(path: str | Path) -> list[Any]:
    """Read JSON lines; `UserError` names the line that does not parse."""
    rows = []
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number} is not JSON ({error.msg})") from None
    return rows


@contextlib.contextmanager
def scratch(final: str | Path) -> Iterator[Path]:
    """A new directory beside `final`, to be published as it; removed at the end of the block."""
    temporary = _sibling(Path(final))
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish(temporary: str | Path, final: str | Path) -> None:
    """Give a finished directory its final name, in place of what has that name.

    Where the file system refuses (`OSError`), the old directory gets its name back, if need be by
    the next `remove_leftovers`.
    """
    old = _sibling(Path(final), "old")
    if replaced := Path(final).exists():
        os.replace(final, old)
    try:
        os.replace(temporary, final)
    except OSError:
        if replaced:
            os.replace(old, final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(final: str | Path, older: float | None = None) -> None:
    """Remove what killed writers of `final` left beside it; restore a directory they moved away.

    Args:
        older: leave what was changed in the last so many seconds; None, where nobody can be
            writing, leaves nothing.
    """
    final = Path(final)
    for path in final.parent.glob(f".{glob.escape(final.name)}.*"):
        with contextlib.suppress(FileNotFoundError):  # another process removes it
            if older is not None and time.time() - path.lstat().st_mtime <= older:
                continue
            if path.name.startswith(f".{final.name}.old-") and not final.exists():
                path.rename(final)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def write_manifest(directory: str | Path, provenance: dict[str, Any] | None = None) -> None:
    """Write manifest.json, the last file of a directory: sha256 and bytes of every other file."""
    manifest = Path(directory, MANIFEST)
    paths = (path for path in sorted(Path(directory).rglob("*")) if path.is_file())
    named = {
        path.relative_to(directory).as_posix(): {
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for path in paths
        if path != manifest
    }
    write_json(manifest, {"files": named, "provenance": provenance or {}})


def verify_manifest(directory: str | Path) -> dict[str, Any]:
    """Read a directory's manifest and check every file it names.

    Returns the manifest. Raises `UserError` for a missing or changed file, or another program's
    manifest.json.
    """
    manifest = read_json(path := Path(directory, MANIFEST))
    try:
        expected = {name: one["sha256"] for name, one in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is not a manifest of trimllm; remove it") from None
    for name, sha256 in expected.items():
        fault, path = "", Path(directory, name)
        if not path.is_file():
            fault = "is missing although the manifest names it"
        elif sha256_of(path) != sha256:
            fault = "was changed after it was written (sha256)"
        if fault:
            raise UserError(f"{path} {fault}; delete {directory} and run again")
    return manifest
