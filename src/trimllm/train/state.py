"""State of a training on disk, by which a killed one goes on with the bytes of one that was not.

A pass begins with an optimizer of its own and draws by its number: after a pass the trained weights
are all that the next one needs (`RunState`); inside one, its moments and random states too
(`PassState`). Safetensors and JSON only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from more_itertools import constrained_batches
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from trimllm.base import files
from trimllm.base.names import STATE_EVERY

MAX_OVERHEAD = 0.05
"""Share of the time that keeping states inside a pass may take."""
PIECE = 1 << 30
"""Bytes of a state in one file, but for a tensor that has more: what lies on a GPU is never in the
host's memory as a whole."""
STEPS = 16
"""Optimizer steps between two looks at the clock."""

Losses = list[tuple[float, int]]
"""Of each step: summed loss of the answers' tokens, and how many these are."""


def world() -> tuple[int, int]:
    """Rank of this process and number of processes that train together."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, which several may share."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@dataclass
class PassState:
    """A folder in which a pass keeps its state every few minutes.

    Args:
        identity: of the training and the pass; another one's state is ignored.
        every: seconds between two states; 0 keeps one whenever it can.
    """

    folder: Path
    identity: str
    every: float = STATE_EVERY
    last: float = field(default_factory=time.monotonic)
    took: float = 0.0

    @torch.no_grad()
    def restore(
        self, named: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> tuple[Losses, float]:
        """Put weights, moments and random states back; losses of the steps done, their seconds."""
        rank, size = world()
        done = self.folder / "inside.json"
        content = files.read_json(done) if done.is_file() else {}
        if content.get("identity") != self.identity or content["processes"] != size:
            return [], 0.0
        for path in sorted(self.folder.glob(f"inside-{content['step']}-{rank}.*.safetensors")):
            for key, value in load_file(path).items():
                kind, name, *moment = key.split(":")
                if kind == "random":
                    (torch.cuda if name == "cuda" else torch).set_rng_state(value)
                elif kind == "weight":
                    local(named[name]).copy_(value)
                else:
                    optimizer.state[named[name]][moment[0]] = _moment(kind, named[name], value)
        return [(loss, count) for loss, count in content["losses"]], content["seconds"]

    def save(
        self,
        named: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        losses: Losses,
        seconds: float,
    ) -> None:
        """Keep the state if the last one is long ago. All processes call this alike."""
        begun = time.monotonic()
        wait = self.every and max(self.every, self.took / MAX_OVERHEAD)
        if len(losses) % STEPS or not _agreed(begun - self.last >= wait, of_first=True):
            return
        rank, size = world()
        written = _tried(
            lambda: _write(self.folder / f"inside-{len(losses)}-{rank}", _state(named, optimizer))
        )
        if _agreed(written):
            content = {"identity": self.identity, "processes": size, "step": len(losses)}
            if rank == 0:
                content |= {"losses": losses, "seconds": seconds}
                files.write_json(self.folder / "inside.json", content)
            _agreed(True)  # nobody removes what inside.json named before
            for path in self.folder.glob(f"inside-*-{rank}.*"):
                if not path.name.startswith(f"inside-{len(losses)}-"):
                    path.unlink()
        self.last = time.monotonic()
        self.took = self.last - begun


@dataclass
class RunState:
    """A folder with what a training of several passes has done, kept after every pass.

    Args:
        identity: hash of the training; called only when a state is read or written.
        every: see `PassState`.
    """

    folder: Path
    identity: Callable[[], str]
    every: float = STATE_EVERY
    whole: set[int] = field(default_factory=set)  # passes whose weights are written

    def inside(self, number: int) -> PassState:
        """Where pass `number` keeps its state."""
        return PassState(self.folder, f"{self.identity()} pass {number}", self.every)

    def read(self) -> tuple[dict[str, Any], dict[int, dict[str, Tensor]]] | None:
        """What `keep` wrote last: content, and weights by pass; None of another training."""
        done = self.folder / "passes.json"
        content = files.read_json(done) if done.is_file() else {}
        if content.get("identity") != self.identity():
            return None
        self.whole = {*content["weights"]}
        return content, {number: self._load(number) for number in self.whole}

    def keep(self, content: dict[str, Any], weights: Mapping[int, dict[str, Tensor]]) -> None:
        """Keep a state, with the trained weights after some passes, by number."""

        def write() -> None:
            for number, tensors in weights.items():
                if number not in self.whole:
                    _write(self.folder / f"pass-{number}", tensors)
            self.whole = {*weights}
            passes = {"identity": self.identity(), "weights": sorted(weights), **content}
            files.write_json(self.folder / "passes.json", passes)
            for path in self.folder.glob("*.*"):
                stem = path.name.partition(".")[0].removeprefix("pass-")
                if path.name != "passes.json" and stem not in map(str, weights):
                    path.unlink()

        _tried(write)

    def _load(self, number: int) -> dict[str, Tensor]:
        parts = sorted(self.folder.glob(f"pass-{number}.*.safetensors"))
        return {key: value for path in parts for key, value in load_file(path).items()}


def _agreed(value: bool, of_first: bool = False) -> bool:
    """Whether a value is true in all processes, or in the first one."""
    rank, size = world()
    if size == 1:
        return value
    false = torch.tensor(0 if value or (of_first and rank) else 1)
    dist.all_reduce(false)
    return not false.item()


def _tried(write: Callable[[], None]) -> bool:
    """Whether a state was written: without one a killed training begins anew, and no more."""
    try:
        write()
    except (OSError, SafetensorError) as error:
        print(f"warning: the state of training is not kept: {error}", file=sys.stderr)
        return False
    return True


def _state(
    named: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """This process's part of weights and moments, and its random states; nothing is copied."""
    state = {"random:cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        state["random:cuda"] = torch.cuda.get_rng_state()
    for name, parameter in named.items():
        state[f"weight:{name}"] = local(parameter.detach())
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                state[f"moment:{name}:{key}"] = local(value.detach())
            else:  # a number of steps
                state[f"number:{name}:{key}"] = torch.tensor(value)
    return state


def _moment(kind: str, parameter: nn.Parameter, value: Tensor) -> Any:
    """What an optimizer keeps of a parameter, where the parameter's own part lies."""
    if kind == "number":
        return value.item()
    mine = local(parameter)
    if not isinstance(parameter, DTensor) or value.shape != mine.shape:
        return value.to(mine.device)
    moment = torch.zeros_like(parameter, dtype=value.dtype)
    local(moment).copy_(value)
    return moment


def _write(stem: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors files STEM.0000, ..., each atomically."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    pieces = constrained_batches(
        tensors.items(), PIECE, get_len=lambda item: item[1].nbytes, strict=False
    )
    for number, piece in enumerate(pieces):
        path = Path(f"{stem}.{number:04}.safetensors")
        temporary = path.with_suffix(".tmp")
        save_file(_apart(piece), temporary)
        os.replace(temporary, path)


def _apart(piece: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors that share no memory, which the format requires: an 8-bit optimizer's tables are one
    for all weights."""
    apart, seen = dict[str, Tensor](), set[int]()
    for key, value in piece:
        apart[key] = value.clone() if value.data_ptr() in seen else value.contiguous()
        seen.add(value.data_ptr())
    return apart
