"""All results as tidy pandas frames: evaluations, epochs, trainings, timings.

Ask your own questions of them, in a notebook for example:

>>> import trimllm_paper
>>> results = trimllm_paper.frame("results/reference")
>>> piqa = results.evaluations.query("domain == 'piqa' and task == 'piqa' and name == 'ours'")
>>> print(piqa[["recipe", "n", "accuracy", "units_kept"]].to_string(index=False))
           recipe   n  accuracy  units_kept
trim_ours/drop_30 400     59.75          30
trim_ours/drop_36 400     58.00          24
trim_ours/drop_42 400     58.25          18
>>> epochs = results.epochs.query("domain == 'piqa' and name == 'paper'")
>>> epochs.set_index("dropped").loss.round(2).head(3).to_dict()
{0: 3.26, 6: 3.94, 12: 4.67}

A value that does not exist is None: no criterion of `full_ft`, no speedup's interval of the full
model itself. `results` is the folder that a row comes from, `source` its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from trimllm.base.errors import UserError
from trimllm.base.files import MANIFEST
from trimllm.throughput.machine import slug
from trimllm.throughput.result import predicted, summary
from trimllm_paper import kept_runs
from trimllm_paper.engine_records import Engines
from trimllm_paper.integrity.provenance import recorded
from trimllm_paper.recipe import Recipe, place_of
from trimllm_paper.records import Epoch, Evaluation, OfRecipe, Throughput, Training

Files = Iterable[str | Path]
RECIPE = "recipe base name criterion ratio step dropped compressor seed"
COLUMNS = {
    "evaluations": f"results model domain tested task {RECIPE} n right accuracy scores documents "
    "chance answer_loss exact_match token_f1 rouge_l perplexity units_kept units_total "
    "kept_percent bytes bytes_full bytes_percent stand_in",
    "epochs": f"results model domain {RECIPE} epoch units_dropped units_total trainable_blocks "
    "ties margin scan seconds_scan seconds_train tokens documents loss held_back "
    "held_back_documents machine",
    "trainings": f"results model domain {RECIPE} epoch seconds tokens documents loss held_back "
    "kept machine",
    "timings": f"results hardware model {RECIPE} units_kept units_total kept_percent speedup "
    "speedup_low speedup_high decode decode_low decode_high prefill prefill_low prefill_high "
    "compiled compiled_low compiled_high compiled_speedup compiled_speedup_low "
    "compiled_speedup_high bytes_percent unit_bytes_percent mem share_decode share_prefill "
    "share_of_copy share_of_matrix in_turn peak_megabytes content",
    "engines": "results hardware model engine format batch recipe base name dropped seed "
    "compressor units_kept units_total kept_percent speedup speedup_low speedup_high decode "
    "decode_low decode_high prefill prefill_low prefill_high prefill_speedup prefill_speedup_low "
    "prefill_speedup_high bytes_percent unit_bytes_percent weights_megabytes share_decode "
    "share_prefill parity how in_turn content",
}
"""Columns of each frame, after which come `provenance` and `source`. Accuracies and shares are in
percent, speeds in tokens/s, `_low` and `_high` the 95% interval over rounds (None: one round),
`unit_bytes_percent` without embeddings and head, `mem` what the paper calls so (units kept; bytes
of what is compressed), `share_decode`
and `share_prefill` of the speedup that sizes predict, `share_of_copy` of a plain copy's bandwidth
and `share_of_matrix` of the rate of a large product (None where nobody measured it), `in_turn`
whether ratios are of rounds in which the model and the full one took turns,
`compiled` speed by torch.compile and `compiled_speedup` over the full model's, compiled as well;
`answer_loss` in nats a token; `exact_match`, `token_f1`, `rouge_l` in percent and `perplexity` of
free answers alone; `scores` what each document counts, 1 a right and 0 a wrong answer or the F1 of
a free one's words, `accuracy` their mean, `right` how many are right; `documents` of an evaluation
is a hash that is equal where answers can be paired, `units_dropped` (block, kind) of an epoch,
`dropped` the units gone until then, `held_back` the accuracy on documents held back from training
after an epoch or a pass (None where nobody asked), `held_back_documents` how many, `kept`
whether a pass's weights are the checkpoint's, `machine` what trained, as "2 a100" or
"cpu-amd-epyc", `content` all that was recorded. Of an engine `how` is version, precision, kernel
and threads in words, `parity` the mean difference from transformers in nats."""
SAME = (
    "hardware",
    "model",
    "domain",
    "recipe",
    "task",
    "seed",
    "epoch",
    "format",
    "batch",
)
"""What two rows of a frame may not agree in, as far as it has these columns."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Results. See `COLUMNS` for what each frame holds.

    Attributes:
        evaluations: a row an evaluation.
        epochs: a row an epoch of a chain.
        trainings: a row a pass of full or sparse fine-tuning, or after a dropping at once.
        timings: a row a measurement of throughput.
        engines: a row a model in an engine's format and a batch size.
    """

    evaluations: pd.DataFrame
    epochs: pd.DataFrame
    trainings: pd.DataFrame
    timings: pd.DataFrame
    engines: pd.DataFrame = field(default_factory=lambda: _table("engines", (), _in_engine))

    @classmethod
    def of(
        cls,
        evaluations: Files = (),
        epochs: Files = (),
        trainings: Files = (),
        throughput: Files = (),
        engines: Files = (),
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
            _table("engines", engines, _in_engine),
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
        for row in rows(self.evaluations):
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
        if not kept_runs.is_folder(folder):
            raise UserError(f"{folder} does not exist; run the workflow or name another folder")

    def found(pattern: str, within: Sequence[Path] = roots) -> list[Path]:
        return [path for folder in within for path in kept_runs.glob(folder, pattern)]

    return Frame.of(
        evaluations=found("eval/**/*.json"),
        epochs=found("models/**/epoch.json"),
        trainings=found("models/**/training.json"),
        throughput=found("throughput/**/*.json", roots[:1]),
        engines=found("engines/**/*.json", roots[:1]),
    )


def where(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The rows whose columns have these values; None finds what has none."""
    for column, value in wanted.items():
        table = table[table[column].isna() if value is None else table[column] == value]
    return table


