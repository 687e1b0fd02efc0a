"""An export from checkpoint to folder; nothing is left of one that fails."""

import pytest
from exports import needs_llama_cpp, needs_vllm, saved, tiny_model
from huggingface_hub import ModelCard
from models import DROPPED, tiny

import trimllm
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint.card import Facts, loading, strip
from trimllm.exporting import gguf_file
from trimllm.exporting.proof import TEXTS
from trimllm.exporting.run import expected_bytes


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory):
    model = tiny_model("llama", DROPPED["unpaired"])
    return saved(model, tmp_path_factory.mktemp("checkpoints") / "trimmed")


IN_VLLM = [("llama", "all attention"), ("mistral", "last mlp"), ("qwen2", "first attention")]
IN_VLLM += [("qwen3", "unpaired"), ("phi3", "ends"), ("opt", "unpaired")]


@pytest.mark.parametrize(
    "family, dropped, variant",
    [
        ("llama", "unpaired", "padded"),
        ("opt", "unpaired", "padded"),
        pytest.param("llama", "unpaired", "gguf_f32", marks=needs_llama_cpp),
        *(pytest.param(*one, "vllm", marks=[needs_vllm, pytest.mark.long]) for one in IN_VLLM),
    ],
)
def test_an_export_is_verified_described_and_as_large_as_expected(
    tmp_path, family, dropped, variant
):
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
    assert proof["largest_difference"] < 1e-3 and proof["greedy_differs_at"] is None
    assert proof["positions"] == 18 and record["held_back_texts"] == 3
    assert proof["loss"]["checkpoint"] == pytest.approx(proof["loss"]["engine"], abs=0.05)
    if variant == "padded":
        assert files.read_json(folder / "config.json")["model_type"] == family
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == "owner/base" and card.data.license == "mit"
    assert "two questions" in card.text and ("llama-server" in card.text) == (".gguf" in card.text)
    # Names and places of tensors are not counted, a vocabulary for more than it takes.
    assert -16_000 < expected_bytes(path, variant) - record["bytes"]["file"] < 30_000


@needs_llama_cpp
def test_a_broken_export_leaves_nothing(tmp_path, trimmed, monkeypatch, tensors=gguf_file.tensors):
    larger = lambda model: ((name, 1.5 * one) for name, one in tensors(model))  # noqa: E731
    monkeypatch.setattr(gguf_file, "tensors", larger)
    with pytest.raises(UserError, match="is broken and was not kept: log-prob"):
        trimllm.export(trimmed, "gguf_f32", tmp_path / "export", TEXTS[:1])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_leaves_nothing(tmp_path, trimmed):
    path = tmp_path / "compressed-gptq"
    config = tiny("llama").config.to_dict() | {"quantization_config": {"quant_method": "x"}}
    files.write_json(path / "config.json", config)
    for checkpoint, variant, why in (
        (trimmed, "onnx", "no export format 'onnx' .there are: gguf_f32"),
        (path, "padded", "is compressed; export the checkpoint that it was made from"),
    ):
        with pytest.raises(UserError, match=why):
            trimllm.export(checkpoint, variant, tmp_path / "export")
    with pytest.raises(UserError, match="is the checkpoint itself"):
        trimllm.export(trimmed, "padded", trimmed)
    assert list(tmp_path.iterdir()) == [path]


def test_a_card_shows_the_sublayers_and_names_engines_that_can(trimmed):
    card = ModelCard.load(trimmed / "README.md")
    picture = strip(files.read_json(trimmed / "config.json"))
    assert picture.splitlines()[1:] == ["attention ##..#", "MLP       ..###"]
    assert picture in card.text
    units = {"units": [[0, "mlp"]], "original_num_hidden_layers": 2}
    llama, opt = (loading({"model_type": f"trimllm_{name}"} | units) for name in ("llama", "opt"))
    assert "llama.cpp" in llama and "llama.cpp" not in opt and "vllm serve" in opt
