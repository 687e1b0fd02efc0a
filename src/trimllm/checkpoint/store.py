"""Checkpoints: a directory of safetensors, config and tokenizer, with a model card and a manifest.

A trimmed checkpoint holds only the weights that are left, and the modeling file by which stock
transformers loads it (after `import trimllm.auto`, or with `trust_remote_code=True`).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import parse_local_safetensors_file_metadata
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm.checkpoint import card
from trimllm.sublayers.families import write_code

logging.disable_progress_bar()  # of transformers, beside our own

ONE_FILE = "1000000GB"  # never split: one declared output per checkpoint
# Starts of names of files that `write_tensors` copies: not manifest, card and records, which
# describe the source itself.
COPIED = (
    *("tokenizer", "special_tokens", "added_tokens", "chat_template", "vocab", "merges"),
    *("generation_config", "modeling_"),
)


def load_tokenizer(path: str | Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a checkpoint directory."""
    return AutoTokenizer.from_pretrained(
        path, local_files_only=True, trust_remote_code=trust_remote_code
    )


def check_directory(path: str | Path, *, verify: bool) -> tuple[Path, dict[str, Any]]:
    """(directory, config) of a checkpoint; with `verify` every file must fit the manifest."""
    path = Path(path)
    if not (path / "config.json").is_file():
        raise UserError(f"{path} is no checkpoint: it has no config.json")
    if verify and (path / files.MANIFEST).is_file():
        files.verify_manifest(path)
    return path, files.read_json(path / "config.json")


def load(
    path: str | Path,
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    trust_remote_code: bool = False,
    verify: bool = True,
) -> tuple[nn.Module, Any]:
    """(model in evaluation mode, tokenizer) of a checkpoint: plain, trimmed, compressed, or both.

    Args:
        dtype: type of the weights in memory; "auto" takes the stored one. Four-bit weights always
            have the type that their kernels compute in.
        trust_remote_code: run modeling code of the checkpoint, which trimmed ones do not need.
        verify: check every file against manifest.json, if there is one.

    Raises `UserError`: no such directory, a file that differs from the manifest, or weights that do
    not fit the config.
    """
    path, config = check_directory(path, verify=verify)
    place, method, options = str(device), kernels.method_of(config), {}
    if method:
        kernels.prepare()
    if method in kernels.TRITON:
        dtype = "bfloat16" if place.startswith("cpu") else "float16"  # of the kernels
        if (backend := kernels.four_bit_backend(method, place)) != "auto":
            options["config"] = AutoConfig.from_pretrained(path, local_files_only=True)
            options["config"].quantization_config |= {"backend": backend}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            device_map={"": place} if method or place != "cpu" else None,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,  # never pickles
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(f"{path} cannot be loaded: {error}") from error
    if names := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        raise UserError(f"{path}: weights are missing, or unknown to the config: {names[:3]}")
    return model.eval(), load_tokenizer(path, trust_remote_code=trust_remote_code)


def save(
    model: nn.Module, tokenizer: Any, directory: str | Path, dtype: str | torch.dtype | None = None
) -> Path:
    """Write a checkpoint, plain or trimmed, atomically; an older one is replaced at the end. Stored
    weights have the type `dtype` ("bfloat16"); None keeps the model's own.

    Raises `UserError`: something else than a checkpoint has that name, or the weights are packed.
    """
    files.refuse_other(directory)
    with files.scratch(directory) as temporary:
        write(model, tokenizer, temporary, dtype=dtype)
        complete(temporary, directory)
    return Path(directory)


