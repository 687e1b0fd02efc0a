"""The paper's own tables as if they had been measured: results of a model `llama-7b`.

Accuracies are those of `published.yaml`, to the printed digit on 4,000 documents whose answers are
nested (a better model has all that a worse one has), which is the least noise that such numbers can
have. Sixty units stand for the paper's 64, so that 50, 40 and 30% are whole numbers.
"""

from pathlib import Path
from typing import Any, Self

from result_files import (
    TINY,
    TWO_A100,
    Evaluations,
    TimingFiles,
    context,
    epoch,
    rewrite,
    write_chain,
    write_training,
)

from trimllm.base.files import read_json
from trimllm_paper import published
from trimllm_paper.claims import checks
from trimllm_paper.claims.evidence import Evidence, Finding
from trimllm_paper.context import Context
from trimllm_paper.frames import Frame
from trimllm_paper.recipe import Recipe
from trimllm_paper.verdict import NOT_RUN

CHANCE = {"piqa": 50.0, "pubmedqa": 100 / 3}
"""Percent that guessing gets in columns whose tests do not have four choices."""
DOMAINS = ("piqa", "sciq", "medmcqa", "lexglue", "financeqa")
CRITERIA = ("calibration", "activation_norm", "both")
RATIOS = {"r_1": 1.0, "r_1_2": 0.5, "r_1_4": 0.25, "r_1_8": 0.125}
UNITS, DOCUMENTS = 60, 4000
COMPRESSORS = ("sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4")
"""Rows of Table 1."""


def number(table: str, row: str, column: str, block: str = "") -> float:
    """A printed number or bound."""
    return published.bound_percent(published.table(table).value(row, column, block))


