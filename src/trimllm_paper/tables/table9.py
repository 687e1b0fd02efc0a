"""Table 9: wall-clock time of full fine-tuning, sparse fine-tuning and TrimLLM.

Hours depend on the machine, so what can be compared is the share of Full-FT's time. A cell agrees
with the paper (`shape only`, for nobody has its machine) if its share lies within `SLACK` points of
the paper's; the Full-FT row if both others take less time. Epochs of different size are scaled to
the documents of a chain's epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import published
from trimllm_paper.tables.columns import COMPARED
from trimllm_paper.tables.criteria import LABELS, Model, section_of
from trimllm_paper.tables.durations import Duration, Durations
from trimllm_paper.tables.notes import mixed_runs, training_notes
from trimllm_paper.tables.table import Block, Cell, Column, Row, Table
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, SHAPE_ONLY

PAPER = published.table("table9")
EPOCHS = tuple(map(int, PAPER.columns))
SLACK = 10.0
"""Points of Full-FT's time by which a share may differ from the paper's and agree."""
COLUMNS = tuple(
    column
    for epochs in EPOCHS
    for column in (
        Column(f"minutes_{epochs}", f"{epochs} epochs", short=f"{epochs} ep.", unit=" min"),
        Column(f"share_{epochs}", "of Full-FT", digits=0, unit="%"),
    )
)


def build(
    trainings: Iterable[str | Path],
    chains: Iterable[str | Path],
    models: Sequence[Mapping[str, Any]],
    domain: Mapping[str, Any],
    *,
    runs: Mapping[str, str],
    ratio: float,
    manifests: Iterable[str | Path] = (),
    seed: int | None = None,
) -> Table:
    """Table 9 from the records of training.

    Args:
        trainings: training.json of full_ft and sparse_ft.
        chains: recorded epochs of trim chains.
        models: name, label, published; as in `table2.build`.
        domain: name and label of the domain that is timed.
        runs: criterion -> folder of its chain.
        ratio: sparse update ratio, stated.
        manifests: of the checkpoints that were timed, of a chain those that are kept. They hold the
            provenance, which the records do not.
        seed: stated in the notes.
    """
    trainings, chains, manifests = list(trainings), list(chains), list(manifests)
    found = Durations(trainings, chains)
    blocks = [_block(found, model, domain["name"], runs) for model in map(Model.of, models)]
    return Table(
        key="table9",
        title=f"Table 9: minutes of training on {domain.get('label') or domain['name']}, "
        f"r = {ratio:g}",
        columns=COLUMNS,
        blocks=tuple(blocks),
        header=(
            "The paper's hours on two A100, in minutes. Only that machine can reproduce them: the "
            "verdicts compare shares of Full-FT's time",
            *mixed_runs(manifests),
        ),
        notes=(
            "TrimLLM: an epoch scans, drops and trains; the first one drops nothing, and its scan, "
            "which Sparse-FT needs too, is not counted. Below it the two parts apart",
            "Epochs that were not run: Full-FT and Sparse-FT from the mean of those that were; the "
            "CSV says which",
            f"A share agrees within {SLACK:g} points; n counts the epochs measured",
            *training_notes([str(path) for path in (*trainings, *chains)], manifests, seed),
        ),
    )


def _block(found: Durations, model: Model, domain: str, runs: Mapping[str, str]) -> Block:
    full = found.of(model.name, domain, "full_ft")
    sparse = found.of(model.name, domain, "sparse_ft")
    chains = {criterion: found.of(model.name, domain, run) for criterion, run in runs.items()}
    paper = chains.get(PAPER_CRITERION, [])
    others = [sparse, paper]
    rows = [
        _row("full_ft", "Full-FT", full, full, printed="full_ft", less=others),
        _row("sparse_ft", "Sparse-FT", sparse, full, printed="sparse_ft"),
        _row("trimllm", "TrimLLM, Both", paper, full, printed="trimllm", parts=("train", "scan")),
    ]
    for criterion in sorted(chains, key=lambda c: c != PAPER_CRITERION):
        section = None if criterion == PAPER_CRITERION else section_of(criterion) or "ours"
        label = LABELS[criterion]
        each = chains[criterion]
        if criterion != PAPER_CRITERION:
            rows.append(
                _row(f"trimllm_{criterion}", f"TrimLLM, {label}", each, full, section=section,
                     parts=("train", "scan"))
            )  # fmt: skip
        for part, word in (("train", "training"), ("scan", "scans")):
            key = f"trimllm_{criterion}_{part}"
            apart = section or "ours: the parts of TrimLLM, Both"
            rows.append(_row(key, f"{label}: {word}", each, full, section=apart, parts=(part,)))
    named = published.LABELS[COMPARED]
    return Block(model.name, model.label, tuple(rows), named, is_paper=model.own)


def _row(
    key: str,
    label: str,
    runs: Sequence[Duration],
    full: Sequence[Duration],
    *,
    printed: str | None = None,
    parts: Sequence[str] = ("train",),
    less: Sequence[Sequence[Duration]] = (),
    section: str | None = None,
) -> Row:
    """One row; `less` are the runs that have to take less time than this one."""
    cells: dict[str, Cell] = {}
    documents = full[0].documents if full else None
    for epochs in EPOCHS:
        hours = PAPER.value(printed, str(epochs)) if printed else None
        whole = PAPER.value("full_ft", str(epochs))
        theirs = {
            "minutes": None if hours is None else 60 * hours,
            "share": None if hours is None else 100 * hours / whole,
        }
        ours = _minutes(runs, epochs, parts, documents)
        base = _minutes(full, epochs, ("train",), documents)
        share = 100 * fmean(ours) / fmean(base) if ours and base else None
        verdict, why = None, ""
        if printed and not ours:
            verdict = NOT_RUN
        elif printed and less:
            verdict, why = _longest(fmean(ours), [_total(o, epochs, documents) for o in less])
        elif printed:
            verdict, why = _judged(share, theirs["share"])
        told = "; ".join(filter(None, [why, runs[0].told(epochs) if ours else ""]))
        sources = tuple(run.source for run in runs) if ours else ()
        common = {
            "verdict": verdict if printed or ours else NOT_RUN,
            "why": told,
            "sources": sources,
            "n": sum(min(epochs, len(run.train)) for run in runs) if ours else None,
        }
        cells[f"minutes_{epochs}"] = Cell(
            fmean(ours) if ours else None, theirs["minutes"], deviation=_deviation(ours), **common
        )
        if share is None:
            common |= {"verdict": NOT_RUN}
        # Both in the order of the seeds' folders.
        each = [100 * o / b for o, b in zip(ours, base, strict=False)]
        spread = _deviation(each) if len(ours) == len(base) else None
        cells[f"share_{epochs}"] = Cell(share, theirs["share"], deviation=spread, **common)
    return Row(key, label, cells, section)


def _deviation(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds; None for one seed."""
    return stdev(values) if len(values) > 1 else None


