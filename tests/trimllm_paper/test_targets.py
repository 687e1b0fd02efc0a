"""Which files a target needs, by configurations of the project."""

import re
from pathlib import Path

import pytest
from configurations import configuration

from trimllm_paper.figures import FIGURES
from trimllm_paper.jobs import Jobs
from trimllm_paper.recipe import Paths
from trimllm_paper.targets import Targets

MODEL = "smollm2-135m"


def targets(name: str = "smoke", **more: object) -> Targets:
    config = configuration(name)
    return Targets(Jobs(config.model_copy(update=more)), "here")


def test_replicates_are_pooled_file_by_file() -> None:
    own, pooled = targets(), targets(replicates=["results/seed_1/", "elsewhere"])
    for table in ("table2", "table9"):
        for kind, files in own.table(table).items():
            folders = ("results/smoke/", "results/seed_1/", "elsewhere/")
            expected = [file.replace(folders[0], one) for one in folders for file in files]
            assert pooled.table(table)[kind] == expected, (table, kind)
    # Figures and claims pool answers, chains and trainings; speed is of one seed.
    shown = [own.claims(), *(own.figure(name, MODEL) for name in FIGURES)]
    of_all = [pooled.claims(), *(pooled.figure(name, MODEL) for name in FIGURES)]
    for one, every in zip(shown, of_all, strict=True):
        for kind, files in one.items():
            assert len({*every[kind]}) == len({*files}) * (1 if kind == "throughput" else 3)


def test_engines_are_measured_here_and_shown_of_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trimllm_paper.targets.installed", lambda engine, device: engine != "vllm")
    paths = Paths("results/smoke")
    mine = [paths.engines("here", MODEL, engine) for engine in ("transformers", "llama_cpp")]
    copied = Path(paths.engines("h100", MODEL, "vllm"))
    copied.parent.mkdir(parents=True)
    copied.touch()
    assert targets().table("table_engines") == {"engines": [*mine, str(copied)]}
    # Claims take what lies there: asking for them measures nothing in engines.
    assert targets().claims()["engines"] == [str(copied)]


def test_the_constraint_on_kept_checkpoints_looks_ahead() -> None:
    """Matched against the text after `models/`, it says which epochs' weights stay."""
    paper = targets("paper")
    pattern = re.compile(paper.kept_models())
    for name in paper.config.trim.recipes:
        for model in ("llama-7b", "llama-13b"):
            units = paper.config.models[model].units
            for recipe in paper.epochs(model, name):
                kept = bool(pattern.match(f"{model}/sciq/{recipe}/manifest.json"))
                left = 100 * (1 - recipe.dropped / units)
                near = [abs(left - percent) for percent in paper.config.trim.kept_percent]
                assert kept == (min(near) < 100 / units), (model, recipe)
    assert not pattern.match("llama-7b/sciq/trim_both_r0.5/drop_32/manifest.json")


def test_tables_of_criteria_end_where_chains_end() -> None:
    """At the latest with half of the sublayers, here with 80%."""
    trim = configuration("config").trim.model_copy(update={"kept_percent": [80]})
    files = targets("config", trim=trim).table("table3")["epochs"]
    assert {Path(file).parent.name for file in files} == {"state_00", "state_06", "state_12"}
