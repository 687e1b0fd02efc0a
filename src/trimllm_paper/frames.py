"""All results as tidy pandas frames: evaluations, epochs, trainings, timings.

Ask your own questions of them, in a notebook for example:

>>> import trimllm_paper
>>> results = trimllm_paper.frame("results/reference")
>>> piqa = results.evaluations.query("domain == 'piqa' and task == 'piqa' and name == 'ours'")
>>> print(piqa[["recipe", "n", "accuracy", "units_kept"]].to_string(index=False))
           recipe   n  accuracy  units_kept
trim_ours/drop_30 400     52.50          30
trim_ours/drop_36 400     52.75          24
trim_ours/drop_42 400     54.50          18
>>> epochs = results.epochs.query("domain == 'piqa' and name == 'paper'")
>>> epochs.set_index("dropped").loss.round(2).head(3).to_dict()
{0: 3.25, 6: 4.0, 12: 5.3}

A missing value is None: the criterion of `full_ft`, a speedup's interval of the full model itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from trimllm.base.errors import UserError
from trimllm.base.files import MANIFEST
from trimllm.base.machine import slug
from trimllm.throughput.result import share_of_predicted
from trimllm_paper import kept_runs
from trimllm_paper.integrity.lineage import recorded
from trimllm_paper.recipe import Recipe, place_of
from trimllm_paper.records import Engines, Epoch, Evaluation, OfRecipe, Throughput, Training

Files = Iterable[str | Path]
Row = dict[str, Any]
RECIPE = "recipe base name criterion ratio step dropped compressor seed"
SPEEDS = (
    "units_kept units_total kept_percent speedup speedup_low speedup_high decode decode_low "
    "decode_high prefill prefill_low prefill_high prefill_speedup prefill_speedup_low "
    "prefill_speedup_high bytes_percent unit_bytes_percent share_decode share_prefill content"
)
COLUMNS = {
    "evaluations": f"results model domain tested task {RECIPE} n right accuracy scores documents "
    "chance answer_loss exact_match token_f1 rouge_l perplexity units_kept units_total "
    "kept_percent bytes bytes_percent stand_in",
    "epochs": f"results model domain {RECIPE} epoch units_dropped units_total "
    "ties margin scan seconds_scan seconds_train tokens documents loss held_back "
    "held_back_documents machine",
    "trainings": f"results model domain {RECIPE} epoch seconds tokens documents loss held_back "
    "kept machine",
    "timings": f"results hardware model {RECIPE} {SPEEDS} compiled compiled_low compiled_high "
    "compiled_speedup compiled_speedup_low compiled_speedup_high mem share_of_copy "
    "share_of_matrix peak_megabytes",
    "engines": "results hardware model engine format batch recipe base name dropped seed "
    f"compressor {SPEEDS} weights_megabytes parity how",
}
"""Columns of each frame, after which come `provenance` and `source` (the file).

Units: accuracies, shares and `_percent` in percent, speeds in tokens/s, losses in nats a token.

- evaluations: `scores` of each document (1 right, 0 wrong, or the F1 of a free answer), `accuracy`
  their mean, `right` how many are right; `documents` is a hash, equal where answers can be paired.
- epochs: `units_dropped` pairs of block and kind, `dropped` how many are gone so far; `held_back`
  the accuracy on held-back documents after the epoch (or the pass of a training); `machine` what
  trained, as "2 a100" or "cpu-amd-epyc".
- trainings: a row a pass; `kept` whether its weights are the checkpoint's.
- timings, engines: `_low`, `_high` the 95% interval over rounds (None: one round);
  `unit_bytes_percent` without embeddings and head; `share_decode`, `share_prefill` of the speedup
  that sizes predict; `compiled` by torch.compile; `mem` the paper's figure (sublayers kept; bytes,
  if compressed); `share_of_copy`, `share_of_matrix` of the rates of a copy and of a large product;
  `parity` the mean difference from transformers; `how` version, precision, device, threads and
  kernel; `content` the whole record.
