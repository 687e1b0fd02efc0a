"""Records of results as the pipeline writes them, and tables of them, made up by the tests."""

import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.exporting.formats import FORMATS
from trimllm.throughput.result import Protocol, Run, figures, summary
from trimllm_paper import cells
from trimllm_paper.context import Context
from trimllm_paper.frames import Frame
from trimllm_paper.recipe import FULL_FT, Paths, Recipe
from trimllm_paper.records import Engines, Epoch, Evaluation, Throughput, Training, sealed
from trimllm_paper.render import Rendered

UNITS, FULL_BYTES = 60, 269_000_000
"""Sublayers and bytes of the untrimmed model `tiny`."""
CHAINS = {
    "paper": {"criterion": "both", "ratio": 0.25, "step": 6},
    "ours": {"criterion": "likelihood", "ratio": 0.25, "step": 6},
}
"""The chains of the tests' configuration."""
PROVENANCE = {
    **{"config_hash": "c0ffee" * 8, "git_commit": "0123456789abcdef" * 2, "seed": 0},
    "hardware": {"cpu": "A & B_Processor 100%", "cores": 2, "threads": 1},
    "versions": {"torch": "2.13.0", "lm_eval": "0.4.13"},
}
TWO_A100: dict[str, Any] = {
    "provenance": {"hardware": {"gpu": "NVIDIA A100-SXM4-80GB"}},
    "processes": {"count": 2, "offload": False},
}
"""What a record of training says that was made on the machine of the paper's Table 9."""
LOAD = {"before": {"load_average": [0.5, 0, 0]}}


def chain_keys(recipe: str) -> dict[str, Any]:
    """Criterion, ratio and step of a recipe: of an entry, of a derived name, or of a rule."""
    parsed = Recipe.parse(recipe)
    if parsed.drop is None:
        return {}
    name = parsed.name or ""
    criterion, _, ratio = name.partition("_r")
    if name in ("random", "top", "bottom"):
        return {"criterion": name, "ratio": 0.25, "step": parsed.dropped}
    return CHAINS.get(name, {"criterion": criterion, "ratio": float(ratio or 0.25), "step": 6})


def rewrite(path: Path, **changes: Any) -> None:
    """Change a result file (None: take a field out) and seal it again."""
    content = files.read_json(path) | changes
    for name in [name for name, value in changes.items() if value is None]:
        del content[name]
    files.write_json(path, sealed(content))


# ---- evaluations


