"""The model card of a checkpoint: README.md as the Hugging Face hub reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from trimllm.base import files
from trimllm.base.kernels import method_of
from trimllm.base.names import GGUF_FAMILIES
from trimllm.sublayers import family_of

FILE = "README.md"
SUBLAYERS = """## Sublayers

{kept} of {all} attention and MLP sublayers are left (`#`).
Where one was dropped (`.`) the residual stream passes unchanged.

```
{picture}
```"""
LOADING = """```python
import trimllm
model, tokenizer = trimllm.load("PATH")
```

"""
COMPRESSED = """Its weights are compressed ({}); `trimllm.load` finds kernels that read them,
on a CPU too. For another engine export the checkpoint that was compressed."""
GGUF = """- **llama.cpp**: `trimllm.export("PATH", "gguf_q8_0")`, then
  `llama-server -m PATH-gguf_q8_0/model-Q8_0.gguf`
"""
ENGINES = """- **transformers** without `trimllm` (its code lies beside the weights):
  `AutoModelForCausalLM.from_pretrained("PATH", trust_remote_code=True)`
- **vLLM** without `trimllm`: `vllm serve PATH --trust-remote-code`
- **others**: `trimllm.export("PATH", "padded")`, a stock model of full size"""


@dataclass(frozen=True)
class Facts:
    """Content of a card that the checkpoint does not have."""

    name: str | None = None  # of the model; None takes its family's
    base_model: str | None = None  # the hub's name of the base model
    base_label: str | None = None  # the base model in words, if the hub does not have it
    license: str | None = None  # the hub's name of the base model's licence
    data: str | None = None  # training data in words, and its licence
    how: str | None = None  # the recipe
    measured: Sequence[str] = ()  # further lines: accuracy, speed


def strip(config: dict[str, Any]) -> str | None:
    """The sublayers of a trimmed model as text, one column a block; None for a full model."""
    if not (kept := config.get("units")):
        return None
    blocks, left = range(config["original_num_hidden_layers"]), set(map(tuple, kept))
    lines = [f"{'block':<10}{''.join(f'{block:<10}' for block in blocks[::10])}".rstrip()]
    for kind, label in (("attention", "attention"), ("mlp", "MLP")):
        lines.append(f"{label:<10}{''.join('.#'[(block, kind) in left] for block in blocks)}")
    return "\n".join(lines)


def loading(config: dict[str, Any]) -> str:
    """How each engine loads a checkpoint, Markdown."""
    if method := method_of(config):
        return LOADING + COMPRESSED.format(method)
    if config.get("units") is None:
        return LOADING + "It is a stock checkpoint: any engine reads it."
    gguf = GGUF if family_of(config["model_type"]) in GGUF_FAMILIES else ""
    return LOADING + gguf + ENGINES


def write(
    directory: str | Path, facts: Facts, usage: str | None = None, library: str = "transformers"
) -> None:
    """Write the card of a checkpoint into its folder; `usage` is Markdown in place of `loading`,
    `library` the hub's name of the library that loads it."""
    config = files.read_json(Path(directory) / "config.json")
    family, picture = family_of(config["model_type"]), strip(config)
    data = ModelCardData(
        base_model=facts.base_model,
        license=facts.license,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["trimllm", "layer-dropping", family],
    )
    by = " by [TrimLLM](https://arxiv.org/abs/2412.11242)" if picture else ""
    base = facts.base_model or facts.base_label or "another model"
    text = f"A {config['num_hidden_layers']}-block {family} model, made{by} from {base}."
    text += f" Recipe: `{facts.how}`." if facts.how else ""
    text += f" Data: {facts.data}." if facts.data else ""
    text += f" Licence of the base model: {facts.license}." if facts.license else ""
    # Not the folder's name: equal models have equal bytes, whatever their folder.
    name = facts.name or f"{'Trimmed' if picture else 'Fine-tuned'} {family}"
    parts = [f"---\n{data}\n---", f"# {name}", text]
    if picture:
        count = {"kept": len(config["units"]), "all": 2 * config["original_num_hidden_layers"]}
        parts.append(SUBLAYERS.format(picture=picture, **count))
    if facts.measured:
        parts += ["## Measured", "\n".join(f"- {line}" for line in facts.measured)]
    parts += ["## How to load it", usage or loading(config)]
    files.write_text(Path(directory) / FILE, "\n\n".join(parts).rstrip() + "\n")
