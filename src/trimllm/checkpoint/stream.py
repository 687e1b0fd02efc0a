"""A model larger than its device: the weights of a unit are there only while the unit runs.

Embeddings, final norm and head stay on the device; the layers lie on torch's meta device, and the
weights of a unit are read from the checkpoint's safetensors (or from host memory) when it runs.
The one-pass scan and the scorer run every unit inside `trimllm.sublayers.present`, so they work on
a streamed model as on any other, with the same bits. What is read is read once a batch of rows: a
larger row budget (or token budget) reads less often, a smaller one needs less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.checkpoint.store import check_directory, load_tokenizer
from trimllm.sublayers import adapter_of, unit_layers
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.sublayers.presence import set_source, source_of

PLACES = ("device", "host", "disk")

# A parameter: the module that has it, its name there, its name in the file.
Slot = tuple[nn.Module, str, str]
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


class Stream:
    """Brings the weights of a model's units (see `present`) and knows where each is stored.

    Args:
        model: a model from `skeleton`, every parameter on the meta device.
        dtype, device: of the weights that are brought.
        place: where weights wait while their unit does not run: on "disk", in "host" memory
            (read once), or on the "device" (brought once, and then always there).
        prefetch: bring the next unit's weights while a unit runs; two are then there at once.

    Attributes:
        bytes_read: bytes read from disk so far, in the type that they are used in.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: WeightFile,
        dtype: torch.dtype,
        device: torch.device | str,
        place: str,
        prefetch: bool,
    ) -> None:
        if place not in PLACES:
            raise UserError(f"weights cannot wait on {place!r}; choose among {', '.join(PLACES)}")
        self.model, self.weights, self.dtype = model, weights, dtype
        self.device, self.place = torch.device(device), place
        self.parts = adapter_of(model).parts
        self.held: dict[str, Tensor] = {}
        # The parameters without memory in whose place real ones stand, by (id of module, name).
        self._empty: dict[tuple[int, str], nn.Parameter] = {}
        self.bytes_read = 0
        self._reader = ThreadPoolExecutor(1) if prefetch and place != "device" else None
        self._ahead: tuple[nn.Module, str, Future[list[Tensor]]] | None = None
        self._side = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        # Dropping units moves modules from layer to layer: each keeps its name in the file. Those
        # that are dropped are not held here, they may have their weights with them.
        self._name_of = WeakKeyDictionary((module, name) for name, module in model.named_modules())
        for layer in decoder_of(model).layers:
            set_source(layer, self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        raise UserError("a streamed model cannot be copied; load it in the type it is to run in")

    @contextmanager
    def present(self, layer: nn.Module, kind: str) -> Iterator[None]:
        """The weights of the unit of `kind` in `layer` are on the device inside this context."""
        slots = self._slots(layer, kind)
        if all(not module._parameters[leaf].is_meta for module, leaf, _ in slots):
            yield
            return
        found = self._taken(layer, kind)
        for (module, leaf, _), tensor in zip(slots, found, strict=True):
            self._empty[id(module), leaf] = module._parameters[leaf]
            module._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
        del found
        try:
            yield
        finally:
            if self.place != "device":
                self._put_away(slots)

    def release(self) -> None:
        """Forget all weights of units, also those that wait."""
        if self._ahead is not None:
            self._ahead[2].result()
        self._ahead = None
        for unit, layer in unit_layers(self.model):
            self._put_away(self._slots(layer, unit.kind))
        self.held.clear()
        # Units that were dropped have taken theirs with them.
        self._empty.clear()

    def fill(
        self, make: Callable[[str, nn.Parameter], nn.Parameter], *, units: bool = True
    ) -> None:
        """Put make(name in the file, old parameter) in every parameter's place; ties stay ties.

        Args:
            units: also for the parameters of units; else only for those that are always there.
        """
        of_units = {
            id(module._parameters[leaf])
            for unit, layer in unit_layers(self.model)
            for module, leaf, _ in self._slots(layer, unit.kind)
        }
        made: dict[int, nn.Parameter] = {}
        for module in self.model.modules():
            for leaf, old in module._parameters.items():
                if old is not None and (units or id(old) not in of_units):
                    if id(old) not in made:
                        made[id(old)] = make(f"{self._name_of[module]}.{leaf}", old)
                    module._parameters[leaf] = made[id(old)]

    def reader(self, dtype: torch.dtype | TypeOf) -> Callable[[str, nn.Parameter], nn.Parameter]:
        """What `fill` puts in the places of parameters to have an ordinary model."""

        def read(name: str, old: nn.Parameter) -> nn.Parameter:
            wanted = dtype if isinstance(dtype, torch.dtype) else dtype(old)
            tensor = self.weights.read(name, wanted).to(self.device)
            return nn.Parameter(tensor, requires_grad=old.requires_grad)

        return read

    def _slots(self, layer: nn.Module, kind: str) -> list[Slot]:
        """The parameters of a unit."""
        return [
            (module, leaf, f"{self._name_of[module]}.{leaf}")
            for part in self.parts[kind]
            for module in layer.get_submodule(part).modules()
            for leaf, parameter in module._parameters.items()
            if parameter is not None
        ]

    def _taken(self, layer: nn.Module, kind: str) -> list[Tensor]:
        """The weights of a unit on the device; begins to bring those of the next one."""
        ahead, self._ahead = self._ahead, None
        found = ahead[2].result() if ahead is not None else []
        if ahead is None or ahead[:2] != (layer, kind):
            found = self._brought(self._slots(layer, kind))
        if self._side is not None:
            for tensor in found:
                # The side stream may not use this memory again before this stream is done with it.
                tensor.record_stream(torch.cuda.current_stream(self.device))
        if self._reader is not None:
            order = [(one, unit.kind) for unit, one in unit_layers(self.model)]
            # After the last unit the first: the next batch begins there.
            following = order[(order.index((layer, kind)) + 1) % len(order)]
            # The reader looks at names alone: units may be dropped while it reads.
            future = self._reader.submit(self._brought, self._slots(*following))
            self._ahead = (*following, future)
        return found

    def _brought(self, slots: list[Slot]) -> list[Tensor]:
        """Read weights to the device; on a GPU beside what is running there."""
        waiting = [self._waiting(name) for _, _, name in slots]
        with torch.cuda.stream(self._side):  # None: the current one, or none at all
            found = [tensor.to(self.device, non_blocking=True) for tensor in waiting]
        if self._side is not None:
            self._side.synchronize()
        return found

    def _waiting(self, name: str) -> Tensor:
        """A weight in host memory; kept there if that is its place."""
        if name in self.held:
            return self.held[name]
        tensor = self.weights.read(name, self.dtype)
        self.bytes_read += tensor.nbytes
        if self.place == "host":
            self.held[name] = tensor = tensor.pin_memory() if self._side is not None else tensor
        return tensor

    def _put_away(self, slots: list[Slot]) -> None:
        for module, leaf, _ in slots:
            if (empty := self._empty.pop((id(module), leaf), None)) is not None:
                module._parameters[leaf] = empty


def skeleton(config: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> nn.Module:
    """A causal language model without weights: parameters on the meta device, buffers real."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    for name, module in list(model.named_modules()):
        if any(buffer is not None and buffer.is_meta for buffer in module._buffers.values()):
            # Only what computes its buffers from the config has any, such as rotary frequencies.
            model.set_submodule(name, type(module)(config=module.config).to(device))
    return model.eval().requires_grad_(False)


def stream_of(model: nn.Module) -> Stream | None:
    """The stream of a streamed model; None for an ordinary one."""
    return source_of(decoder_of(model).layers[0])


def release(model: nn.Module) -> None:
    """Forget the weights that a streamed model has brought; nothing for an ordinary one."""
    if (stream := stream_of(model)) is not None:
        stream.release()


def materialize(model: nn.Module, dtype: torch.dtype | TypeOf) -> nn.Module:
    """Make a streamed model an ordinary one, in place: every weight is read and stays.

    Args:
        dtype: of all weights, or what tells it of each parameter that has no memory yet.
    """
    if (stream := stream_of(model)) is not None:
        stream.release()
        stream.fill(stream.reader(dtype))
        for layer in decoder_of(model).layers:
            set_source(layer, None)
    return model


def load_streamed(
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    place: str = "disk",
    prefetch: bool = True,
    verify: bool = True,
) -> tuple[nn.Module, Any]:
    """Load a checkpoint, plain or trimmed, whose units' weights are brought when they run.

    It scans and scores like any other model, but does not generate or train (`materialize` makes it
    an ordinary one). `stream_of(model)` counts bytes.

    Args:
        path, verify: as for `load`.
        dtype, device: type of the weights when they run, and where.
        place, prefetch: see `Stream`.

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
    stream = Stream(model, WeightFile(path), dtype, device, place, prefetch)
    stream.fill(stream.reader(dtype), units=False)
    return model, load_tokenizer(path)
