"""Units of a model: find, drop, pack; `trimllm.units(model)` lists them."""

import os

from trimllm.base.names import ADAPTERS
from trimllm.base.rooms import make_callable
from trimllm.units import families
from trimllm.units.adapters import (
    Adapter,
    adapter_of,
    register,
    register_named,
    supported_families,
)
from trimllm.units.packing import (
    Unit,
    drop,
    original_units,
    unit_layers,
    unit_parameters,
    units,
)

make_callable(__name__, units)
for name in os.environ.get(ADAPTERS, "").split():
    register_named(name)
