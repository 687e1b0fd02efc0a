"""The configuration: `load` reads and checks one; `Config` tells what every key means."""

from trimllm_paper.config.domain import Domain
from trimllm_paper.config.explain import MISSING
from trimllm_paper.config.load import (
    ConfigError,
    is_reference,
    load,
    read_domain,
    read_yaml,
    source_of,
)
from trimllm_paper.config.models import Config

__all__ = [
    "MISSING",
    "Config",
    "ConfigError",
    "Domain",
    "is_reference",
    "load",
    "read_domain",
    "read_yaml",
    "source_of",
]
