"""Two processes train to what one process trains to, and fail as one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from models import random_documents, tiny, word_tokenizer
from safetensors.torch import load_file

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.document import write_documents
from trimllm.sublayers import Unit, drop, units
from trimllm.train import Teacher, TrainJob, TrainSettings, make_checkpoint, train_pass
from trimllm.train.trainer import PassJob

SETTINGS = {"learning_rate": 1e-3, "batch_size": 3, "dtype": "float32", "seed": 3}
SOURCE, HELPERS = str(Path(checkpoint.__file__).parents[2]), str(Path(__file__).parents[1])
DROPPED = [Unit(1, "mlp"), Unit(2, "attention")]
FAMILIES = ("llama", "opt", "qwen2", "mistral")
documents = partial(random_documents, longest=7)

# One for each thing that can go another way in several processes: fields of `PassJob`.
CASES: dict[str, dict[str, Any]] = {
    "llama": {"settings": {"gradient_accumulation": 2}},  # tied embeddings
    "opt": {"blocks": [0, 3]},  # projected embeddings, biases
    "qwen2": {"settings": {"train_embeddings": True}, "batches": 2},
    "mistral": {"gradient_checkpointing": True, "epoch": 1, "epochs": 3},
    # gradients as small as AdamW's epsilon move weights by their size, so that clipping shows
    "clipped": {"settings": {"clip": 1e-7}},
    "rounded": {"settings": {"dtype": "bfloat16", "learning_rate": 1e-9}, "blocks": [0, 2]},
    "taught": {"settings": {"kl": 0.5, "hidden": 4.0}, "teacher": True},
}


def family(name: str) -> str:
    return name if name in FAMILIES else "llama"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints and documents to train from, and what two processes made of them."""
    root = tmp_path_factory.mktemp("parallel")
    tokenizer = word_tokenizer()
    for name in FAMILIES:
        checkpoint.save(drop(tiny(name), DROPPED[:1]), tokenizer, root / name)
        # a stock class would be looked up by the model's type, and not read our words
        content = files.read_json(root / name / "tokenizer_config.json")
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
        files.write_json(root / name / "tokenizer_config.json", content)
        files.write_manifest(root / name)
    write_documents(root / "train.jsonl", documents(11))
    write_documents(root / "held_back.jsonl", documents(7, 9))
    teacher = Teacher.of(tiny("llama", 1), tokenizer, documents(11), every_token=True)
    teacher.save(root / "teacher.safetensors")
    for name, case in CASES.items():
        left = [unit for unit in units(tiny(family(name))) if unit not in DROPPED]
        given = {"units": [tuple(unit) for unit in left], "label": name, **case}
        given["settings"] = SETTINGS | case.get("settings", {})
        given |= {"teacher": str(root / "teacher.safetensors")} if "teacher" in case else {}
        job = PassJob(
            checkpoint=str(root / family(name)),
            documents=str(root / "train.jsonl"),
            output=str(root / f"{name}.safetensors"),
            **given,
        )
        files.write_json(root / f"{name}.job", asdict(job))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = [*map(str, (2, port)), *(str(root / f"{name}.job") for name in CASES)]
    script = str(Path(__file__).with_name("ranks.py"))
    running = [
        subprocess.Popen(
            [sys.executable, script, str(rank), *told],
            env={**os.environ, "PYTHONPATH": SOURCE},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return root


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_to_what_one_trains_to(root: Path, name: str) -> None:
    job = PassJob(**files.read_json(root / f"{name}.job"))
    model = drop(checkpoint.load(job.checkpoint)[0], DROPPED[1:])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = train_pass(
        model,
        word_tokenizer(),
        documents(11),
        TrainSettings(**job.settings),
        blocks=job.blocks,
        epoch=job.epoch,
        epochs=job.epochs,
        teacher=Teacher.load(job.teacher) if job.teacher else None,
    )
    found = files.read_json(root / f"{name}.json")["pass"]
    # Norms in bfloat16 would change the loss by a thousandth.
    assert found.pop("loss") == pytest.approx(expected.loss, rel=1e-5)
    assert found["loss_last_quarter"] == pytest.approx(expected.loss_last_quarter, rel=1e-5)
    for key in ("steps", "documents", "tokens", "trainable_parameters"):
        assert found[key] == getattr(expected, key)
    # The streamed model has other names after dropping than the file, which is read in its own.
    streamed, _ = checkpoint.load_streamed(job.checkpoint)
    checkpoint.stream_of(streamed).weights.overlay(load_file(job.output))
    trained = checkpoint.materialize(drop(streamed, DROPPED[1:]), torch.float32).state_dict()
    apart = moved = 0.0
    for key, value in model.state_dict().items():
        apart += float((trained[key] - value).square().sum())
        moved += float((value - before[key]).square().sum())
    # AdamW moves a weight by the rate, however small its gradient: where that is nothing but
    # rounding errors, the two disagree.
    assert moved > 0 and (name == "rounded" or apart < (0.02**2) * moved)


def fine_tuning(root: Path, **changed: Any) -> TrainJob:
    job = TrainJob(
        recipe="trimllm.train:fine_tune",
        checkpoint=str(root / "llama"),
        train=str(root / "train.jsonl"),
        held_back=str(root / "held_back.jsonl"),
        settings=SETTINGS | {"schedule": "epoch", "learning_rate": 1e-2},
        arguments={"epochs": 3, "patience": 3},
        storage_dtype="float32",
        processes=2,
        save_every=0,
    )
    return replace(job, **changed)


def made(job: TrainJob, target: Path) -> tuple[bytes, dict[str, Any]]:
    record = make_checkpoint(job, target, record_name="training", provenance=dict)
    files.verify_manifest(target)
    passes = [one | {"seconds": 0} for one in record["passes"]]
    told = {"passes": passes, "held_back": record["held_back"], "kept": record["kept_pass"]}
    return (target / "model.safetensors").read_bytes(), told


def test_a_job_in_processes_that_was_killed_goes_on_and_gives_the_same_bytes(
    root: Path, tmp_path: Path
) -> None:
    """Through the launcher, killed inside the second pass as a cluster kills."""
    write_documents(tmp_path / "train.jsonl", documents(60))
    job = fine_tuning(root, train=str(tmp_path / "train.jsonl"))
    uncut = made(job, tmp_path / "uncut")
    assert not (tmp_path / ".passes-uncut").exists()
    files.write_json(tmp_path / "job.json", asdict(job))
    program = (
        "import sys; from trimllm.base import files; from trimllm.train import *\n"
        "job = TrainJob(**files.read_json(sys.argv[1]))\n"
        "make_checkpoint(job, sys.argv[2], record_name='training', provenance=dict)"
    )
    target, inside = tmp_path / "cut", tmp_path / ".passes-cut/inside.json"
    command = [sys.executable, "-c", program, str(tmp_path / "job.json"), str(target)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": SOURCE}) as process:
        while process.poll() is None:
            if inside.is_file() and "pass 1" in files.read_json(inside)["identity"]:
                break
            time.sleep(0.005)
        process.kill()
        ranks = psutil.Process(process.pid).children(recursive=True)
        gone, alive = psutil.wait_procs(ranks, timeout=60)  # they end with who started them
        assert not alive
    assert (tmp_path / ".passes-cut/passes.json").is_file() and not target.exists()
    assert made(job, target) == uncut
    # One process trains to nearly the same.
    alone = made(fine_tuning(root, train=job.train, processes=1), tmp_path / "alone")
    assert alone[1]["kept"] == uncut[1]["kept"]
    for one, two in zip(alone[1]["held_back"], uncut[1]["held_back"], strict=True):
        assert one["likelihood"] == pytest.approx(two["likelihood"], rel=0.02)


TRIM = {"criterion": "both", "ratio": 0.5, "step": 3, "start": 1, "until": 8, "scans": {}}


def test_an_epoch_of_a_chain_in_processes_drops_what_one_drops(root: Path, tmp_path: Path) -> None:
    job = fine_tuning(
        root,
        recipe="trimllm.trimming:trim_epoch",
        arguments=TRIM,
        calibration=str(root / "held_back.jsonl"),
        weights_on="disk",
    )
    two, one, none = (
        make_checkpoint(
            replace(job, **changed), tmp_path / name, record_name="epoch", provenance=dict
        )
        for name, changed in {
            "two": {},
            "one": {"processes": 1},
            "none": {"arguments": TRIM | {"documents": 0}},
        }.items()
    )
    assert two["units_dropped"] == one["units_dropped"] == none["units_dropped"]
    assert two["processes"]["count"] == 2 and two["training"]["steps"] == 4
    assert none["training"]["steps"] == 0 and none["held_back"]["documents"] == 7
    assert two["held_back"]["likelihood"] == pytest.approx(one["held_back"]["likelihood"], 1e-4)
    weights = [checkpoint.load(tmp_path / name)[0].state_dict() for name in ("one", "two")]
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=0, atol=2e-3)


KILLED = """
import os, signal
from trimllm.train.settings import TrainSettings
def rate(self, *where):
    if os.environ.get("RANK") == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return 1e-3
TrainSettings.rate = rate
"""


@pytest.mark.long
def test_an_error_is_one_line_and_a_killed_process_ends_all(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = fine_tuning(root, settings=SETTINGS | {"learning_rate": 1e30})
    with pytest.raises(UserError, match="^the loss is not a number; lower the learning rate$"):
        made(wild, tmp_path / "never")
    (tmp_path / "sitecustomize.py").write_text(KILLED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), SOURCE]))
    with pytest.raises(RuntimeError, match="process 1 of 2 was killed by signal 9.*memory"):
        made(fine_tuning(root), tmp_path / "never")
    assert not (tmp_path / "never").exists()
