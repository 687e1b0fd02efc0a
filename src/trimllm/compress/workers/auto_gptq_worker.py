"""GPTQ by auto-gptq (Frantar et al. 2022, arXiv 2210.17323), in auto-gptq's own environment."""

from __future__ import annotations

from typing import Any

import torch
from auto_gptq import BaseQuantizeConfig
from auto_gptq.modeling import _base, _const, _utils
from auto_gptq.modeling.auto import GPTQ_CAUSAL_LM_MODEL_MAP
from worker_common import Quantizing

# Ten times auto-gptq's default, as in transformers' own: a few dozen texts leave the Hessian of a
# wide layer without full rank (SmolLM2-135M, 774 tokens: loss 3.15 instead of 3.22).
DAMPING = 0.1


class Worker(Quantizing):
    """auto-gptq."""

    engine, families = "auto-gptq", GPTQ_CAUSAL_LM_MODEL_MAP

    def quantize(self) -> dict[str, Any]:
        if self.device == "cpu":
            _make_device_free()
        config = {"bits": 4, "group_size": self.group_size, "damp_percent": DAMPING}
        config |= {"desc_act": False, "sym": True}
        family = self.families[self.model.config.model_type]
        wrapped = family(self.model, False, BaseQuantizeConfig(**config))
        rows = torch.tensor(self.rows)
        wrapped.quantize([{"input_ids": r, "attention_mask": torch.ones_like(r)} for r in rows])
        self.model: Any = wrapped.model
        config |= {"true_sequential": True, "checkpoint_format": "gptq"}
        return config | {"quant_method": "gptq"}


def _make_device_free() -> None:
    """Let auto-gptq work without a GPU: it moves layers to a constant, the first GPU, and waits
    for it after each layer, whether there is one or not."""
    torch.cuda.synchronize = lambda device=None: None
    for module in (_base, _const, _utils):
        module.CUDA_0 = torch.device("cpu")
