"""What reruns a job besides its inputs and parameters: a hash of the source of its stage.

`STAGES` declares the source of each stage. Hashed is what Python makes of it: docstrings, comments
and layout change nothing. A test compares what is declared with what is imported.
"""

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError

SOURCE = Path(__file__).parents[2]
P, BASE = "trimllm_paper", "trimllm/base/*.py"
MODEL = (
    f"{BASE} trimllm/sublayers/*.py trimllm/checkpoint/*.py trimllm/data/__init__.py "
    f"trimllm/data/document.py trimllm/train/batching.py trimllm/train/settings.py {P}/job.py "
    f"{P}/gpus.py"
)
SCORING = f"{MODEL} trimllm/score/*.py"
COMPRESS, SCAN = "trimllm/compress/*.py", "trimllm/scanning/*.py"
TIMING = f"{MODEL} trimllm/throughput/*.py {P}/shapes.py {P}/kept_runs.py trimllm/exporting/*.py"
EXPORTS = f"{SCORING} {COMPRESS} trimllm/exporting/**/*.py"
WHEELS = f"{P}/fetch/__init__.py {P}/fetch/wheels.py"
TABLES = f"{P}/*.py {P}/published.yaml {BASE}"
TRAIN = "trimllm/train/*.py trimllm/select.py trimllm/trimming.py ../workflow/scripts/teach.py"
STAGES = {
    "fetch_model": f"{SCORING} {COMPRESS} {P}/fetch/*.py",
    "prepare": f"{BASE} trimllm/data/*.py {P}/standins.py {WHEELS}",
    "scan": f"{SCORING} {SCAN}",
    "train": f"{SCORING} {SCAN} {TRAIN}",
    "compress": f"{SCORING} {COMPRESS}",
    "evaluate": f"{SCORING} trimllm/evaluate/*.py",
    "export": f"{EXPORTS} {P}/own/__init__.py {P}/own/choice.py",
    "engines": f"{EXPORTS} {TIMING}",
    "measure": f"{TIMING} {SCORING} {COMPRESS}",
    "answers": f"{SCORING} trimllm/evaluate/*.py {P}/own/*",
    "choose": f"{P}/*.py {P}/own/choice.py trimllm/exporting/*.py trimllm/checkpoint/*.py",
    "own_report": f"{TABLES} {P}/figures/* {P}/own/*",
    "table": TABLES,
    "claims": f"{TABLES} {P}/claims/*",
    "figure": f"{TABLES} {P}/figures/*",
}
"""Stage -> globs of its files, below `src`, beside the script of its name."""


@cache
def code_hash(stage: str, *own: str, source: Path = SOURCE) -> str:
    """SHA-256 of the source of a stage, hexadecimal, and of the packages of one's `own` code,
    `package.module:name`. Raises `UserError` for code of one's own that does not exist."""
    digest = hashlib.sha256()
    for path in [*files_of(stage, source), *(file for name in own for file in _own_files(name))]:
        digest.update(f"{path.name} {_content(path)}\0".encode())
    return digest.hexdigest()


def files_of(stage: str, source: Path = SOURCE) -> list[Path]:
    """The files of a stage, in order."""
    globs = [*STAGES[stage].split(), f"../workflow/scripts/{stage}.py"]
    paths = {path.resolve() for glob in globs for path in source.glob(glob)}
    return sorted(path for path in paths if path.is_file() and path.suffix != ".pyc")


def _own_files(name: str) -> list[Path]:
    """Files of the package (or the module) of `package.module:name`, without importing it."""
    module = name.partition(":")[0]
    package = find_spec(module.partition(".")[0])
    folders = getattr(package, "submodule_search_locations", None)
    origin = Path(getattr(package, "origin", None) or "")
    paths = sorted(Path(folders[0]).rglob("*.py")) if folders else [origin]
    if not any(f"{module.replace('.', '/')}.py" in path.as_posix() for path in paths):
        raise UserError(f"{name!r} names no module that can be imported (PYTHONPATH)")
    return paths


@cache
def _content(path: Path) -> str:
    """A file's meaning: its bytes, or of Python the syntax tree without docstrings."""
    if path.suffix != ".py":
        return files.sha256_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [one for one in body if not _is_docstring(one)] or [ast.Pass()]
    return _dump(tree)


def _dump(value: object) -> str:
    """A syntax tree as text; `ast.dump` writes other empty fields in every version of Python."""
    if isinstance(value, list):
        return f"[{', '.join(map(_dump, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = {name: getattr(value, name) for name in value._fields}
    filled = [f"{name}={_dump(one)}" for name, one in fields.items() if one not in (None, [])]
    return f"{type(value).__name__}({', '.join(filled)})"


def _is_docstring(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
