"""What the library has to know of a model family: where its units are and how they compute.

An adapter is stateless. Adding a family means adding an adapter here and its four classes in
`modeling_trimllm`; `tests/unit/units` holds the contract that every adapter must pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from trimllm.base.errors import UserError
from trimllm.units.modeling_trimllm import OPT_PARTS, ROTARY_PARTS, decoder_of

# (query, key, value, scaling, window, output): attention inside the rows, into `output`, which may
# be the query; all (streams, tokens, heads, head width)
Attend = Callable[[Tensor, Tensor, Tensor, float, int | None, Tensor], None]

# Tokens that go through a unit's matrix products at once on a CPU: what they need stays in the
# cache, which makes everything but the products nearly free.
CPU_BLOCK = 1024


class Workspace:
    """Buffers that units share, so that none is allocated twice."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def get(self, name: str, like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """An uninitialized tensor of `shape`, with the device of `like` and its type or `dtype`."""
        size, dtype = math.prod(shape), dtype or like.dtype
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype:
            buffer = self.buffers[name] = like.new_empty(size, dtype=dtype)
        return buffer[:size].view(shape)


@dataclass
class Rows:
    """What units need to know of the rows they run on.

    Attributes:
        positions: (tokens,) position of every token in its own sequence.
        attend: attention between the tokens of one row.
        work: buffers.
        rotary: cosines and sines (tokens, 1, head width), where the family has them.
    """

    positions: Tensor
    attend: Attend
    work: Workspace = field(default_factory=Workspace)
    rotary: tuple[Tensor, Tensor] | None = None


class Adapter:
    """The contract. `layer` is a decoder layer, `stream` the residual stream of any number of
    streams over the same tokens, (streams, tokens, width), contiguous, changed in place.
    """

    model_types: tuple[str, ...]
    parts: dict[str, tuple[str, ...]]
    outputs: dict[str, str]

    def check(self, model: nn.Module) -> None:
        """Raise `UserError` for a variant of the family whose sublayers are no units."""

    def prepare(self, model: nn.Module, rows: Rows, stream: Tensor) -> None:
        """Compute what all units share."""

    def embed(self, model: nn.Module, ids: Tensor, positions: Tensor) -> Tensor:
        """(1, tokens, width) residual stream before the first unit, from ids (tokens,)."""
        raise NotImplementedError

    def attention_(self, layer: nn.Module, stream: Tensor, rows: Rows) -> None:
        """Add the attention unit's result to the stream."""
        raise NotImplementedError

    def mlp_(self, layer: nn.Module, stream: Tensor, rows: Rows) -> None:
        """Add the MLP unit's result to the stream."""
        raise NotImplementedError

    def finish(self, model: nn.Module, stream: Tensor) -> Tensor:
        """Final norm: from the residual stream to the head's input."""
        raise NotImplementedError

    def output_projection(self, layer: nn.Module, kind: str) -> nn.Linear:
        """The linear layer that writes the unit's result; zeroing it drops the unit."""
        return layer.get_submodule(self.outputs[kind])

    def apply_(self, layer: nn.Module, kind: str, stream: Tensor, rows: Rows) -> None:
        """Add the result of the unit of `kind` in `layer` to the stream."""
        (self.attention_ if kind == "attention" else self.mlp_)(layer, stream, rows)


def blocks_of(tensor: Tensor) -> tuple[Tensor, ...]:
    """Views of a (tokens, ...) tensor that fit a cache, of nearly one size; on a GPU the whole."""
    parts = -(-len(tensor) // CPU_BLOCK) if tensor.device.type == "cpu" else 1
    even = -(-len(tensor) // parts)
    # What the kernels of matrix products take at a time.
    return tensor.split(even + -even % 32)


def linear(module: nn.Module, x: Tensor, out: Tensor) -> Tensor:
    """module(x) for x (tokens, in), into `out` (tokens, out) where the module is a plain Linear."""
    if type(module) is not nn.Linear:
        return out.copy_(module(x))
    if module.bias is None:
        return torch.mm(x, module.weight.t(), out=out)
    return torch.addmm(module.bias, x, module.weight.t(), out=out)


def add_linear_(stream: Tensor, module: nn.Module, x: Tensor) -> None:
    """stream += module(x), both (tokens, .), in one pass where the module is a plain Linear."""
    if type(module) is not nn.Linear:
        stream += module(x)
        return
    stream.addmm_(x, module.weight.t())
    if module.bias is not None:
        stream += module.bias


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


class RotaryAdapter(Adapter):
    """LLaMA, SmolLM, Mistral, Qwen2: RMS norm, rotary positions, gated MLP."""

    model_types = ("llama", "mistral", "qwen2")
    parts = ROTARY_PARTS
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
            turn = [angle[token] for angle in rows.rotary]
            done += len(block)
            for name, output in zip(projected, outputs, strict=True):
                projection = getattr(module, f"{name}_proj")
                if name == "v":
                    linear(projection, normed, output)
                    continue
                plain = linear(projection, normed, get("plain", stream, *output.shape))
                heads = (len(block), -1, module.head_dim)
                rotate(plain.view(heads), *turn, output.view(heads))
        heads = (*stream.shape[:-1], -1, module.head_dim)
        query, key, value = (tensor.view(heads) for tensor in projected.values())
        # Qwen2 decides layer by layer, Mistral once for all.
        window = getattr(module, "sliding_window", None)
        if family_of(module.config.model_type) == "mistral":
            window = module.config.sliding_window
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


class OPTAdapter(Adapter):
    """OPT with the norm before each sublayer (all sizes but 350M)."""

    model_types = ("opt",)
    parts = OPT_PARTS
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


ADAPTERS: tuple[Adapter, ...] = (RotaryAdapter(), OPTAdapter())


def family_of(model_type: str) -> str:
    """The stock model type behind a possibly trimmed one: "trimllm_llama" is "llama"."""
    return model_type.removeprefix("trimllm_")


def supported_families() -> tuple[str, ...]:
    """Model types that have an adapter."""
    return tuple(name for adapter in ADAPTERS for name in adapter.model_types)


def adapter_of(model: nn.Module) -> Adapter:
    """The adapter of a model's family; `UserError` when there is none."""
    family = family_of(model.config.model_type)
    for adapter in ADAPTERS:
        if family in adapter.model_types:
            adapter.check(model)
            return adapter
    raise UserError(
        f"model family {family!r} has no adapter (there are: {', '.join(supported_families())}); "
        "add one in trimllm/units/adapters.py"
    )


def device_of(model: nn.Module) -> torch.device:
    """Device of the model's embeddings, where ids have to go."""
    return model.get_input_embeddings().weight.device
