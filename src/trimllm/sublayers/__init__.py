"""Sublayers of a model: list, drop, pack."""

import os

from trimllm.base.names import ADAPTERS
from trimllm.sublayers.families import (  # noqa: F401
    adapter_of,
    device_of,
    family_of,
    register,
    register_named,
)
from trimllm.sublayers.modeling_trimllm import Family  # noqa: F401
from trimllm.sublayers.packing import (  # noqa: F401
    Unit,
    drop,
    original_units,
    unit_layers,
    unit_parameters,
    units,
)

for name in os.environ.get(ADAPTERS, "").split():
    register_named(name)
