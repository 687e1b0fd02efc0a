"""SparseGPT, two of every four weights zero (Frantar & Alistarh 2023, arXiv:2301.00774).

Weights are pruned column by column and the others updated by the inverse Hessian of the layer's
inputs. The file stays dense: the pattern pays on GPUs that have sparse tensor cores. Its yardstick
sets the two smaller of every four weights to zero and updates nothing.

llmcompressor brings blocks and their inputs. The loop over columns is ours, in a quarter of the
library's time on a CPU: what four columns leave behind is taken off the others in one product, and
layers that read the same input (queries, keys, values; gate and up) have one Hessian and one loop,
since no row of a weight looks at another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trimllm.base.errors import UserError
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

# Columns whose errors reach the columns behind them in one product.
BLOCK = 128
# Share of the Hessian's mean diagonal that is added to it.
DAMPING = 0.01


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine."""
    stock, missing = job.stock()
    # By name: `ignore` is compared with names that the modifier makes up ("lm_head."), so that a
    # head named there was pruned, and the embeddings that it is tied to with it.
    one_shot(stock, job, [_modifier(linear_names(stock, missing)[0])])
    return Compressed(strip(taken(stock), missing), facts={"zero_percent": 50.0})


def _modifier(targets: list[str]) -> Any:
    """llmcompressor's, with our loop."""
    from compressed_tensors.offload import align_modules, update_offload_parameter
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    class Joined(SparseGPTModifier):
        _first: dict[nn.Module, nn.Module] = {}  # with that input; each modifier has its own
        _last: tuple[nn.Module, Tensor] | None = None

        def calibrate_module(
            self, module: nn.Module, args: tuple[Tensor, ...], _output: Tensor
        ) -> None:
            if self._last and self._last[1] is args[0]:
                self._first[module] = self._last[0]
                return
            self._first[module], self._last = module, (module, args[0])
            super().calibrate_module(module, args, _output)

        @torch.no_grad()
        def compress_modules(self) -> None:
            for first in list(self._num_samples):
                modules = [module for module, other in self._first.items() if other is first]
                with align_modules(modules):
                    rows = [len(module.weight) for module in modules]
                    joined = torch.cat([module.weight for module in modules])
                    pruned = prune(joined, self._hessians.pop(first))
                    for module, weight in zip(modules, pruned.split(rows), strict=True):
                        update_offload_parameter(module, "weight", weight.to(module.weight.dtype))
                del self._num_samples[first]
            self._first, self._last = {}, None

    return Joined(sparsity=0.5, mask_structure="2:4", targets=targets)


def prune(weight: Tensor, hessian: Tensor) -> Tensor:
    """Two of every four columns of each row to zero, the rest updated (Algorithm 1).

    Args:
        weight: (out, in).
        hessian: (in, in) in float32, of the inputs X (in, tokens) a multiple of X Xᵀ. Changed.

    Returns:
        (out, in) in float32.
    """
    diagonal = hessian.diagonal()
    unused = diagonal == 0
    diagonal[unused] = 1
    diagonal += DAMPING * diagonal.mean()
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
        factor = torch.linalg.cholesky(inverse, upper=True)
    except torch.linalg.LinAlgError as cause:
        raise UserError(
            "sparsegpt_2_4: a layer's inputs of the calibration texts are too alike to invert; "
            "raise compress.calibration_documents"
        ) from cause
    columns = weight.float().t().contiguous()  # a row of it is a column of the weight
    columns[unused] = 0
    for start in range(0, len(columns), BLOCK):
        end = min(start + BLOCK, len(columns))
        errors = torch.empty_like(columns[start:end])
        for at in range(start, end, 4):
            inner = factor[at : at + 4, at : at + 4]
            four = columns[at : at + 4]
            salience = (four / inner.diagonal()[:, None]).abs()
            least = salience.topk(2, dim=0, largest=False).indices
            lost = torch.zeros_like(four).scatter_(0, least, 1.0)
            values, zeroed, scale = four.unbind(), lost.unbind(), inner.tolist()
            error = errors[at - start : at - start + 4]
            for one, row in enumerate(error.unbind()):
                torch.mul(values[one], zeroed[one], out=row).div_(scale[one][one])
                for other in range(one + 1, 4):
                    values[other].sub_(row, alpha=scale[one][other])
            four.masked_fill_(lost.bool(), 0)
            columns[at + 4 : end].addmm_(factor[at : at + 4, at + 4 : end].t(), error, alpha=-1)
        columns[end:].addmm_(factor[start:end, end:].t(), errors, alpha=-1)
    return columns.t()


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
