"""Several processes that do one piece of work together, as far as the scan has to know of it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from torch import Tensor


class Processes:
    """One process by itself: the base of what `trimllm.train.parallel` makes of several.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank = 0
    size = 1

    def add_up(self, values: Tensor) -> None:
        """Replace a tensor on the CPU by its sum over all processes, the same bits in each."""

    def log(self) -> TextIO | None:
        """Where progress goes: standard error (None) in the first process, nowhere in others."""
        return open(os.devnull, "w") if self.rank else None  # noqa: SIM115


ALONE = Processes()


def end_with_standard_input() -> None:
    """End this process when its standard input ends, as it does when who started it is killed."""

    def watch() -> None:
        # Not sys.stdin: its lock would be held when the interpreter ends.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
