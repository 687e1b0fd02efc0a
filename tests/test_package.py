"""The package builds and runs alone, and its reference pages are complete."""

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

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILD = "from setuptools import build_meta; build_meta.build_{}('out')"


@pytest.mark.long
def test_a_wheel_is_built_from_the_sdist_and_runs_in_a_clean_environment(tmp_path: Path) -> None:
    source, clean = tmp_path / "source", tmp_path / "clean"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    stem = f"trimllm-{PROJECT['version']}"
    for kind, folder in (("sdist", source), ("wheel", tmp_path / stem)):
        (folder / "out").mkdir()
        words = [sys.executable, "-c", BUILD.format(kind)]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        if kind == "sdist":
            shutil.unpack_archive(source / f"out/{stem}.tar.gz", tmp_path)
    wheel = tmp_path / stem / f"out/{stem}-py3-none-any.whl"
    kinds = (".py", ".yaml", ".json", ".jinja", ".txt")
    ours = {p.relative_to(source / "src").as_posix() for p in (source / "src").rglob("*")}
    ours = {name for name in ours if name.endswith(kinds) and ".egg-info" not in name}
    assert ours <= {*zipfile.ZipFile(wheel).namelist()}
    # Installed by pip, without network, dependencies or a source tree on the path.
    venv.create(clean)
    words = [sys.executable, "-m", "pip", "--python", str(clean / "bin/python"), "install"]
    subprocess.run([*words, "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    alone = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    words = [str(clean / "bin/trimllm"), "--help"]
    run = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=alone)
    assert run.returncode == 0 and "plan" in run.stdout, run.stderr


(EXAMPLE,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
(CHECKPOINT,) = re.findall(r'checkpoint = "(.+?)"', EXAMPLE)
WITHOUT = "import sys; sys.modules |= dict.fromkeys(sys.argv[1].split(','))\n"
LIBRARY = f"""
from models import tiny, word_tokenizer
import trimllm
trimllm.save(tiny("llama", num_hidden_layers=30), word_tokenizer(), {CHECKPOINT!r})
{EXAMPLE}
import trimllm.auto
from transformers import AutoModelForCausalLM
assert len(trimllm.units(AutoModelForCausalLM.from_pretrained("trimmed"))) == 54
"""
MODULES = {"Jinja2": "jinja2", "pillow": "PIL", "PyYAML": "yaml"}


def run_without(extras: tuple[str, ...], keep: set[str], code: str, folder: Path) -> object:
    """Run a program that finds none of the packages of some extras, as if not installed."""
    lines = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    names = {re.match(r"[\w-]+", line)[0] for line in lines} - {"trimllm", "pip"}
    packages = {MODULES.get(name, name.replace("-", "_")) for name in names} - keep
    packages |= {"sklearn"}  # lm_eval brings it
    assert {"snakemake", "lm_eval", "pandas", "pydantic"} <= packages
    path = os.pathsep.join([str(ROOT / "tests/trimllm"), str(Path(trimllm.__file__).parents[1])])
    words = [sys.executable, "-c", WITHOUT + code, ",".join(sorted(packages))]
    env = os.environ | {"PYTHONPATH": path}
    return subprocess.run(words, capture_output=True, text=True, cwd=folder, env=env)


def test_the_readmes_example_runs_without_any_extra(tmp_path: Path) -> None:
    # huggingface_hub brings PyYAML
    extras, keep = ("evaluate", "pipeline", "compress", "export"), {"yaml"}
    run = run_without(extras, keep, LIBRARY, tmp_path)
    assert run.returncode == 0, run.stderr


def test_the_command_names_what_to_install(tmp_path: Path) -> None:
    code = "from trimllm_paper.__main__ import main; sys.exit(main(['plan']))"
    run = run_without(("evaluate", "pipeline"), {"yaml"}, code, tmp_path)
    assert run.returncode == 1
    assert re.fullmatch(
        r"error: \w+ is not installed: pip install 'trimllm\[pipeline\]'\n", run.stderr
    )


def test_the_reference_has_every_public_name() -> None:
    pages = {path.name: path.read_text() for path in (ROOT / "docs/api").glob("*.md")}
    named = {page: re.findall(r"^::: (\S+)$", text, re.M) for page, text in pages.items()}
    assert {name.rpartition(".")[2] for name in named["index.md"]} >= set(trimllm.__all__)
    for name in sum(named.values(), []):
        assert pkgutil.resolve_name(name).__doc__, name
