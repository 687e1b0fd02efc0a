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
from trimllm.exporting.formats import require_engine
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
MEASURED = 500
"""Documents whose mean length is taken for all."""


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
    data = look.look(file)
    if (count := len(data.pool.rows)) < plan.FEWEST:
        few = f"{count} different documents are too few"
        raise UserError(f"{file}: {few}; {plan.FEWEST} are needed")
    name = models.as_name(file.stem, "data")
    name = f"{name}-data" if RESERVED.fullmatch(name) or f"{name}.yaml" == output.name else name
    targets = [output, output.with_name(f"{name}.yaml")]
    if not force and (there := [str(one) for one in targets if one.exists()]):
        raise UserError(f"{', '.join(there)} exists; --force writes it anew, --output elsewhere")
    base = models.look(model)
    format = format or ("gguf_q8_0" if base.family in GGUF_FAMILIES else "padded")
    check_format(format, base)
    sizes = plan.sizes(count if test is None else round(count / (1 - plan.TESTED)), base.blocks)
    spec = domain(name, file, data, test)
    report = prepare(spec, sizes, base.tokenizer)
    if test and (tests := spec["expected"]["test"]) < (needed := plan.sizes(plan.FEWEST, 1).tests):
        raise UserError(f"{test}: {tests} different documents are too few; {needed} are needed")
    lines = data_lines(data, [file, test], report, spec["expected"]["trained"])
    size = f"{2 * base.blocks} sublayers, {base.parameters / 1e6:,.0f}M parameters"
    lines.append(f"{base.label}: {base.family}, {base.blocks} blocks, {size}")
    print("\n".join(lines))
    snakefile = "" if Path("Snakefile").is_file() else f"--snakefile {PROJECT / 'Snakefile'} "
    command = f"snakemake --cores all {snakefile}own --configfile {output}"
    facts = {
        **{"model": base, "sizes": sizes, "required": required, "format": format, "domain": name},
        **{"data": file.name, "train": spec["expected"]["train"], "free": data.kind == "free"},
        **{"results": f"results/{name}", "command": command, "report": lines},
    }
    texts, planned = render(facts, spec, output, minutes)
    for target, text in zip(targets, texts, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(target, text)
    if planned.minutes > minutes:
        print(f"note: the smallest budget takes longer than {minutes:g} minutes")
    print(
        f"written: {targets[0]} and {targets[1]}\n"
        f"would run: {planned.jobs} jobs, about {planned.minutes:.0f} min, up to "
        f"{planned.mib / 1024:.1f} GiB of memory, {planned.gigabytes:.1f} GB on disk\n"
        f"next: {command}"
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


def check_format(format: str, model: models.Model) -> None:
    """Raise `UserError` if the engine is not installed, or GGUF cannot hold the tokenizer."""
    require_engine(format)
    if format.startswith("gguf"):
        from trimllm.exporting.gguf_file import vocabulary

        try:
            vocabulary(model.tokenizer, model.vocabulary)
        except UserError as error:
            raise UserError(f"{model.label}: {error}; take --format padded") from None


def domain(name: str, file: Path, data: DataFile, test: Path | None) -> dict[str, Any]:
    """A domain's YAML that reads one file, which is split, or one to train on and one of tests."""
    sets = {SET: {"from": [dict(data.source)], **data.spec}}
    if test:
        sets[TESTS] = {"from": [look.source_of(test)], **data.spec}
    tests = {name: {"set": TESTS if test else SET}}
    return {"label": file.name, "licence": "your own", "train": SET, "sets": sets, "tests": tests}


def prepare(spec: dict[str, Any], sizes: plan.Sizes, tokenizer: Any) -> dict[str, Any]:
    """The report of preparing the documents; sets `expected` of the domain: documents, and mean
    tokens with all answers, as a scan packs them, and with the right one, as training does."""
    from trimllm.data.prepare import TRAIN, prepare
    from trimllm.score.encode import encode_document

    limits = {"test": sizes.tests, "held_back": sizes.held_back, "calibration": sizes.pool}
    with tempfile.TemporaryDirectory() as folder:
        report = prepare(spec, folder, seed=0, limits=limits)
        documents = read_documents(Path(folder, f"{TRAIN}.jsonl"))[:MEASURED]
    rows = [encode_document(tokenizer, one) for one in documents]
    pairs = list(zip(rows, documents, strict=True))
    spec["expected"] = {
        "train": report["splits"][TRAIN]["documents"],
        "test": sum(report["splits"][f"tests/{name}"]["documents"] for name in spec["tests"]),
        "tokens": round(fmean(row.length for row in rows)),
        "trained": round(fmean(len(r.prompt) + len(r.choices[d.answer]) - 1 for r, d in pairs)),
    }
    return report


def data_lines(
    data: DataFile, paths: Sequence[Path | None], report: Mapping[str, Any], trained: int
) -> list[str]:
    """A summary of the files."""
    lines = []
    for path, one in zip(paths, report["sets"].values(), strict=False):
        rows = f"{one['rows_read']:,} {look.KINDS[data.kind]}"
        lines.append(f"{path}: {rows} (fields {data.fields})")
        if one["rows_failed"]:
            first = one["rows_failed_examples"][0]
            lines.append(f"  left out: {one['rows_failed']} rows, the first {first}")
        if one["duplicates_removed"]:
            lines.append(f"  duplicates: {one['duplicates_removed']}, left out")
    if total := data.answers.total():
        counts = sorted(data.answers.items(), key=lambda one: (-one[1], one[0]))
        shares = ", ".join(f"{key[:20]} {count / total:.0%}" for key, count in counts[:8])
        what = "labels" if data.kind == "label" else "right answers by place"
        lines.append(f"  {what}: {shares}{', ...' if len(counts) > 8 else ''}")
    splits = ", ".join(f"{one['documents']} {name}" for name, one in report["splits"].items())
    lines.append(f"  tokens with the right answer: {trained} on average")
    lines.append(f"  splits: {splits}; no question is in two of them")
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
