"""Recipes (how a checkpoint came to be) and the paths of all results.

    pretrained | full_ft | full_ft_choices | sparse_ft        trained weights
    trim_NAME/drop_KK                                         the same, trimmed
    trim_NAME/state_KK                                        the same, before annealing
    full | trim_half/keep_PERCENT                             shapes with random weights
    RECIPE+COMPRESSOR                                         any of these, compressed

NAME is an entry of the configuration's `recipes`, a name that `variant_name` derives from one
(`both_r0.5`), or a dropping at once (`random`, `top`, `bottom`). No other file parses or builds a
recipe or a path of results. The rules give wildcards in braces for names.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from trimllm.base.errors import UserError
from trimllm.base.kept import epochs_for
from trimllm_paper import kept_runs

PRETRAINED, FULL_FT, SPARSE_FT, FULL = "pretrained", "full_ft", "sparse_ft", "full"
FULL_FT_CHOICES = "full_ft_choices"  # full_ft, trained further with the loss of the choices
HALF = "half"  # how shapes are trimmed: half of the dropped sublayers are attention
RANDOM = "random-"  # start of a shape's name in paths, such as `random-llama-1b`
# Regular expressions of names and recipes.
NAME, COMPRESSOR = r"[a-z][a-z0-9_]*(?:\.[0-9]+)?", r"[a-z][a-z0-9_]*"
_TRIMMED = rf"trim_{NAME}/(?:(?:drop|state)_[0-9][0-9]+|keep_[0-9.]+)"
DENSE = rf"(?:{PRETRAINED}|{FULL_FT}|{FULL_FT_CHOICES}|{SPARSE_FT}|{FULL}|{_TRIMMED})"
ANY = rf"{DENSE}(?:\+{COMPRESSOR})?"
# Recipes with wildcards in braces, for rules.
EPOCH, STATE = "trim_{name}/drop_{drop}", "trim_{name}/state_{drop}"
AT_ONCE, COMPRESSED = "trim_{by}/drop_{drop}", "{dense}+{compressor}"


@dataclass(frozen=True)
class Recipe:
    """One recipe."""

    base: str  # "trim", or the name of what is not trimmed
    name: str | None = None  # of a trimmed one: entry of `recipes`, derived name, rule, pattern
    drop: str | None = None  # sublayers dropped so far, with leading zeros
    keep: str | None = None  # percent of the sublayers that a trimmed shape keeps
    compressor: str | None = None
    stage: str = "drop"  # "state": what a chain goes on from

    @classmethod
    def parse(cls, text: str) -> Self:
        """A recipe from its text. Raises `UserError` for what is none."""
        if not re.fullmatch(ANY, text):
            example = "such as full_ft or trim_paper/drop_30+awq_int4"
            raise UserError(f"{text!r} is no recipe, {example}")
        dense, _, compressor = text.partition("+")
        base, _, end = dense.partition("/")
        if not end:
            return cls(base, compressor=compressor or None)
        stage, _, number = end.partition("_")
        sizes = {"keep": number} if stage == "keep" else {"drop": number, "stage": stage}
        return cls("trim", base.removeprefix("trim_"), compressor=compressor or None, **sizes)

    @classmethod
    def trimmed(cls, name: str, dropped: int, units: int) -> Self:
        """A checkpoint of a chain: `dropped` of a model's `units` sublayers are gone."""
        digits = max(2, len(str(units - 1)))
        return cls("trim", name, f"{dropped:0{digits}d}")

    @classmethod
    def shape(cls, keep: float | None = None) -> Self:
        """A shape with random weights: the full one, or trimmed to `keep` percent."""
        return cls("trim", HALF, keep=f"{keep:g}") if keep else cls(FULL)

    def __str__(self) -> str:
        text = self.base
        if self.is_trimmed:
            stage = f"keep_{self.keep}" if self.drop is None else f"{self.stage}_{self.drop}"
            text = f"trim_{self.name}/{stage}"
        return f"{text}+{self.compressor}" if self.compressor else text

    def compressed(self, compressor: str | None) -> Self:
        """The same, compressed (None: not compressed)."""
        return replace(self, compressor=compressor)

    @property
    def state(self) -> Self:
        """What the chain goes on from after as many drops."""
        return replace(self, stage="state")

    @property
    def is_trimmed(self) -> bool:
        return self.base == "trim"

    @property
    def dropped(self) -> int:
        """Sublayers dropped so far; 0 for what was not trimmed."""
        return int(self.drop or 0)


def variant_name(recipes: Mapping[str, Any], main: Any, criterion: str, ratio: float) -> str:
    """Name of the chain that differs from `main` by criterion and ratio alone: that of the entry
    of `recipes` that does, or a derived one."""
    variant = main.model_copy(update={"criterion": criterion, "ratio": ratio})
    derived = f"{criterion}_r{ratio:g}"
    return next((name for name, entry in recipes.items() if entry == variant), derived)


def chains(config: Any) -> dict[str, Any]:
    """Every chain that a target may need, by name: entries, and those derived from the main one."""
    main, every = config.main, dict(config.recipes)
    for ratio in [main.ratio, *config.tables.ratios]:
        for criterion in config.tables.criteria:
            entry = main.model_copy(update={"criterion": criterion, "ratio": ratio})
            every.setdefault(variant_name(config.recipes, main, criterion, ratio), entry)
    return every


