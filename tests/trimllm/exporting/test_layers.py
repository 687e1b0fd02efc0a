"""What a GGUF file holds, read back by the gguf package: no engine is needed."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from exports import DROPPED, FAMILIES, saved, tiny_model, written
from models import tiny, word_tokenizer

import trimllm
from trimllm.base.errors import UserError
from trimllm.exporting import gguf_file
from trimllm.exporting.layers import OUTSIDE, PARTS, Layers, interleaved, unlaced
from trimllm.sublayers.modeling_trimllm import packed_blocks
from trimllm.sublayers.packing import units


def content(reader: gguf.GGUFReader, key: str) -> object:
    return reader.get_field(key).contents()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
def test_a_float32_file_holds_the_very_weights(tmp_path: Path, family: str, dropped) -> None:
    model = tiny_model(family, dropped)
    reader, layers = written(model, tmp_path, "f32")
    state, heads, there = model.state_dict(), model.config.num_attention_heads, set()
    names = {f"blk.{n}.{name}": f"model.layers.{n}.{part}"
             for n in range(len(layers.blocks)) for kind in PARTS.values()
             for name, part in kind.items()} | OUTSIDE  # fmt: skip
    for tensor in reader.tensors:
        name, _, part = tensor.name.rpartition(".")
        stored = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        if (source := f"{names[name]}.{part}") not in state:
            assert not stored.any(), tensor.name  # what stands in for a missing unit
            continue
        if name.endswith(("attn_q", "attn_k")):
            count = heads if name.endswith("q") else model.config.num_key_value_heads
            stored = unlaced(stored, count)
        assert torch.equal(stored, state[source]), tensor.name
        there.add(source)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    assert there == set(state) - tied


@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
def test_every_block_says_what_it_holds(tmp_path: Path, dropped) -> None:
    model = tiny_model("llama", dropped)
    reader, _ = written(model, tmp_path, "f16")
    blocks = packed_blocks(units(model))
    heads = [4 if "attention" in block else 0 for block in blocks]
    kv_heads = [2 if "attention" in block else 0 for block in blocks]
    if not heads[0]:  # widths of heads follow from the first block
        heads[0] = kv_heads[0] = 1
    assert content(reader, "general.architecture") == "deci"
    assert content(reader, "deci.block_count") == len(blocks)
    assert content(reader, "deci.attention.head_count") == heads
    assert content(reader, "deci.attention.head_count_kv") == kv_heads
    assert content(reader, "deci.feed_forward_length") == [
        48 if "mlp" in block else 32 for block in blocks
    ]
    # No tensor of an attention that is missing, but in the first block.
    with_query = {int(t.name.split(".")[1]) for t in reader.tensors if "attn_q" in t.name}
    assert with_query == {number for number, count in enumerate(heads) if count}


@pytest.mark.parametrize("kind, bits", [("q8_0", 8.5), ("q4_0", 4.5)])
def test_quantized_files_have_the_bytes_that_their_types_say(
    tmp_path: Path, kind: str, bits: float
) -> None:
    model = tiny_model("llama", DROPPED["unpaired"], mlp_width=64)
    reader, layers = written(model, tmp_path, kind)
    for tensor in reader.tensors:
        width = 32 if len(tensor.shape) == 1 else bits
        if tensor.name.startswith("token_embd"):
            width = 8.5  # embeddings, which are the head as well, have 8 bits
        assert tensor.n_bytes * 8 == tensor.n_elements * width, tensor.name
    # And they are what the checkpoint's round to.
    assert sum(t.n_bytes for t in reader.tensors) == sum(
        gguf_file.bytes_of(entry, kind) for entry in layers.entries()
    )
    found = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    state = model.state_dict()["model.layers.0.self_attn.v_proj.weight"].numpy()
    step = np.abs(state).reshape(-1, 32).max(1) / (127 if kind == "q8_0" else 7)
    wrong = np.abs(found["blk.0.attn_v.weight"] - state).reshape(-1, 32).max(1)
    assert (wrong <= step * 1.01).all()


def test_rows_that_hold_no_whole_blocks_keep_16_bits(tmp_path: Path) -> None:
    reader, _ = written(tiny_model("llama"), tmp_path, "q8_0")  # 48 channels
    kinds = {t.name: t.tensor_type.name for t in reader.tensors}
    assert kinds["blk.0.ffn_down.weight"] == "F16" and kinds["blk.0.ffn_up.weight"] == "Q8_0"


def test_the_order_of_query_rows_is_that_of_neighbouring_pairs() -> None:
    rows = torch.arange(2 * 6).float()[:, None]  # two heads of six values
    assert interleaved(rows, 2)[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    for shape, heads in (((24, 5), 3), ((16,), 2)):
        some = torch.randn(shape)
        assert torch.equal(unlaced(interleaved(some, heads), heads), some)


def test_positions_scaled_as_in_llama_3_are_factors_of_the_frequencies(tmp_path: Path) -> None:
    scaled = {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    }  # fmt: skip
    model = tiny_model("llama", rope_parameters=scaled)
    reader, _ = written(model, tmp_path, "f16")
    (factors,) = [t.data for t in reader.tensors if t.name == "rope_freqs.weight"]
    plain = 1 / 10000 ** (np.arange(0, 8, 2) / 8)
    np.testing.assert_allclose(plain / factors, model.model.rotary_emb.inv_freq, rtol=1e-5)


def test_a_window_is_the_longest_context(tmp_path: Path) -> None:
    model = tiny_model("mistral", sliding_window=64)
    reader, _ = written(model, tmp_path, "f16")
    assert content(reader, "deci.context_length") == 64
    reader, _ = written(tiny_model("qwen2"), tmp_path / "other", "f16")
    assert content(reader, "deci.context_length") == 256


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"hidden_act": "gelu"}, "computes silu, this model gelu"),
        ({"quantization_config": {"bits": 4}}, "export the one it was made from"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
            "positions scaled by 'yarn' are not exported",
        ),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(tmp_path: Path, changed, told: str) -> None:
    model = tiny_model("llama")
    path = saved(model, tmp_path / "checkpoint")
    for name, value in changed.items():
        setattr(model.config, name, value)
    with pytest.raises(UserError, match=told):
        Layers(model.config, path)


def test_a_family_that_llama_cpp_does_not_know_is_refused(tmp_path: Path) -> None:
    model = tiny("opt")
    path = trimllm.save(model, word_tokenizer(), tmp_path / "opt")
    with pytest.raises(UserError, match="cannot run a trimmed opt .* as padded"):
        Layers(model.config, path)
