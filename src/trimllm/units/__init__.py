"""Units of a model: find, drop, pack; `trimllm.units(model)` lists them."""

from trimllm.base.rooms import make_callable
from trimllm.units import families
from trimllm.units.adapters import Adapter, adapter_of, register, supported_families
from trimllm.units.packing import (
    Unit,
    drop,
    original_units,
    unit_layers,
    unit_parameters,
    units,
)

make_callable(__name__, units)
