"""Prepare a domain: read, construct, split, check, write, report.

Splits are made in this order, and never one question in two of them: tests, documents held back (by
which choices between checkpoints are made), the pool of calibration documents, and for training all
that is left.

Which documents are tests or held back is drawn once for all seeds, so that answers under two seeds
can be paired by document. What is left is divided by the seed of the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data import bag_of_words
from trimllm.data.construct import Construction, Item
from trimllm.data.document import all_free, write_documents
from trimllm.data.rows import MAX_FAILED
from trimllm.data.sets import NAMED, Pool, read_set, read_task, within
from trimllm.data.split import take, turned

TRAIN, HELD_BACK, CALIBRATION = "train", "held_back", "calibration"
SHARES = {HELD_BACK: 0.1, CALIBRATION: 0.25}
"""At most so much of what the tests leave of a training set is set aside: a small domain must keep
documents to train on. (Of a set that nobody trains on, see `OWN_SHARES`.)"""
OWN_SHARES = {HELD_BACK: 0.25, CALIBRATION: 1.0}
FEWEST = {HELD_BACK: 4, CALIBRATION: 4, TRAIN: 8}
"""Documents of a split at least, where limits do not ask for fewer: of four, one is a quarter of a
score, and eight are a batch."""
FEWEST_TESTED = 4
Limits = Mapping[str, int | None]
Splits = dict[str, list[Item]]


def prepare(
    spec: Mapping[str, Any],
    directory: str | Path,
    *,
    seed: int,
    limits: Limits,
    constructions: Mapping[str, Construction] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write {train,calibration,held_back,tests/TASK}.jsonl and report.json of a domain.

    A domain without a training set is one to test on: it has tests and a report only.

    Args:
        spec: the domain as its YAML declares it, valid by its schema.
        directory: where the files go.
        seed: says which of the documents that are neither tests nor held back are calibrated on,
            and in what order the others are trained on. Tests and held-back documents are the same
            under every seed.
        limits: documents at most, for "test" (None: all), "held_back" and "calibration" (at most
            a share of the set, see `SHARES`). Training takes all that are left.
        constructions: further ones, by the name that `construct.kind` has for them.
        provenance: goes into the report as it is.

    Returns:
        The report: rows read, left out and why, sizes, class counts, hashes, construction in words,
        and the accuracy of a bag of words on each test, in %.

    Raises:
        UserError: a source is missing or corrupt, more than 5% of its rows do not parse, a
            calibration document is a test document, or too few documents are left. Nothing is
            written then.
    """
    name, directory = spec.get("label") or "unnamed", Path(directory)
    with within(f"domain {name}"):
        splits, report = _split(spec, constructions or {}, seed, limits)
    documents = {split: [item.document for item in items] for split, items in splits.items()}
    for task, test in report["tests"].items() if TRAIN in splits else ():
        test["bag_of_words"] = bag_of_words.accuracy(documents[TRAIN], documents[f"tests/{task}"])
    hashes = {}
    for split, part in documents.items():
        write_documents(directory / f"{split}.jsonl", part)
        hashes[f"{split}.jsonl"] = files.sha256_of(directory / f"{split}.jsonl")
    report |= {"domain": name, "seed": seed, "limits": dict(limits), "files": hashes}
    report |= {"stand_in": spec.get("stand_in"), "licence": spec.get("licence")}
    report |= {"provenance": dict(provenance)} if provenance else {}
    files.write_json(directory / "report.json", report)
    return report


