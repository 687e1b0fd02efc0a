"""Atomic writes of files and directories, and manifests with the hash of every file."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
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


def _beside(final: str | Path, kind: str = "tmp") -> Path:
    """A new hidden name beside `final`, on the same file system."""
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    return final.with_name(f".{final.name}.{kind}-{uuid.uuid4().hex}")


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    temporary = _beside(path)
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal content has equal bytes."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path, *, lines: bool = False) -> Any:
    """Content of a JSON file, or (`lines`) of each line; `UserError` if missing or no JSON."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        if lines:
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        return json.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the step that writes it") from None
    except ValueError as error:  # not UTF-8, or not JSON
        raise UserError(f"{path} is not JSON ({error}); delete it and run again") from None


@contextlib.contextmanager
def scratch(final: str | Path) -> Iterator[Path]:
    """A new directory beside `final`, to be published as it; removed at the end of the block."""
    temporary = _beside(final)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_other(final: str | Path) -> None:
    """Raise `UserError` where a checkpoint would replace something else than a checkpoint."""
    final = Path(final)
    names = {path.name for path in final.iterdir()} if final.is_dir() else {final.name}
    if final.exists() and names and names.isdisjoint({MANIFEST, "config.json"}):
        raise UserError(f"{final} exists and is no checkpoint; choose another name")


def publish(temporary: str | Path, final: str | Path) -> None:
    """Rename a finished directory to its final name, replacing an older one. If that fails, the
    older one gets its name back, at the latest by `remove_leftovers`."""
    old = _beside(final, "old")
    if replaced := Path(final).exists():
        os.replace(final, old)
    try:
        os.replace(temporary, final)
    except OSError:
        if replaced:
            os.replace(old, final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(final: str | Path) -> None:
    """Remove what killed writers of `final` left beside it; restore a directory they moved away.
    Only the next writer may call it: another one at work would lose its files."""
    final = Path(final)
    for path in final.parent.glob(f".{glob.escape(final.name)}.*"):
        if path.name.startswith(f".{final.name}.old-") and not final.exists():
            path.rename(final)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_manifest(directory: str | Path, provenance: dict[str, Any] | None = None) -> None:
    """Write manifest.json, the last file of a directory: sha256 and bytes of every other file."""
    manifest, entries = Path(directory, MANIFEST), {}
    for path in Path(directory).rglob("*"):
        if path.is_file() and path != manifest:
            name, size = path.relative_to(directory).as_posix(), path.stat().st_size
            entries[name] = {"sha256": sha256_of(path), "bytes": size}
    write_json(manifest, {"files": entries, "provenance": provenance or {}})
    for weights in Path(directory).glob("*.safetensors"):  # safetensors makes them 0600
        weights.chmod(manifest.stat().st_mode)


def verify_manifest(directory: str | Path) -> dict[str, Any]:
    """A directory's manifest. Raises `UserError` if a file that it names is missing or changed, or
    if another program wrote it."""
    manifest = read_json(path := Path(directory, MANIFEST))
    try:
        hashes = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is not a manifest of trimllm; remove it") from None
    for name, sha256 in hashes.items():
        file = Path(directory, name)
        if not file.is_file() or sha256_of(file) != sha256:
            fault = "was changed after it was written (sha256)" if file.is_file() else "is missing"
            raise UserError(f"{file} {fault}; delete {directory} and run again")
    return manifest
