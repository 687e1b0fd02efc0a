"""Read a configuration: fill in defaults, and refuse every mistake in one line before a job starts.

`load` checks types, ranges and keys (the models), then what goes across them (`check`). The
workflow imports this while it is parsed, so it loads nothing heavy.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

import trimllm_paper
from trimllm_paper import kept_runs
from trimllm_paper.config import check
from trimllm_paper.config.domain import Domain, Problem
from trimllm_paper.config.errors import MISSING, ConfigError, Mistake, mistakes, value_at
from trimllm_paper.config.models import Config
from trimllm_paper.config.parts import Section, number

PROJECT = Path(trimllm_paper.__file__).parents[2]
COMMAND_LINE = "command line (--config)"
S = TypeVar("S", bound=Section)
Where = Callable[[Sequence[Any], Any], str]


def read_yaml(path: str | Path) -> Any:
    """Parse a YAML file. Raises `ConfigError` if it is missing or, with the line, broken."""
    try:
        text = kept_runs.read_text(path)
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(f"{path}", (), MISSING, f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}", (), MISSING, "is not valid YAML") from None


def load(raw: dict[str, Any], files: Sequence[str | Path]) -> Config:
    """Check a configuration and the domains that it names.

    Folders of domains and patterns are searched in the working directory, then in the project.

    Args:
        raw: what Snakemake read from files and the command line; not changed.
        files: the files that it was read from, later ones override; named in errors.

    Returns:
        All defaults filled in; `domain_specs`, `near_specs` and `tested` hold the domain files.

    Raises:
        ConfigError: the first mistake, in one line.
    """
    for file in files:
        read_yaml(file)

    def where(path: Sequence[Any], value: Any) -> str:
        return source_of(path, value, files, raw)

    document = copy.deepcopy(raw)
    config = validated(Config, document, where)
    patterns = config.throughput.patterns
    for key, pattern in patterns.items():
        if isinstance(pattern, str):
            places = (pattern, str(PROJECT / pattern))
            patterns[key] = next(filter(kept_runs.is_folder, places), pattern)
    for path, problem in chain(_read_domains(config), check.problems(config)):
        value = value_at(document, path)
        if value is MISSING:
            value = value_at(config.model_dump(mode="json"), path)
        raise ConfigError(where(path, value), path, value, problem)
    return config


def validated(kind: type[S], document: Any, where: Where) -> S:
    """A document as a model; texts of the command line become numbers in place where they must."""
    while True:
        try:
            return kind.model_validate(document)
        except ValidationError as error:
            found = mistakes(error, document)
        if not any([_read_text(document, one, where) for one in found]):
            path, value, problem, _ = found[0]
            raise ConfigError(where(path, value), path, value, problem)


def _read_text(document: Any, mistake: Mistake, where: Where) -> bool:
    """Snakemake leaves the 0.5 of `--config 'trim={"ratio": 0.5}'` a text; a file's text is one."""
    path, text, _, of_type = mistake
    if not of_type or not isinstance(text, str) or where(path, text) != COMMAND_LINE:
        return False
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    value = number(text) if isinstance(value, str) else value  # 1e-4, which YAML leaves a text
    if value is not None:
        value_at(document, path[:-1])[path[-1]] = value
    return value is not None


def source_of(
    path: Sequence[Any], value: Any, files: Sequence[str | Path], given: Any = None
) -> str:
    """The file that a value came from: the last one that has it, else the command line.

    With `given`, the content of files and command line together, defaults are named as such.
    """
    for file in reversed(files):
        if value_at(read_yaml(file), path) == value:
            return str(file)
    if files and value is MISSING:
        return str(files[-1])
    default = files and given is not None and value_at(given, path) is MISSING
    return f"{files[-1]} (by default)" if default else COMMAND_LINE


def read_domain(path: Path) -> Domain:
    """Read and check a domain's file. Raises `ConfigError` for the first mistake in it."""
    raw = read_yaml(path)
    domain = validated(Domain, raw, lambda key, value: str(path))
    domain._name, domain._raw = path.stem, raw
    for inside, problem in domain.problems():
        value = value_at(raw, inside)
        raise ConfigError(str(path), inside, MISSING if value is None else value, problem)
    return domain


def _read_domains(config: Config) -> Iterator[Problem]:
    """Read the domain files that a configuration names; problems of these names and files."""
    folders = [root / config.domains_folder for root in (Path(), PROJECT)]
    places = " or ".join(dict.fromkeys(map(str, folders)))
    known = check.listed({file.stem for one in folders for file in kept_runs.glob(one, "*.yaml")})

    def file_of(name: str) -> Path | None:
        paths = (folder / f"{name}.yaml" for folder in folders)
        return next(filter(kept_runs.is_file, paths), None)

    near, of_tables = config.tables.near, config.tables.domains or []
    named: list[tuple[list[Any], str]]
    named = [(["domains", index], name) for index, name in enumerate(config.domains)]
    named += [(["tables", "domains", index], name) for index, name in enumerate(of_tables)]
    named += [(["tables", "near", of], name) for of, name in near.items()]
    for key, name in named:
        if file_of(name) is None:
            yield key, f"unknown domain; no {name}.yaml in {places} ({known})"
    for of in near:
        if file_of(of) is None:
            yield ["tables", "near", of], f"{of} is not among `domains`"
    # A run of fewer domains need not repeat this in the keys of `tables`.
    of_tables[:] = [name for name in of_tables if name in config.domains]
    for other in {*near} - {*config.domains}:
        del near[other]
    named = [(key, name) for key, name in named if name in (*config.domains, *near.values())]
    # A model's evaluations lie in one folder, whichever domain a task belongs to.
    owner: dict[str, str] = {}
    for key, name in named:
        specs = config.domain_specs if name in config.domains else config.near_specs
        specs[name] = domain = config.tested.get(name) or read_domain(Path(file_of(name) or ""))
        if domain.train is None and key[0] == "domains":
            yield key, "has no training set; it can stand under tables.near only"
        # Kept results need no documents: their hashes are enough.
        for file in () if kept_runs.is_kept(config.results) else domain.files:
            if not os.path.isfile(file):
                unset = re.search(r"\$\{?(\w+)", file)
                why = f": {unset[1]} is not set in the environment" if unset else ""
                yield key, f"reads file {file}, which does not exist{why}"
        for wheel in domain.wheels:
            if wheel not in config.wheels:
                problem = f"reads wheel {wheel!r}, which is not among `wheels`"
                yield key, f"{problem} ({check.listed(config.wheels)})"
        for task in domain.tests:
            if owner.setdefault(task, name) != name:
                yield key, f"its test {task} is also one of {owner[task]}; rename one of them"
