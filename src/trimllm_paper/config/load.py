"""Read a configuration: fill in defaults, and refuse every mistake in one line before a job starts.

`load` checks types, ranges and keys (the models), then what goes across them (`check`). The
workflow imports this while it is parsed, so it loads nothing heavy.
"""

import functools
import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

import trimllm_paper
from trimllm.base.errors import UserError
from trimllm_paper import kept_runs
from trimllm_paper.config import check
from trimllm_paper.config.domain import Domain, Problem
from trimllm_paper.config.models import Config
from trimllm_paper.config.parts import UNKNOWN, Section, listed

PROJECT = Path(trimllm_paper.__file__).parents[2]
COMMAND_LINE = "command line (--config)"
S = TypeVar("S", bound=Section)
Files = Sequence[str | Path]
MISSING = object()  # the value of a key that is not there


class ConfigError(UserError):
    """A mistake in the configuration: one line with file, key, value and problem."""

    def __init__(self, where: str, path: Sequence[Any], value: Any, problem: str) -> None:
        key = ".".join(map(str, path))
        shown = "" if value is MISSING else f" = {json.dumps(value, default=str)[:120]}"
        super().__init__(f"{where}: {key}{shown}: {problem}" if key else f"{where}: {problem}")


def value_at(document: Any, path: Sequence[Any]) -> Any:
    """The value at a path in nested mappings and lists, or `MISSING`."""
    try:
        return functools.reduce(lambda inside, step: inside[step], path, document)
    except (KeyError, IndexError, TypeError):
        return MISSING


def mistake(document: Any, files: Files, path: Sequence[Any], problem: str) -> ConfigError:
    """A mistake at a path: it stands in the last file with this value, else in the command line."""
    value = value_at(document, path)
    having = (str(file) for file in reversed(files) if value_at(read_yaml(file), path) == value)
    return ConfigError(next(having, COMMAND_LINE), path, value, problem)


def validated(kind: type[S], document: Any, files: Files) -> S:
    """A document as a model; the first mistake in it is raised as `ConfigError`."""
    try:
        return kind.model_validate(document)
    except ValidationError as failed:
        errors = failed.errors(include_url=False)
    # An unknown key, since it leaves another one missing; else the deepest: a union reports each
    # member that fails.
    error = min(errors, key=lambda one: (one["type"] != UNKNOWN, -len(one["loc"])))
    path = list[Any]()
    for step in error["loc"]:  # members of unions are steps of pydantic's, but no keys
        if error["type"] == "missing" or value_at(document, [*path, step]) is not MISSING:
            path.append(step)
    if error["type"] == UNKNOWN:
        path.append(error["ctx"]["key"])
    raise mistake(document, files, path, error["msg"].removeprefix("Value error, "))


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


def load(raw: dict[str, Any], files: Files) -> Config:
    """Check a configuration that was read from files (later ones override) and the command line.
    Raises `ConfigError` for the first mistake."""
    config = validated(Config, raw, files)
    for path, problem in chain(_read_domains(config), check.problems(config)):
        raise mistake(raw, files, path, problem)
    return config


def read_domain(path: Path) -> Domain:
    """Read and check a domain's file. Raises `ConfigError` for the first mistake in it."""
    raw = read_yaml(path)
    domain = validated(Domain, raw, [path])
    domain._path, domain._raw = path, raw
    for inside, problem in domain.problems():
        raise mistake(raw, [path], inside, problem)
    return domain


def _read_domains(config: Config) -> Iterator[Problem]:
    """Read the domain files that a configuration names, from the working directory or else from
    the project; problems of these names and files."""
    folders = dict.fromkeys([Path(config.domains_folder), PROJECT / config.domains_folder])
    files = {file.stem: file for one in reversed(folders) for file in kept_runs.glob(one, "*.yaml")}
    near, of_tables = config.tables.near, config.tables.domains or []
    named: list[tuple[list[Any], str]] = [(["domains", i], n) for i, n in enumerate(config.domains)]
    named += [(["tables", "domains", index], name) for index, name in enumerate(of_tables)]
    named += [(["tables", "near", of], name) for of, other in near.items() for name in (of, other)]
    for key, name in named:
        if name not in files:
            places = " or ".join(map(str, folders))
            yield key, f"unknown domain; no {name}.yaml in {places} ({listed(files)})"
    # A run of fewer domains need not repeat this in the keys of `tables`.
    of_tables[:] = [name for name in of_tables if name in config.domains]
    for other in {*near} - {*config.domains}:
        del near[other]
    owner: dict[str, str] = {}
    for key, name in named:
        if name not in (*config.domains, *near.values()) or name in config.tested:
            continue
        config.tested[name] = domain = read_domain(files[name])
        if domain.train is None and key[0] == "domains":
            yield key, "has no training set; it can stand under tables.near only"
        # Kept results need no documents: their hashes are enough.
        for file in () if kept_runs.is_kept(config.results) else domain.files:
            if not os.path.isfile(file):
                yield key, f"reads file {file}, which does not exist"
        for wheel in {*domain.wheels} - {*config.wheels}:
            yield key, f"reads wheel {wheel!r}, not among `wheels` ({listed(config.wheels)})"
        # A model's evaluations lie in one folder, whichever domain a task belongs to.
        for task in domain.tests:
            if owner.setdefault(task, name) != name:
                yield key, f"its test {task} is also one of {owner[task]}; rename one of them"