def rows(table: pd.DataFrame) -> list[Any]:
    """Rows as named tuples of plain Python values."""
    return list(table.itertuples(index=False, name="Row"))


Row = dict[str, Any]


def _table(name: str, files: Files, rows_of: Callable[[Path], list[Row]]) -> pd.DataFrame:
    found = [
        row | {"results": place_of(path).results, "source": path.as_posix()}
        for path in sorted(map(Path, files))
        for row in rows_of(path)
    ]
    columns = {}
    for column in [*COLUMNS[name].split(), "provenance", "source"]:
        values = [row[column] for row in found]
        plain = bool(found) and all(isinstance(value, int | float | str) for value in values)
        columns[column] = pd.Series(values, dtype=None if plain else object)
    table = pd.DataFrame(columns)
    same = table[table.duplicated(key := [k for k in SAME if k in columns], keep=False)]
    if len(same):
        first, second = same.sort_values(key).source.iloc[:2]
        raise UserError(f"{second} and {first} measure the same; give one of them")
    return table


def _facts(record: OfRecipe, path: Path) -> Row:
    """All fields of a record, and what its recipe says.

    With provenance in full where a checkpoint's manifest was kept beside its record.
    """
    recipe = record.parsed
    own = {"base": recipe.base, "name": recipe.name, "dropped": recipe.dropped}
    known = recorded(path.with_name(MANIFEST)) | record.provenance
    return record.model_dump() | own | {"compressor": recipe.compressor, "provenance": known}


def _sizes(row: Row, own: Row, full: Row) -> Row:
    """Sizes in percent of the full model's."""
    percent = {f"{key}_percent": 100 * own[key] / full[key] for key in own}
    return row | percent | {"kept_percent": 100 * row["units_kept"] / row["units_total"]}


def _evaluation(path: Path) -> list[Row]:
    row = _facts(Evaluation.read(path), path)
    free, right = row.get("answers") or {}, row.pop("correct")
    scores = free["by_document"]["token_f1"] if free else right
    row |= {"right": sum(right), "accuracy": 100 * sum(scores) / row["n"], "scores": tuple(scores)}
    row |= {"documents": row["document_hashes_sha256"]}
    row |= {"answer_loss": row.get("answer_loss")}
    row |= {name: free.get(name) for name in ("exact_match", "token_f1", "rouge_l", "perplexity")}
    return [_sizes(row, {"bytes": row["bytes"]}, {"bytes": row["bytes_full"]})]


