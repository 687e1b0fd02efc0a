"""What a recipe is: how a checkpoint came to be, its text form, and every path that follows.

    pretrained | full_ft | sparse_ft | trim_NAME/drop_KK      weights that were trained
    trim_NAME/state_KK                                        the same before it is settled: what
                                                              the chain goes on from
    full | trim_PATTERN/keep_PERCENT                           shapes with random weights
    RECIPE+COMPRESSOR                                          any of these, compressed

NAME is an entry of the configuration's `recipes`, a name that `variant_name` derives from one
(`both_r0.5`), or a dropping at once (`random`, `top`, `bottom`). No other file parses or builds a
recipe or a path of results; the rules ask, too, with wildcards in braces for names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.kept import epochs_for
from trimllm_paper import kept_runs

PRETRAINED, FULL_FT, SPARSE_FT, FULL = "pretrained", "full_ft", "sparse_ft", "full"
NAME = r"[a-z][a-z0-9_]*(?:\.[0-9]+)?"
"""What a name of `recipes` may look like, a derived one included; a regular expression."""
EPOCH, STATE = "trim_{name}/drop_{drop}", "trim_{name}/state_{drop}"
"""A checkpoint of a chain, and the state that it is made from, with wildcards in braces."""
AT_ONCE = "trim_{by}/drop_{drop}"
"""A dropping by rule."""
COMPRESSED = "{dense}+{compressor}"
"""Any recipe, compressed."""
COMPRESSOR = r"[a-z][a-z0-9_]*"
_TRIMMED = rf"trim_{NAME}/(?:(?:drop|state)_[0-9][0-9]+|keep_[0-9.]+)"
DENSE = rf"(?:{PRETRAINED}|{FULL_FT}|{SPARSE_FT}|{FULL}|{_TRIMMED})"
"""Every recipe without a compressor, and (`ANY`) every recipe: for constraints on wildcards."""
ANY = rf"{DENSE}(?:\+{COMPRESSOR})?"
_PARTS = re.compile(
    rf"(?P<base>{PRETRAINED}|{FULL_FT}|{SPARSE_FT}|{FULL}|trim_(?P<name>{NAME})/"
    rf"(?:(?P<stage>drop|state)_(?P<drop>[0-9][0-9]+)|keep_(?P<keep>[0-9.]+)))(?:\+(?P<compressor>{COMPRESSOR}))?"
)


@dataclass(frozen=True)
class Recipe:
    """One recipe.

    Attributes:
        base: "pretrained", "full_ft", "sparse_ft", "full" or "trim".
        name: of a trimmed one: entry of `recipes`, derived name, rule, or pattern of a shape.
        drop: units dropped so far, with the leading zeros of its path.
        stage: "state" for what a chain goes on from, else "drop".
        keep: percent of the units that a trimmed shape keeps, as in its path.
        compressor: what was applied afterwards.
    """

    base: str
    name: str | None = None
    drop: str | None = None
    keep: str | None = None
    compressor: str | None = None
    stage: str = "drop"

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """A recipe from its text. Raises `UserError` for what is none."""
        found = _PARTS.fullmatch(text)
        if not found:
            raise UserError(
                f"{text!r} is no recipe, such as full_ft or trim_paper/drop_30+awq_int4"
            )
        parts = found.groupdict()
        base = "trim" if parts["name"] else parts["base"]
        known = {key: parts[key] for key in ("name", "drop", "keep", "compressor")}
        return cls(base, **known, stage=parts["stage"] or "drop")

    @classmethod
    def trimmed(cls, name: str, dropped: int, units: int) -> Recipe:
        """A checkpoint of a chain: `dropped` of a model's `units` units are gone."""
        return cls("trim", name, padded(dropped, units))

    @classmethod
    def shape(cls, pattern: str | None = None, keep: float | None = None) -> Recipe:
        """A shape with random weights: the full one, or trimmed by a pattern."""
        return cls("trim", pattern, keep=f"{keep:g}") if pattern else cls(FULL)

    def __str__(self) -> str:
        text = self.base
        if self.base == "trim":
            text = f"{run_folder(self.name or '')}/"
            text += f"{self.stage}_{self.drop}" if self.drop is not None else f"keep_{self.keep}"
        return f"{text}+{self.compressor}" if self.compressor else text

    def compressed(self, compressor: str | None) -> Recipe:
        """The same, compressed by a compressor (None: not compressed)."""
        return replace(self, compressor=compressor)

    @property
    def dense(self) -> Recipe:
        """The same without its compressor."""
        return self.compressed(None)

    @property
    def state(self) -> Recipe:
        """What the chain goes on from after as many drops."""
        return replace(self, stage="state")

    @property
    def settled(self) -> Recipe:
        """What is evaluated after as many drops as a state has."""
        return replace(self, stage="drop")

    @property
    def is_trimmed(self) -> bool:
        """Whether units were dropped by a chain, a rule or a pattern."""
        return self.base == "trim"

    @property
    def dropped(self) -> int:
        """Units dropped so far; 0 for what was not trimmed."""
        return int(self.drop or 0)


