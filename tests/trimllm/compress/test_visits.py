"""A model on the host, a block at a time on the device: the same gradients, and how many bytes."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import some_ids, tiny
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AutoModelForCausalLM, LlamaConfig

from trimllm.compress import CompressSettings, llm_pruner
from trimllm.compress.proof import mean_loss
from trimllm.compress.run import method_of
from trimllm.compress.visits import visiting
from trimllm.sublayers import Unit, drop, unit_parameters
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm_paper import demand

GIB = 1 << 30
LLAMA_13B = LlamaConfig(
    hidden_size=5120,
    intermediate_size=13824,
    num_hidden_layers=40,
    num_attention_heads=40,
    vocab_size=32000,
    tie_word_embeddings=False,
)


class Counted(TorchDispatchMode):
    """An allocator that counts: bytes of the tensors that live on a kind of device, at the most."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.peak = kind, 0
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_iter(found):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == self.kind:
                storage = tensor.untyped_storage()
                self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.live = {key: one for key, one in self.live.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return found


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without values: 13 billion weights take no memory, and the meta device is the GPU."""
    monkeypatch.setattr(llm_pruner, "has_bfloat16", lambda: False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def gradients_of(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad for parameters in unit_parameters(model).values() for p in parameters]


@pytest.mark.parametrize("dropped", [[], [Unit(0, "attention"), Unit(1, "mlp"), Unit(3, "mlp")]])
@pytest.mark.parametrize("family", ["llama", "opt", "qwen2"])
def test_gradients_are_those_of_a_model_that_is_there_as_a_whole(
    family: str, dropped: list[Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm_pruner, "has_bfloat16", lambda: False)
    texts, found = some_ids(3, 12).tolist(), []
    for visited in (False, True):
        model = tiny(family)
        model = drop(model, dropped) if dropped else model
        before = {name: id(p) for name, p in model.named_parameters()}
        if visited:
            with visiting(model, "cpu"):
                llm_pruner.gradients(model, texts)
        else:
            llm_pruner.gradients(model, texts)
        assert before == {name: id(p) for name, p in model.named_parameters()}
        assert not any("forward" in vars(layer) for layer in decoder_of(model).layers)
        found.append(gradients_of(model))
    assert all(grad.abs().sum() > 0 for grad in found[0])
    for plain, by_block in zip(*found, strict=True):
        assert torch.equal(plain, by_block)


def test_what_is_frozen_and_outside_gets_no_gradient() -> None:
    model = tiny("llama")
    with visiting(model, "cpu"):
        llm_pruner.gradients(model, some_ids().tolist())
    inside = {id(p) for parameters in unit_parameters(model).values() for p in parameters}
    assert all((p.grad is None) == (id(p) not in inside) for p in model.parameters())


def counted(parameters: int, blocks: int) -> list[float]:
    """GiB that planning counts: the loss of the dense model, and the work on it."""
    model = SimpleNamespace(parameters=parameters, blocks=blocks)
    config = SimpleNamespace(compress=SimpleNamespace(max_tokens=CompressSettings.max_tokens))
    phases = demand._compression_bytes(model, config)
    return [sum(parts.values()) / GIB for parts in phases]


def test_llama_13b_is_pruned_a_block_at_a_time(fake: None) -> None:
    model = AutoModelForCausalLM.from_config(LLAMA_13B, dtype=torch.float32).eval()
    assert llm_pruner.TEXTS_AT_ONCE == demand.TEXTS_AT_ONCE
    texts = [list(range(CompressSettings.max_tokens))] * llm_pruner.TEXTS_AT_ONCE
    with Counted("meta") as allocator:
        llm_pruner.gradients(model, texts, "meta")
    assert all(grad.device.type == "cpu" for grad in gradients_of(model))
    found = allocator.peak / GIB
    expected = counted(sum(p.numel() for p in model.parameters()), 40)[1]
    assert found < expected < 1.6 * found and found < 40
    # All of its float32 weights are 48 GiB.
    block = 4 * sum(p.numel() for p in decoder_of(model).layers[0].parameters()) / GIB
    assert found > 2 * block


@pytest.mark.parametrize("method", ["awq_int4", "sparsegpt_2_4", "llm_int8"])
def test_the_loss_of_llama_13b_is_taken_in_16_bits(method: str, fake: None) -> None:
    with Counted("meta") as allocator:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(LLAMA_13B, dtype=torch.bfloat16).eval()
        rows = [(range(CompressSettings.max_tokens), 1)]
        for change in (lambda *_: None, method_of(method).plain_):
            with torch.no_grad():
                change(model, CompressSettings())
            with pytest.raises(DataDependentOutputException):  # a loss without a value
                mean_loss(model, rows)
    found = allocator.peak / GIB
    expected = counted(sum(p.numel() for p in model.parameters()), 40)[0]
    assert 24 < found < 30 and found < 1.1 * expected < 1.2 * found
