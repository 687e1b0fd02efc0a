"""Does this machine's GPU do what a run needs, as fast as plans assume: `make check-gpu`.

Memory, matrix products and copies are compared with what `make plan` assumes of this kind of GPU;
an epoch of a tiny model and a step of an int4 model only have to run. One line a check; ends with 1
where one fails.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from trimllm.base.errors import UserError
from trimllm_paper import demand, driver, duration, gpus

SHAPE = "llama-tiny"
COLUMNS = "{:14} {:>16} {:>16}  {}"


class Found(NamedTuple):
    """What a check measured, in a unit, and what plans assume (None: nothing)."""

    unit: str
    measured: float
    planned: float | None = None

    @property
    def holds(self) -> bool:
        """Whether plans assume no more than this."""
        return self.planned is None or self.measured >= self.planned


def memory(device: str, kind: gpus.Kind) -> Found:
    """GiB that can be allocated at once, tried up to what a job may fill."""
    import torch

    planned = demand.FILLED * kind.gib
    free = torch.cuda.mem_get_info(device)[0] / demand.GIB
    gib = min(planned, free)
    torch.empty(int(gib * demand.GIB), dtype=torch.uint8, device=device)
    torch.cuda.empty_cache()
    return Found("GiB", gib, planned)


def product(device: str, kind: gpus.Kind, size: int = 8192) -> Found:
    """16-bit operations a second of large matrix products, in 10^12."""
    import torch

    one = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    seconds = _seconds(lambda: one @ one, device)
    return Found("TFLOP/s", 2e-12 * size**3 / seconds, 1e-12 * duration.ASSUMED.compute * kind.rate)


def copy(device: str, kind: gpus.Kind, size: int = 1 << 30) -> Found:
    """Bytes a second that a copy reads and writes, in 10^9."""
    import torch

    one = torch.zeros(size, device=device, dtype=torch.uint8)
    seconds = _seconds(one.clone, device)
    return Found("GB/s", 2e-9 * size / seconds, 1e-9 * duration.ASSUMED.memory * kind.memory)


def epoch(device: str, kind: gpus.Kind) -> Found:
    """Seconds in which a tiny model is scanned, loses a sublayer and is trained."""
    import torch

    from trimllm.throughput.build import random_model
    from trimllm.throughput.subject import Subject
    from trimllm.trimming import trim

    start = time.perf_counter()
    model = random_model(Subject(shape=SHAPE, device=device, dtype="float32"))
    documents = _documents(32)
    data = {"train": documents[:24], "calibration": documents[24:]}
    for _ in trim(model, _tokenizer(), **data, until=0.85):
        pass
    if not all(torch.isfinite(one).all() for one in model.parameters()):
        raise UserError("training gave weights that are not finite")
    return Found("s", time.perf_counter() - start)


def int4(device: str, kind: gpus.Kind) -> Found:
    """Seconds in which an int4 model is made and takes a step, its kernels compiled."""
    import torch

    from trimllm.base.kernels import four_bit_lacks
    from trimllm.throughput.build import build
    from trimllm.throughput.subject import Subject

    if lacking := four_bit_lacks(device):
        raise UserError(f"int4 needs {lacking}")
    start = time.perf_counter()
    dtype = "float16" if device == "cuda" else "bfloat16"
    model = build(Subject(shape=SHAPE, compressor="awq_int4", device=device, dtype=dtype))
    with torch.no_grad():
        logits = model(torch.arange(8, device=device)[None]).logits
    if not logits.isfinite().all():
        raise UserError("the int4 model answers with numbers that are not finite")
    return Found("s", time.perf_counter() - start)


CHECKS: tuple[Callable[[str, gpus.Kind], Found], ...] = (memory, product, copy, epoch, int4)


def run() -> int:
    """Do all checks; `UserError` where there is no GPU that torch can use."""
    if not gpus.gpus_present():
        raise UserError("this machine has no GPU (/dev/nvidia*); check-gpu needs one")
    if problem := driver.unusable():
        raise UserError(problem)
    (name, gib), *_ = gpus.here()
    known = gpus.kind_named(name, gib) or gpus.ASSUMED
    print(f"{name}, {gib:.0f} GiB, beside the plan's {known}")
    print(COLUMNS.format("", "measured", "plan", "").rstrip())
    failed = 0
    for line, holds in lines("cuda", gpus.KINDS[known], CHECKS):
        print(line, flush=True)
        failed += not holds
    print(f"{len(CHECKS) - failed} hold, {failed} fail")
    return min(failed, 1)


def lines(device: str, kind: gpus.Kind, checks: Any) -> Iterator[tuple[str, bool]]:
    """A line for each check and whether it holds; one that breaks off does not end the others."""
    for check in checks:
        try:
            found = check(device, kind)
        except Exception as error:
            yield f"{check.__name__:14} fails: {' '.join(str(error).split())[:300]}", False
            continue
        planned = "" if found.planned is None else f"{found.planned:.4g} {found.unit}"
        measured = f"{found.measured:.4g} {found.unit}"
        verdict = "holds" if found.holds else "below the plan"
        yield COLUMNS.format(check.__name__, measured, planned, verdict), found.holds


def _seconds(work: Callable[[], Any], device: str, repeats: int = 10) -> float:
    """Seconds of a piece of work, the mean of several after a first one."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    work()
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return (time.perf_counter() - start) / repeats


def _tokenizer() -> Any:
    """A tokenizer whose words are numbers, as many as the shape knows tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from trimllm.throughput.shapes import shape

    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    words = [*special.values(), *map(str, range(shape(SHAPE)["vocab_size"] - len(special)))]
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def _documents(count: int) -> list[Any]:
    """Questions of random words with two choices."""
    from trimllm.data import Document

    drawn = random.Random(0)
    words = [[str(drawn.randrange(400)) for _ in range(18)] for _ in range(count)]
    return [Document(" ".join(w[:16]), (f" {w[16]}", f" {w[17]}"), 0) for w in words]
