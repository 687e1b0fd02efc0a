"""What is timed is what it is said to be: greedy decoding with a cache, round after round alike."""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch
from models import tiny

from trimllm.sublayers import Unit, drop
from trimllm.throughput import worker
from trimllm.throughput.result import quartiles
from trimllm.throughput.worker import Decoder, copy_rate, forget_peak, peak_bytes

CPU = torch.device("cpu")
ATTENTIONS = [Unit(block, "attention") for block in range(5)]


def eager_compile(function: object, **how: object) -> object:
    """torch.compile without a compiler: traces, checks and runs the graph as it is."""
    assert how == {"mode": "reduce-overhead", "dynamic": False}
    return COMPILE(function, backend="eager", dynamic=False)


COMPILE = torch.compile


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("gone", [[], [Unit(0, "attention"), Unit(4, "mlp")], ATTENTIONS])
def test_every_round_decodes_what_generate_does(
    monkeypatch: pytest.MonkeyPatch, mode: str, gone: list[Unit]
) -> None:
    if mode == "compiled" and gone == ATTENTIONS:
        pytest.skip("a model without attention has no cache to keep still")
    monkeypatch.setattr(torch, "compile", eager_compile)
    model = drop(tiny("llama"), gone) if gone else tiny("llama")
    model.generation_config.eos_token_id = None
    decoder = Decoder(model, 12, 6, mode)
    if gone == ATTENTIONS:
        # each token depends on the one before it alone
        expected = decoder.ids[:, -1:]
        tokens = [expected := model(expected).logits[:, -1:].argmax(-1) for _ in range(7)]
    else:
        tokens = model.generate(decoder.ids, max_new_tokens=7, do_sample=False)[0, 12:]
    expected_ids = [int(token) for token in tokens]
    assert decoder.prefill_seconds() > 0
    for _ in range(3):
        assert decoder.decode_seconds() > 0
        assert [int(token) for token in decoder.decoded_ids] == expected_ids
        assert decoder.products_seconds() > 0


def test_quartiles() -> None:
    found = quartiles([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found["q1"], found["median"], found["q3"]) == (2, 3, 4)
    assert found["samples"] == [5.0, 1.0, 3.0, 2.0, 4.0]
    assert quartiles([7.0])["q1"] == quartiles([7.0])["median"] == 7


def test_copy_rate_is_a_rate() -> None:
    assert 1e8 < copy_rate(CPU, repeats=2) < 1e13


@pytest.mark.parametrize("rate, size", [(1e12, 2048), (1e11, 2048), (1e9, 512), (1e7, 256)])
def test_the_product_for_a_rate_is_no_larger_than_the_machine_does_in_a_second(
    monkeypatch: pytest.MonkeyPatch, rate: float, size: int
) -> None:
    """Of a machine of this rate; bfloat16 without units for it has 1e9 where float32 has 7e10."""
    done = []

    def seconds_of(work: partial[torch.Tensor], device: torch.device) -> float:
        done.append(len(work()))
        return 2 * done[-1] ** 3 / rate

    monkeypatch.setattr(worker, "seconds_of", seconds_of)
    monkeypatch.setattr(torch, "mm", lambda one, other, out=None: one)
    assert worker.matrix_rate(CPU, torch.float32, repeats=3) == pytest.approx(rate)
    assert done[-3:] == [size] * 3 and max(done) == size


def test_peak_memory_sees_what_is_held_and_forgets_what_was() -> None:
    block = torch.ones(64 << 20, dtype=torch.uint8)
    forget_peak(CPU)
    start = peak_bytes(CPU)
    more = torch.ones(64 << 20, dtype=torch.uint8)
    assert peak_bytes(CPU) - start > 50 << 20
    del more, block
    forget_peak(CPU)
    assert peak_bytes(CPU) < start or not os.access("/proc/self/clear_refs", os.W_OK)