class Evaluations:
    """Writes evaluation files under a folder and remembers their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: list[Path] = []

    def add(self, recipe: str, acc: float, **fields: Any) -> Path:
        """A checkpoint's answers, `acc` percent of them right.

        Beside fields of the record: `kept` sublayers, `weight_bytes`, and `documents`, a name of
        the list of documents.
        """
        fields = {"model": "tiny", "domain": "sciq", "seed": 0, "n": 200, "kept": UNITS} | fields
        n, kept, right = fields["n"], fields.pop("kept"), round(acc * fields["n"] / 100)
        task = fields.setdefault("task", fields["domain"])
        correct = [1] * right + [0] * (n - right)
        random.Random(f"{fields['domain']}{task}{recipe}").shuffle(correct)
        size = fields.pop("weight_bytes", int(FULL_BYTES * (0.2 + 0.8 * kept / UNITS)))
        documents = f"{fields.pop('documents', 'same')}-{task}"
        content = {
            **{"tested": fields["domain"], "acc": 100 * right / n, "correct": correct},
            **{"chance": 25.0, "document_hashes_sha256": documents, "stand_in": None},
            **{"bytes": size, "bytes_full": FULL_BYTES, "units_kept": kept, "units_total": UNITS},
            "provenance": PROVENANCE | {"seed": fields["seed"]},
        }
        record = Evaluation(recipe=recipe, **chain_keys(recipe), **content | fields)
        place = record.model, record.domain, recipe, task
        path = Path(Paths(str(self.root)).evaluation(*place))
        record.write(path)
        self.paths = [*dict.fromkeys([*self.paths, path])]
        return path

    def add_free(self, recipe: str, acc: float, f1: float, loss: float, **more: Any) -> Path:
        """An evaluation of four free answers, of which `acc` percent match exactly."""
        each = {"token_f1": [f1 / 100] * 4, "rouge_l": [f1 / 200] * 4}
        answers = {"exact_match": acc, "token_f1": f1, "rouge_l": f1 / 2, "by_document": each}
        answers["perplexity"] = math.exp(loss)
        fields = {"n": 4, "chance": None, "answer_loss": loss, "answers": answers}
        return self.add(recipe, acc, **fields | more)

    def add_domain(self, domain: str, stand_in: str | None = None) -> None:
        """All measured rows of one domain: 50% before, 75% after fine-tuning, then trimmed."""
        rows = {
            **{"pretrained": (50, 60), "full_ft": (75, 60), "sparse_ft": (74, 60)},
            **{"trim_paper/drop_30": (70, 30), "trim_ours/drop_30": (73, 30)},
            **{"trim_paper/drop_36": (60, 24), "trim_ours/drop_36": (71, 24)},
            **{"trim_paper/drop_42": (52, 18), "trim_ours/drop_42": (69, 18)},
        }
        for recipe, (acc, kept) in rows.items():
            self.add(recipe, acc, domain=domain, stand_in=stand_in, kept=kept)


# ---- training


def sublayers(blocks: int) -> list[tuple[int, str]]:
    """Block and kind of all sublayers."""
    return [(block, kind) for block in range(blocks) for kind in ("attention", "mlp")]


def one_pass(seconds: float, tokens: int = 100) -> dict[str, Any]:
    sizes = {"tokens": tokens, "documents": 8, "trainable_parameters": 1}
    return sizes | {"seconds": seconds, "loss": 1.0}


def epoch(
    number: int,
    dropped: list[tuple[int, str]],
    *,
    criterion: str = "both",
    blocks: int = 4,
    seconds: float = 2.0,
    scan_seconds: float = 1.0,
) -> dict[str, Any]:
    """One epoch that drops these sublayers."""
    return {
        **{"epoch": number, "criterion": criterion, "ratio": 0.25, "trainable_blocks": [0]},
        **{"units_dropped": [list(unit) for unit in dropped], "units_total": 2 * blocks},
        **{"ties": 1 if dropped else None, "margin": 0.0 if dropped else None},
        **{"scan": {"documents": 10, "units": []}, "training": one_pass(seconds)},
        "seconds": {"train": seconds, "scan": scan_seconds},
        **{"settings": {"seed": 0}, "provenance": PROVENANCE},
    }


def plain_chain(criterion: str = "both") -> list[dict[str, Any]]:
    """Epoch 0, then two that drop two sublayers each: first two MLPs, then two attentions."""
    drops = [[], [(0, "mlp"), (1, "mlp")], [(2, "attention"), (3, "attention")]]
    return [epoch(number, gone, criterion=criterion) for number, gone in enumerate(drops)]


def write_chain(
    root: Path,
    epochs: list[dict[str, Any]],
    *,
    name: str = "paper",
    domain: str = "sciq",
    step: int = 2,
    seed: int = 0,
) -> list[Path]:
    """Write the record of every epoch of a chain."""
    dropped, paths = 0, []
    for one in epochs:
        dropped += len(one["units_dropped"])
        recipe = str(Recipe.trimmed(name, dropped, one["units_total"]).state)
        paths.append(Path(Paths(str(root)).epoch("tiny", domain, recipe)))
        Epoch(
            **{"model": "tiny", "domain": domain, "recipe": recipe, "step": step, "seed": seed},
            **{"units_left": one["units_total"] - dropped, "parameters": 1},
            **one,
        ).write(paths[-1])
    return paths


def write_training(
    root: Path, recipe: str, *seconds: float, domain: str = "sciq", tokens: int = 100, **more: Any
) -> Path:
    """Write the record of fine-tuning with so many seconds a pass; one number stands for two."""
    path = Path(Paths(str(root)).training("tiny", domain, recipe))
    every = seconds if len(seconds) > 1 else 2 * seconds
    content = {"seed": 0, "settings": {}, "provenance": PROVENANCE} | more
    Training(
        **{"model": "tiny", "domain": domain, "recipe": recipe, "trainable_blocks": None},
        **{"units_left": 8, "units_total": 8, "parameters": 1},
        passes=[one_pass(one, tokens) for one in every],
        **chain_keys(recipe),
        **content,
    ).write(path)
    return path


# ---- speed


class TimingFiles:
    """Writes measurements of throughput under a folder and remembers their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: list[Path] = []

    def add(
        self,
        recipe: str,
        rate: float,
        *,
        full: float | None = 10.0,
        kept: int = 44,
        total: int = 44,
        share: float = 1.0,
        spread: float = 0.02,
        **changes: Any,
    ) -> Path:
        """A model at `rate` tokens/s beside a full one at `full` (None: it is the full one)."""
        factors = (1 - spread, 1 - spread / 2, 1.0, 1 + spread / 2, 1 + spread)

        def speeds(tokens: float, share: float, operations: int) -> dict[str, Any]:
            units, others = round(share * 2_000_000), 300_000
            sizes = {"units": units, "embeddings": others, "head": others}
            return {
                "decode_tokens_per_second": summary([tokens * f for f in factors]),
                "prefill_tokens_per_second": summary([100 * tokens]),
                "bytes": sizes | {"total": units + 2 * others},
                **{"read_bytes_per_token": units + others, "prefill_operations": operations},
                **{"share_of_copy": 0.5, "peak_memory_bytes": 10**9, "dtype": "bfloat16"},
            }

        content = speeds(rate, share, kept) | {
            **{"hardware": "cpu-mine", "model": "random-llama-1b", "recipe": recipe, "seed": 0},
            **chain_keys(recipe),
            "compressor": Recipe.parse(recipe).compressor,
            **{"units_kept": kept, "units_total": total, "layers": ["Linear"], "threads": 2},
            "protocol": {"prompt": 480, "generate": 32, "repeats": 3},
            **{"machine": LOAD, "timed_on": PROVENANCE["hardware"], "provenance": PROVENANCE},
        }
        if full is not None:
            content["baseline"] = speeds(full, 1.0, total)
            content["speedup"] = summary([rate / full * f for f in factors])
            content["prefill_speedup"] = summary([rate / full])
        content |= changes
        content["random_weights"] = content["model"].startswith("random-")
        place = content["hardware"], content["model"], recipe
        path = Path(Paths(str(self.root)).throughput(*place))
        Throughput(**content).write(path)
        self.paths = [*dict.fromkeys([*self.paths, path])]
        return path

    def add_machine(self) -> None:
        """What a machine with fast int4 and slow int8 and 2:4 kernels measures."""
        self.add("full", 10, full=None)
        self.add("full+sparsegpt_2_4", 9.5)
        self.add("full+llm_int8", 5, share=0.5)
        self.add("full+gptq_int4", 22, share=0.26)
        self.add("full+awq_int4", 23, share=0.26)
        self.add("trim_half/keep_50", 18.5, kept=22, share=0.5)
        self.add("trim_half/keep_40", 22, kept=18, share=0.4)
        self.add("trim_chain/keep_50", 19, kept=22, share=0.47, pattern="chain: of PIQA")
        self.add("trim_half/keep_50+awq_int4", 35, kept=22, share=0.13)