def _machine(row: Row) -> Row:
    """What trained: so many GPUs of a kind, or a processor."""
    told, many = row["provenance"].get("hardware") or {}, row["processes"] or {"count": 1}
    if gpu := told.get("gpu"):
        return {"machine": f"{many['count']} {slug(gpu, 'cuda')}"}
    return {"machine": slug(told.get("cpu") or "", "cpu")}


def _passes(path: Path) -> list[Row]:
    row = _facts(record := Training.read(path), path)
    row |= _machine(row)
    answered: list[float | None] = [one.accuracy for one in record.held_back]
    answered = answered or [None] * len(record.passes)
    return [
        row | one | {"epoch": number, "held_back": held_back, "kept": number == record.kept_pass}
        for number, (one, held_back) in enumerate(zip(row["passes"], answered, strict=True))
    ]


def _epoch(path: Path) -> list[Row]:
    row = _facts(record := Epoch.read(path), path)
    lists = {key: tuple(row[key]) for key in ("units_dropped", "trainable_blocks")}
    seconds = {f"seconds_{part}": value for part, value in row["seconds"].items()}
    told = record.held_back
    answered = {"held_back": told and told.accuracy}
    answered |= {"held_back_documents": told and told.documents}
    return [row | row["training"] | lists | seconds | answered | _machine(row)]


def _timing(path: Path) -> list[Row]:
    record = Throughput.read(path)
    row, content = _facts(record, path), record.model_dump(mode="json")
    row = _speeds(row, content) | _compiled(content.get("compiled") or {})
    row["mem"] = row["bytes_percent" if row["compressor"] else "kept_percent"]
    row["share_of_copy"] *= 100
    row["share_of_matrix"] = 100 * row["share_of_matrix"] if "share_of_matrix" in row else None
    row["in_turn"] = "baseline" not in content or content.get("interleaved", True)
    return [row | {"peak_megabytes": row["peak_memory_bytes"] / 1e6, "content": content}]


def _interval(name: str, value: Row | None) -> Row:
    """Median and 95% interval of rounds; records of before have the rounds alone."""
    value = value or {"median": 1.0}  # of the full model over itself
    ends = value if "low" in value else summary(value["samples"]) if "samples" in value else {}
    return {name: value["median"], f"{name}_low": ends.get("low"), f"{name}_high": ends.get("high")}


def _compiled(content: Row) -> Row:
    """Speed of a pair that was compiled; nothing where it was not, or could not be."""
    decode = content.get("decode_tokens_per_second")
    speedup = content.get("speedup") if decode else {"median": None}
    return _interval("compiled", decode or {"median": None}) | _interval(
        "compiled_speedup", speedup
    )


def _speeds(row: Row, content: Row) -> Row:
    """Speeds and sizes of a measurement, and what these predict."""
    for key in ("decode", "prefill"):
        row |= _interval(key, content[f"{key}_tokens_per_second"])
    for key in ("speedup", "prefill_speedup"):
        row |= _interval(key, content.get(key))
    own, full = (
        {"bytes": b["total"], "unit_bytes": b["units"]}
        for b in (row["bytes"], content.get("baseline", content)["bytes"])
    )
    row, expected = _sizes(row, own, full), predicted(content)
    for part, name in (("decode", "speedup"), ("prefill", "prefill_speedup")):
        share = expected.get(f"share_of_predicted_{name}")
        row[f"share_{part}"] = None if share is None else 100 * share
    return row


def _in_engine(path: Path) -> list[Row]:
    content = Engines.read(path).model_dump(mode="json")
    measured, found = content.pop("measured"), []
    for one in measured:
        made, threads = Recipe.parse(one["recipe"]), f"{content['threads']} threads"
        told = [one["version"], one["precision"], content["device"], threads, one["kernel"]]
        row = content | one | {"base": made.base, "name": made.name, "dropped": made.dropped}
        row = _speeds(row | {"compressor": None}, one)
        row |= {"weights_megabytes": one["bytes"]["total"] / 1e6, "content": content | one}
        row |= {"how": ", ".join(told), "in_turn": True}
        row["parity"] = (one["proof"] or {}).get("mean_difference")
        found.append(row)
    return found
