"""All results as tidy pandas frames: evaluations, epochs, trainings, timings.

Ask your own questions of them, in a notebook for example:

>>> from trimllm_paper.frame import frame
>>> results = frame("results/reference")
>>> piqa = results.evaluations.query("domain == 'piqa' and task == 'piqa' and name == 'ours'")
>>> print(piqa[["recipe", "n", "accuracy", "units_kept"]].to_string(index=False))
               recipe   n  accuracy  units_kept
trim_ours/drop_30 160    55.000          30
trim_ours/drop_36 160    49.375          24
trim_ours/drop_42 160    50.625          18
>>> epochs = results.epochs.query("domain == 'piqa' and name == 'paper'")
>>> epochs.set_index("dropped").loss.round(2).head(3).to_dict()
{0: 4.11, 3: 5.34, 6: 4.05}

A value that does not exist is None: no criterion of `full_ft`, no speedup's quartiles of the full
model itself. `results` is the folder that a row comes from, `source` its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from trimllm.base.errors import UserError
from trimllm.base.files import MANIFEST
from trimllm.base.machine import recorded
from trimllm_paper.recipe import place_of
from trimllm_paper.records import Epoch, Evaluation, OfRecipe, Throughput, Training

Files = Iterable[str | Path]
RECIPE = ("recipe", "base", "name", "criterion", "ratio", "step", "dropped", "compressor")
COLUMNS = {
    "evaluations": [
        *("results", "model", "domain", "tested", "task", *RECIPE, "seed", "n", "right"),
        *("accuracy", "correct", "documents", "chance", "units_kept", "units_total", "bytes"),
        *("bytes_full", "stand_in", "provenance", "source"),
    ],
    "epochs": [
        *("results", "model", "domain", *RECIPE, "seed", "epoch", "units_dropped", "units_total"),
        *("trainable_blocks", "ties", "margin", "scan", "seconds_scan", "seconds_train", "tokens"),
        *("documents", "loss", "provenance", "source"),
    ],
    "trainings": [
        *("results", "model", "domain", *RECIPE, "seed", "epoch", "seconds", "tokens"),
        *("documents", "loss", "provenance", "source"),
    ],
    "timings": [
        *("results", "hardware", "model", *RECIPE, "units_kept", "units_total", "kept_percent"),
        *("speedup", "speedup_low", "speedup_high", "decode", "decode_low", "decode_high"),
        *("prefill", "prefill_low", "prefill_high", "bytes_percent", "unit_bytes_percent"),
        *("content", "provenance", "source"),
    ],
}
"""Columns of the frames. Accuracies and shares are in percent, speeds in tokens/s, `_low` and
`_high` quartiles, `unit_bytes_percent` without embeddings and head, `documents` of an evaluation a
hash that is equal where answers can be paired, `units_dropped` (block, kind) of an epoch,
`dropped` the units that are gone until then, `content` all that a measurement recorded."""
SAME = {
    "evaluations": ["model", "domain", "recipe", "task", "seed"],
    "epochs": ["model", "domain", "recipe", "seed"],
    "trainings": ["model", "domain", "recipe", "seed", "epoch"],
    "timings": ["hardware", "model", "recipe"],
}
"""What two files may not both have measured."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Results. See `COLUMNS` for what each frame holds.

    Attributes:
        evaluations: a row an evaluation.
        epochs: a row an epoch of a chain.
        trainings: a row a pass of full or sparse fine-tuning, or after a dropping at once.
        timings: a row a measurement of throughput.
    """

    evaluations: pd.DataFrame
    epochs: pd.DataFrame
    trainings: pd.DataFrame
    timings: pd.DataFrame

    @classmethod
    def of(
        cls,
        evaluations: Files = (),
        epochs: Files = (),
        trainings: Files = (),
        throughput: Files = (),
    ) -> Frame:
        """The results in some files.

        Raises `UserError` for a file that is not what it should be (see `records`), for two that
        measured the same, and for a chain that lacks an epoch.
        """
        found = cls(
            _table("evaluations", evaluations, _evaluation),
            _table("epochs", epochs, _epoch),
            _table("trainings", trainings, _passes),
            _table("timings", throughput, _timing),
        )
        for _, chain in found.epochs.groupby(["results", "model", "domain", "name"]):
            one_chain = len(chain[["criterion", "ratio", "step"]].drop_duplicates()) == 1
            if not one_chain or list(chain.epoch) != list(range(len(chain))):
                raise UserError(
                    f"{Path(chain.source.iloc[0]).parents[1]}: its epochs are not 0, 1, 2, ... of "
                    "one chain; delete it and run the chain again"
                )
        return found

    @cached_property
    def by_recipe(self) -> dict[tuple[str, str, str], list[Any]]:
        """(model, domain, recipe) -> its evaluations as named tuples, in order of their files."""
        found: dict[tuple[str, str, str], list[Any]] = {}
        for row in self.evaluations.itertuples(index=False, name="Evaluated"):
            found.setdefault((row.model, row.domain, row.recipe), []).append(row)
        return found


def frame(results: str | Path = "results", replicates: Sequence[str | Path] = ()) -> Frame:
    """All results of a folder; with accuracies, epochs and trainings of runs of other seeds.

    Args:
        replicates: folders of the same results under other seeds.

    Raises `UserError` as `Frame.of` does, and for a folder that does not exist.
    """
    roots = [Path(folder) for folder in (results, *replicates)]
    for folder in roots:
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist; run the workflow or name another folder")

    def found(pattern: str, within: Sequence[Path] = roots) -> list[Path]:
        # What is hidden is being written, or was when its writer was killed.
        paths = ((folder, path) for folder in within for path in folder.glob(pattern))
        return [p for f, p in paths if not any(s.startswith(".") for s in p.relative_to(f).parts)]

    return Frame.of(
        evaluations=found("eval/**/*.json"),
        epochs=found("models/**/epoch.json"),
        trainings=found("models/**/training.json"),
        throughput=found("throughput/**/*.json", roots[:1]),
    )


Row = dict[str, Any]


def _table(name: str, files: Files, rows_of: Callable[[Path], list[Row]]) -> pd.DataFrame:
    rows = [
        {"results": place_of(path).results, "source": path.as_posix(), **row}
        for path in sorted(map(Path, files))
        for row in rows_of(path)
    ]
    columns = {}
    for column in COLUMNS[name]:
        values = [row[column] for row in rows]
        plain = bool(rows) and all(isinstance(value, int | float | str) for value in values)
        columns[column] = pd.Series(values, dtype=None if plain else object)
    table = pd.DataFrame(columns)
    if (again := table[table.duplicated(SAME[name])]).size:
        same = table[(table[SAME[name]] == again.iloc[0][SAME[name]]).all(axis="columns")]
        first, second = same.source.iloc[:2]
        raise UserError(f"{second} and {first} measure the same; give one of them")
    return table


def _of_recipe(record: OfRecipe) -> Row:
    recipe = record.parsed
    own = {"base": recipe.base, "name": recipe.name, "dropped": recipe.dropped}
    told = {key: getattr(record, key) for key in ("model", "recipe", "criterion", "ratio", "step")}
    return told | own | {"compressor": recipe.compressor, "provenance": record.provenance}


def _evaluation(path: Path) -> list[Row]:
    one = Evaluation.read(path)
    same = ("domain", "tested", "task", "seed", "n", "chance", "units_kept", "units_total")
    return [
        _of_recipe(one)
        | {key: getattr(one, key) for key in (*same, "bytes", "bytes_full", "stand_in")}
        | {"right": sum(one.correct), "accuracy": 100 * sum(one.correct) / one.n}
        | {"correct": tuple(one.correct), "documents": one.document_hashes_sha256}
    ]


def _trained(path: Path, record: Epoch | Training) -> Row:
    """What both have; provenance in full where the checkpoint's manifest was kept beside it."""
    full = recorded(path.with_name(MANIFEST)) | record.provenance
    return _of_recipe(record) | {
        "domain": record.domain,
        "seed": record.seed,
        "provenance": full,
    }


