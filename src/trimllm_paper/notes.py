"""The lines under a table that say how its numbers came to be: runs, machines, seeds, code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from trimllm_paper.frame import Frame
from trimllm_paper.tier import tier_note

NOTHING = "Nothing has been measured yet"


def provenance_notes(evaluations: pd.DataFrame, seed: int | None = None) -> tuple[str, ...]:
    """Count, machine, seed, code and configuration of evaluations, each value once.

    Two values in one note (two commits, say) mean that the table mixes runs: it says so itself.
    """
    if evaluations.empty:
        return (NOTHING,)
    count = f"{len(evaluations)} evaluations, Wilson intervals of 95%"
    facts = _facts(evaluations.provenance, ("torch", "transformers", "lm_eval"), seed)
    return (f"{tier_note(evaluations.source)}: {count}", *facts)


def seed_notes(evaluations: pd.DataFrame) -> tuple[str, ...]:
    """What a cell of several seeds shows."""
    seeds = evaluations.seed.nunique()
    if seeds < 2:
        return ()
    text = "mean ± standard deviation; the documents counted, verdicts and the CSV's intervals are "
    return (
        f"{seeds} seeds, of splits, order and training alike: {text}those of all seeds together",
    )


def timing_notes(timings: pd.DataFrame) -> tuple[str, ...]:
    """The same of measurements of throughput; and how busy the machine was beside them."""
    if timings.empty:
        return (NOTHING,)
    # What the timed process had at hand; the one that wrote the file may have loaded nothing.
    provenances = [
        {
            **content["provenance"],
            **({"hardware": content["timed_on"]} if "timed_on" in content else {}),
            **({"versions": content["versions"]} if "versions" in content else {}),
        }
        for content in timings.content
    ]
    notes = [
        f"{tier_note(timings.source)}: {len(timings)} measurements",
        *_facts(provenances, ("torch", "transformers", "gptqmodel", "bitsandbytes"), None),
    ]
    machines = [content["machine"] for content in timings.content if content.get("machine")]
    loads = [machine["before"]["load_average"][0] for machine in machines]
    if loads:
        notes.append(f"Load of the machine just before: {min(loads):.1f} to {max(loads):.1f}")
    return tuple(notes)


def training_notes(frame: Frame, seed: int | None = None) -> tuple[str, ...]:
    """The same of recorded times of training; a chain's epochs are one record."""
    trained = _trained(frame)
    if trained.empty:
        return (NOTHING,)
    runs = len(trained.drop_duplicates(["results", "model", "domain", "run"]))
    seeds = trained.seed.nunique()
    several = [f"{seeds} seeds: mean ± standard deviation"] if seeds > 1 else []
    first = f"{tier_note(trained.source)}: {runs} records of training"
    return (*several, first, *_facts(trained.provenance, ("torch", "transformers"), seed))


def mixed_runs(frame: Frame) -> tuple[str, ...]:
    """A warning if times of a model that are compared were not measured in one run.

    Folders of results, as runs under other seeds have their own, are not compared.
    """
    found: dict[str, list[str]] = {}
    for _, runs in _trained(frame).groupby(["results", "model"], sort=False):
        for name, values in (
            ("code", [_short(one.get("git_commit")) for one in runs.provenance]),
            ("machines", [_machine(one.get("hardware") or {}) for one in runs.provenance]),
            ("days", [str(one.get("started") or "")[:10] for one in runs.provenance]),
        ):
            several = _distinct(values)
            found.setdefault(name, []).extend(sorted(several) if len(several) > 1 else ())
    told = [f"{name} {' and '.join(_distinct(v))}" for name, v in found.items() if v]
    if not told:
        return ()
    return (
        "Warning: not measured in one run, so that shares of time may show what else the machine "
        f"did: {'; '.join(told)}",
    )


def _trained(frame: Frame) -> pd.DataFrame:
    """Passes of fine-tuning and epochs of chains, with the name of the run that each belongs to."""
    parts = (frame.trainings.assign(run=frame.trainings.recipe),)
    parts += (frame.epochs.assign(run=frame.epochs.name),)
    columns = ["results", "model", "domain", "run", "seed", "provenance", "source"]
    return pd.concat([part[columns] for part in parts if len(part)] or [parts[0][columns]])


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _machine(hardware: Mapping[str, Any]) -> str:
    if not hardware:
        return ""
    parts = [str(hardware.get("gpu") or hardware.get("cpu") or "unnamed processor")]
    if hardware.get("threads"):
        parts.append(f"{hardware['threads']} of {hardware.get('cores', '?')} cores")
    elif hardware.get("cores"):
        parts.append(f"{hardware['cores']} cores")
    if hardware.get("memory_bytes"):
        parts.append(f"{hardware['memory_bytes'] / 2**30:.0f} GiB")
    return ", ".join(parts)


def _short(value: Any) -> str:
    """First twelve digits of a hash, with the mark of local changes kept."""
    if not value:
        return ""
    digits, _, mark = str(value).partition("-")
    return digits[:12] + (f"-{mark}" if mark else "")


def _facts(
    provenances: Iterable[Mapping[str, Any]], libraries: Sequence[str], seed: int | None
) -> list[str]:
    """Machine, seed, configuration, code and libraries, each value once."""
    every = list(provenances)

    def versions(one: Mapping[str, Any]) -> str:
        known = one.get("versions") or {}
        return ", ".join(f"{name} {known[name]}" for name in libraries if name in known)

    facts: dict[str, Callable[[Mapping[str, Any]], str | int | None]] = {
        "Machine": lambda one: _machine(one.get("hardware") or {}),
        "Seed": lambda one: one.get("seed"),
        "Configuration (hash)": lambda one: _short(one.get("config_hash")),
        "Code (git commit)": lambda one: _short(one.get("git_commit")),
        "Libraries": versions,
    }
    more = {"Seed": [seed]}
    told = {
        name: _distinct([*map(fact, every), *more.get(name, ())]) for name, fact in facts.items()
    }
    return [f"{name}: {'; '.join(values)}" for name, values in told.items() if values]
