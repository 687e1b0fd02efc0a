"""Two processes train to what one process trains to, and fail as one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from models import random_documents, tiny, word_tokenizer
from safetensors.torch import load_file

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data import read_documents
from trimllm.data.document import write_documents
from trimllm.scanning import scan, to_record
from trimllm.sublayers import Unit, drop
from trimllm.train import HeldBackScore, TrainJob, make_checkpoint, set_trainable
from trimllm.train.batching import answer_losses, examples_of, tensors_of
from trimllm.train.jobs import run
from trimllm.train.team import ONE

SETTINGS = {"learning_rate": 1e-3, "batch_size": 3, "dtype": "float32", "seed": 3}
SOURCE, HELPERS = str(Path(checkpoint.__file__).parents[2]), str(Path(__file__).parents[1])
FINE_TUNE, TRIM_EPOCH = "trimllm.train:fine_tune", "trimllm.trimming:trim_epoch"
TRIM = {"criterion": "both", "ratio": 0.5, "step": 3, "start": 1, "until": 8}


documents = partial(random_documents, longest=7)


def job(root: Path, family: str, recipe: str, settings: dict | None = None, **more) -> TrainJob:
    common = {"checkpoint": str(root / family), "train": str(root / "train.jsonl")}
    if recipe == TRIM_EPOCH:
        common["calibration"] = str(root / "calibration.jsonl")
    settings = SETTINGS | (settings or {})
    return TrainJob(recipe, settings=settings, storage_dtype="float32", **common, **more)


def jobs_of(root: Path) -> dict[str, TrainJob]:
    """One job for each thing that can go another way in several processes."""
    trim = {"documents": 11} | TRIM
    sparse, initial = {"epochs": 2, "ratio": 0.5}, str(root / "scan.json")
    two = {"gradient_accumulation": 2}
    accumulated = partial(job, root, "mistral", FINE_TUNE, two, arguments={"epochs": 2})
    return {
        # opt's embeddings are projected, llama's are tied; its blocks are packed anew by dropping
        "llama": job(root, "llama", TRIM_EPOCH, arguments=trim, weights_on="disk"),
        "opt": job(root, "opt", TRIM_EPOCH, arguments=trim | {"criterion": "likelihood"}),
        "qwen2": job(
            root,
            "qwen2",
            TRIM_EPOCH,
            arguments=trim | {"row_budget": 40, "trainable": [0, 1, 4]},
            weights_on="host",
        ),
        "mistral": accumulated(),
        "as one": accumulated(batches=2),
        "again": accumulated(batches=2, gradient_checkpointing=True),
        "embeddings": job(
            root, "llama", FINE_TUNE, {"train_embeddings": True}, arguments={"epochs": 1}
        ),
        # gradients as small as AdamW's epsilon move weights by their size, so clipping shows
        "clipped": job(root, "llama", FINE_TUNE, {"clip": 1e-7}, arguments={"epochs": 1}),
        # by documents held back an earlier pass than the last may be the best one
        "held back": job(
            root,
            "llama",
            FINE_TUNE,
            {"schedule": "epoch"},
            arguments={"epochs": 4, "patience": 3},
            held_back=str(root / "calibration.jsonl"),
        ),
        "sparse": job(root, "llama", FINE_TUNE, arguments=sparse, scan=initial),
        "bfloat16": job(
            root, "llama", FINE_TUNE, {"dtype": "bfloat16"}, arguments=sparse, scan=initial
        ),
    }


JOBS = jobs_of(Path())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints, documents and a scan to train from, and what two processes made of them."""
    root = tmp_path_factory.mktemp("parallel")
    tokenizer = word_tokenizer()
    for family in ("llama", "opt", "qwen2", "mistral"):
        model = drop(tiny(family), [Unit(1, "mlp"), Unit(2, "attention")])
        checkpoint.save(model, tokenizer, root / family)
        # a stock class would be looked up by the model's type, and not read our words
        content = files.read_json(root / family / "tokenizer_config.json")
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
        files.write_json(root / family / "tokenizer_config.json", content)
        files.write_manifest(root / family)
    write_documents(root / "train.jsonl", documents(11))
    write_documents(root / "calibration.jsonl", documents(7, 9))
    model, _ = checkpoint.load(root / "llama")
    found = scan(model, tokenizer, documents(7, 9))
    files.write_json(root / "scan.json", {"scan": to_record(found)})
    jobs = {name: one.__dict__ for name, one in jobs_of(root).items()}
    (root / "two").mkdir()
    files.write_json(root / "two/jobs.json", jobs)
    script = str(Path(__file__).with_name("ranks.py"))
    running = [
        subprocess.Popen(
            [sys.executable, script, str(root / "two"), str(rank), "2"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, HELPERS])},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return root


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path)[0].state_dict()


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_train_to_what_one_trains_to(root: Path, name: str) -> None:
    one = jobs_of(root)[name]
    before = weights(Path(one.checkpoint))
    model, _, expected = run(
        TrainJob(**one.__dict__ | {"weights_on": "device"}), torch.device("cpu"), ONE
    )
    found = files.read_json(root / "two" / name / "record.json")
    for key in ("units_dropped", "trainable_blocks", "parameters", "units_left"):
        assert found.get(key) == json.loads(json.dumps(expected.get(key)))
    rough = one.settings["dtype"] == "bfloat16"
    for passed, alone in zip(
        found.get("passes") or [found["training"]],
        expected.get("passes") or [expected["training"]],
        strict=True,
    ):
        assert passed["loss"] == pytest.approx(alone["loss"], rel=1e-2 if rough else 1e-5)
        for key in ("steps", "documents", "tokens", "trainable_parameters"):
            assert passed[key] == alone[key]
    trained = weights(root / "two" / name)
    assert trained.keys() == model.state_dict().keys()
    apart = moved = 0.0
    for key, value in model.state_dict().items():
        apart += float((trained[key] - value).square().sum())
        if key in before and before[key].shape == value.shape:
            moved += float((value - before[key]).square().sum())
    # AdamW moves a weight by the learning rate, however small its gradient: where that is nothing
    # but rounding errors, the two disagree. Gradients are compared below.
    assert math.sqrt(moved) > 1e-3 and math.sqrt(apart) < (0.3 if rough else 0.02) * math.sqrt(
        moved
    )


