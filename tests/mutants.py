"""Would the tests notice? Each mutant changes one line of the method or of the verdicts.

    python tests/mutants.py [NUMBER ...]

A mutant is a text of a module and what stands there instead, in a copy of `src`; the tests named
with it must fail on that copy, and pass on the code as it is. Heavy libraries are imported once and
each mutant runs in a fork, so that a list of them takes a minute or two.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class Mutant:
    """A change to a module of `src`, and the tests (file, `-k`) that must notice it."""

    module: str
    old: str
    new: str
    tests: str
    named: str


def listed() -> list[Mutant]:
    """The mutants of mutants.yaml."""
    groups = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return [
        Mutant(group["module"], one["old"], one["new"], group["tests"], one["named"])
        for group in groups
        for one in group["changes"]
    ]


# What tests import of other people, which is most of the time of a mutant.
HEAVY = (
    *("torch", "numpy", "pandas", "scipy.stats", "transformers", "pydantic", "jinja2", "peft"),
    *("hypothesis.strategies", "sklearn.metrics", "transformers.generation", "accelerate"),
    "transformers.models.llama.modeling_llama",
)


def run(tests: Sequence[str], source: Path) -> bool:
    """Whether some tests pass on the code under `source`, in a process of their own."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) == 0
    code = 1
    try:
        import pytest

        sys.path.insert(0, str(source))
        sys.dont_write_bytecode = True
        os.environ["PYTHONPATH"] = str(source)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
            code = int(pytest.main(words))
            import trimllm

            if Path(trimllm.__file__).parents[1] != source:
                code = 70  # the tests did not see the mutant
    finally:
        os._exit(code)


def survives(mutant: Mutant, folder: Path) -> bool:
    """Whether no test notices. Raises `ValueError` for a mutant whose text is not there once."""
    source = folder / "src"
    file = source / mutant.module
    text = file.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.module} has {mutant.old!r} {text.count(mutant.old)} times")
    old = file.stat()
    try:
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        return run([str(ROOT / mutant.tests), "-k", mutant.named], source)
    finally:
        file.write_text(text, encoding="utf-8")
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))


# Where a process runs its mutants: a project whose `src` is a copy of its own.
FOLDER: Path


def settle(room: str) -> None:
    """Make this process's copy of the project."""
    global FOLDER
    FOLDER = Path(tempfile.mkdtemp(dir=room))
    shutil.copytree(ROOT / "src", FOLDER / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for beside in ("config", "results", "workflow"):  # what the code reads of the project
        (FOLDER / beside).symlink_to(ROOT / beside)


def passes(tests: tuple[str, str]) -> bool:
    """Whether the tests (file, `-k`) pass on the code as it is."""
    return run([str(ROOT / tests[0]), "-k", tests[1]], FOLDER / "src")


def outlives(mutant: Mutant) -> tuple[bool, float]:
    """Whether no test notices, and the seconds that it took."""
    start = time.monotonic()
    return survives(mutant, FOLDER), time.monotonic() - start


def main(words: Sequence[str] | None = None) -> int:
    """Run the mutants; the survivors are named, and the number of them is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="of the list; default: all")
    mutants = listed()
    chosen = parser.parse_args(words).numbers or [*range(len(mutants))]
    os.chdir(ROOT)
    for name in HEAVY:
        __import__(name)
    alive = []
    forked = multiprocessing.get_context("fork")
    with (
        tempfile.TemporaryDirectory() as room,
        forked.Pool(len(os.sched_getaffinity(0)), settle, [room]) as pool,
    ):
        wanted = [*dict.fromkeys((mutants[n].tests, mutants[n].named) for n in chosen)]
        for (file, named), passed in zip(wanted, pool.imap(passes, wanted), strict=True):
            if not passed:
                print(f"error: {file} -k {named!r} fails on the code as it is", file=sys.stderr)
                return 125
        told = pool.imap(outlives, [mutants[number] for number in chosen])
        for number, (left, seconds) in zip(chosen, told, strict=True):
            mutant = mutants[number]
            alive += [number] if left else []
            change = f"{mutant.old!r} -> {mutant.new!r}"
            verdict = "SURVIVES" if left else "killed"
            print(f"{number:3} {verdict:8} {seconds:4.0f} s {mutant.module}: {change}", flush=True)
    print(f"{len(chosen)} mutants, {len(alive)} survive")
    return min(len(alive), 100)


if __name__ == "__main__":
    sys.exit(main())
