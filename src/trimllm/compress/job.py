"""What a compressor is given, what it gives back, and what `run` has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import store
from trimllm.checkpoint.stock import layers_prefix, missing_modules, strip, to_stock
from trimllm.compress.calibration import equal_blocks, pack
from trimllm.compress.external import run_engine


@dataclass(frozen=True)
class CompressSettings:
    """How to compress.

    Attributes:
        group_size: weights that share a scale in the four-bit formats.
        max_tokens: tokens of a calibration text; longer ones are cut.
        min_texts: calibration texts below which a compressor that needs them refuses to work.
        kept: share of the units' parameters that structured pruning keeps.
        seed: of what an engine draws at random.
        threads: of the engine.
        device: "cpu" or "cuda".
        python: interpreter of an engine that has an environment of its own.
    """

    group_size: int = 64
    max_tokens: int = 512
    min_texts: int = 8
    kept: float = 0.5
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    python: Path | None = None


@dataclass
class Compressed:
    """Tensors of a checkpoint by name, surviving units only, and what changes in its config."""

    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the record says besides."""


@dataclass
class CompressJob:
    """A dense model in float32, plain or trimmed, and what to calibrate it with."""

    model: nn.Module
    tokenizer: Any
    texts: Sequence[str]
    engine: str
    settings: CompressSettings
    workspace: Path
    """An empty folder for what an engine writes in between."""

    def encoded(self) -> list[list[int]]:
        """Token ids of every text. `UserError` where none has any."""
        longest = self.settings.max_tokens
        found = [self.tokenizer(text).input_ids[:longest] for text in self.texts]
        if not any(found):
            raise UserError("the calibration texts hold no tokens; give real texts")
        return found

    def rows(self) -> list[Tensor]:
        """The texts end to end in long rows, each (1, tokens)."""
        return pack(self.encoded(), self.settings.max_tokens)

    def stock(self) -> nn.Module:
        """The model as a stock one: engines know no others."""
        return to_stock(self.model, self.settings.seed)

    def missing(self) -> list[str]:
        """Names of the stock model's modules that the model itself lacks."""
        return missing_modules(self.model)

    def write(self, model: nn.Module) -> Path:
        """A model as a checkpoint in the workspace, for an engine that reads one."""
        dense = self.workspace / "dense"
        dense.mkdir()
        store.write(model, self.tokenizer, dense)
        return dense

    def by_worker(self) -> Compressed:
        """What an engine in an environment of its own makes of the stock model."""
        blocks = equal_blocks(self.encoded(), self.settings.max_tokens)
        dense = self.write(self.stock())
        made, report = run_engine(self.engine, dense, blocks, self.workspace, self.settings)
        found = read_made(made, self.missing())
        found.facts = {"engine_run": report}
        return found


@dataclass(frozen=True)
class Method:
    """A compressor. Its file, named as in `METHODS`, calls it `METHOD`.

    Attributes:
        compress: makes the compressed tensors.
        plain_: the yardstick: changes a dense model in place, the plainest way to the same size.
        yardstick: its name.
        margin: nats a token by which a checkpoint may be worse than its yardstick on held-back
            answers; a corrupt one is worse by nats.
        calibrated: whether it looks at texts.
        grouped: whether weights share scales in groups of `group_size`, which must fit.
    """

    compress: Callable[[CompressJob], Compressed]
    plain_: Callable[[nn.Module, CompressSettings], None]
    yardstick: str
    margin: float
    calibrated: bool = True
    grouped: bool = False


def linear_names(model: nn.Module, missing: Sequence[str] = ()) -> list[str]:
    """Names of the linear layers inside the decoder layers: all that compressors change.

    Args:
        missing: modules whose own are left out: stand-ins for missing units.
    """
    prefix, gone = layers_prefix(model) + ".", tuple(f"{name}." for name in missing)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(prefix) and not name.startswith(gone)
    ]


def other_linears(model: nn.Module, missing: Sequence[str] = ()) -> list[str]:
    """Names of all other linear layers: head, OPT's projections, and the stand-ins' own."""
    changed = set(linear_names(model, missing))
    linears = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return [name for name in linears if name not in changed]


@torch.no_grad()
def change_linears_(model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Replace the (out, in) weight of every linear layer that compressors change, in place."""
    for name in linear_names(model):
        weight = model.get_submodule(name).weight
        weight.copy_(change(weight.float()))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of a model on the CPU, tied ones once (llmcompressor unties them by itself)."""
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    one = head.weight.data_ptr() == embeddings.weight.data_ptr()
    if one or getattr(model.config, "tie_word_embeddings", False):
        for name in model._tied_weights_keys or {}:
            state.pop(name, None)
    return state


def read_made(folder: Path, missing: Sequence[str]) -> Compressed:
    """Surviving tensors and quantization config of a stock checkpoint that an engine wrote."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    config = files.read_json(folder / "config.json")
    found = config["quantization_config"]
    # Where single modules were left out does not matter once they are gone.
    found.pop("dynamic", None)
    found.get("meta", {}).pop("offload_to_disk_path", None)
    if config.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    return Compressed(strip(tensors, missing), {"quantization_config": found})
