"""The configuration: defaults filled in, and every mistake told in one line before a job starts.

`load` checks what the schema can say (types, ranges, unknown keys), then what it cannot: names
that must point at something, and kept fractions that the trim chain must reach. The workflow
imports this module while it is parsed, so it loads nothing heavy.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from trimllm import compress
from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for as drops_for  # the workflow asks for it here
from trimllm.data import spec
from trimllm.throughput.patterns import kept_units
from trimllm.throughput.shapes import SHAPES
from trimllm_paper.config.problems import model_problems, table_problems, trim_problems

COMMAND_LINE = "command line (--config)"
COMPRESSORS = tuple(compress.METHODS)
# How many test documents the authors' code calibrates on.
AUTHORS_DOCUMENTS = 50


# Stands for the value of a key that is not there.
MISSING = object()


class ConfigError(UserError):
    """A mistake in the configuration: one line naming file, key and value."""

    def __init__(self, where: str, path: Sequence[Any], value: Any, problem: str) -> None:
        key = ".".join(map(str, path))
        shown = "" if value is MISSING else f" = {json.dumps(value, default=str)[:120]}"
        super().__init__(f"{where}: {key}{shown}: {problem}" if key else f"{where}: {problem}")


def read_yaml(path: Path) -> Any:
    """Parse a YAML file; `ConfigError` says in which line it is broken."""
    try:
        with path.open(encoding="utf-8") as stream:
            return yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}", (), MISSING, "is not valid YAML") from None


def load(
    config: dict[str, Any], root: Path, files: Sequence[str | Path]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check a configuration and the domains that it names.

    Args:
        config: what Snakemake read from files and the command line; not changed.
        root: folder of the Snakefile.
        files: the files that it was read from, later ones winning; named in complaints.

    Returns:
        (the configuration with all defaults filled in, domain name -> its file's content)

    Raises:
        UserError: the first thing that is wrong, in one line.
    """
    schemas = root / "workflow" / "schemas"
    schema = read_yaml(schemas / "config.schema.yaml")
    full = copy.deepcopy(_plain(config))
    full = from_command_line(full, schema, schema, [], files)
    fill_defaults(full, schema, schema)
    validate(full, schema, files)
    names = enumerate(full["domains"])
    domains = {
        name: read_domain(name, ["domains", index], full, root, files) for index, name in names
    }
    _resolve_patterns(full, root)
    # A near domain is of no use without its own: a run of fewer domains need not say so again.
    folder, near = root / full["domains_folder"], full["tables"]["near"]
    for name in [name for name in near if name not in domains]:
        if (folder / f"{name}.yaml").is_file():
            del near[name]
    for path, value, problem in _problems(full, domains):
        raise ConfigError(source_of(path, value, files), path, value, problem)
    return full, domains


def _resolve_patterns(config: dict[str, Any], root: Path) -> None:
    """Paths of recorded chains, relative to the Snakefile's folder, made absolute in place."""
    patterns = config["benchmark"]["patterns"]
    for name, pattern in patterns.items():
        if isinstance(pattern, str):
            patterns[name] = str(root / pattern)


def load_near(
    config: dict[str, Any], root: Path, files: Sequence[str | Path]
) -> dict[str, dict[str, Any]]:
    """The domains that are only tested on: name -> their file's content.

    Args:
        config: resolved, as `load` returns it.
        root, files: as in `load`.
    """
    near = config["tables"]["near"].items()
    return {
        name: read_domain(name, ["tables", "near", domain], config, root, files)
        for domain, name in near
        if name not in config["domains"]
    }


def read_domain(
    name: str, key: list[Any], config: dict[str, Any], root: Path, files: Sequence[str | Path]
) -> dict[str, Any]:
    """Read and check the file of one domain, which `key` of the configuration names."""
    folder = root / config["domains_folder"]
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        problem = f"unknown domain; {path} does not exist (there are: {known})"
        raise ConfigError(source_of(key, name, files), key, name, problem)
    domain = read_yaml(path)
    validate(domain, read_yaml(root / "workflow" / "schemas" / "domain.schema.yaml"), [path])
    for inside, value, problem in spec.problems(domain):
        raise ConfigError(str(path), inside, MISSING if value is None else value, problem)
    if "train" not in domain and key[0] == "domains":
        problem = f"{path} has no training set; it can stand under tables.near only"
        raise ConfigError(source_of(key, name, files), key, name, problem)
    for file in local_files(domain):
        if not os.path.isfile(file):
            unset = re.search(r"\$\{?(\w+)", file)
            why = f": {unset[1]} is not set in the environment" if unset else ""
            problem = f"{path} reads file {file}, which does not exist{why}"
            raise ConfigError(source_of(key, name, files), key, name, problem)
    return {"name": name, **domain}


