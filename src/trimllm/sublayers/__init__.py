"""Units of a model: find, drop, pack; `trimllm.units(model)` lists them."""

import os

from trimllm.base.names import ADAPTERS
from trimllm.sublayers import families
from trimllm.sublayers.adapters import (
    Adapter,
    adapter_of,
    register,
    register_named,
    supported_families,
)
from trimllm.sublayers.packing import (
    Unit,
    drop,
    original_units,
    unit_layers,
    unit_parameters,
    units,
)

for name in os.environ.get(ADAPTERS, "").split():
    register_named(name)
