"""What a laboratory looks for: a package that builds and runs alone, and files that agree."""

from __future__ import annotations

import importlib.metadata
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import trimllm
from trimllm_paper.commands.plan import ARTIFACTS
from trimllm_paper.config import read_yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")
BUILD = "from setuptools import build_meta as b; print(b.build_sdist('out'), b.build_wheel('out'))"


def built(folder: Path) -> None:
    """sdist and wheel in `out`, by the build backend that pyproject.toml names."""
    (folder / "out").mkdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, check=True, capture_output=True)


@pytest.mark.slow
def test_sdist_and_wheel_are_built_and_run_in_a_clean_environment(tmp_path: Path) -> None:
    source, ignored = tmp_path / "source", shutil.ignore_patterns("__pycache__", "*.egg-info")
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, source / name, **({"ignore": ignored} if path.is_dir() else {}))
    built(source)
    stem = f"trimllm-{PROJECT['version']}"
    wheel, sdist = source / f"out/{stem}-py3-none-any.whl", source / f"out/{stem}.tar.gz"
    # The sdist holds all that it takes to build the same wheel again.
    shutil.unpack_archive(sdist, tmp_path / "again")
    built(tmp_path / "again" / stem)
    again = tmp_path / "again" / stem / "out" / wheel.name
    names = [set(zipfile.ZipFile(path).namelist()) for path in (wheel, again)]
    assert names[0] == names[1]
    data = {path.relative_to(ROOT / "src").as_posix() for path in data_files()}
    assert data and data <= names[0]
    # Installed by pip, without network, dependencies or a source tree on the path.
    clean = tmp_path / "clean"
    venv.create(clean)
    words = [sys.executable, "-m", "pip", "--python", str(clean / "bin/python"), "install"]
    subprocess.run([*words, "--quiet", "--no-index", "--no-deps", str(again)], check=True)
    alone = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    words = [str(clean / "bin/trimllm"), "--help"]
    run = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=alone)
    assert run.returncode == 0, run.stderr
    assert "plan" in run.stdout and "verify" in run.stdout


def data_files() -> list[Path]:
    """Files of the packages that are no code."""
    found = (ROOT / "src").rglob("*")
    return [path for path in found if path.suffix in (".yaml", ".json", ".jinja", ".txt")]


def test_the_version_is_told_once_and_repeated_truly() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert citation["version"] == PROJECT["version"]
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == PROJECT["version"]
    others = [path for path in (ROOT / "src").rglob("*.py") if "__version__ =" in path.read_text()]
    assert not others


def test_the_licence_is_one() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert PROJECT["license"] == "MIT" == read_yaml(ROOT / "CITATION.cff")["license"]


def test_every_model_and_data_set_has_its_licence_and_duties() -> None:
    """Those of the configurations, by the names that these give them."""
    told = (ROOT / "docs/licences.md").read_text()
    files = [*(ROOT / "config").glob("*.yaml")]
    labels = {one["label"] for file in files for one in read_yaml(file).get("models", {}).values()}
    assert len(labels) > 5 and not [one for one in labels if one.split("-")[0] not in told]
    domains = [read_yaml(file) for file in (ROOT / "config/domains").rglob("*.yaml")]
    sets = {one.split(":")[0] for spec in domains for one in spec["licence"].split("; ")}
    names = {name.removeprefix("its passages, of ") for name in sets}
    assert len(names) > 10 and not [one for one in names if one.split()[0] not in told]


