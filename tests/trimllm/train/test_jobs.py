"""A training job: its record beside the weights, and a recipe that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from models import random_documents, tiny, word_tokenizer

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.document import write_documents
from trimllm.train import TrainJob, make_checkpoint

PASSES = [{"seconds": 0.1 + 0.2, "tokens": 7, "loss": 1e-9}]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainJob:
    """A job that trains nothing."""
    checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "base")
    write_documents(tmp_path / "train.jsonl", random_documents(2))
    (tmp_path / "idle.py").write_text(f"def rest(*_, **__):\n    return {{'passes': {PASSES}}}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return TrainJob(
        recipe="idle:rest",
        checkpoint=str(tmp_path / "base"),
        train=str(tmp_path / "train.jsonl"),
        settings={"learning_rate": 1e-3, "dtype": "float32"},
    )


def test_the_record_is_written_as_the_caller_completes_it(job: TrainJob, tmp_path: Path) -> None:
    target = tmp_path / "full_ft"
    record = make_checkpoint(
        job,
        target,
        record_name="training",
        provenance=dict,
        seal=lambda found: found | {"model": "tiny"},
    )
    assert files.read_json(target / "training.json") == record
    assert record["passes"] == PASSES and record["model"] == "tiny"
    files.verify_manifest(target)


def test_a_recipe_that_is_none_is_one_clear_line(job: TrainJob, tmp_path: Path) -> None:
    for recipe in ("fine_tune", "trimllm.train:polish", "no_such_module:fine_tune"):
        wrong = TrainJob(**job.__dict__ | {"recipe": recipe})
        with pytest.raises(UserError, match=f"'{recipe}' names nothing"):
            make_checkpoint(wrong, tmp_path / "to", record_name="epoch", provenance=dict)
    assert not (tmp_path / "to").exists()
