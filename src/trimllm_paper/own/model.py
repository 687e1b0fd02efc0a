"""Inspect a model, in a folder or on the hub: can it be trimmed, and how large is it?

Of a model on the hub only configuration and tokenizer are fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.names import FAMILIES

FETCHED = ["config.json", "*token*", "vocab*", "merges.txt", "spiece.model"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SMALL = 3e8
"""Parameters up to which ten times the authors' learning rate is best; by five times as much
Qwen2.5-Coder-0.5B ends below where it began."""


@dataclass(frozen=True)
class Model:
    """A model as the configuration describes it, with its tokenizer."""

    name: str
    label: str
    family: str
    blocks: int
    parameters: int
    source: dict[str, str]
    base_model: str | None
    license: str | None
    tokenizer: Any
    vocabulary: int

    @property
    def learning_rate(self) -> float:
        """Peak."""
        return 2.0e-4 if self.parameters <= SMALL else 2.0e-5


def look(name: str) -> Model:
    """Inspect a model.

    Args:
        name: a folder, or OWNER/NAME on the hub.

    Raises `UserError`: there is none, it is gated, has no tokenizer or weights, is trimmed or
    compressed already, or of a family that cannot be trimmed.
    """
    folder, license, base = Path(name).expanduser(), None, None
    source = {"directory": name}
    if folder.is_dir():
        if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
            raise UserError(f"{folder} holds no weights: no safetensors file (GGUF cannot be read)")
    elif folder.exists() or not HUB_ID.fullmatch(name):
        raise UserError(f"{name}: no such folder, and no OWNER/NAME of the hub")
    else:
        folder, revision, license = _fetch(name)
        source, base = {"hub": name, "revision": revision}, name
    if not (folder / "config.json").is_file():
        raise UserError(f"{name} holds no model: it has no config.json")
    family = _family(name, files.read_json(folder / "config.json"))
    from trimllm.checkpoint.store import load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
    except Exception as error:  # whatever transformers raises
        raise UserError(
            f"{name} has no tokenizer that can be read ({error}); save it beside the "
            "model: tokenizer.save_pretrained(FOLDER)"
        ) from None
    blocks, parameters, vocabulary = _size(folder)
    label = Path(name).name or "model"
    about = source, base, license, tokenizer, vocabulary
    return Model(as_name(label, "model"), label, family, blocks, parameters, *about)


def as_name(text: str, default: str) -> str:
    """A text as a name in paths."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or default


@contextmanager
def hub_errors(absent: str) -> Iterator[None]:
    """Turn the errors of the hub's client into one line; `absent` says what is not there."""
    import httpx

    try:
        yield
    except (OSError, ValueError, httpx.HTTPError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{absent}, or it cannot be reached ({reason})") from None


def _fetch(name: str) -> tuple[Path, str, str | None]:
    """Folder with configuration and tokenizer of a hub model, its commit and its licence."""
    from huggingface_hub import HfApi, snapshot_download

    login = "it is private or gated (hf auth login)"
    with hub_errors(f"{name}: the hub has no such model, {login}"):
        info = HfApi().model_info(name)
        folder = snapshot_download(name, revision=info.sha, allow_patterns=FETCHED)
    license = info.card_data.get("license") if info.card_data else None
    known = isinstance(license, str) and re.fullmatch("[a-z0-9][a-z0-9.-]*", license)
    return Path(folder), str(info.sha), license if known else None


def _family(name: str, config: dict[str, Any]) -> str:
    kind = str(config.get("model_type"))
    if kind.startswith("trimllm_") or config.get("quantization_config"):
        raise UserError(
            f"{name} is trimmed or compressed; start from the model that it was made from"
        )
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"{name}: family {kind!r} cannot be trimmed (those of {known} can)")
    return kind


def _size(folder: Path) -> tuple[int, int, int]:
    """Blocks, parameters (tied ones once) and tokens by the configuration alone."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    parameters = sum(one.numel() for one in model.parameters())
    return config.num_hidden_layers, parameters, config.vocab_size
