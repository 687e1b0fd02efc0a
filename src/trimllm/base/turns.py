"""An engine in a process of its own, which does one thing at a time and says what came of it.

    python -P turns.py ENGINE.py     ENGINE.py defines `Engine`

Lines of JSON on standard input: first what the engine is made of, by name; then commands, each the
name of a method and its arguments. Every answer is one line: `{"value": ...}`, or `{"error": ...}`
for a mistake of the user and `{"crash": ...}` for any other, after which the process ends. The
first answer is the engine's attribute `facts`.

Needs nothing but Python: an engine may live in an environment that knows nothing of trimllm.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from typing import Any


def serve(make: Callable[..., Any]) -> None:
    """Answer lines of standard input by what `make(**told)` returns."""
    # Libraries greet on standard output, which belongs to the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(kind: str, content: Any) -> None:
        print(json.dumps({kind: content}), file=answers, flush=True)

    try:
        engine = make(**json.loads(sys.stdin.readline()))
        answer("value", engine.facts)
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            answer("value", getattr(engine, command)(*arguments))
    except Exception as error:
        if type(error).__name__ == "UserError":
            answer("error", str(error))
        else:
            traceback.print_exc()
            answer("crash", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    serve(runpy.run_path(sys.argv[1])["Engine"])