def licences(name: str) -> set[str]:
    """What an installed package declares; of one that declares nothing, how its licence begins."""
    found = importlib.metadata.distribution(name)
    if expression := found.metadata.get("License-Expression"):
        return {*re.split(r" AND | WITH ", expression)}
    classifiers = found.metadata.get_all("Classifier", [])
    if kinds := {one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")}:
        return kinds
    told = found.metadata.get("License")
    texts = [one for one in found.files or () if "LICENSE" in one.name]
    return {(told or texts[0].read_text()).splitlines()[0]}


def test_every_package_has_its_licence_in_the_table() -> None:
    """All that is locked: under a licence without duties beyond a notice, or by name."""
    told = (ROOT / "docs/licences.md").read_text().partition("## Software")[2]
    locks = [(ROOT / f"requirements{one}.lock").read_text() for one in ("", "-nodeps")]
    names = re.findall(r"^([\w.-]+)==", "\n".join(locks), re.MULTILINE)
    free = r"(The )?(\d-Clause )?(MIT|BSD|Apache|PSF|Python Software|ISC|BSL-1|CNRI-Python|LLVM)\b"
    others = {name for name in names if not all(re.match(free, one) for one in licences(name))}
    named = {name for name in re.findall(r"`([\w-]+)`", told) if name in names}
    assert len(names) > 150 and others and others <= named
    assert named - others <= {"regex"}, "named without need"


def test_the_citation_has_what_its_format_requires() -> None:
    """Of CFF 1.2.0: required keys, and authors by their kinds of names."""
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["title"]
    paper = citation["preferred-citation"]
    assert paper["type"] == "conference-paper" and "TrimLLM" in paper["title"]
    for author in [*citation["authors"], *paper["authors"]]:
        assert author.keys() in ({"name"}, {"given-names", "family-names"})


def test_the_forges_ci_runs_what_must_pass() -> None:
    """By commands that are there, on Pythons that the project takes."""
    (job,) = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs[0] == "make setup" and runs[-1] == ".ci/run"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    called = re.findall(r"^make (.*)", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"test", "verify", "lint", "docs"} <= set(called) <= {*targets, *called[:1]}
    for version in job["strategy"]["matrix"]["python"]:
        assert (3, 11) <= tuple(map(int, version.split("."))) < (3, 14)


def test_the_reference_has_every_public_name() -> None:
    """Each that stands there is one; `make docs` builds the pages and lets no warning pass."""
    pages = {path.name: path.read_text() for path in (ROOT / "docs/api").glob("*.md")}
    told = {name: re.findall(r"^::: (\S+)$", text, re.MULTILINE) for name, text in pages.items()}
    assert {name.rpartition(".")[2] for name in told["index.md"]} >= set(trimllm.__all__)
    for name in sum(told.values(), []):
        assert pkgutil.resolve_name(name).__doc__, name


def test_every_fault_of_the_appendix_has_its_test() -> None:
    """At least twenty, each met by a test that is there."""
    told = (ROOT / "docs/artifact.md").read_text().split("\n## Faults\n")[1].split("\n## ")[0]
    rows = [line for line in told.splitlines() if line.startswith("| ")][1:]
    assert len({row.split(" | ")[0] for row in rows}) == len(rows) >= 20
    for row in rows:
        file, name = re.search(r"`([\w/]+\.py)::(test_\w+)` \|$", row).groups()
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(), row


def test_no_module_is_exempt_from_types() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert {"trimllm", "trimllm_paper"} <= {*told["packages"]}
    assert all((ROOT / "src" / package).is_dir() for package in told["packages"])
    assert not [one for one in told["overrides"] if one.get("ignore_errors")]


def test_the_catalogs_description_is_of_its_form() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage.keys() <= {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["mandatory-flags"].keys() == {"desc", "flags"}
    assert all(isinstance(one, bool) for one in usage["software-stack-deployment"].values())
    for name in ("workflow/Snakefile", "config/README.md", "config/config.yaml"):
        assert (ROOT / name).is_file()


@pytest.mark.parametrize("file", ["containers/Dockerfile", "containers/trimllm.def"])
def test_containers_are_built_from_the_lock(file: str) -> None:
    """What a recipe copies is there, and is all that `make setup` reads."""
    text = (ROOT / file).read_text()
    needed = re.search(r"^\$\(STAMP\): (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    for name in [*needed.split(), "README.md", "LICENSE", "Makefile", "src"]:
        assert re.search(rf"\b{re.escape(name)}\b", text), name
        assert (ROOT / name).exists()
    assert "make setup" in text and "requirements.lock" in text


def test_the_documents_name_what_is_there() -> None:
    """Links of docs/ and targets of make and of the workflow that the appendix tells to run."""
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text()
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert link.startswith("http") or (page.parent / link).exists(), (page.name, link)
    text = (ROOT / "docs/artifact.md").read_text()
    made = set(re.findall(r"`make ([\w-]+)", text))
    assert made <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    rules = (ROOT / "workflow/rules/targets.smk").read_text()
    known = {*re.findall(r"^rule (\w+):", rules, re.MULTILINE), *ARTIFACTS}
    asked = " ".join(re.findall(r"snakemake --cores all ([a-z0-9 ]+)`", text)).split()
    assert asked and set(asked) <= known
