"""A fine-tuning that was killed goes on, and ends with the bytes of one that was not."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from models import random_documents, tiny, word_tokenizer

from trimllm import checkpoint
from trimllm.base import files
from trimllm.data.document import read_documents, write_documents
from trimllm.train import Teacher, TrainJob, TrainSettings, fine_tune, make_checkpoint, train_pass
from trimllm.train.resume import DONE, Saved
from trimllm.train.team import ONE

# The third pass of five is the best one of some, the first of others.
SETTINGS = {"learning_rate": 1e-2, "batch_size": 4, "dtype": "float32", "seed": 3}
KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "sparse": {"trainable": [1, 3]},
    "lora": {"lora": {"rank": 2, "alpha": 4}},
    "not judged": {},
}


class Killed(BaseException):
    """What no handler catches."""


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "base")
    write_documents(tmp_path / "train.jsonl", random_documents(12, longest=7))
    write_documents(tmp_path / "held_back.jsonl", random_documents(9, 5, longest=7))
    return TrainJob(
        recipe="trimllm.train:fine_tune",
        checkpoint=str(tmp_path / "base"),
        train=str(tmp_path / "train.jsonl"),
        held_back=str(tmp_path / "held_back.jsonl"),
        settings=SETTINGS,
        arguments={"epochs": 5, "patience": 5},
        storage_dtype="float32",
        save_every=0,
    )


def made(job: TrainJob, target: Path) -> tuple[bytes, dict[str, Any]]:
    """Weights and record, without what a clock says."""
    record = make_checkpoint(job, target, record_name="training", provenance=dict)
    passes = [one | {"seconds": 0} for one in record["passes"]]
    told = {name: record[name] for name in ("held_back", "kept_pass", "trainable_blocks")}
    return (target / "model.safetensors").read_bytes(), told | {"passes": passes}


def state(target: Path) -> Path:
    return target.with_name(f".passes-{target.name}")


@pytest.mark.parametrize("cut", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_going_on_gives_the_bytes_of_a_run_that_was_not_cut(
    kind: str, cut: int, job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, arguments=job.arguments | KINDS[kind])
    if kind == "not judged":
        job = replace(job, held_back=None)
    module, begun = sys.modules[fine_tune.__module__], []
    plain = module.train_pass

    def train_pass(*args: Any, epoch: int, **options: Any) -> Any:
        begun.append(epoch)
        if epoch == cut and len(begun) <= cut + 1:
            raise Killed
        return plain(*args, epoch=epoch, **options)

    uncut = made(job, tmp_path / "uncut")
    monkeypatch.setattr(module, "train_pass", train_pass)
    with pytest.raises(Killed):
        made(job, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    assert len(list(state(tmp_path / "cut").glob("*.safetensors"))) <= 2
    assert made(job, tmp_path / "cut") == uncut
    assert begun == [*range(cut + 1), *range(cut, 5)]  # no pass twice
    assert not state(tmp_path / "cut").exists()


@pytest.mark.parametrize(
    "other", [{"code": "another"}, {"settings": SETTINGS | {"seed": 4}}, {"save_every": 1e9}, {}]
)
def test_a_state_of_another_job_is_not_gone_on_from(
    other: dict[str, Any], job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, begun = sys.modules[fine_tune.__module__], []
    plain = module.train_pass

    def train_pass(*args: Any, epoch: int, **options: Any) -> Any:
        begun.append(epoch)
        if len(begun) == 3:
            raise Killed
        return plain(*args, epoch=epoch, **options)

    monkeypatch.setattr(module, "train_pass", train_pass)
    with pytest.raises(Killed):
        made(replace(job, **{"save_every": 1e9} if "save_every" in other else {}), tmp_path / "to")
    if not other:  # the same job on other documents
        write_documents(tmp_path / "train.jsonl", random_documents(12, 8, longest=7))
    expected = made(replace(job, **other), tmp_path / "elsewhere")
    del begun[3:]
    assert made(replace(job, **other), tmp_path / "to") == expected
    assert begun == [0, 1, 2, *range(5)]


def test_weights_of_another_job_are_not_taken_for_its_own(
    job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs that take turns at one place, and are killed after the same pass."""
    module, begun = sys.modules[fine_tune.__module__], []
    plain = module.train_pass
    other = replace(job, settings=SETTINGS | {"seed": 4})
    uncut = [made(one, tmp_path / f"uncut_{n}") for n, one in enumerate((job, other))]

    def train_pass(*args: Any, epoch: int, **options: Any) -> Any:
        begun.append(epoch)
        if epoch == 1 and len(begun) <= 4:
            raise Killed
        return plain(*args, epoch=epoch, **options)

    monkeypatch.setattr(module, "train_pass", train_pass)
    for one in (job, other):
        with pytest.raises(Killed):
            made(one, tmp_path / "to")
    assert made(other, tmp_path / "to") == uncut[1]
    assert made(job, tmp_path / "to") == uncut[0]
    assert begun == [0, 1, 0, 1, *range(1, 5), *range(5)]


