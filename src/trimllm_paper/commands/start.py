"""Write the configuration for one's own data: `trimllm start my.jsonl --model MODEL`.

Inspects data and model, writes own.yaml (splits, sizes, a budget that fits this machine) and
MY.yaml (how the data are read), and prints what would run, for how long, on how much memory.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.names import GGUF_FAMILIES
from trimllm.data import read_documents
from trimllm.data.rows import MAX_FAILED
from trimllm.exporting.formats import require_engine, split_variant
from trimllm_paper.config import load, read_yaml
from trimllm_paper.config.load import PROJECT
from trimllm_paper.config.models import Own
from trimllm_paper.own import look, plan
from trimllm_paper.own import model as models
from trimllm_paper.own.choice import WORDS
from trimllm_paper.own.look import DataFile
from trimllm_paper.plan import pending

TEMPLATE = Path(look.__file__).with_name("own.yaml.jinja")
RESERVED = re.compile(r"own|base|reference.*")
"""Names that mean something else below `results/`."""
SET, TESTS = "own", "tests"
KINDS = {"choices": "questions with choices", "labels": "labelled texts"}
KINDS |= {"free": "questions with free answers", "messages": "conversations"}


def run(
    file: Path,
    model: str,
    want: list[str],
    test: Path | None,
    format: str | None,
    minutes: float,
    output: Path,
    force: bool,
) -> int:
    """Inspect data and model, write the configuration, print what would run."""
    required = requirements(want)
    data = [look.look(one) for one in (file, test) if one]
    check(data)
    name = re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-._") or "data"
    name = f"{name}-data" if RESERVED.fullmatch(name) or f"{name}.yaml" == output.name else name
    targets = [output, output.with_name(f"{name}.yaml")]
    if not force and (there := [str(one) for one in targets if one.exists()]):
        raise UserError(f"{', '.join(there)} exists; --force writes it anew, --output elsewhere")
    base = models.look(model)
    format = format or ("gguf_q8_0" if base.family in GGUF_FAMILIES else "padded")
    require_engine(format)
    if split_variant(format)[0] == "gguf":
        models.check_vocabulary(base)
    spec, count = specification(name, data), data[0].documents
    sizes = plan.sizes(count if test is None else round(count / (1 - plan.TESTED)), base.blocks)
    report, lengths = prepare(spec, sizes, base.folder)
    splits = {key: one["documents"] for key, one in report["splits"].items()}
    spec["expected"] = {
        **{"train": splits["train"], "test": splits[f"tests/{name}"]},
        **{key: round(fmean(tokens)) for key, tokens in lengths.items()},
    }
    size = f"{2 * base.blocks} sublayers, {base.parameters / 1e6:,.0f}M parameters"
    lines = data_lines(data, report, lengths["trained"], name)
    lines.append(f"{base.label}: {base.family}, {base.blocks} blocks, {size}")
    print("\n".join(lines))
    snakefile = "" if Path("Snakefile").is_file() else f"--snakefile {PROJECT / 'Snakefile'} "
    command = f"snakemake --cores all {snakefile}own --configfile {output}"
    facts = {
        **{"model": base, "sizes": sizes, "required": required, "format": format, "domain": name},
        **{"data": file.name, "train": splits["train"], "command": command, "report": lines},
        **{"free": data[0].kind.free, "results": f"results/{name}"},
    }
    texts, planned = render(facts, spec, output, minutes)
    for target, text in zip(targets, texts, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(target, text)
    if planned.minutes > minutes:
        print(f"note: the smallest budget takes longer than {minutes:g} minutes")
    spent = ", ".join(f"{part} {time:.0f}" for part, time in planned.parts.items())
    print(
        f"written: {targets[0]} and {targets[1]}\n"
        f"would run: {planned.jobs} jobs, about {planned.minutes:.0f} min, up to "
        f"{planned.mib / 1024:.1f} GiB of memory, {planned.gigabytes:.1f} GB on disk\n"
        f"  minutes of work, two jobs side by side: {spent}\nnext: {command}"
    )
    return 0


def requirements(want: Sequence[str]) -> dict[str, float]:
    """The section `own` by texts KEY=NUMBER. Raises `UserError` for another key or number."""
    try:
        pairs = {key: float(number) for key, _, number in (one.partition("=") for one in want)}
        return Own.model_validate(pairs).required
    except ValueError:  # pydantic's is one, too
        keys = ", ".join(f"{key}=NUMBER" for key in WORDS)
        raise UserError(f"--want {' '.join(want)}: give one or several of {keys}") from None


def check(data: Sequence[DataFile]) -> None:
    """Raise `UserError` for files of two kinds, too few documents, or a file of tests that shares
    more than a few questions with the other; a few are left out of training."""
    first, *tests = data
    plan.check_enough(first.documents, first.path, train=True, test=not tests)
    for other in tests:
        plan.check_enough(other.documents, other.path, train=False, test=True)
        if str(first.kind) != str(other.kind):
            both = f"{first.path} has {first.kind}, {other.path} has {other.kind}"
            raise UserError(f"{both}; both must agree")
        train, tested = look.questions(first), look.questions(other)
        shared = [question for question in train if question in tested]
        if len(shared) > MAX_FAILED * len(train):
            example = f"{train[shared[0]]} is {tested[shared[0]]}"
            raise UserError(
                f"{len(shared)} of the {len(train)} questions of {first.path} are in "
                f"{other.path} too ({example}); take them out of one of the files"
            )


def specification(name: str, data: Sequence[DataFile]) -> dict[str, Any]:
    """A domain's YAML that reads one file, which is split, or one to train on and one of tests."""
    sets = {
        key: {"from": [dict(one.source)], **data[0].spec}
        for key, one in zip((SET, TESTS), data, strict=False)
    }
    tests = {name: {"set": TESTS if TESTS in sets else SET}}
    head = {"label": data[0].path.name, "licence": "your own", "train": SET}
    return {**head, "sets": sets, "tests": tests}


