"""AWQ by autoawq (Lin et al. 2023, arXiv 2306.00978), in autoawq's own environment."""

from __future__ import annotations

from typing import Any

from awq.models.auto import AWQ_CAUSAL_LM_MODEL_MAP
from awq.quantize.quantizer import AwqQuantizer
from worker_common import Quantizing


class Worker(Quantizing):
    """autoawq."""

    engine, families = "autoawq", AWQ_CAUSAL_LM_MODEL_MAP

    def quantize(self) -> dict[str, Any]:
        model, family = self.model, self.model.config.model_type
        wrapped = self.families[family](model, family, False, model.config, None, None)
        config = {"zero_point": True, "version": "GEMM"}
        wrapped.quantize(
            tokenizer=None,
            quant_config=config | {"q_group_size": self.group_size, "w_bit": 4},
            calib_data=self.rows,
            max_calib_samples=len(self.rows),
            max_calib_seq_len=len(self.rows[0]),
            # Its search for clipping bounds takes hours on a CPU; llmcompressor has none either.
            apply_clip=False,
            quantizer_cls=Quantizer,
        )
        config |= {"version": "gemm", "bits": 4, "group_size": self.group_size}
        return config | {"quant_method": "awq"}


class Quantizer(AwqQuantizer):
    """autoawq's quantizer with its faults outside of one GPU type mended."""

    def init_quant(self, *args: Any, **kwargs: Any) -> Any:
        modules, module_kwargs, inputs = super().init_quant(*args, **kwargs)
        # autoawq asks every model for rotary embeddings unless some are there; OPT has none, and
        # its layers never receive what they do not take.
        if not hasattr(self.model.model, "rotary_emb"):
            module_kwargs["position_embeddings"] = ()
        return modules, module_kwargs, inputs

    def _compute_best_scale(self, x: Any, w_mean: Any, x_mean: Any, module: Any, *rest: Any) -> Any:
        # autoawq backs the weights up by `.cpu()`, which on a CPU copies nothing: the trials
        # of the search would pile up in the live weights (loss 9.5 instead of 2.9).
        saved = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.state_dict = lambda: saved
        try:
            return super()._compute_best_scale(x, w_mean, x_mean, module, *rest)
        finally:
            del module.state_dict
