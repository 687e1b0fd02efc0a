"""What reruns a job: lines of its stage do; docstrings, comments and layout do not."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimllm.base.errors import UserError
from trimllm_paper.integrity import codehash
from trimllm_paper.integrity.codehash import SOURCE, STAGES, _content, code_hash, files_of

RENDERED = {"choose", "own_report", "table", "claims", "figure"}
"""Stages whose files are declared by whole folders."""
INFRASTRUCTURE = (
    *("fetch/wheels", "records", "choices", "recipe", "integrity"),
    *("config", "plan", "resources", "frames"),
)
"""Modules of the pipeline that file and name results, and compute none; records carry versions."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source that a test may edit."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "*.pyc"))
    shutil.copytree(SOURCE.parent / "workflow/scripts", folder / "workflow/scripts")
    return folder / "src"


@pytest.fixture(scope="module")
def before(project: Path) -> dict[str, str]:
    """The hash of every stage."""
    return {stage: code_hash(stage, source=project) for stage in STAGES}


def changed(project: Path, file: str, before: dict[str, str], *edits: tuple[str, str]) -> set[str]:
    """Stages whose hash an edit of a file changes, for as long as it lasts."""
    path = project / file
    text = edited = path.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text, (path, old)
        edited = edited.replace(old, new, 1)
    path.write_text(edited, encoding="utf-8")
    codehash._content.cache_clear()
    code_hash.cache_clear()
    after = {stage: code_hash(stage, source=project) for stage in STAGES}
    path.write_text(text, encoding="utf-8")
    return {stage for stage in STAGES if after[stage] != before[stage]}


LINE = ("\nfrom trimllm", "\nUSED = 1\nfrom trimllm")


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("trimllm/select.py", {"train"}),
        ("trimllm/compress/run.py", {"fetch_model", "compress", "export", "engines", "measure"}),
        ("../workflow/scripts/evaluate.py", {"evaluate"}),
        ("trimllm_paper/claims/__init__.py", {"claims"}),
        ("trimllm_paper/job.py", {*STAGES} - {"prepare"}),
    ],
)
def test_a_line_reruns_its_stages(
    project: Path, before: dict[str, str], file: str, stages: set[str]
) -> None:
    edit = ("with Job", "USED = 1\nwith Job") if "scripts" in file else LINE
    assert changed(project, file, before, edit) == stages


def test_docstrings_comments_and_layout_rerun_nothing(
    project: Path, before: dict[str, str]
) -> None:
    edits = (('"""', '"""Another. '), ("import math", "import math  # of numbers"))
    assert not changed(project, "trimllm/select.py", before, *edits)


def test_every_version_of_python_gives_the_same_hash(tmp_path: Path) -> None:
    """Which fields a node has depends on the version: those that are empty do not count."""
    (tmp_path / "one.py").write_text("def f():\n    return None\n")
    tree = "FunctionDef(name='f', args=arguments(), body=[Return(value=Constant())])"
    assert _content(tmp_path / "one.py") == f"Module(body=[{tree}])"


def test_code_of_ones_own_is_read_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That an edit of it reruns its jobs: tests/trimllm_paper/test_jobs.py."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/__init__.py").write_text("raise RuntimeError('this was imported')\n")
    (tmp_path / "ours/criterion.py").write_text("mine = 1\n")
    assert code_hash("train", "ours.criterion:mine") != code_hash("train")
    for name in ("ours.nothing:mine", "nowhere_to_be_found:mine", "sys:mine"):
        with pytest.raises(UserError, match="names no module that can be imported"):
            code_hash("train", name)


def imports(path: Path) -> Iterator[Path]:
    """Files of ours that a file imports, wherever it does, but for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    for name in names:
        place = SOURCE / name.replace(".", "/")
        if name.partition(".")[0] in ("trimllm", "trimllm_paper"):
            yield from (f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file())


def is_infrastructure(path: Path) -> bool:
    name = path.relative_to(SOURCE).with_suffix("").as_posix()
    parts = name.removeprefix("trimllm_paper/")
    roots = ("trimllm/__init__", "trimllm_paper/__init__")
    return name in roots or any(f"{parts}/".startswith(f"{one}/") for one in INFRASTRUCTURE)


def test_every_declared_file_exists() -> None:
    globs = {one for globs in STAGES.values() for one in globs.split()}
    assert [one for one in globs if not [*SOURCE.glob(one)]] == []


@pytest.mark.parametrize("stage", sorted({*STAGES} - RENDERED))
def test_what_is_declared_contains_what_is_imported(stage: str) -> None:
    """Everything that the stage's script comes to import is among the files of the stage."""
    declared = set(files_of(stage))
    script = SOURCE.parent / f"workflow/scripts/{stage}.py"
    left, seen = [script], set[Path]()
    while left:
        path = left.pop()
        if path in seen or path.suffix != ".py":
            continue
        seen.add(path)
        # What a job does around the documents is the same for all.
        skipped = [SOURCE / "trimllm_paper/job.py"] if stage == "prepare" else []
        left += [file for file in imports(path) if not is_infrastructure(file)]
        left = [file for file in left if file not in skipped]
    missing = {path for path in seen if path != script} - declared
    assert not missing, sorted(str(path.relative_to(SOURCE)) for path in missing)
