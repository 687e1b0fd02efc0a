"""One measurement: a model and its baseline, each in a fresh process, timed in turn.

Other work on a machine comes and goes over minutes; rounds that alternate between both models see
the same of it, and the speedup is the median of the rounds' own ratios.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.throughput import machine
from trimllm.throughput.predict import predicted
from trimllm.throughput.subject import Subject

SOURCE = Path(__file__).parents[2]
OVERHEAD = 1.2
"""Memory of a process over its weights: the cache, buffers, weights on their way to a kernel."""
PROCESS_BYTES = 700 << 20
"""Python with torch and transformers."""


def quartiles(samples: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles of the samples, with the samples themselves."""
    low, middle, high = (
        statistics.quantiles(samples, n=4, method="inclusive")
        if len(samples) > 1
        else [samples[0]] * 3
    )
    return {"median": middle, "q1": low, "q3": high, "samples": list(samples)}


@dataclass(frozen=True)
class Protocol:
    """How often and on how many tokens.

    Attributes:
        tokens: prompt and generated tokens together.
        generate: tokens decoded in one round.
        repeats: rounds of decoding, after one that does not count.
        prefills: rounds of the prompt, after one that does not count.
    """

    tokens: int = 512
    generate: int = 32
    repeats: int = 5
    prefills: int = 2

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return self.tokens - self.generate

    @property
    def mean_context(self) -> float:
        """Tokens in the cache when a generated token is computed, itself included; the mean."""
        return self.prompt + (self.generate + 1) / 2

    def check(self) -> None:
        """Raise `UserError` for a protocol that times nothing."""
        if min(self.generate, self.repeats, self.prefills) < 1 or self.prompt < 1:
            raise UserError(
                f"{self.generate} of {self.tokens} tokens generated, {self.repeats} repeats and "
                f"{self.prefills} prefills: each must be at least 1, and a prompt must be left"
            )


