"""Several processes that do one piece of work together, as far as the scan has to know of it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

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


ALONE = Processes()


def end_with(parent: int, look: float = 1.0) -> None:
    """End this process when its parent is gone, however that was ended.

    Args:
        parent: its process id, told by itself: it may be gone before this process looks.
        look: seconds between two looks.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(look)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
