"""What a compressor is given, what it gives back, and what `run` has to know of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import store
from trimllm.checkpoint.stock import layers_prefix, missing_modules, strip, to_stock
from trimllm.compress.engines import CompressSettings, run_engine


@dataclass
class Compressed:
    """Tensors of a checkpoint by name, surviving units only, and what changes in its config."""

    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # what the record says besides


@dataclass
class CompressJob:
    """A dense model in float32 on the host, plain or trimmed, and what to calibrate it with."""

    model: nn.Module
    tokenizer: Any
    texts: Sequence[str]
    engine: str
    settings: CompressSettings
    workspace: Path  # an empty folder for what an engine writes in between

    def encoded(self) -> list[list[int]]:
        """Token ids of every text. `UserError` where none has any."""
        longest = self.settings.max_tokens
        found = [self.tokenizer(text).input_ids[:longest] for text in self.texts]
        if not any(found):
            raise UserError("the calibration texts hold no tokens; give real texts")
        return found

    def rows(self) -> list[dict[str, Tensor]]:
        """The texts end to end in long rows, each (1, tokens), with their masks."""
        rows = pack(self.encoded(), self.settings.max_tokens)
        return [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows]

    def stock(self) -> tuple[nn.Module, list[str]]:
        """The model as a stock one (engines know no others), and the modules that it lacks."""
        return to_stock(self.model, self.settings.seed), missing_modules(self.model)

    def write(self, model: nn.Module) -> Path:
        """A model as a checkpoint in the workspace, for an engine that reads one; it is hollow from
        then on."""
        dense = self.workspace / "dense"
        dense.mkdir()
        store.write(model, self.tokenizer, dense)
        model.to("meta")
        return dense

    def by_worker(self) -> Compressed:
        """What an engine in an environment of its own makes of the stock model."""
        blocks = equal_blocks(self.encoded(), self.settings.max_tokens)
        stock, missing = self.stock()
        dense = self.write(stock)
        made, report = run_engine(self.engine, dense, blocks, self.workspace, self.settings)
        return read_made(made, missing, {"engine_run": report})


@dataclass(frozen=True)
class Method:
    """A compressor. Its file, named as in `METHODS`, calls it `METHOD`."""

    compress: Callable[[CompressJob], Compressed]
    # The yardstick: changes a dense model in place, the plainest way to the same size.
    plain_: Callable[[nn.Module, CompressSettings], None]
    yardstick: str  # its name
    # Nats a token by which held-back answers may be worse; a corrupt checkpoint is worse by nats.
    margin: float
    calibrated: bool = True  # whether it looks at texts
    grouped: bool = False  # whether weights share scales in groups of `group_size`, which must fit


def pack(encoded: Sequence[Sequence[int]], row_tokens: int) -> list[Tensor]:
    """Texts end to end in rows of at most `row_tokens` tokens, each (1, tokens).

    Calibration looks at inputs of linear layers, of which a long row gives as many as several
    short ones, in larger matrix products. No text is cut.
    """
    rows: list[list[int]] = []
    for ids in encoded:
        if rows and len(rows[-1]) + len(ids) <= row_tokens:
            rows[-1].extend(ids)
        elif ids:
            rows.append(list(ids))
    return [torch.tensor([row]) for row in rows]


def equal_blocks(encoded: Sequence[Sequence[int]], longest: int) -> list[list[int]]:
    """Texts end to end, cut into blocks of one length, at most `longest` tokens.

    So that fewer tokens than there are blocks are lost.
    """
    ids = [one for text in encoded for one in text]
    count = -(-len(ids) // longest)
    length = len(ids) // count
    return [ids[at * length : (at + 1) * length] for at in range(count)]


def linear_names(model: nn.Module, missing: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Names of linear layers: those in decoder layers but `missing`, which compressors change, and
    all others."""
    prefix, gone = layers_prefix(model) + ".", tuple(f"{name}." for name in missing)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    inside = [name for name in linears if name.startswith(prefix)]
    # OPT's MLP is two layers, of which each is missing by its own name.
    changed = [name for name in inside if not f"{name}.".startswith(gone)]
    return changed, [name for name in linears if name not in changed]


@torch.no_grad()
def change_linears_(model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Replace the (out, in) weight of every linear layer that compressors change, in place."""
    for name in linear_names(model)[0]:
        weight = model.get_submodule(name).weight
        weight.copy_(change(weight.float()))


def one_shot(stock: nn.Module, job: CompressJob, recipe: list[Any]) -> None:
    """Run a recipe of llmcompressor on a stock model in place, block after block.

    The model stays on the host; the block at work visits the device.
    """
    from compressed_tensors.offload import remove_dispatch
    from llmcompressor import active_session, oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from loguru import logger

    logger.remove()
    logger.add(lambda line: print(line, end="", file=sys.stderr), level="WARNING")
    data = [{name: row[0] for name, row in rows.items()} for rows in job.rows()]
    pin = IntermediatesCache.pin_memory
    if job.settings.device == "cpu":  # pinned memory is a GPU's; without one torch raises
        IntermediatesCache.pin_memory = lambda *_args, **_kwargs: None
    try:
        oneshot(
            model=stock,
            processor=job.tokenizer,
            dataset=DataLoader(data, batch_size=1),
            recipe=recipe,
            num_calibration_samples=len(data),
            pipeline="sequential",
        )
    finally:
        IntermediatesCache.pin_memory = pin
        active_session().reset()  # it would keep the model
    remove_dispatch(stock)


def taken(stock: nn.Module) -> dict[str, Tensor]:
    """All tensors of a model, which is hollow from then on.

    torch.fx, by which llmcompressor finds the blocks, refers for ever to what it has traced.
    """
    tensors = stock.state_dict()
    stock.to("meta")
    return tensors


def read_made(
    folder: Path, missing: Sequence[str], facts: dict[str, Any] | None = None
) -> Compressed:
    """Surviving tensors and quantization config of a stock checkpoint that an engine wrote."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    found = files.read_json(folder / "config.json")["quantization_config"]
    # Where single modules were left out does not matter once they are gone.
    found.pop("dynamic", None)
    found.get("meta", {}).pop("offload_to_disk_path", None)
    return Compressed(strip(tensors, missing), {"quantization_config": found}, facts or {})
