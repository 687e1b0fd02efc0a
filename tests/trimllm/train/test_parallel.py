"""Two processes train to what one process trains to, and fail as one."""

import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from models import random_documents as documents
from models import tiny, word_tokenizer
from safetensors.torch import load_file

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.document import write_documents
from trimllm.sublayers import Unit
from trimllm.train import Teacher, TrainJob, make_checkpoint
from trimllm.trimming import make_epoch

SETTINGS = {"learning_rate": 1e-3, "batch_size": 3, "dtype": "float32", "seed": 3}
SOURCE = str(Path(checkpoint.__file__).parents[2])
FAMILIES = ("llama", "opt", "qwen2", "mistral")

# One for each thing that can go another way in several processes: settings, arguments, and fields
# of `TrainJob`.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "llama": ({"gradient_accumulation": 2}, {}, {}),  # tied embeddings
    "opt": ({}, {"trainable": [0, 3]}, {}),  # projected embeddings, biases
    "qwen2": ({"train_embeddings": True, "gradient_accumulation": 3}, {}, {}),
    "mistral": ({}, {"epochs": 3, "passes": (1, 2)}, {"gradient_checkpointing": True}),
    # gradients as small as AdamW's epsilon move weights by their size, so that clipping shows
    "clipped": ({"clip": 1e-7}, {}, {}),
    "rounded": ({"dtype": "bfloat16", "learning_rate": 1e-9}, {"trainable": [0, 2]}, {}),
    "taught": (
        {"kl": 0.5, "hidden": 4.0, "choice_kl": 1.0, "choice_loss": 0.5},
        {},
        {"teacher": "teacher.safetensors"},
    ),
    # The first pass of three is the one that is kept.
    "judged": (
        {"learning_rate": 1e-2, "schedule": "epoch"},
        {"epochs": 3, "patience": 3},
        {"held_back": "held_back.jsonl", "train": "more.jsonl", "save_every": 0},
    ),
}


