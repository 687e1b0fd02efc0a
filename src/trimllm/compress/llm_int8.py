"""LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): eight-bit weights, a scale a row.

Input channels above a threshold are multiplied in 16 bits. Weights are rounded as they are, without
calibration. The engine replaces linear layers one by one, so it takes trimmed models as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from trimllm.checkpoint import store
from trimllm.compress.job import (
    Compressed,
    CompressJob,
    change_linears_,
    linear_names,
    read_output,
)
from trimllm.compress.methods import CompressSettings


@torch.no_grad()
def compress(job: CompressJob) -> Compressed:
    """Compress by bitsandbytes."""
    untouched = linear_names(job.model)[1]
    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=untouched)
    with store.no_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(
            job.write(job.model),
            quantization_config=config,
            dtype=torch.float32,
            device_map={"": job.settings.device},
            local_files_only=True,
        )
    # The engine rounds a layer when it first moves or runs.
    model(torch.ones(1, 2, dtype=torch.long, device=model.device))
    model.save_pretrained(job.workspace / "output")
    return read_output(job.workspace / "output", [])


def int8_to_nearest(weight: Tensor) -> Tensor:
    """(out, in) weights in 255 steps, the largest of a row at 127."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round() * scale


def yardstick_(model: nn.Module, settings: CompressSettings) -> None:
    """Round the linear layers to nearest, in place."""
    change_linears_(model, int8_to_nearest)
