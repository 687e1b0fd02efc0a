"""One run of every kind of job: what it leaves, what reruns what, what is refused."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from runs import ROOT, complaint, counts, made, planned, snakemake

from trimllm.base import files
from trimllm_paper import records

pytestmark = pytest.mark.slow
MODELS, EVAL = "results/models/tiny/lexglue", "results/eval/tiny/lexglue"
TABLE2 = {"render_table": 1, "table2": 1}


def change_last_byte(path: Path) -> None:
    """Change a file, which keeps its size and its time."""
    times = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


# ---- what is there -------------------------------------------------------------------------------


def test_evaluations_name_what_was_trained_and_what_was_tested(finished: Path) -> None:
    found = [(path, records.Evaluation.read(path)) for path in (finished / EVAL).rglob("*.json")]
    assert {one.tested for _, one in found} == {"lexglue", "legalbench"}
    for path, one in found:
        assert one.n == len(one.correct) == 8 and one.acc == 100 * sum(one.correct) / 8
        assert one.units_kept == 12 - int(path.parent.name[5:] if "drop_" in str(path) else 0)
        assert one.domain == "lexglue" and one.provenance["data_hashes"]
        assert one.tested == {"sums": "lexglue", "differences": "legalbench"}[path.stem]


def test_a_cell_of_a_table_is_what_was_measured(finished: Path) -> None:
    tables = finished / "results/tables"
    assert {path.suffix for path in tables.glob("table2.*")} == {".csv", ".md", ".tex"}
    with (tables / "table2.csv").open(encoding="utf-8") as stream:
        cells = {(c["row"], c["column"]): c for c in csv.DictReader(stream) if c["block"] == "tiny"}
    cell = cells["full_ft", "lexglue"]
    source = files.read_json(finished / cell["sources"])
    assert float(cell["value"]) == pytest.approx(source["acc"])


def test_only_evaluated_checkpoints_keep_their_weights(finished: Path) -> None:
    for chain in ("trim_paper", "trim_ours"):
        folder = finished / MODELS / chain
        kept = {path.parent.name for path in folder.rglob("model.safetensors")}
        assert kept == {"drop_06"}
        assert {path.parent.name for path in folder.rglob("epoch.json")} == {"state_00", "state_06"}


def test_records_hold_every_epoch(finished: Path) -> None:
    paths = sorted((finished / MODELS / "trim_paper").rglob("epoch.json"))
    epochs = [records.Epoch.read(path) for path in paths]
    assert [(one.epoch, one.units_left) for one in epochs] == [(0, 12), (1, 6)]
    assert len({tuple(unit) for unit in epochs[1].units_dropped}) == 6
    # ceil(6 / 4) blocks, chosen once.
    assert {tuple(one.trainable_blocks) for one in epochs} == {tuple(epochs[0].trainable_blocks)}
    assert len(epochs[0].trainable_blocks) == 2


def test_a_dropping_by_rule_is_trained_as_long_as_a_chain(finished: Path) -> None:
    folder = finished / MODELS / "trim_bottom/drop_06"
    record = records.Training.read(folder / "training.json")
    assert record.units_dropped == [(b, k) for b in range(3) for k in ("attention", "mlp")]
    assert len(record.passes) == 2 and len(record.trainable_blocks) == 2
    assert min(record.trainable_blocks) >= 3
    assert not (folder / "model.safetensors").exists()  # its weights were needed once


# ---- what reruns what ----------------------------------------------------------------------------


def replanned(directory: Path, *targets: str, **changes: Any) -> dict[str, int]:
    """Jobs that a run with changed keys would have."""
    options = {"configfile": directory / "config.yaml"}
    options |= {key: json.dumps(value) for key, value in changes.items()}
    return planned(directory, *(targets or ("table2",)), "--nolock", **options)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"compute": {"device": "cpu", "threads": 2, "processes": 2}}, {}),
        ({"evaluate": {"documents": 8, "batch_tokens": 1024}}, {"evaluate_lexglue": 6} | TABLE2),
        (
            {"models": {"tiny": {"learning_rate": 1e-4}}},
            {"full_ft": 1, "sparse_ft": 1, "trim_epoch": 4, "settle_kept": 2, "teach": 1}
            | {"compress": 1, "evaluate_lexglue": 5}
            | TABLE2,
        ),
    ],
    ids=["compute", "batch_tokens", "learning rate"],
)
def test_a_change_reruns_what_it_touches(
    finished: Path, changes: dict[str, Any], expected: dict[str, int]
) -> None:
    assert replanned(finished, **changes) == expected


def test_files_that_change_rerun_what_is_made_of_them(copy: Path) -> None:
    """Own data that was edited, an evaluation that was lost, and another model in its folder."""
    lost = copy / EVAL / "trim_ours/drop_06/sums.json"
    lost.unlink()
    assert replanned(copy, "evaluations") == {"evaluate_lexglue": 1, "evaluations": 1}
    with (copy / "sums.jsonl").open("a") as stream:
        stream.write('{"q": "What is 500 and one?", "c": ["501", "502"], "a": 0}\n')
    change_last_byte(copy / "source/model.safetensors")
    jobs = replanned(copy)
    assert jobs["prepare_lexglue"] == jobs["full_ft"] == jobs["fetch_model"] == 1


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("src/trimllm/select.py", {"trim_epoch": 4, "evaluate_lexglue": 5}),
        ("workflow/scripts/evaluate.py", {"evaluate_lexglue": 6}),
        ("README.md", {}),
    ],
)
def test_a_changed_line_of_code_reruns_its_jobs(
    finished: Path, tmp_path: Path, file: str, jobs: dict[str, int]
) -> None:
    """And no others, however new the files of the code are."""
    code = tmp_path / "code"
    for name in ("src", "workflow", "config"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("Snakefile", "README.md"):
        shutil.copy(ROOT / name, code)
    with (code / file).open("a") as stream:
        stream.write("\nADDED = 1\n")
    for script in (code / "workflow").rglob("*.*"):  # as in a fresh clone
        script.touch()
    words = ("-n", "table2", "--nolock", "--snakefile", str(code / "Snakefile"))
    path = {"PYTHONPATH": f"{code / 'src'}"}
    found = counts(made(finished, *words, configfile=finished / "config.yaml", extra=path))
    rules = ("trim_epoch", "evaluate_lexglue")
    assert {rule: found[rule] for rule in rules if rule in found} == jobs


# ---- what is refused -----------------------------------------------------------------------------


def test_changed_checkpoints_and_scans_are_refused(copy: Path) -> None:
    """Of the scan the scores are turned round: training would take other blocks."""
    change_last_byte(copy / MODELS / "full_ft/model.safetensors")
    scan, target = copy / "results/scans/tiny/lexglue.json", copy / EVAL / "full_ft/sums.json"
    content = files.read_json(scan)
    rows = content["scan"]["units"]
    turned = [row | {"block": rows[-1]["block"] - row["block"]} for row in rows]
    files.write_json(scan, content | {"scan": content["scan"] | {"units": turned}})
    target.unlink()
    shutil.rmtree(copy / MODELS / "sparse_ft")
    options = {"configfile": copy / "config.yaml"}
    training = f"{MODELS}/sparse_ft/training.json"
    run = snakemake(copy, "evaluations", training, "--keep-going", **options)
    lines = [line for line in run.stderr.splitlines() if "error: " in line]
    assert run.returncode and "Traceback" not in run.stderr
    assert any("model.safetensors was changed" in line for line in lines)
    assert any("results/scans/tiny/lexglue.json was changed" in line for line in lines)
    assert not target.exists() and not (copy / training).exists()


def test_results_of_another_configuration_are_refused_or_accepted(copy: Path) -> None:
    """Where Snakemake has no notes on them; other rules are forced over them, and after `--touch`
    each says what made it."""
    shutil.rmtree(copy / ".snakemake")
    options = {"configfile": copy / "config.yaml", "finetune": json.dumps({"epochs": 2})}
    line = complaint(snakemake(copy, "-n", "table2", "-R", "full_ft_choices", **options))
    assert f"{MODELS}/full_ft/manifest.json was made by another configuration or code" in line
    target = f"{MODELS}/full_ft/training.json"
    assert "fine-tune tiny" in made(copy, "-n", target, "-R", "full_ft", **options)
    before = files.read_json(copy / target)
    made(copy, target, "--touch", **options)
    accepted = files.read_json(copy / target)
    assert accepted["provenance"]["accepted"] == [before["provenance"]["config_hash"]]
    assert accepted["passes"] == before["passes"]
    assert "Nothing to be done" in made(copy, target, **options)


# ---- locale and shell ----------------------------------------------------------------------------


def test_the_locale_c_and_hostile_labels(project: Path) -> None:
    """Letters beyond ASCII survive, and no text of the configuration reaches a shell."""
    report = "results/data/lexglue/report.json"
    path = project / "domains/lexglue.yaml"
    path.write_text(path.read_text().replace("label: sums", "label: Σ, naïve"), encoding="utf-8")
    with (project / "sums.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"q": "Où est le café?", "c": ["là", "ici"], "a": 0}\n')
    models = json.dumps({"tiny": {"label": "$(touch hacked) `touch hacked`; touch hacked"}})
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    made(project, report, extra=ascii_alone, models=models, configfile="config.yaml")
    text = "".join(one.read_text("utf-8") for one in (project / report).parent.rglob("*.jsonl"))
    assert "Où est le café?" in text or "O\\u00f9 est le caf\\u00e9?" in text
    assert not list(project.rglob("hacked"))
