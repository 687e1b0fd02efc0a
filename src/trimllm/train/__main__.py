"""A process of a training job: `torchrun -m trimllm.train JOB.json`. It ends with its parent."""

import os
import sys
import threading
import time
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.train.jobs import join_job


def watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=watch, args=[os.getppid()], daemon=True).start()
    try:
        join_job(job := Path(sys.argv[1]))
    except UserError as error:
        files.write_json(job.with_name("error.json"), str(error))
        sys.exit(1)
