"""SparseGPT, two of every four weights zero (Frantar & Alistarh 2023, arXiv:2301.00774).

Weights are pruned column by column and the others updated by the inverse Hessian of the layer's
inputs. The file stays dense: the pattern pays on GPUs that have sparse tensor cores. Its yardstick
sets the two smaller of every four weights to zero and updates nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trimllm.checkpoint.stock import strip
from trimllm.compress.job import (
    Compressed,
    CompressJob,
    Method,
    change_linears_,
    linear_names,
    one_shot,
    taken,
)


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine."""
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    stock, missing = job.stock()
    # By name: `ignore` is compared with names that the modifier makes up ("lm_head."), so that a
    # head named there was pruned, and the embeddings that it is tied to with it.
    modifier = SparseGPTModifier(
        sparsity=0.5, mask_structure="2:4", targets=linear_names(stock, missing)[0]
    )
    one_shot(stock, job, [modifier])
    return Compressed(strip(taken(stock), missing), facts={"zero_percent": 50.0})


def two_of_four(weight: Tensor) -> Tensor:
    """(out, in) weights, the two smaller of every four neighbours in a row set to zero."""
    grouped = weight.unflatten(1, (-1, 4))
    kept = grouped.abs().topk(2, dim=2).indices
    mask = torch.zeros_like(grouped, dtype=torch.bool).scatter_(2, kept, True)
    return (grouped * mask).flatten(1)


METHOD = Method(
    compress,
    lambda model, settings: change_linears_(model, two_of_four),
    "magnitude, 2:4",
    margin=0.0,
)