class Process:
    """A fresh process with one model; leaving the block ends it."""

    def __init__(self, subject: Subject, protocol: Protocol) -> None:
        self.subject, self.protocol = subject, protocol

    def __enter__(self) -> Process:
        self.said = tempfile.TemporaryFile("w+", errors="replace")
        environment = dict(os.environ)
        path = [str(SOURCE), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {
            "PYTHONPATH": os.pathsep.join(path),
            "OMP_NUM_THREADS": str(self.subject.threads),
            "MKL_NUM_THREADS": str(self.subject.threads),
            "TRANSFORMERS_VERBOSITY": "error",
            "HF_HUB_OFFLINE": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "trimllm.throughput.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=environment,
        )
        told = {"subject": self.subject.as_dict()}
        self._tell(told | {"prompt": self.protocol.prompt, "generate": self.protocol.generate})
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.said.close()

    def _tell(self, what: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # its answer says why it is gone
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()

    def answer(self) -> Any:
        """What the process says next. Raises `UserError` for what the user can mend."""
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            reason = "it was killed, most likely for want of memory" if code == -9 else ""
            raise UserError(
                f"the process that timed {self.name} ended with {code}: {reason or self._last()}"
            )
        told = json.loads(line)
        if "error" in told:
            raise UserError(f"{self.name}: {told['error']}")
        if "crash" in told:
            self.said.seek(0)
            sys.stderr.write(self.said.read())
            raise RuntimeError(f"{self.name}: {told['crash']}")
        return told["value"]

    def ask(self, command: str, *arguments: str) -> Any:
        """Let the process do one thing and wait for its answer."""
        self._tell([command, *arguments])
        return self.answer()

    def _last(self) -> str:
        self.said.seek(0)
        return (self.said.read().strip().splitlines() or ["it said nothing"])[-1]

    @property
    def name(self) -> str:
        """The model in a few words."""
        subject = self.subject
        name = subject.checkpoint or f"shape {subject.shape}"
        return f"{name} + {subject.compressor}" if subject.compressor else name


def measure(
    subject: Subject,
    baseline: Subject | None = None,
    protocol: Protocol | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time a model, and its baseline in turn with it.

    Args:
        subject: the model.
        baseline: what it is compared with, as a rule the full model; None where it is that itself.
        protocol: how often and on how many tokens.
        say: called with a line on every step.

    Returns:
        What `of_one` says of the model, `baseline` (the same of the other), `speedup` (quartiles
        over rounds of baseline's over own decoding time), `prefill_speedup`, `bandwidth_ratio`
        (own achieved bytes/s over the baseline's), what `predicted` says of both speedups,
        `copy_bytes_per_second` (median of `copy_samples`, one a round), `linear_kernel_seconds`
        (what the choice of the kernel stands on), `protocol`, `interleaved`, `machine` (before and
        after).

    Raises:
        UserError: a subject that cannot be made here, or too little memory for it.
        RuntimeError: both processes do not decode with the same linear kernel.
    """
    protocol = protocol or Protocol()
    protocol.check()
    subjects = [subject] if baseline is None else [subject, baseline]
    for one in subjects:
        one.check()
    together = fits_together(subjects)
    before = machine.state(subject.device)
    runs: list[Run] = []
    choice: dict[str, Any] = {}
    # The full model chooses the kernel for both, so that it is made first where it is made alone.
    for group in [subjects] if together else [[one] for one in reversed(subjects)]:
        timed, choice = _timed(group, protocol, say, choice)
        runs = timed + runs
    if len(kernels := {run.facts["linear_kernel"] for run in runs}) > 1:
        raise RuntimeError(f"the processes of one session decode by {' and '.join(kernels)}")
    copies = [rate for run in runs for rate in run.copies]
    copy = statistics.median(copies)
    found = of_one(runs[0], protocol, copy)
    found |= {
        "linear_kernel_seconds": choice["linear_kernel_seconds"],
        "copy_bytes_per_second": copy,
        "copy_samples": copies,
        "protocol": {**vars(protocol), "prompt": protocol.prompt, "batch": 1},
        "interleaved": together and baseline is not None,
        "machine": {"before": before, "after": machine.state(subject.device)},
    }
    return found if baseline is None else found | against(runs[1], runs[0], found, protocol, copy)


def fits_together(subjects: list[Subject]) -> bool:
    """Whether all models fit the memory at once; `UserError` if one does not fit even alone."""
    free = machine.free_bytes(subjects[0].device)
    base = PROCESS_BYTES if subjects[0].device == "cpu" else 0
    needs = [OVERHEAD * subject.weight_bytes() + base for subject in subjects]
    if free is None:
        return True
    for subject, need in zip(subjects, needs, strict=True):
        if need > free:
            raise UserError(
                f"{subject.shape or subject.checkpoint} needs about {need / 2**30:.1f} GiB of "
                f"memory, {free / 2**30:.1f} GiB are free; take a smaller shape or machine's work"
            )
    return sum(needs) <= free


@dataclass
class Run:
    """What one process has said."""

    subject: Subject
    facts: dict[str, Any]
    decode: list[float]  # seconds of a round
    prefill: list[float]
    copies: list[float]  # bytes/s
    peak: int = 0


def _timed(
    subjects: list[Subject],
    protocol: Protocol,
    say: Callable[[str], None],
    choice: dict[str, Any],
) -> tuple[list[Run], dict[str, Any]]:
    """Time some models in turn, each in its own process; and the choice of the linear kernel.

    An empty `choice` leaves it to the last of them.
    """
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Process(one, protocol)) for one in subjects]
        runs = [Run(p.subject, p.answer(), [], [], []) for p in processes]
        pairs = list(zip(processes, runs, strict=True))
        say("made, warming up")
        for process, _ in pairs:
            process.ask("warm_up")
        # All are made and wait for an answer: nothing else runs while one of them tries.
        choice = choice or processes[-1].ask("choose_kernel")
        for process, run in pairs:
            run.facts["linear_kernel"] = process.ask("use_kernel", choice["linear_kernel"])
        for order in _orders(pairs, protocol.prefills):
            for process, run in order:
                run.prefill.append(process.ask("prefill"))
        for process, _ in pairs:
            process.ask("decode")  # does not count
        for number, order in enumerate(_orders(pairs, protocol.repeats), 1):
            for process, run in order:
                run.decode.append(process.ask("decode"))
            # Beside every round: the memory of a virtual machine can be twice as fast, or half, as
            # a few minutes before.
            runs[0].copies.append(processes[0].ask("copy"))
            rates = ", ".join(f"{protocol.generate / run.decode[-1]:.2f}" for run in runs)
            say(f"round {number} of {protocol.repeats}: {rates} tokens/s")
        for process, run in pairs:
            run.peak = process.ask("peak")
    return runs, choice


def _orders(pairs: list[Any], rounds: int) -> Iterator[list[Any]]:
    """The models in turn, each second round the other way round."""
    for number in range(rounds):
        yield pairs if number % 2 == 0 else pairs[::-1]


def of_one(run: Run, protocol: Protocol, copy: float) -> dict[str, Any]:
    """Figures of one model: tokens/s, bytes, what a token reads and how fast that was."""
    sizes = run.facts["bytes"]
    head = sizes["head"] or sizes["embeddings"]
    cache = run.facts["kv_bytes_per_token"] * protocol.mean_context
    read = sizes["units"] + head + cache
    decode = quartiles([protocol.generate / seconds for seconds in run.decode])
    achieved = read * decode["median"]
    facts = {key: value for key, value in run.facts.items() if key != "bytes"}
    return facts | {
        "decode_tokens_per_second": decode,
        "prefill_tokens_per_second": quartiles([protocol.prompt / s for s in run.prefill]),
        "bytes": sizes | {"total": sum(sizes.values())},
        "read_bytes_per_token": read,
        "achieved_bytes_per_second": achieved,
        "share_of_copy": achieved / copy,
        "peak_memory_bytes": run.peak,
        "dtype": run.subject.dtype,
        "device": run.subject.device,
        "mode": run.subject.mode,
    }


def against(
    baseline: Run, run: Run, found: dict[str, Any], protocol: Protocol, copy: float
) -> dict[str, Any]:
    """The baseline's figures and what the model gains on it, round by round."""
    other = of_one(baseline, protocol, copy)
    decodes = zip(baseline.decode, run.decode, strict=True)
    prefills = zip(baseline.prefill, run.prefill, strict=True)
    gains = {
        "baseline": other,
        "speedup": quartiles([theirs / own for theirs, own in decodes]),
        "prefill_speedup": quartiles([theirs / own for theirs, own in prefills]),
        "bandwidth_ratio": found["achieved_bytes_per_second"] / other["achieved_bytes_per_second"],
    }
    return gains | predicted(found | gains)
