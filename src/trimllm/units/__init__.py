"""Units of a model: find, drop, pack."""

from trimllm.base.rooms import make_callable
from trimllm.units.adapters import adapter_of, supported_families
from trimllm.units.packing import (
    Unit,
    drop,
    original_units,
    unit_layers,
    unit_parameters,
    units,
    zero,
)

__all__ = [
    "Unit",
    "adapter_of",
    "drop",
    "original_units",
    "supported_families",
    "unit_layers",
    "unit_parameters",
    "units",
    "zero",
]

make_callable(__name__, units)
