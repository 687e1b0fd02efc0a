"""What a fine-tuning has done, kept after passes and inside long ones, and gone on from.

A pass begins with an optimizer of its own and draws by its number, so that after one the weights
are all that the next one needs; inside of one, its moments and random states as well. Going on
gives the bytes of a run that was not cut.
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
from more_itertools import constrained_batches
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from trimllm.base import files
from trimllm.base.names import STATE_EVERY
from trimllm.train.team import Team

DONE = "done.json"
RARE = 20
"""Times as long as it takes to keep a state, at least, lie between two: what lasts longer than
`STATE_EVERY` says costs a twentieth of the time."""
PIECE = 1 << 30
"""Bytes of a state in a file, at most, but for a tensor that has more."""
STEPS = 16
"""Steps of an optimizer between two looks at the clock, in which several processes take part."""


def own(parameter: Tensor) -> Tensor:
    """What this process holds of a parameter, which several may share."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


@dataclass(frozen=True)
class Inside:
    """Where a pass stands after some of its steps.

    Attributes:
        losses: summed loss of the answers, and their tokens, of each step that is done.
        seconds: that these took.
        state: this process's trained weights and the optimizer's state of each, by name; and the
            states of the random numbers of its devices.
    """

    losses: list[tuple[float, int]]
    seconds: float
    state: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        losses: list[tuple[float, int]],
        seconds: float,
        named: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> Inside:
        """The state of training now; nothing is copied."""
        state = {"random:cpu": torch.get_rng_state()}
        if any(parameter.is_cuda for parameter in named.values()):
            state["random:cuda"] = torch.cuda.get_rng_state()
        for name, parameter in named.items():
            state[f"weight:{name}"] = own(parameter.detach())
            for key, value in optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    state[f"moment:{name}:{key}"] = own(value.detach())
                else:  # a number of steps
                    state[f"number:{name}:{key}"] = torch.tensor(value)
        return cls(losses, seconds, state)

    @torch.no_grad()
    def give_back(
        self, named: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> None:
        """Training stands where it stood."""
        for told, value in self.state.items():
            kind, name, *key = told.split(":")
            if kind == "random":
                (torch.cuda if name == "cuda" else torch).set_rng_state(value)
                continue
            parameter = named[name]
            mine = own(parameter)
            if kind == "weight":
                mine.copy_(value)
            elif kind == "number":
                optimizer.state[parameter][key[0]] = value.item()
            else:
                value = value.to(mine.device)
                if isinstance(parameter, DTensor) and value.shape == mine.shape:
                    placed = parameter.device_mesh, parameter.placements
                    whole = {"shape": parameter.shape, "stride": parameter.stride()}
                    value = DTensor.from_local(value, *placed, **whole)
                optimizer.state[parameter][key[0]] = value


@dataclass
class Saved:
    """A folder with the state of one fine-tuning, of as many processes as train.

    Args:
        folder: where it lies, and is removed by who has made use of the whole.
        identity: tells the job; asked only when there is a state, or one is written.
        every: seconds between two states; 0 keeps one whenever it may.
    """

    folder: Path
    identity: Callable[[], str]
    every: float = STATE_EVERY
    last: float = field(default_factory=time.monotonic)
    took: float = 0.0

    def read(self, team: Team) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]] | None:
        """What `keep` was told last, and this process's parts of then; None without a state of this
        job, and then what lies there of another's is removed."""
        done = self.folder / DONE
        said = files.read_json(done) if done.is_file() else {}
        if not said or said["identity"] != self.identity():
            if team.rank == 0:
                done.unlink(missing_ok=True)
            team.every(0)  # before the weights that it tells of go
            self._remove_but((), team)
            return None
        return said, {part: self._load(name, team) for part, name in said["parts"].items()}

    def due(self, team: Team) -> bool:
        """Whether the last state is long ago. All processes must ask."""
        wait = self.every and max(self.every, RARE * self.took)
        return bool(team.every(int(time.monotonic() - self.last >= wait))[0])

    def keep(
        self,
        team: Team,
        said: dict[str, Any],
        parts: Mapping[str, tuple[str, Callable[[], dict[str, Tensor]]]],
    ) -> None:
        """Keep a state. All processes must take part.

        Args:
            said: what is the same for all processes, for JSON.
            parts: by what it is, the name of a state and this process's part of it; what is kept by
                that name already is not written again.
        """
        begun, names = time.monotonic(), {part: name for part, (name, _) in parts.items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, tensors in parts.values():
                self._write(name, team, tensors)
            lost = 0
        except (OSError, SafetensorError) as error:  # a state is a convenience
            print(f"warning: the state of training is not kept: {error}", file=sys.stderr)
            lost = 1
        if not any(team.every(lost)):
            if team.rank == 0:
                told = {"identity": self.identity(), "parts": names, **said}
                files.write_json(self.folder / DONE, told)
            team.every(0)  # before what it told of before goes
            self._remove_but(tuple(names.values()), team)
        self.last = time.monotonic()
        self.took = self.last - begun

    def _files(self, name: str, team: Team) -> list[Path]:
        return sorted(self.folder.glob(f"{name}-{team.rank}.*.safetensors"))

    def _load(self, name: str, team: Team) -> dict[str, Tensor]:
        return {
            key: value for path in self._files(name, team) for key, value in load_file(path).items()
        }

    def _remove_but(self, names: tuple[str, ...], team: Team) -> None:
        """Remove this process's parts of all other states."""
        wanted = [path for name in names for path in self._files(name, team)]
        for path in self.folder.glob(f"*-{team.rank}.*"):
            if path not in wanted:
                path.unlink()

    def _write(self, name: str, team: Team, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """In pieces: what lies on a GPU is never in the host's memory as a whole."""
        how: dict[str, Any] = {"get_len": lambda item: item[1].nbytes, "strict": False}
        for number, piece in enumerate(constrained_batches(tensors().items(), PIECE, **how)):
            path = self.folder / f"{name}-{team.rank}.{number:04}.safetensors"
            if path.is_file():
                continue
            temporary = path.with_suffix(".tmp")
            try:
                save_file(_apart(piece), temporary)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def _apart(piece: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors that share no memory, as the format wants them: an 8-bit optimizer's tables are one
    for all weights."""
    found, seen = dict[str, Tensor](), set[int]()
    for key, value in piece:
        found[key] = value.clone() if value.data_ptr() in seen else value.contiguous()
        seen.add(value.data_ptr())
    return found
