"""A process of a training job: `torchrun -m trimllm.train JOB.json PARENT`.

It ends when the process PARENT ends, in whatever way.
"""

import os
import sys
import threading
import time
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.train.jobs import train_share


def watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    threading.Thread(target=watch, args=[int(sys.argv[2])], daemon=True).start()
    try:
        train_share(path)
    except UserError as error:
        files.write_json(path.with_name("error.json"), str(error))
        sys.exit(1)
