"""The child's side of `trimllm.base.workers`: `python -P serve.py SCRIPT`.

The script defines `Worker`. The first line of standard input holds its keyword arguments (a JSON
object), and its attribute `facts` is the first reply. Each further line is a JSON list: a method's
name and arguments. A reply is one line: `{"value": ...}`, `{"error": ...}` for a user's mistake
(`SystemExit` with a text, `UserError`), or `{"crash": ...}`; after the last two the process ends.

Only the standard library is needed: the script may run in an environment without trimllm.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from typing import Any


def main(script: str) -> None:
    # Libraries print to standard output, which is for replies: send theirs to standard error.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(kind: str, content: Any) -> None:
        print(json.dumps({kind: content}), file=replies, flush=True)

    try:
        job = json.loads(sys.stdin.readline())
        worker = runpy.run_path(script)["Worker"](**job)
        reply("value", worker.facts)
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            reply("value", getattr(worker, command)(*arguments))
    except (Exception, SystemExit) as error:
        if type(error).__name__ in ("UserError", "SystemExit"):
            reply("error", str(error))
        else:
            traceback.print_exc()
            reply("crash", repr(error))
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
