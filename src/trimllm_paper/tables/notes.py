"""The lines under a table that say how its numbers came to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.base.machine import recorded
from trimllm_paper.measured import Measurement
from trimllm_paper.tables.table import Block, Column
from trimllm_paper.tier import tier_note
from trimllm_paper.timings import Timing

NOTHING = "Nothing has been measured yet"


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _machine(hardware: dict[str, Any]) -> str:
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


def provenance_notes(
    measurements: Sequence[Measurement], seed: int | None = None
) -> tuple[str, ...]:
    """Count, machine, seed, code and configuration of all measurements, each value once.

    Two values in one note (two commits, say) mean that the table mixes runs: it says so itself.
    """
    if not measurements:
        return (NOTHING,)
    tier = tier_note(one.source for one in measurements)
    first = f"{tier}: {len(measurements)} evaluations, Wilson intervals of 95%"
    provenances = [one.provenance for one in measurements]
    return (first, *_facts(provenances, ("torch", "transformers", "lm_eval"), seed))


def timing_notes(timings: Sequence[Timing]) -> tuple[str, ...]:
    """The same of measurements of throughput; and how busy the machine was beside them."""
    if not timings:
        return (NOTHING,)
    libraries = ("torch", "transformers", "gptqmodel", "bitsandbytes")
    # What the timed process had at hand; the one that wrote the file may have loaded nothing.
    provenances = [
        {**(one.content.get("provenance") or {}), **_timed(one.content)} for one in timings
    ]
    loads = [
        one.content["machine"]["before"]["load_average"][0]
        for one in timings
        if one.content.get("machine")
    ]
    tier = tier_note(one.source for one in timings)
    notes = [f"{tier}: {len(timings)} measurements", *_facts(provenances, libraries, None)]
    if loads:
        notes.append(f"Load of the machine just before: {min(loads):.1f} to {max(loads):.1f}")
    return tuple(notes)


def training_notes(
    sources: Sequence[str], manifests: Iterable[str | Path], seed: int | None = None
) -> tuple[str, ...]:
    """The same of recorded times of training; checkpoints' manifests hold their provenance."""
    if not sources:
        return (NOTHING,)
    first = f"{tier_note(sources)}: {len(sources)} records of training"
    provenances = [recorded(path) for path in manifests]
    seeds = {one["seed"] for one in provenances if "seed" in one}
    several = [f"{len(seeds)} seeds: mean ± standard deviation"] if len(seeds) > 1 else []
    return (*several, first, *_facts(provenances, ("torch", "transformers"), seed))


def mixed_runs(manifests: Iterable[str | Path]) -> tuple[str, ...]:
    """A warning if times of a model that are compared were not measured in one run.

    Folders of results, as runs under other seeds have their own, are not compared.
    """
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in map(Path, manifests):
        # RESULTS/models/MODEL/DOMAIN/RECIPE/manifest.json
        results, _, rest = path.as_posix().rpartition("models/")
        runs.setdefault((results, rest.partition("/")[0]), []).append(recorded(path))
    found: dict[str, list[str]] = {}
    for parts in runs.values():
        for name, values in (
            ("code", [_short(one.get("git_commit")) for one in parts]),
            ("machines", [_machine(one.get("hardware") or {}) for one in parts]),
            ("days", [str(one.get("started") or "")[:10] for one in parts]),
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


def _timed(content: Mapping[str, Any]) -> dict[str, Any]:
    names = {"hardware": "timed_on", "versions": "versions"}
    return {key: content[name] for key, name in names.items() if name in content}


def _facts(
    provenances: Sequence[Mapping[str, Any]], libraries: Sequence[str], seed: int | None
) -> list[str]:
    """Machine, seed, configuration, code and libraries, each value once."""
    notes = []

    def of(key: str) -> list[Any]:
        return [one.get(key) for one in provenances]

    def versions(names: Sequence[str]) -> list[str]:
        found = [one.get("versions") or {} for one in provenances]
        return [", ".join(f"{name} {v[name]}" for name in names if name in v) for v in found]

    facts: list[tuple[str, Sequence[Any], Callable[[Any], str]]] = [
        ("Machine", of("hardware"), lambda value: _machine(value or {})),
        ("Seed", [*of("seed"), seed], lambda value: "" if value is None else str(value)),
        ("Configuration (hash)", of("config_hash"), _short),
        ("Code (git commit)", of("git_commit"), _short),
        ("Libraries", versions(libraries), str),
    ]
    for name, values, text in facts:
        found = _distinct(text(value) for value in values)
        if found:
            notes.append(f"{name}: {'; '.join(found)}")
    return notes


def column_notes(columns: Sequence[Column], blocks: Sequence[Block]) -> tuple[str, ...]:
    """One line: documents and, where known, chance level of every accuracy column."""
    parts = []
    for column in columns:
        cells = [row.cells[column.key] for block in blocks for row in block.rows]
        sizes = sorted({cell.n for cell in cells if cell.n})
        if not sizes:
            continue
        documents = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        chance = _distinct(cell.details.get("chance") for cell in cells)
        levels = " or ".join(f"{float(level):.1f}%" for level in chance)
        parts.append(f"{column.label} {documents}" + (f" (chance {levels})" if levels else ""))
    return (f"Documents: {', '.join(parts)}",) if parts else ()


def _short(value: Any) -> str:
    """First twelve digits of a hash, with the mark of local changes kept."""
    if not value:
        return ""
    digits, _, mark = str(value).partition("-")
    return digits[:12] + (f"-{mark}" if mark else "")
