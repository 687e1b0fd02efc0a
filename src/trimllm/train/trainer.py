"""Who trains the passes of a training: this process, or several of torchrun's, a launch a pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import materialize, release, stream_of
from trimllm.data import Document
from trimllm.data.document import write_documents
from trimllm.sublayers import units
from trimllm.train.loop import train_pass
from trimllm.train.place import set_trainable
from trimllm.train.settings import PassRecord, TrainSettings
from trimllm.train.state import PassState
from trimllm.train.teacher import Teacher


@dataclass
class Trainer:
    """Trains in this process, where the model lies.

    Args:
        lean: see `train_pass`.
    """

    lean: bool = False
    processes: int = 1

    def train(
        self,
        model: nn.Module,
        tokenizer: Any,
        documents: Sequence[Document],
        settings: TrainSettings,
        **options: Any,
    ) -> PassRecord:
        """Train one pass in place; arguments as for `train_pass`."""
        return train_pass(model, tokenizer, documents, settings, lean=self.lean, **options)

    def trained(
        self, model: nn.Module, blocks: Iterable[int] | None, settings: TrainSettings
    ) -> dict[str, Tensor]:
        """A copy in host memory of the weights that a pass changes, float32."""
        changed = {id(p) for p in set_trainable(model, blocks, settings.train_embeddings)}
        model.requires_grad_(False)
        named = model.named_parameters()
        return {name: p.detach().to("cpu", copy=True) for name, p in named if id(p) in changed}

    def restore(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        """Give a model the weights that `trained` returned after an earlier pass."""
        materialize(model, torch.float32)
        for name, parameter in model.named_parameters():
            if name in weights:
                parameter.data = weights[name].to(parameter.device, copy=True)


@dataclass(frozen=True)
class PassJob:
    """A pass as each of several processes reads it, `torchrun -m trimllm.train JOB.json`."""

    checkpoint: str  # directory of the model that the training began with
    documents: str  # file of the documents of this pass
    settings: dict[str, Any]  # of `TrainSettings`
    label: str
    output: str  # file of trained weights to write; its record goes beside it
    blocks: list[int] | None = None  # to train; None trains all
    units: list[tuple[int, str]] | None = None  # that are left, block and kind; None: all
    trained: str | None = None  # file of weights that earlier passes trained
    epoch: int = 0
    epochs: int = 1
    teacher: str | None = None  # file of a `Teacher`
    state: tuple[str, str, float] | None = None  # folder, identity, every: of `PassState`
    device: str = "cpu"
    threads: int = 1
    batches: int = 1  # of an optimizer step that run as one
    offload: bool = False
    gradient_checkpointing: bool = False


@dataclass
class Torchrun(Trainer):
    """Trains in several processes of this machine, each with a GPU of its own on "cuda".

    The parent keeps a streamed model, to scan and to score, and holds no weights while they train.

    Args:
        checkpoint: directory that the model was streamed from.
        folder: of files that the processes and the parent exchange.
        options: further fields of `PassJob`.
    """

    checkpoint: str = ""
    folder: Path = Path()
    options: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # of memory, by process

    def train(
        self,
        model: nn.Module,
        tokenizer: Any,
        documents: Sequence[Document],
        settings: TrainSettings,
        *,
        blocks: Iterable[int] | None = None,
        teacher: Teacher | None = None,
        state: PassState | None = None,
        **options: Any,
    ) -> PassRecord:
        """A pass, by one launch of torchrun. Raises `UserError` for what a process met."""
        if teacher is not None and teacher.path is None:
            raise UserError("several processes read a teacher from a file; save and load it")
        release(model)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_documents(self.folder / "documents.jsonl", documents)
        output, before = self.folder / "output.safetensors", self.folder / "trained.safetensors"
        job = PassJob(
            checkpoint=self.checkpoint,
            units=[(unit.block, unit.kind) for unit in units(model)],
            trained=str(before) if before.is_file() else None,
            blocks=None if blocks is None else list(blocks),
            documents=str(self.folder / "documents.jsonl"),
            settings=asdict(settings),
            output=str(output),
            teacher=str(teacher.path) if teacher is not None else None,
            state=(str(state.folder), state.identity, state.every) if state is not None else None,
            **self.options,
            **options,
        )
        files.write_json(self.folder / "job.json", asdict(job))
        launch(self.folder / "job.json", self.processes)
        result = files.read_json(output.with_suffix(".json"))
        self.facts = result["processes"]
        output.replace(before)
        self._show(model, load_file(before))
        return PassRecord(**result["pass"])

    def trained(
        self, model: nn.Module, blocks: Iterable[int] | None, settings: TrainSettings
    ) -> dict[str, Tensor]:
        return load_file(self.folder / "trained.safetensors")

    def restore(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "trained.tmp"
        save_file(weights, temporary)
        temporary.replace(self.folder / "trained.safetensors")
        self._show(model, weights)

    def _show(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        """Let the streamed model read trained weights in place of the checkpoint's."""
        stream = stream_of(model)
        assert stream is not None
        stream.release()
        stream.weights.overlay(weights)
        stream.fill(stream.reader(stream.dtype), units=False)


def launch(job: Path, count: int) -> None:
    """Run a `PassJob` in `count` processes by PyTorch's launcher, whose agent in this process ends
    all when one fails.

    Raises:
        UserError: in one line, what a process raised.
        RuntimeError: a process failed in another way; its traceback was printed.
    """
    error_file = job.with_name("error.json")
    error_file.unlink(missing_ok=True)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        # All processes are on this machine: nothing needs to find the name of its network.
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        shutdown_timeout=10,
        # An interrupt stays Python's own. Processes end with this one in any case.
        signals_to_handle="SIGTERM",
        # What processes print goes where this one prints, marked with their number.
        logs_specs=DefaultLogsSpecs(log_dir=str(job.with_name("logs")), tee=Std.ALL),
        log_line_prefix_template="${rank}: ",
    )
    try:
        elastic_launch(config, sys.executable)("-m", "trimllm.train", str(job), str(os.getpid()))
    except ChildFailedError as error:
        if error_file.is_file():
            raise UserError(files.read_json(error_file)) from None
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        end = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        hint = "; was there enough memory?" if code == -9 else ""
        raise RuntimeError(f"training process {rank} of {count} {end}{hint}") from None
