"""A fine-tuning that was killed goes on, and ends with the bytes of one that was not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from models import job_folder, random_documents, tiny, train_job

from trimllm.base import files
from trimllm.data.document import write_documents
from trimllm.train import TrainJob, TrainSettings, make_checkpoint

# The third pass of five is the best one of some, the first of others. Each has three steps.
SETTINGS = {"learning_rate": 1e-2, "batch_size": 4, "dtype": "float32", "seed": 3}
ARGUMENTS = {"epochs": 5, "patience": 5}
KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "sparse": {"arguments": ARGUMENTS | {"trainable": [1, 3]}},
    "lora": {"arguments": ARGUMENTS | {"lora": {"rank": 2, "alpha": 4}}},
    "without held back": {"held_back": None},
    "in 8 bits": {"settings": SETTINGS | {"optimizer": "adamw_8bit"}},
}


class Killed(BaseException):
    """What no handler catches."""


@pytest.fixture
def job(tmp_path):
    model = tiny("llama", mlp_width=256)  # matrices of 4096 weights can have moments in 8 bits
    model.config.attention_dropout = 0.5  # draws in each step
    job_folder(tmp_path, model, train=random_documents(12), held_back=random_documents(9, 5))
    fields = {"settings": SETTINGS, "arguments": ARGUMENTS}
    return train_job(tmp_path, storage_dtype="float32", save_every=0, **fields)


def made(job: TrainJob, target: Path) -> tuple[bytes, dict[str, Any]]:
    """Weights and record, without what a clock says."""
    record = make_checkpoint(
        job, target, record_name="training", provenance=dict, seal=lambda one: one | {"model": "x"}
    )
    assert files.verify_manifest(target) and files.read_json(target / "training.json") == record
    assert record["model"] == "x" and not target.with_name(f".passes-{target.name}").exists()
    passes = [one | {"seconds": 0} for one in record["passes"]]
    return (target / "model.safetensors").read_bytes(), record | {"passes": passes}


def killed_before(step: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kill a training once, before a step; returns the list of steps that begin."""
    rate, begun = TrainSettings.rate, []

    def cut(settings: TrainSettings, epoch: int, epochs: int, done: float) -> float:
        begun.append(3 * epoch + round(3 * done))
        if len(begun) == step + 1:
            raise Killed
        return rate(settings, epoch, epochs, done)

    monkeypatch.setattr(TrainSettings, "rate", cut)
    return begun


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_gives_the_bytes_of_a_run_that_was_not_cut(kind, job, tmp_path, monkeypatch):
    """Killed inside the first pass and inside a later one, with a state of each step or of each
    pass alone."""
    if kind == "in 8 bits":
        pytest.importorskip("bitsandbytes")
    job = replace(job, **KINDS[kind])
    uncut = made(job, tmp_path / "uncut")
    for cut, every in ((2, 0), (10, 0), (10, 60)):
        with monkeypatch.context() as patched:
            begun = killed_before(cut, patched)
            with pytest.raises(Killed):
                made(replace(job, save_every=every), tmp_path / "cut")
            assert made(replace(job, save_every=every), tmp_path / "cut") == uncut
        again = cut - cut % 3 if every else cut
        assert begun == [*range(cut + 1), *range(again, 15)]  # no step twice, or no pass


@pytest.mark.parametrize("other", ["code", "documents"])
def test_a_state_of_another_job_is_not_gone_on_from(other, job, tmp_path, monkeypatch):
    """Killed where the first one was, it leaves its own state, and not the other's weights."""
    changed = replace(job, code="another") if other == "code" else job
    for one in (job, changed):
        with monkeypatch.context() as patched:
            begun = killed_before(4, patched)
            with pytest.raises(Killed):
                made(one, tmp_path / "to")
            assert begun == [0, 1, 2, 3, 4]
        if other == "documents":
            write_documents(tmp_path / "train.jsonl", random_documents(12, 8))
    assert made(changed, tmp_path / "to") == made(changed, tmp_path / "uncut")