def _split(
    spec: Mapping[str, Any], constructions: Mapping[str, Construction], seed: int, limits: Limits
) -> tuple[Splits, dict[str, Any]]:
    """Items by split, and what the report says of them."""
    pools: dict[str, Pool] = {}

    def pool(name: str) -> Pool:
        if name not in spec["sets"]:
            known = ", ".join(sorted(spec["sets"]))
            raise UserError(f"no set {name!r} of this domain (there are: {known})")
        if name not in pools:
            pools[name] = read_set(name, spec["sets"][name], constructions)
        return pools[name]

    splits: Splits = {}
    tests: dict[str, Pool] = {}
    train = pool(spec["train"]) if spec.get("train") else None
    calibration = pool(spec["calibration"]) if train and spec.get("calibration") else train
    for task, test in spec["tests"].items():
        one = pool(test["set"]) if "set" in test else read_task(test)
        one = pools.setdefault(one.name, one)
        sizes = [n for n in (limits.get("test"), test.get("documents")) if n is not None]
        earlier = [f"tests/{name}" for name, other in tests.items() if other is one]
        used = {item.group for name in earlier for item in splits[name]}
        splits[f"tests/{task}"] = take(one.groups, min(sizes, default=None), used)
        one.check(splits, f"tests/{task}", min([*sizes, FEWEST_TESTED]))
        tests[task] = one
    removed = 0
    if train and calibration:
        tested = [item for items in splits.values() for item in items]
        clean = _without_tests(train, calibration, tested, [*tests.values()])
        removed = len(train.items) - sum(map(len, clean))
        used = {item.group for item in tested}
        parts = _divided(clean, None if calibration is train else calibration, used, seed, limits)
        for name in FEWEST:
            of = train if name == TRAIN else calibration
            of.check(parts, name, _limited(limits, name, FEWEST[name]))
        splits = parts | splits
    for name, items in splits.items():
        if name != TRAIN:  # free answers may be trained on whatever the tests are
            all_free([item.document for item in items], name)
    words = {task: one.report["construction"] for task, one in tests.items()}
    return splits, {
        "sets": {name: one.report for name, one in pools.items()},
        "splits": {name: _summary(items) for name, items in splits.items()},
        "tests": {t: {"set": one.name, "construction": words[t]} for t, one in tests.items()},
        "train_documents_removed_as_test_documents": removed,
        "construction": "; ".join(dict.fromkeys(words.values())),
    }


def _without_tests(
    train: Pool, calibration: Pool, tested: Sequence[Item], tests: Sequence[Pool]
) -> list[list[Item]]:
    """Groups of the training set that hold no test document.

    A set that holds tests, too, is split instead: it shares no group with them.

    Raises:
        UserError: a calibration document is a test document, or many training documents are.
    """
    # Where answers are free or wrong choices drawn, the same prompt is the same question.
    items = [*tested, *train.items, *calibration.items]
    by_prompt = any(item.drawn or item.document.free for item in items)
    known = {item.content(by_prompt): item for item in tested}

    def leaks(pool: Pool, what: str, share: float, remedy: str) -> list[Item]:
        items = [] if pool in tests else pool.items
        leaked = [item for item in items if item.content(by_prompt) in known]
        if len(leaked) > share * len(items):
            pairs = [(one.where, known[one.content(by_prompt)].where) for one in leaked[:NAMED]]
            named = ", ".join(f"{here} is {there}" for here, there in pairs if here and there)
            raise UserError(
                f"{what}: {len(leaked)} of the {len(items)} documents of set {pool.name} are test "
                f"documents ({named}); {remedy}"
            )
        return leaked

    if calibration is not train:
        leaks(calibration, CALIBRATION, 0, "calibrate on training or validation data")
    leaked = leaks(train, TRAIN, MAX_FAILED, "take them out of one of the two")
    gone = {item.group for item in leaked}
    return [group for group in train.groups if group[0].group not in gone]


def _divided(
    clean: Sequence[list[Item]],
    calibration: Pool | None,
    used: set[str],
    seed: int,
    limits: Limits,
) -> Splits:
    """Documents to train on, to calibrate on and held back.

    Args:
        clean: the training set without test documents.
        calibration: the set to calibrate on, from which documents are held back as well; None
            takes a part of the training set.
        used: groups of the tests.
    """
    source, shares = (calibration.groups, OWN_SHARES) if calibration else (clean, SHARES)
    free = sum(len(group) for group in source if group[0].group not in used)
    size = {n: _limited(limits, n, max(FEWEST[n], int(shares[n] * free))) for n in shares}
    held_back = take(source, size[HELD_BACK], used)
    used = used | {item.group for item in held_back}
    calibrated = take(turned(source, seed, used), size[CALIBRATION], set())
    trained = take(turned(clean, seed, used), None, {item.group for item in calibrated})
    return {TRAIN: trained, HELD_BACK: held_back, CALIBRATION: calibrated}


def _limited(limits: Limits, name: str, size: int) -> int:
    limit = limits.get(name)
    return size if limit is None else min(limit, size)


def _summary(items: Sequence[Item]) -> dict[str, Any]:
    """Size of a split, and how often each answer index is right."""
    answers = Counter(item.document.answer for item in items)
    right = {str(index): answers[index] for index in sorted(answers)}
    return {"documents": len(items), "right_answers": right}
