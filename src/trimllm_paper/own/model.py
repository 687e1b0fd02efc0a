"""Inspect a model, in a folder or on the hub (configuration and tokenizer are fetched): can it be
trimmed, and how large is it?"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.names import FAMILIES
from trimllm_paper.fetch import hub_errors

FETCHED = ["config.json", "*token*", "vocab*", "merges.txt", "spiece.model"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Parameters up to which ten times the authors' learning rate is best; by five times as much
# Qwen2.5-Coder-0.5B ends below where it began.
SMALL = 3e8


class Model(NamedTuple):
    """A model as the configuration describes it, with its tokenizer."""

    name: str
    label: str
    family: str
    blocks: int
    parameters: int  # tied ones once
    source: dict[str, str]
    license: str | None
    tokenizer: Any
    config: Any  # of transformers

    @property
    def learning_rate(self) -> float:
        """Peak."""
        return 2.0e-4 if self.parameters <= SMALL else 2.0e-5


def look(name: str) -> Model:
    """Inspect a model, a folder or OWNER/NAME on the hub.

    Raises `UserError`: there is none, it is gated, has no tokenizer or weights, is trimmed or
    compressed already, or of a family that cannot be trimmed.
    """
    folder = Path(name).expanduser()
    source, license = {"directory": str(folder)}, None
    if folder.is_dir():
        if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
            raise UserError(f"{folder} holds no weights: no safetensors file (GGUF cannot be read)")
    elif folder.exists() or not HUB_ID.fullmatch(name):
        raise UserError(f"{name}: no such folder, and no OWNER/NAME of the hub")
    else:
        folder, source, license = _fetch(name)
    if not (folder / "config.json").is_file():
        raise UserError(f"{name} holds no model: it has no config.json")
    content = files.read_json(folder / "config.json")
    family = str(content.get("model_type"))
    if family.startswith("trimllm_") or content.get("quantization_config"):
        raise UserError(
            f"{name} is trimmed or compressed; start from the model that it was made from"
        )
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"{name}: family {family!r} cannot be trimmed (those of {known} can)")
    import torch  # needed by this command alone
    from transformers import AutoConfig, AutoModelForCausalLM

    from trimllm.checkpoint.store import load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
    except Exception as error:  # whatever transformers raises
        raise UserError(
            f"{name} has no tokenizer that can be read ({error}); save it beside the "
            "model: tokenizer.save_pretrained(FOLDER)"
        ) from None
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):  # without weights
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    parameters = sum(one.numel() for one in model.parameters())
    label, blocks = Path(name).name or "model", config.num_hidden_layers
    about = source, license, tokenizer, config
    return Model(as_name(label, "model"), label, family, blocks, parameters, *about)


def as_name(text: str, default: str) -> str:
    """A text as a name in paths."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or default


def _fetch(name: str) -> tuple[Path, dict[str, str], str | None]:
    """Folder with configuration and tokenizer of a hub model, its source and its licence."""
    from huggingface_hub import HfApi, snapshot_download

    login = "it is private or gated (hf auth login)"
    with hub_errors(f"{name}: the hub has no such model, {login}"):
        info = HfApi().model_info(name)
        folder = snapshot_download(name, revision=info.sha, allow_patterns=FETCHED)
    license = info.card_data.get("license") if info.card_data else None
    known = isinstance(license, str) and re.fullmatch("[a-z0-9][a-z0-9.-]*", license)
    return Path(folder), {"hub": name, "revision": str(info.sha)}, license if known else None
