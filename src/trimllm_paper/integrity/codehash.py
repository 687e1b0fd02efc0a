"""What reruns a job: a hash of what its code does.

A stage declares its entry points (`ENTRIES`): the modules that its script calls, those that are
imported by a name in a text, programs of other environments, data files. Hashed is the import
closure of these within our two packages, as syntax trees without docstrings, comments and layout:
a used line changes the hash, a docstring or a module that nobody imports does not. So it is with
what a configuration names of one's own (`package.module:name`), within its package.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source, find_spec, resolve_name
from pathlib import Path

import yaml

from trimllm.base import files
from trimllm.base.errors import UserError

SOURCE = Path(__file__).parents[2]
PACKAGES = ("trimllm", "trimllm_paper")
# What `import trimllm` makes transformers load, whoever reads a trimmed checkpoint.
CHECKPOINTS = ("trimllm.checkpoint", "trimllm.sublayers.modeling_trimllm")
PAPER = ("trimllm_paper/layout.yaml", "trimllm_paper/published.yaml")
STYLE = "trimllm_paper/figures/style.yaml"
FIGURES = ("figure1", "figure2", "figure3", "figure4")
ENTRIES: dict[str, tuple[str, ...]] = {
    "fetch_model": ("trimllm_paper.fetch.models", *CHECKPOINTS),
    "prepare": (
        *("trimllm.data.prepare", "trimllm_paper.standins", "trimllm_paper.fetch.archives"),
    ),
    "scan": ("trimllm.scanning", "trimllm.scanning.sample", *CHECKPOINTS),
    "train": ("trimllm.train", "trimllm.train.__main__", "trimllm.trimming", *CHECKPOINTS),
    "compress": ("trimllm.compress.run", "trimllm/compress/workers/*.py", *CHECKPOINTS),
    "evaluate": ("trimllm.evaluate", *CHECKPOINTS),
    "export": (
        *("trimllm.exporting.run", "trimllm/exporting/workers/*.py"),
        *("trimllm_paper.own.card", *CHECKPOINTS),
    ),
    "engines": (
        *("trimllm.engines.session", "trimllm/engines/workers/*.py", "trimllm/base/turns.py"),
        *("trimllm_paper.shapes", *CHECKPOINTS),
    ),
    "throughput": (
        *("trimllm.throughput.session", "trimllm.throughput.worker", "trimllm_paper.shapes"),
        *CHECKPOINTS,
    ),
    "answers": ("trimllm_paper.own.outside", "trimllm_paper/own/neutral.txt", *CHECKPOINTS),
    "choose": ("trimllm_paper.own.choice", *CHECKPOINTS),
    "own_report": ("trimllm_paper.own.report", "trimllm_paper/own/*.jinja"),
    "table": ("trimllm_paper.grid", "trimllm_paper.render", "trimllm_paper/*.jinja", *PAPER),
    "claims": ("trimllm_paper.claims", "trimllm_paper/claims/*.jinja", *PAPER),
    **{name: (f"trimllm_paper.figures.{name}", STYLE, PAPER[1]) for name in FIGURES},
}
"""Stage -> modules, and files (with a slash; `*` for all of a kind) relative to `src`."""
KEPT = Path(cache_from_source(__file__)).with_suffix(".hashes")
"""What was hashed before, where Python keeps what it made of our files: hashing all takes a second
of every run."""


@cache
def code_hash(stage: str, *more: str, source: Path = SOURCE) -> str:
    """SHA-256 of the code of a stage, hexadecimal.

    Args:
        more: further entry points; code of one's own as `package.module:name`.

    Raises:
        UserError: code of one's own that is not found.
        KeyError: a stage without entry points.
        FileNotFoundError: an entry point that does not exist.
    """
    if source != SOURCE or any(":" in one for one in more):
        return _hashed(stage, more, source)
    files_now, known = _known()
    name = " ".join((stage, *more))
    if name not in known:
        known[name] = _hashed(stage, more, source)
        with suppress(OSError, UserError):  # the folder may be of somebody else
            files.write_json(KEPT, {"files": files_now, "hashes": known})
    return known[name]


@cache
def _known() -> tuple[str, dict[str, str]]:
    """A hash of this Python and of all bytes of our packages; hashes of stages found with these."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(one for package in PACKAGES for one in (SOURCE / package).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(SOURCE)} {files.sha256_of(path)}\0".encode())
    with suppress(OSError, LookupError, TypeError, UserError):  # damaged, it is made anew
        kept = files.read_json(KEPT)
        if kept["files"] == digest.hexdigest():
            return kept["files"], kept["hashes"]
    return digest.hexdigest(), {}


