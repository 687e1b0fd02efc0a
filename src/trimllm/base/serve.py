"""The child's side of `trimllm.base.workers`: `python -P serve.py SCRIPT`.

The script defines `Worker`. The first line of standard input holds its keyword arguments (a JSON
object), and its attribute `facts` is the first reply. Each further line is a JSON list: a method's
name and arguments. A reply is one line: `{"value": ...}`, or `{"error": ...}` before the process
ends. The script may run in an environment without trimllm: only the standard library is needed.
"""

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
        worker = runpy.run_path(script)["Worker"](**json.loads(sys.stdin.readline()))
        reply("value", worker.facts)
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            reply("value", getattr(worker, command)(*arguments))
    except (Exception, SystemExit) as error:
        is_users = type(error).__name__ in ("UserError", "SystemExit")
        if not is_users:
            traceback.print_exc()
        reply("error", str(error) if is_users else repr(error))
        os._exit(1)  # whatever threads the script has left


if __name__ == "__main__":
    main(sys.argv[1])
