"""Read a configuration: defaults filled in, and every mistake told in one line before a job starts.

`load` checks what the models say (types, ranges, unknown keys), then what they cannot (`check`).
The workflow imports this while it is parsed, so it loads nothing heavy.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

import trimllm_paper
from trimllm.base.errors import UserError
from trimllm.data import spec
from trimllm_paper.config import check
from trimllm_paper.config.domain import Domain
from trimllm_paper.config.explain import MISSING, at, explain
from trimllm_paper.config.models import Config
from trimllm_paper.config.parts import Section, number
from trimllm_paper.config.tree import tree

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


def load(
    raw: dict[str, Any], files: Sequence[str | Path], root: str | Path | None = None
) -> Config:
    """Check a configuration and the domains that it names.

    Args:
        raw: what Snakemake read from files and the command line; not changed.
        files: the files that it was read from, later ones winning; named in complaints.
        root: where relative folders of domains and patterns are looked for after the working
            directory; None takes the project's folder.

    Returns:
        All defaults filled in; `domain_specs`, `near_specs` and `tested` hold the domain files.

    Raises:
        UserError: the first thing that is wrong, in one line.
    """
    given = _plain(raw)
    for file in files:
        read_yaml(file)

    def where(path: Sequence[Any], value: Any) -> str:
        return source_of(path, value, files, given)

    config = validated(Config, _without_null_texts(given, [], where), where)
    roots = (Path(), Path(root or PROJECT))
    for index, name in enumerate(config.domains):
        config.domain_specs[name] = _domain(name, ["domains", index], config, roots, where)
    near = config.tables.near
    for domain, name in list(near.items()):
        # A near domain is of no use without its own: a run of fewer domains need not say so again.
        if domain not in config.domains and _domain_file(domain, config, roots):
            del near[domain]
        elif name not in config.domains:
            config.near_specs[name] = _domain(
                name, ["tables", "near", domain], config, roots, where
            )
    patterns = config.throughput.patterns
    for key, pattern in patterns.items():
        if isinstance(pattern, str):
            found = (root / pattern for root in roots if (root / pattern).is_dir())
            patterns[key] = str(next(found, pattern))
    for path, value, problem in check.problems(config):
        raise ConfigError(where(path, value), path, value, problem)
    return config


def validated(kind: type[S], document: Any, where: Where) -> S:
    """A document as a model; texts of the command line become numbers in place where they must.

    Raises `ConfigError` for the first mistake; unknown keys first, since a misspelt key also makes
    a required one missing.
    """
    while True:
        try:
            return kind.model_validate(document)
        except ValidationError as error:
            node, errors = tree(kind), error.errors(include_url=False)
        told = sorted((explain(one, node, document) for one in errors), key=lambda one: one.order)
        texts = [one for one in told if isinstance(one.value, str) and one.of_type]
        if not any(_read_text(document, one.path, one.value, where) for one in texts):
            first = told[0]
            raise ConfigError(
                where(first.path, first.value), first.path, first.value, first.problem
            )


def _read_text(document: Any, path: list[Any], text: str, where: Where) -> bool:
    """Snakemake leaves the 0.5 of `--config 'trim={"ratio": 0.5}'` a text; a file's text is one."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    if value == text and number(text) is not None:  # 1e-4, which YAML leaves a text
        value = number(text)
    if value == text or where(path, text) != COMMAND_LINE:
        return False
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = value
    return True


def _without_null_texts(node: Any, path: list[Any], where: Where) -> Any:
    """The same with nothing where the command line says null, which Snakemake leaves a text."""
    if isinstance(node, dict):
        return {k: _without_null_texts(value, [*path, k], where) for k, value in node.items()}
    if isinstance(node, list):
        return [_without_null_texts(value, [*path, i], where) for i, value in enumerate(node)]
    return None if node == "null" and where(path, node) == COMMAND_LINE else node


def _plain(node: Any) -> Any:
    """The same with plain dicts and lists (Snakemake hands over its own)."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node


def source_of(
    path: Sequence[Any], value: Any, files: Sequence[str | Path], given: Any = None
) -> str:
    """The file that a value came from: the last one that says it, else the command line.

    With `given`, what files and command line say together, defaults are told from these.
    """
    for file in reversed(files):
        if _plain(at(read_yaml(file), path)) == _plain(value):
            return str(file)
    if given is not None and at(given, path) is MISSING and files:
        return str(files[-1]) if value is MISSING else f"{files[-1]} (by default)"
    return str(files[-1]) if value is MISSING and files else COMMAND_LINE


def _domain_file(name: str, config: Config, roots: Sequence[Path]) -> Path | None:
    every = (root / config.domains_folder / f"{name}.yaml" for root in roots)
    return next((path for path in every if path.is_file()), None)


def read_domain(path: Path) -> Domain:
    """Read and check a domain's file. Raises `ConfigError` for the first mistake in it."""
    raw = read_yaml(path)
    domain = validated(Domain, raw, lambda key, value: str(path))
    for inside, value, problem in spec.problems(raw):
        raise ConfigError(str(path), inside, MISSING if value is None else value, problem)
    domain._name, domain._raw = path.stem, raw
    return domain


def _domain(
    name: str, key: list[Any], config: Config, roots: Sequence[Path], where: Where
) -> Domain:
    """The domain that `key` of the configuration names."""

    def refused(problem: str) -> ConfigError:
        return ConfigError(where(key, name), key, name, problem)

    path = _domain_file(name, config, roots)
    if path is None:
        folders = dict.fromkeys(root / config.domains_folder for root in roots)
        known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
        places, listed = " or ".join(map(str, folders)), ", ".join(known) or "none"
        raise refused(f"unknown domain; no {name}.yaml in {places} (there are: {listed})")
    domain = read_domain(path)
    if domain.train is None and key[0] == "domains":
        raise refused(f"{path} has no training set; it can stand under tables.near only")
    for file in domain.files:
        if not os.path.isfile(file):
            unset = re.search(r"\$\{?(\w+)", file)
            why = f": {unset[1]} is not set in the environment" if unset else ""
            raise refused(f"{path} reads file {file}, which does not exist{why}")
    return domain
