"""Fresh processes in turn: the order of rounds, figures from them, and what fails in one line."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from trimllm.base.errors import UserError
from trimllm.throughput.result import Protocol, Rates, Run, figures, predicted, summary
from trimllm.throughput.session import Entry, measure, timed
from trimllm.throughput.subject import Subject, shape_subject

PROTOCOL = Protocol(prompt=16, generate=4, repeats=3)
ROUNDS = {"full": [9.0, 4.0, 8.0, 2.0], "trimmed": [9.0, 2.0, 2.0, 2.0]}
"""Seconds of decoding, the round that does not count first."""
FACTS = {
    "full": {"bytes": {"units": 80, "embeddings": 10, "head": 20}, "prefill_operations": 600},
    "trimmed": {"bytes": {"units": 20, "embeddings": 10, "head": 20}, "prefill_operations": 200},
}
KV = {"kv_bytes_per_token": 2}
SCRIPT = """
import os, signal

class Worker:
    def __init__(self, name, log, seconds, fault=""):
        self.name, self.log, self.seconds, self.fault = name, log, seconds, fault
        self.facts = {"said_by": name}
        if fault == "mistake":
            raise SystemExit("no such model")

    def time(self, batch):
        with open(self.log, "a") as log:
            print(self.name, batch, file=log)
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault:
            raise RuntimeError(self.fault)
        decode = self.seconds.pop(0)
        return {"prefill": decode / 2, "decode": decode, "peak_memory_bytes": int(decode)}
