"""Whether a compressed model is as fast as its layers: decoded whole, and its layers alone.

In every round both processes decode, then run the linear layers of one token and the head by
themselves, the real modules on what the token gives them, each with its own best kernel. By the
layers alone a model would be as fast as the full one with these layers' time in the place of its
own (`trimllm.throughput.result.predicted`); the speedup that Table 1 shows should be within 10% of
it.

    python benchmarks/layers.py --shape llama-1b
"""

from __future__ import annotations

import argparse

from common import report

from trimllm.base.errors import UserError
from trimllm.throughput.machine import fast_dtype
from trimllm.throughput.result import Protocol
from trimllm.throughput.session import measure
from trimllm.throughput.subject import PACKAGES, Subject

FIGURES = ("speedup", "products_share", "linear_kernel", "layers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="llama-1b", help="of random weights (llama-1b)")
    parser.add_argument("--compressors", nargs="*", default=[*PACKAGES], help="(all of Table 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (5)")
    parser.add_argument("--tokens", type=int, default=512, help="of prompt and answer (512)")
    args = parser.parse_args()
    how = {"shape": args.shape, "device": args.device, "threads": args.threads}
    full = Subject(**how, dtype=fast_dtype(args.device))
    protocol = Protocol(tokens=args.tokens, generate=24, repeats=args.repeats, prefills=1)
    rows = {}
    for name in args.compressors:
        try:
            found = measure(Subject(**how, dtype=full.dtype, compressor=name), full, protocol)
        except UserError as error:
            print(f"{name:14} {error}", flush=True)
            continue
        whole, alone = found["speedup"]["median"], found["predicted_by_layers"]
        rows[name] = {figure: found[figure] for figure in (*FIGURES, "interleaved")}
        rows[name] |= {
            "alone": alone,
            "apart": whole / alone - 1,
            "full": found["baseline"]["linear_kernel"],
        }
        print(
            f"{name:14} {whole:.2f} times as fast as the full model, {alone:.2f} by its layers"
            f" alone: {whole / alone - 1:+.0%}; {found['linear_kernel']} against"
            f" {rows[name]['full']}",
            flush=True,
        )
    report(benchmark="layers", rows=rows, subject=how | {"dtype": full.dtype})


if __name__ == "__main__":
    main()
