"""One of several training processes: `python -m trimllm.train FOLDER PARENT THREADS`.

`trimllm.train.jobs` starts it. A `UserError` ends up in a file of the folder.
"""

import sys
from pathlib import Path

import torch

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.processes import end_with
from trimllm.train import jobs

folder, parent, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
end_with(parent)
torch.set_num_threads(threads)
try:
    jobs.take_part(folder)
except UserError as error:
    files.write_json(folder / jobs.ERROR, str(error))
    sys.exit(1)
