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
    """A model as the configuration describes it, and the folder with its tokenizer."""

    name: str
    label: str
    family: str
    blocks: int
    parameters: int
    source: dict[str, str]
    base_model: str | None
    license: str | None
    folder: Path

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
            gguf = " (a GGUF file is no checkpoint)" if any(folder.glob("*.gguf")) else ""
            raise UserError(f"{folder} holds no weights: no safetensors file{gguf}")
    elif folder.exists() or not HUB_ID.fullmatch(name):
        raise UserError(f"{name}: no such folder, and no OWNER/NAME of the hub")
    else:
        folder, revision, license = _fetch(name)
        source, base = {"hub": name, "revision": revision}, name
    if not (folder / "config.json").is_file():
        raise UserError(f"{name} holds no model: it has no config.json")
    family = _family(name, files.read_json(folder / "config.json"))
    with _readable(
        f"{name} has no tokenizer that can be read",
        "; save it beside the model: tokenizer.save_pretrained(FOLDER)",
    ):
        from trimllm.checkpoint.store import load_tokenizer

        load_tokenizer(folder)
    with _readable(f"{name} cannot be built from its config.json"):
        blocks, parameters = _size(folder)
    slug = re.sub(r"[^a-z0-9._-]+", "-", Path(name).name.lower()).strip("-._") or "model"
    label = Path(name).name or slug
    return Model(slug, label, family, blocks, parameters, source, base, license, folder)


@contextmanager
def of_hub(absent: str) -> Iterator[None]:
    """Turn the errors of the hub's client into one line; `absent` says what is not there."""
    import httpx
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        yield
    except GatedRepoError:
        name = absent.partition(":")[0]
        raise UserError(
            f"{name} is gated: accept its terms at https://huggingface.co/{name} and log in "
            "(hf auth login)"
        ) from None
    except (OSError, ValueError, HfHubHTTPError, httpx.HTTPError) as error:
        raise UserError(f"{absent}, or it cannot be reached ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def _readable(problem: str, remedy: str = "") -> Iterator[None]:
    """Turn whatever transformers raises into one line."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{problem} ({_first_line(error)}){remedy}") from None


def _fetch(name: str) -> tuple[Path, str, str | None]:
    """Folder with configuration and tokenizer of a hub model, its commit and its licence."""
    from huggingface_hub import HfApi, snapshot_download

    with of_hub(f"{name}: the hub has no such model, it is private (hf auth login)"):
        info = HfApi().model_info(name)
        if info.gated:
            HfApi().auth_check(name)
        folder = snapshot_download(name, revision=info.sha, allow_patterns=FETCHED)
    license = (info.card_data.to_dict() if info.card_data else {}).get("license")
    known = isinstance(license, str) and re.fullmatch("[a-z0-9][a-z0-9.-]*", license)
    return Path(folder), str(info.sha), license if known else None


def _family(name: str, config: dict[str, Any]) -> str:
    kind = str(config.get("model_type"))
    if kind.startswith("trimllm_"):
        raise UserError(f"{name} is trimmed already; start from the model that it was made from")
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"{name}: family {kind!r} cannot be trimmed (those of {known} can)")
    if config.get("quantization_config"):
        raise UserError(f"{name} is compressed; start from the model that it was made from")
    return kind


def check_vocabulary(model: Model) -> None:
    """Raise `UserError` for a tokenizer that a GGUF file cannot hold."""
    from trimllm.checkpoint.store import load_tokenizer
    from trimllm.exporting.gguf_file import vocabulary

    size = files.read_json(model.folder / "config.json")["vocab_size"]
    try:
        vocabulary(load_tokenizer(model.folder), size)
    except UserError as error:
        raise UserError(f"{model.label}: {error}; take --format padded") from None


def _size(folder: Path) -> tuple[int, int]:
    """Blocks and parameters (tied ones once) by the configuration alone."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    return config.num_hidden_layers, sum(one.numel() for one in model.parameters())
