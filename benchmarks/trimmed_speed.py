"""Speed of a trimmed model against the full one, and what operations and bytes predict.

Prefill is bound by operations, decoding by the bytes of the weights. Both models run in turn.

    python benchmarks/trimmed_speed.py
"""

from __future__ import annotations

import copy
import statistics
import time

import torch
from common import arguments, load, report

from trimllm.units import drop, units


def prefill_seconds(model: torch.nn.Module, ids: torch.Tensor) -> float:
    with torch.inference_mode():
        start = time.perf_counter()
        model(ids, use_cache=False, logits_to_keep=1)
        return time.perf_counter() - start


def decode_seconds(model: torch.nn.Module, ids: torch.Tensor, tokens: int) -> float:
    """Seconds for `tokens` greedy tokens after the prompt, prompt apart."""
    with torch.inference_mode():
        output = model(ids, use_cache=True, logits_to_keep=1)
        start = time.perf_counter()
        for _ in range(tokens):
            chosen = output.logits[:, -1:].argmax(-1)
            output = model(chosen, past_key_values=output.past_key_values, use_cache=True)
        return time.perf_counter() - start


def main() -> None:
    args = arguments(
        __doc__,
        prompt={"type": int, "default": 256, "help": "prompt tokens (256)"},
        generate={"type": int, "default": 32, "help": "generated tokens (32)"},
        repeats={"type": int, "default": 5, "help": "rounds, the median counts (5)"},
    )
    full, _ = load(args.model)
    ids = torch.randint(100, 5000, (1, args.prompt), generator=torch.Generator().manual_seed(0))

    def per_token(model: torch.nn.Module) -> int:
        """Weights that every token of a prompt goes through: all but the head."""
        named = model.named_parameters()
        return sum(p.numel() for name, p in named if "layers." in name and p.dim() == 2)

    head = full.get_output_embeddings().weight.numel()
    rows = []
    for kept in (50, 40, 30):
        everything = units(full)
        count = len(everything) * (100 - kept) // 100
        # every second unit in the middle: half attention, half MLP, spread over the model
        order = everything[2::2] + everything[1::2]
        trimmed = drop(copy.deepcopy(full), sorted(order[:count], key=everything.index))
        times = {"prefill": [], "decode": []}
        for _ in range(args.repeats):
            pairs = [(prefill_seconds(m, ids), m) for m in (full, trimmed)]
            times["prefill"].append(pairs[0][0] / pairs[1][0])
            decodes = [decode_seconds(m, ids[:, :32], args.generate) for m in (full, trimmed)]
            times["decode"].append(decodes[0] / decodes[1])
        # the head sees one token of the prompt, and every token that is generated
        prefill_ideal = (per_token(full) * args.prompt + head) / (
            per_token(trimmed) * args.prompt + head
        )
        decode_ideal = (per_token(full) + head) / (per_token(trimmed) + head)
        for what, ideal in (("prefill", prefill_ideal), ("decode", decode_ideal)):
            gain = statistics.median(times[what])
            rows.append({"kept": kept, "what": what, "gain": gain, "ideal": ideal})
            basis = "operations" if what == "prefill" else "bytes"
            print(
                f"{kept}% of the units, {what}: {gain:.2f} times as fast, {basis} predict"
                f" {ideal:.2f}: {gain / ideal:.0%}",
                flush=True,
            )
    report(benchmark="trimmed_speed", rows=rows)


if __name__ == "__main__":
    main()
