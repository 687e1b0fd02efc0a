"""Trimmed causal language models: stock transformers models of which some units are gone.

A *unit* is an attention or an MLP sublayer with its own norm and its residual connection. In a
trimmed model a surviving attention that is followed by a surviving MLP forms one block, whatever
blocks they came from; an unpaired unit stands in a block of its own. Where a unit is missing the
residual stream passes unchanged, so the model computes exactly what the full model computes with
the output projections of the dropped units set to zero.

This file needs torch and transformers only. It is written beside the weights of every trimmed
checkpoint, so that `AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True)` works on
a machine that does not have trimllm installed, and stock vLLM serves it with its flag
`--trust-remote-code`.
"""

import copy

from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    MistralForCausalLM,
    MistralModel,
    OPTConfig,
    OPTForCausalLM,
    OPTModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer
from transformers.models.opt.modeling_opt import OPTDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer


def packed_blocks(units):
    """Group surviving units, in order, into blocks: [{"attention": 0, "mlp": 3}, ...].

    The values are the original blocks that the units come from; a missing kind is absent.
    """
    blocks = []
    for block, kind in units:
        if kind == "mlp" and blocks and list(blocks[-1]) == ["attention"]:
            blocks[-1]["mlp"] = block
        else:
            blocks.append({kind: block})
    return blocks


def decoder_of(model):
    """The module that holds `layers`, of a causal language model or its base model."""
    base = getattr(model, "model", model)
    return getattr(base, "decoder", base)


class RotaryTrimLayer:
    """Forward pass of a LLaMA-like decoder layer that may lack its attention or its MLP."""

    parts = {
        "attention": ("input_layernorm", "self_attn"),
        "mlp": ("post_attention_layernorm", "mlp"),
    }

    def forward(self, hidden_states, **kwargs):
        if self.self_attn is not None:
            normed = self.input_layernorm(hidden_states)
            hidden_states = hidden_states + self.self_attn(hidden_states=normed, **kwargs)[0]
        if self.mlp is not None:
            normed = self.post_attention_layernorm(hidden_states)
            hidden_states = hidden_states + self.mlp(normed)
        return hidden_states


class OPTTrimLayer:
    """Forward pass of a pre-norm OPT decoder layer that may lack its attention or its MLP."""

    parts = {
        "attention": ("self_attn_layer_norm", "self_attn"),
        "mlp": ("final_layer_norm", "fc1", "fc2"),
    }

    def forward(self, hidden_states, **kwargs):
        if self.self_attn is not None:
            normed = self.self_attn_layer_norm(hidden_states)
            update = self.self_attn(hidden_states=normed, **kwargs)[0]
            update = nn.functional.dropout(update, p=self.dropout, training=self.training)
            hidden_states = hidden_states + update
        if self.fc1 is not None:
            update = self.fc2(self.activation_fn(self.fc1(self.final_layer_norm(hidden_states))))
            update = nn.functional.dropout(update, p=self.dropout, training=self.training)
            hidden_states = hidden_states + update
        return hidden_states


class TrimLlamaDecoderLayer(RotaryTrimLayer, LlamaDecoderLayer):
    pass


class TrimMistralDecoderLayer(RotaryTrimLayer, MistralDecoderLayer):
    pass


class TrimQwen2DecoderLayer(RotaryTrimLayer, Qwen2DecoderLayer):
    pass


class TrimOPTDecoderLayer(OPTTrimLayer, OPTDecoderLayer):
    pass


class TrimLlamaConfig(LlamaConfig):
    model_type = "trimllm_llama"
    units: list | None = None  # [[original block, "attention" or "mlp"], ...] of what is left
    original_num_hidden_layers: int | None = None


class TrimMistralConfig(MistralConfig):
    model_type = "trimllm_mistral"
    units: list | None = None
    original_num_hidden_layers: int | None = None


class TrimQwen2Config(Qwen2Config):
    model_type = "trimllm_qwen2"
    units: list | None = None
    original_num_hidden_layers: int | None = None


