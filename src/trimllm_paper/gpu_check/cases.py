"""What is checked, how large it can be on this machine, and what the plan says that it takes.

Predictions are those of `make plan` (`demand`, `duration`), of a throughput session for memory of
decoding, and rest on `config/paper.yaml`. Memory is on the safe side: more than predicted does not
hold, nor is it of use to predict twice of what a GPU needs. Times are good to a factor of two. Of
the tiny shape nothing but memory from above is judged: it is for tests, and starting takes all of
its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

from trimllm.compress import METHODS
from trimllm.throughput import machine, session
from trimllm.throughput.result import Protocol
from trimllm.throughput.shapes import KINDS, inside_and_outside, kept_units, shape
from trimllm.throughput.subject import Subject
from trimllm_paper import demand, duration
from trimllm_paper.check_records import Unit
from trimllm_paper.config import Config, load, read_yaml
from trimllm_paper.config.load import PROJECT

WHOLE, TINY = "llama-7b", "llama-tiny"
"""The shape on a GPU and, for tests, on a CPU."""
PAPER = PROJECT / "config" / "paper.yaml"
RATIO = 0.25
SCANS = {"scan": "device", "stream_host": "host", "stream_disk": "disk"}
"""Scans, by where weights wait."""
TRAININGS = ("train", "fsdp")
DECODINGS = ("eager", "compiled", "awq_int4", "gptq_int4", "sparsegpt_2_4")
COMPRESSIONS = {f"compress_{method}": method for method in METHODS}
CHECKS = {
    "scan": "one-pass scan, weights on the device",
    "train": "training steps at r = 1/4, one process",
    "fsdp": "the same by FSDP with one rank (NCCL; gloo on a CPU)",
    "eager": "decoding in 16 bits, whole and with half of the units",
    "compiled": "decoding in 16 bits by torch.compile (CUDA graphs)",
    "awq_int4": "decoding with AWQ's int4 kernels",
    "gptq_int4": "decoding with GPTQ's int4 kernels",
    "sparsegpt_2_4": "decoding with 2:4 sparse weights",
    "stream_host": "scan, weights from host memory unit by unit",
    "stream_disk": "scan, weights from disk unit by unit",
    **{name: f"compression, {method}" for name, method in COMPRESSIONS.items()},
}
"""Name -> what it does, in the order in which they run."""
STORED = ("train", "fsdp", "stream_host", "stream_disk", *COMPRESSIONS)
"""Checks that begin with a checkpoint."""
COMPRESSED_BLOCKS = 2
"""Blocks at most that are compressed: an engine takes tens of seconds for one of LLaMA-7B."""
PROTOCOL = Protocol(generate=64, repeats=3)
TINY_PROTOCOL = Protocol(tokens=24, generate=4, repeats=1, prefills=1)
HELD_BACK, CALIBRATION = 8, 32
"""Texts of compressors."""
SAFE, LOOSE, FACTOR = 1.0, 0.5, 2.0
"""Most and least of a predicted memory, and how far a time may be off."""


@dataclass(frozen=True)
class Expected:
    """A predicted quantity; it holds where measured / predicted lies between least and most."""

    unit: Unit
    value: float
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Case:
    """A check, as large as it runs here.

    Attributes:
        name: one of `CHECKS`.
        shape: whose weights are random.
        blocks: how many of the shape's.
        device: "cuda" or "cpu".
        threads: of torch.
        compared: a streamed scan is compared with one on the device.
    """

    name: str
    shape: str
    blocks: int
    device: str
    threads: int = 1
    compared: bool = False

    @property
    def task(self) -> str:
        """What `demand` calls it."""
        if self.name in SCANS:
            return "scan"
        return "compress" if self.name in COMPRESSIONS else "sparse_ft"

    @property
    def tiny(self) -> bool:
        """Whether it is a test's."""
        return self.shape == TINY

    @property
    def documents(self) -> int:
        """Documents that are scanned or trained on."""
        if self.name in TRAININGS:
            return 8 if self.tiny else 64
        # Streamed weights pass once for every document, and more often.
        return 8 if self.name == "scan" else 2

    @property
    def tokens(self) -> int:
        """Tokens of a document; of a training one as many as the plan reserves memory for."""
        longest, usual = (40, 24) if self.tiny else (demand.LONGEST, duration.TOKENS)
        return longest if self.name in TRAININGS else usual

    @property
    def trained(self) -> list[int]:
        """Blocks that are trained: a quarter, the first among them, before which nothing that a
        backward pass needs would have to be kept."""
        return [*range(0, self.blocks, 4)][: max(1, round(RATIO * self.blocks))]

    @property
    def ratio(self) -> float:
        """Their share."""
        return len(self.trained) / self.blocks

    @property
    def units(self) -> tuple[tuple[int, str], ...] | None:
        """Units of the shape that the model has; None: all."""
        if self.blocks == shape(self.shape)["num_hidden_layers"]:
            return None
        return tuple((block, kind) for block in range(self.blocks) for kind in KINDS)

    @property
    def subject(self) -> Subject:
        """The model: as it is decoded, or before anything happens to it, in bfloat16."""
        how: dict[str, Any] = {"shape": self.shape, "units": self.units, "device": self.device}
        how |= {"threads": self.threads}
        if self.name not in DECODINGS:
            return Subject(**how)
        compressor = self.name if self.name not in ("eager", "compiled") else None
        mode = "compiled" if self.name == "compiled" else "eager"
        dtype = machine.fast_dtype(self.device)
        return Subject(**how, dtype=dtype, compressor=compressor, mode=mode)

    @property
    def half(self) -> Subject:
        """The model with half of its units."""
        return replace(self.subject, units=tuple(kept_units(self.blocks, 50, 0.5)))

    @property
    def protocol(self) -> Protocol:
        """How it is decoded."""
        return TINY_PROTOCOL if self.tiny else PROTOCOL

    @property
    def size(self) -> Any:
        """The model as `demand` knows models."""
        parameters = sum(inside_and_outside(self.shape, self.units))
        told = {"blocks": self.blocks, "parameters": parameters, "storage_dtype": "bfloat16"}
        return SimpleNamespace(**told)

    @property
    def config(self) -> Config:
        """The paper's configuration, of so many documents, on this device."""
        found = paper()
        scanned = {"calibration_documents": self.documents}
        once = {"documents": self.documents, "epochs": 1}
        rounds = {key: getattr(self.protocol, key) for key in ("tokens", "generate", "repeats")}
        rounds |= {"prefills": self.protocol.prefills, "threads": self.threads}
        texts = {"held_back_documents": HELD_BACK, "calibration_documents": CALIBRATION}
        compute: dict[str, Any] = {"device": self.device, "threads": self.threads, "processes": 1}
        compute |= {"gradient_checkpointing": False}
        compute |= {"gpu": None, "weights_on": SCANS.get(self.name, "device")}
        if self.device == "cpu":
            compute["dtype"] = "auto"
        changes = {"trim": scanned, "finetune": once, "throughput": rounds}
        changes |= {"compute": compute, "compress": texts}
        sections = {k: getattr(found, k).model_copy(update=v) for k, v in changes.items()}
        return found.model_copy(update=sections)


