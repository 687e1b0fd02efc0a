"""Would the tests notice? Each mutant changes one place of the method or of the verdicts.

    python tests/mutants.py [NUMBER ...]
    python tests/mutants.py --sample build/mutants.jsonl --told build/told.jsonl

A mutant is a module with one change, in a copy of `src`; its tests must fail on that copy, and pass
on the code as it is. Those of mutants.yaml name their tests; those of a sample (`make mutants`) are
given what mirrors their module, then its room, then the quick tests of the package, until one
notices; `--runs 2` leaves the package out, which takes most of the hours. Heavy libraries are
imported once and each run is a fork, one for each core. Mutants of a sample that change nothing
which anybody could see stand in equivalents.yaml with the reason, and are not run; of the others
nine in ten must be noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
LIST, EQUIVALENTS = (
    Path(__file__).with_suffix(".yaml"),
    Path(__file__).with_name("equivalents.yaml"),
)
NOTICED = 0.9
"""Share of a sample that tests must notice."""
SECONDS = 1200
"""Of a processor, after which a run has failed: a mutant may never end."""
VERDICTS = {True: "SURVIVES", False: "killed", None: "ENDED"}


@dataclass(frozen=True)
class Mutant:
    """A module of `src` as it stands there instead.

    Attributes:
        change: what is changed, in words.
        runs: arguments of pytest, one run after another until one of them fails.
    """

    module: str
    source: str
    change: str
    runs: tuple[tuple[str, ...], ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()


def listed() -> list[Mutant]:
    """The mutants of mutants.yaml. Raises `ValueError` for one whose text is not there once."""
    found = []
    for group in yaml.safe_load(LIST.read_text(encoding="utf-8")):
        text = (SOURCE / group["module"]).read_text(encoding="utf-8")
        for one in group["changes"]:
            if text.count(one["old"]) != 1:
                times = f"{text.count(one['old'])} times"
                raise ValueError(f"{group['module']} has {one['old']!r} {times}")
            words = (group["tests"], "-k", one["named"])
            change = f"{one['old']!r} -> {one['new']!r}"
            source = text.replace(one["old"], one["new"])
            found.append(Mutant(group["module"], source, change, (words,)))
    return found


def sampled(file: Path) -> list[Mutant]:
    """The mutants of a sample (`envs/mutants/sample.py`)."""
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [Mutant(**row, runs=mirrors(row["module"])) for row in rows]


def equivalents() -> dict[tuple[str, str], str]:
    """(module, change) -> why nobody could see it; a change without its line numbers."""
    rows = yaml.safe_load(EQUIVALENTS.read_text(encoding="utf-8"))
    return {(row["module"], row["change"]): row["why"] for row in rows}


def without_places(change: str) -> str:
    """A change without its line numbers, which move with what stands above."""
    return " ".join(re.sub(r"@@ [^@]* @@", "", change).split())


TRAINED = ("trimllm/train/test_train.py", "trimllm/train/test_oracle.py")
BESIDE = {
    "trimllm_paper/cells.py": ("trimllm_paper/test_grid_*.py",),
    **dict.fromkeys(
        (f"trimllm_paper/claims/{one}.py" for one in ("accuracy", "evidence")),
        ("trimllm_paper/claims/test_c*.py",),
    ),
    **dict.fromkeys((f"trimllm/train/{one}.py" for one in ("batching", "loop", "team")), TRAINED),
    "trimllm/train/settings.py": TRAINED,
    "trimllm/train/teacher.py": ("trimllm/train/test_fine_tune.py", TRAINED[1]),
    "trimllm/train/jobs.py": ("trimllm/train/test_parallel.py",),
    **dict.fromkeys(
        (f"trimllm/sublayers/families/{one}.py" for one in ("llama", "opt")),
        ("trimllm/scanning/test_scan.py",),
    ),
}
"""Modules whose tests have other names, too."""


def mirrors(module: str) -> tuple[tuple[str, ...], ...]:
    """Runs of the tests that mirror a module, nearest first."""
    path, quick, every = Path(module), ("-m", "not slow"), ROOT / "tests"
    tests, package = every / path.parent, every / path.parts[0]
    while not tests.is_dir():  # a room of a room, tested with it
        tests = tests.parent
    patterns = (f"{tests.relative_to(every)}/test_{path.stem}*.py", *BESIDE.get(module, ()))
    named = tuple(str(one) for each in patterns for one in sorted(every.glob(each)))
    room = () if tests == package else ((str(tests),),)
    return (*((named,) if named else ()), *room, (str(package), *quick))


# What tests import of other people, which is most of the time of a mutant.
HEAVY = (
    *("torch", "numpy", "pandas", "scipy.stats", "transformers", "pydantic", "jinja2", "peft"),
    *("hypothesis.strategies", "sklearn.metrics", "transformers.generation", "accelerate"),
    "transformers.models.llama.modeling_llama",
)


class Ended(Exception):
    """Somebody else, or a lack of memory, ended a run: what the tests would say is not known."""


def run(words: Sequence[str], source: Path, show: bool = False) -> bool:
    """Whether some tests pass on the code under `source`, in a process of their own; `show` says
    why they do not. Raises `Ended`."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGKILL:
            raise Ended(f"{' '.join(words)} was killed")
        return code == 0
    code = 1
    try:
        import pytest

        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 60))
        sys.path.insert(0, str(source))
        sys.dont_write_bytecode = True
        os.environ["PYTHONPATH"] = str(source)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            how = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
            how += ["--hypothesis-profile", "mutants"]
            code = int(pytest.main([*how, *words]))
        if code and show:
            print(said.getvalue()[-2000:], file=sys.stderr, flush=True)
        import trimllm

        if Path(trimllm.__file__).parents[1] != source:
            code = 70  # the tests did not see the mutant
    finally:
        os._exit(code)


