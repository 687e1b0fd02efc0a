"""Worker processes: a script that runs in a process, or in a Python environment, of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from trimllm.base.errors import UserError

SERVE = Path(__file__).with_name("serve.py")


def environment(threads: int, *, isolated: bool = False) -> dict[str, str]:
    """Environment variables of a worker: offline, with `threads` threads; `isolated` for a Python
    with packages of its own."""
    variables = dict(os.environ)
    if isolated:
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"):
            variables.pop(name, None)
        variables["PYTHONNOUSERSITE"] = "1"
    else:
        paths = [str(Path(__file__).parents[2]), variables.get("PYTHONPATH")]
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    for library in ("OMP", "MKL", "OPENBLAS"):
        variables[f"{library}_NUM_THREADS"] = str(threads)
    return variables | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONIOENCODING": "utf-8",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def python_of(folder: str, target: str) -> Path:
    """Python of the environment `.envs/FOLDER` of the working directory or the project's folder, or
    the one that TRIMLLM_FOLDER_PYTHON names; `UserError`, with `make TARGET`, if there is none."""
    variable = f"TRIMLLM_{folder.upper()}_PYTHON"
    if path := os.environ.get(variable):
        if not os.access(path, os.X_OK) or Path(path).is_dir():
            raise UserError(f"{variable} = {path} is not an executable Python")
        return Path(path).absolute()
    for root in (Path.cwd(), Path(__file__).resolve().parents[3]):
        # Written last: an environment without it is incomplete.
        if (root / ".envs" / folder / ".complete").is_file():
            return root / ".envs" / folder / "bin/python"
    raise UserError(
        f"{folder} is not installed: run `make {target}` in the project's folder, or set {variable}"
    )


class Worker:
    """A running worker; leaving the `with` block ends it. Its output goes to standard error.

    `script` (see `serve.py`) gets `job` as keyword arguments, JSON; `facts` is its first reply.
    Raises `UserError`, which begins with `name`, if the script fails or the process is killed.
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
        self.name = name
        self.process: Any = subprocess.Popen(
            [python, "-P", "-W", "ignore", SERVE, script],
            env=variables or environment(1),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.facts = self._request(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, command: str, *arguments: Any) -> Any:
        """Call a method of the script's `Worker`; arguments and result are JSON."""
        return self._request([command, *arguments])

    def _request(self, content: Any) -> Any:
        with suppress(BrokenPipeError):  # the reply says why the process ended
            print(json.dumps(content), file=self.process.stdin, flush=True)
        reply = json.loads(self.process.stdout.readline() or "{}")
        if "value" in reply:
            return reply["value"]
        code = self.process.wait()
        if "error" in reply:
            raise UserError(f"{self.name}: {reply['error']}")
        reason = f"exit status {code}" if code >= 0 else f"signal {-code}"
        hint = "; not enough memory?" if code == -9 else ""
        raise UserError(f"{self.name} ended ({reason}{hint}); its output is above")


def run_worker(script: str | Path, job: Mapping[str, Any], **options: Any) -> Any:
    """Run a worker that does one thing: its first reply. Options as of `Worker`."""
    with Worker(script, job, **options) as worker:
        return worker.facts