@cache
def paper() -> Config:
    """`config/paper.yaml`."""
    return load(read_yaml(PAPER), [PAPER])


def memory(case: Case) -> demand.Memory:
    """What the plan reserves for a check's job."""
    found = demand.memory(case.task, case.size, case.config, case.ratio)
    if case.name == "fsdp" and found.gpu:  # a rank gathers its layers, if only from itself
        several = demand.memory(case.task, case.size, case.config, case.ratio, demand.Shared(2))
        gathered = {"gathered": several.gpu["gathered"]}
        found = replace(found, gpu={**found.gpu, **gathered})
    return found


def tokens_per_second(subject: Subject, case: Case, compiled: bool = False) -> float:
    """Speed of decoding by the plan's own model: bytes of the weights over the bandwidth, or what
    the host takes to start a block's kernels, which compiled ones do not wait for."""
    left = len(subject.units or ()) / 2 or case.blocks
    # What reads as many bytes in 16 bits.
    size = SimpleNamespace(parameters=subject.weight_bytes() / 2, blocks=left)
    assumed = replace(duration.ASSUMED, launch=0.0) if compiled else duration.ASSUMED
    spent = duration.spent("measure", size, case.config, assumed=assumed)
    # The plan's job times two models.
    return 2 * case.protocol.generate * (case.protocol.repeats + 1) / spent["decode"]


