"""Tables 3 to 6, 8 and 9: what they run, what they share, and what they are made of."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from runs import ROOT, counts, snakemake
from shrunk import shrunk

DEFAULT = ROOT / "config" / "config.yaml"
TINY = ROOT / "config" / "tables.smoke.yaml"
PAPER = ROOT / "config" / "paper.yaml"
# Epochs of a chain of the default to 30, 36 and 42 drops, six an epoch, with epoch 0.
WHOLE = 8
ALL = ("table3", "table4", "table5", "table6", "table8", "table9")


def planned(directory: Path, *targets: str, **options: object) -> dict[str, int]:
    """Jobs that a dry run lists."""
    run = snakemake(directory, "-n", *targets, **options)
    assert run.returncode == 0, run.stderr
    return counts(run.stdout + run.stderr)


def epochs(jobs: dict[str, int]) -> int:
    return jobs.get("trim_epoch", 0)


def test_the_ablation_switches_one_key_at_a_time(tmp_path: Path) -> None:
    overlay = str(ROOT / "config/overlays/ablation.yaml")
    files = ("--configfile", str(DEFAULT), overlay)
    run = snakemake(tmp_path, "-n", "table_a1", *files, configfile=None)
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    recipes = 14
    assert epochs(jobs) == 2 * recipes * WHOLE and jobs["settle_kept"] == 2 * recipes * 2
    assert jobs["evaluate_sciq"] == jobs["evaluate_lexglue"] == recipes * 2 + 2
    assert "compress" not in jobs


def test_the_papers_configuration_has_every_model_where_the_paper_has_it(tmp_path: Path) -> None:
    chain = {"llama": 23, "opt-1.3b": 18, "opt-6.7b": 23}
    table8 = planned(tmp_path, "table8", configfile=PAPER)
    assert table8["fetch_model"] == 2
    # Three domains by two criteria.
    assert epochs(table8) == 3 * 2 * (chain["opt-1.3b"] + chain["opt-6.7b"])
    table3 = planned(tmp_path, "table3", configfile=PAPER)
    assert table3["fetch_model"] == 1 and table3["drop_at_once"] == 5 * 3
    assert epochs(table3) == 5 * 4 * 17
    table4 = planned(tmp_path, "table4", configfile=PAPER)
    assert table4["evaluate_pubmedqa"] == table4["evaluate_legalbench"] == 2 * 2 + 1


# Every table that shows what is trained: evaluations of one seed, and other files.
SEEDED = {
    "table2": ({"eval"}, 2 * (3 + 2)),
    "table4": ({"eval"}, 2 * (1 + 2) + 1),  # and Full-FT at home
    "table9": ({"models"}, 2 + 2 * 2),
}


@pytest.mark.parametrize("table", SEEDED)
def test_tables_are_made_from_the_files_of_every_seed(tmp_path: Path, table: str) -> None:
    (tmp_path / "seed_1").mkdir()
    replicates = json.dumps(["seed_1"])
    run = snakemake(tmp_path, "-n", table, configfile=TINY, replicates=replicates)
    told = run.stdout + run.stderr
    missing = [line.strip() for line in told.splitlines() if line.startswith("        ")]
    rooms, count = SEEDED[table]
    assert run.returncode != 0 and "Missing input files for rule render_table:" in told
    assert f"wildcards: table={table}" in told
    assert {tuple(path.split("/")[:2]) for path in missing} == {("seed_1", room) for room in rooms}
    assert len(missing) == len(set(missing)) == count, missing
    for path in map(tmp_path.joinpath, missing):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert planned(tmp_path, table, configfile=TINY, replicates=replicates)[table] == 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small configuration has run, by as many blocks of a smaller model."""
    directory = tmp_path_factory.mktemp("tables")
    run = snakemake(directory, *ALL, configfile=shrunk(TINY, directory))
    assert run.returncode == 0, run.stderr[-4000:]
    return directory


def cells(directory: Path, table: str) -> dict[tuple[str, str], dict[str, str]]:
    """(row, column) -> line of a table's CSV."""
    path = directory / "results/tables" / f"{table}.csv"
    with path.open(encoding="utf-8") as stream:
        return {(row["row"], row["column"]): row for row in csv.DictReader(stream)}


@pytest.mark.slow
def test_tables_hold_what_was_measured(made: Path) -> None:
    for table in ALL:
        forms = {path.suffix for path in (made / "results/tables").glob(f"{table}.*")}
        assert forms == {".csv", ".md", ".tex"}
    for table, row, column in [
        ("table3", "both", "lexglue"),
        ("table3", "bottom_50", "lexglue"),
        ("table3", "likelihood", "lexglue"),
        ("table4", "lexglue_specialized", "legalbench"),
        ("table5", "lexglue_specialized", "medmcqa"),
        ("table6", "r_1/both", "lexglue"),
    ]:
        found = cells(made, table)[row, column]
        source = json.loads((made / found["sources"]).read_text())
        assert float(found["value"]) == pytest.approx(source["acc"]), (table, row)
        assert found["stand_in"] and source["provenance"]["config_hash"]
    assert cells(made, "table3")["random_50", "lexglue"]["verdict"] == "not run"
    minutes = cells(made, "table9")
    assert float(minutes["full_ft", "minutes_2"]["value"]) > 0
    assert minutes["trimllm", "minutes_8"]["verdict"] == "not run"
    assert {row["verdict"] for row in cells(made, "table8").values()} <= {"", "not run"}


@pytest.mark.slow
def test_evaluations_of_other_domains_name_both(made: Path) -> None:
    folder = made / "results/eval/smollm2-135m/medmcqa/trim_paper/drop_30"
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert {one["domain"] for one in found.values()} == {"medmcqa"}
    assert {name: one["tested"] for name, one in found.items()} == {
        "medmcqa_answers": "medmcqa",
        "case_sentences": "lexglue",
    }


@pytest.mark.slow
def test_droppings_by_rule_are_trained_as_long_as_a_chain(made: Path) -> None:
    folder = made / "results/models/smollm2-135m/lexglue/trim_bottom/drop_30"
    record = json.loads((folder / "training.json").read_text())
    assert record["units_dropped"] == [[b, k] for b in range(15) for k in ("attention", "mlp")]
    assert len(record["passes"]) == 2 and len(record["trainable_blocks"]) == 8
    assert min(record["trainable_blocks"]) >= 15
    # Its weights were needed once.
    assert not (folder / "model.safetensors").exists()
    chain = made / "results/models/smollm2-135m/lexglue/trim_both_r1"
    assert (chain / "drop_30/training.json").exists()
    assert not [*chain.glob("*/model.safetensors")]
    other = chain / "state_30"
    assert len(json.loads((other / "epoch.json").read_text())["trainable_blocks"]) == 30
