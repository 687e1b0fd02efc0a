"""Checkpoints: one directory of safetensors, config and tokenizer, with a manifest.

A trimmed checkpoint holds only surviving weights. `import trimllm` registers its classes, so that
`AutoModelForCausalLM.from_pretrained(path)` loads it; a copy of the modeling file lies beside the
weights for whoever passes `trust_remote_code=True` without having trimllm.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from trimllm import files
from trimllm.errors import UserError
from trimllm.units import modeling_trimllm, supported_families
from trimllm.units.adapters import family_of

MODELING_FILE = Path(modeling_trimllm.__file__)
# Never split: one declared output per checkpoint, whatever its size.
ONE_FILE = "1000000GB"


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def load_tokenizer(path: str | Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a checkpoint directory."""
    return AutoTokenizer.from_pretrained(
        path, local_files_only=True, trust_remote_code=trust_remote_code
    )


def load(
    path: str | Path,
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    trust_remote_code: bool = False,
    verify: bool = True,
) -> tuple[nn.Module, Any]:
    """Load any checkpoint: plain or trimmed.

    Args:
        path: a checkpoint directory.
        dtype: type of the weights in memory; "auto" takes the stored one.
        device: where the weights go.
        trust_remote_code: run modeling code that lies in the checkpoint (never for trimmed
            checkpoints of trimllm, whose classes are registered).
        verify: check every file against manifest.json, where there is one.

    Returns:
        (model in evaluation mode, tokenizer)

    Raises:
        UserError: no such directory, a file that its manifest does not confirm, a family without
            an adapter, or weights that do not fit the config.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise UserError(f"{path} is no checkpoint: it has no config.json")
    if verify and (path / files.MANIFEST).is_file():
        files.verify_manifest(path)
    family = family_of(files.read_json(path / "config.json").get("model_type", "unknown"))
    if family not in supported_families() and not trust_remote_code:
        raise UserError(
            f"{path}: model family {family!r} has no adapter "
            f"(there are: {', '.join(supported_families())})"
        )
    try:
        with _no_progress_bars():
            model, report = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=dtype,
                device_map=None if str(device) == "cpu" else device,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{path} cannot be loaded: {error}") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := report.get(problem):
            raise UserError(
                f"{path}: weights with {problem.replace('_', ' ')}: {sorted(names)[:3]}"
            )
    return model.eval(), load_tokenizer(path, trust_remote_code=trust_remote_code)


def save(
    model: nn.Module,
    tokenizer: Any,
    directory: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    record: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write a checkpoint: whole under its name, or not at all.

    Args:
        model: plain or trimmed model.
        tokenizer: its tokenizer.
        directory: where it goes; an older checkpoint there is replaced at the last moment.
        dtype: type of the stored weights ("bfloat16"); None keeps the model's own.
        record: JSON documents to store beside the weights, by file stem.
        provenance: what goes into manifest.json beside the hashes.
    """
    temporary = files.new_sibling(directory)
    try:
        write(model, tokenizer, temporary, dtype=dtype)
        for stem, content in (record or {}).items():
            files.write_json(temporary / f"{stem}.json", content)
        files.write_manifest(temporary, provenance)
        temporary.chmod(0o755)
        files.publish(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Path(directory)


def write(
    model: nn.Module, tokenizer: Any, directory: Path, *, dtype: str | torch.dtype | None = None
) -> None:
    """Write model and tokenizer into an existing directory, weights as one safetensors file."""
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    stored_as = dtype or model.dtype
    state = {name: tensor.to(stored_as) for name, tensor in model.state_dict().items()}
    if getattr(model.config, "tie_word_embeddings", False):
        # save_pretrained recognizes tied weights by their shared memory, which a cast undoes.
        for name in list(model._tied_weights_keys or {}):
            state.pop(name, None)
    with _no_progress_bars():
        model.save_pretrained(directory, state_dict=state, max_shard_size=ONE_FILE)
    # save_pretrained notes the type of the model in memory, not of what it was given to store.
    config = files.read_json(directory / "config.json")
    config["dtype"] = str(stored_as).removeprefix("torch.")
    files.write_json(directory / "config.json", config)
    tokenizer.save_pretrained(directory)
    if getattr(model.config, "units", None) is not None:
        shutil.copyfile(MODELING_FILE, directory / MODELING_FILE.name)


def weight_bytes(path: str | Path) -> int:
    """Bytes of the stored weights of a checkpoint."""
    return sum(file.stat().st_size for file in Path(path).glob("*.safetensors"))
