"""A model card beside a checkpoint: README.md as the Hugging Face hub reads it.

It tells what the model came from, which units are gone, and how each engine loads it. What only the
caller knows (`Facts`) is told where she says it, and left out where she does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from trimllm.base import files
from trimllm.base.kernels import method_of
from trimllm.base.names import GGUF_FAMILIES
from trimllm.sublayers.adapters import family_of

FILE = "README.md"
_PAPER = "[TrimLLM](https://arxiv.org/abs/2412.11242)"
_WIDTH = 80  # blocks in a line of the strip


@dataclass(frozen=True)
class Facts:
    """What a checkpoint itself does not say.

    Attributes:
        name: of the model; None takes its family's.
        base_model: the hub's name of what it was made from.
        base_label: the same in words, where the hub has none.
        license: the hub's name of the base model's licence.
        data: what it was trained on, in words, and under which licence.
        how: how it came to be (a recipe).
        measured: further lines: accuracy, speed.
    """

    name: str | None = None
    base_model: str | None = None
    base_label: str | None = None
    license: str | None = None
    data: str | None = None
    how: str | None = None
    measured: Sequence[str] = ()


def strip(config: dict[str, Any]) -> str | None:
    """The units of a trimmed model as a picture in text; None for a model that has all.

    A line for attention and one for MLP, a place for each block of the full model: # is there, a
    point is gone.
    """
    if not (kept := config.get("units")):
        return None
    blocks, there = config["original_num_hidden_layers"], {(block, kind) for block, kind in kept}
    lines = []
    for first in range(0, blocks, _WIDTH):
        part = range(first, min(blocks, first + _WIDTH))
        scale = "".join(f"{block:<10}" for block in part if block % 10 == 0)
        lines.append(f"{'block':<10}{scale}".rstrip())
        for kind, label in (("attention", "attention"), ("mlp", "MLP")):
            picture = "".join("#" if (block, kind) in there else "." for block in part)
            lines.append(f"{label:<10}{picture}")
    return "\n".join(lines)


def text(directory: Path, facts: Facts, how_to_load: str, library: str = "transformers") -> str:
    """The card of a checkpoint.

    Args:
        directory: of the checkpoint, whose config.json is read.
        how_to_load: Markdown.
        library: the hub's name of what loads it.
    """
    config = files.read_json(directory / "config.json")
    # Not the folder's: equal models have equal bytes, wherever they lie.
    kind = "Trimmed" if config.get("units") is not None else "Fine-tuned"
    name = facts.name or f"{kind} {family_of(config['model_type'])}"
    data = ModelCardData(
        base_model=facts.base_model,
        license=facts.license,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["trimllm", "layer-dropping", family_of(config["model_type"])],
    )
    parts = [f"---\n{data.to_yaml()}\n---\n", f"# {name}\n", _origin(facts, config)]
    if picture := strip(config):
        kept, whole = len(config["units"]), 2 * config["original_num_hidden_layers"]
        parts.append(
            f"## What is left\n\n{kept} of {whole} attention and MLP units (`#` is there, `.` was "
            f"dropped; where one is missing the residual stream passes unchanged):\n\n"
            f"```\n{picture}\n```\n"
        )
    if facts.measured:
        lines = "\n".join(f"- {line}" for line in facts.measured)
        parts.append(f"## Measured\n\n{lines}\n")
    parts.append(f"## How to load it\n\n{how_to_load}")
    return "\n".join(parts)


def _origin(facts: Facts, config: dict[str, Any]) -> str:
    trimmed = config.get("units") is not None
    base = facts.base_model or facts.base_label or "another model"
    made = f"made by {_PAPER} from {base}" if trimmed else f"made from {base}"
    lines = [
        f"A {config['num_hidden_layers']}-block {family_of(config['model_type'])} model, {made}."
    ]
    if facts.how:
        lines.append(f"Recipe: `{facts.how}`.")
    if facts.data:
        lines.append(f"Data: {facts.data}.")
    if facts.license:
        lines.append(f"Licence of the base model: {facts.license}.")
    return " ".join(lines) + "\n"


def loading(config: dict[str, Any]) -> str:
    """How a checkpoint is loaded by each engine, Markdown."""
    lines = [
        "```python",
        "import trimllm",
        'model, tokenizer = trimllm.load("PATH")',
        "```",
        "",
    ]
    if method := method_of(config):
        told = (
            f"Its weights are compressed ({method}): `trimllm.load` finds kernels that read them, "
            "on a CPU as well. For another engine, export what it was compressed from."
        )
        return "\n".join([*lines, told, ""])
    if config.get("units") is None:
        return "\n".join([*lines, "It is a stock checkpoint: any engine reads it.", ""])
    gguf = [
        '- **llama.cpp**: `trimllm.export("PATH", "gguf_q8_0")`, then '
        "`llama-server -m PATH-gguf_q8_0/model-Q8_0.gguf`"
    ]
    return "\n".join(
        [
            *lines,
            "- **transformers**, without `trimllm` installed (its code lies beside the weights): "
            '`AutoModelForCausalLM.from_pretrained("PATH", trust_remote_code=True)`',
            *(gguf if family_of(config["model_type"]) in GGUF_FAMILIES else ()),
            "- **vLLM**, without `trimllm` installed: `vllm serve PATH --trust-remote-code`",
            '- **anything else**: `trimllm.export("PATH", "padded")`, a stock model of full size',
            "",
        ]
    )


def write(
    directory: str | Path,
    facts: Facts,
    how_to_load: str | None = None,
    library: str = "transformers",
) -> None:
    """Write the card of a checkpoint into its folder."""
    directory = Path(directory)
    said = how_to_load or loading(files.read_json(directory / "config.json"))
    files.write_text(directory / FILE, text(directory, facts, said, library))
