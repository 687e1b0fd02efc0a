"""Puts a question to transformers and to an engine, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from trimllm.base import environments, files
from trimllm.base.errors import UserError
from trimllm.exporting.evidence import Answer, Question
from trimllm.exporting.formats import vllm_python
from trimllm.exporting.sizes import float32_cache_bytes

WORKERS = Path(__file__).parent / "workers"


def vllm_environment(workspace: Path, threads: int) -> dict[str, str]:
    """Variables of a program of vLLM's environment, which may write into a folder."""
    return environments.own_packages(threads) | {
        # In one process, whose last words are its own; nothing is left in anybody's home.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(workspace / "vllm"),
        "VLLM_CONFIG_ROOT": str(workspace / "vllm"),
        "HF_MODULES_CACHE": str(workspace / "modules"),
    }


class Asker:
    """Asks one question of several.

    Args:
        question: what is asked.
        workspace: a folder for it and for what is said, which the caller removes.
        threads: of each process.
    """

    def __init__(self, question: Question, workspace: Path, threads: int = 1) -> None:
        self.workspace, self.threads, self.count = workspace, threads, 0
        self.longest = question.longest
        self.question = workspace / "question.json"
        files.write_json(self.question, asdict(question))

    def transformers(self, checkpoint: Path, *kinds: str) -> list[Answer]:
        """What transformers says of a checkpoint, one answer a kind (see `reference`)."""
        command = [sys.executable, "-m", "trimllm.exporting.reference", str(checkpoint)]
        return self._ask("transformers", command, kinds)

    def llama_cpp(self, file: Path) -> Answer:
        """What llama.cpp says of a GGUF file."""
        command = [sys.executable, str(WORKERS / "llama_cpp.py"), str(file)]
        return self._ask("llama.cpp", command, [str(self.threads)])[0]

    def vllm(self, checkpoint: Path) -> Answer:
        """What vLLM says of a checkpoint, with nothing of trimllm in its environment."""
        environment = vllm_environment(self.workspace, self.threads)
        command = [str(vllm_python()), str(WORKERS / "vllm_worker.py"), str(checkpoint)]
        cache = float32_cache_bytes(checkpoint, self.longest)
        return self._ask("vLLM", command, [str(self.threads), str(cache)], environment)[0]

    def _ask(
        self,
        engine: str,
        command: list[str],
        rest: Sequence[str],
        environment: dict[str, str] | None = None,
    ) -> list[Answer]:
        self.count += 1
        said = self.workspace / f"answer_{self.count}.json"
        words = [*command, str(self.question), str(said), *rest]
        run = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment or environments.ours(self.threads),
        )
        if run.returncode or not said.is_file():
            raise UserError(f"{engine} cannot run the export: {_reason(run)}; it was not kept")
        return [Answer.of(one) for one in files.read_json(said)]


def _reason(run: subprocess.CompletedProcess[str]) -> str:
    """What a program said last that tells why it failed, in one line."""
    lines = [line.strip() for line in f"{run.stdout}\n{run.stderr}".splitlines() if line.strip()]
    told = [line for line in lines if "error" in line.lower() or "assert" in line.lower()]
    code = run.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return f"{(told or lines or ['it said nothing'])[-1][:300]} ({how})"
