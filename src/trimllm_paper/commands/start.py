"""Write the configuration for one's own data: `trimllm start my.jsonl --model MODEL`.

Inspects data and model, writes own.yaml (splits, sizes, a budget that fits this machine) and
MY.yaml (how the data are read), and prints what would run, for how long, on how much memory.
"""

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
RESERVED = re.compile(r"own|base|reference.*")  # means something else below `results/`
SET, TESTS = "own", "tests"
MEASURED = 500  # documents by which the mean length is estimated


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
    try:
        pairs = {key: float(number) for key, _, number in (one.partition("=") for one in want)}
        required = Own.model_validate(pairs).required
    except ValueError:  # pydantic's is one, too
        keys = ", ".join(f"{key}=NUMBER" for key in WORDS)
        raise UserError(f"--want {' '.join(want)}: give one or several of {keys}") from None
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
    require_engine(format)
    if format.startswith("gguf"):
        from trimllm.exporting import gguf_file

        gguf_file.check(base.config, model)
        try:
            gguf_file.vocabulary(base.tokenizer, base.config.vocab_size)
        except UserError as error:
            raise UserError(f"{base.label}: {error}; take --format padded") from None
    sizes = plan.sizes(count if test is None else round(count / (1 - plan.TESTED)), base.blocks)
    sets = {SET: {"from": [dict(data.source)], **data.spec}}
    if test:
        sets[TESTS] = {"from": [look.source_of(test)], **data.spec}
    spec: dict[str, Any] = {"label": file.name, "licence": "your own", "train": SET, "sets": sets}
    spec["tests"] = {name: {"set": TESTS if test else SET}}
    lines = prepare(spec, data, [file, test], sizes, base.tokenizer)
    if test and (tests := spec["expected"]["test"]) < (needed := plan.sizes(plan.FEWEST, 1).tests):
        raise UserError(f"{test}: {tests} different documents are too few; {needed} are needed")
    size = f"{2 * base.blocks} sublayers, {base.parameters / 1e6:,.0f}M parameters"
    lines.append(f"{base.label}: {base.family}, {base.blocks} blocks, {size}")
    print("\n".join(lines))
    in_project = Path("Snakefile").resolve() == PROJECT / "Snakefile"
    snakefile = "" if in_project else f"--snakefile {PROJECT / 'Snakefile'} "
    command = f"snakemake --cores all {snakefile}own --configfile {output}"
    facts = {
        **{"model": base, "sizes": sizes, "required": required, "format": format, "domain": name},
        **{"data": file.name, "train": spec["expected"]["train"], "free": data.kind == "free"},
        **{"results": f"results/{name}", "command": command, "report": lines},
    }
    planned = write(facts, spec, targets, minutes)
    if planned.minutes > minutes:
        print(f"note: the smallest budget takes longer than {minutes:g} minutes")
    print(
        f"written: {targets[0]} and {targets[1]}\n"
        f"would run: {planned.jobs} jobs, about {planned.minutes:.0f} min, up to "
        f"{planned.mib / 1024:.1f} GiB of memory, {planned.gigabytes:.1f} GB on disk\n"
        f"next: {command}"
    )
    return 0


def prepare(
    spec: dict[str, Any], data: DataFile, paths: list[Any], sizes: plan.Sizes, tokenizer: Any
) -> list[str]:
    """A summary of the files in lines; sets `expected` of the domain: documents, and mean tokens
    with all answers, as a scan packs them, and with the right one, as training does."""
    from trimllm.data.prepare import TRAIN, prepare
    from trimllm.score.encode import encode_document

    limits = {"test": sizes.tests, "held_back": sizes.held_back, "calibration": sizes.pool}
    with tempfile.TemporaryDirectory() as folder:
        report = prepare(spec, folder, seed=0, limits=limits)
        documents = read_documents(Path(folder, f"{TRAIN}.jsonl"))[:MEASURED]
    rows = [(encode_document(tokenizer, one), one.answer) for one in documents]
    trained = round(fmean(len(row.prompt) + len(row.choices[right]) - 1 for row, right in rows))
    spec["expected"] = {
        "train": report["splits"][TRAIN]["documents"],
        "test": sum(report["splits"][f"tests/{name}"]["documents"] for name in spec["tests"]),
        "tokens": round(fmean(row.length for row, _ in rows)),
        "trained": trained,
    }
    lines = []
    for path, one in zip(paths, report["sets"].values(), strict=False):
        read = f"{one['rows_read']:,} {look.KINDS[data.kind]}"
        lines.append(f"{path}: {read} (fields {data.fields})")
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


def write(
    facts: Mapping[str, Any], spec: Mapping[str, Any], targets: Sequence[Path], minutes: float
) -> plan.Plan:
    """Write the configuration, with the budget that fits, and the domain; returns the run's plan.

    They are tried from a temporary folder: what is refused leaves nothing.
    """
    head = f"# How {facts['data']} is read; the project's config/README.md explains every key.\n"
    domain = head + yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True)
    page = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = page.from_string(TEMPLATE.read_text(encoding="utf-8") + "\n")

    def write_texts(paths: Sequence[Path], documents: int) -> None:
        budget = {"documents": documents, "between": plan.between(documents)}
        own = template.render(**facts, **budget, folder=str(paths[0].parent))
        for path, text in zip(paths, (own, domain), strict=True):
            files.write_text(path, text)

    with tempfile.TemporaryDirectory() as folder:
        trial = [Path(folder, target.name) for target in targets]
        write_texts(trial, facts["train"])
        config = load(read_yaml(trial[0]), trial[:1])
        fitted = plan.fitted(pending(["own"], trial[:1], []), config, facts["train"], minutes)
    write_texts(targets, fitted.documents)
    return fitted
