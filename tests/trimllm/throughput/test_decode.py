"""What is timed is greedy decoding with a cache, round after round alike; rates are rates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from models import some_ids, tiny, word_tokenizer

from trimllm.checkpoint import save
from trimllm.sublayers import Unit, drop
from trimllm.throughput.decode_worker import Loop, Worker
from trimllm.throughput.session import rate
from trimllm.throughput.subject import Subject

ATTENTIONS = [Unit(block, "attention") for block in range(5)]


def compiled(function: object, **options: object) -> object:
    """torch.compile without a compiler."""
    assert options == {"mode": "reduce-overhead", "dynamic": False}
    return function


@pytest.mark.parametrize(
    "mode, gone",
    [
        ("eager", []),
        ("eager", [Unit(0, "attention"), Unit(4, "mlp")]),
        ("compiled", [Unit(0, "attention"), Unit(4, "mlp")]),
        ("eager", ATTENTIONS),
    ],
)
def test_every_round_decodes_what_generate_does(
    monkeypatch: pytest.MonkeyPatch, mode: str, gone: list[Unit]
) -> None:
    monkeypatch.setattr(torch, "compile", compiled)
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
    loop, rows, notes = Loop(model, mode), [], []
    # torch copies the head's weight for the strides of a slice: the head gets rows of their own.
    model.get_output_embeddings().register_forward_hook(lambda _, args, out: rows.append(args[0]))
    for _ in range(3):
        assert torch.equal(loop(ids, 6, lambda: notes.append(1)), expected)
    assert len(notes) == 2 * 3
    assert all(row.shape[1] == 1 and row.stride(0) == row.shape[2] for row in rows)


def test_a_checkpoint_is_timed_by_the_loop(tmp_path: Path) -> None:
    save(tiny("llama"), word_tokenizer(), tmp_path / "model")
    subject = Subject(checkpoint=str(tmp_path / "model"), dtype="float32")
    worker = Worker(asdict(subject), 4, loop=True)
    facts = worker.facts
    assert facts["precision"] == "float32" and facts["layers"] == ["Linear"]
    assert facts["units_kept"] == facts["units_total"] == 10 and facts["threads"] == 1
    for prompts in ([[5, 6, 7, 8]], [[5, 6, 7, 8], [8, 7, 6, 5]]):
        found = worker.time(prompts, 3)
        assert found["prefill"] > 0 and found["decode"] > 0
        assert found["peak_memory_bytes"] > sum(facts["bytes"].values())


def test_rates_are_work_over_the_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 10.0, 12.0, 20.0, 28.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert rate(6.0, lambda: None, repeats=3) == 3.0
