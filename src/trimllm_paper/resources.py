"""What a job needs, from the size of its model: memory, GPUs, seconds.

Seconds are a start and operations over the device's rate; earlier jobs of the task on the model
correct them. Constants were measured on CPUs; GPUs follow from data sheets.
"""

import ast
import csv
import math
import os
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from trimllm.base.machine import fast_dtype
from trimllm.exporting.formats import FORMATS
from trimllm.throughput.subject import parameters
from trimllm_paper.gpus import kind_of, uses_gpu
from trimllm_paper.recipe import FULL, RANDOM, Paths, Recipe, chains, teacher_documents
from trimllm_paper.records import DataReport

MIB, GIB = 1 << 20, 1 << 30
TASKS = {
    **{name: name for name in ("scan", "full_ft", "sparse_ft", "teach", "settle", "compress")},
    **{name: name for name in ("measure", "export", "answers")},
    **{"full_ft_choices": "full_ft", "fetch_model": "fetch", "trim_epoch": "trim"},
    **{"drop_at_once": "sparse_ft", "settle_kept": "settle", "engines": "measure"},
}
"""Rule -> what its jobs do with a model."""
TRAINING = ("full_ft", "sparse_ft", "trim", "settle")

# Memory. Of a token: multiples of the model's width, in bytes.
BASE, OVERHEAD, FILLED = 1600 * MIB, 2 * GIB, 0.95  # a process; a GPU's context, share to be filled
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a stored parameter
WEIGHT, STATE = 4, {"adamw": 12, "adamw_8bit": 6}  # a float32 parameter; its gradient and moments
KEPT = {True: 80, False: 120}  # of a block and token, for its backward pass, in 16 and 32 bits
RECOMPUTED, BUFFERS = 4, 40  # of a recomputed block and token; of a token of a forward pass
LONGEST, ROW_BUDGET, AT_ONCE = 512, 32768, 2048  # tokens: document, a scan's batch, a CPU's batch
# Sizes before documents are counted; documents of an export's proof or of answers.
TOKENS, TRAIN, TEST, VOCABULARY, SHOWN = 200, 10_000, 5_000, 50_000, 20

# Operations or bytes a second.
CORE, CORE_MEMORY = {True: 3.3e11, False: 7e10}, 2e10  # of a core, in 16 and 32 bits
REACHED, READ, SHARED = 0.40, 0.75, 0.80  # share of a GPU's peak, bandwidth; of several GPUs' peak
DISK, DOWNLOAD, TRAFFIC = 8e8, 2e7, 20  # with SHA-256; from a wheel; bytes a parameter and step
START, GPU_START, COMPRESS = 4.0, 25.0, 1.5e-7  # seconds: imports; on a node; a parameter
MARGIN, SLOW_START = 4, 10  # a time limit: times the expected minutes, and minutes besides

Wildcards = Mapping[str, Any]


class Split(NamedTuple):
    """How a training is shared."""

    processes: int = 1
    recompute: bool = False  # blocks run again in the backward pass


class Memory(NamedTuple):
    """Bytes: of the host, on each GPU."""

    host: float
    gpu: float = 0.0


def task_of(rule: str) -> str | None:
    """What the jobs of a rule do with a model; None if they have none."""
    return TASKS.get(rule, "evaluate" if rule.startswith("evaluate_") else None)


def shape(model: Any) -> tuple[float, float, float]:
    """Width, parameters of a block (12 width^2, as in LLaMA) and outside of the blocks (two
    matrices of a vocabulary), from a model's size."""
    blocks, tables = 12 * model.blocks, 2 * VOCABULARY
    width = (math.sqrt(tables**2 + 4 * blocks * model.parameters) - tables) / 2 / blocks
    return width, 12 * width**2, tables * width


def stored_bytes(model: Any, kept: float = 1.0) -> float:
    """Bytes of the stored weights of a model that keeps a fraction of its sublayers."""
    outside = shape(model)[2]
    left = outside + kept * (model.parameters - outside)
    return left * BYTES[model.storage_dtype]