def prepare(
    spec: Mapping[str, Any], sizes: plan.Sizes, tokenizer_folder: Path
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The report of preparing the documents, and tokens of some to train on: "tokens" with all
    answers, as a scan packs them, "trained" with the right one."""
    from trimllm.checkpoint.store import load_tokenizer
    from trimllm.data.prepare import TRAIN, prepare
    from trimllm.score.encode import encode_document

    limits = {"test": sizes.tests, "held_back": sizes.held_back, "calibration": sizes.pool}
    with tempfile.TemporaryDirectory() as folder:
        report = prepare(spec, folder, seed=0, limits=limits)
        documents = read_documents(Path(folder, f"{TRAIN}.jsonl"))
    tokenizer = load_tokenizer(tokenizer_folder)
    lengths: dict[str, list[int]] = {"tokens": [], "trained": []}
    for one in documents[:500]:
        row = encode_document(tokenizer, one)
        lengths["tokens"].append(row.length)
        lengths["trained"].append(len(row.prompt) + len(row.choices[one.answer]) - 1)
    return report, lengths


def data_lines(
    data: Sequence[DataFile], report: Mapping[str, Any], trained: Sequence[int], name: str
) -> list[str]:
    """A summary of the files."""
    lines = []
    for one, prepared in zip(data, report["sets"].values(), strict=True):
        lines.append(f"{one.path}: {one.rows:,} {KINDS[one.kind.name]} (fields {one.kind})")
        if one.failed:
            lines.append(f"  left out: {len(one.failed)} rows, the first {one.failed[0]}")
        if count := prepared["duplicates_removed"]:
            lines.append(f"  duplicates: {count}, left out")
    answers = sorted(data[0].answers.items(), key=lambda one: (-one[1], one[0]))
    if total := sum(data[0].answers.values()):
        shares = ", ".join(f"{key[:20]} {count / total:.0%}" for key, count in answers[:8])
        what = "labels" if data[0].kind.name == "labels" else "right answers by place"
        lines.append(f"  {what}: {shares}{', ...' if len(answers) > 8 else ''}")
    mean, longest = fmean(trained), max(trained)
    lines.append(f"  tokens with the right answer: {mean:.0f} on average, at most {longest}")
    splits = {key: one["documents"] for key, one in report["splits"].items()}
    lines.append(
        f"  splits: {splits['train']} to train, {splits['calibration']} to choose sublayers by, "
        f"{splits['held_back']} held back to choose a model by, {splits[f'tests/{name}']} to test; "
        "no question is in two of them"
    )
    if leaked := report["train_documents_removed_as_test_documents"]:
        lines.append(f"  leaks: {leaked} documents to train on are tests too, left out")
    return lines


def render(
    facts: Mapping[str, Any], spec: Mapping[str, Any], output: Path, minutes: float
) -> tuple[list[str], plan.Plan]:
    """Texts of the configuration and of the domain, with the budget that fits, and its plan.

    They are tried from a temporary folder: what is refused leaves nothing.
    """
    head = f"# How {facts['data']} is read; the project's config/README.md explains every key.\n"
    domain = head + yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True)
    page = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    page.filters["y"] = _inline
    template = page.from_string(TEMPLATE.read_text(encoding="utf-8"))

    def text(documents: int, folder: Path) -> str:
        budget = {"documents": documents, "between": plan.between(documents)}
        return template.render(**facts, **budget, folder=str(folder)) + "\n"

    with tempfile.TemporaryDirectory() as temporary:
        trial = Path(temporary, "own.yaml")
        Path(temporary, f"{facts['domain']}.yaml").write_text(domain, encoding="utf-8")
        trial.write_text(text(facts["train"], trial.parent), encoding="utf-8")
        jobs = pending(["own"], [trial], [])
        fitted = plan.fitted(jobs, load(read_yaml(trial), [trial]), facts["train"], minutes)
    return [text(fitted.documents, output.parent), domain], fitted


def _inline(value: Any) -> str:
    """A value as YAML in a line."""
    flow = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
    return flow.removesuffix("\n").removesuffix("\n...")
