"""Does a GPU take what the plan says, and does all of it run: `make check-gpu`, ten minutes.

    python -m trimllm_paper check-gpu

Every check (`trimllm_paper.gpu_check.cases`) has a process of its own and a limit of time; one that
fails is named, and the others still run. The result is `results/check_gpu/HARDWARE.json`, and a
table of it. Ends with 1 where something does not hold; what is not possible here is no fault.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.throughput import machine
from trimllm_paper import demand, duration, gpus
from trimllm_paper.check_records import Check, Device, GpuCheck, Quantity, Verdict
from trimllm_paper.environment import set_environment
from trimllm_paper.gpu_check.cases import CHECKS, STORED, TINY, WHOLE, Case, cases, expected
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.integrity.provenance import Run
from trimllm_paper.recipe import Paths

WORK = "trimllm_paper.gpu_check.work"
CODE = ("throughput", WORK, "trimllm.compress.proof", "trimllm/compress/*.py")
"""A stage, and what else is checked."""
SHARE = 0.25
"""Of all the time that one check may take."""
Answer = dict[str, Any]
"""What a process says: `measured`, or what is `lacking`, or the `error`."""
HOLDS: Verdict = "holds"
FAILS: Verdict = "does not hold"
IMPOSSIBLE: Verdict = "not possible here"
COLUMNS = "  {:16} {:>16} {:>16} {:>6}  {}"


class Checker:
    """Runs checks one after the other, each in a process of its own.

    A process is forked off one that has imported all libraries, so that none has to wait for them.
    CUDA forbids it where a library has looked at the GPU while it was imported: then each process
    imports them anew.

    Args:
        folder: where checks leave what they need and what they say.
        seconds: that all of them together may take.
        device: "cuda" or "cpu".
    """

    def __init__(self, folder: Path, seconds: float, device: str) -> None:
        self.folder, self.limit = folder, SHARE * seconds
        self.end = time.monotonic() + seconds
        forked = multiprocessing.get_context("forkserver")
        forked.set_forkserver_preload([WORK])
        self.processes: Any = forked
        # What asks whether there is a GPU may ask the driver instead of CUDA.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        probe = forked.Process(target=_touch, args=(device,))
        probe.start()
        probe.join()
        if probe.exitcode:
            self.processes = multiprocessing.get_context("spawn")

    def check(self, name: str, case: Case | str) -> Check:
        """Do a check and judge it."""
        start = time.monotonic()
        predicted = {} if isinstance(case, str) else expected(case)
        told: Answer = {"lacking": case} if isinstance(case, str) else self._answer(case)
        measured: dict[str, float] = told.get("measured", {})
        found = {
            key: Quantity(
                unit=one.unit,
                predicted=one.value,
                measured=measured.get(key),
                ratio=measured[key] / one.value if key in measured and one.value else None,
                least=one.least,
                most=one.most,
            )
            for key, one in predicted.items()
        }
        off = [
            key if one.ratio is None else f"{key} ({one.ratio:.2f} of it)"
            for key, one in found.items()
            if not one.holds
        ]
        verdict: Verdict = HOLDS
        reason: str | None = None
        if "lacking" in told:
            verdict, reason = IMPOSSIBLE, told["lacking"]
        elif "error" in told:
            verdict, reason = FAILS, told["error"]
        elif off:
            verdict, reason = FAILS, f"not as predicted: {'; '.join(off)}"
        return Check(
            name=name,
            what=CHECKS[name],
            blocks=None if isinstance(case, str) else case.blocks,
            quantities=found,
            verdict=verdict,
            reason=reason,
            seconds=round(time.monotonic() - start, 1),
        )

    def _answer(self, case: Case) -> Answer:
        """What a check says: what was measured, what is lacking, or what went wrong."""
        end = min(self.end, time.monotonic() + self.limit)
        if self.end <= time.monotonic():
            return {"lacking": "the time for all checks was over; give more minutes, or --only"}
        if case.name in STORED and not (self.folder / f"blocks_{case.blocks}").is_dir():
            told = self._step(case, "prepare", end)
            if "error" in told:
                return {"lacking": f"no checkpoint to begin with: {told['error']}"}
        return self._step(case, "measure", end)

    def _step(self, case: Case, step: str, end: float) -> Answer:
        """Run a step in a process that ends by then, with all that it has started."""
        answer = self.folder / f"{case.name}.json"
        answer.unlink(missing_ok=True)
        process = self.processes.Process(target=_run, args=(case, self.folder, step))
        process.start()
        process.join(max(0.0, end - time.monotonic()))
        late = process.is_alive()
        assert process.pid is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # of an ended one what it has left behind
        process.kill()
        process.join()
        if answer.is_file():
            told: Answer = files.read_json(answer)
            return told
        if late:
            return {"error": f"was ended after {self.limit:.0f} seconds, or when all time was over"}
        how = f"signal {-process.exitcode}" if process.exitcode else "no answer"
        last = self.words(case.name).splitlines() or ["it said nothing"]
        return {"error": f"its process ended with {how}: {last[-1]}"}

    def words(self, name: str) -> str:
        """All that a check's processes have printed."""
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace").strip() if log.is_file() else ""


