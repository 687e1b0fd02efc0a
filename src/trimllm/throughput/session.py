"""One session: several models, each in a fresh process, timed in turn.

Other work on a machine comes and goes over minutes. Every round asks every model once, every other
round in reversed order, so that all see the same of it; a speedup is the median of the rounds' own
ratios. Ratios are within a format: the gain by trimming does not depend on how fast engines are.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trimllm.base.errors import UserError
from trimllm.base.workers import Worker, environment
from trimllm.exporting import engines
from trimllm.exporting.formats import FORMATS, LLAMA, TRANSFORMERS, VLLM
from trimllm.throughput import machine
from trimllm.throughput.rates import copy_rate, matrix_rate
from trimllm.throughput.result import Protocol, Run, figures
from trimllm.throughput.sizes import sizes
from trimllm.throughput.subject import Subject

WORKER = Path(__file__).with_name("decode_worker.py")
GPU_SHARE = 0.9
"""Of a GPU's memory, what the models of a session may take together; vLLM's own default for one."""
Prompts = Sequence[Sequence[int]]


def prompts_of(tokenizer: Any, texts: Iterable[str], count: int, length: int) -> list[list[int]]:
    """So many stretches of token ids out of texts, end to end and over again if they are few.

    Raises `UserError` for texts without a token.
    """
    ids = [token for text in texts for token in tokenizer(text).input_ids]
    if not ids:
        raise UserError("the held-back texts hold no token; give longer texts")
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
        `measured`, `result.figures` by batch size and subject; `copy_bytes_per_second` and
        `matrix_operations_per_second`, medians of `copy_samples` and `matrix_samples` (one a
        round); `protocol`; `machine`, its state before and after; `interleaved`, whether there was
        anything to take turns with.

    Raises:
        UserError: a model cannot be run here, or too little memory for all of them.
    """
    first, share = subjects[0], GPU_SHARE / len(subjects)
    device = "cpu" if FORMATS[first.format] == LLAMA else first.device  # by its wheel
    torch.set_num_threads(first.threads)
    # Token ids that every vocabulary has.
    drawn = [random.Random(0).choices(range(3, 100), k=protocol.prompt)] * max(protocol.batches)
    before, copy, matrix, measured = machine.state(device), [], [], []
    with _one_line(), ExitStack() as stack:
        workers = [
            stack.enter_context(start(one, protocol, loop=prompts is None, share=share))
            for one in subjects
        ]
        facts = [
            _facts(one, protocol.prompt) | worker.facts
            for one, worker in zip(subjects, workers, strict=True)
        ]
        for batch in protocol.batches:
            runs = [Run({**known, "batch": batch}) for known in facts]
            for number in range(1 + protocol.repeats):
                for at in range(len(runs))[:: -1 if number % 2 else 1]:
                    texts = (prompts or drawn)[:batch]
                    reply = workers[at].ask("time", texts, protocol.generate)
                    _add(runs[at], reply, counts=number > 0)
                if number:
                    copy.append(copy_rate(device))
                    matrix.append(matrix_rate(device, first.dtype))
                    _report(first.format, batch, number, protocol, runs)
            medians = statistics.median(copy), statistics.median(matrix)
            for run in runs:
                full = None if run is runs[0] else runs[0]
                measured.append(figures(protocol, batch, run, full, medians))
    return {
        "measured": measured,
        "copy_bytes_per_second": statistics.median(copy),
        "matrix_operations_per_second": statistics.median(matrix),
        "copy_samples": copy,
        "matrix_samples": matrix,
        "protocol": asdict(protocol),
        "machine": {"before": before, "after": machine.state(device)},
        "interleaved": len(subjects) > 1,
    }


def start(
    subject: Subject, protocol: Protocol, *, loop: bool, share: float
) -> AbstractContextManager[Worker]:
    """A process that runs a model, with this share of a GPU's memory."""
    engine, threads = FORMATS[subject.format], subject.threads
    if engine == TRANSFORMERS:
        job = {"subject": asdict(subject), "prompt": protocol.prompt, "loop": loop}
        variables = environment(threads)
        return Worker(WORKER, job, name=str(subject), variables=variables)
    job = {"context": protocol.prompt + protocol.generate + 8, "parallel": max(protocol.batches)}
    if engine == VLLM:
        job |= {"device": subject.device, "dtype": subject.dtype, "share": share}
    return engines.start(engine, subject.export or "", threads, str(subject), **job)


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


def _add(run: Run, reply: dict[str, Any], *, counts: bool) -> None:
    seconds = reply.pop("prefill"), reply.pop("decode")
    run.facts |= reply
    if counts:
        run.prefill.append(seconds[0])
        run.decode.append(seconds[1])


def _report(format: str, batch: int, number: int, protocol: Protocol, runs: list[Run]) -> None:
    rates = ", ".join(f"{batch * protocol.generate / run.decode[-1]:.2f}" for run in runs)
    place = f"{format}, batch {batch}, round {number} of {protocol.repeats}"
    print(f"{place}: {rates} tokens/s", file=sys.stderr, flush=True)


@contextmanager
def _one_line() -> Iterator[None]:
    """Make a worker's failure a `UserError`."""
    try:
        yield
    except (UserError, RuntimeError) as error:
        hint = "; end other programs, or time fewer or smaller models"
        raise UserError(f"{error}{hint if 'memory' in str(error).lower() else ''}") from error
