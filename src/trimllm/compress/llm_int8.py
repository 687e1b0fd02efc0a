"""LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): eight-bit weights, a scale a row.

Input channels above a threshold are multiplied in 16 bits. Weights are rounded as they are: no
calibration. The engine changes linear layers one by one, so it takes trimmed models as they are.

It rounds inputs too, its yardstick weights alone: 0.05 nats (0.02 to 0.08) on 160 documents after
FinanceQA's Full-FT. So it may be 0.25 worse; a broken checkpoint is worse by nats.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from trimllm.checkpoint import store
from trimllm.compress.job import (
    Compressed,
    CompressJob,
    Method,
    change_linears_,
    linear_names,
    read_made,
)


@torch.no_grad()
def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine."""
    _, untouched = linear_names(job.model)
    how = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=untouched)
    with store.no_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(
            job.write(job.model),
            quantization_config=how,
            dtype=torch.float32,
            device_map={"": job.settings.device},
            local_files_only=True,
        )
    # The engine rounds a layer when it first moves or runs.
    device = model.get_input_embeddings().weight.device
    model(torch.ones(1, 2, dtype=torch.long, device=device))
    model.save_pretrained(job.workspace / "made")
    return read_made(job.workspace / "made", [])


def int8_to_nearest(weight: Tensor) -> Tensor:
    """(out, in) weights in 255 steps, the largest of a row at 127."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round() * scale


METHOD = Method(
    compress,
    lambda model, settings: change_linears_(model, int8_to_nearest),
    "round to nearest, int8",
    margin=0.25,
    calibrated=False,
)
