"""What commands ask of Snakemake: a target, configuration files, and values that are changed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakemake.cli import parse_config
from snakemake.utils import update_config

from trimllm_paper.config.load import COMMAND_LINE, MISSING, PROJECT, ConfigError, load, read_yaml
from trimllm_paper.config.models import Config

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
    try:
        update_config(config, parse_config(changes))
    except ValueError as error:
        raise ConfigError(COMMAND_LINE, (), MISSING, str(error)) from None
    return config


def checked(configfiles: Sequence[Path], changes: Sequence[str] = ()) -> Config:
    """The same, checked as a run does. Raises `ConfigError`."""
    return load(configuration(configfiles, changes), configfiles or [DEFAULT])