def padded(dropped: int | str, units: int) -> str:
    """Number of drops as it stands in paths: as many digits as any run of the model needs."""
    return f"{int(dropped):0{max(2, len(str(units - 1)))}d}"


def run_folder(name: str) -> str:
    """Folder of a chain."""
    return f"trim_{name}"


def epoch_records(folder: str | Path) -> list[str]:
    """Records of the epochs in a chain's folder."""
    return list(map(str, kept_runs.glob(folder, "state_*/epoch.json")))


def variant_name(recipes: dict[str, Any], main: Any, criterion: str, ratio: float) -> str:
    """Name of the chain that differs from another by criterion and ratio alone.

    That of the entry that does, or a derived one.

    Args:
        recipes: name -> entry with attributes criterion, ratio, step, and `rest`, all others.
        main: the other entry.
    """
    for name, entry in recipes.items():
        alike = (entry.step, entry.rest) == (main.step, main.rest)
        if alike and (entry.criterion, float(entry.ratio)) == (criterion, float(ratio)):
            return name
    return f"{criterion}_r{ratio:g}"


def keys_of(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Key as `trim.documents`, and value, of every setting."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from keys_of(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def chains(config: Any) -> dict[str, Any]:
    """Every chain that a configuration may be asked for, by name: its entries and those that
    are derived of the main one."""
    main, tables, found = config.main, config.tables, dict(config.recipes)
    for ratio in dict.fromkeys([main.ratio, *tables.ratios]):
        for criterion in tables.criteria:
            name = variant_name(config.recipes, main, criterion, ratio)
            entry = main.model_copy(update={"criterion": criterion, "ratio": ratio})
            found.setdefault(name, entry)
    return found


def end_of(config: Any, entry: Any, units: int) -> int:
    """Drops of a whole chain of a model of so many units: the fewest that are kept anywhere."""
    fewest = min(config.trim.kept_percent)
    return epochs_for(units * (1 - fewest / 100), entry.step) * entry.step


def by_every_token(config: Any) -> bool:
    """Whether some recipe learns from a teacher's states of all tokens of a document."""
    return any(entry.teacher and entry.teacher.hidden > 0 for entry in config.recipes.values())


def taught(config: Any, units: int) -> int | None:
    """To how many documents of their order chains with a teacher come at most; None: to all."""
    most = 1
    # Chains that are derived of an entry differ from it by criterion and ratio alone.
    for entry in config.recipes.values():
        if entry.teacher is None:
            continue
        epochs = 1 + end_of(config, entry, units) // entry.step if entry.train else 0
        passes = (epochs, config.trim.documents), (entry.settle, config.finetune.documents)
        for count, documents in passes:
            if count and entry.pool:  # drawn anew at every lap, so that any of it may come
                most = max(most, entry.pool)
            elif count and documents is None:
                return None
            else:
                most = max(most, count * (documents or 0))
    return most


@dataclass(frozen=True)
class Paths:
    """Where results lie under a folder. Recipes may be texts, and names wildcards in braces."""

    results: str = "<results>"

    def model(self, model: str, domain: str, recipe: Recipe | str) -> str:
        """Folder of a checkpoint. The pretrained one belongs to no domain."""
        return f"{self.results}/models/{model}/{self._domain(domain, recipe)}/{recipe}"

    @staticmethod
    def _domain(domain: str, recipe: Recipe | str) -> str:
        return "base" if str(recipe) == PRETRAINED else domain

    def pretrained(self, model: str) -> str:
        """Folder of the pretrained checkpoint."""
        return self.model(model, "base", PRETRAINED)

    def manifest(self, model: str, domain: str, recipe: Recipe | str) -> str:
        """The last file of a checkpoint."""
        return f"{self.model(model, domain, recipe)}/manifest.json"

    def weights(self, model: str, domain: str, recipe: Recipe | str) -> str:
        """The weights of a checkpoint."""
        return f"{self.model(model, domain, recipe)}/model.safetensors"

    def training(self, model: str, domain: str, recipe: Recipe | str) -> str:
        """Record of full or sparse fine-tuning, or of a dropping at once."""
        return f"{self.model(model, domain, recipe)}/training.json"

    def epoch(self, model: str, domain: str, recipe: Recipe | str) -> str:
        """Record of an epoch of a chain, beside the state; it stays when the weights go."""
        state = str(recipe).replace("/drop_", "/state_")
        return f"{self.model(model, domain, state)}/epoch.json"

    def teacher(self, model: str, domain: str) -> str:
        """What the fully fine-tuned model says of the training documents."""
        return f"{self.results}/teachers/{model}/{domain}.safetensors"

    def compression(self, model: str, domain: str, recipe: Recipe | str) -> str:
        """Proof of a compressor."""
        return f"{self.model(model, domain, recipe)}/compression.json"

    def evaluation(self, model: str, domain: str, recipe: Recipe | str, task: str) -> str:
        """Answers of a recipe, trained on `domain`, to the documents of a task."""
        return f"{self.results}/eval/{model}/{domain}/{recipe}/{task}.json"

    def scan(self, model: str, domain: str) -> str:
        """The scan of the untrained model."""
        return f"{self.results}/scans/{model}/{domain}.json"

    def throughput(self, hardware: str, model: str, recipe: Recipe | str) -> str:
        """Speed and memory of a checkpoint or shape on a machine."""
        return f"{self.results}/throughput/{hardware}/{model}/{recipe}.json"

    def engines(self, hardware: str, model: str, engine: str) -> str:
        """Speed of full and trimmed checkpoints in an engine on a machine."""
        return f"{self.results}/engines/{hardware}/{model}/{engine}.json"

    def export(
        self, model: str, domain: str, recipe: Recipe | str, variant: str, file: str = "export.json"
    ) -> str:
        """A file of an export; its proof, where none is named. `variant`: gguf_q8_0, padded, ..."""
        return f"{self.results}/export/{model}/{domain}/{recipe}/{variant}/{file}"

    def chosen(self, model: str, file: str = "choice.json") -> str:
        """A file of a run on one's own data: its choice, report.html."""
        return f"{self.results}/chosen/{model}/{file}"

    def answers(self, model: str, recipe: Recipe | str) -> str:
        """What a checkpoint says of held-back documents and of neutral text."""
        return self.chosen(model, f"{recipe}/answers.json")

    def data(self, domain: str, file: str = "report.json") -> str:
        """A file of a prepared domain."""
        return f"{self.results}/data/{domain}/{file}"

    def tests(self, domain: str, task: str) -> str:
        """Test documents of a task."""
        return self.data(domain, f"tests/{task}.jsonl")

    def job_times(self, rule: str, *parts: str) -> str:
        """Snakemake's own measurement of a job."""
        return f"{self.results}/benchmarks/{'/'.join([rule, *parts])}.tsv"

    def table(self, name: str, form: str = ".md") -> str:
        """A table of the paper."""
        return f"{self.results}/tables/{name}{form}"


def seed_folder(results: str | Path, seed: int) -> Path:
    """Where the results of a further seed lie, beside those of the first."""
    return Path(results, f"seed_{seed}")


def seed_folders(results: str | Path) -> list[Path]:
    """Those that are there and hold evaluations, by seed."""
    names = (
        path.relative_to(results).parts[0]
        for path in kept_runs.glob(results, "seed_*/eval/**/*.json")
    )
    found = {int(name[5:]): Path(results, name) for name in names if is_of_seed(name)}
    return [folder for _, folder in sorted(found.items())]


def is_of_seed(folder: str | Path) -> bool:
    """Whether a folder is called as one of a further seed is."""
    return re.fullmatch(r"seed_[0-9]+", Path(folder).name) is not None


@dataclass(frozen=True)
class Place:
    """What the path of a result says. Fields that its kind does not have are empty."""

    kind: str
    """"evaluation", "scan", "throughput", "engines", "export", "epoch", "training",
    "compression", "choice", "answers", "manifest" or "teacher"."""
    results: str
    model: str
    domain: str = ""
    recipe: Recipe | None = None
    task: str = ""
    hardware: str = ""
    format: str = ""
    engine: str = ""


ROOMS = {"eval": "evaluation", "scans": "scan", "throughput": "throughput", "engines": "engines"}
ROOMS |= {"teachers": "teacher"}
ROOMS |= {"models": "", "export": "", "chosen": ""}
"""Folder of results -> kind of its files; empty where a file's name says it."""


def place_of(path: str | Path) -> Place:
    """Read the path of a result file. Raises `UserError` for a path of another form."""
    path = Path(path)
    parts = path.with_suffix("").parts
    room = next((i for i in reversed(range(len(parts) - 1)) if parts[i] in ROOMS), None)
    suffix = ".json" if room is None or parts[room] != "teachers" else ".safetensors"
    if room is None or path.suffix != suffix:
        raise UserError(f"{path} is no path of a result ({', '.join(ROOMS)})")
    kind, results, inside = ROOMS[parts[room]], str(Path(*parts[:room])), parts[room + 1 :]
    try:
        if kind == "scan":
            model, domain = inside
            return Place(kind, results, model, domain)
        if kind == "teacher":
            model, domain = inside
            return Place(kind, results, model, domain)
        if kind == "engines":
            hardware, model, engine = inside
            return Place(kind, results, model, hardware=hardware, engine=engine)
        if parts[room] == "export":
            made = Recipe.parse("/".join(inside[2:-2]))
            return Place(inside[-1], results, inside[0], inside[1], made, format=inside[-2])
        if parts[room] == "chosen":
            of = Recipe.parse("/".join(inside[1:-1])) if len(inside) > 2 else None
            return Place(inside[-1], results, inside[0], recipe=of)
        recipe = Recipe.parse("/".join(inside[2 : len(inside) - (kind != "throughput")]))
        if kind == "throughput":
            return Place(kind, results, inside[1], recipe=recipe, hardware=inside[0])
        if kind == "evaluation":
            return Place(kind, results, inside[0], inside[1], recipe, task=inside[-1])
        return Place(inside[-1], results, inside[0], inside[1], recipe)
    except (ValueError, IndexError, TypeError):
        raise UserError(f"{path} is not of the form that results of its kind have") from None