def job_of(root: Path, name: str, **changed: Any) -> TrainJob:
    settings, arguments, given = CASES[name]
    given = {k: str(root / v) if isinstance(v, str) else v for k, v in given.items()}
    job = TrainJob(
        checkpoint=str(root / (name if name in FAMILIES else "llama")),
        train=given.pop("train", str(root / "train.jsonl")),
        settings=SETTINGS | settings,
        arguments={"epochs": 1, "units": [(2, "attention")], **arguments},
        storage_dtype="float32",
        processes=2,
        **given,
    )
    return replace(job, **changed)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Checkpoints and documents to train from, and what two processes made of them."""
    root = tmp_path_factory.mktemp("parallel")
    tokenizer = word_tokenizer()
    for name in FAMILIES:
        checkpoint.save(tiny(name, dropped=[Unit(1, "mlp")]), tokenizer, root / name)
        # a stock class would be looked up by the model's type, and not read our words
        content = files.read_json(root / name / "tokenizer_config.json")
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
        files.write_json(root / name / "tokenizer_config.json", content)
        files.write_manifest(root / name)
    write_documents(root / "train.jsonl", documents(11))
    write_documents(root / "more.jsonl", documents(60))
    write_documents(root / "held_back.jsonl", documents(7, 9))
    teacher = Teacher.of(tiny("llama", 1), tokenizer, documents(11))
    teacher.save(root / "teacher.safetensors")
    for name in CASES:
        (root / f"two-{name}").mkdir()
        place = {"output": str(root / f"two-{name}"), "folder": str(root / f"folder-{name}")}
        files.write_json(root / f"{name}.job", {"job": asdict(job_of(root, name)), **place})
    # A port for each job, below those that the system gives to connections.
    port = 20_000 + os.getpid() % 700 * 16
    script = Path(__file__).with_name("ranks.py")
    words = ["2", str(port), *(str(root / f"{name}.job") for name in CASES)]
    options = {"env": {**os.environ, "PYTHONPATH": SOURCE}, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, script, rank, *words], **options) for rank in ("0", "1")
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return root


def made(job: TrainJob, target: Path) -> dict[str, Any]:
    return make_checkpoint(job, target, record_name="training", provenance=dict)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_to_what_one_trains_to(root, tmp_path, name):
    one = made(job_of(root, name, processes=1), tmp_path / "one")
    two = files.read_json(root / f"folder-{name}/record.json")
    assert two.pop("processes") == {"count": 2, "offload": False}
    # Norms in bfloat16 would change the loss by a thousandth.
    for mine, other in zip(one.pop("passes"), two.pop("passes"), strict=True):
        mine["seconds"] = other["seconds"] = 0
        assert other == pytest.approx(mine, rel=1e-3 if name == "judged" else 1e-5)
    for mine, other in zip(one.pop("held_back"), two.pop("held_back"), strict=True):
        assert other["likelihood"] == pytest.approx(mine["likelihood"], rel=0.02)
    assert two == one and (name != "judged" or one["kept_pass"] == 0)
    before, expected, found = (
        load_file(folder / "model.safetensors")
        for folder in (Path(job_of(root, name).checkpoint), tmp_path / "one", root / f"two-{name}")
    )
    assert expected.keys() == found.keys()
    if name != "rounded":
        apart = sum(float((found[key] - expected[key]).square().sum()) for key in found)
        moved = sum(float((expected[k] - before[k]).square().sum()) for k in found if k in before)
        # AdamW moves a weight by the rate, however small its gradient: where that is nothing but
        # rounding errors, the two disagree.
        assert moved > 0 and apart < (0.02 if name != "judged" else 0.1) ** 2 * moved


def test_a_killed_job_in_processes_goes_on_and_gives_the_same_bytes(root, tmp_path):
    """Through the launcher, killed inside the second pass as a cluster kills."""
    job = job_of(root, "judged")
    files.write_json(tmp_path / "job.json", asdict(job))
    program = (
        "import sys; from trimllm.base import files; from trimllm.train import *\n"
        "job = TrainJob(**files.read_json(sys.argv[1]))\n"
        "make_checkpoint(job, sys.argv[2], record_name='training', provenance=dict)"
    )
    target, inside = tmp_path / "cut", tmp_path / ".passes-cut/state.json"
    command = [sys.executable, "-c", program, str(tmp_path / "job.json"), str(target)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": SOURCE}) as process:
        while process.poll() is None:
            state = files.read_json(inside) if inside.is_file() else {}
            if len(state.get("passes", [])) == 1 and len(state.get("losses", [])) > 3:
                break
            time.sleep(0.005)
        ranks = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert not psutil.wait_procs(ranks, timeout=60)[1]  # they end with who started them
    assert not target.exists()
    record, whole = made(job, target), files.read_json(root / "folder-judged/record.json")
    for one in (record, whole):
        one["passes"] = [passed | {"seconds": 0} for passed in one["passes"]]
    assert record == whole and not inside.exists()
    files.verify_manifest(target)
    uncut = (root / "two-judged/model.safetensors").read_bytes()
    assert (target / "model.safetensors").read_bytes() == uncut


CHAIN = {"criterion": "both", "ratio": 0.5, "step": 3, "start": 1, "until": 8}


def epoch(root: Path, target: Path, chain: dict[str, Any] = CHAIN, **changed: Any) -> Any:
    files_of = {name: str(root / "held_back.jsonl") for name in ("calibration", "held_back")}
    job = job_of(root, "llama", weights_on="disk", arguments=chain, **files_of, **changed)
    return make_epoch(job, target, record_name="epoch", provenance=dict)


def test_an_epoch_of_a_chain_in_processes_drops_what_one_drops(root, tmp_path):
    one, two = epoch(root, tmp_path / "one", processes=1), epoch(root, tmp_path / "two")
    assert two["units_dropped"] == one["units_dropped"]
    assert two["processes"]["count"] == 2 and two["training"]["steps"] == 2
    assert two["held_back"]["likelihood"] == pytest.approx(one["held_back"]["likelihood"], 1e-4)
    weights = [checkpoint.load(tmp_path / name)[0].state_dict() for name in ("one", "two")]
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=0, atol=2e-3)


@pytest.mark.long
def test_processes_without_training_and_with_an_error(root, tmp_path):
    untrained = epoch(root, tmp_path / "to", CHAIN | {"documents": 0})
    assert untrained["training"]["steps"] == 0 and untrained["held_back"]["documents"] == 7
    wild = job_of(root, "llama", settings=SETTINGS | {"learning_rate": 1e30})
    with pytest.raises(UserError, match="^the loss is not a number; lower the learning rate$"):
        made(wild, tmp_path / "never")
    assert not (tmp_path / "never").exists()
