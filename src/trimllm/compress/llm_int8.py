"""LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): eight-bit weights, a scale a row.

Input channels above a threshold are multiplied in 16 bits. Weights are rounded as they are: no
calibration. The engine changes linear layers one by one, so it takes trimmed models as they are.
"""

from __future__ import annotations

import torch
from torch import nn

from trimllm.compress.job import Compressed, CompressJob, outside_linears


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from trimllm.checkpoint import store

    dense = job.workspace / "dense"
    dense.mkdir()
    store.write(job.model, job.tokenizer, dense)
    untouched = outside_linears(job.model)
    wanted = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=untouched)
    with store.no_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(
            dense,
            quantization_config=wanted,
            dtype=torch.float32,
            device_map={"": job.settings.device},
            local_files_only=True,
        )
    _run_once(model)
    made = job.workspace / "made"
    model.save_pretrained(made)
    from trimllm.compress.gptq_int4 import read_made

    return read_made(made, [])


@torch.no_grad()
def _run_once(model: nn.Module) -> None:
    """The engine rounds a layer when it first moves or runs."""
    device = model.get_input_embeddings().weight.device
    model(torch.ones(1, 2, dtype=torch.long, device=device))