def _pattern(validator: Any, pattern: str, text: Any, schema: Any) -> Iterator[ValidationError]:
    """A pattern's `$` is the end of the text; Python's also comes before a last line break."""
    if isinstance(text, str) and (text.endswith("\n") or not re.search(pattern, text)):
        yield ValidationError(f"{text!r} does not match {pattern!r}")


Validator = validators.extend(Draft202012Validator, {"pattern": _pattern})


def validate(document: Any, schema: dict[str, Any], files: Sequence[str | Path]) -> None:
    """Raise `ConfigError` for the first violation of the schema."""
    errors = sorted(Validator(schema).iter_errors(document), key=_depth)
    if errors:
        path, value, problem = explain(errors[0])
        raise ConfigError(source_of(path, value, files), path, value, problem)


def _depth(error: ValidationError) -> tuple[bool, int]:
    """Unknown keys first: a misspelt key also makes a required one missing."""
    return error.validator != "additionalProperties", len(error.absolute_path)


def explain(error: ValidationError) -> tuple[list[Any], Any, str]:
    """Key, value and problem of a schema violation, in words."""
    path, value, rule = list(error.absolute_path), error.instance, error.validator
    limit, schema = error.validator_value, error.schema
    if rule == "additionalProperties":
        known = sorted(schema.get("properties", {}))
        unknown = sorted(set(value) - set(known))[0]
        close = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return [*path, unknown], value[unknown], f"unknown key; {hint}"
    if "propertyNames" in error.absolute_schema_path:
        return path, value, f"not a good name; allowed: {schema.get('description', '')}"
    if rule == "required":
        missing = next(key for key in limit if key not in value)
        return [*path, missing], MISSING, f"missing; it is {_meaning(schema, missing)}"
    if rule == "dependentRequired":
        wanted = [f"{key} needs {', '.join(o)}" for key, o in limit.items() if key in value]
        return path, value, f"incomplete: {'; '.join(wanted)}"
    if rule == "oneOf":
        return path, value, f"must be one kind: {schema.get('description', '')}"
    problem = _problem(rule, limit, value) or error.message
    meaning = schema.get("description")
    return path, value, f"{problem}; it is {meaning}" if meaning else problem


def _problem(rule: str, limit: Any, value: Any) -> str | None:
    """What a value of a key violates, in words."""
    match rule:
        case "type":
            as_text = isinstance(value, str) and "string" not in limit and _number(value)
            hint = f" (YAML takes {value} for a text; write a dot: 1.0e-4)" if as_text else ""
            return f"wrong type {_type(value)}, must be {_types(limit)}{hint}"
        case "enum":
            return f"must be one of {', '.join(map(str, limit))}"
        case "minimum":
            return f"must be at least {limit}"
        case "maximum":
            return f"must be at most {limit}"
        case "exclusiveMinimum":
            return f"must be above {limit}"
        case "minItems" | "minLength" | "minProperties":
            return "must not be empty"
        case "uniqueItems":
            return "names something twice"
        case "pattern":
            return f"not of the form {limit}"
    return None


def _meaning(schema: dict[str, Any], key: str) -> str:
    described = schema.get("properties", {}).get(key, {})
    return described.get("description", "required")


def _type(value: Any) -> str:
    names = {bool: "true/false", int: "integer", float: "number", str: "text", list: "list"}
    return "nothing" if value is None else names.get(type(value), "mapping")


def _types(wanted: Any) -> str:
    words = {"string": "a text", "integer": "an integer", "number": "a number", "null": "null"}
    words |= {"boolean": "true or false", "array": "a list", "object": "a mapping"}
    return " or ".join(words[one] for one in ([wanted] if isinstance(wanted, str) else wanted))


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _plain(node: Any) -> Any:
    """The same with plain dicts, lists and scalars (Snakemake hands over its own)."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node


def fill_defaults(node: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Set every key that is left out and has a default, in place."""
    if "$ref" in schema:
        schema = _referenced(schema["$ref"], root)
    if not isinstance(node, dict):
        return
    properties = schema.get("properties", {})
    for key, sub in properties.items():
        if "default" in sub:
            node.setdefault(key, copy.deepcopy(sub["default"]))
        if key in node:
            fill_defaults(node[key], sub, root)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        for key in node.keys() - properties.keys():
            fill_defaults(node[key], others, root)


