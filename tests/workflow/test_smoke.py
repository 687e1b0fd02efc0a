"""The whole DAG on the real model: what it makes, and that it can be cut and resumed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import CUT, MODEL, RUN, SMOKE, command, environment, snakemake
from shrunk import shrunk

from trimllm.checkpoint import load_tokenizer
from trimllm.compress.proof import answered, fresh_loss, scored_rows
from trimllm.data import read_documents
from trimllm_paper import records
from trimllm_paper.__main__ import main

pytestmark = pytest.mark.slow
KEPT, STATES = ("drop_30", "drop_45"), ("state_00", "state_15", "state_30", "state_45")


def weights_sha256(directory: Path, recipe: str) -> str:
    manifest = json.loads((directory / MODEL / "sciq" / recipe / "manifest.json").read_text())
    return manifest["files"]["model.safetensors"]["sha256"]


def test_no_network_after_the_fetch(smoke: Path) -> None:
    """The smoke run went through without one; here is what that means."""
    if not CUT:
        pytest.skip("this system does not let a process be cut off from the network (unshare)")
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    run = subprocess.run([*CUT, sys.executable, "-c", probe], capture_output=True, text=True)
    assert "Network is unreachable" in run.stderr
    assert (smoke / "results/tables/table2.md").is_file()


def test_table_holds_measured_and_published_numbers(smoke: Path) -> None:
    tables = smoke / "results/tables"
    assert {path.suffix for path in tables.iterdir()} == {".csv", ".md", ".tex"}
    rows = list(csv.DictReader((tables / "table2.csv").open(encoding="utf-8")))
    text = (tables / "table2.md").read_text()
    assert rows and "89.7" in text and "Stand-in" in text and "not run" in text
    folder = smoke / "results/eval/smollm2-135m/sciq"
    for path in sorted(folder.rglob("*.json")):
        found = json.loads(path.read_text())
        assert found["n"] == len(found["correct"]) == 8
        assert found["acc"] == pytest.approx(100 * sum(found["correct"]) / 8)
        assert found["provenance"]["data_hashes"] and found["provenance"]["config_hash"]
        kept = 60 - int(path.parent.name[5:]) if path.parent.name.startswith("drop_") else 60
        assert (found["units_kept"], found["units_total"]) == (kept, 60)
    assert len(list(folder.rglob("*.json"))) == 7


def test_compressed_checkpoints_prove_themselves(smoke: Path, tmp_path: Path) -> None:
    for method in ("llm_pruner", "gptq_int4"):
        folder = smoke / MODEL / "sciq" / f"full_ft+{method}"
        record = json.loads((folder / "compression.json").read_text())
        loss = record["loss"]
        assert loss["compressed"] <= loss["yardstick"] + record["margin"], method
        assert record["bytes"]["total"] < 0.65 * record["bytes_dense"]["total"]
    # On documents that were held back: their loss is the one on record.
    documents = read_documents(smoke / "results/data/sciq/held_back.jsonl")
    tokenizer = load_tokenizer(folder)
    pairs = answered(tokenizer, documents, record["held_back_texts"])
    rows = scored_rows(tokenizer, pairs, 512)
    assert len(pairs) == 8
    assert fresh_loss(folder, rows, "cpu", 1) == pytest.approx(loss["compressed"])


def test_only_evaluated_checkpoints_keep_their_weights(smoke: Path) -> None:
    chain = smoke / MODEL / "sciq" / RUN
    for name in KEPT:
        assert (chain / name / "model.safetensors").is_file()
        assert (chain / name / "training.json").is_file()
    assert {path.name for path in chain.iterdir()} == {*KEPT, *STATES}
    for name in STATES:
        assert not (chain / name / "model.safetensors").exists()
        assert not (chain / name / "manifest.json").exists()
        assert (chain / name / "epoch.json").is_file()


def test_records_hold_every_epoch(smoke: Path) -> None:
    chain = smoke / MODEL / "sciq" / RUN
    epochs = [records.Epoch.read(path) for path in sorted(chain.glob("*/epoch.json"))]
    assert [one.epoch for one in epochs] == [0, 1, 2, 3]
    assert [one.units_left for one in epochs] == [60, 45, 30, 15]
    assert {(one.criterion, one.ratio, one.step) for one in epochs} == {("both", 0.25, 15)}
    dropped = [unit for one in epochs for unit in one.units_dropped]
    assert len(dropped) == len(set(dropped)) == 45
    # ceil(30 / 4) blocks, chosen once.
    assert {len(one.trainable_blocks) for one in epochs} == {8}
    assert len({tuple(one.trainable_blocks) for one in epochs}) == 1
    assert all(one.seconds.scan > 0 for one in epochs[1:]) and epochs[0].seconds.scan == 0


def test_logs_and_summary(smoke: Path) -> None:
    log = (smoke / "logs/trim_epoch/smollm2-135m/sciq" / RUN / "drop_15.log").read_text()
    assert "documents/s" in log and "loss" in log


def test_a_second_run_does_nothing(smoke: Path) -> None:
    run = snakemake(smoke, "table2")
    assert run.returncode == 0 and "Nothing to be done" in run.stdout + run.stderr


def test_a_chain_that_was_killed_ends_in_the_same_bytes(smoke: Path, tmp_path: Path) -> None:
    """Kill everything during an epoch, resume, compare with the uncut chain of the smoke run."""
    for part in ("results/data", "results/scans", f"{MODEL}/base"):
        shutil.copytree(smoke / part, tmp_path / part)
    target, chain = f"{MODEL}/sciq/{RUN}/drop_45/manifest.json", tmp_path / MODEL / "sciq" / RUN
    with (tmp_path / "cut.log").open("w") as log:
        cut = subprocess.Popen(
            command(tmp_path, target),
            cwd=tmp_path,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        end = time.monotonic() + 300
        # An epoch is over for Snakemake when it has removed the weights that the epoch came from.
        while (
            not (chain / "state_15/manifest.json").exists()
            or (chain / "state_00/model.safetensors").exists()
        ):
            assert cut.poll() is None and time.monotonic() < end, (tmp_path / "cut.log").read_text()
            time.sleep(0.2)
        time.sleep(3)  # into the next epoch
        os.killpg(cut.pid, signal.SIGKILL)
        cut.wait()
    assert not (chain / "drop_45").exists()
    assert snakemake(tmp_path, target, "--unlock").returncode == 0
    resumed = snakemake(tmp_path, target)
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    # Epochs that were finished are not done again.
    assert "to 15 units dropped" not in resumed.stderr
    assert "to 45 units dropped" in resumed.stderr
    assert weights_sha256(tmp_path, f"{RUN}/drop_45") == weights_sha256(smoke, f"{RUN}/drop_45")


def test_a_changed_checkpoint_is_refused(smoke: Path, tmp_path: Path) -> None:
    """A file edited by hand after it was written is noticed before it is used."""
    shutil.copytree(smoke / "results/data", tmp_path / "results/data")
    full_ft = tmp_path / MODEL / "sciq/full_ft"
    shutil.copytree(smoke / MODEL / "base", tmp_path / MODEL / "base")
    shutil.copytree(smoke / MODEL / "sciq/full_ft", full_ft)
    with (full_ft / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    target = "results/eval/smollm2-135m/sciq/full_ft/science_answers.json"
    run = snakemake(tmp_path, target)
    assert run.returncode != 0 and not (tmp_path / target).exists()
    complaints = [line for line in run.stderr.splitlines() if "error: " in line]
    assert len(complaints) == 1 and "model.safetensors was changed" in complaints[0]


@pytest.mark.parametrize("is_real", [False, pytest.param(True, marks=pytest.mark.long)])
def test_all_makes_every_table_figure_and_claim(smoke: Path, tmp_path: Path, is_real: bool) -> None:
    directory, options = (smoke, {}) if is_real else (tmp_path, {})
    if not is_real:  # a random model has little to lose that four bits would keep
        compress = {"methods": ["llm_int8"]}
        options["configfile"] = shrunk(SMOKE, tmp_path, compress=compress)
    run = snakemake(directory, "all", **options)
    assert run.returncode == 0, run.stderr[-4000:]
    folder, tables = directory / "paper_figures", directory / "results/tables"
    assert len(list(folder.glob("figure[1-4]_smollm2-135m.png"))) == 4
    assert {path.stem for path in tables.glob("*.md")} == {f"table{n}" for n in range(1, 10)}
    assert (folder / "claims.md").read_text(encoding="utf-8").startswith("# The paper's claims")
    lines = csv.DictReader((folder / "claims.csv").open(encoding="utf-8"))
    verdicts = {one["claim"]: one["verdict"] for one in lines if one["recipe"] == "paper"}
    # Measured on one domain that stands in for another: nothing can be the paper's own number.
    assert "reproduced" not in verdicts.values()
    # A mean over one domain, or one chain, has no interval.
    assert verdicts["training_time"] == verdicts["mlp_more_than_attention"] == "undecided"
    # A Full-FT that answers nothing, as one of random weights may, has nothing to lose.
    rows = list(csv.DictReader((tables / "table2.csv").open(encoding="utf-8")))
    place = ("full_ft", "sciq", "smollm2-135m")
    (full_ft,) = (row for row in rows if (row["row"], row["column"], row["block"]) == place)
    answers = float(full_ft["value"]) > 0
    assert (verdicts["no_loss_50"] != "not run") == answers and answers >= is_real
    # One compressor may refute what is said of all, and never show it.
    assert verdicts["speedup_consumer"] not in {"seen on the stand-in", "undecided"}
    again = snakemake(directory, "all", **options)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr


def test_everything_that_was_made_is_verified(
    smoke: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(smoke / "results")]) == 0, capsys.readouterr().err
    assert "none failed" in capsys.readouterr().out
