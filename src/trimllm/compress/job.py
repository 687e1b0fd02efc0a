"""What a compressor gets and gives back, and how engines are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.workers import environment, python_of, run_worker
from trimllm.checkpoint import store
from trimllm.checkpoint.stock import layers_prefix, missing_modules, strip, to_stock
from trimllm.compress.methods import EXTERNAL, CompressSettings


@dataclass
class Compressed:
    """Tensors of a checkpoint by name, surviving sublayers only, and changed keys of its config."""

    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # for the record


@dataclass
class CompressJob:
    """A dense model in float32 on the host, plain or trimmed, and what to calibrate it with.

    A compressor may change the model; its weights exist once.
    """

    model: nn.Module
    tokenizer: Any
    texts: Sequence[str]
    engine: str
    settings: CompressSettings
    workspace: Path  # an empty folder for intermediate files

    def rows(self) -> Tensor:
        """The texts end to end, cut into rows of one length, (rows, at most `max_tokens`).

        Statistics of linear layers' inputs need no whole texts, and engines want equal lengths.
        Fewer tokens than there are rows are lost. `UserError` if there are no tokens.
        """
        ids = torch.tensor([i for text in self.texts for i in self.tokenizer(text).input_ids])
        if not len(ids):
            raise UserError("the calibration texts hold no tokens; give real texts")
        count = -(-len(ids) // self.settings.max_tokens)
        return ids[: len(ids) // count * count].view(count, -1)

    def stock(self) -> tuple[nn.Module, list[str]]:
        """The model as a stock one of the same weights, and the modules that it lacks."""
        return to_stock(self.model, self.settings.seed), missing_modules(self.model)

    def write(self, model: nn.Module) -> Path:
        """Write a model for an engine that reads checkpoints, and free its weights."""
        dense = self.workspace / "dense"
        dense.mkdir()
        store.write(model, self.tokenizer, dense)
        model.to("meta")
        self.model.to("meta")
        return dense

    def by_worker(self) -> Compressed:
        """The stock model compressed by an engine in an environment of its own."""
        stock, missing = self.stock()
        (output := self.workspace / "output").mkdir()
        settings = self.settings
        variables = environment(settings.threads, isolated=True)
        if settings.device == "cpu":  # the engines take a GPU wherever they see one
            variables["CUDA_VISIBLE_DEVICES"] = ""
        report = run_worker(
            Path(__file__).with_name("external_worker.py"),
            {
                "engine": self.engine,
                "dense": str(self.write(stock)),
                "rows": self.rows().tolist(),
                "output": str(output),
                **{name: getattr(settings, name) for name in ("group_size", "device", "seed")},
            },
            name=self.engine,
            python=python_of(EXTERNAL[self.engine], "envs"),
            variables=variables,
        )
        return read_output(output, missing, {"engine_run": report})

    def one_shot(self, stock: nn.Module, recipe: list[Any]) -> dict[str, Tensor]:
        """Run a recipe of llmcompressor on a stock model; returns its tensors, the model is empty.

        The model stays on the host; the block at work visits the job's device.
        """
        from compressed_tensors.offload import remove_dispatch
        from compressed_tensors.utils import patch_attr
        from llmcompressor import active_session, oneshot
        from llmcompressor.pipelines.cache import IntermediatesCache
        from llmcompressor.pipelines.sequential import pipeline
        from loguru import logger

        logger.disable("llmcompressor")
        device = torch.device(self.settings.device)
        rows = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in self.rows()]
        with ExitStack() as stack:
            # It has no argument for the device: it takes the first GPU wherever there is one.
            stack.enter_context(patch_attr(pipeline, "get_main_device", lambda: device))
            if device.type == "cpu":  # pinned memory is a GPU's; without one torch raises
                stack.enter_context(patch_attr(IntermediatesCache, "pin_memory", lambda *_: None))
            stack.callback(lambda: active_session().reset())  # it would keep the model
            oneshot(
                model=stock,
                processor=self.tokenizer,
                dataset=torch.utils.data.DataLoader(rows, batch_size=1),
                recipe=recipe,
                num_calibration_samples=len(rows),
                pipeline="sequential",
            )
        remove_dispatch(stock)
        tensors = stock.state_dict()
        # torch.fx, which llmcompressor traces blocks with, never lets go of a traced model.
        stock.to("meta")
        return tensors


def linear_names(model: nn.Module, missing: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Names of the linear layers that compressors change, and of all others.

    The former are those in decoder layers, except what `missing` names.
    """
    prefix, gone = layers_prefix(model) + ".", tuple(f"{name}." for name in missing)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    # OPT's MLP is two layers, each missing under its own name.
    changed = [n for n in linears if n.startswith(prefix) and not f"{n}.".startswith(gone)]
    return changed, [name for name in linears if name not in changed]


@torch.no_grad()
def change_linears_(model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Replace the (out, in) weight of every linear layer that compressors change, in place."""
    for name in linear_names(model)[0]:
        weight = model.get_submodule(name).weight
        weight.copy_(change(weight.float()))


def read_output(
    folder: Path, missing: Sequence[str], facts: dict[str, Any] | None = None
) -> Compressed:
    """Surviving tensors and quantization config of a stock checkpoint that an engine wrote."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    config = files.read_json(folder / "config.json")["quantization_config"]
    # Skipped modules do not matter once they are gone, nor do folders of this run.
    config.pop("dynamic", None)
    config.get("meta", {}).pop("offload_to_disk_path", None)
    return Compressed(strip(tensors, missing), {"quantization_config": config}, facts or {})