def complete(
    temporary: Path,
    directory: str | Path,
    records: Mapping[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Add `records` (JSON documents by file stem), card and manifest to written weights, and rename
    them to their final name. `provenance` is for manifest.json; its `card`: fields of `card.Facts`.
    """
    for stem, content in (records or {}).items():
        files.write_json(temporary / f"{stem}.json", content)
    if not (temporary / card.FILE).is_file():
        card.write(temporary, card.Facts(**(provenance or {}).get("card", {})))
    files.write_manifest(temporary, provenance)
    files.publish(temporary, directory)


def write(
    model: nn.Module,
    tokenizer: Any,
    directory: Path,
    *,
    dtype: str | torch.dtype | None = None,
    exact: bool = False,
) -> None:
    """Write model and tokenizer as `save` into an existing directory, weights as one safetensors
    file. If `exact` a tensor that `dtype` would round keeps its own type: reading it as float32
    gives every weight bit by bit, and what was never trained is as short as before."""
    if kernels.is_quantized(model):  # a cast would destroy the codes
        method = model.config.quantization_config.quant_method.value
        raise UserError(
            f"packed weights ({method}) cannot be saved again; copy the checkpoint that the model "
            "was loaded from"
        )
    kind = getattr(torch, dtype) if isinstance(dtype, str) else dtype or model.dtype

    def stored(tensor: Tensor) -> Tensor:
        rounded = tensor.to(kind)
        return tensor if exact and not torch.equal(rounded.to(tensor.dtype), tensor) else rounded

    state = {name: stored(tensor) for name, tensor in model.state_dict().items()}
    if getattr(model.config, "tie_word_embeddings", False):
        # save_pretrained recognizes tied weights by their shared memory, which a cast undoes.
        for name in model._tied_weights_keys or ():
            state.pop(name, None)
    if getattr(model.config, "units", None) is not None:
        write_code(model, directory)
    model.save_pretrained(directory, state_dict=state, max_shard_size=ONE_FILE)
    tokenizer.save_pretrained(directory)
    config, settings = (directory / f"{name}.json" for name in ("config", "tokenizer_config"))
    # save_pretrained notes the type of the model in memory.
    files.write_json(config, files.read_json(config) | {"dtype": str(kind).removeprefix("torch.")})
    # How a tokenizer was read, with a network or without, is no part of it.
    known = files.read_json(settings).items()
    kept = {key: value for key, value in known if key not in ("is_local", "local_files_only")}
    files.write_json(settings, kept)


def write_tensors(
    source: str | Path, tensors: Mapping[str, Tensor], changes: dict[str, Any], directory: Path
) -> None:
    """Write a checkpoint into an existing directory: all its tensors, changed keys of the config,
    and the rest as in `source`. float32 weights and biases are stored in the type of `source`,
    parts of a packed format (scales, codes) as given."""
    config = files.read_json(Path(source) / "config.json")
    kind = getattr(torch, config.get("dtype") or config.get("torch_dtype") or "float32")
    tied = AutoConfig.from_pretrained(source, local_files_only=True).tie_word_embeddings
    stored = {}
    for name, tensor in tensors.items():
        wide = tensor.dtype == torch.float32 and name.endswith((".weight", ".bias"))
        if not (tied and name == "lm_head.weight"):  # stored once, as the embeddings
            stored[name] = tensor.detach().to("cpu", kind if wide else None).contiguous()
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    files.write_json(directory / "config.json", config | changes)
    for path in Path(source).iterdir():
        if path.name.startswith(COPIED):
            shutil.copyfile(path, directory / path.name)


def bytes_by_part(path: str | Path) -> dict[str, int]:
    """Bytes of a checkpoint's tensors: "total", and of these "embeddings" (with the head)."""
    parts = {"total": 0, "embeddings": 0}
    for file in Path(path).glob("*.safetensors"):
        for name, tensor in parse_local_safetensors_file_metadata(file).tensors.items():
            begin, end = tensor.data_offsets
            parts["total"] += end - begin
            if any(part in name for part in ("embed_", "lm_head", ".project_")):
                parts["embeddings"] += end - begin
    return parts


def weight_bytes(path: str | Path) -> int:
    """Bytes of the files with the weights of a checkpoint or an export."""
    paths = [*Path(path).glob("*.safetensors"), *Path(path).glob("*.gguf")]
    return sum(one.stat().st_size for one in paths)