def from_command_line(
    node: Any, schema: dict[str, Any], root: dict[str, Any], path: list[Any], files: Sequence[Any]
) -> Any:
    """The same with numbers where `--config 'trim={"ratio": 0.5}'` gave texts, as Snakemake does.

    What a file says is left alone: there a text is a text.
    """
    schema = _referenced(schema["$ref"], root) if "$ref" in schema else schema
    if isinstance(node, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        subs = {key: known.get(key, others) for key in node}
        return {
            key: from_command_line(value, subs[key], root, [*path, key], files)
            if isinstance(subs[key], dict)
            else value
            for key, value in node.items()
        }
    if isinstance(node, list) and "items" in schema:
        steps = enumerate(node)
        return [from_command_line(v, schema["items"], root, [*path, i], files) for i, v in steps]
    takes_text = "string" in schema.get("type", "string")
    if isinstance(node, str) and (not takes_text or node == "null"):
        try:
            read = yaml.safe_load(node)
        except yaml.YAMLError:
            return node
        return read if source_of(path, node, files) == COMMAND_LINE else node
    return node


def _referenced(pointer: str, root: dict[str, Any]) -> dict[str, Any]:
    for step in pointer.removeprefix("#/").split("/"):
        root = root[step]
    return root


def source_of(path: Sequence[Any], value: Any, files: Sequence[str | Path]) -> str:
    """The file that a value came from: the last one that says it, else the command line."""
    for file in reversed(files):
        node = read_yaml(Path(file))
        for step in path:
            inside = dict(enumerate(node)) if isinstance(node, list) else node
            if not isinstance(inside, dict) or step not in inside:
                break
            node = inside[step]
        else:
            if _plain(node) == _plain(value):
                return str(file)
    return str(files[-1]) if value is MISSING and files else COMMAND_LINE


def padded(drops: int, units: int) -> str:
    """Number of drops as it stands in paths: as many digits as any run of the model needs."""
    return f"{drops:0{max(2, len(str(units - 1)))}d}"


def _problems(
    config: dict[str, Any], domains: dict[str, Any]
) -> Iterator[tuple[list[Any], Any, str]]:
    """Key, value and problem of what the schema cannot say."""
    mirror, wheels = config["mirror"], config["wheels"]
    if mirror is not None and not Path(mirror).is_dir():
        yield ["mirror"], mirror, "no such folder"
    for index, (name, domain) in enumerate(domains.items()):
        for wheel in named(domain, "wheel"):
            if wheel not in wheels:
                known = ", ".join(sorted(wheels)) or "none"
                problem = f"reads wheel {wheel!r}, which is not among `wheels` (there are: {known})"
                yield ["domains", index], name, problem
    yield from _benchmark_problems(config["benchmark"], domains)
    yield from _compress_problems(config["compress"])
    processes, batch = config["compute"]["processes"], config["finetune"]["batch_size"]
    if processes > batch:
        problem = f"more than finetune.batch_size = {batch}: a process without a document idles"
        yield ["compute", "processes"], processes, problem
    for name, model in config["models"].items():
        yield from model_problems(name, model, wheels)
        yield from trim_problems(name, model, config["trim"])
    yield from table_problems(config, domains)


def _benchmark_problems(
    bench: dict[str, Any], domains: dict[str, Any]
) -> Iterator[tuple[list[Any], Any, str]]:
    at = ["benchmark"]
    if bench["domain"] not in (None, *domains):
        yield [*at, "domain"], bench["domain"], f"not among `domains` ({', '.join(domains)})"
    for name in bench["composed"]:
        if name not in bench["compressors"]:
            yield [*at, "composed"], bench["composed"], f"{name} is not among `compressors`"
    if bench["generate"] >= bench["tokens"]:
        problem = f"no prompt is left of benchmark.tokens = {bench['tokens']}"
        yield [*at, "generate"], bench["generate"], problem
    for index, name in enumerate(bench["shapes"]):
        if name not in SHAPES:
            yield [*at, "shapes", index], name, f"unknown shape (there are: {', '.join(SHAPES)})"
    for name, pattern in bench["patterns"].items():
        if isinstance(pattern, str) and not os.path.isfile(pattern):
            yield [*at, "patterns", name], pattern, "no such file; a number or a chain's record"
            continue
        for shape_name in bench["shapes"]:
            for index, kept in enumerate(bench["kept_percent"]):
                try:
                    kept_units(SHAPES[shape_name]["num_hidden_layers"], kept, pattern)
                except UserError as error:
                    yield [*at, "kept_percent", index], kept, str(error)


def named(node: Any, key: str) -> list[str]:
    """Values of every `key` in a domain file, each once, in order."""
    found: dict[str, None] = {}
    values = node.items() if isinstance(node, dict) else ()
    for one, value in values:
        names = [value] if one == key and isinstance(value, str) else named(value, key)
        found.update(dict.fromkeys(names))
    for value in node if isinstance(node, list) else ():
        found.update(dict.fromkeys(named(value, key)))
    return list(found)


def local_files(domain: dict[str, Any]) -> list[str]:
    """Local files that a domain is read from, environment variables filled in."""
    return [os.path.expanduser(os.path.expandvars(file)) for file in named(domain, "file")]


def _compress_problems(section: dict[str, Any]) -> Iterator[tuple[list[Any], Any, str]]:
    """Methods whose engine is not installed."""
    for index, method in enumerate(section["methods"]):
        engine = section["engines"].get(method)
        if gone := compress.missing_package(method, engine):
            at = ["compress", "methods", index]
            yield at, method, f"needs package {gone}, which is not installed; run `make setup`"
