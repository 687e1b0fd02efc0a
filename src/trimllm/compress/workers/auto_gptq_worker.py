"""GPTQ by auto-gptq (Frantar et al. 2022, arXiv 2210.17323), in auto-gptq's own environment."""

from __future__ import annotations

import functools
from typing import Any

import torch
import worker_common as common
from auto_gptq import BaseQuantizeConfig
from auto_gptq.modeling import _base, _const, _utils
from auto_gptq.modeling.auto import GPTQ_CAUSAL_LM_MODEL_MAP
from auto_gptq.quantization import GPTQ

# Ten times auto-gptq's default, as in transformers' own: a few dozen texts leave the Hessian of a
# wide layer without full rank (SmolLM2-135M, 774 tokens: loss 3.15 instead of 3.22).
DAMPING = 0.1


def quantize(job: common.Job) -> tuple[Any, dict[str, Any]]:
    """The model in four bits, and its quantization_config."""
    model = common.load_dense(job, "auto-gptq", GPTQ_CAUSAL_LM_MODEL_MAP)
    if job["device"] == "cpu":
        _make_device_free()
    # auto-gptq takes a group's scale from weights that lack the corrections of the running block; a
    # block of one group has none pending (loss 3.15 instead of 3.20).
    GPTQ.fasterquant = functools.partialmethod(GPTQ.fasterquant, blocksize=job["group_size"])
    said = {"bits": 4, "group_size": job["group_size"], "damp_percent": DAMPING}
    said |= {"desc_act": False, "sym": True}
    family = GPTQ_CAUSAL_LM_MODEL_MAP[model.config.model_type]
    wrapped = family(model, False, BaseQuantizeConfig(**said))
    rows = torch.tensor(job["blocks"])
    wrapped.quantize([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows])
    said |= {"quant_method": "gptq", "true_sequential": True, "checkpoint_format": "gptq"}
    return wrapped.model, said


def _make_device_free() -> None:
    """Let auto-gptq work without a GPU.

    It moves layers that lie on the CPU to a constant, the first GPU, and waits for the GPU after
    each layer, whether there is one or not.
    """
    torch.cuda.synchronize = lambda device=None: None
    for module in (_base, _const, _utils):
        module.CUDA_0 = torch.device("cpu")


if __name__ == "__main__":
    common.main("auto-gptq", quantize)
