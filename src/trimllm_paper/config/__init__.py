"""The configuration: `load` reads and checks one; `Config` has the meaning of every key."""

from trimllm_paper.config.domain import Domain
from trimllm_paper.config.load import ConfigError, load, read_domain, read_yaml
from trimllm_paper.config.models import Config

__all__ = ["Config", "ConfigError", "Domain", "load", "read_domain", "read_yaml"]
