"""Results are this run's own, or told apart by what they carry: configuration, model, documents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.integrity import checks, lineage
from trimllm_paper.integrity.lineage import Job, Replicates
from trimllm_paper.integrity.provenance import config_hash
from trimllm_paper.records import SEAL, sealed


def never(path: str, wanted: str) -> bool:
    """Snakemake has no notes."""
    return False


def report_of(sha256: str) -> dict[str, object]:
    """The report of a prepared domain whose training documents have this hash."""
    return {"domain": "SciQ", "files": {"train.jsonl": sha256}, "splits": {}}


def write(folder: Path, seed: int) -> Job:
    """A folder of results: an evaluation of a checkpoint on prepared documents; its job."""
    manifest, report = folder / "m/manifest.json", folder / "data/report.json"
    files.write_json(manifest, {"files": {"weights": seed}})
    files.write_json(report, report_of(str(seed)))
    # The pretrained model's manifest stands behind the one that was read.
    files.write_json(folder / "base/manifest.json", {"files": {"other": {}}})
    job = Job(
        [f"{folder}/eval/a.json"],
        {"manifest": str(manifest), "tests": [str(report)], "base": f"{folder}/base/manifest.json"},
        {"seed": seed},
    )
    made = {"config_hash": job.config_hash, "seed": seed, "data_hashes": {"train.jsonl": str(seed)}}
    made["manifest_sha256"] = files.sha256_of(manifest)
    files.write_json(job.outputs[0], {"provenance": made})
    return job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return write(tmp_path / "own", 0)


def why(job: Job) -> str:
    """Why its output is not its own, in words."""
    return (lineage.foreign(job, never) or ("", ""))[1]


def make_older(path: str | Path) -> None:
    """A file that was there before any result."""
    os.utime(path, (1, 1))


def test_what_a_job_made_is_its_own(job: Job) -> None:
    assert lineage.foreign(job, never) is None
    nothing = Job([f"{job.outputs[0]}.absent"], job.inputs, {"seed": 5})
    assert lineage.foreign(nothing, never) is None


def test_another_configuration_is_noticed(job: Job) -> None:
    other = Job(job.outputs, job.inputs, {"seed": 1})
    assert lineage.foreign(other, never) == (job.outputs[0], lineage.ANOTHER)


def test_another_checkpoint_and_other_documents_are_noticed(job: Job, tmp_path: Path) -> None:
    manifest, report = tmp_path / "own/m/manifest.json", tmp_path / "own/data/report.json"
    files.write_json(report, report_of("2"))
    make_older(report)
    assert why(job) == f"was made from other documents than {report.parent}"
    files.write_json(manifest, {"files": {"model.safetensors": {}}})
    make_older(manifest)
    assert why(job) == f"was made from another checkpoint than {manifest.parent}"
    # An epoch's checkpoint goes when it was evaluated; what was made from it stays good.
    manifest.unlink()
    files.write_json(report, report_of("0"))
    make_older(report)
    assert why(job) == ""


def test_what_snakemake_makes_anew_is_passed_over(job: Job) -> None:
    other = Job(job.outputs, job.inputs, {"seed": 1})
    asked = []

    def noted(path: str, wanted: str) -> bool:
        asked.append((path, wanted))
        return True

    assert lineage.foreign(other, noted) is None
    assert asked == [(job.outputs[0], other.config_hash)]
    make_older(job.outputs[0])
    assert lineage.foreign(other, never) is None


def test_what_carries_nothing_is_taken(job: Job) -> None:
    """A file of another kind, or of somebody who had no configuration."""
    other = Job(job.outputs, job.inputs, {"seed": 1})
    for text in ('{"provenance": {}}', "[1]", "no JSON"):
        Path(job.outputs[0]).write_text(text)
        assert lineage.foreign(other, never) is None


# ---- replicates ----------------------------------------------------------------------------------


def test_inputs_of_another_seed_are_its_own(job: Job, tmp_path: Path) -> None:
    """Its evaluation was made from its checkpoint and its documents, not from this run's."""
    other = tmp_path / "other"
    write(other, 1)
    replicates = Replicates(str(tmp_path / "own"), 0, [str(other)])
    assert replicates.clash() is None and replicates.foreign(job) is None
    files.write_json(other / "data/report.json", report_of("2"))
    found = f"{other}/eval/a.json", f"was made from other documents than {other}/data"
    assert replicates.foreign(job) == found
    files.write_json(other / "m/manifest.json", {"files": {}})
    assert "another checkpoint" in (replicates.foreign(job) or ("", ""))[1]
    assert lineage.foreign(job, never) is None
    # What lies outside of the results has no counterpart.
    assert replicates.foreign(Job(["elsewhere/figure.json"], job.inputs, job.params)) is None


