"""One session: several models of a format, each in a fresh process, timed in turn. Other work on a
machine comes and goes over minutes: every round asks every model once, every other round in
reversed order, so that all see the same of it; a speedup is the median of the rounds' own ratios.
"""

import random
import timeit
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoConfig

from trimllm.base.workers import Worker, environment
from trimllm.checkpoint.stock import unwritten
from trimllm.exporting.formats import FORMATS, LLAMA, TRANSFORMERS, VLLM, start_engine
from trimllm.throughput.decode_worker import sizes
from trimllm.throughput.result import Protocol, Run, figures
from trimllm.throughput.subject import Subject

GPU_SHARE = 0.9  # of a GPU's memory, for all models together; vLLM's own default for one
COPY_BYTES = 1 << 28  # of the copied buffer: far larger than any cache
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of a product that fills the device


def prompts_of(tokenizer: Any, texts: Iterable[str], count: int, length: int) -> list[list[int]]:
    """So many stretches of token ids out of texts, end to end and over again if they are few."""
    ids = [token for text in texts for token in tokenizer(text).input_ids]
    ids *= -(-count * length // len(ids))
    return [ids[i * length : (i + 1) * length] for i in range(count)]


def measure(
    subjects: Sequence[Subject], protocol: Protocol, prompts: Sequence[list[int]] | None = None
) -> dict[str, Any]:
    """Time models of one format in turn; the first is the baseline of the others. Engines run as
    they come with `prompts`: token ids of so many texts as the largest batch has, all of
    `protocol.prompt` tokens. None times a bare loop over `forward`.

    Returns `measured`, `result.figures` by batch size and subject; the machine's rates, medians of
    the last batch's rounds; `protocol`; `interleaved`, whether several models took turns. Raises
    `UserError`: a model cannot be run here, or there is too little memory for all of them.
    """
    first, loop, share = subjects[0], prompts is None, GPU_SHARE / len(subjects)
    device = "cpu" if FORMATS[first.format] == LLAMA else first.device  # by its wheel
    torch.set_num_threads(first.threads)
    if prompts is None:  # token ids that every vocabulary has
        drawn = random.Random(0).choices(range(3, 100), k=protocol.prompt)
        prompts = [drawn] * max(protocol.batches)
    measured = list[dict[str, Any]]()
    with ExitStack() as stack:
        started = (start(one, protocol, loop=loop, share=share) for one in subjects)
        workers = [stack.enter_context(worker) for worker in started]
        facts = [_facts(one, protocol.prompt) for one in subjects]
        for batch in protocol.batches:
            rounds, pairs = list[tuple[float, float]](), zip(facts, workers, strict=True)
            runs = [Run({**known, **worker.facts, "batch": batch}) for known, worker in pairs]
            for number in range(1 + protocol.repeats):
                for at in range(len(runs))[:: -1 if number % 2 else 1]:
                    reply = workers[at].ask("time", prompts[:batch], protocol.generate)
                    if number:  # the first round does not count
                        runs[at].prefill.append(reply.pop("prefill"))
                        runs[at].decode.append(reply.pop("decode"))
                        runs[at].facts |= reply
                if number:
                    rounds.append(machine_rates(device, first.dtype))
            copies, products = map(median, zip(*rounds, strict=True))
            rates = copies, products
            measured.append(figures(protocol, batch, runs[0], None, rates))
            measured += [figures(protocol, batch, run, runs[0], rates) for run in runs[1:]]
    return {
        "measured": measured,
        "copy_bytes_per_second": copies,
        "matrix_operations_per_second": products,
        "protocol": asdict(protocol),
        "interleaved": len(subjects) > 1,
    }


def start(subject: Subject, protocol: Protocol, *, loop: bool, share: float) -> Worker:
    """A process that runs a model, with this share of a GPU's memory."""
    engine, threads = FORMATS[subject.format], subject.threads
    if engine == TRANSFORMERS:
        job = {"subject": asdict(subject), "prompt": protocol.prompt, "loop": loop}
        script, variables = Path(__file__).with_name("decode_worker.py"), environment(threads)
        return Worker(script, job, name=str(subject), variables=variables)
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
        facts |= sizes(unwritten(config, getattr(torch, dtype)), prompt)
    if engine == LLAMA:
        from gguf import GGUFReader

        # What stands in for missing sublayers counts among these.
        facts["bytes"] = dict.fromkeys(facts["bytes"], 0)
        parts = {"token_embd.weight": "embeddings", "output.weight": "head"}
        for tensor in GGUFReader(subject.export or "").tensors:
            facts["bytes"][parts.get(tensor.name, "units")] += int(tensor.n_bytes)
        facts["precision"] = subject.format.removeprefix("gguf_")
    return facts


def machine_rates(device: str, dtype: str) -> tuple[float, float]:
    """Bytes/s, read and written, of copying a buffer, and operations/s of a product of square
    matrices, by the fastest of five. On a CPU a copy's writes may cost a read beside, so that work
    which only reads can reach more than 100% of it."""
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None

    def rate(amount: float, work: Callable[[], Any]) -> float:
        return amount / min(timeit.repeat(lambda: (work(), finish()), finish, number=1))

    source, size = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device), MATRIX[device]
    target = torch.zeros_like(source)
    one, other = torch.ones(2, size, size, dtype=getattr(torch, dtype), device=device)
    product = torch.empty_like(one)
    copy = rate(2 * COPY_BYTES, lambda: target.copy_(source))
    return copy, rate(2 * size**3, lambda: torch.mm(one, other, out=product))
