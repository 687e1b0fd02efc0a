"""Cost of a scan against units and documents, and peak memory.

Each row is a fresh process, so that its peak memory is its own.

    python benchmarks/scan_cost.py
"""

from __future__ import annotations

import json
import subprocess
import sys

from common import arguments, load, questions, report

from trimllm.base.machine import peak_rss_bytes
from trimllm.base.precision import compute_dtype
from trimllm.scanning import scan
from trimllm.select import choose
from trimllm.sublayers import drop, units


def one(args: object) -> None:
    """Run one scan and print its figures."""
    model, tokenizer = load(args.model, compute_dtype(args.dtype))
    if args.left:
        everything = units(model)
        # keep the ends of the model: what is left has to answer something
        drop(model, everything[2 : 2 + len(everything) - args.left])
    documents = questions(args.documents, tokenizer, args.count, 26 * args.count)
    before = peak_rss_bytes()
    found = scan(model, tokenizer, documents, row_budget=args.budget)
    print(
        json.dumps(
            {
                "units": len(units(model)),
                "documents": len(documents),
                "tokens": found.tokens,
                "seconds": found.seconds,
                "chosen": str(choose(found, "both", 1).dropped[0]),
                "model_rss_mb": before / 1e6,
                "peak_rss_mb": peak_rss_bytes() / 1e6,
            }
        )
    )


def main() -> None:
    args = arguments(
        __doc__,
        left={"type": int, "default": 0, "help": "units left before the scan (0: all)"},
        count={"type": int, "default": 0, "help": "documents of a single run (0: the table)"},
        dtype={"default": "auto", "choices": ["auto", "float32", "bfloat16"]},
        budget={"type": int, "help": "row budget (that of the type)"},
    )
    if args.count:
        one(args)
        return
    rows = []
    for left, count in [(0, 16), (30, 16), (15, 16), (0, 64), (0, 256)]:
        command = [sys.executable, __file__, "--model", args.model, "--documents", args.documents]
        command += ["--threads", str(args.threads), "--dtype", args.dtype]
        command += ["--left", str(left), "--count", str(count)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(run.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{row['units']:3} units, {row['documents']:3} documents, {row['tokens']:5} tokens:"
            f"{row['seconds']:7.1f} s,"
            f" {row['tflop']:6.2f} TFLOP, chosen {row['chosen']:13} peak {row['peak_rss_mb']:5.0f}"
            f" MB ({row['model_rss_mb']:.0f} MB before the scan)",
            flush=True,
        )
    report(benchmark="scan_cost", rows=rows)


if __name__ == "__main__":
    main()
