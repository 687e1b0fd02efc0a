"""What reruns a job: used lines do, docstrings, comments and unused modules do not."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.integrity import codehash
from trimllm_paper.integrity.codehash import ENTRIES, SOURCE, closure, code_hash

STAGES = list(ENTRIES)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of both packages that a test may edit."""
    for package in codehash.PACKAGES:
        shutil.copytree(SOURCE / package, tmp_path / package)
    return tmp_path


def edit(source: Path, file: str, old: str, new: str) -> None:
    """Replace a text of a file, and forget what was read of it."""
    path = source / file
    text = path.read_text()
    assert old in text, (file, old)
    path.write_text(text.replace(old, new, 1))
    forget()


def forget() -> None:
    for cached in (code_hash, codehash._read, codehash._known):
        cached.cache_clear()


def hashes(source: Path) -> dict[str, str]:
    return {stage: code_hash(stage, source=source) for stage in STAGES}


def changed(source: Path, before: dict[str, str]) -> set[str]:
    after = hashes(source)
    return {stage for stage in STAGES if before[stage] != after[stage]}


def test_a_used_line_reruns_the_stages_that_import_it(source: Path) -> None:
    before = hashes(source)
    edit(source, "trimllm/select.py", "import math", "import math\nUSED = 1")
    assert changed(source, before) == {"train"}


@pytest.fixture
def kept(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where hashes are kept of the copy, which stands for what is installed."""
    monkeypatch.setattr(codehash, "SOURCE", source)
    monkeypatch.setattr(codehash, "KEPT", tmp_path / "kept.json")
    forget()
    yield tmp_path / "kept.json"
    forget()


def test_hashes_that_were_kept_are_read_while_no_byte_changes(
    source: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, asked = hashes(source), []
    monkeypatch.setattr(codehash, "closure", lambda *words: asked.append(words) or set())
    forget()
    assert hashes(source) == before and not asked
    edit(source, "trimllm/select.py", "import math", "import math\nUSED = 1")
    assert code_hash("train", source=source) != before["train"] and asked


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 1}', "{", "null"])
def test_damaged_kept_hashes_are_made_anew(source: Path, kept: Path, content: str) -> None:
    before = code_hash("choose", source=source)
    kept.write_text(content)
    forget()
    assert code_hash("choose", source=source) == before
    assert files.read_json(kept)["hashes"] == {"choose": before}


def test_hashes_are_found_where_nothing_can_be_kept(
    source: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "file").touch()
    monkeypatch.setattr(codehash, "KEPT", source / "file" / "kept.json")
    assert code_hash("choose", source=source) == codehash._hashed("choose", (), source)


def test_docstrings_comments_and_layout_rerun_nothing(source: Path) -> None:
    before = hashes(source)
    edit(source, "trimllm/scanning/onepass.py", '"""Sensitivity of every', '"""Another: every')
    edit(source, "trimllm/scanning/onepass.py", "import math", "# why\n\n\nimport  math")
    edit(source, "trimllm_paper/layout.yaml", "\n", "\n# a comment\n")
    assert changed(source, before) == set()


def test_a_module_that_nobody_imports_reruns_nothing(source: Path) -> None:
    before = hashes(source)
    (source / "trimllm/scanning/unused.py").write_text("VALUE = 1\n")
    assert changed(source, before) == set()
    edit(
        source, "trimllm/scanning/onepass.py", "import annotations", "import annotations\nimport os"
    )
    assert "trimllm/scanning/unused.py" not in {
        str(file.relative_to(source)) for file in closure(ENTRIES["train"], source)
    }


def test_what_a_stage_imports_by_name_or_runs_elsewhere_is_declared(source: Path) -> None:
    before = hashes(source)
    worker = "trimllm/compress/workers/autoawq_worker.py"
    edit(source, worker, "import annotations", "import annotations\nUSED = 1")
    assert changed(source, before) == {"compress"}


def test_imports_inside_functions_and_relative_ones_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "trimllm"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "one": "def f():\n    from . import two\n",
        "two": "from .three import x\n",
        "three": "x = 1\n",
        "four": "",
    }.items():
        (folder / f"{name}.py").write_text(text)
    names = {file.stem for file in closure(("trimllm.one",), tmp_path)}
    assert names == {"one", "two", "three"}


def test_code_of_ones_own_is_followed_within_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its text alone: it is not imported, nor is anything else."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in {
        "ours/__init__": "raise RuntimeError('this was imported')\n",
        "ours/criterion": "from trimllm.select import Criterion\nfrom ours import part\nmine = 1\n",
        "ours/part": "VALUE = 1\n",
        "ours/unused": "VALUE = 1\n",
        "lone": "mine = 1\n",
    }.items():
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)

    def both() -> list[str]:
        return [code_hash("train", name) for name in ("ours.criterion:mine", "lone:mine")]

    first = both()
    assert len({*first, code_hash("train")}) == 3
    edit(tmp_path, "ours/criterion.py", "mine", '"""What mine is."""  # a comment\nmine')
    edit(tmp_path, "ours/unused.py", "1", "2")
    assert both() == first
    for file in ("ours/criterion.py", "ours/part.py"):
        before = both()
        edit(tmp_path, file, "= 1", "= 2")
        assert both()[0] != before[0] and both()[1] == before[1]
    edit(tmp_path, "lone.py", "= 1", "= 2")
    assert both()[1] != first[1]
    for name in ("ours.nothing:mine", "nowhere_to_be_found:mine", "sys:mine"):
        with pytest.raises(UserError, match="names no module that can be imported"):
            code_hash("train", name)


def test_every_entry_point_exists() -> None:
    for stage in STAGES:
        assert code_hash(stage)
    # How wheels come and who waits for whom makes no model anew.
    fetched = {file.relative_to(SOURCE).as_posix() for file in closure(ENTRIES["fetch_model"])}
    assert not [one for one in fetched if "integrity" in one or one.endswith("fetch/wheels.py")]
    with pytest.raises(FileNotFoundError, match="trimllm.no"):
        closure(("trimllm.no",))


# Script -> stages whose hash its rules take, where their names differ.
OF_SCRIPT = {
    "figure": codehash.FIGURES,
    "measure": ("throughput",),
    "prepare_domain": ("prepare",),
    "teach": ("train",),
}
# How results are told and found: their schemas have versions, and results name what made them.
# Wheels are told by their sha256.
PLUMBING = {
    *("trimllm_paper.forked", "trimllm_paper.fetch.wheels", "trimllm_paper.job"),
    *("trimllm_paper.records", "trimllm_paper.engine_records"),
    *("trimllm_paper.choices", "trimllm_paper.recipe", "trimllm.base.files"),
}
SCRIPTS = sorted((SOURCE.parent / "workflow/scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_what_a_script_imports_is_hashed_by_its_stages(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    named = {name for node in ast.walk(tree) for name in codehash._names(node, "")}
    for name in {name for name in named if name.partition(".")[0] in codehash.PACKAGES}:
        if {name, name.rpartition(".")[0]}.isdisjoint(PLUMBING):
            for stage in OF_SCRIPT.get(script.stem, (script.stem,)):
                missing = set(codehash._files(name, SOURCE)) - closure(ENTRIES[stage])
                assert not missing, (stage, name)