@pytest.mark.parametrize("cut", [2, 4, 9])
@pytest.mark.parametrize("kind", [*KINDS, "taught", "in 8 bits"])
def test_what_was_cut_inside_a_pass_goes_on_from_there(
    kind: str, cut: int, job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `cut` steps, of which each pass has three; dropout draws in each."""
    model = tiny("llama", mlp_width=256 if kind == "in 8 bits" else None)
    model.config.attention_dropout = 0.5
    checkpoint.save(model, word_tokenizer(), tmp_path / "base")
    job = replace(job, arguments=job.arguments | KINDS.get(kind, {}))
    if kind == "not judged":
        job = replace(job, held_back=None)
    elif kind == "taught":
        told = Teacher.of(tiny("llama", 1), word_tokenizer(), read_documents(job.train))
        told.save(tmp_path / "told.safetensors")
        teacher = str(tmp_path / "told.safetensors")
        job = replace(job, teacher=teacher, settings=SETTINGS | {"kl": 0.5})
    elif kind == "in 8 bits":
        pytest.importorskip("bitsandbytes")
        job = replace(job, settings=SETTINGS | {"optimizer": "adamw_8bit"})
    uncut = made(job, tmp_path / "uncut")
    monkeypatch.setattr(sys.modules[train_pass.__module__], "STEPS", 1)
    rate, begun = TrainSettings.rate, []

    def cut_rate(settings: TrainSettings, epoch: int, epochs: int, done: float) -> float:
        begun.append(3 * epoch + round(3 * done))
        if len(begun) == cut + 1:
            raise Killed
        return rate(settings, epoch, epochs, done)

    monkeypatch.setattr(TrainSettings, "rate", cut_rate)
    with pytest.raises(Killed):
        made(job, tmp_path / "cut")
    assert made(job, tmp_path / "cut") == uncut
    assert begun == [*range(cut + 1), *range(cut, 15)]  # no step twice
    assert not state(tmp_path / "cut").exists()


def test_a_state_that_takes_long_to_keep_is_kept_rarely(
    job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("trimllm.train.resume.time.monotonic", lambda: now)
    saved = Saved(tmp_path / "state", lambda: "job", every=600, last=0)
    kept = []

    def slowly() -> dict[str, Any]:
        nonlocal now
        kept.append(now)
        now += 100
        return {}

    while now < 6000:
        now += 10
        if saved.due(ONE):
            saved.keep(ONE, {}, {"now": (f"{now}", slowly)})
    assert kept == [600, 2700, 4800]  # each 20 x 100 seconds after the one before has ended


@pytest.mark.parametrize("inside", [pytest.param(False, marks=pytest.mark.long), True])
def test_several_processes_that_were_killed_go_on(
    inside: bool, job: TrainJob, tmp_path: Path
) -> None:
    job = replace(job, processes=2, arguments={"epochs": 3, "patience": 3})
    if inside:
        write_documents(tmp_path / "train.jsonl", random_documents(80, longest=7))
    uncut = made(job, tmp_path / "uncut")
    files.write_json(tmp_path / "job.json", asdict(job))
    program = (
        "import sys; from trimllm.base import files; from trimllm.train import *\n"
        "job = TrainJob(**files.read_json(sys.argv[1]))\n"
        "make_checkpoint(job, sys.argv[2], record_name='training', provenance=dict)"
    )
    target, done = tmp_path / "cut", state(tmp_path / "cut") / DONE
    command = [sys.executable, "-c", program, str(tmp_path / "job.json"), str(target)]
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            if done.is_file() and ("inside" in files.read_json(done)["parts"]) == inside:
                break
            time.sleep(0.01)
        family = [*psutil.Process(process.pid).children(recursive=True), process]
        for one in family:  # as a cluster does
            one.kill()
        psutil.wait_procs(family[:-1])
    assert done.is_file() and not target.exists()
    said = files.read_json(done)
    assert made(job, target) == uncut
    # (It may have gone on for a moment before it was killed.)
    assert "inside" in said["parts"] or 1 <= len(said["passes"]) < 3
