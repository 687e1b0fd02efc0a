"""The lines under a table that say how its numbers came to be: runs, machines, seeds, code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

import pandas as pd

from trimllm_paper.details import short
from trimllm_paper.frames import Frame
from trimllm_paper.recipe import FULL_FT, Recipe
from trimllm_paper.tier import tier_note


def provenance_notes(evaluations: pd.DataFrame, seed: int | None = None) -> list[str]:
    """What a cell of several seeds shows, and where evaluations come from.

    Two values in one note (two commits, say) mean that the table mixes runs: it says so itself.
    """
    seeds = evaluations.seed.nunique()
    told = (
        f"{seeds} seeds: mean, and its interval of 95% over documents and seeds together (each "
        "source's variance apart, t for the few seeds); the standard deviation over seeds is in "
        "the CSV"
        if seeds > 1
        else "One seed: the intervals of 95% are of the documents alone (Wilson's), and how far "
        "another seed lies is not in them"
    )
    fewest = evaluations.groupby(["model", "domain", "task", "recipe"]).seed.nunique().min()
    if fewest < seeds:
        told += f"; some cells are of {fewest} (`seeds` in the CSV)"
        told += ", their intervals of documents alone" if fewest == 1 else ""
        told += ", and are compared under seeds that both cells have"
    facts = _facts(
        evaluations, f"{len(evaluations)} evaluations", "torch transformers lm_eval", seed
    )
    return [told, *facts] if len(evaluations) else facts


def tie_notes(epochs: pd.DataFrame) -> list[str]:
    """A warning where a unit went although its equal stayed: the calibration documents did not say
    which, and the criterion's second rule (the norm, or the index) decided.

    By chain, over domains: in how many epochs, and among how many units at most.
    """
    chosen = epochs[(epochs.dropped > 0) & epochs.ties.notna()]
    told = []
    for (_, name), chain in chosen.groupby(["model", "name"], sort=False):
        tied = chain[chain.margin == 0]
        if len(tied):
            many = f"{len(tied)} of {len(chain)} epochs, among up to {tied.ties.max()} units"
            told.append(f"{name} {many}")
    warning = "Warning: calibration documents left it open which of equal units to drop: "
    return [warning + "; ".join(told)] if told else []


def token_notes(frame: Frame) -> list[str]:
    """What chains were trained on, beside Full-FT: tokens of the passes and epochs behind the
    checkpoint of half of the units, and behind Full-FT's; a line a model, means over domains and
    seeds."""
    place, passes = ["results", "model", "domain"], frame.trainings
    if passes.empty or frame.epochs.empty:
        return []
    kept = passes[passes.kept].set_index([*place, "recipe"]).epoch.to_dict()
    spent: dict[tuple[Any, ...], int] = {}  # to the kept pass
    for key, one in passes.groupby([*place, "recipe"], sort=False):
        spent[key] = int(one[one.epoch <= kept.get(key, -1)].tokens.sum())
    chains: dict[str, dict[str, list[int]]] = {}
    for (results, model, domain, name), epochs in frame.epochs.groupby(
        [*place, "name"], sort=False
    ):
        units = int(epochs.units_total.iloc[0])
        half = str(Recipe.trimmed(name, units // 2, units))
        settled = spent.get((results, model, domain, half))
        if settled is not None and units // 2 in {*epochs.dropped}:
            tokens = int(epochs[epochs.dropped <= units // 2].tokens.sum())
            chains.setdefault(model, {}).setdefault(name, []).append(tokens + settled)
    found = []
    for model, each in chains.items():
        full = [n for (_, of, _, recipe), n in spent.items() if (of, recipe) == (model, FULL_FT)]
        if full:
            told = ", ".join(f"{name} {fmean(tokens):,.0f}" for name, tokens in each.items())
            found.append(
                f"{model}: tokens trained on until half of the units are gone and the chain is "
                f"settled: {told}; Full-FT to its kept pass {fmean(full):,.0f}, which come on top "
                "where a chain starts from it (means over domains and seeds)"
            )
    return found


def timing_notes(timings: pd.DataFrame) -> list[str]:
    """The same of measurements of throughput; and how busy the machine was beside them."""
    # What the timed process had at hand; the one that wrote the file may have loaded nothing.
    instead = {"hardware": "timed_on", "versions": "versions"}
    timed = timings.assign(
        provenance=[
            content["provenance"] | {key: content[k] for key, k in instead.items() if k in content}
            for content in timings.content
        ]
    )
    libraries = "torch transformers gptqmodel bitsandbytes xllamacpp vllm"
    notes = _facts(timed, f"{len(timings)} measurements", libraries)
    machines = [content["machine"] for content in timings.content if content.get("machine")]
    if loads := [machine["before"]["load_average"][0] for machine in machines]:
        notes.append(f"Load of the machine just before: {min(loads):.1f} to {max(loads):.1f}")
    return notes


def training_notes(frame: Frame, seed: int | None = None) -> list[str]:
    """The same of recorded times of training; a chain's epochs are one record."""
    trained = _trained(frame)
    runs = len(trained.drop_duplicates(["results", "model", "domain", "run"]))
    facts = _facts(trained, f"{runs} records of training", "torch transformers", seed)
    seeds = trained.seed.nunique()
    return [f"{seeds} seeds: mean ± standard deviation over them", *facts] if seeds > 1 else facts


