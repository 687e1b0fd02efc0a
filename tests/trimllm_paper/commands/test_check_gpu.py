"""The check of a machine, on the tiny shape: every process real, on a CPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dying
import psutil
import pytest

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.throughput import machine
from trimllm_paper import demand, duration, gpus
from trimllm_paper.__main__ import main
from trimllm_paper.check_records import Check, GpuCheck, Quantity
from trimllm_paper.commands import check_gpu
from trimllm_paper.commands.check_gpu import Checker
from trimllm_paper.gpu_check.cases import CHECKS, Case, cases
from trimllm_paper.integrity.checks import verify
from trimllm_paper.recipe import Paths

pytestmark = pytest.mark.skipif(gpus.gpus_present() > 0, reason="the tiny shape is for CPUs")
AMPLE = 36_000.0
"""Seconds that no machine needs."""
ROOM = {"memory": 1 << 40, "disk": 1 << 40}


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """The command sets variables of its process."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def tiny(*names: str) -> dict[str, Case | str]:
    return cases(names, "llama-tiny", "cpu", 1, ROOM)


def record_of(folder: Path) -> Path:
    return Path(Paths(str(folder)).gpu_check(machine.this_machine("cpu")))


@pytest.mark.slow
@pytest.mark.long
def test_all_of_it_on_a_cpu(tmp_path: Path) -> None:
    """But what takes minutes: compressors that search for each weight."""
    wanted = {"scan", "train", "fsdp", "eager", "sparsegpt_2_4", "stream_host", "stream_disk"}
    wanted |= {"compress_llm_int8", "compress_llm_pruner"}
    if importlib.util.find_spec("gptqmodel"):  # its kernels for CPUs need no compiler
        wanted |= {"awq_int4", "gptq_int4"}
    if shutil.which("c++") or shutil.which("g++"):
        wanted.add("compiled")
    names = [name for name in CHECKS if name in wanted]
    words = ["-m", "trimllm_paper", "check-gpu", "--minutes", "600", "--output", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, *words, "--only", *names], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 0, run.stdout + run.stderr
    path = record_of(tmp_path)
    record = GpuCheck.read(path)
    assert [one.name for one in record.checks] == names
    assert {one.verdict for one in record.checks} == {"holds"}
    assert (record.model, record.device, record.gpu) == ("llama-tiny", "cpu", None)
    assert record.provenance["code_hash"] and record.assumed["launch"] == duration.ASSUMED.launch
    for one in record.checks:
        assert one.quantities and all(q.measured is not None for q in one.quantities.values())
        assert f"{one.name}, {one.what}" in run.stdout
    streamed = [one for one in record.checks if one.name.startswith("stream")]
    assert all(one.quantities["other scores"].measured == 0 for one in streamed)
    assert run.stdout.strip().endswith(f"0 not possible here; {path}")
    # whole, sealed, checked with all other results; nothing is left beside it
    assert verify(tmp_path) == ({"results": 1}, [])
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    content = files.read_json(path)
    content["checks"][0]["seconds"] = 1.0
    files.write_json(path, content)
    with pytest.raises(UserError, match="was changed after it was written"):
        GpuCheck.read(path)


def test_a_check_that_fails_is_named_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "blocks_4").mkdir()  # no checkpoint
    checker = Checker(tmp_path, AMPLE, "cpu")
    found = {name: checker.check(name, one) for name, one in tiny("train", "scan").items()}
    assert found["train"].verdict == "does not hold" and found["scan"].verdict == "holds"
    reason = str(found["train"].reason)
    assert "blocks_4 is no checkpoint: it has no config.json" in reason and "\n" not in reason
    assert {one.measured for one in found["train"].quantities.values()} == {None}
    assert any("does not hold: " in line for line in check_gpu.lines(found["train"]))


def test_a_process_that_dies_is_named_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_gpu, "_run", dying.die)
    checker = Checker(tmp_path, AMPLE, "cpu")
    found = {name: checker.check(name, one) for name, one in tiny("scan", "train").items()}
    assert found["scan"].reason == "its process ended with signal 9: no room left"
    assert [one.verdict for one in found.values()] == ["does not hold", "holds"]


def test_a_check_that_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_gpu, "_run", dying.hang)
    checker = Checker(tmp_path, AMPLE, "cpu")
    (one,) = tiny("scan").values()
    assert isinstance(one, Case)
    seconds, pids = 0.5, tmp_path / "pids"
    while not pids.is_file():  # a busy machine takes its time to start a process
        found = checker._step(one, "measure", time.monotonic() + seconds)
        seconds *= 2
    assert found["error"].startswith("was ended after ")
    processes = [int(number) for number in pids.read_text().split()]
    for _ in range(1000):  # the end of a killed process is not waited for
        if not any(map(lives, processes)):
            break
        time.sleep(0.1)
    assert len(processes) == 2 and not any(map(lives, processes))


def lives(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_status_and_table_say_what_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(demand, "FORWARD_MIB", 1)  # a plan that knows nothing of Python
    words = ["check-gpu", "--only", "scan", "--minutes", "600", "--output", str(tmp_path)]
    assert main(words) == 1
    (one,) = GpuCheck.read(record_of(tmp_path)).checks
    assert one.verdict == "does not hold" and str(one.reason).startswith("not as predicted: host")
    assert "1 does not hold" in capsys.readouterr().out
    log = record_of(tmp_path).with_suffix(".log").read_text()
    assert log.startswith(f"---- scan: {one.reason}\n") and "8/8 [" in log


def test_no_time_is_not_possible_here(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["check-gpu", "--only", "scan", "--minutes", "0", "--output", str(tmp_path)]
    assert main(words) == 0
    (one,) = GpuCheck.read(record_of(tmp_path)).checks
    assert one.verdict == "not possible here" and "give more minutes" in str(one.reason)


def test_what_does_not_fit_or_has_no_kernel_is_not_possible_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = Checker(tmp_path, AMPLE, "cpu")
    small = cases(("scan",), "llama-tiny", "cpu", 1, ROOM | {"memory": 0})["scan"]
    found = checker.check("scan", small)
    assert (found.verdict, found.blocks, found.quantities) == ("not possible here", None, {})
    assert str(found.reason).startswith("memory is too small: one block needs 1.1 GiB, 0.0 are")
    odd = Case("awq_int4", "smollm2-135m", 1, "cpu")  # groups of 128 do not divide 576
    found = checker.check("awq_int4", odd)
    assert found.verdict == "not possible here" and "does not divide" in str(found.reason)


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture) -> None:
    assert main(["check-gpu", "--only", "speed"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no check 'speed' (there are: scan, train, ")


def test_a_record_does_not_contradict_itself() -> None:
    over = {"unit": "bytes", "predicted": 2.0, "measured": 3.0, "ratio": 1.5}
    over |= {"least": None, "most": 1.0}
    check = {"name": "scan", "what": "x", "blocks": 1, "quantities": {"memory": over}}
    check |= {"verdict": "holds", "reason": None, "seconds": 1.0}
    with pytest.raises(ValueError, match="scan holds, but not its memory"):
        Check.model_validate(check)
    with pytest.raises(ValueError, match="does not hold without a reason"):
        Check.model_validate(check | {"verdict": "does not hold"})
    for ratio, holds in ((0.4, False), (0.5, True), (1.0, True), (1.1, False)):
        bounds = {"measured": 2 * ratio, "ratio": ratio, "least": 0.5}
        assert Quantity.model_validate(over | bounds).holds == holds
