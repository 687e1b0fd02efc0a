"""SparseGPT, two of every four weights zero (Frantar & Alistarh 2023, arXiv:2301.00774).

Weights are pruned column by column and the others updated by the inverse Hessian of the layer's
inputs. The file stays dense: the pattern pays on GPUs that have sparse tensor cores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trimllm.checkpoint.stock import strip
from trimllm.compress.job import Compressed, CompressJob, change_linears_, linear_names
from trimllm.compress.methods import CompressSettings


def compress(job: CompressJob) -> Compressed:
    """Compress by llmcompressor."""
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    stock, missing = job.stock()
    # By name: `ignore` is compared with invented names ("lm_head."), so that an ignored head would
    # be pruned, and with it the embeddings that it is tied to.
    targets = linear_names(stock, missing)[0]
    modifier = SparseGPTModifier(sparsity=0.5, mask_structure="2:4", targets=targets)
    tensors = strip(job.one_shot(stock, [modifier]), missing)
    return Compressed(tensors, facts={"zero_percent": 50.0})


def two_of_four(weight: Tensor) -> Tensor:
    """(out, in) weights, the two smaller of every four neighbours in a row set to zero."""
    grouped = weight.unflatten(1, (-1, 4))
    kept = grouped.abs().topk(2, dim=2).indices
    return torch.zeros_like(grouped).scatter(2, kept, grouped.gather(2, kept)).flatten(1)


def yardstick_(model: nn.Module, settings: CompressSettings) -> None:
    """Zero the two smaller of every four weights and update nothing, in place."""
    change_linears_(model, two_of_four)
