"""Worker processes: a script that runs in a process, or in a Python environment, of its own.

>>> with Worker("worker.py", {"path": "model"}, name="timing") as worker:  # doctest: +SKIP
...     worker.facts, worker.ask("decode", 8)

`serve.py` runs the script and says what it must define.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from trimllm.base.errors import UserError

SERVE = Path(__file__).with_name("serve.py")


def environment(threads: int, *, isolated: bool = False) -> dict[str, str]:
    """Environment variables of a worker: offline, with `threads` threads.

    Args:
        isolated: for a Python with packages of its own: nothing of ours is on its path.
    """
    variables = dict(os.environ)
    if isolated:
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"):
            variables.pop(name, None)
        variables["PYTHONNOUSERSITE"] = "1"
    else:
        source = str(Path(__file__).parents[2])
        variables["PYTHONPATH"] = os.pathsep.join(
            filter(None, [source, variables.get("PYTHONPATH")])
        )
    for library in ("OMP", "MKL", "OPENBLAS"):
        variables[f"{library}_NUM_THREADS"] = str(threads)
    return variables | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONIOENCODING": "utf-8",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def python_of(folder: str, target: str) -> Path:
    """Python of the environment `.envs/FOLDER`, or the one that TRIMLLM_FOLDER_PYTHON names.

    `.envs` is looked for in the working directory, then in the project's folder.

    Raises:
        UserError: neither exists; says that `make TARGET` builds it.
    """
    variable = f"TRIMLLM_{folder.upper()}_PYTHON"
    if named := os.environ.get(variable):
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise UserError(f"{variable} = {named} is not an executable Python")
        return Path(named).absolute()
    for root in (Path.cwd(), Path(__file__).resolve().parents[3]):
        python = root / ".envs" / folder / "bin/python"
        # The stamp is written last: an environment without it is incomplete.
        if os.access(python, os.X_OK) and (root / ".envs" / folder / ".complete").is_file():
            return python
    raise UserError(
        f"{folder} is not installed: run `make {target}` in the project's folder, or set {variable}"
    )


class Worker:
    """A running worker; leaving the `with` block ends it.

    Args:
        script: defines `Worker` (see `serve.py`).
        job: keyword arguments of the script's `Worker`, JSON.
        name: of the worker, for error messages; precedes its output on standard error.
        python: interpreter; ours by default.
        variables: environment variables (see `environment`).

    Attributes:
        facts: the first reply.

    Raises:
        UserError: the script reports a user's mistake, or the process was killed.
        RuntimeError: the script failed otherwise; its traceback is on standard error.
    """

    def __init__(
        self,
        script: str | Path,
        job: Mapping[str, Any],
        *,
        name: str,
        python: str | Path = sys.executable,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.last = name, deque[str](maxlen=1)
        try:
            self.process: Any = subprocess.Popen(
                [python, "-P", "-W", "ignore", SERVE, script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=variables or environment(1),
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise UserError(f"{name} cannot be started: {error}") from error
        self.reader = Thread(target=self._pass_on_errors, daemon=True)
        self.reader.start()
        try:
            self._send(job)
            self.facts = self._reply()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):
                pipe.close()

    def ask(self, command: str, *arguments: Any) -> Any:
        """Call a method of the script's `Worker`; arguments and result are JSON."""
        self._send([command, *arguments])
        return self._reply()

    def _send(self, content: Any) -> None:
        with suppress(BrokenPipeError):  # `_reply` says why the process is gone
            self.process.stdin.write(json.dumps(content) + "\n")
            self.process.stdin.flush()

    def _reply(self) -> Any:
        reply = json.loads(self.process.stdout.readline() or "{}")
        if "value" in reply:
            return reply["value"]
        if "error" in reply:
            raise UserError(f"{self.name}: {reply['error']}")
        if "crash" in reply:
            raise RuntimeError(f"{self.name}: {reply['crash']}")
        code = self.process.wait()
        self.reader.join()
        why = f"exit status {code}" if code >= 0 else f"signal {-code}"
        hint = "; not enough memory?" if code == -9 else ""
        raise UserError(f"{self.name} ended ({why}{hint}): {''.join(self.last) or 'no message'}")

    def _pass_on_errors(self) -> None:
        for line in self.process.stderr:
            if line.strip():
                self.last.append(line.strip())
                print(f"{self.name}: {line.rstrip()}", file=sys.stderr, flush=True)


def run_worker(script: str | Path, job: Mapping[str, Any], **options: Any) -> Any:
    """Run a worker that does one thing: its first reply. Options as of `Worker`."""
    with Worker(script, job, **options) as worker:
        return worker.facts
