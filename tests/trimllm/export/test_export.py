"""An export from checkpoint to folder; and what is left where it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import DROPPED, saved, tiny_model
from huggingface_hub import ModelCard

import trimllm
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint.card import Facts, strip
from trimllm.export.evidence import TEXTS


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


def test_a_strip_goes_on_in_a_second_line() -> None:
    units = [[block, kind] for block in range(85) for kind in ("attention", "mlp") if block != 84]
    lines = strip({"units": units, "original_num_hidden_layers": 85}).splitlines()
    assert lines[1] == "attention " + "#" * 80 and lines[4] == "attention ####."
    assert strip({"units": None}) is None
