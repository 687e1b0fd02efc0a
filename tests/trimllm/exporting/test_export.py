"""An export from checkpoint to folder; and what is left where it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from exports import DROPPED, needs_llama_cpp, saved, tiny_model
from huggingface_hub import ModelCard
from torch import nn

import trimllm
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint.card import Facts, loading, strip
from trimllm.checkpoint.stock import to_stock
from trimllm.exporting import gguf_file, makers
from trimllm.exporting.evidence import TEXTS
from trimllm.exporting.layers import Entry, Layers


@pytest.mark.slow
def test_a_padded_export_is_a_stock_model_with_card_and_proof(tmp_path: Path) -> None:
    model = tiny_model("llama", DROPPED["unpaired"])
    path = saved(model, tmp_path / "trimmed")
    facts = Facts(base_model="owner/base", license="mit", data="two questions")
    made = trimllm.export(path, "padded", texts=TEXTS[:1], facts=facts)
    assert made == tmp_path / "trimmed-padded"
    files.verify_manifest(made)
    proof = files.read_json(made / "export.json")["proof"]
    assert proof["largest_difference"] < 1e-4 and proof["greedy_differs_at"] is None
    assert files.read_json(made / "config.json")["model_type"] == "llama"
    card = ModelCard.load(made / "README.md")
    assert card.data.base_model == "owner/base" and card.data.license == "mit"
    assert "two questions" in card.text
    found = files.read_json(made / "export.json")["bytes"]
    # names and places of tensors are not counted
    assert found["expected"] <= found["file"] < found["expected"] + 16_000


@pytest.mark.slow
def test_a_damaged_padded_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(model: nn.Module) -> nn.Module:
        made = to_stock(model)
        with torch.no_grad():
            made.model.layers[1].self_attn.o_proj.weight.mul_(1.5)
        return made

    monkeypatch.setattr(makers, "to_stock", damaged)
    path = saved(tiny_model("llama", DROPPED["unpaired"]), tmp_path / "trimmed")
    with pytest.raises(UserError, match="as padded is broken and was not kept: log-prob"):
        trimllm.export(path, "padded", texts=TEXTS[:1])
    assert [one.name for one in tmp_path.iterdir()] == ["trimmed"]


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize("kind, told", [("f32", "log-prob"), ("q8_0", "its loss in the engine")])
def test_a_damaged_gguf_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, told: str
) -> None:
    packed = gguf_file.packed

    def damaged(entry: Entry, layers: Layers, kind: str) -> np.ndarray:
        found = packed(entry, layers, kind)
        return 3 * found if entry.name == "output_norm.weight" else found

    monkeypatch.setattr(gguf_file, "packed", damaged)
    path = saved(tiny_model("llama", DROPPED["unpaired"]), tmp_path / "trimmed")
    with pytest.raises(UserError, match=f"as {kind} is broken and was not kept: {told}"):
        trimllm.export(path, f"gguf_{kind}", texts=TEXTS[:1])
    assert [one.name for one in tmp_path.iterdir()] == ["trimmed"]


@needs_llama_cpp
@pytest.mark.slow
def test_a_rounded_export_says_what_it_was_compared_with(tmp_path: Path) -> None:
    whole = saved(tiny_model("llama"), tmp_path / "whole")
    path = saved(tiny_model("llama", DROPPED["unpaired"]), tmp_path / "trimmed")
    alone = trimllm.export(path, "gguf_q8_0", tmp_path / "alone", TEXTS[:1])
    both = trimllm.export(path, "gguf_q8_0", tmp_path / "both", TEXTS[:1], untrimmed=whole)
    allowed = [files.read_json(p / "export.json")["proof"]["growth_allowed"] for p in (alone, both)]
    assert allowed[0] is None and allowed[1] >= 0.05
    told = "what the untrimmed model loses by it was not looked at"
    assert told in (alone / "README.md").read_text()
    card = (both / "README.md").read_text()
    assert told not in card and "; of the untrimmed model " in card


@pytest.mark.parametrize("format", ["gguf", "gguf_q9", "onnx"])
def test_a_format_that_cannot_be_leaves_nothing(tmp_path: Path, format: str) -> None:
    path = tmp_path / "empty"
    path.mkdir()
    with pytest.raises(UserError):
        trimllm.export(path, format)
    assert [one.name for one in tmp_path.iterdir()] == ["empty"]


def test_every_checkpoint_has_a_card_with_its_units(tmp_path: Path) -> None:
    path = saved(tiny_model("llama", DROPPED["a block between"]), tmp_path / "trimmed")
    card = ModelCard.load(path / "README.md")
    assert card.data.library_name == "transformers" and "trimllm" in card.data.tags
    picture = strip(files.read_json(path / "config.json"))
    assert picture.splitlines()[1:] == ["attention ##.##", "MLP       ##.##"]
    assert picture in card.text and "8 of 10 attention and MLP units" in card.text
    files.verify_manifest(path)


def test_a_card_names_engines_that_can(tmp_path: Path) -> None:
    units = {"units": [[0, "mlp"]], "original_num_hidden_layers": 2}
    llama, opt = (loading({"model_type": f"trimllm_{name}"} | units) for name in ("llama", "opt"))
    assert "llama.cpp" in llama and "llama.cpp" not in opt and "vllm serve" in opt
    assert "any engine reads it" in loading({"model_type": "opt"})
    for told in ({"model_type": "llama"}, {"model_type": "trimllm_llama"} | units):
        card = loading(told | {"quantization_config": {"quant_method": "awq"}})
        assert "compressed (awq)" in card and "export what it was compressed from" in card
        assert "any engine reads it" not in card and "vllm serve" not in card


def test_a_strip_goes_on_in_a_second_line() -> None:
    units = [[block, kind] for block in range(85) for kind in ("attention", "mlp") if block != 84]
    lines = strip({"units": units, "original_num_hidden_layers": 85}).splitlines()
    assert lines[1] == "attention " + "#" * 80 and lines[4] == "attention ####."
    assert strip({"units": None}) is None
