"""The processes that train one model together. Without torchrun there is one."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor


def world() -> tuple[int, int]:
    """Rank of this process, and number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(value: Any) -> list[Any]:
    """Every process's value, by rank; all processes call this together."""
    values = [value] * world()[1]
    if dist.is_initialized():
        dist.all_gather_object(values, value)
    return values
