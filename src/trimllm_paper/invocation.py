"""What commands ask of Snakemake: a target, configuration files, and values that are changed."""

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from trimllm_paper.config.load import COMMAND_LINE, PROJECT, ConfigError, read_yaml

DEFAULT = PROJECT / "config" / "config.yaml"  # the configuration that the Snakefile takes by itself


def snakemake(
    targets: Sequence[str], configfiles: Sequence[Path], changes: Sequence[str], *options: str
) -> list[str]:
    """Snakemake's command line for targets, with further options of its own."""
    command = [sys.executable, "-m", "snakemake", *options]
    command += ["--snakefile", str(PROJECT / "Snakefile"), *targets]
    command += ["--configfile", *map(str, configfiles)] if configfiles else []
    return [*command, "--config", *changes] if changes else command


def configuration(configfiles: Sequence[Path], changes: Sequence[str] = ()) -> dict[str, Any]:
    """Configuration files, each on top of those before it (none: the default), and `KEY=VALUE`
    changes, not checked yet. Raises `ConfigError` for what cannot be read."""
    config: dict[str, Any] = {}
    for file in configfiles or [DEFAULT]:
        update_config(config, read_yaml(file) or {})
    for change in changes:
        key, _, text = change.partition("=")
        if not re.fullmatch(r"[A-Za-z]\w+", key) or not text:
            problem = "a change is KEY=VALUE, KEY one of the first level: 'trim={\"documents\": 9}'"
            raise ConfigError(COMMAND_LINE, [key], text, problem)
        with suppress(yaml.YAMLError):
            text = yaml.safe_load(text)
        update_config(config, {key: text})
    return config
