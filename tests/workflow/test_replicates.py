"""Results under other seeds are pooled only if nothing but the seed sets them apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import ROOT, command, environment, snakemake

from trimllm.base import files
from trimllm_paper.integrity import lineage
from trimllm_paper.integrity.provenance import config_hash

TINY = ROOT / "config" / "tables.smoke.yaml"
FOLDER = "results/seed_1"
TABLES = ("table6", "table9")
# Instead of a check, an empty result of every job: with the hash of its parameters and, where the
# job writes it, the seed.
STAND_INS = """
import sys
from pathlib import Path
sys.path.insert(0, "workflow/lib")
from trimllm_paper.integrity import lineage
from trimllm.base import files
from trimllm_paper.integrity.provenance import config_hash

def write(jobs, results, replicates, seed):
    for job in jobs:
        made = {"config_hash": config_hash(dict(job.params.items()))}
        for path in map(str, job.output):
            if Path(path).name not in ("epoch.json", "training.json", "report.json"):
                made["seed"] = seed
            if path.endswith(".json"):
                files.write_json(path, {"files": {}, "provenance": made})
    for job in jobs:
        if "/records/" in str(job.output[0]):
            files.write_jsonl(job.output[0], map(files.read_json, job.input))
    sys.exit(0)

lineage.foreign_replicate = write
from snakemake.cli import main
main(sys.argv[1:])
""".replace("workflow/lib", str(ROOT / "workflow/lib"))


@pytest.fixture(scope="module")
def seed_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run under seed 1, as `make seeds` makes it."""
    directory = tmp_path_factory.mktemp("seeds")
    words = command(directory, "-n", *TABLES, configfile=TINY, seed=1, results=FOLDER)
    made = subprocess.run(
        [sys.executable, "-c", STAND_INS, *words[3:]],
        **{"cwd": directory, "env": environment(), "capture_output": True, "text": True},
    )
    assert made.returncode == 0, made.stderr
    assert len(list((directory / FOLDER).rglob("*.json"))) > 20
    return directory / FOLDER


@pytest.fixture
def other_seed(tmp_path: Path, seed_1: Path) -> Path:
    """A folder with them."""
    shutil.copytree(seed_1, tmp_path / FOLDER)
    return tmp_path


def planned(directory: Path, **config: object) -> subprocess.CompletedProcess[str]:
    given = {key: json.dumps(value) for key, value in config.items()}
    given = {"seed": 0, "replicates": json.dumps([FOLDER])} | given
    return snakemake(directory, "-n", *TABLES, configfile=TINY, **given)


def complaint(run: subprocess.CompletedProcess[str]) -> str:
    """The only line that complains."""
    assert run.returncode != 0 and "Traceback" not in run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    return line


def test_what_another_seed_made_is_pooled(other_seed: Path) -> None:
    run = planned(other_seed)
    assert run.returncode == 0, run.stderr
    assert "table6" in run.stdout + run.stderr


@pytest.mark.parametrize(
    "config, file",
    [
        # As many are prepared, too.
        ({"finetune": {"documents": 9}}, "data/lexglue/report.json"),
        ({"finetune": {"epochs": 2}}, "models/smollm2-135m/lexglue/"),
        ({"finetune": {"weight_decay": 0.5}}, "models/smollm2-135m/lexglue/"),
        ({"models": {"smollm2-135m": {"learning_rate": 1e-3}}}, "models/smollm2-135m/lexglue/"),
        ({"evaluate": {"documents": 9}}, "data/lexglue/report.json"),
        ({"evaluate": {"batch_tokens": 99}}, "eval/smollm2-135m/lexglue/"),
    ],
    ids=str,
)
def test_what_another_configuration_made_is_refused(
    other_seed: Path, config: dict[str, object], file: str
) -> None:
    line = complaint(planned(other_seed, **config))
    assert f"error: {FOLDER}/{file}" in line
    assert "another configuration or code than this run's with only the seed changed" in line
    assert "take its folder out of `replicates`" in line and "make seeds" in line


