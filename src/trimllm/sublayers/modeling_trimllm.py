"""Trimmed causal language models: stock transformers models without some of their sublayers.

A sublayer is an attention or an MLP with its norm and its residual connection. In a trimmed model
a kept attention that is followed by a kept MLP forms one block, whatever blocks they came from; an
unpaired sublayer has a block of its own. The model computes exactly what the full model computes
with the output projections of the dropped sublayers set to zero.

This file needs torch and transformers only, and imports the model's own family on demand. It is
written beside the weights of every trimmed checkpoint, so that
`AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True)` works without trimllm, and
stock vLLM serves the checkpoint with its flag `--trust-remote-code`.
"""

import copy
import importlib
from functools import cache
from typing import NamedTuple

from torch import nn


class Family(NamedTuple):
    """Names in the code of a model family.

    A sublayer is a chain of submodules of a decoder layer: each takes what the one before returned,
    and the result of the last is added to the residual stream.
    """

    name: str  # `model_type` of its configuration
    prefix: str  # of its class names: Llama in LlamaForCausalLM
    attention: tuple[str, ...] = ("input_layernorm", "self_attn")
    mlp: tuple[str, ...] = ("post_attention_layernorm", "mlp")
    # The linear layer whose output is the sublayer's: zeroing it is dropping the sublayer.
    attention_output: str = "self_attn.o_proj"
    mlp_output: str = "mlp.down_proj"
    per_block: tuple[str, ...] = ()  # lists of the configuration with one entry a block
    module: str = ""  # of its classes; empty: transformers.models.NAME.modeling_NAME

    @property
    def parts(self):
        """The chain of submodules of a sublayer, by kind."""
        return {"attention": self.attention, "mlp": self.mlp}

    def output_projection(self, layer, kind):
        """The output projection of the sublayer of `kind` in a decoder layer."""
        return layer.get_submodule(getattr(self, f"{kind}_output"))


FAMILIES = {
    family.name: family
    for family in (
        Family("llama", "Llama"),
        Family("mistral", "Mistral"),
        Family("qwen2", "Qwen2"),
        Family("qwen3", "Qwen3"),
        Family("smollm3", "SmolLM3", per_block=("no_rope_layers",)),
        Family(
            "phi3",
            "Phi3",
            attention=("input_layernorm", "self_attn", "resid_attn_dropout"),
            mlp=("post_attention_layernorm", "mlp", "resid_mlp_dropout"),
        ),
        Family(
            "opt",
            "OPT",
            attention=("self_attn_layer_norm", "self_attn"),
            mlp=("final_layer_norm", "fc1", "activation_fn", "fc2"),
            attention_output="self_attn.out_proj",
            mlp_output="fc2",
        ),
    )
}


def update(layer, chain, hidden_states, **kwargs):
    """What a sublayer of a decoder layer adds to the residual stream (..., tokens, width).

    `kwargs` are the attention's: mask, rotary embeddings, cache.
    """
    for name in chain:
        module = getattr(layer, name)
        if name == "self_attn":
            hidden_states = module(hidden_states=hidden_states, **kwargs)[0]
        else:
            hidden_states = module(hidden_states)
    # OPT's dropout is no module of the chain.
    dropout = getattr(layer, "dropout", 0.0)
    return nn.functional.dropout(hidden_states, p=dropout, training=layer.training)


def packed_blocks(units):
    """Group kept sublayers, in order, into blocks by kind: [{"attention": 0, "mlp": 3}, ...].

    The values are original block numbers; a missing kind is absent.
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


class TrimLayer:
    """Forward pass of a decoder layer that may lack its attention or its MLP."""

    def forward(self, hidden_states, **kwargs):
        for chain in self.family.parts.values():
            if getattr(self, chain[0]) is not None:
                hidden_states = hidden_states + update(self, chain, hidden_states, **kwargs)
        return hidden_states


class TrimBaseModel:
    """Mixin over a stock base model: removes what `config.units` does not name."""

    def __init__(self, config, *args, **kwargs):
        blocks, vllm_config = packed_blocks(config.units), None
        # vLLM makes one attention, with its cache, for each of the first `num_hidden_layers`
        # indices: its config has to count attentions, the model's own counts blocks.
        if (config._attn_implementation or "").startswith("vllm"):
            vllm_config, config = config, copy.copy(config)
            config.num_hidden_layers = len(blocks)
        super().__init__(config, *args, **kwargs)
        for layer, block in zip(decoder_of(self).layers, blocks, strict=True):
            for kind, names in self.layer_class.family.parts.items():
                for name in names if kind not in block else ():
                    setattr(layer, name, None)
        self.adopt_layers()
        if vllm_config is not None:
            vllm_config.num_hidden_layers = self.caches
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
    """Layers that cannot be split among pipeline stages: vLLM would count them as attentions."""

    def __setitem__(self, index, module):
        raise ValueError("trimmed models run in one pipeline stage; use tensor parallelism instead")


class TrimModel(TrimBaseModel):
    """Mixin over a stock causal language model."""

    def generate(self, *args, **kwargs):
        # Without attention no cache grows, and positions follow from the cache's length.
        if self.caches == 0:
            kwargs["use_cache"] = False
        return super().generate(*args, **kwargs)


@cache
def trimmed(family):
    """The trimmed classes of a family, by the auto class that loads each."""
    module = family.module or f"transformers.models.{family.name}.modeling_{family.name}"
    stock = importlib.import_module(module)

    def make(suffix, mixins, **attributes):
        base = getattr(stock, family.prefix + suffix)
        attributes["__module__"] = __name__
        return type(f"Trim{family.prefix}{suffix}", (*mixins, base), attributes)

    class Config(getattr(stock, f"{family.prefix}Config")):
        model_type = f"trimllm_{family.name}"
        units: list | None = None  # [[original block, "attention" or "mlp"], ...] of what is left
        original_num_hidden_layers: int | None = None

    Config.__name__ = Config.__qualname__ = f"Trim{family.prefix}Config"
    layer = make("DecoderLayer", (TrimLayer,), family=family)
    common = {"config_class": Config, "layer_class": layer, "_no_split_modules": [layer.__name__]}
    return {
        "AutoConfig": Config,
        "AutoModel": make("Model", (TrimBaseModel,), **common),
        "AutoModelForCausalLM": make("ForCausalLM", (TrimModel,), **common),
    }


def __getattr__(name):
    """Make the classes that `auto_map` names (`TrimLlamaForCausalLM`) on demand."""
    for family in FAMILIES.values():
        if name.startswith(f"Trim{family.prefix}"):
            for cls in trimmed(family).values():
                if cls.__name__ == name:
                    return cls
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