def _minutes(
    runs: Sequence[Duration], epochs: int, parts: Sequence[str], documents: int | None
) -> list[float]:
    """Minutes of every run that got so far, its training scaled to so many documents an epoch."""
    found = []
    for run in runs:
        scale = {"train": (documents or run.documents) / run.documents, "scan": 1.0}
        each = [run.seconds(epochs, part) for part in parts]
        if None not in each:
            scaled = [scale[part] * value for part, value in zip(parts, each, strict=True)]
            found.append(sum(scaled) / 60)
    return found


def _total(runs: Sequence[Duration], epochs: int, documents: int | None) -> float | None:
    minutes = _minutes(runs, epochs, ("train", "scan"), documents)
    return fmean(minutes) if minutes else None


def _longest(ours: float, others: Sequence[float | None]) -> tuple[str, str]:
    """Whether Full-FT takes longer than what the paper found to be shorter."""
    if any(other is None for other in others):
        return NOT_RUN, "what it is compared with was not run"
    holds = all(other < ours for other in others)
    told = ", ".join(f"{other:.1f}" for other in others)
    return (SHAPE_ONLY if holds else NOT_REPRODUCED), f"Sparse-FT and TrimLLM took {told} min"


def _judged(ours: float | None, theirs: float) -> tuple[str, str]:
    """Whether a share of Full-FT's time is the paper's."""
    if ours is None:
        return NOT_RUN, "Full-FT was not run"
    near = abs(ours - theirs) <= SLACK
    return (SHAPE_ONLY if near else NOT_REPRODUCED), f"{ours:.0f}% of Full-FT, paper {theirs:.0f}%"
