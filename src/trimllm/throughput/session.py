"""One measurement: a model and its baseline, each in a fresh process, timed in turn.

Other work on a machine comes and goes over minutes; rounds that alternate between both models see
the same of it, and the speedup is the median of the rounds' own ratios.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from trimllm.base import environments
from trimllm.base.errors import UserError
from trimllm.throughput import machine
from trimllm.throughput.result import Protocol, Run, figures
from trimllm.throughput.subject import Subject

OVERHEAD = 1.2
"""Memory of a process over its weights: the cache, buffers, weights on their way to a kernel."""
PROCESS_BYTES = 700 << 20
"""Python with torch and transformers."""


class Process(subprocess.Popen[str]):
    """A fresh process that answers by turns (`trimllm.base.turns`); leaving the block ends it.

    Args:
        subject: what it times, for people.
        command, environment: how it is started.
        told: what its engine is made of.
    """

    def __init__(
        self, subject: Any, command: list[str], environment: Mapping[str, str], /, **told: Any
    ) -> None:
        self.subject = subject
        self.said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        super().__init__(command, **pipes, stderr=self.said, text=True, env=environment)
        self._tell(told)

    @classmethod
    def of(cls, subject: Subject, protocol: Protocol) -> Process:
        """One with a model of `worker`."""
        command = [sys.executable, "-W", "ignore", "-m", "trimllm.throughput.worker"]
        told = {"prompt": protocol.prompt, "generate": protocol.generate}
        environment = environments.ours(subject.threads)
        return cls(subject, command, environment, subject=asdict(subject), **told)

    def __exit__(self, *error: object) -> None:
        self.kill()
        self.communicate()
        self.said.close()

    def _tell(self, words: Any) -> None:
        assert self.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its answer says why it is gone
            self.stdin.write(json.dumps(words) + "\n")
            self.stdin.flush()

    def answer(self) -> Any:
        """What the process says next.

        Raises:
            UserError: a mistake of the user, or the process was ended from outside.
            RuntimeError: any other; all that the process said goes to standard error.
        """
        assert self.stdout is not None
        told = json.loads(self.stdout.readline() or "{}")
        if "value" in told:
            return told["value"]
        if "error" in told:
            raise UserError(f"{self.subject}: {told['error']}")
        self.said.seek(0)
        said = self.said.read()
        if "crash" in told:
            sys.stderr.write(said)
            raise RuntimeError(f"{self.subject}: {told['crash']}")
        code, last = self.wait(), (said.strip().splitlines() or ["it said nothing"])[-1]
        reason = "it was killed, most likely for want of memory" if code == -9 else last
        raise UserError(f"the process that timed {self.subject} ended with {code}: {reason}")

    def ask(self, command: str, *arguments: Any) -> Any:
        """Let the process do one thing and wait for its answer."""
        self._tell([command, *arguments])
        return self.answer()


def measure(
    subject: Subject,
    baseline: Subject | None = None,
    protocol: Protocol | None = None,
    *,
    also_compiled: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time a model, and its baseline in turn with it.

    Args:
        baseline: what the model is compared with, as a rule the full one; None where it is that.
        protocol: how often and on how many tokens.
        also_compiled: time the same pair by `torch.compile` too, under `compiled`; where that
            fails, its error stands there.
        say: called with a line on every step.

    Returns:
        What `result.figures` and `worker.facts` say of the model, `baseline` (the same of the
        other), `speedup` (quartiles over rounds of baseline's over own decoding time),
        `prefill_speedup`, `bandwidth_ratio` (own achieved bytes/s over the baseline's), what
        `predicted` says of the speedups, `copy_bytes_per_second` and
        `matrix_operations_per_second` (medians of `copy_samples` and `matrix_samples`, one a round
        of decoding and of the prompt), `protocol`, `interleaved`, `machine` (before and after),
        `random_weights`. Either model has `linear_kernel`, the faster in its own decoding, and
        `linear_kernel_seconds`, what that choice stands on.

    Raises:
        UserError: a subject that cannot be made here, or too little memory for it.
        RuntimeError: a process failed.
    """
    protocol = protocol or Protocol()
    protocol.check()
    subjects = [subject] if baseline is None else [subject, baseline]
    for one in subjects:
        one.check()
    together = fits_together(subjects)
    before = machine.state(subject.device)
    runs: list[Run] = []
    shared: dict[str, list[float]] = {"copy_samples": [], "matrix_samples": []}
    for group in [subjects] if together else [[one] for one in subjects]:
        runs += _timed(group, protocol, shared, say)
    copy, matrix = map(statistics.median, shared.values())
    found = figures(protocol, copy, *runs, matrix=matrix) | shared
    found |= {
        "copy_bytes_per_second": copy,
        "matrix_operations_per_second": matrix,
        "protocol": {**vars(protocol), "prompt": protocol.prompt},
        "interleaved": together and baseline is not None,
        "machine": {"before": before, "after": machine.state(subject.device)},
        "random_weights": subject.shape is not None,
    }
    if also_compiled:
        mine, *theirs = (replace(one, mode="compiled") for one in subjects)
        try:
            found["compiled"] = measure(mine, next(iter(theirs), None), protocol, say=say)
        except (RuntimeError, UserError) as error:
            found["compiled"] = {"error": str(error)}
    return found


