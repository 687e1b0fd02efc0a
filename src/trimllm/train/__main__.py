"""One of several training processes: `python -m trimllm.train FOLDER PARENT`, see `jobs`."""

import sys
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.processes import end_with
from trimllm.train import jobs

folder, parent = Path(sys.argv[1]), int(sys.argv[2])
end_with(parent)
try:
    jobs.take_part(folder)
except UserError as error:
    files.write_json(folder / jobs.ERROR, str(error))
    sys.exit(1)
