"""OPT: LayerNorm, learned positions, one hidden layer in its MLP."""

from __future__ import annotations

from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.sublayers.adapters import Adapter, Rows, add_linear_, blocks_of
from trimllm.sublayers.modeling_trimllm import decoder_of


class OPTAdapter(Adapter):
    """OPT with the norm before each sublayer (all sizes but 350M)."""

    outputs = {"attention": "self_attn.out_proj", "mlp": "fc2"}

    def check(self, model: nn.Module) -> None:
        if not model.config.do_layer_norm_before:
            raise UserError(
                f"{model.config._name_or_path or 'this OPT model'} normalizes after its sublayers "
                "(do_layer_norm_before: false), so they are no units; use another OPT size"
            )

    def embed(self, model: nn.Module, ids: Tensor, positions: Tensor) -> Tensor:
        decoder = decoder_of(model)
        hidden = decoder.embed_tokens(ids)
        if decoder.project_in is not None:
            hidden = decoder.project_in(hidden)
        return (hidden + decoder.embed_positions(None, position_ids=positions))[None]

    def attention_(self, layer: nn.Module, stream: Tensor, rows: Rows) -> None:
        module = layer.self_attn
        normed = layer.self_attn_layer_norm(stream)
        heads = (*stream.shape[:-1], module.num_heads, module.head_dim)
        query = (module.q_proj(normed) * module.scaling).view(heads)
        key, value = module.k_proj(normed).view(heads), module.v_proj(normed).view(heads)
        mixed = rows.work.get("mixed", stream, *heads)
        rows.attend(query, key, value, 1.0, None, mixed)
        width = stream.shape[-1]
        add_linear_(stream.view(-1, width), module.out_proj, mixed.view(-1, width))

    def mlp_(self, layer: nn.Module, stream: Tensor, rows: Rows) -> None:
        for block in blocks_of(stream.view(-1, stream.shape[-1])):
            wide = layer.activation_fn(layer.fc1(layer.final_layer_norm(block)))
            add_linear_(block, layer.fc2, wide)

    def finish(self, model: nn.Module, stream: Tensor) -> Tensor:
        decoder = decoder_of(model)
        if decoder.final_layer_norm is not None:
            stream = decoder.final_layer_norm(stream)
        return stream if decoder.project_out is None else decoder.project_out(stream)
