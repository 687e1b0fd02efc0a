"""Files that appear whole or not at all, and manifests that prove what a directory holds."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError

MANIFEST = "manifest.json"
SEAL = "content_sha256"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (
    errno.ESTALE,
    errno.EBUSY,
    errno.EIO,
    errno.EROFS,
    errno.EXDEV,
    errno.EACCES,
    errno.EPERM,
)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically: beside its place, then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: str | Path, obj: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal content has equal bytes."""
    write_text(path, json.dumps(obj, indent=1, sort_keys=True, allow_nan=False) + "\n")


def sealed(result: dict[str, Any]) -> dict[str, Any]:
    """A result with the hash of its content in it, so that an edit by hand shows."""
    content = {key: value for key, value in result.items() if key != SEAL}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return content | {SEAL: content_hash(text)}


def check_seal(path: str | Path, result: dict[str, Any]) -> None:
    """Raise `UserError` if a result that was read from `path` was changed after it was sealed."""
    if SEAL in result and sealed(result)[SEAL] != result[SEAL]:
        raise UserError(f"{path} was changed after it was written; delete it and make it anew")


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the step that makes it") from None


def read_json(path: str | Path) -> Any:
    """Read a JSON file; `UserError` when it is missing or is no JSON."""
    try:
        return json.loads(_read(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}); delete it and make it anew") from None


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    """Write JSON lines atomically."""
    write_text(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


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


def new_sibling(final: str | Path) -> Path:
    """A fresh hidden directory beside `final`, on the same file system, to be published later."""
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.tmp-"))


@contextlib.contextmanager
def scratch(final: str | Path) -> Iterator[Path]:
    """A `new_sibling` for the time of a block: gone at its end unless it was published."""
    temporary = new_sibling(final)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(final: str | Path, older: float | None = None) -> None:
    """Remove what killed writers of `final` left beside it.

    Args:
        older: leave what was changed in the last so many seconds; None, where nobody can be
            writing, leaves nothing.
    """
    final = Path(final)
    for path in final.parent.glob(f".{glob.escape(final.name)}.*"):
        with contextlib.suppress(FileNotFoundError):  # another removes it
            if older is not None and time.time() - path.lstat().st_mtime <= older:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def disk_full(error: BaseException) -> bool:
    """Whether a write failed for want of space: full disk, quota, or limit on a file's size."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in NO_SPACE
    # safetensors and PyTorch hand the system's words on, without the number.
    return any(os.strerror(number) in str(error) for number in NO_SPACE)


def refused(error: BaseException) -> bool:
    """Whether a file system refused something about a file that it names: one on a network that has
    lost it, a disk that fails, a folder that may not be written."""
    named = isinstance(error, OSError) and error.filename is not None
    return named and getattr(error, "errno", None) in REFUSED


def write_manifest(directory: str | Path, provenance: dict[str, Any] | None = None) -> None:
    """Write manifest.json, the last file of a directory: sha256 and bytes of every other file."""
    directory = Path(directory)
    files = {
        path.relative_to(directory).as_posix(): {
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path != directory / MANIFEST
    }
    write_json(directory / MANIFEST, {"files": files, "provenance": provenance or {}})


def verify_manifest(directory: str | Path) -> dict[str, Any]:
    """Read a directory's manifest and check every file it names.

    Returns the manifest. Raises `UserError` for a missing, shortened or changed file.
    """
    directory = Path(directory)
    manifest = read_json(directory / MANIFEST)
    for name, expected in manifest["files"].items():
        path, fault = directory / name, ""
        if not path.is_file():
            fault = "is missing although the manifest names it"
        elif path.stat().st_size != expected["bytes"]:
            fault = f"has {path.stat().st_size} bytes, its manifest says {expected['bytes']}"
        elif sha256_of(path) != expected["sha256"]:
            fault = "was changed after it was written (sha256)"
        if fault:
            raise UserError(f"{path} {fault}; delete {directory} and run again")
    return manifest


def publish(temporary: str | Path, final: str | Path) -> None:
    """Give a finished directory its final name; what stood there before is removed.

    Where the file system refuses (`OSError`), it stands there again.
    """
    with scratch(final) as retired:
        if replaced := Path(final).exists():
            os.replace(final, retired)
        try:
            os.replace(temporary, final)
        except OSError:
            if replaced:
                os.replace(retired, final)
            raise