def _epoch(path: Path) -> list[Row]:
    one = Epoch.read(path)
    same = ("epoch", "units_total", "ties", "margin", "scan")
    return [
        _trained(path, one)
        | {key: getattr(one, key) for key in same}
        | {key: getattr(one.training, key) for key in ("tokens", "documents", "loss")}
        | {f"seconds_{part}": seconds for part, seconds in one.seconds.items()}
        | {"units_dropped": tuple(one.units_dropped)}
        | {"trainable_blocks": tuple(one.trainable_blocks)}
    ]


def _passes(path: Path) -> list[Row]:
    one = Training.read(path)
    return [
        _trained(path, one)
        | {key: getattr(each, key) for key in ("seconds", "tokens", "documents", "loss")}
        | {"epoch": number}
        for number, each in enumerate(one.passes)
    ]


def _timing(path: Path) -> list[Row]:
    one = Throughput.read(path)
    content = one.model_dump(mode="json")
    full = content.get("baseline", content)["bytes"]
    speeds = {
        "speedup": content.get("speedup", {"median": 1.0}),
        "decode": content["decode_tokens_per_second"],
        "prefill": content["prefill_tokens_per_second"],
    }
    return [
        _of_recipe(one)
        | {key: content[key] for key in ("hardware", "units_kept", "units_total")}
        | {key: value["median"] for key, value in speeds.items()}
        | {f"{key}_low": value.get("q1") for key, value in speeds.items()}
        | {f"{key}_high": value.get("q3") for key, value in speeds.items()}
        | {"kept_percent": 100 * one.units_kept / one.units_total}
        | {"bytes_percent": 100 * one.bytes["total"] / full["total"]}
        | {"unit_bytes_percent": 100 * one.bytes["units"] / full["units"], "content": content}
    ]
