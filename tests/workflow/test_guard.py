"""What we read of Snakemake's own objects is there, and nothing else is touched.

An upgrade that takes one of these away fails here by name.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import snakemake.api  # noqa: F401  (its modules import each other in circles: this one first)
from runs import ROOT
from snakemake.dag import DAG
from snakemake.jobs import Job
from snakemake.persistence import PersistenceBase
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    DeploymentSettings,
    ResourceSettings,
)
from snakemake.workflow import Workflow

GUARD = ROOT / "workflow" / "rules" / "guard.smk"
# What guard.smk reads, by the class that has it.
OF_WORKFLOW = {
    *("overwrite_configfiles", "source_path", "configfiles", "is_main_process", "local_exec"),
    *("resource_settings", "deployment_settings", "config_settings", "dag_settings"),
    *("global_resources", "register_resource", "persistence", "rerun_triggers", "dag"),
    "start_time",
}
READ = [
    *((Workflow, name) for name in ("overwrite_configfiles", "source_path", "is_main_process")),
    *((Workflow, name) for name in ("local_exec", "register_resource", "persistence", "dag")),
    (Workflow, "rerun_triggers"),
    *((DAG, name) for name in ("needrun_jobs", "finished_jobs", "job_dependencies")),
    *((Job, name) for name in ("wildcards_dict", "is_norun", "rule", "jobid", "output")),
    (PersistenceBase, "metadata"),
]
# Set when an object is made.
FIELDS = [
    (Workflow, ("configfiles", "resource_settings", "deployment_settings", "config_settings")),
    (Workflow, ("dag_settings", "global_resources", "start_time")),
]


def sources() -> list[Path]:
    folder = ROOT / "workflow"
    files = [*folder.rglob("*.smk"), *folder.glob("scripts/*.py"), folder / "Snakefile"]
    return [*files, ROOT / "Snakefile", *(ROOT / "src/trimllm_paper").rglob("*.py")]


@pytest.mark.parametrize("owner, name", READ, ids=lambda one: getattr(one, "__name__", one))
def test_what_the_guard_reads_is_there(owner: type, name: str) -> None:
    assert hasattr(owner, name), f"Snakemake's {owner.__name__} has no {name} any more: guard.smk"


def test_what_is_set_when_a_workflow_is_made_is_there() -> None:
    fields = Workflow.__dataclass_fields__.keys() | set(
        re.findall(r"self\.(\w+)\b.*=", Path(inspect.getfile(Workflow)).read_text())
    )
    for _, names in FIELDS:
        assert set(names) <= fields
    forced = {"forceall", "forcerun", "forcetargets", "targets"}
    assert forced <= DAGSettings.__dataclass_fields__.keys()
    assert "nodes" in ResourceSettings.__dataclass_fields__ and "cores" in (
        ResourceSettings.__dataclass_fields__
    )
    assert "deployment_method" in DeploymentSettings.__dataclass_fields__
    assert "config_args" in ConfigSettings.__dataclass_fields__


def test_the_guard_reads_what_is_listed_here_alone() -> None:
    assert set(re.findall(r"\bworkflow\.(\w+)", GUARD.read_text())) == OF_WORKFLOW


def test_nobody_else_looks_at_snakemakes_objects() -> None:
    for path in sources():
        if path != GUARD:
            text = path.read_text()
            assert not re.findall(r"(?<![\w./])workflow\.\w+", text), path
            assert "scheduler." not in text, path


def test_nothing_of_snakemakes_is_assigned_to_or_private() -> None:
    for path in sources():
        text = path.read_text()
        assert not re.findall(r"\bworkflow\.[\w.]+\s*=[^=]", text), path
        assert not re.findall(r"\b(workflow|dag|job|rules|snakemake)\._\w+", text), path
