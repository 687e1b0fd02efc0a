"""One model in transformers, timed by a bare loop over `forward` or by `generate` as it comes:
greedy, with a cache, past any end of text. The loop takes the growing cache that `generate` takes;
compiled, a static one, so that CUDA graphs can replay it. A shape's random codes and scales run on
the very kernels that a compressor's checkpoints run on."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured
from transformers import DynamicCache, LlamaConfig, StaticCache, StoppingCriteriaList, __version__

from trimllm.base import kernels
from trimllm.base.machine import peak_rss_bytes, versions
from trimllm.checkpoint import load
from trimllm.checkpoint.stock import unwritten
from trimllm.sublayers import Unit, device_of, drop, original_units, units
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.throughput.subject import SHAPES, Subject

SCALE = 0.02  # largest weight of the random layers: small enough that nothing overflows


class Worker:
    """A `Subject` (its attributes), timed with prompts of `prompt` tokens, by the bare loop or by
    `generate`."""

    def __init__(self, subject: dict[str, Any], prompt: int, loop: bool) -> None:
        timed = Subject(**subject)
        torch.set_num_threads(timed.threads)
        self.model = build(timed)
        self.device = device_of(self.model)
        layers = sorted(set(map(_kind, linears(self.model))))  # the kernels of a compressed model
        self.facts = sizes(self.model, prompt) | {
            "layers": layers,
            "kernel": ", ".join([self.model.config._attn_implementation, *layers]),
            "precision": str(self.model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "version": f"transformers {__version__}",
            "versions": versions("gptqmodel", "bitsandbytes"),
            **{name: getattr(timed, name) for name in ("dtype", "device", "mode")},
        }
        self.decode = Loop(self.model, timed.mode) if loop else self._generate
        if self.device.type == "cuda":  # packing weights takes more than running them
            torch.cuda.reset_peak_memory_stats(self.device)

    def time(self, prompts: list[list[int]], generate: int) -> dict[str, Any]:
        """Seconds of the prompts and of what follows, and the largest memory so far: on a CPU that
        of the process, loading included."""
        ids, times = torch.tensor(prompts, device=self.device), list[float]()
        cuda = self.device.type == "cuda"

        def note() -> None:
            if cuda:
                torch.cuda.synchronize(self.device)
            times.append(time.perf_counter())

        note()
        self.decode(ids, generate, note)
        peak = torch.cuda.max_memory_allocated(self.device) if cuda else peak_rss_bytes()
        seconds = {"prefill": times[1] - times[0], "decode": times[-1] - times[1]}
        return seconds | {"peak_memory_bytes": peak}

    @torch.inference_mode()
    def _generate(self, ids: Tensor, generate: int, note: Callable[[], None]) -> Tensor:
        def on_token(ids: Tensor, *ignored: Any, **options: Any) -> Tensor:
            note()
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)  # stops nothing

        return self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=1 + generate,
            do_sample=False,
            eos_token_id=[],
            pad_token_id=0,
            stopping_criteria=StoppingCriteriaList([on_token]),
        )


class Loop:
    """Greedy decoding by a bare loop over `forward`, "eager" or "compiled"."""

    def __init__(self, model: nn.Module, mode: str = "eager") -> None:
        self.model, self.compiled = model, mode == "compiled"
        self.static: Any = None  # the cache of the compiled model
        # The last position is a slice of (1, tokens, width), whose strides make torch copy the
        # head's whole weight before it multiplies: 40% of the time of SmolLM2-135M's prompt.
        model.get_output_embeddings().register_forward_pre_hook(
            lambda head, inputs: inputs[0].clone(memory_format=torch.contiguous_format)
        )
        self.step = model.forward
        if self.compiled:
            self.step = torch.compile(model.forward, mode="reduce-overhead", dynamic=False)

    @torch.inference_mode()
    def __call__(self, ids: Tensor, generate: int, note: Callable[[], None]) -> Tensor:
        """Tokens (texts, 1 + generate) after prompts (texts, tokens); calls `note` after the first
        and after the last."""
        cache = self._empty_cache(ids.shape[1] + generate)
        options = {"past_key_values": cache, "use_cache": cache is not None}
        logits = self.model(ids, logits_to_keep=1, **options).logits
        tokens = [logits[:, -1:].argmax(-1)]
        note()
        for _ in range(generate):
            torch.compiler.cudagraph_mark_step_begin()
            tokens.append(self.step(tokens[-1], **options).logits[:, -1:].argmax(-1))
        note()
        return torch.cat(tokens, 1)

    def _empty_cache(self, room: int) -> Any:
        if getattr(self.model, "caches", 1) == 0:
            return None  # no attention is left: nothing to remember
        if not self.compiled:
            return DynamicCache()
        if self.static is None:
            self.static = StaticCache(config=self.model.config, max_cache_len=room)
        self.static.reset()  # the same memory every round, which CUDA graphs have recorded
        return self.static


def _kind(layer: Any) -> str:
    """Class of a linear layer, and of its weights where they are packed."""
    name, weights = type(layer).__name__, type(getattr(layer, "weight", None)).__name__
    return f"Linear of {weights}" if name == "Linear" and "Sparse" in weights else name


def build(subject: Subject) -> nn.Module:
    """The model in evaluation mode on its device."""
    if subject.shape:
        model = random_model(subject)
    else:  # whoever starts the session has verified the checkpoint
        options: dict[str, Any] = {"dtype": subject.dtype, "device": subject.device}
        options |= {"verify": False, "trust_remote_code": subject.trust_remote_code}
        model, _ = load(subject.checkpoint or "", **options)
    # Tensor cores skip zeros since compute capability 8.0; a CPU has no kernel that does.
    if subject.device == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        pack_2_4(model)
    return model


@torch.no_grad()
def random_model(subject: Subject) -> nn.Module:
    """A shape with random weights, trimmed and compressed as the subject says."""
    config = LlamaConfig(**SHAPES[subject.shape or ""], max_position_embeddings=4096)
    # Host memory that is reserved and never written costs nothing: compressed layers replace it.
    model = unwritten(config, getattr(torch, subject.dtype)).eval().requires_grad_(False)
    if subject.units is not None:
        drop(model, {*units(model)} - {Unit(*unit) for unit in subject.units})
    if subject.compressor == "llm_int8":
        _replace(model, _int8, subject.device)
    elif subject.compressor in ("awq_int4", "gptq_int4"):
        _replace(model, _int4(subject), subject.device)
        from gptqmodel.utils.model import hf_gptqmodel_post_init

        hf_gptqmodel_post_init(model, use_act_order=False)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            random = torch.empty_like(parameter, device=subject.device)
            parameter.data = random.uniform_(-SCALE, SCALE)
            if parameter.dim() == 1:  # a norm: some channels exceed LLM.int8's threshold
                parameter.data.fill_(1)[::1024] = 20
    if subject.compressor == "sparsegpt_2_4":
        for linear in linears(model):
            linear.weight.view(linear.out_features, -1, 4)[..., :2] = 0
    return model.to(subject.device)


def _replace(model: nn.Module, layer_of: Callable[[nn.Linear], nn.Module], device: str) -> None:
    """Replace the linear layers of the sublayers; all compressors leave embeddings and head."""
    layers = decoder_of(model).layers
    for name, linear in [*layers.named_modules()]:
        if isinstance(linear, nn.Linear):
            layers.set_submodule(name, layer_of(linear).to(device).requires_grad_(False).eval())


def _int4(subject: Subject) -> Callable[[nn.Linear], nn.Module]:
    """Layers of the class that transformers takes for our GPTQ or AWQ checkpoints on this device:
    on a CPU a wrapper of torch's own int4 product, which needs no compiler."""
    kernels.prepare()
    from gptqmodel.quantization import METHOD
    from gptqmodel.utils.importer import hf_select_quant_linear_v2

    gptq = subject.compressor == "gptq_int4"
    method = METHOD.GPTQ if gptq else METHOD.AWQ
    options = {"bits": 4, "group_size": subject.group_size, "sym": False, "desc_act": False}
    layer_class = hf_select_quant_linear_v2(
        **options,
        format="gptq" if gptq else "gemm",
        backend=kernels.four_bit_backend(method.value, subject.device),
        device_map={"": subject.device},
        quant_method=method,
        zero_point=not gptq,
        pack=False,
    )

    def layer(linear: nn.Linear) -> nn.Module:
        features = {"in_features": linear.in_features, "out_features": linear.out_features}
        packed = layer_class(**options, **features, bias=False, register_buffers=True)
        packed.qweight.random_(-(2**31), 2**31 - 1)
        packed.qzeros.random_(-(2**31), 2**31 - 1)
        packed.scales.uniform_(0, SCALE / 8)
        return packed

    return layer


