"""AWQ, GPTQ, SparseGPT and LLM.int8() by the engines that implement them."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from trimllm.base import kernels
from trimllm.base.precision import has_bfloat16
from trimllm.checkpoint.stock import strip
from trimllm.compress.job import Compressed, CompressJob, linear_names, read_output
from trimllm.compress.rounding import pack_awq

# Points of the grid for alpha of AWQ; the paper's 20 take twice the time.
GRID = 10


def awq_int4(job: CompressJob) -> Compressed:
    """AWQ, activation-aware four-bit weights (Lin et al. 2024, arXiv:2306.00978).

    Input channels with large activations are scaled up before weights are rounded, and the layer
    before them is scaled down: s = a^alpha, alpha from a grid, smallest error of the block's
    output. Stored in AWQ's GEMM format, whichever engine made it, so that int4 kernels read it.
    """
    if job.engine == "autoawq":
        return job.by_worker()
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    stock, missing = job.stock()
    linears, others = linear_names(stock, missing)
    size, untouched = job.settings.group_size, linear_names(stock)[1]
    args = QuantizationArgs(num_bits=4, symmetric=False, strategy="group", group_size=size)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    recipe = [
        AWQModifier(mappings=_mappings(stock), n_grid=GRID),
        # For its scheme alone, which the search rounds by.
        QuantizationModifier(config_groups={"sublayers": scheme}, ignore=others),
    ]
    fast = job.settings.device == "cpu" and has_bfloat16()
    # The search changes weights in place: a cache would hand it the first ones each time.
    with torch.autocast("cpu", torch.bfloat16, enabled=fast, cache_enabled=False):
        tensors = strip(job.one_shot(stock, recipe), missing)
    for name in linears:
        del tensors[f"{name}.weight_scale"], tensors[f"{name}.weight_zero_point"]
        packed = pack_awq(tensors.pop(f"{name}.weight"), size)
        tensors |= {f"{name}.{key}": part for key, part in packed.items()}
    quantization = {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True}
    quantization |= {"version": "gemm", "modules_to_not_convert": untouched}
    return Compressed(tensors, {"quantization_config": quantization})


def _mappings(stock: nn.Module) -> list[Any]:
    """Layers that AWQ scales down and the layers behind them; llmcompressor lacks OPT's."""
    from llmcompressor.modifiers.transform.awq.mappings import AWQMapping, default_mappings

    if stock.config.model_type != "opt":
        return default_mappings
    return [
        AWQMapping("re:.*self_attn_layer_norm$", [f"re:.*{x}_proj$" for x in "qkv"]),
        AWQMapping("re:.*v_proj$", ["re:.*out_proj$"]),
        AWQMapping("re:.*layers.*final_layer_norm$", ["re:.*fc1$"]),
        AWQMapping("re:.*fc1$", ["re:.*fc2$"]),
    ]


def gptq_int4(job: CompressJob) -> Compressed:
    """GPTQ four-bit weights (Frantar et al. 2023, arXiv:2210.17323).

    Weights are rounded column by column; the error of each is made up for in the columns that
    follow, by the inverse Hessian H = 2 X X^T of the layer's inputs.
    """
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


def sparsegpt_2_4(job: CompressJob) -> Compressed:
    """SparseGPT, two of every four weights zero (Frantar & Alistarh 2023, arXiv:2301.00774).

    Weights are pruned column by column and the others updated by the inverse Hessian of the layer's
    inputs. The file stays dense: the pattern pays on GPUs that have sparse tensor cores.
    """
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    stock, missing = job.stock()
    # By name: `ignore` is compared with invented names ("lm_head."), so that an ignored head would
    # be pruned, and with it the embeddings that it is tied to.
    targets = linear_names(stock, missing)[0]
    modifier = SparseGPTModifier(sparsity=0.5, mask_structure="2:4", targets=targets)
    tensors = strip(job.one_shot(stock, [modifier]), missing)
    return Compressed(tensors, facts={"zero_percent": 50.0})


@torch.no_grad()
def llm_int8(job: CompressJob) -> Compressed:
    """LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): eight-bit weights, a scale a row.

    Input channels above a threshold are multiplied in 16 bits. Weights are rounded as they are. The
    engine replaces linear layers one by one, so it takes trimmed models as they are.
    """
    untouched = linear_names(job.model)[1]
    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=untouched)
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
