"""A model larger than its device: weights of decoder layers are there only while they are used.

Embeddings, final norm and head stay on the device. The modules of the layers are on torch's meta
device; hooks of accelerate bring their weights from the checkpoint's safetensors, or from host
memory, before a module runs and drop them after it. The bits are those of an ordinary model. A
larger row budget (or token budget) reads less often, a smaller one needs less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from accelerate import init_empty_weights
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.checkpoint.store import check_directory, load_tokenizer
from trimllm.sublayers.modeling_trimllm import decoder_of

PLACES = ("device", "host", "disk")
# In which type a parameter is read.
TypeOf = Callable[[nn.Parameter], torch.dtype]


class WeightFile:
    """The weights of a checkpoint directory by name, each read when it is needed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.file_of: dict[str, Any] = {}
        self.overlaid: dict[str, Tensor] = {}
        for file in sorted(self.path.glob("*.safetensors")):
            try:
                store = safe_open(file, "pt")
            except (OSError, SafetensorError) as error:
                raise UserError(f"{file} cannot be read: {error}") from error
            self.file_of |= dict.fromkeys(store.keys(), store)
        if not self.file_of:
            raise UserError(f"{self.path} has no *.safetensors file to stream weights from")

    def overlay(self, tensors: Mapping[str, Tensor]) -> None:
        """Read these from now on in place of the file's."""
        self.overlaid |= tensors

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """A weight in host memory of its own. `UserError` if the checkpoint does not have it."""
        if name in self.overlaid:
            return self.overlaid[name].to(dtype, copy=True)
        if name not in self.file_of:
            raise UserError(f"{self.path}: the weights lack {name}")
        # A copy even in the same type: the file's memory is not aligned as torch's own is, and
        # matrix products of unaligned memory need not have the same bits.
        return self.file_of[name].get_tensor(name).to(dtype, copy=True)


class _Bring(ModelHook):
    """Has a module's weights stand in the place of its empty parameters while it runs."""

    def __init__(self, stream: Stream, name: str) -> None:
        self.stream, self.name = stream, name

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        self.empty = {leaf: p for leaf, p in module._parameters.items() if p is not None}
        for leaf in self.empty:
            weight = self.stream[f"{self.name}.{leaf}"].to(self.stream.device)
            module._parameters[leaf] = nn.Parameter(weight, requires_grad=False)
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        module._parameters.update(self.empty)
        return output


class Stream:
    """The weights of a streamed model by name, as its hooks take them.

    Args:
        model: every parameter on the meta device (`skeleton`).
        dtype, device: of the weights when they are used.
        place: where weights wait while their module does not run: on "disk", in "host" memory, or
            on the "device"; there they are kept once they were read.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: WeightFile,
        dtype: torch.dtype,
        device: torch.device | str,
        place: str,
    ) -> None:
        if place not in PLACES:
            raise UserError(f"weights cannot wait on {place!r}; choose among {', '.join(PLACES)}")
        self.model, self.weights, self.dtype = model, weights, dtype
        self.device, self.place = torch.device(device), place
        self.held: dict[str, Tensor] = {}
        # Dropping sublayers moves modules from layer to layer; each keeps its name in the file.
        self._name_of = WeakKeyDictionary((module, name) for name, module in model.named_modules())
        for module in decoder_of(model).layers.modules():
            if module._parameters:
                add_hook_to_module(module, _Bring(self, self._name_of[module]))
        decoder_of(model).weight_stream = self

    def __getitem__(self, name: str) -> Tensor:
        if name in self.held:
            return self.held[name]
        tensor = self.weights.read(name, self.dtype)
        if self.place != "disk":
            self.held[name] = tensor = tensor.to(self.device if self.place == "device" else "cpu")
        return tensor

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        raise UserError("a streamed model cannot be copied; load it in the type it is to run in")

    def release(self) -> None:
        """Forget the weights that are kept on the host or the device."""
        self.held.clear()

    def fill(
        self, make: Callable[[str, nn.Parameter], nn.Parameter], *, units: bool = True
    ) -> None:
        """Put make(name in the file, old parameter) in every parameter's place; ties stay ties.

        Args:
            units: also for the parameters of layers, which are streamed no more; else only for
                those that are always there.
        """
        if units:
            remove_hook_from_module(self.model, recurse=True)
        in_layers = {id(p) for p in decoder_of(self.model).layers.parameters()}
        made: dict[int, nn.Parameter] = {}
        for module in self.model.modules():
            for leaf, old in module._parameters.items():
                if old is not None and (units or id(old) not in in_layers):
                    if id(old) not in made:
                        made[id(old)] = make(f"{self._name_of[module]}.{leaf}", old)
                    module._parameters[leaf] = made[id(old)]

    def reader(self, dtype: torch.dtype | TypeOf) -> Callable[[str, nn.Parameter], nn.Parameter]:
        """What `fill` puts in the places of parameters to have an ordinary model."""

        def read(name: str, old: nn.Parameter) -> nn.Parameter:
            own = dtype if isinstance(dtype, torch.dtype) else dtype(old)
            tensor = self.weights.read(name, own).to(self.device)
            return nn.Parameter(tensor, requires_grad=old.requires_grad)

        return read


def skeleton(config: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> nn.Module:
    """A causal language model without weights: parameters on the meta device, buffers real."""
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.tie_weights()
    for module in model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    return model.eval().requires_grad_(False)


def stream_of(model: nn.Module) -> Stream | None:
    """The stream of a streamed model; None for an ordinary one."""
    return getattr(decoder_of(model), "weight_stream", None)


def release(model: nn.Module) -> None:
    """Forget the weights that a streamed model keeps; nothing for an ordinary one."""
    if (stream := stream_of(model)) is not None:
        stream.release()


def materialize(model: nn.Module, dtype: torch.dtype | TypeOf) -> nn.Module:
    """Make a streamed model an ordinary one, in place: every weight is read and stays.

    Args:
        dtype: of all weights, or what tells it of each parameter.
    """
    if (stream := stream_of(model)) is not None:
        stream.release()
        stream.fill(stream.reader(dtype))
        del decoder_of(model).weight_stream
    return model


def load_streamed(
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    place: str = "disk",
    verify: bool = True,
) -> tuple[nn.Module, Any]:
    """Load a checkpoint, plain or trimmed, whose layers' weights are read when they are used.

    It scans and scores like any other model, but does not train; `materialize` makes it an ordinary
    one.

    Args:
        path, verify: as for `load`.
        dtype, device: type of the weights when they are used, and where.
        place: see `Stream`.

    Returns:
        (model in evaluation mode, tokenizer)

    Raises:
        UserError: as for `load`; also for weights that are not safetensors.
    """
    path, stored = check_directory(path, verify=verify)
    if method := kernels.method_of(stored):
        raise UserError(f"{path} is compressed by {method}; only plain weights are streamed")
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    model = skeleton(config, dtype, device)
    if (path / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(path, local_files_only=True)
    stream = Stream(model, WeightFile(path), dtype, device, place)
    stream.fill(stream.reader(dtype), units=False)
    return model, load_tokenizer(path)
