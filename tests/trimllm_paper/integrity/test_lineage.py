"""Results are this run's own, or told apart by what they carry: configuration, model, documents."""

import os
from pathlib import Path

import pytest

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.integrity import checks, lineage
from trimllm_paper.integrity.lineage import Job, config_hash, foreign_replicate
from trimllm_paper.records import SEAL, sealed

ANOTHER = "was made by another configuration or code"


def never(path: str, params: str) -> bool:
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
    inputs = {"manifest": str(manifest), "tests": [str(report)]}
    inputs["base"] = f"{folder}/base/manifest.json"
    job = Job([f"{folder}/eval/a.json"], inputs, {"seed": seed, "each": [{"seed": seed}]})
    made = {"config_hash": job.config_hash, "seed": seed, "data_hashes": {"train.jsonl": str(seed)}}
    made["manifest_sha256"] = files.sha256_of(manifest)
    files.write_json(job.outputs[0], {"provenance": made})
    return job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return write(tmp_path / "own", 0)


def why(job: Job) -> str:
    """Why its output is not its own."""
    problem = lineage.foreign(job, never) or ""
    return problem.removeprefix(f"{job.outputs[0]} ").partition(";")[0]


def rewrite(path: Path, content: object) -> None:
    """Another file, which was there before any result."""
    files.write_json(path, content)
    os.utime(path, (1, 1))


def test_another_configuration_is_noticed(job: Job) -> None:
    assert why(job) == ""
    assert why(Job([f"{job.outputs[0]}.absent"], job.inputs, {"seed": 5})) == ""
    assert why(Job(job.outputs, job.inputs, {"seed": 1})) == ANOTHER


def test_another_checkpoint_and_other_documents_are_noticed(job: Job, tmp_path: Path) -> None:
    manifest, report = tmp_path / "own/m/manifest.json", tmp_path / "own/data/report.json"
    rewrite(report, report_of("2"))
    assert why(job) == f"was made from other documents than {report.parent}"
    rewrite(manifest, {"files": {"model.safetensors": {}}})
    assert why(job) == f"was made from another checkpoint than {manifest.parent}"
    # An epoch's checkpoint goes when it was evaluated; what was made from it stays good.
    manifest.unlink()
    rewrite(report, report_of("0"))
    assert why(job) == ""


def test_a_replicate_differs_by_its_seed_alone(job: Job, tmp_path: Path) -> None:
    write(tmp_path / "other", 1)
    (tmp_path / "empty").mkdir()
    own, folders = str(tmp_path / "own"), [str(tmp_path / "empty"), str(tmp_path / "other")]
    assert foreign_replicate(job, own, folders) is None
    changed = Job(job.outputs, job.inputs, job.params | {"documents": 9})
    problem = foreign_replicate(changed, own, folders) or ""
    assert problem.startswith(f"{tmp_path}/other/eval/a.json {ANOTHER} than this run's")


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
    assert [why(job) for job in jobs] == [ANOTHER] * 2
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
    # An earlier manifest of other weights vouches for nothing.
    files.write_text(folder / "model.safetensors", "others")
    files.write_manifest(folder, made["provenance"])
    os.utime(outputs[1], ns=(times[1], times[1]))
    assert why(evaluation) == f"was made from another checkpoint than {folder}"
    files.write_json(folder / "config.json", {})
    with pytest.raises(UserError, match="is not in the manifest"):
        checks.verify_folder(folder)
