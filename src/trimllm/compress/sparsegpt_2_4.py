"""SparseGPT, two of every four weights zero (Frantar & Alistarh 2023, arXiv:2301.00774).

Weights are pruned column by column and the others updated by the inverse Hessian of the layer's
inputs. The file stays dense: the pattern pays on GPUs that have sparse tensor cores.
"""

from __future__ import annotations

from trimllm.checkpoint.stock import missing_modules, strip, to_stock
from trimllm.compress.job import Compressed, CompressJob, linear_names, outside_linears
from trimllm.compress.oneshot import one_shot, state_of


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine."""
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    stock = to_stock(job.model, job.settings.seed)
    missing = missing_modules(job.model)
    gone = tuple(f"{name}." for name in missing)
    left_alone = [name for name in linear_names(stock) if f"{name}.".startswith(gone)]
    modifier = SparseGPTModifier(
        sparsity=0.5,
        mask_structure="2:4",
        targets=["Linear"],
        ignore=[*outside_linears(stock), *left_alone],
    )
    one_shot(stock, job, [modifier])
    return Compressed(strip(state_of(stock), missing), facts={"zero_percent": 50.0})