@pytest.mark.parametrize("how", [{"documents": 0}, {"trainable": [2]}], ids=str)
def test_two_processes_that_train_nothing_drop_and_save(
    how: dict, root: Path, tmp_path: Path
) -> None:
    model = drop(tiny("llama"), [Unit(2, "mlp"), Unit(2, "attention")])
    checkpoint.save(model, word_tokenizer(), tmp_path / "base")
    one = job(root, "llama", TRIM_EPOCH, arguments=TRIM | how, held_back=str(root / "train.jsonl"))
    made = []
    for count in (1, 2):
        more = {"checkpoint": str(tmp_path / "base"), "processes": count}
        target = tmp_path / str(count)
        told = make_checkpoint(
            TrainJob(**one.__dict__ | more), target, record_name="epoch", provenance=dict
        )
        assert told["training"]["steps"] == 0 and len(told["units_dropped"]) == 3
        made.append(((target / "model.safetensors").read_bytes(), told["units_dropped"]))
        assert told["held_back"]["documents"] == 11
    assert made[0] == made[1]


def test_two_processes_say_of_held_back_documents_what_one_says(root: Path) -> None:
    one = jobs_of(root)["held back"]
    found = files.read_json(root / "two/held back/record.json")
    # Of the weights that two processes left, by one process: the pass that was kept.
    model, tokenizer = checkpoint.load(root / "two/held back")
    kept = found["held_back"][found["kept_pass"]]
    again = HeldBackScore.of(model, tokenizer, read_documents(one.held_back), "float32")
    assert kept["accuracy"] == again.accuracy and kept["documents"] == again.documents == 7
    assert kept["likelihood"] == pytest.approx(again.likelihood, abs=1e-4)
    assert found["kept_pass"] < len(found["held_back"]) - 1


def test_blocks_that_are_computed_again_give_the_same_bytes(root: Path) -> None:
    kept, again = weights(root / "two/as one"), weights(root / "two/again")
    assert kept.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in kept.items())
    runs = [files.read_json(root / "two" / n / "record.json")["runs"] for n in ("as one", "again")]
    assert runs == [1, 2]


@pytest.mark.parametrize("name", [name for name, one in JOBS.items() if not one.scan])
def test_two_processes_have_the_gradients_of_one(root: Path, name: str) -> None:
    model, _ = checkpoint.load(root / "two" / name)
    set_trainable(model, None)
    batch = examples_of(word_tokenizer(), documents(11))[:5]
    answer_losses(model, tensors_of(batch, 0, "cpu")).sum().backward()
    found = load_file(root / "two" / f"{name}.gradients")
    assert found.keys() == {key for key, p in model.named_parameters() if p.grad is not None}
    for key, value in found.items():
        torch.testing.assert_close(
            value, model.get_parameter(key).grad, rtol=1e-3, atol=1e-4, msg=key
        )