def memory_bytes(subject: Subject) -> float:
    """What timing a subject takes: of its GPU's memory, or of the host's where there is none."""
    return process_bytes(subject.weight_bytes(), subject.device)


def process_bytes(weights: float, device: str) -> float:
    """What a process with so many bytes of weights takes, as in `memory_bytes`."""
    return OVERHEAD * weights + (PROCESS_BYTES if device == "cpu" else 0)


def fits_together(subjects: list[Subject]) -> bool:
    """Whether all models fit the memory at once; `UserError` if one does not fit even alone."""
    free = machine.free_bytes(subjects[0].device)
    if free is None:
        return True
    needs = [memory_bytes(subject) for subject in subjects]
    for subject, need in zip(subjects, needs, strict=True):
        if need > free:
            raise UserError(
                f"{subject} needs about {need / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB "
                "are free; end other programs or measure a smaller model"
            )
    return sum(needs) <= free


def _timed(
    subjects: list[Subject],
    protocol: Protocol,
    shared: dict[str, list[float]],
    say: Callable[[str], None],
) -> list[Run]:
    """Time some models in turn, each in its own process; `shared` are rates of the machine."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Process.of(one, protocol)) for one in subjects]
        pairs = [(process, Run(process.answer())) for process in processes]
        orders = (pairs, pairs[::-1])  # each second round the other way round
        say("made, warming up")
        # All are made and wait for an answer: nothing else runs while one of them tries kernels.
        for process, run in pairs:
            process.ask("prefill")  # does not count: kernels are made for its length
            run.facts |= process.ask("choose_kernel")
            process.ask("decode", run.facts["linear_kernel"])  # does not count
            run.facts["peak_memory_bytes"] = process.ask("peak")
        # Rates of the machine beside every round: the memory of a virtual machine can be twice as
        # fast, or half, as a few minutes before.
        for number in range(protocol.prefills):
            for process, run in orders[number % 2]:
                run.prefill.append(process.ask("prefill"))
            shared["matrix_samples"].append(processes[0].ask("matrix"))
        for number in range(protocol.repeats):
            for process, run in orders[number % 2]:
                run.decode.append(process.ask("decode", run.facts["linear_kernel"]))
                if process.subject.mode == "eager":  # what is compiled is no row of its own
                    run.products.append(process.ask("products", run.facts["linear_kernel"]))
            shared["copy_samples"].append(processes[0].ask("copy"))
            rates = ", ".join(f"{protocol.generate / run.decode[-1]:.2f}" for _, run in pairs)
            say(f"round {number + 1} of {protocol.repeats}: {rates} tokens/s")
    return [run for _, run in pairs]