class Resources:
    """What the jobs of a configuration need, by task and wildcards."""

    def __init__(self, config: Any) -> None:
        self.config, self.gpu, self.chains = config, uses_gpu(config), chains(config)
        self.kind = kind_of(config)[1]
        cores_have_16_bits = config.compute.dtype != "float32" and fast_dtype("cpu") == "bfloat16"
        self.in_16 = self.gpu or cores_have_16_bits

    def _trained_share(self, task: str, wildcards: Wildcards) -> float:
        """Share of the blocks' parameters that a training changes."""
        if task != "full_ft":
            return float(self.chains.get(wildcards.get("name") or "", self.config.main).ratio)
        return 0.01 if self.config.finetune.lora else 1.0

    def split(self, task: str, wildcards: Wildcards) -> Split:
        """The fewest processes that hold a training, unless the configuration has a number."""
        if task not in TRAINING:
            return Split()
        finetune, compute = self.config.finetune, self.config.compute
        count, recompute = compute.processes, compute.gradient_checkpointing
        alone = finetune.optimizer == "adamw_8bit" or (task == "full_ft" and finetune.lora)
        counts = [1, 2, 4, 8] if self.gpu and not alone else [1]
        counts = [count] if count else [one for one in counts if one <= finetune.batch_size]
        either = [False, True] if recompute is None and self.gpu else [bool(recompute)]
        splits = [Split(n, r) for n in counts for r in either]
        room = self.kind.gib * GIB * FILLED
        fits = (one for one in splits if self.memory(task, wildcards, one).gpu <= room)
        return next(fits, splits[-1])

    def mem_mb(self, task: str, wildcards: Wildcards, attempt: int = 1) -> int:
        """MiB that a job reserves; half as much more after each attempt that was killed."""
        return math.ceil(self.memory(task, wildcards).host * (1 + 0.5 * (attempt - 1)) / MIB)

    def memory(self, task: str, wildcards: Wildcards, split: Split | None = None) -> Memory:
        """Memory of a job, shared as it will be or as `split` says."""
        if task == "measure":  # the timed and the full model in 16 bits; in engines a few trimmed
            base = BASE * (2 if "engine" in wildcards else 1)
            return Memory(base + 4.8 * self._parameters(wildcards["model"]))
        split = split or self.split(task, wildcards)
        processes, compute = split.processes, self.config.compute
        model = self.config.models[wildcards["model"]]
        host = BASE * processes + 3 * WEIGHT * model.parameters * (task == "compress")
        device = 0.0 if task == "fetch" else self._device_bytes(task, wildcards, split)
        if not self.gpu:
            return Memory(host + device * processes + stored_bytes(model))
        on_disk = compute.weights_on == "disk" and processes == 1 and task != "compress"
        state = STATE[self.config.finetune.optimizer] if compute.offload else 0
        host += (0.25 if on_disk else 1.0) * (WEIGHT + state) * model.parameters
        return Memory(host, device and device + OVERHEAD)

    def _parameters(self, name: str) -> float:
        if name.startswith(RANDOM):
            return parameters(name.removeprefix(RANDOM))
        return self.config.models[name].parameters

    def _device_bytes(self, task: str, wildcards: Wildcards, split: Split) -> float:
        """Bytes on the device of each process while a job works."""
        config, model = self.config, self.config.models[wildcards["model"]]
        width, block, outside = shape(model)
        if task == "compress":  # LLM-Pruner needs a gradient of each weight, both in 16 bits
            return 4 * model.parameters + BUFFERS * width * 8 * config.compress.max_tokens
        weight = 2 if self.in_16 else WEIGHT
        tokens = config.evaluate.batch_tokens if task == "evaluate" else config.trim.row_budget
        is_streamed = config.compute.weights_on != "device" and task not in ("full_ft", "teach")
        resident = outside + 2 * block if is_streamed else model.parameters
        # A chain's float32 weights lie beside those that scan.
        beside = WEIGHT if task == "trim" and split.processes == 1 else 0
        forward = (weight + beside) * resident + BUFFERS * width * (tokens or ROW_BUDGET)
        if task not in TRAINING:
            return forward
        inside = model.parameters - outside
        trained = self._trained_share(task, wildcards) * inside
        state = STATE[config.finetune.optimizer]
        held = (WEIGHT + state) * trained + WEIGHT * outside + weight * (inside - trained)
        rows = math.ceil(config.finetune.batch_size / split.processes)
        tokens = rows * LONGEST if self.gpu else min(AT_ONCE, rows * 3 * TOKENS)
        blocks = 1 if split.recompute else model.blocks
        passing = (KEPT[self.in_16] * blocks + RECOMPUTED * model.blocks) * width * tokens
        if split.processes > 1:  # a block and the next are gathered, with a gradient
            held = 0.0 if config.compute.offload else held / split.processes
            passing += 10 * block + WEIGHT * outside
        return max(held + passing, forward if task == "trim" else 0.0)

    def runtime(self, task: str, wildcards: Wildcards, attempt: int = 1) -> int:
        """Time limit, minutes; half as much more after each attempt that was killed."""
        minutes = SLOW_START + MARGIN * self.seconds(task, wildcards) / 60
        need = math.ceil(minutes * (1 + 0.5 * (attempt - 1)))
        return min(need, self.config.compute.longest_minutes or need)

    def seconds(self, task: str, wildcards: Wildcards) -> float:
        """Expected seconds of a job, corrected by earlier jobs of its task on its model."""
        factor = self.earlier.get((task, wildcards["model"]), 1.0)
        return factor * self.formula(task, wildcards)

    @cached_property
    def earlier(self) -> dict[tuple[str, str], float]:
        """(task, model) -> seconds of finished jobs over those of the formula: Snakemake's extended
        benchmark files hold both, the latter as the resource `formula`, in Python's notation."""
        sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for path in Path(self.config.results, "benchmarks").rglob("*.tsv"):
            for row in csv.DictReader(path.read_text("utf-8").splitlines(), delimiter="\t"):
                formula = ast.literal_eval(row.get("resources") or "{}").get("formula")
                if formula and (task := task_of(row["rule_name"])):
                    both = sums[task, ast.literal_eval(row["wildcards"])["model"]]
                    both[0] += float(row["s"])
                    both[1] += formula
        return {key: seconds / formula for key, (seconds, formula) in sums.items()}

    def formula(self, task: str, wildcards: Wildcards) -> float:
        """Seconds of a job by the formula alone: a token costs 2 operations a parameter forward, 2
        back and 2 for each trained parameter; a scan of N sublayers costs N/2 forward passes."""
        config, finetune, timed = self.config, self.config.finetune, self.config.throughput
        if task == "measure":  # a model beside the full one, or all in each format of an engine
            rate, bandwidth = self._rates(timed.threads or os.cpu_count() or 1)
            prompt, batches, models = timed.tokens - timed.generate, [1], 2
            if engine := wildcards.get("engine"):
                timed = config.engines
                prompt, batches = timed.prompt, timed.batches
                kept = timed.kept_percent or config.trim.kept_percent
                models = (1 + len(kept)) * [FORMATS[one] for one in timed.formats].count(engine)
            one = sum(timed.generate / bandwidth + batch * prompt / rate for batch in batches)
            size = 2 * self._parameters(wildcards["model"])
            return models * (START + size * (1 / DISK + (timed.repeats + 1) * one))
        model = config.models[wildcards["model"]]
        dropped = wildcards.get("drop") or Recipe.parse(wildcards.get("recipe") or FULL).dropped
        kept = 1 - int(dropped) / model.units
        stored = stored_bytes(model, kept)
        seconds = (GPU_START if self.gpu else START) + stored / DISK
        if task == "fetch":
            return seconds + stored / (DISK if hasattr(model.source, "directory") else DOWNLOAD)
        split = self.split(task, wildcards)
        rate, bandwidth = self._rates(config.compute.threads)
        rate *= split.processes * (SHARED if split.processes > 1 else 1)
        token = stored / BYTES[model.storage_dtype] * 2 / rate  # forward
        train, tests, whole, trained, is_free = self._counts(wildcards.get("domain"))
        read = 0.0  # documents in forward passes
        if task in ("scan", "trim"):
            read += config.trim.calibration_documents * kept * model.blocks
        if task in TRAINING:
            entry = self.chains.get(name := wildcards.get("name") or "", config.main)
            documents = config.trim.documents if task == "trim" else finetune.documents
            documents = min(documents or train, train)
            # Fine-tuning sees every document, and then goes on for `patience` passes.
            passes = min(math.ceil(train / documents) + finetune.patience, finetune.epochs)
            passes = {"trim": entry.train, "settle": entry.settle}.get(task, passes)
            operations = 2 + self._trained_share(task, wildcards) + split.recompute
            length = whole if name and entry.teaches_choices else trained
            seconds += passes * documents * token * length * operations + stored / DISK
            steps = passes * documents / finetune.batch_size
            seconds += steps * TRAFFIC * model.parameters * kept / bandwidth / split.processes
            read += passes * finetune.held_back_documents
        if task == "teach":
            read += min(teacher_documents(config, model.units) or train, train)
        if task == "compress":
            seconds += model.parameters * COMPRESS + 2 * START
            read += 2 * config.compress.held_back_documents
        if task in ("evaluate", "answers", "export"):
            count = tests if task == "evaluate" else SHOWN
            read += count
            if task == "answers" or (task == "evaluate" and is_free):  # generating: memory-bound
                seconds += count * 3 * config.evaluate.answer_tokens * token
        return seconds + read * token * whole

    def _rates(self, threads: int) -> tuple[float, float]:
        """Operations and bytes of memory a second that a process reaches."""
        if self.gpu:
            return REACHED * self.kind.rate, READ * self.kind.bandwidth
        return threads * CORE[self.in_16], threads * CORE_MEMORY

    def _counts(self, domain: str | None) -> tuple[int, int, int, int, bool]:
        """Of a domain, as counted or else as its file expects: training and test documents, tokens
        of each with all choices and with the right one alone, whether tests have free answers."""
        spec = self.config.tested.get(domain)
        if spec is None:
            return TRAIN, TEST, TOKENS, TOKENS, False
        expected, tests = spec.expected, spec.expected.test or TEST
        tokens, train = expected.tokens or TOKENS, expected.train or TRAIN
        report = Paths(self.config.results).data(spec.name)
        if os.path.isfile(report) and (split := DataReport.read(report).splits.get("train")):
            train = split.documents
        tests = min(len(spec.tests) * (self.config.evaluate.documents or tests), tests)
        return train, tests, tokens, expected.trained or tokens, spec.tested_freely