# Where a process runs its mutants: a project whose `src` is a copy of its own.
FOLDER: Path


def settle(room: str) -> None:
    """Make this process's copy of the project."""
    global FOLDER
    FOLDER = Path(tempfile.mkdtemp(dir=room))
    shutil.copytree(SOURCE, FOLDER / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for beside in ROOT.iterdir():  # what code and tests read of the project
        if beside != SOURCE:
            (FOLDER / beside.name).symlink_to(beside)


def passes(words: Sequence[str]) -> bool:
    """Whether tests pass on the code as it is."""
    return run(words, FOLDER / "src", show=True)


def outlives(mutant: Mutant, first: int, last: int) -> tuple[bool | None, float]:
    """Whether no test of its runs from `first` to before `last` notices (None: one was ended), and
    the seconds taken."""
    start, file = time.monotonic(), FOLDER / "src" / mutant.module
    text, old = file.read_text(encoding="utf-8"), file.stat()
    left: bool | None = None
    try:
        file.write_text(mutant.source, encoding="utf-8")
        with contextlib.suppress(Ended):
            left = all(run(words, FOLDER / "src") for words in mutant.runs[first:last])
    finally:
        file.write_text(text, encoding="utf-8")
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    return left, time.monotonic() - start


def main(words: Sequence[str] | None = None) -> int:
    """Run the mutants; the survivors are named. The exit status is their number; of a sample 1
    where too many survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="of the list; default: all")
    parser.add_argument("--sample", type=Path, help="mutants instead of the list")
    parser.add_argument("--told", type=Path, help="what is known of them already, and is added to")
    parser.add_argument("--runs", type=int, help="at most, of each: nearest tests first")
    args = parser.parse_args(words)
    mutants = sampled(args.sample) if args.sample else listed()
    # Mutant -> its runs that noticed nothing; None where one did.
    known: dict[str, int | None] = {}
    if args.told and args.told.is_file():
        rows = map(json.loads, args.told.read_text(encoding="utf-8").splitlines())
        known = {row["sha256"]: row["outlived"] for row in rows}
    chosen, same = args.numbers or [*range(len(mutants))], equivalents() if args.sample else {}
    reasons = {n: same.get((mutants[n].module, without_places(mutants[n].change))) for n in chosen}
    for number, why in reasons.items():
        if why:
            print(f"{number:3} equivalent {mutants[number].module}: {why}")
    chosen = [number for number in chosen if not reasons[number]]
    left = []  # mutants, each with the first and the last of its runs to come
    for number in chosen:
        first, last = known.get(mutants[number].sha256, 0), len(mutants[number].runs)
        last = min(last, args.runs or last)
        if first is not None and first < last:
            left.append((number, first, last))
    os.chdir(ROOT)
    for name in HEAVY:
        __import__(name)
    # (Not a Pool: what its processes run may start none of their own.)
    cores, forked = len(os.sched_getaffinity(0)), multiprocessing.get_context("fork")
    with (
        tempfile.TemporaryDirectory() as room,
        ProcessPoolExecutor(cores, forked, settle, (room,)) as pool,
    ):
        runs = chain.from_iterable(mutants[n].runs[first:last] for n, first, last in left)
        wanted = [*dict.fromkeys(runs)]
        for tests, passed in zip(wanted, pool.map(passes, wanted), strict=True):
            if not passed:
                pool.shutdown(cancel_futures=True)
                print(f"error: {' '.join(tests)} fails on the code as it is", file=sys.stderr)
                return 125
        of_each = ([mutants[n] for n, *_ in left], *zip(*(runs for _, *runs in left), strict=True))
        found = pool.map(outlives, *of_each) if left else ()
        for (number, _, last), (lives, seconds) in zip(left, found, strict=True):
            mutant, verdict = mutants[number], VERDICTS[lives]
            said = f"{mutant.module}: {mutant.change}"
            print(f"{number:3} {verdict:8} {seconds:4.0f} s {said}", flush=True)
            if lives is None:
                continue  # it counts as a survivor, and is run again when asked for
            known[mutant.sha256] = last if lives else None
            if args.told:
                row = {"sha256": mutant.sha256, "outlived": known[mutant.sha256], "mutant": said}
                with args.told.open("a", encoding="utf-8") as told:
                    told.write(json.dumps(row) + "\n")
    alive = sum(known.get(mutants[number].sha256, 0) is not None for number in chosen)
    print(f"{len(chosen)} mutants, {alive} survive")
    if args.sample:
        share = 1 - alive / len(chosen) if chosen else 1.0
        equal = len(reasons) - len(chosen)
        print(f"{share:.1%} noticed, {NOTICED:.0%} asked; {equal} more are equivalent")
        return int(share < NOTICED)
    return min(alive, 100)


if __name__ == "__main__":
    sys.exit(main())