def test_a_replicate_of_another_configuration(job: Job, tmp_path: Path) -> None:
    write(tmp_path / "other", 1)
    replicates = Replicates(str(tmp_path / "own"), 0, [str(tmp_path / "other")])
    path, problem = replicates.foreign(Job(job.outputs, job.inputs, job.params | {"documents": 9}))
    assert path == f"{tmp_path}/other/eval/a.json"
    assert problem == f"{lineage.ANOTHER} than this run's with only the seed changed"


def test_a_seed_counts_once(job: Job, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        write(tmp_path / name, seed)
    (tmp_path / "empty").mkdir()
    own = str(tmp_path / "own")

    def clash(*names: str) -> lineage.Problem | None:
        return Replicates(own, 0, [f"{tmp_path}/{name}" for name in names]).clash()

    assert clash("one", "three", "empty") is None
    said = f"holds results of seed 1, and so does {tmp_path}/one"
    assert clash("one", "two") == (f"{tmp_path}/two", said)
    assert clash("own") is None


KEYS = st.sampled_from(["a", "b", "seeds", "reseed"])
SEED = object()
"""Where the settings have the seed."""
SETTINGS = st.recursive(
    st.integers() | st.text(max_size=3) | st.none() | st.booleans(),
    lambda inner: st.builds(
        lambda content, seeded: content | ({"seed": SEED} if seeded else {}),
        st.dictionaries(KEYS, inner | st.lists(inner, max_size=2), max_size=3),
        st.booleans(),
    ),
    max_leaves=12,
)


def under(seed: int, settings: object) -> object:
    """Settings of a run under a seed."""
    if settings is SEED:
        return seed
    if isinstance(settings, dict):
        return {key: under(seed, value) for key, value in settings.items()}
    return [under(seed, one) for one in settings] if isinstance(settings, list) else settings


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, SETTINGS), st.integers(), st.integers())
def test_settings_of_another_seed_are_those_that_its_run_has(
    content: dict, one: int, other: int
) -> None:
    found = lineage.with_seed(under(one, content), other)
    assert config_hash(found) == config_hash(under(other, content))


def test_accepted_results_carry_both_hashes_and_are_verified(tmp_path: Path) -> None:
    """A checkpoint with its record, made by other code, and an evaluation that names it."""
    folder = tmp_path / "m/full_ft"
    old, new = ({"code": name} for name in ("old", "new"))
    made = {"provenance": {"config_hash": config_hash(old)}}
    files.write_json(folder / "training.json", sealed({"loss": 1, **made}))
    files.write_text(folder / "model.safetensors", "weights")
    files.write_manifest(folder, made["provenance"])
    outputs = [str(folder / name) for name in ("training.json", "manifest.json")]
    named = {"provenance": {**made["provenance"], "manifest_sha256": files.sha256_of(outputs[1])}}
    files.write_json(tmp_path / "eval.json", sealed({"acc": 1, **named}))
    times = [os.stat(path).st_mtime_ns for path in outputs]
    evaluation = Job([str(tmp_path / "eval.json")], {"manifest": outputs[1]}, new)
    jobs = [Job(outputs, {}, new), evaluation]
    assert [why(job) for job in jobs] == [lineage.ANOTHER] * 2
    for _ in range(2):  # accepting again changes nothing
        for job in jobs:
            lineage.accept(job)
        assert [why(job) for job in jobs] == ["", ""]
        assert [os.stat(path).st_mtime_ns for path in outputs] == times
    checks.verify_folder(folder)
    for path in (*outputs, *evaluation.outputs):
        content = files.read_json(path)
        assert content["provenance"]["accepted"] == [config_hash(old)]
        assert SEAL not in content or sealed(content) == content
    files.write_json(folder / "config.json", {})
    with pytest.raises(UserError, match="is not in the manifest"):
        checks.verify_folder(folder)
