"""How large an export will be, against the export itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import DROPPED, byte_tokenizer, needs_llama_cpp
from models import tiny
from transformers import LlamaConfig

import trimllm
from trimllm.base.errors import UserError
from trimllm.exporting.formats import split_variant
from trimllm.exporting.makers import MAKERS
from trimllm.exporting.sizes import expected_bytes, float32_cache_bytes
from trimllm.sublayers import drop


def checkpoint(folder: Path, dropped: str) -> Path:
    model = tiny("llama", vocab_size=320)
    drop(model, DROPPED[dropped])
    trimllm.save(model, byte_tokenizer(), folder, dtype="bfloat16")
    return folder


def written(path: Path, variant: str, folder: Path) -> int:
    """Bytes of an export's weights, which are not proven here."""
    name, kind = split_variant(variant)
    folder.mkdir()
    maker = MAKERS[name](path, folder, kind, "tiny", None)
    maker.write()
    return sum(file.stat().st_size for file in maker.weights())


@pytest.mark.parametrize("dropped", ["nothing", "unpaired"])
@pytest.mark.parametrize(
    "variant", ["padded", pytest.param("gguf_f16", marks=needs_llama_cpp)]
)  # fmt: skip
def test_it_is_as_large_as_was_told(tmp_path: Path, dropped: str, variant: str) -> None:
    path = checkpoint(tmp_path / "model", dropped)
    told, size = expected_bytes(path, variant), written(path, variant, tmp_path / "made")
    # names and places of tensors are not counted, a tokenizer's file for more than it takes
    assert size - 16_000 < told < size + 30_000


def test_bits_and_missing_units_count(tmp_path: Path) -> None:
    whole, small = (checkpoint(tmp_path / name, name) for name in ("nothing", "unpaired"))
    sizes = [
        expected_bytes(whole, f"gguf_{kind}") for kind in ("f32", "f16", "q8_0", "q4_k", "q4_0")
    ]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 5
    assert expected_bytes(small, "gguf_f16") < expected_bytes(whole, "gguf_f16")
    with pytest.raises(UserError, match="no export format"):
        expected_bytes(whole, "gguf_q1")


def test_a_cache_takes_what_the_longest_text_needs(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path / "llama-7b")
    # keys and values of 32 blocks, 4096 wide, in float32: 1 MiB a token
    assert float32_cache_bytes(tmp_path / "llama-7b", 513) == 2 * 513 << 20
    small = checkpoint(tmp_path / "tiny", "unpaired")
    assert float32_cache_bytes(small, 513) == 1 << 28
