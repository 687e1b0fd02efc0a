"""One session: several models, each in a fresh process, timed in turn.

Other work on a machine comes and goes over minutes. Every round asks every model once, every other
round in reversed order, so that all see the same of it; a speedup is the median of the rounds' own
ratios.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.workers import Worker, environment
from trimllm.throughput import machine
from trimllm.throughput.result import Protocol, Rates, Run, figures
from trimllm.throughput.subject import Subject

WORKERS = Path(__file__).parent / "workers"
OUT_OF_MEMORY = re.compile(
    "out of memory|not enough memory|can't allocate memory|MemoryError|Free memory on device", re.I
)


@dataclass(frozen=True)
class Entry:
    """A process of a session.

    Attributes:
        name: for messages.
        script, job, python, variables: as of `Worker`. The script's `time(batch)` returns seconds
            of a prompt (`prefill`) and of the tokens after its next one (`decode`), and what else
            is a fact once they have run.
        facts: of the model, those that the worker does not know.
    """

    name: str
    script: Path
    job: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    variables: Mapping[str, str] | None = None


def entry(subject: Subject, prompts: int | Sequence[Sequence[int]], generate: int) -> Entry:
    """A subject as a bare loop over one prompt of so many random tokens decodes it, or as
    transformers' `generate` does with prompts of token ids."""
    job = {"subject": asdict(subject), "prompts": prompts, "generate": generate}
    script, variables = WORKERS / "decode.py", environment(subject.threads)
    return Entry(str(subject), script, job, variables=variables)


def measure(
    subjects: Sequence[Subject],
    protocol: Protocol | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time one model, or several, the first of which the others are compared with.

    Args:
        say: called with a line on every round.

    Returns:
        As `timed`, where the figures of each model are joined by `random_weights`.

    Raises:
        UserError: a subject that cannot be made here, or too little memory.
    """
    protocol = protocol or Protocol()
    for one in subjects:
        one.check()
    entries = [entry(one, protocol.prompt, protocol.generate) for one in subjects]
    first = subjects[0]
    found = timed(
        entries, protocol, device=first.device, dtype=first.dtype, threads=first.threads, say=say
    )
    for row, subject in zip(found["measured"], [*subjects] * len(protocol.batches), strict=True):
        row["random_weights"] = subject.shape is not None
    return found


def timed(
    entries: Sequence[Entry],
    protocol: Protocol,
    *,
    device: str,
    dtype: str,
    threads: int,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time entries in turn; the first is the baseline of the others.

    Args:
        device, dtype, threads: of the machine's own rates.

    Returns:
        `measured`, `result.figures` by batch size and entry; `copy_bytes_per_second` and
        `matrix_operations_per_second`, medians of `copy_samples` and `matrix_samples` (one a
        round); `protocol`; `machine`, its state before and after; `interleaved`, whether there was
        anything to take turns with.

    Raises:
        UserError: a model cannot be run, or too little memory for all of them.
    """
    before, rates = machine.state(device), Rates()
    measured = []
    with _one_line(len(entries), device), ExitStack() as stack:
        workers = [stack.enter_context(_start(one)) for one in entries]
        job = {"device": device, "dtype": dtype, "threads": threads}
        yardstick = stack.enter_context(
            Worker(WORKERS / "rates.py", job, name="rates", variables=environment(threads))
        )
        for batch in protocol.batches:
            runs = [
                Run({**one.facts, **worker.facts, "batch": batch})
                for one, worker in zip(entries, workers, strict=True)
            ]
            for number in range(1 + protocol.repeats):
                for at in range(len(runs))[:: -1 if number % 2 else 1]:
                    _round(runs[at], workers[at].ask("time", batch), counts=number > 0)
                if number:
                    rates.copy.append(yardstick.ask("copy"))
                    rates.matrix.append(yardstick.ask("matrix"))
                    each = (batch * protocol.generate / run.decode[-1] for run in runs)
                    shown = ", ".join(f"{rate:.2f}" for rate in each)
                    say(f"batch {batch}, round {number} of {protocol.repeats}: {shown} tokens/s")
            full = runs[0]
            for run in runs:
                baseline = None if run is full else full
                measured.append(figures(protocol, batch, run, baseline, rates))
    return {
        "measured": measured,
        "copy_bytes_per_second": statistics.median(rates.copy),
        "matrix_operations_per_second": statistics.median(rates.matrix),
        "copy_samples": rates.copy,
        "matrix_samples": rates.matrix,
        "protocol": asdict(protocol),
        "machine": {"before": before, "after": machine.state(device)},
        "interleaved": len(entries) > 1,
    }


def _start(entry: Entry) -> Worker:
    return Worker(
        entry.script, entry.job, name=entry.name, python=entry.python, variables=entry.variables
    )


def _round(run: Run, reply: dict[str, Any], *, counts: bool) -> None:
    seconds = reply.pop("prefill"), reply.pop("decode")
    run.facts |= reply
    if counts:
        run.prefill.append(seconds[0])
        run.decode.append(seconds[1])


@contextmanager
def _one_line(count: int, device: str) -> Iterator[None]:
    """Make a worker's failure a `UserError` that says what to do where memory ran out."""
    try:
        yield
    except (UserError, RuntimeError) as error:
        if OUT_OF_MEMORY.search(str(error)):
            raise UserError(
                f"not enough memory ({device}) to time {count} models in turn ({error}); end other "
                "programs, or time fewer or smaller models"
            ) from error
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot be timed: {error}") from error
