"""A model larger than its device: weights of decoder layers are loaded only while they are used.

Embeddings, final norm and head stay on the device. The layers are on torch's meta device; hooks
read a module's weights from the checkpoint, or from host memory, before it runs and drop them after
it. The bits are those of an ordinary model. A larger row budget (or token budget) reads less often.
"""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.checkpoint.store import check_directory, load_tokenizer
from trimllm.sublayers import device_of
from trimllm.sublayers.modeling_trimllm import decoder_of


class WeightFile:
    """The weights of a checkpoint directory, read by name; and the hooks of a streamed model."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.file_of, self.hooks = Path(path), dict[str, Any](), list[Any]()
        for file in sorted(self.path.glob("*.safetensors")):
            try:
                store = safe_open(file, "pt")
            except (OSError, SafetensorError) as error:
                raise UserError(f"{file} cannot be read: {error}") from error
            self.file_of |= dict.fromkeys(store.keys(), store)

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """A weight in host memory of its own. `UserError` if the checkpoint does not have it."""
        if name not in self.file_of:
            raise UserError(f"{self.path}: the weights lack {name}")
        # A copy even in the same type: the file's memory is not aligned as torch's is, and matrix
        # products of unaligned memory need not have the same bits.
        return self.file_of[name].get_tensor(name).to(dtype, copy=True)


def _load_while_running(module: nn.Module, read: Callable[[nn.Parameter], Tensor]) -> list[Any]:
    """Hooks that replace a module's empty parameters by its weights while it runs."""
    empty = dict(module._parameters)
    return [
        module.register_forward_pre_hook(lambda module, *_: _fill([module], read)),
        module.register_forward_hook(lambda module, *_: module._parameters.update(empty)),
    ]


def skeleton(config: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> nn.Module:
    """A causal language model: parameters on the meta device, each with its name in the checkpoint
    as `stored_as` (dropping moves modules to other layers), and real buffers."""
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.tie_weights()
    for buffer in model.buffers():
        buffer.data = buffer.to(device)
    for name, parameter in model.named_parameters():
        parameter.stored_as = name
    return model.eval().requires_grad_(False)


def _fill(modules: Iterable[nn.Module], read: Callable[[nn.Parameter], Tensor]) -> None:
    """Replace the own parameters of modules by their weights; ties stay ties."""

    @cache
    def filled(old: nn.Parameter) -> nn.Parameter:
        new = nn.Parameter(read(old), old.requires_grad)
        new.stored_as = old.stored_as
        return new

    for module in modules:
        for leaf, old in module._parameters.items():
            module._parameters[leaf] = None if old is None else filled(old)


def stream_of(model: nn.Module) -> Any:
    """The `WeightFile` of a streamed model; None for an ordinary one."""
    return getattr(decoder_of(model), "weight_file", None)


def materialize(
    model: nn.Module, dtype: torch.dtype | Callable[[nn.Parameter], torch.dtype]
) -> nn.Module:
    """Make a streamed model an ordinary one, in place, with weights of a type, or of that which a
    function of the parameter gives."""
    if weights := stream_of(model):
        device = device_of(model)

        def read(old: nn.Parameter) -> Tensor:
            kind = dtype if isinstance(dtype, torch.dtype) else dtype(old)
            return weights.read(old.stored_as, kind).to(device)

        for hook in weights.hooks:
            hook.remove()
        _fill(model.modules(), read)
        del decoder_of(model).weight_file
    return model


def load_streamed(
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    place: str = "disk",
) -> tuple[nn.Module, Any]:
    """As `load`, for a checkpoint, plain or trimmed, whose layers' weights are on "disk", or once
    read in "host" memory (`place`), until they are used as `dtype` on `device`.

    The model scans and scores like any other, but does not train; see `materialize`.
    """
    path, stored = check_directory(path, verify=True)
    if method := kernels.method_of(stored):
        raise UserError(f"{path} is compressed by {method}; only plain weights are streamed")
    model = skeleton(AutoConfig.from_pretrained(path, local_files_only=True), dtype, device)
    if (path / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(path, local_files_only=True)
    weights = decoder_of(model).weight_file = WeightFile(path)
    from_file = cache(weights.read) if place == "host" else weights.read

    def read(parameter: nn.Parameter) -> Tensor:
        return from_file(parameter.stored_as, dtype).to(device)

    streamed = {*decoder_of(model).layers.modules()}
    for module in streamed:
        weights.hooks += _load_while_running(module, read)
    _fill(set(model.modules()) - streamed, read)
    return model, load_tokenizer(path)
