"""One of the processes that do a training job together: `torchrun -m trimllm.train JOB.json`.

A second argument is the id of its parent process: it ends when that ends.
"""

import os
import sys
import threading
import time
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.train.jobs import train_share


def end_with(parent: int) -> None:
    """End this process when its parent has ended, in whatever way."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    end_with(int(sys.argv[2]) if len(sys.argv) > 2 else os.getppid())
    try:
        train_share(path)
    except UserError as error:
        files.write_json(path.with_name("error.json"), str(error))
        sys.exit(1)