def test_a_seed_counts_once(other_seed: Path) -> None:
    line = complaint(planned(other_seed, seed=1))
    assert f"error: {FOLDER} holds results of seed 1, and so does results;" in line


def test_the_line_of_another_chain_is_noticed(other_seed: Path) -> None:
    """What Table 9 pools are gathered records, whose checkpoints may be gone."""
    path = next((other_seed / FOLDER / "records").rglob("*.jsonl"))
    lines = files.read_jsonl(path)
    files.write_jsonl(path, [lines[1], lines[1]])
    assert f"error: {path.relative_to(other_seed)} was made by" in complaint(planned(other_seed))
    path.write_text("{\n")
    assert f"{path.relative_to(other_seed)}, line 1 is not JSON" in complaint(planned(other_seed))


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


@given(st.dictionaries(KEYS, SETTINGS), st.integers(), st.integers())
def test_settings_of_another_seed_are_those_that_its_run_has(
    settings: dict, one: int, other: int
) -> None:
    found = lineage.with_seed(under(one, settings), other)
    assert config_hash(found) == config_hash(under(other, settings))


class Job:
    """What `lineage` looks at: the paths and parameters of a job of the DAG."""

    def __init__(self, output: list[str], inputs: list[str], **params: object) -> None:
        self.output, self.input, self.params = output, inputs, params


def test_every_line_of_a_run_must_be_of_its_epoch(tmp_path: Path) -> None:
    epochs = [Job([f"{tmp_path}/{n}/epoch.json"], [], epoch=n) for n in (0, 1)]
    path = tmp_path / "records/m/d/run.jsonl"
    record = Job([str(path)], [job.output[0] for job in epochs])
    made = [{"provenance": {"config_hash": config_hash({"epoch": n})}} for n in (0, 1)]
    files.write_jsonl(path, made)
    assert lineage.foreign([record, *epochs]) is None
    files.write_jsonl(path, made[::-1])
    found = lineage.foreign([record, *epochs])
    assert found == (str(path), "was made by another configuration or code")


def test_inputs_of_another_seed_are_its_own(tmp_path: Path) -> None:
    """Its evaluation was made from its checkpoint and its documents, not from this run's."""
    own, other = tmp_path / "own", tmp_path / "other"
    for seed, root in enumerate((own, other)):
        files.write_json(root / "m/manifest.json", {"files": {"weights": seed}})
        files.write_json(root / "data/report.json", {"files": {"train.jsonl": str(seed)}})
        made = {"config_hash": config_hash({"seed": seed}), "seed": seed}
        made["manifest_sha256"] = files.sha256_of(root / "m/manifest.json")
        made["data_hashes"] = {"train.jsonl": str(seed)}
        files.write_json(root / "eval.json", {"provenance": made})
    inputs = [f"{own}/m/manifest.json", f"{own}/data/report.json"]
    job = Job([f"{own}/eval.json", "elsewhere/figure.json"], inputs, seed=0)
    table = Job([f"{own}/table.csv"], [f"{own}/eval.json", f"{other}/eval.json"])

    def found(*jobs: Job) -> tuple[str, str] | None:
        return lineage.foreign_replicate(jobs or [job, table], str(own), [str(other)], 0)

    assert found() is None and lineage.foreign([job]) is None
    files.write_json(other / "data/report.json", {"files": {"train.jsonl": "2"}})
    path, why = found() or ("", "")
    assert (
        path == f"{other}/eval.json" and why == f"was made from other documents than {other}/data"
    )
    files.write_json(other / "m/manifest.json", {"files": {}})
    assert "another checkpoint" in (found() or ("", ""))[1]
    assert lineage.foreign([job, table]) is None
    # What nobody reads beside this run's own is not looked at.
    assert found(job) is None