def _int8(linear: nn.Linear) -> nn.Module:
    """bitsandbytes' LLM.int8() with its usual outlier threshold."""
    import bitsandbytes as bnb

    options = {"bias": False, "has_fp16_weights": False, "threshold": 6.0}
    layer = bnb.nn.Linear8bitLt(linear.in_features, linear.out_features, **options)
    weight = torch.empty(linear.weight.shape, dtype=torch.float16).uniform_(-SCALE, SCALE)
    layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    return layer


def is_2_4(weight: Tensor) -> bool:
    """Whether at most two of every four weights along the inputs (out, in) are not zero."""
    return not weight.shape[-1] % 4 and bool((weight.reshape(-1, 4) != 0).sum(-1).max() <= 2)


def pack_2_4(model: nn.Module) -> None:
    """Pack weights that are 2:4 sparse for a GPU's sparse tensor cores, in place."""
    for linear in linears(model):
        if type(linear) is nn.Linear and is_2_4(linear.weight):
            weight: Any = to_sparse_semi_structured(linear.weight)
            linear.weight = nn.Parameter(weight, requires_grad=False)


def sizes(model: nn.Module, prompt: int) -> dict[str, Any]:
    """Sizes, to be read before the first forward pass, in which some int4 kernels repack weights:
    bytes of the stored weights (a tied head has none), of what a token adds to the cache, and
    multiplications and additions of the matrix products of a prompt of so many tokens."""
    config, kept, layers = model.config, units(model), decoder_of(model).layers
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    tensors = dict([*layers.named_parameters(), *layers.named_buffers()])
    stored = [tensors[name] for name in layers.state_dict() if name in tensors]
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    channels = head_width * sum(unit.kind == "attention" for unit in kept)
    # Each weight of the sublayers takes two operations a token, each weight of the head two in all,
    # and the t-th token's attention 4 · t · channels a head. A compressed weight counts like a
    # dense one.
    inside = sum(layer.in_features * layer.out_features for layer in linears(model))
    attention = 4 * heads * channels * prompt * (prompt + 1) // 2
    return {
        "units_kept": len(kept),
        "units_total": original_units(model),
        "bytes": {
            "units": sum(map(_bytes, stored)),
            "embeddings": _bytes(embeddings),
            "head": 0 if head is embeddings else _bytes(head),
        },
        "kv_bytes_per_token": 2 * kv_heads * channels * model.dtype.itemsize,
        "prefill_operations": 2 * prompt * inside + attention + 2 * head.numel(),
    }


def linears(model: nn.Module) -> list[Any]:
    """The sublayers' linear layers, compressed ones among them."""
    return [m for m in decoder_of(model).layers.modules() if hasattr(m, "in_features")]


def _bytes(weight: Any) -> int:
    # Packed for sparse tensor cores, weights consist of two tensors; in 8 bits, rows have scales.
    parts = [getattr(weight, name, None) for name in ("packed", "meta", "SCB")]
    extra = [int(part.nbytes) for part in parts if part is not None]
    return sum(extra) + (0 if parts[0] is not None else int(weight.nbytes))
