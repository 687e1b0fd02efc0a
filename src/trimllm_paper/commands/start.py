"""Begin with a file of your own: `trimllm start my.jsonl --model MODEL`.

Looks at the data and the model, writes a commented configuration with splits, sizes and a budget
that fits this machine (own.yaml), and how the data are read (MY.yaml) beside it; prints what will
run, for how long, on how much memory. Nothing is trained.
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
from trimllm.base.names import ANSWER_CRITERION, GGUF_FAMILIES
from trimllm.data import Document, read_documents
from trimllm.data.rows import MAX_FAILED
from trimllm.exporting.formats import require_engine, split_variant
from trimllm_paper.config import load, read_yaml
from trimllm_paper.config.load import PROJECT
from trimllm_paper.own import look, plan, wishes
from trimllm_paper.own import model as models
from trimllm_paper.own.look import DataFile
from trimllm_paper.plan import pending

TEMPLATE = Path(look.__file__).with_name("own.yaml.jinja")
RESERVED = re.compile(r"own|base|reference.*")
"""Names that mean something else in paths, beside the file or below `results/`."""
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
    """Look at data and model, write the configuration, print what would run."""
    wanted = wishes.wanted(want) or {"above_percent": 95}
    data = [look.look(one) for one in (file, test) if one]
    check(data)
    name = re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-._") or "data"
    name = f"{name}-data" if RESERVED.fullmatch(name) or f"{name}.yaml" == output.name else name
    targets = [output, output.with_name(f"{name}.yaml")]
    if not force and (there := [str(one) for one in targets if one.exists()]):
        raise UserError(f"{', '.join(there)} exists; --force writes it anew, --output elsewhere")
    found = models.look(model)
    format = format or ("gguf_q8_0" if found.family in GGUF_FAMILIES else "padded")
    require_engine(format)
    if split_variant(format)[0] == "gguf":
        models.check_vocabulary(found)
    spec = specification(name, data)
    report, _ = prepare(spec, {"test": 12, "held_back": 4, "calibration": 8})
    count = report["sets"][SET]["documents"]
    sizes = plan.sizes(count if test is None else round(count / (1 - plan.TESTED)), found.blocks)
    limits = {"test": sizes.tests, "held_back": sizes.held_back, "calibration": sizes.pool}
    report, documents = prepare(spec, limits)
    splits = {key: one["documents"] for key, one in report["splits"].items()}
    packed, trained = lengths(found.folder, documents)
    spec["expected"] = {
        "train": splits["train"],
        "test": splits[f"tests/{name}"],
        "tokens": round(fmean(packed)),
        "trained": round(fmean(trained)),
    }
    size = f"{2 * found.blocks} sublayers, {found.parameters / 1e6:,.0f}M parameters"
    lines = data_lines(data, report, trained, name)
    lines.append(f"{found.label}: {found.family}, {found.blocks} blocks, {size}")
    print("\n".join(lines))
    snakefile = "" if Path("Snakefile").is_file() else f"--snakefile {PROJECT / 'Snakefile'} "
    command = f"snakemake --cores all {snakefile}own --configfile {output}"
    free = data[0].kind.free
    facts = {
        "criterion": ANSWER_CRITERION if free else "likelihood",
        # What hidden states teach of free answers was not measured.
        "hidden": 0 if free else 64,
        **{"model": found, "sizes": sizes, "wanted": wanted, "format": format, "domain": name},
        **{"data": file.name, "train": splits["train"], "command": command, "report": lines},
        **{"results": f"results/{name}", "batch": min(16, max(1, splits["train"] // 4))},
    }
    texts, planned = render(facts, spec, output, minutes)
    for target, text in zip(targets, texts, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(target, text)
    if planned.minutes > minutes:
        print(f"note: the smallest budget takes longer than {minutes:g} minutes")
    spent = ", ".join(f"{part} {time:.0f}" for part, time in planned.parts.items())
    print(f"written: {targets[0]} and {targets[1]}")
    print(
        f"would run: {planned.jobs} jobs, about {planned.minutes:.0f} min, up to "
        f"{planned.mib / 1024:.1f} GiB of memory, {planned.gigabytes:.1f} GB on disk"
    )
    print(f"  minutes of work, two jobs side by side: {spent}")
    print(f"next: {command}")
    return 0


def check(data: Sequence[DataFile]) -> None:
    """Raise `UserError` for files of two kinds, too few documents, or a file of tests that holds
    more than a few questions that are trained on; a few are left out of training."""
    first, *tests = data
    alone = not tests
    plan.check_enough(first.documents, first.rows, first.path, only_tests=False, tests=alone)
    for other in tests:
        plan.check_enough(other.documents, other.rows, other.path, only_tests=True, tests=True)
        if str(first.kind) != str(other.kind):
            both = f"{first.path} has {first.kind}, {other.path} has {other.kind}"
            raise UserError(f"{both}; both must agree")
        train, asked = look.questions(first), look.questions(other)
        shared = [question for question in train if question in asked]
        if len(shared) > MAX_FAILED * len(train):
            example = f"{train[shared[0]]} is {asked[shared[0]]}"
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
    spec: Mapping[str, Any], limits: Mapping[str, int]
) -> tuple[dict[str, Any], list[Document]]:
    """The report of preparing the documents as a run will, and those to train on."""
    from trimllm.data.prepare import TRAIN, prepare  # brings `datasets` with it

    with tempfile.TemporaryDirectory() as folder:
        report = prepare(spec, folder, seed=0, limits=limits)
        return report, read_documents(Path(folder, f"{TRAIN}.jsonl"))


def lengths(folder: Path, documents: Sequence[Document]) -> tuple[list[int], list[int]]:
    """Tokens of some documents by the model's tokenizer: with all answers as a scan packs them, and
    with the right one as training does."""
    from trimllm.checkpoint.store import load_tokenizer
    from trimllm.score.encode import encode_document
    from trimllm.score.rows import Row

    tokenizer, packed, trained = load_tokenizer(folder), [], []
    for one in documents[:500]:
        prompt, answers = encode_document(tokenizer, one)
        packed.append(Row(tuple(prompt), tuple(map(tuple, answers))).length)
        trained.append(len(prompt) + len(answers[one.answer]) - 1)
    return packed, trained


def data_lines(
    data: Sequence[DataFile], report: Mapping[str, Any], trained: Sequence[int], name: str
) -> list[str]:
    """What the files hold, in lines."""
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
    if (words := report["tests"][name].get("bag_of_words")) is not None:
        lines.append(f"  a bag of words answers {words:.0f}% of the tests")
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
        found = plan.fitted(jobs, load(read_yaml(trial), [trial]), facts["train"], minutes)
    return [text(found.documents, output.parent), domain], found


def _inline(value: Any) -> str:
    """A value as YAML in a line."""
    flow = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
    return flow.removesuffix("\n").removesuffix("\n...")
