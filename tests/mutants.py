"""Would the tests notice? Each entry of mutants.yaml changes one place of the code; the tests that
it names must fail then, and pass on the code as it is.

    python tests/mutants.py [NUMBER ...]

Heavy libraries are imported once; each run of pytest is a fork in a copy of the project, one for
each core.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "pandas", "scipy.stats", "transformers.models.llama.modeling_llama", "peft")


class Mutant(NamedTuple):
    """A module of `src`, its text with one change, and the tests (file, name) that must fail."""

    module: str
    text: str
    tests: tuple[str, str]
    change: str


def listed() -> Iterator[Mutant]:
    """The mutants of mutants.yaml. Raises `ValueError` for one whose text is not there once."""
    for group in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8")):
        text = (ROOT / "src" / group["module"]).read_text("utf-8")
        for named, old, new in group["changes"]:
            if (count := text.count(old)) != 1:
                raise ValueError(f"{group['module']} has {old!r} {count} times")
            change = f"{group['module']}: {old!r} -> {new!r}"
            changed = text.replace(old, new)
            yield Mutant(group["module"], changed, (group["tests"], named), change)


def passes(tests: tuple[str, str], mutant: Mutant | None = None) -> bool:
    """Whether tests pass, in a fork and a copy of the project, with a mutant or without."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for beside in ROOT.iterdir():  # what code and tests read of the project
            if beside.name != "src":
                (copy / beside.name).symlink_to(beside)
        if mutant:
            (copy / "src" / mutant.module).write_text(mutant.text, "utf-8")
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        code = 1
        try:
            import pytest

            sys.path.insert(0, str(copy / "src"))
            os.environ["PYTHONPATH"] = str(copy / "src")
            how = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile", "mutants"]
            with contextlib.redirect_stdout(io.StringIO()):
                code = int(pytest.main([*how, tests[0], "-k", tests[1]]))
        finally:
            os._exit(code)


def main(numbers: list[int]) -> int:
    """Name the survivors; their number is the exit status, 125 where tests fail without one."""
    os.chdir(ROOT)
    mutants = [*listed()]
    mutants = [mutants[number] for number in numbers] or mutants
    for name in HEAVY:
        __import__(name)
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as pool:
        wanted = [*{mutant.tests: None for mutant in mutants}]
        for tests, passed in zip(wanted, pool.map(passes, wanted), strict=True):
            if not passed:
                print(f"{tests[0]} -k {tests[1]} fails on the code as it is", file=sys.stderr)
                return 125
        lives = pool.map(passes, (mutant.tests for mutant in mutants), mutants)
        alive = [one.change for one, lived in zip(mutants, lives, strict=True) if lived]
    print("\n".join([*(f"SURVIVES {one}" for one in alive), f"{len(mutants)} mutants"]))
    return min(len(alive), 100)


if __name__ == "__main__":
    sys.exit(main([*map(int, sys.argv[1:])]))
