"""What is timed is greedy decoding with a cache, round after round alike; rates are rates."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
from models import some_ids, tiny, word_tokenizer

from trimllm.checkpoint import save
from trimllm.sublayers import Unit, drop
from trimllm.throughput.subject import Subject
from trimllm.throughput.workers import rates
from trimllm.throughput.workers.decode import Clock, Decoder, Worker, forget_peak, peak_bytes

CPU = torch.device("cpu")
ATTENTIONS = [Unit(block, "attention") for block in range(5)]
COMPILE = torch.compile


def eager_compile(function: object, **options: object) -> object:
    """torch.compile without a compiler: traces, checks and runs the graph as it is."""
    assert options == {"mode": "reduce-overhead", "dynamic": False}
    return COMPILE(function, backend="eager", dynamic=False)


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
    ids = some_ids(2 if mode == "eager" else 1, 12)
    if gone == ATTENTIONS:
        # Each token depends on the one before it alone.
        token = ids[:, -1:]
        tokens = [token := model(token).logits[:, -1:].argmax(-1) for _ in range(7)]
        expected = torch.cat(tokens, 1)
    else:
        expected = model.generate(ids, max_new_tokens=7, do_sample=False)[:, 12:]
    decoder = Decoder(model, ids, 6, mode)
    for _ in range(3):
        clock = Clock(CPU)
        assert torch.equal(decoder.run(len(ids), clock), expected)
        assert len(clock.times) == 2 and clock.times[0] < clock.times[1]


def test_the_head_is_given_the_last_row_in_memory_of_its_own() -> None:
    """torch copies the head's weight for the strides of a slice."""
    model = tiny("llama")
    decoder, seen = Decoder(model, some_ids(1, 6), 2), []
    model.get_output_embeddings().register_forward_hook(lambda _, args, out: seen.append(args[0]))
    decoder.run(1, Clock(CPU))
    assert all(row.shape[:2] == (1, 1) and row.stride(0) == row.shape[2] for row in seen)


@pytest.mark.parametrize("prompts", [6, [[5, 6, 7, 8], [8, 7, 6, 5]]])
def test_a_checkpoint_by_the_loop_and_by_generate(
    tmp_path: Path, prompts: int | list[list[int]]
) -> None:
    save(tiny("llama"), word_tokenizer(), tmp_path / "model")
    subject = Subject(checkpoint=str(tmp_path / "model"), dtype="float32")
    worker = Worker(asdict(subject), prompts, 3)
    facts = worker.facts
    assert facts["precision"] == "float32" and facts["layers"] == ["Linear"]
    assert facts["units_kept"] == facts["units_total"] == 10 and facts["threads"] == 1
    for batch in (1, len(worker.ids)):
        found = worker.time(batch)
        assert found["prefill"] > 0 and found["decode"] > 0
        assert found["peak_memory_bytes"] > sum(facts["bytes"].values())


@pytest.mark.parametrize("rate, size", [(1e12, 2048), (1e11, 2048), (1e9, 512), (1e7, 256)])
def test_the_product_for_a_rate_is_no_larger_than_the_machine_does_in_a_second(
    monkeypatch: pytest.MonkeyPatch, rate: float, size: int
) -> None:
    """Of a machine of this rate; bfloat16 without units for it has 1e9 where float32 has 7e10."""
    done = []

    def seconds(self: rates.Worker, work: partial[torch.Tensor]) -> float:
        done.append(len(work()))
        return 2 * done[-1] ** 3 / rate

    monkeypatch.setattr(rates.Worker, "seconds", seconds)
    monkeypatch.setattr(torch, "mm", lambda one, other, out=None: one)
    assert rates.Worker("cpu", "float32", 1, repeats=3).matrix() == pytest.approx(rate)
    assert done[-3:] == [size] * 3 and max(done) == size


def test_peak_memory_counts_what_is_held_from_here_on() -> None:
    block = torch.ones(64 << 20, dtype=torch.uint8)
    forget_peak(CPU)
    start = peak_bytes(CPU)
    more = torch.ones(64 << 20, dtype=torch.uint8)
    assert peak_bytes(CPU) - start > 50 << 20
    del more, block
    forget_peak(CPU)
    assert peak_bytes(CPU) < start or not os.access("/proc/self/clear_refs", os.W_OK)
