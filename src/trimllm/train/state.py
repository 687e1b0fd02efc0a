"""State of a fine-tuning on disk, by which a killed one goes on with the bytes of one that was not.

A pass begins with an optimizer of its own and draws by its number: after a pass the trained weights
are all that the next one needs; inside one, its moments and random states too. Each process writes
its part, as safetensors; the first one writes what has been done, as JSON.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from more_itertools import constrained_batches
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from trimllm.base import files
from trimllm.train.processes import gathered, local, world

FILE = "state.json"
MAX_OVERHEAD = 0.05  # share of the time that saving inside a pass may take
# Bytes of a file, so that what lies on a GPU is never in the host's memory as a whole.
PIECE = 1 << 30

Trained = Mapping[str, nn.Parameter]
Losses = list[tuple[float, int]]
"""Of each optimizer step: summed loss of the answers' tokens, and how many these are."""


class State:
    """A folder that holds the state of a fine-tuning.

    Args:
        identity: of the training; another one's state is ignored.
        every: seconds between two states inside a pass.

    Attributes:
        done: "passes", one record each, and what else `save_pass` was given.
    """

    def __init__(self, folder: Path, identity: str, every: float) -> None:
        self.folder, self.identity, self.every = folder, identity, every
        done = files.read_json(folder / FILE) if (folder / FILE).is_file() else {}
        self.done: dict[str, Any] = done if done.get("identity") == identity else {}
        self.saved, self.seconds = time.monotonic(), 0.0  # when a step was, and how long it took

    def tensors(self, stem: str) -> dict[str, Tensor]:
        """This process's tensors of a saved pass or step."""
        parts = sorted(self.folder.glob(f"{stem}-{world()[0]}.*.safetensors"))
        return {key: value for path in parts for key, value in load_file(path).items()}

    def restore(self, trained: Trained, optimizer: torch.optim.Optimizer) -> tuple[Losses, float]:
        """Put weights, moments and random states back, once; returns losses and seconds of the
        steps of the pass that were done."""
        stem, losses = self.done.pop("current", None), self.done.pop("losses", [])
        tensors = self.tensors(stem) if stem else {}
        put_back(trained, tensors)
        for key, value in tensors.items():
            kind, name = key.split(":")
            if kind == "random":
                (torch.cuda if name == "cuda" else torch).set_rng_state(value)
            elif kind != "weight":
                optimizer.state[trained[name]][kind] = _moment(value, trained[name])
        return [(loss, count) for loss, count in losses], self.done.pop("seconds", 0.0)

    def save_pass(self, trained: Trained, **done: Any) -> None:
        """Save the state after a pass: its weights, and what has been done ("passes", "kept")."""
        self.done = done
        self._save(done | {"current": f"pass-{len(done['passes']) - 1}"}, weights_of(trained))

    def save_step(
        self, trained: Trained, optimizer: torch.optim.Optimizer, losses: Losses, seconds: float
    ) -> None:
        """Save the state inside a pass if the last one is long ago."""
        begun = time.monotonic()
        wait = self.every and max(self.every, self.seconds / MAX_OVERHEAD)
        if not gathered(begun - self.saved >= wait)[0]:
            return
        stem = f"step-{len(self.done.get('passes', []))}-{len(losses)}"
        done = self.done | {"losses": losses, "seconds": seconds, "current": stem}
        tensors = {"random:cpu": torch.get_rng_state(), **weights_of(trained)}
        if torch.cuda.is_initialized():
            tensors["random:cuda"] = torch.cuda.get_rng_state()
        for name, parameter in trained.items():
            for kind, value in optimizer.state[parameter].items():
                tensors[f"{kind}:{name}"] = local(torch.as_tensor(value))
        self._save(done, tensors)
        self.saved = time.monotonic()
        self.seconds = self.saved - begun

    def _save(self, done: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Write tensors, then what has been done, then remove what the latter no longer names."""
        rank, kept = world()[0], done.get("kept")
        current, best = f"{done['current']}-{rank}", f"pass-{kept}-{rank}"
        written = _tried(lambda: _write(self.folder / current, tensors))
        if not all(gathered(written and (kept is None or any(self.folder.glob(f"{best}.*"))))):
            return
        content = done | {"identity": self.identity}
        if all(gathered(rank or _tried(lambda: files.write_json(self.folder / FILE, content)))):
            for path in self.folder.glob(f"*-{rank}.*"):
                if path.name.partition(".")[0] not in (current, best):
                    path.unlink()


def _tried(write: Callable[[], None]) -> bool:
    """Whether a state was written: without one a killed training begins anew, and no more."""
    try:
        write()
    except (OSError, SafetensorError) as error:
        print(f"warning: the state of training is not kept: {error}", file=sys.stderr)
        return False
    return True


def weights_of(trained: Trained) -> dict[str, Tensor]:
    """This process's part of the trained weights, not copied."""
    return {f"weight:{name}": local(p.detach()) for name, p in trained.items()}


@torch.no_grad()
def put_back(trained: Trained, tensors: Mapping[str, Tensor]) -> None:
    """Give the trained parameters the weights among some tensors."""
    for name, parameter in trained.items():
        if (value := tensors.get(f"weight:{name}")) is not None:
            local(parameter).copy_(value)


def _moment(value: Tensor, parameter: nn.Parameter) -> Any:
    """What an optimizer keeps of a parameter, where the parameter lies."""
    if value.dim() == 0 and not value.is_floating_point():
        return value.item()  # steps, as bitsandbytes counts them
    value = value.to(local(parameter).device)
    if not isinstance(parameter, DTensor) or value.dim() == 0:
        return value
    mesh, placements, shape = parameter.device_mesh, parameter.placements, parameter.shape
    return DTensor.from_local(value, mesh, placements, shape=shape, stride=parameter.stride())


def _write(stem: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors files STEM.0000, ..., each atomically."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    size: dict[str, Any] = {"get_len": lambda item: item[1].nbytes, "strict": False}
    for number, piece in enumerate(constrained_batches(tensors.items(), PIECE, **size)):
        path = Path(f"{stem}.{number:04}.safetensors")
        # The format refuses shared memory: an 8-bit optimizer's tables are one for all weights.
        whole, shared = dict(piece), {value.data_ptr(): key for key, value in piece}
        apart = {
            key: value.contiguous() if shared[value.data_ptr()] == key else value.clone()
            for key, value in whole.items()
        }
        save_file(apart, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)
