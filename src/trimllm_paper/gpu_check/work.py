"""One check, in a process of its own, so that its memory is its own and a crash loses nothing else.

Each function does what a job of the workflow does, by the same call of the library, on a model with
random weights, and returns what was measured by the names of `cases.expected`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import shutil
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm.base.machine import peak_rss_bytes
from trimllm.base.precision import compute_dtype
from trimllm.base.processes import end_with
from trimllm.checkpoint import load_streamed, settle, store
from trimllm.compress.engines import CompressSettings
from trimllm.compress.run import check, compress
from trimllm.data import Document
from trimllm.data.document import write_documents
from trimllm.scanning.onepass import Scan, scan
from trimllm.throughput.build import random_model
from trimllm.throughput.session import measure
from trimllm.throughput.shapes import shape
from trimllm.throughput.worker import forget_peak
from trimllm.train import jobs
from trimllm.train.settings import TrainSettings
from trimllm.train.team import Team
from trimllm_paper.gpu_check.cases import (
    CALIBRATION,
    COMPRESSIONS,
    DECODINGS,
    HELD_BACK,
    SCANS,
    Case,
)

CHOICES = 4
ANY_LOSS = 1e3
"""Nats by which a compressed checkpoint may be worse than its yardstick: random weights know
nothing that could be lost, so that chance would judge. It still has to load, and to have a loss."""
Measured = dict[str, float]


def run(case: Case, folder: Path, step: str) -> None:
    """What the process does: a step of a check, whose answer goes to FOLDER/NAME.json and whose
    words to FOLDER/NAME.log.

    Args:
        step: "prepare", the checkpoint that it begins with, or "measure".
    """
    os.setsid()  # so that whoever ends it ends what it has started, too
    end_with(os.getppid())
    log = os.open(folder / f"{case.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    torch.set_num_threads(case.threads)
    answer: dict[str, Any]
    try:
        if step == "prepare":
            write_checkpoint(case, folder)
            answer = {"measured": {}}
        elif lacking := lacks(case, folder):
            answer = {"lacking": lacking}
        else:
            answer = {"measured": MEASURES[case.name](case, folder)}
    except Exception as error:
        traceback.print_exc()
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        answer = {"error": kind + " ".join(str(error).split())}
    files.write_json(folder / f"{case.name}.json", answer)


def lacks(case: Case, folder: Path) -> str | None:
    """What this machine has not that a check needs, as far as the workflow itself would know."""
    cuda = case.device == "cuda"
    try:
        if case.name in DECODINGS:
            case.subject.check()
        if method := COMPRESSIONS.get(case.name):
            check(method, checkpoint_of(case, folder), CALIBRATION, settings=_settings(case))
    except UserError as error:
        return str(error)
    if case.name == "compiled":
        return _compiling_lacks(cuda)
    if case.name.endswith("_int4"):
        return kernels.four_bit_lacks(case.device)
    if case.name == "sparsegpt_2_4" and cuda and torch.cuda.get_device_capability() < (8, 0):
        return "2:4 sparse weights need a GPU of compute capability 8.0"
    if case.name == "fsdp" and cuda and not dist.is_nccl_available():
        return "this torch has no NCCL"
    return None


def _compiling_lacks(cuda: bool) -> str | None:
    """What torch.compile lacks, in words."""
    if cuda and importlib.util.find_spec("triton") is None:
        return "torch.compile needs the package triton"
    variable, *names = ("CC", "cc", "gcc", "clang") if cuda else ("CXX", "c++", "g++", "clang++")
    there = any(map(shutil.which, filter(None, (os.environ.get(variable), *names))))
    return None if there else f"torch.compile needs a compiler ({', '.join(names)})"


# ---- models and documents -----------------------------------------------------------------------


def tokenizer_of(case: Case) -> PreTrainedTokenizerFast:
    """A tokenizer of as many words as the shape knows tokens: w4, w5, ..."""
    special = ("<pad>", "<s>", "</s>", "<unk>")
    words = [*special, *(f"w{number}" for number in range(4, shape(case.shape)["vocab_size"]))]
    made = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    named = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, **named)


def texts_of(case: Case, count: int, tokens: int, seed: int = 0) -> list[str]:
    """Texts of random words."""
    drawn, words = random.Random(seed), shape(case.shape)["vocab_size"]
    return [" ".join(f"w{drawn.randrange(4, words)}" for _ in range(tokens)) for _ in range(count)]


def documents_of(case: Case) -> list[Document]:
    """Questions of random words; prompt and right choice have as many tokens as the case says."""
    choices = texts_of(case, case.documents * CHOICES, 1, seed=1)
    return [
        Document(prompt, tuple(f" {word}" for word in choices[at * CHOICES :][:CHOICES]), 0)
        for at, prompt in enumerate(texts_of(case, case.documents, case.tokens - 1))
    ]


def checkpoint_of(case: Case, folder: Path) -> Path:
    """Where the checkpoint lies that a check begins with; checks of one size share it."""
    return folder / f"blocks_{case.blocks}"


def write_checkpoint(case: Case, folder: Path) -> None:
    """Write it: whole, or not at all."""
    with files.scratch(target := checkpoint_of(case, folder)) as temporary:
        store.write(random_model(case.subject), tokenizer_of(case), temporary)
        files.publish(temporary, target)


# ---- the checks ---------------------------------------------------------------------------------


def _memory(case: Case) -> Measured:
    """Peaks of this process; of the device since it was told to forget them."""
    host: Measured = {"host memory": peak_rss_bytes()}
    if case.device == "cuda":
        host["device memory"] = torch.cuda.max_memory_allocated()
    return host


def _scan(case: Case, folder: Path) -> Measured:
    place, device = SCANS[case.name], torch.device(case.device)
    dtype = compute_dtype(case.config.compute.dtype, device)
    if place == "device":
        model, tokenizer = random_model(case.subject), tokenizer_of(case)
    else:
        where = {"dtype": dtype, "device": device, "place": place}
        model, tokenizer = load_streamed(checkpoint_of(case, folder), **where)
    documents = documents_of(case)

    def scanned(label: str) -> Scan:
        budget = case.config.trim.row_budget
        return scan(model, tokenizer, documents, row_budget=budget, label=label)

    forget_peak(device)
    found = scanned(case.name)
    measured = _memory(case) | {"time": found.seconds}
    if case.compared:
        settle(model, dtype)
        again = scanned("on the device")
        pairs = [(found.likelihood[unit], again.likelihood[unit]) for unit in again.scored]
        measured["other scores"] = sum(mine != theirs for mine, theirs in pairs)
    return measured


def _job(case: Case, folder: Path) -> jobs.TrainJob:
    """A job of sparse fine-tuning, one pass."""
    config = case.config
    write_documents(train := folder / f"{case.name}.jsonl", documents_of(case))
    names = ("batch_size", "gradient_accumulation", "optimizer")
    told = {name: getattr(config.finetune, name) for name in names}
    return jobs.TrainJob(
        recipe="trimllm.train:fine_tune",
        checkpoint=str(checkpoint_of(case, folder)),
        train=str(train),
        settings=asdict(TrainSettings(**told, dtype=config.compute.dtype)),
        arguments={"epochs": 1, "trainable": case.trained},
        device=case.device,
        threads=case.threads,
        # Several processes, or one that does as they do, read their shares from disk.
        weights_on="disk" if case.name == "fsdp" else "device",
    )


def _train(case: Case, folder: Path) -> Measured:
    job = _job(case, folder)
    forget_peak(torch.device(case.device))
    _, _, record = jobs.run(job, torch.device(case.device), Team(lean=True))
    return _memory(case) | {"time": record["passes"][0]["seconds"]}


def _fsdp(case: Case, folder: Path) -> Measured:
    """What each of several processes does, by the only one of its group."""
    place = folder / case.name
    (place / jobs.MODEL).mkdir(parents=True)
    files.write_json(place / jobs.JOB, asdict(_job(case, folder)))
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= alone | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    jobs.take_part(place)
    record = files.read_json(place / jobs.RECORD)
    return _memory(case) | {"time": record["passes"][0]["seconds"]}


def _decode(case: Case, folder: Path) -> Measured:
    if case.name != "eager":
        found = measure(case.subject, None, case.protocol)
        return _speed("speed", found) | {"memory": found["peak_memory_bytes"]}
    found = measure(case.half, case.subject, case.protocol)
    full = found["baseline"]
    speeds = _speed("speed", full) | _speed("speed, half", found)
    return speeds | {"memory": full["peak_memory_bytes"]}


def _speed(name: str, figures: dict[str, Any]) -> Measured:
    return {name: figures["decode_tokens_per_second"]["median"]}


def _settings(case: Case) -> CompressSettings:
    section = case.config.compress
    return CompressSettings(
        group_size=section.group_size,
        kept=section.kept,
        max_tokens=case.tokens if case.tiny else section.max_tokens,
        threads=case.threads,
        device=case.device,
    )


def _compress(case: Case, folder: Path) -> Measured:
    settings = _settings(case)
    texts = texts_of(case, CALIBRATION, settings.max_tokens)
    held_back = texts_of(case, HELD_BACK, settings.max_tokens, seed=1)
    source, target = checkpoint_of(case, folder), folder / case.name
    method = COMPRESSIONS[case.name]
    of_method: Any = importlib.import_module(f"trimllm.compress.{method}")
    of_method.METHOD = replace(of_method.METHOD, margin=ANY_LOSS)
    forget_peak(torch.device(case.device))
    record = compress(method, source, texts, held_back, target, settings=settings)
    return _memory(case) | {"time": record["seconds"]["compress"]}


MEASURES: dict[str, Callable[[Case, Path], Measured]] = {
    **dict.fromkeys(SCANS, _scan),
    **{"train": _train, "fsdp": _fsdp},
    **dict.fromkeys(DECODINGS, _decode),
    **dict.fromkeys(COMPRESSIONS, _compress),
}
"""By the names of `cases.CHECKS`; a test compares."""
