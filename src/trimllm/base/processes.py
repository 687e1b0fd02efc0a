"""The end of a process with the one that started it."""

from __future__ import annotations

import os
import threading
import time


def end_with(parent: int, look: float = 1.0) -> None:
    """End this process when its parent has ended, however that was ended.

    Args:
        parent: its process id, from itself: it may be gone before this process looks.
        look: seconds between two looks.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(look)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
