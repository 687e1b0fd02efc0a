"""GPTQ four-bit weights (Frantar et al. 2023, arXiv:2210.17323).

Weights are rounded column by column; the error of each is made up for in the columns that follow,
by the inverse Hessian H = 2 X X^T of the layer's inputs.
"""

from __future__ import annotations

import os

import torch

from trimllm.base import kernels
from trimllm.compress import int4
from trimllm.compress.job import Compressed, CompressJob, read_output

yardstick_ = int4.yardstick_


def compress(job: CompressJob) -> Compressed:
    """Compress by gptqmodel, or by auto-gptq in its own environment."""
    if job.engine == "auto-gptq":
        return job.by_worker()
    # Packing in Python takes a second; the extension would have to be compiled here.
    os.environ.setdefault("GPTQMODEL_DISABLE_PACK_EXT", "1")
    kernels.prepare()
    from gptqmodel import GPTQModel, QuantizeConfig

    stock, missing = job.stock()
    config = QuantizeConfig(
        bits=4,
        group_size=job.settings.group_size,
        sym=False,
        desc_act=False,
        offload_to_disk=False,
        device=job.settings.device,
        dynamic={rf"-:^{name.replace('.', r'[.]')}([.]|$)": {} for name in missing} or None,
    )
    engine = GPTQModel.load(str(job.write(stock)), config, dtype=torch.float32)
    rows = [{"input_ids": r, "attention_mask": torch.ones_like(r)} for r in job.rows()[:, None]]
    engine.quantize(rows, batch_size=1)
    engine.save(str(output := job.workspace / "output"))
    engine.model.to("meta")
    return read_output(output, missing)