def mixed_runs(frame: Frame) -> list[str]:
    """A warning if times of a model that are compared were not measured in one run.

    Folders of results, as runs under other seeds have their own, are not compared.
    """
    facts = {
        "code": lambda one: short(one.get("git_commit")),
        "machines": _machine,
        "days": lambda one: str(one.get("started") or "")[:10],
    }
    found: dict[str, list[str]] = {}
    for _, runs in _trained(frame).groupby(["results", "model"], sort=False):
        for name, fact in facts.items():
            several = _distinct(map(fact, runs.provenance))
            found.setdefault(name, []).extend(sorted(several) if len(several) > 1 else ())
    told = [f"{name} {' and '.join(_distinct(v))}" for name, v in found.items() if v]
    warning = "Warning: not measured in one run, so that shares of time may show what else the "
    return [f"{warning}machine did: {'; '.join(told)}"] if told else []


def _trained(frame: Frame) -> pd.DataFrame:
    """Passes of fine-tuning and epochs of chains, with the name of the run that each belongs to."""
    parts = [frame.trainings.assign(run=frame.trainings.recipe)]
    parts += [frame.epochs.assign(run=frame.epochs.name)]
    columns = ["results", "model", "domain", "run", "seed", "provenance", "source"]
    return pd.concat([part[columns] for part in parts if len(part)] or [parts[0][columns]])


def _facts(table: pd.DataFrame, count: str, libraries: str, seed: int | None = None) -> list[str]:
    """Tier and count of measurements; machine, seed, configuration, code, libraries, each once."""
    if table.empty:
        return ["Nothing has been measured yet"]

    def versions(one: Mapping[str, Any]) -> str:
        known = one.get("versions") or {}
        return ", ".join(f"{name} {known[name]}" for name in libraries.split() if name in known)

    every = table.provenance
    facts = {
        "Machine": map(_machine, every),
        "Seed": [*(one.get("seed") for one in every), seed],
        "Configuration (hash)": (short(one.get("config_hash")) for one in every),
        "Code (git commit)": (short(one.get("git_commit")) for one in every),
        "Libraries": map(versions, every),
    }
    told = {name: "; ".join(_distinct(values)) for name, values in facts.items()}
    if "accuracy" in table and ";" in told["Code (git commit)"]:
        told["Code (git commit)"] += " (that evaluated; which cell: `code` in the CSV)"
    lines = [f"{name}: {values}" for name, values in told.items() if values]
    return [f"{tier_note(table.source)}: {count}", *lines]


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _machine(provenance: Mapping[str, Any]) -> str:
    hardware = provenance.get("hardware")
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
