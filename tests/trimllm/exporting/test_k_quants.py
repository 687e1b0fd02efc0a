"""K-quants: llama.cpp's own quantizer, and the types of a file's tensors."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from exports import DROPPED, tiny_model, written
from gguf import GGMLQuantizationType as Type

from trimllm.base.errors import UserError
from trimllm.exporting import gguf_file, k_quants
from trimllm.exporting.layers import Entry

pytest.importorskip("xllamacpp")
ROWS = np.random.default_rng(0).standard_normal((6, 512), dtype=np.float32)


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q5_0, Type.Q4_0])
def test_the_quantizer_gives_the_bytes_that_gguf_gives_where_it_can(kind: Type) -> None:
    assert np.array_equal(k_quants.quantize(ROWS, kind), gguf.quants.quantize(ROWS, kind))


@pytest.mark.parametrize("kind, bits", [(Type.Q6_K, 6), (Type.Q4_K, 4)])
def test_what_is_read_again_is_near_for_its_bits(kind: Type, bits: int) -> None:
    rows = np.concatenate([ROWS, np.zeros_like(ROWS[:1])])
    again = gguf.dequantize(k_quants.quantize(rows, kind), kind)
    # A scale each 16 or 32 numbers: the step is at most the range over the number of levels, and
    # scales have 6 bits or more themselves.
    step = np.ptp(rows.reshape(-1, 32), axis=1, keepdims=True) / (2**bits - 1)
    assert (np.abs(again - rows).reshape(-1, 32) <= step * 1.1).all()
    assert not again[-1].any()


@pytest.mark.parametrize(
    "name, width, kind, stored",
    [
        ("blk.0.ffn_down.weight", 512, "q4_k", "Q4_K"),
        ("blk.0.ffn_up.weight", 576, "q4_k", "Q5_0"),
        ("blk.0.ffn_up.weight", 72, "q4_k", "F16"),
        ("token_embd.weight", 512, "q4_k", "Q6_K"),
        ("output.weight", 576, "q4_k", "Q8_0"),
        ("blk.0.ffn_down.weight", 512, "q6_k", "Q6_K"),
        ("blk.0.attn_q.weight", 576, "q6_k", "Q8_0"),
        ("blk.0.attn_norm.weight", None, "q4_k", "F32"),
    ],
)
def test_rows_without_whole_blocks_get_what_llama_cpp_gives_them(
    name: str, width: int | None, kind: str, stored: str
) -> None:
    shape = (512,) if width is None else (64, width)
    assert gguf_file.type_of(Entry(name, shape), kind).name == stored


def test_a_file_holds_what_its_checkpoint_rounds_to(tmp_path: Path) -> None:
    model = tiny_model("llama", DROPPED["unpaired"], mlp_width=256)
    reader, layers = written(model, tmp_path, "q4_k")
    stored = {t.name: t for t in reader.tensors}
    # A block without MLP has one of 32 channels in its place.
    down = next(e for e in layers.entries() if "ffn_down" in e.name and e.source)
    assert stored[down.name].tensor_type == Type.Q4_K
    assert sum(t.n_bytes for t in reader.tensors) == sum(
        gguf_file.bytes_of(entry, "q4_k") for entry in layers.entries()
    )
    state = model.state_dict()[down.source].numpy()
    again = gguf.dequantize(stored[down.name].data, Type.Q4_K)
    assert 0 < np.abs(again - state).max() < np.abs(state).max() / 7


def test_a_build_without_a_quantizer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    k_quants._quantizer.cache_clear()
    monkeypatch.setattr(k_quants.ctypes, "CDLL", lambda _: object())
    with pytest.raises(UserError, match="offers no quantizer; export gguf_q4_0"):
        k_quants.quantize(ROWS, Type.Q4_K)
    k_quants._quantizer.cache_clear()
