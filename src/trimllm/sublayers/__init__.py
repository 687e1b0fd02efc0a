"""Sublayers of a model: list, drop, pack."""

import os

from trimllm.base.names import ADAPTERS
from trimllm.sublayers.families import adapter_of, device_of, family_of, register, register_named
from trimllm.sublayers.modeling_trimllm import Family
from trimllm.sublayers.packing import (
    Unit,
    drop,
    original_units,
    unit_layers,
    unit_parameters,
    units,
)

__all__ = [
    *("Family", "Unit", "adapter_of", "device_of", "drop", "family_of", "original_units"),
    *("register", "register_named", "unit_layers", "unit_parameters", "units"),
]

for name in os.environ.get(ADAPTERS, "").split():
    register_named(name)
