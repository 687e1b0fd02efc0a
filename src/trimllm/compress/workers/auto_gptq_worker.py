"""GPTQ by auto-gptq (Frantar et al. 2022, arXiv 2210.17323), in auto-gptq's own environment."""

from __future__ import annotations

import functools
from typing import Any

import worker_common as common

# Ten times auto-gptq's default, as in transformers' own: a few dozen texts leave the Hessian of a
# wide layer without full rank (SmolLM2-135M, 774 tokens: loss 3.15 instead of 3.22).
DAMPING = 0.1


def quantize(job: dict[str, Any]) -> dict[str, Any]:
    """Quantize job["dense"] into job["output"]; returns the number of calibration tokens."""
    import torch

    blocks = common.token_blocks(job)
    model = common.load_dense(job)
    _make_device_free(job["device"])
    from auto_gptq import BaseQuantizeConfig
    from auto_gptq.modeling.auto import GPTQ_CAUSAL_LM_MODEL_MAP
    from auto_gptq.quantization import GPTQ

    # auto-gptq takes a group's scale from weights that lack the corrections of the running block; a
    # block of one group has none pending (loss 3.15 instead of 3.20).
    GPTQ.fasterquant = functools.partialmethod(GPTQ.fasterquant, blocksize=job["group_size"])
    family = model.config.model_type
    if family not in GPTQ_CAUSAL_LM_MODEL_MAP:
        raise common.WorkerError(f"auto-gptq knows no {family} models; choose another engine")
    settings = BaseQuantizeConfig(
        bits=job["bits"],
        group_size=job["group_size"],
        damp_percent=DAMPING,
        desc_act=False,
        sym=True,
    )
    wrapped = GPTQ_CAUSAL_LM_MODEL_MAP[family](model, False, settings)
    ids = torch.tensor(blocks)
    wrapped.quantize([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids])
    quantization = {
        "quant_method": "gptq",
        "bits": job["bits"],
        "group_size": job["group_size"],
        "desc_act": False,
        "sym": True,
        "true_sequential": True,
        "damp_percent": DAMPING,
        "checkpoint_format": "gptq",
    }
    common.write_checkpoint(job, wrapped.model, quantization)
    return {"tokens": ids.numel()}


def _make_device_free(device: str) -> None:
    """Let auto-gptq work without a GPU.

    It moves layers that lie on the CPU to a constant, the first GPU, and waits for the GPU after
    each layer, whether there is one or not.
    """
    import torch

    if device != "cpu":
        return
    torch.cuda.synchronize = lambda device=None: None
    from auto_gptq.modeling import _base, _const, _utils

    for module in (_base, _const, _utils):
        module.CUDA_0 = torch.device("cpu")


if __name__ == "__main__":
    common.main("auto-gptq", quantize)
