"""Do training jobs as one of several processes: `ranks.py RANK SIZE PORT JOB.json...`."""

import os
import sys
from pathlib import Path

from trimllm.train.__main__ import join

rank, size, port, *jobs = sys.argv[1:]
os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
for number, job in enumerate(jobs):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(int(port) + number)}
    join(Path(job))
