"""An export from checkpoint to folder; nothing is left of one that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exports import DROPPED, needs_llama_cpp, needs_vllm, saved, tiny_model
from huggingface_hub import ModelCard
from models import tiny
from wheels import needs_smollm2

import trimllm
from trimllm.base import files, workers
from trimllm.base.errors import UserError
from trimllm.checkpoint.card import Facts, loading, strip
from trimllm.exporting import gguf_file
from trimllm.exporting.proof import TEXTS
from trimllm.exporting.run import expected_bytes
from trimllm.sublayers import Unit, drop


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_model("llama", DROPPED["unpaired"])
    return saved(model, tmp_path_factory.mktemp("checkpoints") / "trimmed")


@pytest.mark.slow
@pytest.mark.parametrize(
    "family, variant",
    [
        ("llama", "padded"),
        pytest.param("opt", "padded", marks=pytest.mark.long),
        pytest.param("llama", "gguf_f32", marks=needs_llama_cpp),
        pytest.param("llama", "vllm", marks=[needs_vllm, pytest.mark.long]),
    ],
)
def test_an_export_is_verified_described_and_as_large_as_expected(
    tmp_path: Path, family: str, variant: str
) -> None:
    changed = {"vocab_size": 340, "max_position_embeddings": 256}
    changed |= {"head_dim": 32} if variant == "vllm" else {}  # for its attention on CPUs
    model = drop(tiny(family, **changed), DROPPED["unpaired"])
    path = saved(model, tmp_path / "trimmed")
    facts = Facts(base_model="owner/base", license="mit", data="two questions")
    made = trimllm.export(path, variant, texts=TEXTS[:1], facts=facts)
    assert made == tmp_path / f"trimmed-{variant}"
    files.verify_manifest(made)
    record = files.read_json(made / "export.json")
    assert record["proof"]["largest_difference"] < 1e-3
    assert record["proof"]["greedy_differs_at"] is None and record["held_back_texts"] == 1
    assert record["proof"]["reference"]["name"] == "transformers"
    if variant == "padded":
        assert files.read_json(made / "config.json")["model_type"] == family
    card = ModelCard.load(made / "README.md")
    assert card.data.base_model == "owner/base" and card.data.license == "mit"
    assert "two questions" in card.text
    # Names and places of tensors are not counted, a vocabulary for more than it takes.
    assert -16_000 < expected_bytes(path, variant) - record["bytes"]["file"] < 30_000


@needs_llama_cpp
@pytest.mark.slow
def test_a_quantized_export_is_compared_with_the_untrimmed_model(
    tmp_path: Path, trimmed: Path
) -> None:
    whole = saved(tiny_model("llama"), tmp_path / "whole")
    for full in (None, whole):
        place = tmp_path / str(full is None)
        made = trimllm.export(trimmed, "gguf_q8_0", place, TEXTS[:1], untrimmed=full)
        proof = files.read_json(made / "export.json")["proof"]
        assert (proof["growth_allowed"] is None) == (full is None)
        assert ("untrimmed_rounded" in proof["loss"]) == (full is not None)


@needs_llama_cpp
def test_a_broken_export_leaves_nothing(
    tmp_path: Path, trimmed: Path, monkeypatch: pytest.MonkeyPatch, packed=gguf_file.packed
) -> None:
    def damaged(entry: gguf_file.Entry, *rest: Any) -> Any:
        return packed(entry, *rest) * (3 if entry.name == "output_norm.weight" else 1)

    monkeypatch.setattr(gguf_file, "packed", damaged)
    with pytest.raises(UserError, match="is broken and was not kept: log-prob"):
        trimllm.export(trimmed, "gguf_f32", tmp_path / "made", TEXTS[:1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "format, why", [("onnx", "no export format 'onnx' .there are: gguf_f32"), ("padded", "gptq")]
)
def test_what_cannot_be_exported_leaves_nothing(tmp_path: Path, format: str, why: str) -> None:
    path = tmp_path / "compressed-gptq"
    tiny("llama").config.save_pretrained(path)
    config = files.read_json(path / "config.json")
    files.write_json(
        path / "config.json", config | {"quantization_config": {"quant_method": "gptq"}}
    )
    with pytest.raises(UserError, match=why):
        trimllm.export(path, format)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_environment_is_named(
    tmp_path: Path, trimmed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "__file__", str(tmp_path / "a/b/c/workers.py"))
    monkeypatch.delenv("TRIMLLM_VLLM_PYTHON", raising=False)
    with pytest.raises(UserError, match="vllm is not installed: run `make vllm-env`"):
        trimllm.export(trimmed, "vllm", tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_expected_bytes_follow_bits_and_missing_sublayers(tmp_path: Path, trimmed: Path) -> None:
    whole = saved(tiny_model("llama"), tmp_path / "whole")
    kinds = ("f32", "f16", "q8_0", "q4_k", "q4_0")
    sizes = [expected_bytes(whole, f"gguf_{kind}") for kind in kinds]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 5
    assert expected_bytes(trimmed, "gguf_f16") < sizes[1]
    assert expected_bytes(trimmed, "vllm") < expected_bytes(trimmed, "padded")


def test_a_card_shows_the_sublayers_and_names_engines_that_can(trimmed: Path) -> None:
    card = ModelCard.load(trimmed / "README.md")
    assert card.data.library_name == "transformers" and "trimllm" in card.data.tags
    picture = strip(files.read_json(trimmed / "config.json"))
    assert picture.splitlines()[1:] == ["attention ##..#", "MLP       ..###"]
    assert picture in card.text and strip({"units": None}) is None
    units = {"units": [[0, "mlp"]], "original_num_hidden_layers": 2}
    llama, opt = (loading({"model_type": f"trimllm_{name}"} | units) for name in ("llama", "opt"))
    assert "llama.cpp" in llama and "llama.cpp" not in opt and "vllm serve" in opt
    compressed = loading({"model_type": "llama", "quantization_config": {"quant_method": "awq"}})
    assert "compressed (awq)" in compressed and "vllm serve" not in compressed


@pytest.mark.long
@needs_smollm2
@needs_llama_cpp
@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_a_real_model_is_verified(tmp_path: Path, smollm2: Path, kind: str) -> None:
    model, tokenizer = trimllm.load(smollm2, verify=False)
    # A block without attention, one without MLP, one without both, and the last MLP.
    gone = [Unit(b, "attention") for b in (3, 17)] + [Unit(b, "mlp") for b in (5, 17, 29)]
    path = trimllm.save(drop(model, gone), tokenizer, tmp_path / "trimmed", dtype="bfloat16")
    made = trimllm.export(path, f"gguf_{kind}")
    record = files.read_json(made / "export.json")
    size, expected = record["bytes"]["file"], expected_bytes(path, f"gguf_{kind}")
    assert size > 100e6 and abs(size / expected - 1) < 0.02
    assert record["proof"]["greedy_tokens"] == 64
    assert kind != "f32" or record["proof"]["greedy_differs_at"] is None
