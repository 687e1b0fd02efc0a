"""The archived engines autoawq and auto-gptq, each in an environment of its own: with transformers
4.51, without trimllm (see `trimllm.base.workers`)."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

# Ten times auto-gptq's default, as in transformers' own: a few dozen texts leave the Hessian of a
# wide layer without full rank (SmolLM2-135M, 774 tokens: loss 3.15 instead of 3.22).
DAMPING = 0.1
Rows = list[list[int]]


class Worker:
    """Quantizes a stock checkpoint in float32 to int4, by `rows` of calibration tokens, into a file
    of weights, as `CompressSettings` say; `facts`: the engine's version, quantization_config."""

    def __init__(self, engine: str, dense: str, rows: Rows, output: str, **settings: Any) -> None:
        torch.manual_seed(settings["seed"])
        quantize = autoawq if engine == "autoawq" else auto_gptq
        model = load_dense(dense, settings["device"])
        names, state = {*model.state_dict()}, {}
        model, config = quantize(model, rows, settings["group_size"], settings["device"])
        # The engines' own writers store an older config, and one of them a zero bias for every
        # layer.
        for name, tensor in model.state_dict().items():
            if name in names:
                state[name] = tensor.float().contiguous().clone()
            elif name.endswith((".qweight", ".qzeros", ".scales", ".g_idx")):
                state[name] = tensor.contiguous()
        save_file(state, output)
        self.facts = version(engine), config


def load_dense(dense: str, device: str) -> Any:
    """The dense model on the CPU: float32, or float16 for a GPU, as both engines expect."""
    config = json.loads(Path(dense, "config.json").read_text())
    # In the keys of transformers 4: the rotary base inside `rope_parameters` would silently be
    # replaced by 10000.
    rope = config.pop("rope_parameters", None) or {}
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = rope
    del config["dtype"]
    model = AutoModelForCausalLM.from_pretrained(
        dense,
        config=AutoConfig.for_model(config.pop("model_type"), **config),
        torch_dtype=torch.float32 if device == "cpu" else torch.float16,
        local_files_only=True,
        use_safetensors=True,
    )
    model.config.use_cache = False
    return model.eval()


def wrapper_of(engine: str, families: dict[str, Any], model: Any) -> Any:
    """The engine's class for the model's family."""
    family = model.config.model_type
    return families.get(family) or sys.exit(f"{engine} knows no {family}; use another engine")


def auto_gptq(model: Any, rows: Rows, size: int, device: str) -> tuple[Any, Any]:
    """GPTQ (Frantar et al. 2022, arXiv 2210.17323): (model, its quantization_config)."""
    from auto_gptq import BaseQuantizeConfig
    from auto_gptq.modeling import _base, _const, _utils
    from auto_gptq.modeling.auto import GPTQ_CAUSAL_LM_MODEL_MAP

    if device == "cpu":
        # It moves layers to a constant, the first GPU, and waits for that GPU after each layer,
        # whether there is one or not.
        torch.cuda.synchronize = lambda device=None: None
        for module in (_base, _const, _utils):
            module.CUDA_0 = torch.device("cpu")
    config: dict[str, Any] = {"bits": 4, "group_size": size, "damp_percent": DAMPING}
    config |= {"desc_act": False, "sym": True}
    family = wrapper_of("auto-gptq", GPTQ_CAUSAL_LM_MODEL_MAP, model)
    wrapped = family(model, False, BaseQuantizeConfig(**config))
    tokens = torch.tensor(rows)
    wrapped.quantize([{"input_ids": r, "attention_mask": torch.ones_like(r)} for r in tokens])
    config |= {"true_sequential": True, "checkpoint_format": "gptq", "quant_method": "gptq"}
    return wrapped.model, config


def autoawq(model: Any, rows: Rows, size: int, device: str) -> tuple[Any, Any]:
    """AWQ (Lin et al. 2023, arXiv 2306.00978): (model, its quantization_config)."""
    from awq.models.auto import AWQ_CAUSAL_LM_MODEL_MAP
    from awq.quantize.quantizer import AwqQuantizer

    class Quantizer(AwqQuantizer):
        def _compute_best_scale(self, x: Any, w: Any, mean: Any, module: Any, *rest: Any) -> Any:
            # It backs the weights up by `.cpu()`, which on a CPU copies nothing: the trials of the
            # search would pile up in the live weights (loss 9.5 instead of 2.9).
            saved = {name: tensor.clone() for name, tensor in module.state_dict().items()}
            module.state_dict = lambda: saved
            try:
                return super()._compute_best_scale(x, w, mean, module, *rest)
            finally:
                del module.state_dict

    config: dict[str, Any] = {"zero_point": True}
    family = wrapper_of("autoawq", AWQ_CAUSAL_LM_MODEL_MAP, model)
    family(model, model.config.model_type, False, model.config, None, None).quantize(
        tokenizer=None,
        quant_config=config | {"q_group_size": size, "w_bit": 4, "version": "GEMM"},
        calib_data=rows,
        max_calib_samples=len(rows),
        max_calib_seq_len=len(rows[0]),
        # Its search for clipping bounds takes hours on a CPU; llmcompressor has none either.
        apply_clip=False,
        quantizer_cls=Quantizer,
    )
    config |= {"quant_method": "awq", "bits": 4, "group_size": size, "version": "gemm"}
    return model, config