def _touch(device: str) -> None:
    """Use a device."""
    import torch

    torch.zeros(1, device=device)


def _run(case: Case, folder: Path, step: str) -> None:
    """`work.run`, which this process need not import to name."""
    from trimllm_paper.gpu_check import work

    work.run(case, folder, step)


def run(shape: str | None, only: Sequence[str], output: Path, minutes: float) -> int:
    """Check this machine, write the result, print it as a table.

    Args:
        shape: None takes LLaMA-7B's on a GPU, the tiny one elsewhere.
        only: names of checks; none runs all.
        output: folder of results.
        minutes: for all checks together.
    """
    if unknown := set(only) - set(CHECKS):
        raise UserError(f"no check {min(unknown)!r} (there are: {', '.join(CHECKS)})")
    device: Device = "cuda" if gpus.gpus_present() else "cpu"
    shape = shape or (WHOLE if device == "cuda" else TINY)
    hardware = machine.this_machine(device)
    path = Path(Paths(str(output)).gpu_check(hardware))
    threads = 1 if shape == TINY else min(8, os.cpu_count() or 1)
    made, started = gpus.here()[:1] if device == "cuda" else (), Run(code_hash(*CODE))
    set_environment(threads, online=False)
    found: list[Check] = []
    words: list[str] = []
    print(f"{hardware}: {shape} with random weights, at most {minutes:g} minutes\n")
    print(COLUMNS.format("", "predicted", "measured", "ratio", "").rstrip())
    log = path.with_suffix(".log")
    log.unlink(missing_ok=True)
    files.remove_leftovers(path)  # tens of GB, where a run was killed
    with files.scratch(path) as folder:
        have = _free(device, folder)
        checker = Checker(folder, 60 * minutes, device)
        names = tuple(name for name in CHECKS if not only or name in only)
        for name, case in cases(names, shape, device, threads, have).items():
            found.append(checker.check(name, case))
            print("\n".join(lines(found[-1])), flush=True)
            shutil.rmtree(folder / name, ignore_errors=True)  # what it has made; others need room
            if found[-1].verdict == FAILS:
                words += [f"---- {name}: {found[-1].reason}", checker.words(name)]
    GpuCheck(
        model=shape,
        hardware=hardware,
        device=device,
        gpu=made[0][0] if made else None,
        kind=gpus.kind_named(*made[0]) if made else None,
        minutes=minutes,
        assumed=asdict(duration.ASSUMED),
        checks=found,
        provenance=started.record(),
    ).write(path)
    if words:
        files.write_text(log, "\n".join([*words, ""]))
        print(f"\nWhat those said that do not hold: {log}")
    counts = {one: sum(c.verdict == one for c in found) for one in (HOLDS, FAILS, IMPOSSIBLE)}
    print(f"\n{', '.join(f'{count} {name}' for name, count in counts.items())}; {path}")
    return 1 if counts[FAILS] else 0


def _free(device: str, folder: Path) -> dict[str, float]:
    """Free bytes of all that `cases.needs` names."""
    have = {"disk": float(shutil.disk_usage(folder).free)}
    places = {"memory": "cpu"} | ({"GPU": device} if device == "cuda" else {})
    for name, where in places.items():
        free = machine.free_bytes(where)
        if free is None:
            raise UserError("nvidia-smi says nothing of this GPU's memory; is its driver loaded?")
        have[name] = free
    return have


def lines(check: Check) -> list[str]:
    """A check in lines: one for each quantity, and its verdict."""
    rows = [
        COLUMNS.format(
            *(name, shown(one.predicted, one.unit)),
            *(shown(one.measured, one.unit), "" if one.ratio is None else f"{one.ratio:.2f}"),
            _judged(one),
        ).rstrip()
        for name, one in check.quantities.items()
        if one.measured is not None or check.verdict != IMPOSSIBLE
    ]
    blocks = "" if check.blocks is None else f" ({check.blocks} blocks)"
    why = f": {check.reason}" if check.reason else ""
    return [f"{check.name}, {check.what}{blocks}", *rows, f"  {check.verdict}{why}"]


def _judged(one: Quantity) -> str:
    if one.measured is None:
        return ""
    if one.least is None and one.most is None and one.ratio is not None:
        return "not judged"
    return HOLDS if one.holds else FAILS


def shown(value: float | None, unit: str) -> str:
    """A quantity for a table."""
    if value is None:
        return "-"
    if unit == "bytes":
        return f"{value / demand.GIB:.2f} GiB"
    if unit == "tokens/s":
        return f"{value:,.1f} {unit}"
    return f"{value:.3g} {'s' if unit == 'seconds' else unit}"