def _hashed(stage: str, more: tuple[str, ...], source: Path) -> str:
    """The hash, from the files themselves."""
    digest = hashlib.sha256()
    parts: list[tuple[tuple[str, ...], Path]] = [
        ((*ENTRIES[stage], *(one for one in more if ":" not in one)), source)
    ]
    parts += [_own(one) for one in more if ":" in one]
    for entries, root in parts:
        for file in sorted(closure(entries, root)):
            digest.update(f"{file.relative_to(root)} {_read(file, root)[0]}\0".encode())
    return digest.hexdigest()


def _own(text: str) -> tuple[tuple[str, ...], Path]:
    """Module of `package.module:name`, and the folder that it would be imported from."""
    module = text.partition(":")[0]
    spec = find_spec(module.partition(".")[0])
    folders = spec and spec.submodule_search_locations
    root = Path(next(iter(folders)) if folders else (spec and spec.origin) or "").parent
    if not _files(module, root):
        raise UserError(f"{text!r} names no module that can be imported (PYTHONPATH)")
    return (module,), root


def closure(entries: tuple[str, ...], source: Path = SOURCE) -> set[Path]:
    """Files of the entry points and of all that they import, directly or not."""
    found: set[Path] = set()
    left: list[Path] = []
    for entry in entries:
        named = sorted(source.glob(entry)) if "/" in entry else _files(entry, source)
        if not named:
            raise FileNotFoundError(f"entry point {entry} does not exist under {source}")
        left += named
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += _read(file, source)[1]
    return found


def _files(module: str, source: Path) -> list[Path]:
    """The file of a module and those of the rooms around it; none for a name in a module.

    The two packages' own `__init__` are no part of it: they hand out names, and make transformers
    know trimmed checkpoints, which stages that read some declare.
    """
    path = source / module.replace(".", "/")
    own = next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)
    if own is None:
        return []
    rooms = (source / folder / "__init__.py" for folder in own.relative_to(source).parents)
    roots = {source / package / "__init__.py" for package in PACKAGES}
    return [file for file in (own, *rooms) if file.is_file() and file not in roots]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        if not isinstance(child, ast.expr):
            yield child
            yield from _statements(child)


def _names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = resolve_name("." * node.level + (node.module or ""), package)
        yield module
        # What is imported from a package may be a module.
        yield from (f"{module}.{alias.name}" for alias in node.names)


@cache
def _read(file: Path, source: Path) -> tuple[str, tuple[Path, ...]]:
    """What a file says, and the files of ours and of its own package that it imports, wherever it
    does.

    A module says its syntax tree without docstrings, YAML its content.
    """
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return (repr(yaml.safe_load(text)) if file.suffix == ".yaml" else text), ()
    tree = ast.parse(text, str(file))
    package = ".".join(file.relative_to(source).parent.parts)
    statements = [tree, *_statements(tree)]
    names = (name for node in statements for name in _names(node, package))
    known = {*PACKAGES, Path(file.relative_to(source).parts[0]).stem}
    ours = (name for name in names if name.partition(".")[0] in known)
    imported = tuple(dict.fromkeys(found for name in ours for found in _files(name, source)))
    for node in statements:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Texts that stand by themselves: docstrings of modules, functions, attributes.
            body[:] = [one for one in body if not _is_text(one)] or [ast.Pass()]
    return ast.dump(tree), imported


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