class TrimOPTConfig(OPTConfig):
    model_type = "trimllm_opt"
    units: list | None = None
    original_num_hidden_layers: int | None = None


class TrimBaseModel:
    """Mixin over a stock base model: removes what `config.units` does not name."""

    # A decoder layer; its `parts` are the submodules of each kind of unit.
    layer_class: type | None = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.layer_class is not None:
            cls._no_split_modules = [cls.layer_class.__name__]

    def __init__(self, config, *args, **kwargs):
        blocks, theirs = packed_blocks(config.units), None
        # vLLM makes one attention, with its cache, for each of the first `num_hidden_layers`
        # indices: its config has to count attentions, while the model's own counts blocks.
        if (getattr(config, "_attn_implementation", None) or "").startswith("vllm"):
            theirs, config = config, copy.copy(config)
            config.num_hidden_layers = len(blocks)
        super().__init__(config, *args, **kwargs)
        for layer, block in zip(decoder_of(self).layers, blocks, strict=True):
            for kind, names in self.layer_class.parts.items():
                if kind not in block:
                    for name in names:
                        setattr(layer, name, None)
        self.adopt_layers()
        if theirs is not None:
            theirs.num_hidden_layers = self.caches
            if self.caches != len(blocks):
                decoder_of(self).layers.__class__ = WholeModuleList

    def adopt_layers(self):
        """Give the layers the trimmed forward pass and number their KV caches without gaps."""
        self.caches = 0
        for layer in decoder_of(self).layers:
            layer.__class__ = self.layer_class
            if layer.self_attn is not None:
                layer.self_attn.layer_idx = self.caches
                self.caches += 1


class WholeModuleList(nn.ModuleList):
    """Layers that no pipeline may share out: vLLM would count them as it counts attentions."""

    def __setitem__(self, index, module):
        raise ValueError("trimmed models run in one pipeline stage; use tensor parallelism instead")


class TrimModel(TrimBaseModel):
    """Mixin over a stock causal language model."""

    base_class: type | None = None  # its base model, which `AutoModel` and vLLM load

    def generate(self, *args, **kwargs):
        # Without any attention no cache ever grows, and a cache's length is all that a model
        # knows of its position: generate from the whole sequence instead.
        if self.caches == 0:
            kwargs["use_cache"] = False
        return super().generate(*args, **kwargs)

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        # transformers makes a cache for each block. Those that no attention fills stay empty, and
        # an empty one cannot be cut, as a draft's is (`assistant_model`).
        super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        if model_kwargs.get("past_key_values") is not None:
            del model_kwargs["past_key_values"].layers[self.caches :]


class TrimLlamaModel(TrimBaseModel, LlamaModel):
    config_class = TrimLlamaConfig
    layer_class = TrimLlamaDecoderLayer


class TrimLlamaForCausalLM(TrimModel, LlamaForCausalLM):
    config_class = TrimLlamaConfig
    layer_class = TrimLlamaDecoderLayer
    base_class = TrimLlamaModel


class TrimMistralModel(TrimBaseModel, MistralModel):
    config_class = TrimMistralConfig
    layer_class = TrimMistralDecoderLayer


class TrimMistralForCausalLM(TrimModel, MistralForCausalLM):
    config_class = TrimMistralConfig
    layer_class = TrimMistralDecoderLayer
    base_class = TrimMistralModel


class TrimQwen2Model(TrimBaseModel, Qwen2Model):
    config_class = TrimQwen2Config
    layer_class = TrimQwen2DecoderLayer


class TrimQwen2ForCausalLM(TrimModel, Qwen2ForCausalLM):
    config_class = TrimQwen2Config
    layer_class = TrimQwen2DecoderLayer
    base_class = TrimQwen2Model


class TrimOPTModel(TrimBaseModel, OPTModel):
    config_class = TrimOPTConfig
    layer_class = TrimOPTDecoderLayer


class TrimOPTForCausalLM(TrimModel, OPTForCausalLM):
    config_class = TrimOPTConfig
    layer_class = TrimOPTDecoderLayer
    base_class = TrimOPTModel