class PaperResults:
    """Writes all of it under a folder; a test may change a number before it asks for the frame."""

    def __init__(self, root: Path, documents: int = DOCUMENTS) -> None:
        self.documents = documents
        self.evaluations, self.timings = Evaluations(root), TimingFiles(root)
        self.root = root
        self.epochs: list[Path] = []
        self.trainings: list[Path] = []
        self.engines: list[Path] = []

    def all(self) -> Self:
        """Tables 1 to 7 and 9."""
        for write in (self.table2, self.table4_and_5, self.table6, self.speed, self.table9):
            write()
        return self

    @property
    def frame(self) -> Frame:
        measured = self.trainings, self.timings.paths, self.engines
        return Frame.of(self.evaluations.paths, self.epochs, *measured)

    @staticmethod
    def context(*domains: str, own: bool = True) -> Context:
        model = TINY | {"published": "llama-7b" if own else None}
        return context(*(domains or DOMAINS), models=[model])

    def answers(
        self, domain: str, recipe: str, percent: float, task: str = "", **more: Any
    ) -> None:
        """An evaluation with nested answers."""
        task, n = task or domain, more.pop("n", self.documents)
        right = round(percent * n / 100)
        self.evaluations.add(
            recipe,
            percent,
            **{"domain": domain, "task": task, "tested": task, "n": n},
            correct=[1] * right + [0] * (n - right),
            chance=CHANCE.get(task, 25.0),
            **more,
        )

    def trimmed(self, domain: str, name: str, kept: int, percent: float, **more: Any) -> None:
        """The same of a chain's checkpoint that keeps some percent of the units."""
        left = UNITS * kept // 100
        recipe = str(Recipe.trimmed(name, UNITS - left, UNITS))
        self.answers(domain, recipe, percent, kept=left, **more)

    def table2(self) -> None:
        for domain in DOMAINS:
            for row in ("pretrained", "full_ft", "sparse_ft"):
                self.answers(domain, row, number("table2", row, domain, "llama-7b"))
            for kept in (50, 40, 30):
                value = number("table2", f"trimllm_{kept}", domain, "llama-7b")
                self.trimmed(domain, "paper", kept, value)

    def table4_and_5(self) -> None:
        for name in ("table4", "table5"):
            table = published.table(name)
            for row in table.blocks[""]:
                domain = row.removesuffix("_specialized")
                for column in table.columns:
                    value = number(name, row, column)
                    if row == "pretrained" and column not in DOMAINS:
                        self.answers(column, "pretrained", value)
                    elif row != "pretrained" and column != domain:
                        self.trimmed(domain, "paper", 40, value, task=column)

    def table6(self) -> None:
        """Final Mem is the smallest checkpoint above 90%: the next one, at 30%, has half of it."""
        for block, ratio in RATIOS.items():
            for criterion in CRITERIA:
                name = f"{criterion}_r{ratio:g}"
                if (criterion, ratio) == ("both", 0.25):
                    continue  # that is the chain of Table 2, to which Table 6 adds what follows
                final = number("table6", criterion, "final_mem", block)
                for domain in DOMAINS:
                    value = number("table6", criterion, domain, block)
                    self.trimmed(domain, name, int(final), value)
                    full = number("table3", "full_ft", domain)
                    self.trimmed(domain, name, 30, full / 2)

    def speed(self) -> None:
        """Table 1, and Table 7's rows at half of the units."""
        model = "random-llama-7b"
        for gpu, block in (("a100", "A100"), ("v100", "V100"), ("rtx3090", "RTX3090")):

            def rate(row: str, block: str = block) -> float:
                return number("table1", row, "throughput", block)

            where = {"hardware": gpu, "model": model, "total": UNITS, "spread": 0.0}
            full = rate("fp16")
            self.timings.add("full", full, full=None, kept=UNITS, **where)
            for row in COMPRESSORS:
                self.timings.add(f"full+{row}", rate(row), full=full, kept=UNITS, **where)
            self.timings.add("trim_half/keep_40", rate("trimllm_40"), full=full, kept=24, **where)
        where["hardware"] = "a100"
        full = number("table7", "full_ft", "throughput")
        for compressor in ("sparsegpt_2_4", "awq_int4"):
            value = number("table7", f"trimllm_{compressor}", "throughput")
            recipe = f"trim_half/keep_50+{compressor}"
            path = self.timings.add(recipe, value, full=full, kept=30, **where)
            resize(path, number("table7", f"trimllm_{compressor}", "final_mem") / 100)

    def table9(self) -> None:
        """The hours of eight epochs as seconds of passes; of TrimLLM nine, the first drops none."""
        rows = published.table("table9").blocks[""]
        self.trained(**{row: number("table9", row, "8") for row in rows})

    def trained(
        self, *domains: str, full_ft: float, sparse_ft: float, trimllm: float = 4.0, **on: Any
    ) -> None:
        """Seconds of a pass and an epoch in some domains (none: all), on the paper's machine."""
        on = on or TWO_A100
        for domain in domains or DOMAINS:
            for recipe, seconds in (("full_ft", full_ft), ("sparse_ft", sparse_ft)):
                path = write_training(self.root, recipe, seconds, domain=domain, **on)
                self.trainings.append(path)
            none = [epoch(0, [], seconds=trimllm) | on]
            self.epochs += write_chain(self.root, none, domain=domain)


def judged(
    results: PaperResults, claim: str, *domains: str, own: bool = True, criterion: str = "both"
) -> Finding:
    """A claim on what was written."""
    evidence = Evidence(results.frame, results.context(*domains, own=own), criterion)
    return getattr(checks, claim)(evidence)


def verdict(results: PaperResults, claim: str, *domains: str, **more: Any) -> str:
    """The verdict on it."""
    return judged(results, claim, *domains, **more).verdict


def missing(results: PaperResults, claim: str, *domains: str) -> str:
    """What a claim lacks that cannot be judged."""
    one = judged(results, claim, *domains)
    assert one.verdict == NOT_RUN
    return "; ".join(one.missing)


def resize(path: Path, share: float) -> None:
    """Give a measurement another share of its baseline's bytes, and seal it again."""
    sizes = ({"units": n, "embeddings": 0, "head": 0, "total": n} for n in (10**9, share * 10**9))
    whole, own = ({key: round(value) for key, value in size.items()} for size in sizes)
    rewrite(path, bytes=own, baseline=read_json(path)["baseline"] | {"bytes": whole})
