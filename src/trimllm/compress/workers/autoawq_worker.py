"""AWQ by autoawq (Lin et al. 2023, arXiv 2306.00978), in autoawq's own environment."""

from __future__ import annotations

from typing import Any

import torch
import worker_common as common
from awq.models.auto import AWQ_CAUSAL_LM_MODEL_MAP
from awq.quantize.quantizer import AwqQuantizer


def quantize(job: common.Job) -> tuple[Any, dict[str, Any]]:
    """The model in four bits, and its quantization_config."""
    blocks = job["blocks"]
    model = common.load_dense(job, "autoawq", AWQ_CAUSAL_LM_MODEL_MAP)
    family = model.config.model_type
    said: dict[str, Any] = {"zero_point": True}
    wrapped = AWQ_CAUSAL_LM_MODEL_MAP[family](model, family, False, model.config, None, None)
    wrapped.quantize(
        tokenizer=None,
        quant_config=said | {"q_group_size": job["group_size"], "w_bit": 4, "version": "GEMM"},
        calib_data=blocks,
        max_calib_samples=len(blocks),
        max_calib_seq_len=len(blocks[0]),
        quantizer_cls=Quantizer,
    )
    said |= {"quant_method": "awq", "bits": 4, "group_size": job["group_size"], "version": "gemm"}
    return model, said


class Quantizer(AwqQuantizer):
    """autoawq's quantizer with its faults outside of one GPU type mended."""

    def init_quant(self, *args: Any, **kwargs: Any) -> Any:
        modules, module_kwargs, inputs = super().init_quant(*args, **kwargs)
        # autoawq asks every model for rotary embeddings unless it has been given some; OPT
        # has none, and its layers are never shown what they do not take.
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

    @torch.no_grad()
    def _compute_best_clip(
        self, w: Any, input_feat: Any, n_grid: int = 20, max_shrink: float = 0.5, **_: Any
    ) -> Any:
        """Clipping bound of every group of weights: (outputs, groups, 1).

        autoawq's search, with its error mean_t (x_t . (q - w))² written as d'Gd with the Gram
        matrix G of the group's inputs. Its cost hardly grows with the tokens, so that all of
        them count instead of a sample.
        """
        outputs, inputs = w.shape
        size = self.group_size if self.group_size > 0 else inputs
        x = input_feat.reshape(-1, inputs // size, size).to(w.device).float().transpose(0, 1)
        gram = x.transpose(1, 2) @ x  # (groups, size, size)
        groups = w.float().reshape(outputs, -1, size).transpose(0, 1)  # (groups, outputs, size)
        largest = groups.abs().amax(dim=-1, keepdim=True)
        best, least = largest.clone(), torch.full_like(largest, torch.inf)
        for step in range(int(max_shrink * n_grid)):
            bound = largest * (1 - step / n_grid)
            clipped = groups.clamp(-bound, bound)
            rounded = self.pseudo_quantize_tensor(clipped.reshape(-1, size))[0]
            change = rounded.view_as(groups) - groups
            error = ((change @ gram) * change).sum(dim=-1, keepdim=True)
            better = error < least
            least = torch.where(better, error, least)
            best = torch.where(better, bound, best)
        return best.transpose(0, 1).to(w.dtype)


if __name__ == "__main__":
    common.main("autoawq", quantize)