"""
SAME = ("hardware", "model", "domain", "recipe", "task", "seed", "epoch", "format", "batch")
"""No two rows of a frame agree in all of these, as far as it has these columns."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Results: a row an evaluation, an epoch of a chain, a pass of other training, a measurement of
    throughput, and a model in an engine's format and batch size. See `COLUMNS`."""

    evaluations: pd.DataFrame
    epochs: pd.DataFrame
    trainings: pd.DataFrame
    timings: pd.DataFrame
    engines: pd.DataFrame

    @classmethod
    def of(
        cls,
        evaluations: Files = (),
        epochs: Files = (),
        trainings: Files = (),
        throughput: Files = (),
        engines: Files = (),
    ) -> Self:
        """The results in some files. Raises `UserError` for a file that is not what it should be
        (see `records`), and for two that measured the same."""
        files = (evaluations, epochs, trainings, throughput, engines)
        readers = (_evaluation, _epoch, _passes, _timing, _in_engine)
        return cls(*map(_table, COLUMNS, files, readers))


def frame(results: str | Path = "results", replicates: Sequence[str | Path] = ()) -> Frame:
    """All results of a folder; with accuracies, epochs and trainings of the same results under
    other seeds, in the folders `replicates`. Raises `UserError` as `Frame.of` does, and for a
    folder that does not exist."""
    folders = [results, *replicates]
    for folder in folders:
        if not kept_runs.is_folder(folder):
            raise UserError(f"{folder} does not exist; run the workflow or name another folder")

    def files(pattern: str, within: Sequence[str | Path] = folders) -> list[Path]:
        return [path for folder in within for path in kept_runs.glob(folder, pattern)]

    return Frame.of(
        evaluations=files("eval/**/*.json"),
        epochs=files("models/**/epoch.json"),
        trainings=files("models/**/training.json"),
        throughput=files("throughput/**/*.json", [results]),
        engines=files("engines/**/*.json", [results]),
    )


