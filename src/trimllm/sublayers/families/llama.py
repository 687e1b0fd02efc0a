"""LLaMA and what computes as it does: SmolLM, Mistral, Qwen2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from trimllm.base.errors import UserError
from trimllm.sublayers.adapters import Adapter, Rows, Workspace, add_linear_, blocks_of, linear


def rms_norm(module: nn.Module, x: Tensor, work: Workspace) -> Tensor:
    """RMS norm of x (tokens, width) in float32, in half the passes of the stock module."""
    wide = work.get("wide", x, *x.shape, dtype=torch.float32).copy_(x)
    scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(module.variance_epsilon).rsqrt_()
    normed = wide.mul_(scale)
    if x.dtype != normed.dtype:
        normed = work.get("normed", x, *x.shape).copy_(normed)
    return normed.mul_(module.weight)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> Tensor:
    """Rotary position embedding of x (tokens, heads, head width)."""
    half = x.shape[-1] // 2
    torch.mul(x, cos, out=out)
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


class LlamaAdapter(Adapter):
    """RMS norm, rotary positions, gated MLP."""

    outputs = {"attention": "self_attn.o_proj", "mlp": "mlp.down_proj"}

    def check(self, model: nn.Module) -> None:
        # A cache takes the kind of its n-th layer from the n-th block, a trimmed model's n-th
        # attention may stand elsewhere. No published Qwen2 mixes the two kinds.
        kinds = set(getattr(model.config, "layer_types", None) or ())
        if len(kinds) > 1:
            raise UserError(
                f"{model.config._name_or_path or 'this model'} mixes {' and '.join(sorted(kinds))}"
                " layers, which a trimmed model's KV cache cannot; set use_sliding_window: false"
            )

    def prepare(self, model: nn.Module, rows: Rows, stream: Tensor) -> None:
        cos, sin = model.model.rotary_emb(stream, position_ids=rows.positions[None])
        rows.rotary = cos[0, :, None], sin[0, :, None]

    def embed(self, model: nn.Module, ids: Tensor, positions: Tensor) -> Tensor:
        return model.model.embed_tokens(ids)[None]

    def attention_(self, layer: nn.Module, stream: Tensor, rows: Rows) -> None:
        module, get = layer.self_attn, rows.work.get
        assert rows.rotary is not None  # `prepare` made them
        flat = stream.view(-1, stream.shape[-1])
        projected = {}
        for name in ("q", "k", "v"):
            width = getattr(module, f"{name}_proj").out_features
            projected[name] = get(name, stream, len(flat), width)
        parts = zip(blocks_of(flat), *map(blocks_of, projected.values()), strict=True)
        done = 0
        for block, *outputs in parts:
            normed = rms_norm(layer.input_layernorm, block, rows.work)
            # Of which token each row of the block is, in whatever stream.
            token = torch.arange(done, done + len(block), device=block.device) % stream.shape[1]
            cos, sin = rows.rotary[0][token], rows.rotary[1][token]
            done += len(block)
            for name, output in zip(projected, outputs, strict=True):
                projection = getattr(module, f"{name}_proj")
                if name == "v":
                    linear(projection, normed, output)
                    continue
                plain = linear(projection, normed, get("plain", stream, *output.shape))
                heads = (len(block), -1, module.head_dim)
                rotate(plain.view(heads), cos, sin, output.view(heads))
        heads = (*stream.shape[:-1], -1, module.head_dim)
        query, key, value = (tensor.view(heads) for tensor in projected.values())
        # Qwen2 decides layer by layer, Mistral once for all, LLaMA sees everything.
        of_all = getattr(module.config, "sliding_window", None)
        window = getattr(module, "sliding_window", of_all)
        rows.attend(query, key, value, module.scaling, window, query)
        for block, part in zip(blocks_of(flat), blocks_of(projected["q"]), strict=True):
            add_linear_(block, module.o_proj, part)

    def mlp_(self, layer: nn.Module, stream: Tensor, rows: Rows) -> None:
        module, get = layer.mlp, rows.work.get
        width = module.gate_proj.out_features
        silu = isinstance(module.act_fn, nn.SiLU | SiLUActivation)
        for block in blocks_of(stream.view(-1, stream.shape[-1])):
            normed = rms_norm(layer.post_attention_layernorm, block, rows.work)
            gate = linear(module.gate_proj, normed, get("gate", stream, len(block), width))
            up = linear(module.up_proj, normed, get("up", stream, len(block), width))
            gate = F.silu(gate, inplace=True) if silu else module.act_fn(gate)
            add_linear_(block, module.down_proj, gate.mul_(up))

    def finish(self, model: nn.Module, stream: Tensor) -> Tensor:
        return model.model.norm(stream)
