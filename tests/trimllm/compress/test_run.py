"""Checks before work, the proof after it, and that nothing broken is left."""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from models import tiny, word_tokenizer
from safetensors.torch import load_file

import trimllm
from trimllm import checkpoint, compress
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import store
from trimllm.compress import CompressSettings, engines, llm_int8, proof
from trimllm.compress.job import Compressed, CompressJob, Method
from trimllm.sublayers import Unit, drop, units

TEXTS = [" ".join(f"w{(i * k) % 97}" for i in range(1, 20)) for k in range(1, 13)]
HELD_BACK = [" ".join(f"w{(i + 5 * k) % 97}" for i in range(20)) for k in range(4)]
SMALL = CompressSettings(group_size=32)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = drop(tiny("llama"), [Unit(0, "attention"), Unit(4, "mlp")])
    return checkpoint.save(model, word_tokenizer(), tmp_path_factory.mktemp("dense") / "m")


def test_a_checkpoint_proves_itself_and_says_how(dense: Path, tmp_path: Path) -> None:
    out = tmp_path / "m+llm_int8"
    record = compress.compress("llm_int8", dense, TEXTS, HELD_BACK, out, settings=SMALL)
    files.verify_manifest(out)
    assert json.loads((out / "compression.json").read_text()) == record
    model, tokenizer = trimllm.load(out)
    assert units(model) == units(trimllm.load(dense)[0])
    again = proof.mean_loss(model, proof.scored_rows(tokenizer, HELD_BACK, 512))
    assert record["loss"]["compressed"] == pytest.approx(again, abs=1e-4)
    assert record["bytes"]["total"] < 0.7 * record["bytes_dense"]["total"]
    assert record["bytes"]["embeddings"] == record["bytes_dense"]["embeddings"] == 101 * 32 * 4
    assert [path.name for path in tmp_path.iterdir()] == [out.name]

    with pytest.raises(UserError, match="compressed already"):
        compress.compress("llm_pruner", out, TEXTS, HELD_BACK, tmp_path / "twice", settings=SMALL)


def test_a_broken_checkpoint_is_an_error_and_is_not_left(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales that went wrong, as quantizers were seen to make them."""

    def corrupted(job: CompressJob) -> Compressed:
        found = llm_int8.compress(job)
        found.tensors["model.norm.weight"] *= 100
        return found

    monkeypatch.setattr(llm_int8, "METHOD", replace(llm_int8.METHOD, compress=corrupted))
    with pytest.raises(UserError, match="llm_int8: loss .* is worse than round to nearest"):
        compress.compress("llm_int8", dense, TEXTS, HELD_BACK, tmp_path / "out", settings=SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", engines.METHODS)
def test_the_parent_holds_no_model_while_the_proof_runs(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = checkpoint.save(tiny("llama", mlp_width=64), word_tokenizer(), tmp_path / "dense")

    shapes = {tensor.shape for tensor in load_file(dense / "model.safetensors").values()}

    def alive() -> int:  # bytes of weights; gptqmodel keeps activations of its last block
        gc.collect()
        tensors = (one for one in gc.get_objects() if isinstance(one, torch.Tensor))
        weights = (one for one in tensors if one.device.type == "cpu" and one.shape in shapes)
        return sum({one.data_ptr(): one.nbytes for one in weights}.values())

    during, before = [], alive()

    def proved(*_: object) -> float:
        during.append(alive())
        return 0.0

    monkeypatch.setattr("trimllm.compress.run.fresh_loss", proved)
    compress.compress(method, dense, TEXTS, HELD_BACK, tmp_path / "out", settings=SMALL)
    assert during[0] - before < 0.1 * store.weight_bytes(dense)


@pytest.mark.parametrize("loss", [2.2, float("nan"), float("inf")])
def test_judging(loss: float) -> None:
    proof.judge(2.05, 2.0, 0.1, "awq_int4", "rounding")
    with pytest.raises(UserError, match="awq_int4: loss .* broken"):
        proof.judge(loss, 2.0, 0.1, "awq_int4", "rounding")


@pytest.mark.parametrize(
    "method, options, texts, message",
    [
        ("zip", {}, 99, "no compressor 'zip'"),
        ("awq_int4", {"engine": "bitsandbytes"}, 99, "awq_int4 has no engine 'bitsandbytes'"),
        ("awq_int4", {}, 7, "at least 8 calibration texts and got 7"),
        ("gptq_int4", {"group_size": 32}, 99, "32 does not divide the MLP width 48; no group"),
        ("gptq_int4", {"group_size": 24}, 99, "group_size 24 has no kernel"),
        ("llm_int8", {"device": "tpu"}, 0, "no device 'tpu'"),
    ],
)
def test_obstacles_are_told_before_work(
    dense: Path, method: str, options: dict, texts: int, message: str
) -> None:
    engine = options.pop("engine", None)
    with pytest.raises(UserError, match=message):
        compress.check(method, dense, texts, engine=engine, settings=CompressSettings(**options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(dense: Path) -> None:
    with pytest.raises(UserError, match="on a GPU and there is none"):
        compress.check("llm_int8", dense, 9, settings=CompressSettings(device="cuda"))


def test_an_engine_that_is_not_installed(dense: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.METHODS, "llm_int8", {"bitsandbytes": ("no_such_package_here",)})
    with pytest.raises(UserError, match="no_such_package_here is not installed; run `make setup`"):
        compress.check("llm_int8", dense, 9)


def test_texts_without_tokens_are_named(dense: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the calibration texts hold no tokens"):
        compress.compress("llm_pruner", dense, [" "] * 9, HELD_BACK, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_new_compressor_is_a_file_and_an_entry(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stores the weights as they are; what is stored of it is the caller's to say."""
    file = ModuleType("trimllm.compress.as_it_is")
    file.METHOD = Method(
        lambda job: Compressed(job.model.state_dict(), facts={"toy": True}),
        lambda model, settings: None,
        "nothing at all",
        margin=0.01,
    )
    monkeypatch.setitem(sys.modules, file.__name__, file)
    monkeypatch.setitem(engines.METHODS, "as_it_is", {"safetensors": ("safetensors",)})
    record = compress.compress(
        *("as_it_is", dense, TEXTS, HELD_BACK, tmp_path / "out"),
        record=lambda found: {"compression": found | {"a": 1}, "more": {}},
    )
    assert record["toy"] and record["yardstick"] == "nothing at all"
    assert record["loss"]["compressed"] == pytest.approx(record["loss"]["dense"], abs=1e-3)
    assert files.read_json(tmp_path / "out/compression.json") == record | {"a": 1}
    assert "more.json" in files.verify_manifest(tmp_path / "out")["files"]
    stored = (path / "model.safetensors" for path in (tmp_path / "out", dense))
    assert len({files.sha256_of(path) for path in stored}) == 1


def test_held_back_texts_must_be_others(dense: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 held-back texts are calibration texts too"):
        compress.compress("llm_int8", dense, TEXTS, TEXTS[:1], tmp_path / "out", settings=SMALL)


def test_a_proof_needs_held_back_texts(dense: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no held-back texts to prove itself on"):
        compress.compress("llm_int8", dense, TEXTS, [], tmp_path / "out", settings=SMALL)