@pytest.mark.parametrize("name", [name for name, one in JOBS.items() if one.calibration])
def test_every_process_makes_the_decision_that_one_makes(root: Path, name: str) -> None:
    first, second = (files.read_json(root / f"two/decisions-{rank}.json") for rank in range(2))
    assert first == second
    one = jobs_of(root)[name]
    model, _ = checkpoint.load(one.checkpoint)
    options = {key: one.arguments[key] for key in ("row_budget",) if key in one.arguments}
    calibration = documents(7, 9)
    alone = to_record(scan(model, word_tokenizer(), calibration, **options))
    alone.pop("seconds")
    found = first[name]["scan"]
    assert found == json.loads(json.dumps(alone))


@pytest.mark.parametrize("name", JOBS)
def test_each_process_holds_half(root: Path, name: str) -> None:
    record = files.read_json(root / "two" / name / "record.json")
    assert sum(record["share"]) == record["parameters"]
    assert max(record["share"]) < 0.55 * record["parameters"]


@pytest.mark.parametrize("name", JOBS)
def test_layers_are_gathered_in_the_type_of_the_settings(root: Path, name: str) -> None:
    """Trained shares are float32 all the same, and so is what is outside of the layers."""
    product = "torch." + JOBS[name].settings["dtype"]
    types = files.read_json(root / "two" / name / "record.json")["types"]
    # of the sparse updates some layers are frozen: they rest in the type that they are used in
    resting = {"torch.float32", product} if JOBS[name].scan else {"torch.float32"}
    assert types["gathered"] == [product] and types["outside"] == ["torch.float32"]
    assert types["resting"] == sorted(resting)


def test_the_whole_job_in_processes_of_its_own_gives_the_same_bytes_again(
    root: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the launcher: an ordinary checkpoint, that of the processes above, or one error."""

    one = TrainJob(**jobs_of(root)["llama"].__dict__ | {"processes": 2})
    target = root / "whole"
    record = make_checkpoint(one, target, record_name="epoch", provenance=lambda: {"seed": 3})
    manifest = files.verify_manifest(target)
    assert manifest["provenance"] == {"seed": 3}
    assert {"model.safetensors", "config.json", "epoch.json"} <= manifest["files"].keys()
    assert files.read_json(target / "epoch.json") == record
    assert record["processes"]["count"] == 2 == len(record["processes"]["peak_rss_bytes"])
    before = files.verify_manifest(root / "two/llama")["files"]
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        assert manifest["files"][name] == before[name]
    # progress once, not once a process
    assert capfd.readouterr().err.count("epoch 1/2:   0%|") == 1

    wild = TrainJob(
        **one.__dict__ | {"settings": SETTINGS | {"learning_rate": 1e30}, "device": "cpu"}
    )
    with pytest.raises(UserError, match="the loss is not a number"):
        make_checkpoint(wild, target, record_name="epoch", provenance=dict)
    assert files.verify_manifest(target) == manifest
    assert not [path for path in root.iterdir() if ".tmp-" in path.name]


KILLED = """
import os, signal
from trimllm.train import fine_tune
def die(model, tokenizer, team, **options):
    if team.rank:
        os.kill(os.getpid(), signal.SIGKILL)
    return fine_tune(model, tokenizer, epochs=1, team=team, **options)
"""


def test_one_process_that_is_killed_ends_all(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([SOURCE, str(tmp_path)]))
    one = job(root, "llama", "killed:die", processes=2)
    with pytest.raises(RuntimeError, match="process 1 of 2 was killed by signal 9.*memory"):
        make_checkpoint(one, tmp_path / "never", record_name="epoch", provenance=dict)
    assert [path.name for path in tmp_path.iterdir()] == ["killed.py"]


def test_processes_do_not_outlive_who_started_them() -> None:
    watching = (
        "import os, time; from trimllm.base.processes import end_with\n"
        "end_with(os.getppid(), look=0.1); print(os.getpid(), flush=True); time.sleep(600)"
    )
    starting = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {watching!r}])"
    parent = subprocess.Popen(
        [sys.executable, "-c", starting],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    child = int(parent.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    # the pipe ends when the last process that could write to it has ended
    assert parent.stdout.read() == b""
    parent.wait()
