"""An export from checkpoint to folder; nothing is left of one that fails."""

from __future__ import annotations

from pathlib import Path

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


IN_VLLM = [("llama", "unpaired"), ("llama", "first block"), ("llama", "all attention")]
IN_VLLM += [("mistral", "last mlp"), ("qwen2", "first attention"), ("qwen3", "unpaired")]
IN_VLLM += [("phi3", "last mlp"), ("opt", "unpaired")]


@pytest.mark.parametrize(
    "family, dropped, variant",
    [
        ("llama", "unpaired", "padded"),
        ("opt", "unpaired", "padded"),
        pytest.param("llama", "unpaired", "gguf_f32", marks=needs_llama_cpp),
        pytest.param("llama", "unpaired", "gguf_q8_0", marks=needs_llama_cpp),
        *(pytest.param(*one, "vllm", marks=[needs_vllm, pytest.mark.long]) for one in IN_VLLM),
    ],
)
def test_an_export_is_verified_described_and_as_large_as_expected(
    tmp_path: Path, family: str, dropped: str, variant: str
) -> None:
    changed = {"hidden_size": 128} if family == "opt" else {}
    if variant == "vllm" and family != "opt":  # its attention on CPUs needs heads of this width
        changed = {"head_dim": 32}
    path = saved(tiny_model(family, DROPPED[dropped], **changed), tmp_path / "trimmed")
    facts = Facts(base_model="owner/base", license="mit", data="two questions")
    folder = trimllm.export(path, variant, texts=TEXTS[:3], facts=facts)
    assert folder == tmp_path / f"trimmed-{variant}"
    files.verify_manifest(folder)
    record = files.read_json(folder / "export.json")
    proof = record["proof"]
    assert proof["largest_difference"] < (0.5 if variant == "gguf_q8_0" else 1e-3)
    assert proof["positions"] == 18 and record["held_back_texts"] == 3
    assert variant == "gguf_q8_0" or proof["greedy_differs_at"] is None
    assert proof["loss"]["checkpoint"] == pytest.approx(proof["loss"]["engine"], abs=0.05)
    if variant == "padded":
        assert files.read_json(folder / "config.json")["model_type"] == family
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == "owner/base" and card.data.license == "mit"
    assert "two questions" in card.text and ("llama-server" in card.text) == (".gguf" in card.text)
    # Names and places of tensors are not counted, a vocabulary for more than it takes.
    assert -16_000 < expected_bytes(path, variant) - record["bytes"]["file"] < 30_000


@needs_llama_cpp
def test_a_broken_export_leaves_nothing(
    tmp_path: Path, trimmed: Path, monkeypatch: pytest.MonkeyPatch, tensors=gguf_file.tensors
) -> None:
    larger = lambda model: ((name, 1.5 * one) for name, one in tensors(model))  # noqa: E731
    monkeypatch.setattr(gguf_file, "tensors", larger)
    with pytest.raises(UserError, match="is broken and was not kept: log-prob"):
        trimllm.export(trimmed, "gguf_f32", tmp_path / "export", TEXTS[:1])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_leaves_nothing(
    tmp_path: Path, trimmed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "compressed-gptq"
    tiny("llama").config.save_pretrained(path)
    config = files.read_json(path / "config.json") | {"quantization_config": {"quant_method": "x"}}
    files.write_json(path / "config.json", config)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "__file__", str(tmp_path / "a/b/c/workers.py"))
    monkeypatch.delenv("TRIMLLM_VLLM_PYTHON", raising=False)
    for checkpoint, variant, why in (
        (trimmed, "onnx", "no export format 'onnx' .there are: gguf_f32"),
        (path, "padded", "is compressed; export the checkpoint that it was made from"),
        (trimmed, "vllm", "vllm is not installed: run `make vllm-env`"),
    ):
        with pytest.raises(UserError, match=why):
            trimllm.export(checkpoint, variant, tmp_path / "export")
    assert list(tmp_path.iterdir()) == [path]


def test_a_card_shows_the_sublayers_and_names_engines_that_can(trimmed: Path) -> None:
    card = ModelCard.load(trimmed / "README.md")
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
@pytest.mark.parametrize("kind", ["f32", "q4_0"])
def test_a_real_model_is_verified(tmp_path: Path, smollm2: Path, kind: str) -> None:
    model, tokenizer = trimllm.load(smollm2, verify=False)
    # A block without attention, one without MLP, one without both, and the last MLP.
    gone = [Unit(b, "attention") for b in (3, 17)] + [Unit(b, "mlp") for b in (5, 17, 29)]
    path = trimllm.save(drop(model, gone), tokenizer, tmp_path / "trimmed", dtype="bfloat16")
    record = files.read_json(trimllm.export(path, f"gguf_{kind}") / "export.json")
    size, expected = record["bytes"]["file"], expected_bytes(path, f"gguf_{kind}")
    assert size > 70e6 and abs(size / expected - 1) < 0.02
    assert kind != "f32" or record["proof"]["greedy_differs_at"] is None
