"""Read a configuration: defaults filled in, and every mistake told in one line before a job starts.

`load` checks what the models say (types, ranges, unknown keys), then what they cannot (`check`).
The workflow imports this while it is parsed, so it loads nothing heavy.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

import trimllm_paper
from trimllm.base.errors import UserError
from trimllm.base.files import MANIFEST
from trimllm_paper.config import check
from trimllm_paper.config.domain import Domain, Problem
from trimllm_paper.config.explain import MISSING, Mistake, explain, tree
from trimllm_paper.config.models import Config
from trimllm_paper.config.parts import Section, number

PROJECT = Path(trimllm_paper.__file__).parents[2]
COMMAND_LINE = "command line (--config)"
S = TypeVar("S", bound=Section)
Where = Callable[[Sequence[Any], Any], str]


class ConfigError(UserError):
    """A mistake in the configuration: one line naming file, key and value."""

    def __init__(self, where: str, path: Sequence[Any], value: Any, problem: str) -> None:
        key = ".".join(map(str, path))
        shown = "" if value is MISSING else f" = {json.dumps(value, default=str)[:120]}"
        super().__init__(f"{where}: {key}{shown}: {problem}" if key else f"{where}: {problem}")


def read_yaml(path: str | Path) -> Any:
    """Parse a YAML file; `ConfigError` says in which line it is broken, or that it is not there."""
    try:
        with open(path, encoding="utf-8") as stream:
            return yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(f"{path}", (), MISSING, f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}", (), MISSING, "is not valid YAML") from None


def load(raw: dict[str, Any], files: Sequence[str | Path]) -> Config:
    """Check a configuration and the domains that it names.

    Folders of domains and patterns are looked for in the working directory, then in the project.

    Args:
        raw: what Snakemake read from files and the command line; not changed.
        files: the files that it was read from, later ones winning; named in complaints.

    Returns:
        All defaults filled in; `domain_specs`, `near_specs` and `tested` hold the domain files.

    Raises:
        UserError: the first thing that is wrong, in one line.
    """
    for file in files:
        read_yaml(file)

    def where(path: Sequence[Any], value: Any) -> str:
        return source_of(path, value, files, raw)

    config = validated(Config, copy.deepcopy(raw), where)
    patterns = config.throughput.patterns
    for key, pattern in patterns.items():
        if isinstance(pattern, str) and not Path(pattern).is_dir() and (PROJECT / pattern).is_dir():
            patterns[key] = str(PROJECT / pattern)
    for path, value, problem in chain(_read_domains(config), check.problems(config)):
        raise ConfigError(where(path, value), path, value, problem)
    return config


def validated(kind: type[S], document: Any, where: Where) -> S:
    """A document as a model; texts of the command line become numbers in place where they must."""
    while True:
        try:
            return kind.model_validate(document)
        except ValidationError as error:
            node, errors = tree(kind), error.errors(include_url=False)
        told = sorted(explain(one, node) for one in errors)
        if not any(_read_text(document, one, where) for one in told):
            _, path, value, problem, _ = told[0]
            raise ConfigError(where(path, value), path, value, problem)


def _read_text(document: Any, mistake: Mistake, where: Where) -> bool:
    """Snakemake leaves the 0.5 of `--config 'trim={"ratio": 0.5}'` a text; a file's text is one."""
    _, path, text, _, of_type = mistake
    if not of_type or not isinstance(text, str) or where(path, text) != COMMAND_LINE:
        return False
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    value = number(text) if isinstance(value, str) else value  # 1e-4, which YAML leaves a text
    if value is not None:
        _at(document, path[:-1])[path[-1]] = value
    return value is not None


def _at(node: Any, path: Sequence[Any]) -> Any:
    """What stands at a path in nested mappings and lists, or `MISSING`."""
    try:
        return functools.reduce(lambda inside, step: inside[step], path, node)
    except (KeyError, IndexError, TypeError):
        return MISSING


def source_of(
    path: Sequence[Any], value: Any, files: Sequence[str | Path], given: Any = None
) -> str:
    """The file that a value came from: the last one that says it, else the command line.

    With `given`, what files and command line say together, defaults are told from these.
    """
    for file in reversed(files):
        if _at(read_yaml(file), path) == value:
            return str(file)
    if files and value is MISSING:
        return str(files[-1])
    default = files and given is not None and _at(given, path) is MISSING
    return f"{files[-1]} (by default)" if default else COMMAND_LINE


def is_reference(folder: str | Path) -> bool:
    """Whether a folder of results holds kept ones, which are rendered and never made again."""
    return (Path(folder) / MANIFEST).is_file()


def read_domain(path: Path) -> Domain:
    """Read and check a domain's file. Raises `ConfigError` for the first mistake in it."""
    raw = read_yaml(path)
    domain = validated(Domain, raw, lambda key, value: str(path))
    domain._name, domain._raw = path.stem, raw
    for inside, value, problem in domain.problems():
        raise ConfigError(str(path), inside, MISSING if value is None else value, problem)
    return domain


def _read_domains(config: Config) -> Iterator[Problem]:
    """Read the domains that a configuration names, and say what is wrong with these names."""
    folders = [root / config.domains_folder for root in (Path(), PROJECT)]

    def file_of(name: str) -> Path | None:
        return next((one for folder in folders if (one := folder / f"{name}.yaml").is_file()), None)

    # Of the documents of what is kept the hashes are enough.
    is_kept = is_reference(config.results)
    near = config.tables.near
    for other in [*near]:
        # A near domain is of no use without its own: a run of fewer domains need not say so again.
        if other not in config.domains and file_of(other):
            del near[other]
    named: list[tuple[list[Any], str]]
    named = [(["domains", index], name) for index, name in enumerate(config.domains)]
    named += [(["tables", "near", of], name) for of, name in near.items()]
    # A model's evaluations lie in one folder, whichever domain a task belongs to.
    owner: dict[str, str] = {}
    for key, name in named:
        if (path := file_of(name)) is None:
            known = check.listed({file.stem for one in folders for file in one.glob("*.yaml")})
            places = " or ".join(dict.fromkeys(map(str, folders)))
            yield key, name, f"unknown domain; no {name}.yaml in {places} ({known})"
            return
        domain = config.tested.get(name) or read_domain(path)
        specs = config.domain_specs if name in config.domains else config.near_specs
        specs[name] = domain
        if domain.train is None and key[0] == "domains":
            yield key, name, f"{path} has no training set; it can stand under tables.near only"
        for file in () if is_kept else domain.files:
            if not os.path.isfile(file):
                unset = re.search(r"\$\{?(\w+)", file)
                why = f": {unset[1]} is not set in the environment" if unset else ""
                yield key, name, f"{path} reads file {file}, which does not exist{why}"
        for wheel in domain.wheels:
            if wheel not in config.wheels:
                known = check.listed(config.wheels)
                yield key, name, f"reads wheel {wheel!r}, which is not among `wheels` ({known})"
        for task in domain.tests:
            if owner.setdefault(task, name) != name:
                yield key, name, f"its test {task} is one of {owner[task]} too; rename one of them"
