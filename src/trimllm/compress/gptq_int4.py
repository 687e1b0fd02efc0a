"""GPTQ four-bit weights (Frantar et al. 2023, arXiv:2210.17323).

Weights are rounded column by column; what a rounding loses is made up for in the columns that
follow, by the inverse Hessian H = 2 X X^T of the layer's inputs.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from trimllm.base import files, kernels
from trimllm.checkpoint.stock import missing_modules, strip, to_stock
from trimllm.compress import external_engine
from trimllm.compress.calibration import encode, pack
from trimllm.compress.job import Compressed, CompressJob


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine."""
    if job.engine == "auto-gptq":
        return external_engine.compress(job)
    return _gptqmodel(job)


def _gptqmodel(job: CompressJob) -> Compressed:
    from trimllm.checkpoint import store

    # Packing in Python takes a second; the extension would have to be compiled here.
    os.environ.setdefault("GPTQMODEL_DISABLE_PACK_EXT", "1")
    kernels.prepare()
    from gptqmodel import GPTQModel, QuantizeConfig

    dense, made = job.workspace / "dense", job.workspace / "made"
    store.write(to_stock(job.model, job.settings.seed), job.tokenizer, made_folder(dense))
    missing = missing_modules(job.model)
    wanted = QuantizeConfig(
        bits=4,
        group_size=job.settings.group_size,
        sym=False,
        desc_act=False,
        offload_to_disk=False,
        device=job.settings.device,
        dynamic={rf"-:^{name.replace('.', r'[.]')}([.]|$)": {} for name in missing} or None,
    )
    engine = GPTQModel.load(str(dense), wanted, dtype=torch.float32)
    rows = pack(encode(job.tokenizer, job.texts, job.settings.max_tokens), job.settings.max_tokens)
    engine.quantize(
        [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows], batch_size=1
    )
    engine.save(str(made_folder(made)))
    return read_made(made, missing)


def made_folder(path: Any) -> Any:
    path.mkdir()
    return path


def read_made(folder: Any, missing: list[str]) -> Compressed:
    """Surviving tensors and quantization config of a stock checkpoint that an engine wrote."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    config = files.read_json(folder / "config.json")
    found = config["quantization_config"]
    # Where single modules were left out does not matter once they are gone.
    found.pop("dynamic", None)
    found.get("meta", {}).pop("offload_to_disk_path", None)
    if config.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    return Compressed(strip(tensors, missing), {"quantization_config": found})
