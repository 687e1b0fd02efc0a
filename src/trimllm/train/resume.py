"""What a fine-tuning has done, kept after long passes: a killed one goes on from there.

A pass begins with an optimizer of its own and draws by its number, so that the weights after the
last one are all that the next one needs, and going on gives the bytes of a run that was not cut.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from trimllm.base import files
from trimllm.train.team import Team

DONE = "done.json"
EVERY = 600.0
"""Seconds of training that a killed job may lose, or a pass where that is longer."""


@dataclass
class Saved:
    """A folder with the state of one fine-tuning, of as many processes as train.

    Args:
        folder: where it lies, and is removed by who has made use of the whole.
        identity: tells the job; asked only when there is a state, or one is written.
        every: see `EVERY`; 0 keeps every pass.
    """

    folder: Path
    identity: Callable[[], str]
    every: float = EVERY
    last: float = field(default_factory=time.monotonic)

    def read(
        self, team: Team
    ) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]] | None:
        """What `keep` was told last, the weights of then, and the best ones; None without a state
        of this job, and then what lies there of another's is removed."""
        done = self.folder / DONE
        said = files.read_json(done) if done.is_file() else {}
        if not said or said["identity"] != self.identity():
            if team.rank == 0:
                done.unlink(missing_ok=True)
            team.every(0)  # before the weights that it tells of go
            self._remove_but((), team)
            return None
        now, best = (load_file(self._file(said[at], team)) for at in ("epoch", "kept"))
        return said, now, best

    def keep(
        self,
        team: Team,
        passes: list[Any],
        curve: list[Any],
        kept: int,
        now: Callable[[], dict[str, Tensor]],
        best: dict[str, Tensor],
    ) -> None:
        """Keep the state after a pass, if the last one is long ago. All processes must take part.

        Args:
            passes, curve: records of the passes, and of what held-back documents said after each.
            kept: the best pass.
            now, best: this process's part of the weights that training changes; `best` is not asked
                for where `kept` is the last pass.
        """
        if not team.every(int(time.monotonic() - self.last >= self.every))[0]:
            return
        epoch = len(passes) - 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(epoch, team, now())
            if kept != epoch:
                self._write(kept, team, best)
            lost = 0
        except OSError as error:  # a state is a convenience
            print(f"warning: the state of training is not kept: {error}", file=sys.stderr)
            lost = 1
        if any(team.every(lost)):
            return
        if team.rank == 0:
            said = {"identity": self.identity(), "epoch": epoch, "kept": kept}
            said |= {"passes": list(map(asdict, passes)), "held_back": list(map(asdict, curve))}
            files.write_json(self.folder / DONE, said)
        team.every(0)  # before what it told of before goes
        self._remove_but((epoch, kept), team)
        self.last = time.monotonic()

    def _file(self, epoch: int, team: Team) -> Path:
        return self.folder / f"{epoch}-{team.rank}.safetensors"

    def _remove_but(self, epochs: tuple[int, ...], team: Team) -> None:
        """Remove this process's weights of all other passes."""
        wanted = [self._file(epoch, team) for epoch in epochs]
        for path in self.folder.glob(f"*-{team.rank}.safetensors"):
            if path not in wanted:
                path.unlink()

    def _write(self, epoch: int, team: Team, weights: dict[str, Tensor]) -> None:
        path = self._file(epoch, team)
        if not path.is_file():
            save_file(weights, path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