def timing(root: Path, recipe: str, rate: float) -> Path:
    """Write what figures and claims ask of a measurement: throughput/box/tiny/{recipe}.json."""
    where = {"hardware": "box", "model": "tiny", "kept": UNITS, "total": UNITS, "spread": 0.1}
    return TimingFiles(root).add(recipe, rate, full=None, **where)


def write_engine(
    root: Path,
    rates: dict[str, dict[int, float]],
    *,
    hardware: str = "cpu-mine",
    batches: tuple[int, ...] = (1,),
) -> Path:
    """Write what was measured in one engine; `rates`: format -> percent of the sublayers kept ->
    speedup over the full model."""

    def run(format: str, recipe: str, batch: int, gain: float, kept: int) -> Run:
        """Rounds of a model whose sublayers take 40 kB each, beside 0.6 MB of embeddings."""
        facts = {
            **{"recipe": recipe, "format": format, "batch": batch, "version": f"{format} 1.0"},
            **{"kernel": "fast", "precision": "16 bits", "kv_bytes_per_token": 0},
            "proof": {"mean_difference": 0.004} if format.startswith("gguf") else None,
            **{"units_kept": kept, "units_total": UNITS, "prefill_operations": 10**6 * kept},
            "bytes": {"units": 40_000 * kept, "embeddings": 600_000, "head": 0},
        }
        times = [factor / gain for factor in ((0.98, 1.0, 1.02) if kept < UNITS else (1.0,) * 3)]
        return Run(facts, decode=times, prefill=times)

    measured, protocol = [], Protocol(24, 8, 3)
    for format, gains in rates.items():
        for batch in batches:
            full = run(format, FULL_FT, batch, 1.0, UNITS)
            measured.append(figures(protocol, batch, full))
            for percent, gain in gains.items():
                kept = UNITS * percent // 100
                recipe = str(Recipe.trimmed("paper", UNITS - kept, UNITS))
                measured.append(
                    figures(protocol, batch, run(format, recipe, batch, gain, kept), full)
                )
    engine = FORMATS[next(iter(rates))]
    path = Path(Paths(str(root)).engines(hardware, "tiny", engine))
    Engines(
        **{"hardware": hardware, "model": "tiny", "engine": engine, "domain": "sciq", "seed": 0},
        **{"threads": 2, "device": "cpu", "interleaved": True, "machine": LOAD},
        protocol={"prompt": 24, "generate": 8, "repeats": 3, "batches": list(batches)},
        **{"measured": measured, "provenance": PROVENANCE},
    ).write(path)
    return path