def end_of(config: Any, entry: Any, units: int) -> int:
    """Drops of a whole chain of a model with so many sublayers: the fewest that are kept."""
    fewest = min(config.trim.kept_percent)
    return epochs_for(units * (1 - fewest / 100), entry.step) * entry.step


def teacher_documents(config: Any, units: int) -> int | None:
    """Number of documents, in order, that chains with a teacher reach at most; None: all."""
    most = 1
    for entry in config.recipes.values():
        if entry.teacher is None:
            continue
        epochs = 1 + end_of(config, entry, units) // entry.step if entry.train else 0
        rounds = (epochs, config.trim.documents), (entry.settle, config.finetune.documents)
        for passes, documents in rounds:
            if passes and documents is None:
                return None
            most = max(most, passes * (documents or 0))
    return most


def keys_of(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Key as `trim.documents`, and value, of every setting."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from keys_of(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


_CHECKPOINT = "models/{model}/{domain}/{recipe}"


class Form:
    """A kind of file as a method of `Paths`: its path, by the names in braces, in their order."""

    def __init__(self, form: str, /, **defaults: str) -> None:
        self.form, self.defaults = form, defaults
        self.names = re.findall(r"\{(\w+)\}", form)
        groups = {name: rf"(?P<{name}>[^/]+)" for name in self.names}
        groups |= {"recipe": f"(?P<recipe>{ANY})"} | defaults
        self.pattern = re.compile("(?P<results>.*)/" + form.replace(".", r"\.").format_map(groups))

    def __get__(self, paths: "Paths", _: Any = None) -> Callable[..., str]:
        return partial(self.path, paths.results)

    def path(self, results: str, *values: Any, **named: Any) -> str:
        """The path below a folder of results. Recipes may be texts."""
        parts = self.defaults | dict(zip(self.names, values, strict=False)) | named
        recipe = str(parts.get("recipe"))
        if recipe == PRETRAINED and self.form.startswith(_CHECKPOINT):  # of no domain
            parts["domain"] = "base"
        if self.form.endswith("epoch.json"):  # lies beside the state; stays when its weights go
            parts["recipe"] = recipe.replace("/drop_", "/state_")
        return f"{results}/{self.form.format_map(parts)}"


@dataclass(frozen=True)
class Paths:
    """Where results lie under a folder. Names may be wildcards in braces."""

    results: str

    manifest = Form(f"{_CHECKPOINT}/manifest.json")
    weights = Form(f"{_CHECKPOINT}/model.safetensors")
    training = Form(f"{_CHECKPOINT}/training.json")
    epoch = Form(f"{_CHECKPOINT}/epoch.json")
    compression = Form(f"{_CHECKPOINT}/compression.json")
    teacher = Form("teachers/{model}/{domain}/{recipe}.safetensors")
    evaluation = Form("eval/{model}/{domain}/{recipe}/{task}.json")
    scan = Form("scans/{model}/{domain}.json")
    throughput = Form("throughput/{hardware}/{model}/{recipe}.json")
    engines = Form("engines/{hardware}/{model}/{engine}.json")
    export = Form("export/{model}/{domain}/{recipe}/{format}/{file}", file="export.json")
    choice = Form("chosen/{model}/{file}", file="choice.json")
    answers = Form("chosen/{model}/{recipe}/answers.json")
    data = Form("data/{domain}/{file}", file="report.json")
    tests = Form("data/{domain}/tests/{task}.jsonl")
    table = Form("tables/{name}{form}", form=".md")


ROOMS = ("eval", "scans", "throughput", "engines", "teachers", "models", "export", "chosen")
"""Folders of results."""


@dataclass(frozen=True)
class Place:
    """What the path of a result says. Fields that its kind does not have are empty."""

    kind: str  # name of a method of `Paths`
    results: str
    model: str
    domain: str = ""
    recipe: Recipe | None = None
    task: str = ""
    hardware: str = ""
    format: str = ""
    engine: str = ""


def place_of(path: str | Path) -> Place:
    """Read the path of a result file. Raises `UserError` for a path of another form."""
    forms = {kind: form for kind, form in vars(Paths).items() if isinstance(form, Form)}
    for kind, form in forms.items():
        match = form.pattern.fullmatch(Path(path).as_posix())
        if match and "model" in form.names:
            parts: dict[str, Any] = match.groupdict()
            recipe = Recipe.parse(parts.pop("recipe")) if "recipe" in parts else None
            return Place(kind, **parts, recipe=recipe)
    raise UserError(f"{path} is no path of a result ({', '.join(ROOMS)})")


def seed_folders(results: str | Path) -> list[Path]:
    """Folders `seed_N` of further seeds that hold evaluations, by seed."""
    files = kept_runs.glob(results, "seed_*/eval/**/*.json")
    names = {file.relative_to(results).parts[0] for file in files}
    seeds = [name for name in names if re.fullmatch("seed_[0-9]+", name)]
    return [Path(results, name) for name in sorted(seeds, key=lambda name: int(name[5:]))]
