"""Sublayers of a model: list, drop, pack."""

import os

from trimllm.base.names import ADAPTERS
from trimllm.sublayers.families import (
    Unit,
    adapter_of,
    device_of,
    drop,
    family_of,
    original_units,
    register,
    register_named,
    size_of,
    unit_layers,
    unit_parameters,
    units,
)
from trimllm.sublayers.modeling_trimllm import Family

for name in os.environ.get(ADAPTERS, "").split():
    register_named(name)
