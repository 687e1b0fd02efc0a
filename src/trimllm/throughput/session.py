"""One session: several models, each in a fresh process, timed in turn.

Other work on a machine comes and goes over minutes. Every round asks every model once, every other
round in reversed order, so that all see the same of it; a speedup is the median of the rounds' own
ratios. Ratios are within a format: the gain by trimming does not depend on how fast engines are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trimllm.base.workers import Worker, environment
from trimllm.exporting.formats import FORMATS, LLAMA, TRANSFORMERS, VLLM, start_engine
from trimllm.throughput.build import sizes
from trimllm.throughput.result import Protocol, Run, figures
from trimllm.throughput.subject import Subject

WORKER = Path(__file__).with_name("decode_worker.py")
GPU_SHARE = 0.9
"""Of a GPU's memory, what the models of a session may take together; vLLM's own default for one."""
COPY_BYTES = 1 << 28
"""Size of the copied buffer: far larger than any cache."""
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrix product: as much work as fills the device."""
Prompts = Sequence[Sequence[int]]


def prompts_of(tokenizer: Any, texts: Iterable[str], count: int, length: int) -> list[list[int]]:
    """So many stretches of token ids out of texts, end to end and over again if they are few."""
    ids = [token for text in texts for token in tokenizer(text).input_ids]
    ids *= -(-count * length // len(ids))
    return [ids[i * length : (i + 1) * length] for i in range(count)]


def measure(
    subjects: Sequence[Subject], protocol: Protocol, prompts: Prompts | None = None
) -> dict[str, Any]:
    """Time models of one format in turn; the first is the baseline of the others.

    Args:
        prompts: token ids of so many texts as the largest batch has, all of `protocol.prompt`
            tokens, that engines run as they come; None times a bare loop over `forward`.

    Returns:
        `measured`, `result.figures` by batch size and subject; medians over the rounds of the
        machine's rates; `protocol`; `interleaved`, whether several models took turns.

    Raises:
        UserError: a model cannot be run here, or there is too little memory for all of them.
    """
    first, share = subjects[0], GPU_SHARE / len(subjects)
    device = "cpu" if FORMATS[first.format] == LLAMA else first.device  # by its wheel
    torch.set_num_threads(first.threads)
    loop = prompts is None
    if prompts is None:  # token ids that every vocabulary has
        drawn = random.Random(0).choices(range(3, 100), k=protocol.prompt)
        prompts = [drawn] * max(protocol.batches)
    copies, products, measured = list[float](), list[float](), list[dict[str, Any]]()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(start(one, protocol, loop=loop, share=share)) for one in subjects
        ]
        for batch in protocol.batches:
            runs = [
                Run({**_facts(one, protocol.prompt), **worker.facts, "batch": batch})
                for one, worker in zip(subjects, workers, strict=True)
            ]
            for number in range(1 + protocol.repeats):  # the first does not count
                for at in range(len(runs))[:: -1 if number % 2 else 1]:
                    reply = workers[at].ask("time", prompts[:batch], protocol.generate)
                    runs[at].add(reply, number > 0)
                if number:
                    copies.append(copy_rate(device))
                    products.append(matrix_rate(device, first.dtype))
            rates = median(copies), median(products)
            for run in runs:
                full = None if run is runs[0] else runs[0]
                measured.append(figures(protocol, batch, run, full, rates))
    return {
        "measured": measured,
        "copy_bytes_per_second": median(copies),
        "matrix_operations_per_second": median(products),
        "protocol": asdict(protocol),
        "interleaved": len(subjects) > 1,
    }


def start(subject: Subject, protocol: Protocol, *, loop: bool, share: float) -> Worker:
    """A process that runs a model, with this share of a GPU's memory."""
    engine, threads = FORMATS[subject.format], subject.threads
    if engine == TRANSFORMERS:
        job = {"subject": asdict(subject), "prompt": protocol.prompt, "loop": loop}
        return Worker(WORKER, job, name=str(subject), variables=environment(threads))
    job = {"context": protocol.prompt + protocol.generate + 8, "parallel": max(protocol.batches)}
    if engine == VLLM:
        job |= {"device": subject.device, "dtype": subject.dtype, "share": share}
    return start_engine(engine, subject.export or "", threads, str(subject), **job)


def _facts(subject: Subject, prompt: int) -> dict[str, Any]:
    """Facts of a subject; in llama.cpp and vLLM its sizes, by the checkpoint's configuration and
    the tensors of the GGUF file. No weights are loaded."""
    facts = {"random_weights": subject.shape is not None, **subject.facts}
    engine = FORMATS[subject.format]
    if engine == TRANSFORMERS:
        return facts  # its process reads the rest off the model
    config = AutoConfig.from_pretrained(subject.checkpoint, local_files_only=True)
    dtype = "float16" if engine == LLAMA else subject.dtype  # of llama.cpp's cache
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.tie_weights()
    facts |= sizes(model, prompt)
    if engine == LLAMA:
        from gguf import GGUFReader

        # What stands in for missing sublayers counts among these.
        facts["bytes"] = dict.fromkeys(facts["bytes"], 0)
        parts = {"token_embd.weight": "embeddings", "output.weight": "head"}
        for tensor in GGUFReader(subject.export or "").tensors:
            facts["bytes"][parts.get(tensor.name, "units")] += int(tensor.n_bytes)
        facts["precision"] = subject.format.removeprefix("gguf_")
    return facts


def copy_rate(device: str) -> float:
    """Bytes/s, read and written, of copying 256 MiB. On a CPU a copy's writes may cost a read
    beside, so that work which only reads can reach more than 100% of it."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return rate(2 * COPY_BYTES, lambda: target.copy_(source))


def matrix_rate(device: str, dtype: str) -> float:
    """Operations/s of a product of square matrices."""
    size = MATRIX[device]
    one, other = torch.ones(2, size, size, dtype=getattr(torch, dtype), device=device)
    product = torch.empty_like(one)
    return rate(2 * size**3, lambda: torch.mm(one, other, out=product))


def rate(amount: float, work: Callable[[], Any], repeats: int = 5) -> float:
    """Amount of work over the least seconds that it took, a GPU's included."""
    finish = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    times = []
    for _ in range(repeats):
        finish()
        start = time.perf_counter()
        work()
        finish()
        times.append(time.perf_counter() - start)
    return amount / min(times)
