"""The tests notice the most telling mutants of the method, the verdicts and the claims."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / ".envs/mutants/bin/python"


def mutants(*words: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: each mutant forks from one that knows no module of ours yet."""
    path = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(ROOT / "tests/mutants.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=path, cwd=ROOT)


def tool_of() -> ModuleType:
    """`tests/mutants.py`, which no test imports otherwise."""
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests/mutants.py")
    tool = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = tool
    spec.loader.exec_module(tool)
    return tool


@pytest.mark.slow
def test_every_listed_mutant_is_killed() -> None:
    run = mutants()
    alive = [line for line in run.stdout.splitlines() if "SURVIVES" in line]
    assert run.returncode == 0 and not alive, "\n".join([*alive, run.stderr[-2000:]])


def test_a_sample_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What is known of a mutant is not asked again, until its module is another one."""
    sample, told = tmp_path / "sample.jsonl", tmp_path / "told.jsonl"
    source = (ROOT / "src/trimllm_paper/verdict.py").read_text(encoding="utf-8")
    wrong = source + "\nraise ValueError\n"
    rows = [
        {"module": "trimllm_paper/verdict.py", "source": one, "change": name}
        for name, one in (("lives", source + "\n"), ("dies", wrong))
    ]
    sample.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sha256 = hashlib.sha256(rows[0]["source"].encode()).hexdigest()
    known = {"sha256": sha256, "outlived": 1, "mutant": "lives"}
    dead = {**known, "sha256": hashlib.sha256(wrong.encode()).hexdigest(), "outlived": None}
    told.write_text("".join(json.dumps(row) + "\n" for row in (known, dead)))
    # Of its two runs it has outlived the one that is asked for, and then both.
    for words, outlived in ((("--runs", "1"), 1), ((), 2)):
        told.write_text(told.read_text().replace('"outlived": 1', f'"outlived": {outlived}'))
        run = mutants("--sample", str(sample), "--told", str(told), *words)
        assert run.returncode == 1, run.stderr
        assert run.stdout.splitlines() == [
            "2 mutants, 1 survive",
            "50.0% noticed, 90% asked; 0 more are equivalent",
        ]


def test_a_run_that_was_ended_is_neither_noticed_nor_known(tmp_path: Path) -> None:
    """As by a lack of memory; it counts as a survivor."""
    sample, told = tmp_path / "sample.jsonl", tmp_path / "told.jsonl"
    source = (ROOT / "src/trimllm_paper/verdict.py").read_text(encoding="utf-8")
    source += "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    row = {"module": "trimllm_paper/verdict.py", "source": source, "change": "ends"}
    sample.write_text(json.dumps(row) + "\n")
    run = mutants("--sample", str(sample), "--told", str(told), "--runs", "1")
    assert run.returncode == 1 and not told.exists(), run.stderr
    first, *rest = run.stdout.splitlines()
    assert first.split()[:2] == ["0", "ENDED"] and rest[0] == "1 mutants, 1 survive"


def test_what_nobody_could_see_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts neither as noticed nor as survivor, wherever its lines stand by now."""
    tool, sample = tool_of(), tmp_path / "sample.jsonl"
    change = "@@ -9 +9 @@ -a = 1 +a = 2"
    row = {"module": "trimllm/trimming.py", "source": "a = 2", "change": change}
    sample.write_text(json.dumps(row) + "\n")
    known = tmp_path / "equivalents.yaml"
    monkeypatch.setattr(tool, "EQUIVALENTS", known)
    monkeypatch.chdir(ROOT)
    known.write_text(
        '- {module: trimllm/trimming.py, change: "-a = 1 +a = 2", why: nobody reads it}\n'
    )
    assert tool.main(["--sample", str(sample)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split(maxsplit=2)[1:] == ["equivalent", "trimllm/trimming.py: nobody reads it"]
    assert told[1:] == ["0 mutants, 0 survive", "100.0% noticed, 90% asked; 1 more are equivalent"]


def test_every_module_has_tests_that_mirror_it() -> None:
    tool = tool_of()
    for name, nearest in (
        ("trimllm/select.py", "tests/trimllm/test_select.py"),
        ("trimllm/scanning/onepass.py", "tests/trimllm/scan"),
        ("trimllm/sublayers/packing.py", "tests/trimllm/units"),
        ("trimllm_paper/claims/speed.py", "tests/trimllm_paper/claims"),
    ):
        runs = tool.mirrors(name)
        assert runs[0] == (str(ROOT / nearest),) and Path(runs[0][0]).exists()
        assert runs[-1] == (str(ROOT / "tests" / name.partition("/")[0]), "-m", "not slow")
    for name, patterns in tool.BESIDE.items():
        assert (ROOT / "src" / name).is_file()
        assert all([*(ROOT / "tests").glob(one)] for one in patterns)
        assert all(Path(one).is_file() for one in tool.mirrors(name)[0])


@pytest.mark.skipif(not TOOL.is_file(), reason="not built (make mutants builds it)")
def test_a_sample_changes_what_is_evaluated() -> None:
    words = [str(TOOL), str(ROOT / "envs/mutants/sample.py"), "20", "--seed", "3"]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(rows) == 20 == len({row["source"] for row in rows})
    for row in rows:
        source = (ROOT / "src" / row["module"]).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(row["source"])) != ast.dump(ast.parse(source))
