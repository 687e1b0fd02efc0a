"""What is timed is greedy decoding with a cache, round after round alike; rates are rates."""

import pytest
import torch
from models import DROPPED, some_ids, tiny

from trimllm.throughput.decode_worker import Loop


def compiled(function: object, **options: object) -> object:
    """torch.compile without a compiler."""
    assert options == {"mode": "reduce-overhead", "dynamic": False}
    return function


@pytest.mark.parametrize(
    "mode, gone",
    [
        ("eager", "nothing"),
        ("eager", "unpaired"),
        ("compiled", "unpaired"),
        ("eager", "all attention"),
    ],
)
def test_every_round_decodes_what_generate_does(monkeypatch, mode, gone):
    monkeypatch.setattr(torch, "compile", compiled)
    model = tiny("llama", dropped=DROPPED[gone])
    model.generation_config.eos_token_id = None
    ids = some_ids(2 if mode == "eager" else 1, 12)
    if gone == "all attention":
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