# ---- tables

TINY = {"name": "tiny", "label": "Tiny-135M", "published": None, "units": UNITS}
COLUMNS = {
    **{"financeqa": "FinanceQA", "sciq": "SciQ", "piqa": "PIQA", "medmcqa": "MedMCQA"},
    "lexglue": "LexGLUE",
}


def column(name: str, *tasks: str, **more: Any) -> dict[str, Any]:
    """A domain; its only test has its name if none is given."""
    label = COLUMNS.get(name, name.capitalize())
    return {"name": name, "label": label, "tasks": tasks or (name,), **more}


def context(*domains: str, **changes: Any) -> Context:
    """The tests' configuration: a stand-in model, five domains, two chains of six units a step."""
    plain: dict[str, Any] = {
        **{"models": [TINY], "domains": [column(name) for name in domains or COLUMNS]},
        **{"recipes": CHAINS, "chains": list(CHAINS)},
        "throughput": {"shapes": ["llama-1b"]},
    }
    return Context(**plain | changes)


def build(
    table: str,
    evaluations: Iterable[Path] = (),
    *,
    timings: Iterable[Path] = (),
    trainings: Iterable[Path] = (),
    epochs: Iterable[Path] = (),
    in_engines: Iterable[Path] = (),
    **changes: Any,
) -> Rendered:
    """A table from files; `changes` are of the context."""
    frame = Frame.of(evaluations, epochs, trainings, timings, in_engines)
    return cells.build(table, frame, context(**changes))


def blocks(table: Rendered) -> list[str]:
    """Keys of its blocks."""
    return [*table.cells.block.unique()]


def rows(table: Rendered, block: str = "tiny") -> dict[str, str]:
    """Labels of a block's rows, by key."""
    shown = table.cells[table.cells.block == block]
    return dict(zip(shown.row, shown.row_label, strict=True))


# ---- parts of a record


def places(content: Any) -> list[tuple[Any, ...]]:
    """The way to every single value in a JSON document."""
    if not isinstance(content, dict | list):
        return [()]
    keys = content if isinstance(content, dict) else range(len(content))
    return [(key, *rest) for key in keys for rest in places(content[key])]


def change(content: Any, place: tuple[Any, ...]) -> None:
    """Change one value, as a person might who knows of no seal."""
    for key in place[:-1]:
        content = content[key]
    old = content[place[-1]]
    content[place[-1]] = old + 1 if isinstance(old, int | float) else f"{old}?"
