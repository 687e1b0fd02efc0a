"""Does a GPU do what the plan expects: `trimllm check-gpu`, a few minutes."""

import json
import math
import time
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import trimllm
from trimllm.base.errors import UserError
from trimllm.throughput.result import Protocol
from trimllm.throughput.session import measure
from trimllm.throughput.subject import Subject
from trimllm_paper import gpus
from trimllm_paper.resources import FILLED, GIB, OVERHEAD, REACHED

WORDS = [f"word{number}" for number in range(40)]
# A value, the one that is expected, and the share of it below which the check fails.
Measured = tuple[float, float, float]


def memory(device: str, kind: gpus.Kind) -> Measured:
    """GiB that plans fill, allocated at once."""
    gib = FILLED * kind.gib - OVERHEAD / GIB if device == "cuda" else 1
    return len(torch.empty(int(gib * GIB), dtype=torch.uint8, device=device)) / GIB, gib, 0.99


def product(device: str, kind: gpus.Kind) -> Measured:
    """16-bit operations a second of a matrix product, against what plans assume."""
    size = 8192 if device == "cuda" else 512
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times), REACHED * kind.rate, 0.5 if device == "cuda" else 0


def trimming(device: str, kind: gpus.Kind) -> Measured:
    """Loss of the pass after two sublayers of a tiny random model were dropped, against a CPU's."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, WORDS[0]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=WORDS[1])
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(WORDS)}
    prompts, choices = [f"word{i % 9} word{i % 7} :" for i in range(24)], (" word8", " word9")
    documents = [trimllm.Document(text, choices, i % 2) for i, text in enumerate(prompts)]
    settings = trimllm.TrainSettings(learning_rate=1e-3, dtype="float32")
    options: dict[str, Any] = {"ratio": 1.0, "settings": settings, "step": 2, "until": 2}
    losses = []
    for place in (device, "cpu"):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**sizes)).to(place)
        *_, last = trimllm.trim(
            model, tokenizer, train=documents, calibration=documents[:8], **options
        )
        losses.append(float(last.loss or 0.0))
    return losses[0], losses[1], 0.99


def int4(device: str, kind: gpus.Kind) -> Measured:
    """Tokens a second of a small shape with four-bit weights; its kernels need only work."""
    subject = Subject(shape="llama-tiny", compressor="gptq_int4", device=device, group_size=32)
    session = measure([subject], Protocol(prompt=24, generate=8, repeats=2))
    return float(session["measured"][0]["decode_tokens_per_second"]["median"]), 0.0, 0.0


CHECKS = {"memory (GiB)": memory, "matrix product (operations/s)": product}
CHECKS |= {"trimming (loss)": trimming, "int4 (tokens/s)": int4}


def run(device: str) -> int:
    """Run all checks; 1 if one fails. On a CPU no rate is judged. The last line is JSON."""
    name, gib = "CPU", 0.0
    if device == "cuda":
        if not gpus.here():
            raise UserError("this machine has no GPU; --device cpu tries the checks out")
        gpus.require_torch()
        name, gib = gpus.here()[0]
    kind = gpus.KINDS[gpus.kind_named(name, gib) or gpus.ASSUMED]
    kind = kind._replace(gib=gib or kind.gib)
    holds = dict.fromkeys(CHECKS, False)
    for check, work in CHECKS.items():
        try:
            value, expected, least = work(device, kind)
            most = expected / least if check.endswith("(loss)") else math.inf
            holds[check] = least * expected <= value <= most
            line = f"{value:.4g}, expected {expected:.4g}"
        except Exception as error:
            line = str(error).strip().partition("\n")[0]
        print(f"{'ok' if holds[check] else 'FAILED':7} {check}: {line}")
    print(json.dumps({"gpu": name, "gib": gib, "holds": holds}))
    return int(not all(holds.values()))