"""


def run(folder: Path, protocol: Protocol = PROTOCOL, fault: str = "") -> dict[str, Any]:
    """A session of two models whose seconds are known."""
    (script := folder / "worker.py").write_text(SCRIPT)
    entries = [
        Entry(
            name,
            script,
            {
                **{"name": name, "log": str(folder / "log")},
                "seconds": seconds * len(protocol.batches),
                "fault": fault if name == "trimmed" else "",
            },
            FACTS[name] | KV,
        )
        for name, seconds in ROUNDS.items()
    ]
    return timed(entries, protocol, device="cpu", dtype="float32", threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("session")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return run(folder, Protocol(16, 4, 3, (1, 2)))


def test_every_other_round_goes_the_other_way(folder: Path, found: dict[str, Any]) -> None:
    forth, back = ["full", "trimmed"], ["trimmed", "full"]
    order = [line.split() for line in (folder / "log").read_text().splitlines()]
    assert order == [
        [name, str(batch)]
        for batch in (1, 2)
        for names in (forth, back, forth, back)
        for name in names
    ]
    assert found["interleaved"] and [row["said_by"] for row in found["measured"]] == forth * 2


def test_figures_are_those_of_the_rounds(found: dict[str, Any]) -> None:
    """By hand: 4 tokens in 4, 8 and 2 seconds against 2, 2 and 2; a step reads units, head, and the
    cache of 18.5 tokens in the mean for each text."""
    full, trimmed = found["measured"][:2]
    assert full["decode_tokens_per_second"]["samples"] == [1, 0.5, 2]
    assert trimmed["decode_tokens_per_second"]["samples"] == [2, 2, 2]
    assert trimmed["prefill_tokens_per_second"]["median"] == 16
    assert trimmed["speedup"]["samples"] == trimmed["prefill_speedup"]["samples"] == [2, 4, 1]
    assert trimmed["speedup"]["median"] == 2 and "speedup" not in full
    assert trimmed["peak_memory_bytes"] == 2 and trimmed["bytes"]["total"] == 50
    assert (full["read_bytes_per_token"], trimmed["read_bytes_per_token"]) == (137, 77)
    assert (
        trimmed["achieved_bytes_per_second"] == 2 * 77 and trimmed["bandwidth_ratio"] == 154 / 137
    )
    assert trimmed["predicted_speedup"] == 137 / 77
    assert trimmed["share_of_predicted_speedup"] == pytest.approx(2 * 77 / 137)
    assert trimmed["predicted_prefill_speedup"] == 3
    # Of two texts a step writes two tokens and reads two caches.
    two = found["measured"][3]
    assert two["batch"] == 2 and two["read_bytes_per_token"] == 40 + 2 * 37
    assert two["decode_tokens_per_second"]["samples"] == [4, 4, 4]
    assert two["achieved_bytes_per_second"] == 2 * 114


def test_the_machines_rates_stand_beside_every_round(found: dict[str, Any]) -> None:
    assert len(found["copy_samples"]) == len(found["matrix_samples"]) == 2 * 3
    assert found["copy_bytes_per_second"] == statistics.median(found["copy_samples"])
    assert 1e8 < found["copy_bytes_per_second"] < 1e13
    assert found["protocol"]["repeats"] == 3 and found["machine"]["before"]["load_average"]
    rates = Rates(copy=[100.0, 10.0, 1.0], matrix=[1000.0])
    one = figures(PROTOCOL, 1, Run(FACTS["full"] | KV, [1.0], [2.0]), rates=rates)
    assert one["share_of_copy"] == 2 * 137 / 10 and one["share_of_matrix"] == 600 / 1000


def test_an_interval_is_students_t_on_logarithms() -> None:
    """By hand: logarithms 0, ln 2, 2 ln 2 with deviation ln 2; t(2) at 97.5% is 4.3027."""
    found = summary([1.0, 4.0, 2.0])
    assert (found["median"], found["q1"], found["q3"]) == (2, 1.5, 3)
    half = 4.302653 / math.sqrt(3)
    assert math.log2(found["low"]) == pytest.approx(1 - half, abs=1e-5)
    assert math.log2(found["high"]) == pytest.approx(1 + half, abs=1e-5)
    assert summary([7.0]) == {"median": 7, "q1": 7, "q3": 7, "samples": [7]}


def test_what_is_not_recorded_is_not_predicted(found: dict[str, Any]) -> None:
    full, trimmed = found["measured"][:2]
    older = {key: value for key, value in trimmed.items() if key != "prefill_operations"}
    assert predicted(older).keys() == {"predicted_speedup", "share_of_predicted_speedup"}
    assert predicted(full) == {}


@pytest.mark.parametrize(
    "fault, words",
    [
        ("killed", r"not enough memory \(cpu\) to time 2 models in turn .*end other programs"),
        ("CUDA out of memory. Tried", "not enough memory .*Tried.*smaller models"),
        ("DefaultCPUAllocator: can't allocate memory", "not enough memory .*end other programs"),
        ("Free memory on device (3 GiB)", "not enough memory .*end other programs"),
        ("no kernel\nfor this", "cannot be timed: trimmed: .*no kernel"),
        ("mistake", "^trimmed: no such model$"),
    ],
)
def test_a_process_that_fails_is_one_line(tmp_path: Path, fault: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        run(tmp_path, fault=fault)
    assert "\n" not in str(error.value)


def test_shapes_are_timed_for_real() -> None:
    half, full = shape_subject("llama-tiny", 0.5, 50), Subject(shape="llama-tiny")
    lines: list[str] = []
    found = measure([full, half], PROTOCOL, say=lines.append)
    one, other = found["measured"]
    assert (one["units_kept"], other["units_kept"], other["units_total"]) == (8, 4, 8)
    assert other["bytes"]["units"] * 2 == one["bytes"]["units"]
    assert len(other["speedup"]["samples"]) == 3 and other["random_weights"]
    assert one["peak_memory_bytes"] > one["bytes"]["total"] and one["share_of_matrix"] > 0
    assert len(lines) == 3 and "round 3 of 3" in lines[-1]
    json.dumps(found, allow_nan=False)


def test_mistakes_of_users(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="gpt2") as error:
        measure([Subject(checkpoint=str(tmp_path))], PROTOCOL)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="must be at least 1"):
        Protocol(prompt=0)
