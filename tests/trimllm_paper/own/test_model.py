"""A model is looked at: what the configuration says of it, and why it cannot be trimmed."""

import json
import shutil
from pathlib import Path

import pytest
from models import tiny, word_tokenizer

import trimllm
from trimllm.base.errors import UserError
from trimllm.sublayers import Unit, drop
from trimllm_paper.own import model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "Tiny_Llama"
    trimllm.save(tiny("llama"), word_tokenizer(), folder, dtype="float32")
    return folder


def test_it_is_what_the_fetched_model_will_be(checkpoint: Path) -> None:
    one = model.look(str(checkpoint))
    weights = sum(one.numel() for one in tiny("llama").parameters())  # tied ones once
    assert (one.family, one.blocks, one.parameters) == ("llama", 5, weights)
    assert one.name == "tiny_llama" and one.source == {"directory": str(checkpoint)}
    assert one.config.vocab_size == 101 and one.tokenizer.encode("w1") == word_tokenizer().encode(
        "w1"
    )
    assert one._replace(parameters=134_515_008).learning_rate == 2e-4  # SmolLM2-135M
    # Qwen2.5-Coder-0.5B, which five times as much ruins.
    assert one._replace(parameters=630_167_424).learning_rate == 2e-5


@pytest.mark.parametrize(
    "name, message",
    [
        ("no tokenizer", "has no tokenizer that can be read"),
        ("gpt2", "family 'gpt2' cannot be trimmed .those of llama, mistral"),
        ("compressed", "is trimmed or compressed; start from the model"),
        ("no weights", "holds no weights: no safetensors file"),
        ("trimmed", "is trimmed or compressed; start from the model"),
    ],
)
def test_what_cannot_be_trimmed_is_one_line(
    checkpoint: Path, tmp_path: Path, name: str, message: str
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    if name == "trimmed":
        drop(small := tiny("llama"), [Unit(0, "mlp")])
        folder = trimllm.save(small, word_tokenizer(), tmp_path / "small")
    gone = {"no tokenizer": "*token*", "no weights": "*.safetensors"}
    for file in folder.glob(gone.get(name, "nothing")):
        file.unlink()
    changes = {"gpt2": {"model_type": "gpt2"}}
    changes["compressed"] = {"quantization_config": {"quant_method": "awq"}}
    config = json.loads((folder / "config.json").read_text()) | changes.get(name, {})
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        model.look(str(folder))
