"""What the benchmarks share: the model, real questions, and the machine's own rate."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import trimllm
from trimllm.base.machine import hardware, versions
from trimllm.data import Document, read_documents
from trimllm.score import encode_document

MODEL = "results/models/smollm2-135m/base/pretrained"
DOCUMENTS = "results/data/sciq/train.jsonl"


def arguments(description: str, **more: dict[str, Any]) -> argparse.Namespace:
    """Command line of a benchmark; `more` adds options as argparse knows them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", default=MODEL, help=f"checkpoint directory ({MODEL})")
    parser.add_argument("--documents", default=DOCUMENTS, help=f"JSON lines ({DOCUMENTS})")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    for name, options in more.items():
        parser.add_argument(f"--{name}", **options)
    found = parser.parse_args()
    torch.set_num_threads(found.threads)
    for path in (found.model, found.documents):
        if not Path(path).exists():
            parser.error(f"{path} does not exist; run `make table2` first, or name another")
    return found


def questions(path: str, tokenizer: Any, count: int, tokens: int) -> list[Document]:
    """`count` four-choice documents whose packed rows have `tokens` tokens in all, or nearly."""
    documents = [d for d in read_documents(path) if len(d.choices) == 4]
    lengths = {id(d): encode_document(tokenizer, d).length for d in documents}
    chosen = sorted(documents, key=lambda d: abs(lengths[id(d)] - tokens / count))[:count]
    return sorted(chosen, key=lambda d: d.hash)


def linear_rate(dtype: torch.dtype, shapes: list[tuple[int, int, int]]) -> float:
    """Operations/s of torch.nn.Linear over (rows, in, out) shapes, each weighted by its work."""
    seconds = operations = 0.0
    for rows, width, out in shapes:
        layer = torch.nn.Linear(width, out, bias=False, dtype=dtype)
        x = torch.randn(rows, width, dtype=dtype)
        with torch.inference_mode():
            layer(x)
            repeats = max(1, int(2e10 / (2 * rows * width * out)))
            start = time.perf_counter()
            for _ in range(repeats):
                layer(x)
            seconds += (time.perf_counter() - start) / repeats
        operations += 2 * rows * width * out
    return operations / seconds


def median_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Median wall-clock seconds of a call, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def load(path: str, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    return trimllm.load(path, dtype=dtype, verify=False)


def report(**result: Any) -> None:
    """Print the result as one JSON line, last."""
    print(json.dumps({**result, "hardware": hardware(), "versions": versions()}))
