"""Does a GPU do what the plan expects: `make check-gpu`, a few minutes.

    python -m trimllm_paper check-gpu

Checks, one after the other: memory can be allocated; a matrix product and a copy reach their
share of the data sheet; two epochs of a tiny model give the losses of a CPU; int4 kernels work.
Prints a line for each, writes results/check_gpu/HARDWARE.json, and ends with 1 if one fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import driver, gpus
from trimllm_paper.resources import FILLED, GIB, OVERHEAD, REACHED, READ

WORDS = [f"word{number}" for number in range(40)]
LEAST = 0.5
"""Share of an expected rate below which a check fails."""


def allocate(device: str, kind: gpus.Kind) -> dict[str, float]:
    """GiB that can be allocated, against what plans fill."""
    import torch

    parts: list[Any] = []
    wanted = FILLED * kind.gib - OVERHEAD / GIB if device == "cuda" else 1
    try:
        while len(parts) < wanted:
            parts.append(torch.empty(GIB, dtype=torch.uint8, device=device))
    except torch.OutOfMemoryError:
        pass
    return {"GiB": float(len(parts)), "expected": float(int(wanted)), "least": 0.95}


def rates(device: str, kind: gpus.Kind) -> dict[str, float]:
    """16-bit operations a second of a matrix product, against what plans assume."""
    import torch

    size = 8192 if device == "cuda" else 512
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    seconds = fastest(device, lambda: a @ a)
    return {"operations/s": 2 * size**3 / seconds, "expected": REACHED * kind.rate}


def bandwidth(device: str, kind: gpus.Kind) -> dict[str, float]:
    """Bytes a second of a copy, read and written, against what plans assume."""
    import torch

    a = torch.empty(GIB if device == "cuda" else GIB // 64, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    seconds = fastest(device, lambda: b.copy_(a))
    return {"bytes/s": 2 * len(a) / seconds, "expected": READ * kind.bandwidth}


def fastest(device: str, work: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of several runs."""
    import torch

    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


def trimming(device: str, kind: gpus.Kind) -> dict[str, float]:
    """Loss after two epochs of a tiny model in float32, against the same on a CPU."""
    return {"loss": tiny_chain(device), "expected": tiny_chain("cpu"), "least": 0.99}


def tiny_chain(device: str) -> float:
    """Loss of a pass after two sublayers of a random model were dropped."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    import trimllm

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, WORDS[0]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=WORDS[1])
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), **sizes, **heads)).to(device)
    documents = [
        trimllm.Document(f"word{i % 9} word{i % 7} :", (" word8", " word9"), i % 2)
        for i in range(24)
    ]
    settings = trimllm.TrainSettings(learning_rate=1e-3, dtype="float32")
    how: dict[str, Any] = {"train": documents, "calibration": documents[:8], "settings": settings}
    *_, last = trimllm.trim(model, tokenizer, step=2, until=2, ratio=1.0, **how)
    return float(last.loss or 0.0)


def int4(device: str, kind: gpus.Kind) -> dict[str, float]:
    """Tokens a second of a small shape whose weights have four bits; the kernels need only work."""
    from trimllm.throughput.result import Protocol
    from trimllm.throughput.session import measure
    from trimllm.throughput.subject import shape_subject

    subject = shape_subject("llama-tiny", 0.5, 100, "gptq_int4", device=device, group_size=32)
    found = measure([subject], Protocol(prompt=24, generate=8, repeats=2))["measured"][0]
    return {"tokens/s": float(found["decode_tokens_per_second"]["median"]), "expected": 0.0}


CHECKS = {"memory": allocate, "matrix product": rates, "copy": bandwidth}
CHECKS |= {"trimming": trimming, "int4": int4}


def run(device: str | None, results: Path) -> int:
    """Run all checks; the number of those that failed, at most 1."""
    from trimllm.throughput.machine import this_machine

    device = device or "cuda"
    if device == "cuda" and (problem := driver.unusable()):
        raise UserError(problem)
    if device == "cuda" and not gpus.here():
        raise UserError("this machine has no GPU; --device cpu tries the checks out")
    name, gib = gpus.here()[0] if device == "cuda" else ("CPU", 0.0)
    kind = gpus.KINDS.get(gpus.kind_named(name, gib) or "", gpus.KINDS[gpus.ASSUMED])
    kind = kind._replace(gib=gib) if gib else kind
    content: dict[str, Any] = {"gpu": name, "gib": gib, "checks": {}}
    for check, work in CHECKS.items():
        try:
            found = dict[str, Any](work(device, kind))
            *_, value = [found[key] for key in found if key not in ("expected", "least")]
            expected = found["expected"]
            # On a CPU rates say nothing of a GPU's.
            judged = device == "cuda" or check in ("memory", "trimming")
            found["holds"] = not judged or value >= found.get("least", LEAST) * expected
        except Exception as error:
            found = {"error": str(error).strip().partition("\n")[0], "holds": False}
        content["checks"][check] = found
        shown = {key: one for key, one in found.items() if key not in ("holds", "error")}
        words = ", ".join(f"{key} {one:.4g}" for key, one in shown.items())
        print(f"{'ok' if found['holds'] else 'FAILED':7} {check}: {found.get('error') or words}")
    target = results / "check_gpu" / f"{this_machine(device)}.json"
    files.write_json(target, content)
    print(json.dumps({"file": str(target)}))
    return int(not all(one["holds"] for one in content["checks"].values()))
