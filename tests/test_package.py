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

import trimllm
from trimllm_paper.config import read_yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")
BUILD = "from setuptools import build_meta as b; print(b.build_sdist('out'), b.build_wheel('out'))"


def built(folder: Path) -> None:
    """sdist and wheel in `out`, by the build backend that pyproject.toml names."""
    (folder / "out").mkdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, check=True, capture_output=True)


@pytest.mark.long
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


WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_there = name.partition(".")[0] not in sys.argv[1].split(",")
        return super().find_spec(name, path, target) if is_there else None

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
LIBRARY = """
import trimllm
from models import random_documents, tiny, word_tokenizer

path = trimllm.save(tiny("llama"), word_tokenizer(), "model")
model, tokenizer = trimllm.load(path)
documents = random_documents(8)
assert len(trimllm.scan(model, tokenizer, documents).sublayers) == len(trimllm.units(model))
settings = trimllm.TrainSettings(learning_rate=1e-3, dtype="float32")
how = {"train": documents, "calibration": documents, "step": 2, "until": 2, "settings": settings}
(*_, last) = trimllm.trim(model, tokenizer, **how)
trimllm.save(model, tokenizer, "trimmed")
import trimllm.auto
from transformers import AutoModelForCausalLM
assert last.dropped == 2 and AutoModelForCausalLM.from_pretrained("trimmed").config.units
"""


def without(packages: set[str], code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program that finds none of some packages, as where nobody installed them."""
    path = os.pathsep.join([str(ROOT / "tests/trimllm"), str(Path(trimllm.__file__).parents[1])])
    words = [sys.executable, "-c", WITHOUT + code, ",".join(sorted(packages))]
    env = os.environ | {"PYTHONPATH": path}
    return subprocess.run(words, capture_output=True, text=True, cwd=folder, env=env)


MODULES = {"Jinja2": "jinja2", "pillow": "PIL", "scikit-learn": "sklearn", "PyYAML": "yaml"}
MODULES |= {"llmcompressor": "llmcompressor", "compressed-tensors": "compressed_tensors"}


def modules_of(*extras: str) -> set[str]:
    """Packages that the extras name, as they are imported."""
    named = sum((PROJECT["optional-dependencies"][extra] for extra in extras), [])
    names = {re.match(r"[\w-]+", one)[0] for one in named} - {"trimllm", "pip"}
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def test_the_library_runs_without_any_extra(tmp_path: Path) -> None:
    """All but what its own dependencies bring: huggingface_hub has filelock and PyYAML."""
    extras = modules_of("evaluate", "pipeline", "compress", "export")
    run = without(extras - {"filelock", "yaml"}, LIBRARY, tmp_path)
    assert run.returncode == 0, run.stderr
    assert {"snakemake", "lm_eval", "pandas", "pydantic"} <= extras


def test_the_command_says_what_to_install(tmp_path: Path) -> None:
    code = "from trimllm_paper.__main__ import main; sys.exit(main(['plan']))"
    run = without(modules_of("evaluate", "pipeline") - {"yaml"}, code, tmp_path)
    assert run.returncode == 1
    assert re.fullmatch(
        r"error: \w+ is not installed: pip install 'trimllm\[pipeline\]'\n", run.stderr
    )


def data_files() -> list[Path]:
    """Files of the packages that are no code."""
    found = (ROOT / "src").rglob("*")
    return [path for path in found if path.suffix in (".yaml", ".json", ".jinja", ".txt")]


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


def test_the_reference_has_every_public_name() -> None:
    """Each that stands there is one; `make docs` builds the pages and lets no warning pass."""
    pages = {path.name: path.read_text() for path in (ROOT / "docs/api").glob("*.md")}
    told = {name: re.findall(r"^::: (\S+)$", text, re.MULTILINE) for name, text in pages.items()}
    assert {name.rpartition(".")[2] for name in told["index.md"]} >= set(trimllm.__all__)
    for name in sum(told.values(), []):
        assert pkgutil.resolve_name(name).__doc__, name