def where(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values; None selects rows without one."""
    for column, value in values.items():
        table = table[table[column].isna() if value is None else table[column] == value]
    return table


def rows(table: pd.DataFrame) -> list[Any]:
    """Rows as named tuples of plain Python values."""
    return list(table.itertuples(index=False, name="Row"))


def tier_note(paths: Files) -> str:
    """Whether the numbers of some files were measured here or kept from an earlier run."""
    runs = {next(filter(kept_runs.is_kept, Path(path).parents), None) for path in paths}
    kept = sorted(filter(None, runs))
    if kept and None in runs:
        return "Mixed: some numbers measured here, some kept results"
    if kept:
        names = ", ".join("/".join(folder.parts[-2:]) for folder in kept)
        return f"Kept results of this project ({names}), not of your own run"
    return "Measured here" if runs else "Nothing measured"


# ---- rows of each kind of record -----------------------------------------------------------------


def _table(name: str, files: Files, rows_of: Callable[[Path], Iterator[Row]]) -> pd.DataFrame:
    content = [
        row | {"results": place_of(path).results, "source": path.as_posix()}
        for path in sorted(map(Path, files))
        for row in rows_of(path)
    ]
    columns = [*COLUMNS[name].split(), "provenance", "source"]
    table = pd.DataFrame(content, columns=columns, dtype=object)
    table = table.where(table.notna(), None)
    # A column of objects keeps None, which a column of numbers would turn into NaN.
    whole = table.columns[table.notna().all()]
    table[whole] = table[whole].infer_objects()
    same = table[table.duplicated(key := [k for k in SAME if k in columns], keep=False)]
    if len(same):
        first, second = same.sort_values(key).source.iloc[:2]
        raise UserError(f"{second} and {first} measure the same; give one of them")
    return table


def _facts(record: OfRecipe, path: Path) -> Row:
    """All fields of a record, what its recipe says, and its provenance: in full where the manifest
    of the checkpoint lies beside it."""
    provenance = recorded(path.with_name(MANIFEST)) | record.provenance
    return record.model_dump(mode="json") | _parts(record.recipe) | {"provenance": provenance}


def _parts(recipe: str) -> Row:
    parsed = Recipe.parse(recipe)
    return vars(parsed) | {"dropped": parsed.dropped}


def _evaluation(path: Path) -> Iterator[Row]:
    row = _facts(Evaluation.read(path), path)
    free, right = row.get("answers") or {}, row["correct"]
    scores = free["by_document"]["token_f1"] if free else right
    yield {
        **(row | free),
        **{"right": sum(right), "accuracy": 100 * sum(scores) / row["n"], "scores": tuple(scores)},
        "documents": row["document_hashes_sha256"],
        "kept_percent": 100 * row["units_kept"] / row["units_total"],
        "bytes_percent": 100 * row["bytes"] / row["bytes_full"],
    }


def _machine(row: Row) -> str:
    """What trained: so many GPUs of a kind, or a processor."""
    hardware = row["provenance"].get("hardware") or {}
    if gpu := hardware.get("gpu"):
        return f"{(row['processes'] or {'count': 1})['count']} {slug(gpu, 'cuda')}"
    return slug(hardware.get("cpu") or "", "cpu")


def _passes(path: Path) -> Iterator[Row]:
    row = _facts(Training.read(path), path)
    held_back = [score["accuracy"] for score in row["held_back"]] or [None] * len(row["passes"])
    # One score and no pass where all trained blocks are dropped.
    for number, (one, score) in enumerate(zip(row["passes"], held_back, strict=False)):
        kept = {"held_back": score, "kept": number == row["kept_pass"]}
        yield row | one | kept | {"epoch": number, "machine": _machine(row)}


def _epoch(path: Path) -> Iterator[Row]:
    # The manifest of a state goes with its weights; those of the chain's checkpoints stay.
    manifests = kept_runs.glob(path.parents[1], f"drop_*/{MANIFEST}")
    row = _facts(Epoch.read(path), next(iter(manifests), path))
    held_back = row["held_back"] or {}
    yield {
        **(row | row["training"]),
        **{f"seconds_{part}": time for part, time in row["seconds"].items()},
        "units_dropped": tuple(map(tuple, row["units_dropped"])),
        "held_back": held_back.get("accuracy"),
        "held_back_documents": held_back.get("documents"),
        "machine": _machine(row),
    }


def _speeds(content: Row) -> Row:
    """Sizes and speeds of a measurement (median and 95% interval of rounds), and which share of the
    predicted speedups was reached."""
    own, full = content["bytes"], content.get("baseline", content)["bytes"]
    row = {
        "content": content,
        "kept_percent": 100 * content["units_kept"] / content["units_total"],
        "bytes_percent": 100 * own["total"] / full["total"],
        "unit_bytes_percent": 100 * own["units"] / full["units"],
    }
    # The full model is as fast as itself. A model may not have been compiled, or could not be.
    itself, compiled = {"median": 1.0}, content.get("compiled") or {}
    decode = compiled.get("decode_tokens_per_second")
    for name, rounds in {
        "decode": content["decode_tokens_per_second"],
        "prefill": content["prefill_tokens_per_second"],
        "speedup": content.get("speedup", itself),
        "prefill_speedup": content.get("prefill_speedup", itself),
        "compiled": decode or {"median": None},
        "compiled_speedup": compiled.get("speedup", itself) if decode else {"median": None},
    }.items():
        row |= {f"{name}_{end}": rounds.get(end) for end in ("low", "high")}
        row[name] = rounds["median"]
    for part, name in (("decode", "speedup"), ("prefill", "prefill_speedup")):
        share = share_of_predicted(content, name)
        row[f"share_{part}"] = None if share is None else 100 * share
    return row


def _timing(path: Path) -> Iterator[Row]:
    record = Throughput.read(path)
    row = _facts(record, path) | _speeds(record.model_dump(mode="json"))
    yield {
        **row,
        "mem": row["bytes_percent" if row["compressor"] else "kept_percent"],
        "share_of_copy": 100 * row["share_of_copy"],
        "share_of_matrix": 100 * row["share_of_matrix"] if "share_of_matrix" in row else None,
        "peak_megabytes": row["peak_memory_bytes"] / 1e6,
    }


def _in_engine(path: Path) -> Iterator[Row]:
    engine = Engines.read(path).model_dump(mode="json")
    for one in engine.pop("measured"):
        content = engine | one
        facts = [one["version"], one["precision"], engine["device"]]
        yield {
            **(content | _speeds(content) | _parts(one["recipe"]) | {"compressor": None}),
            "weights_megabytes": one["bytes"]["total"] / 1e6,
            "parity": (one["proof"] or {}).get("mean_difference"),
            "how": ", ".join([*facts, f"{engine['threads']} threads", one["kernel"]]),
        }
