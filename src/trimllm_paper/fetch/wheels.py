"""Fetch wheels: through pip or from a mirror.

They are no files of the workflow: clones may share a folder of them, and what is made of a wheel is
told by its sha256. A job that reads one fetches it where it is not there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.fetch.archives import check_sha256, wheel_path, wheels_of
from trimllm_paper.integrity import locks

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9.!+_][A-Za-z0-9.!+_-]*")
ABANDONED = 86400.0
"""Seconds after which a fetch is at work no more."""


def fetch_wheels(
    wheels: Mapping[str, Mapping[str, str]], directory: str | Path, mirror: str | Path | None = None
) -> None:
    """Put the wheels that a job reads into a folder, whoever else fetches them now.

    Args:
        wheels: by name of the package, each with version, sha256 and tag.
        directory, mirror: as of `fetch_wheel`.

    Raises:
        UserError: as `fetch_wheel`; a wheel whose file has another name, version or tag.
    """
    folder = Path(directory)
    for name, wheel in wheels.items():
        version, tag = wheel["version"], wheel["tag"]
        # Not what is young: where a file system has no locks, others may be at work on it.
        files.remove_leftovers(unfinished(name, version, folder), ABANDONED)
        what = f"{name}-{version}"
        alone = locks.exclusive(folder / locks.FOLDER / what, what=f"fetching {what}")
        with nullcontext() if wheels_of(name, folder, version) else alone:
            found = fetch_wheel(name, version, wheel["sha256"], folder, mirror)
        if not wheels_of(name, folder, version):
            raise UserError(
                f"configuration: wheels.{name}: its wheel is {found.name}; write name and version "
                "as this does"
            )
        if not found.stem.endswith(f"-{tag}"):
            raise UserError(f"configuration: wheels.{name}.tag = {tag}: it is {found.name}")


def fetch_wheel(
    name: str, version: str, sha256: str, directory: str | Path, mirror: str | Path | None = None
) -> Path:
    """Put a package's wheel into a folder, if it is not there yet, and check it.

    Args:
        name, version: the package, as pip names it.
        sha256: of the wheel, hexadecimal.
        directory: where the wheel goes, under the file name that it was published by.
        mirror: folder with wheels; when given, nothing is downloaded.

    Returns:
        Path of the wheel.

    Raises:
        UserError: the wheel cannot be had, or is not what the sha256 says.
    """
    directory = Path(directory)
    # Both become arguments of pip: neither may be read as an option.
    if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
        raise UserError(f"wheel {name!r} {version!r}: not a package name and version")
    if there := wheels_of(name, directory, version):
        check_sha256(there[0], sha256, "it is corrupt: delete it and run again")
        return there[0]
    with files.scratch(unfinished(name, version, directory)) as temporary:
        if mirror is None:
            found = _download(name, version, temporary)
            remedy = "the package index does not hold what the configuration expects"
        else:
            found = Path(shutil.copy(wheel_path(name, mirror, version), temporary))
            remedy = f"replace it in the mirror {mirror}"
        check_sha256(found, sha256, remedy)
        return found.replace(directory / found.name)


def unfinished(name: str, version: str, directory: str | Path) -> Path:
    """Beside which a fetch works (`files.scratch`), and leaves what it had if it is killed."""
    return Path(directory, f"{name}-{version}-wheel")


def _download(name: str, version: str, directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["--dest", str(directory), f"{name}=={version}"]
    print(f"downloading the wheel {name} {version}", file=sys.stderr, flush=True)
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        said = run.stderr.splitlines() or ["pip said nothing"]
        reason = ([line for line in said if line.startswith("ERROR")] or said)[-1]
        raise UserError(
            f"wheel {name} {version} cannot be downloaded ({reason}); "
            "without a network put it into a folder and name that as mirror"
        )
    return next(directory.glob("*.whl"))
