"""State of a fine-tuning on disk, from which a killed one resumes to the same bytes: the trained
weights, and inside a pass the optimizer's moments and the random states.

Each process writes its part as safetensors, one file a kind of tensor; then the first one writes
state.json, which names them and says what has been done.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from trimllm.base import files

Trained = Mapping[str, nn.Parameter]
Losses = list[tuple[float, int]]
"""Of each optimizer step: summed loss of the answers' tokens, and how many these are."""


class State:
    """A folder that holds the state of the fine-tuning `identity`; another one's is ignored. Inside
    a pass it is saved every `every` seconds. `done` is what was saved after the last pass."""

    def __init__(self, folder: Path, identity: str, every: float) -> None:
        self.file, self.own = folder / "state.json", folder / f"process-{world()[0]}"
        self.identity, self.every, self.saved = identity, every, time.monotonic()
        done = files.read_json(self.file) if self.file.is_file() else {}
        self.done: dict[str, Any] = done if done.get("identity") == identity else {}

    def weights(self, number: int) -> dict[str, Tensor]:
        """This process's part of the trained weights after a pass."""
        return load_file(self.own / f"pass-{number}/weight.safetensors")

    def restore(self, trained: Trained, optimizer: Optimizer) -> tuple[Losses, float]:
        """Put weights, moments and random states back, once; returns losses and seconds so far of
        the pass."""
        folder, losses = self.done.pop("folder", None), self.done.pop("losses", [])
        for path in (self.own / folder).iterdir() if folder else ():
            kind, tensors = path.stem, load_file(path)
            if kind == "weight":
                put_back(trained, tensors)
            elif kind == "random":
                torch.set_rng_state(tensors["cpu"])
                if "cuda" in tensors:
                    torch.cuda.set_rng_state(tensors["cuda"])
            else:
                for name, value in tensors.items():
                    optimizer.state[trained[name]][kind] = _moment(value, trained[name])
        return [(loss, count) for loss, count in losses], self.done.pop("seconds", 0.0)

    def due(self) -> bool:
        """Whether the last state is old enough, by the first process's clock."""
        return gathered(time.monotonic() - self.saved >= self.every)[0]

    def save(self, trained: Trained, optimizer: Optimizer | None = None, **done: Any) -> None:
        """Save the state after a pass ("passes", its "kept" one), or inside one, with the
        optimizer ("losses", "seconds")."""
        tensors = {"weight": weights_of(trained)}
        if optimizer is None:
            self.done = done
            folder = f"pass-{len(done['passes']) - 1}"
        else:
            folder = f"step-{len(self.done.get('passes', []))}-{len(done['losses'])}"
            tensors["random"] = {"cpu": torch.get_rng_state()}
            if torch.cuda.is_initialized():
                tensors["random"]["cuda"] = torch.cuda.get_rng_state()
            for name, parameter in trained.items():
                for kind, value in optimizer.state[parameter].items():
                    tensors.setdefault(kind, {})[name] = local(torch.as_tensor(value))
        done = self.done | done | {"identity": self.identity, "folder": folder}
        shutil.rmtree(self.own / folder, ignore_errors=True)
        (self.own / folder).mkdir(parents=True)
        for kind, group in tensors.items():
            if kind.startswith("qmap"):  # one table for all weights; safetensors wants copies
                group = {name: tensor.clone() for name, tensor in group.items()}
            save_file(group, self.own / folder / f"{kind}.safetensors")
        gathered(None)  # every process has written
        if world()[0] == 0:
            files.write_json(self.file, done)
        gathered(None)
        for path in self.own.iterdir():
            if path.name not in (folder, f"pass-{done.get('kept')}"):
                shutil.rmtree(path)
        self.saved = time.monotonic()


def weights_of(trained: Trained) -> dict[str, Tensor]:
    """This process's part of the trained weights, not copied."""
    return {name: local(p.detach()).contiguous() for name, p in trained.items()}


@torch.no_grad()
def put_back(trained: Trained, weights: Mapping[str, Tensor]) -> None:
    """Give the trained parameters these weights."""
    for name, value in weights.items():
        local(trained[name]).copy_(value)


def world() -> tuple[int, int]:
    """Rank of this process, and number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gathered(value: Any) -> list[Any]:
    """Every process's value, by rank; all processes call this together."""
    values = [value] * world()[1]
    if dist.is_initialized():
        dist.all_gather_object(values, value)
    return values


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _moment(value: Tensor, parameter: nn.Parameter) -> Any:
    """What an optimizer keeps of a parameter, where the parameter lies."""
    if value.dim() == 0 and not value.is_floating_point():
        return value.item()  # steps, as bitsandbytes counts them
    if value.dim() and isinstance(parameter, DTensor):
        moment = torch.zeros_like(parameter)
        local(moment).copy_(value)
        return moment
    return value.to(local(parameter).device)