def expected(case: Case) -> dict[str, Expected]:
    """What is predicted of a check, by name."""
    found: dict[str, Expected] = {}
    least, factor = (None, None) if case.tiny else (LOOSE, FACTOR)
    slowest = 1 / factor if factor else None
    if case.name in DECODINGS:
        compiled = case.name == "compiled"
        rates = {"speed": case.subject} | ({"speed, half": case.half} if _paired(case) else {})
        for name, subject in rates.items():
            rate = tokens_per_second(subject, case, compiled)
            found[name] = Expected("tokens/s", rate, slowest, factor)
        taken = session.memory_bytes(case.subject)
        return found | {"memory": Expected("bytes", taken, None, SAFE)}
    need = memory(case)
    if need.gpu:  # what the allocator does not hand out is no part of what is measured
        handed_out = sum(need.gpu.values()) - need.gpu["overhead"]
        found["device memory"] = Expected("bytes", handed_out, least, SAFE)
    found["host memory"] = Expected("bytes", need.host_mib * demand.MIB, None, SAFE)
    told = SimpleNamespace(train=case.documents, test=None, tokens=case.tokens)
    spent = duration.spent(
        *(case.task, case.size, case.config),
        ratio=case.ratio,
        expected=told,
        compressor=COMPRESSIONS.get(case.name),
    )
    names = {"scan": ("scan",), "compress": ("compress",), "sparse_ft": ("train", "update")}
    seconds = sum(spent[name] for name in names[case.task])
    found["time"] = Expected("seconds", seconds, slowest, factor)
    if case.compared:
        found["other scores"] = Expected("units", 0)
    return found


def _paired(case: Case) -> bool:
    """Whether a decoded model is timed in turn with its half."""
    return case.name == "eager"


def needs(case: Case) -> dict[str, float]:
    """Bytes of the device (where that is a GPU), of the host and of the disk that a check needs."""
    stored = demand.stored_bytes(case.size) * (2 if case.name in ("fsdp", *COMPRESSIONS) else 1)
    disk = {"disk": stored if case.name in STORED else 0}
    if case.name in DECODINGS:
        taken = session.memory_bytes(case.subject)
        return {"GPU" if case.device == "cuda" else "memory": taken} | disk
    found = memory(case)
    gpu = {"GPU": found.gpu_gib * demand.GIB / demand.FILLED} if found.gpu else {}
    return gpu | {"memory": found.host_mib * demand.MIB} | disk


def largest(case: Case, have: Mapping[str, float]) -> Case | str:
    """A check with as many blocks as fit, at most those of `case`; or in words why none does.

    Args:
        have: free bytes of what `needs` names.
    """
    short = ""
    most = min(case.blocks, COMPRESSED_BLOCKS) if case.name in COMPRESSIONS else case.blocks
    for blocks in range(most, 0, -1):
        one = replace(case, blocks=blocks)
        lacking = {name: need for name, need in needs(one).items() if need > have[name]}
        if not lacking:
            return one
        name, need = next(iter(lacking.items()))
        told = f"{need / demand.GIB:.1f} GiB, {have[name] / demand.GIB:.1f} are free"
        short = f"{name} is too small: one block needs {told}"
    return short


def cases(
    which: tuple[str, ...], shape_name: str, device: str, threads: int, have: Mapping[str, float]
) -> dict[str, Case | str]:
    """The checks by name, each as large as it can be here, or in words why it cannot."""
    blocks = shape(shape_name)["num_hidden_layers"]
    found: dict[str, Case | str] = {}
    for name in which:
        one = largest(Case(name, shape_name, blocks, device, threads), have)
        if isinstance(one, Case) and SCANS.get(name, "device") != "device":
            there = largest(replace(one, name="scan"), have)
            one = replace(one, compared=isinstance(there, Case) and there.blocks == one.blocks)
        found[name] = one
    return found
