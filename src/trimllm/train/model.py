"""The model while it trains: which parameters learn, in which types it lies, and adapters.

Several processes, one GPU each, share a model by FSDP over decoder layers: each holds an equal
share of every weight, gradient and moment, and a layer is whole on a device only while it runs.
Every batch is split by rows; the loss of a step is divided by the number of answer tokens of all
processes, so that a step is that of one process but for the order in which numbers are added.
"""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

from trimllm.base import kernels
from trimllm.base.errors import required
from trimllm.base.precision import compute_dtype
from trimllm.checkpoint.stream import materialize, skeleton, stream_of
from trimllm.sublayers import device_of, unit_layers, unit_parameters
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.train.batching import answer_loss
from trimllm.train.settings import TrainSettings
from trimllm.train.state import world


@dataclass(frozen=True)
class Placed:
    """A model whose trainable parameters are marked, as a pass needs it."""

    model: nn.Module
    loss_of: Callable[..., Tensor]  # `answer_loss` of the model
    device: torch.device  # where it runs
    dtype: torch.dtype  # of matrix products

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The trainable parameters by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def set_trainable(model: nn.Module, blocks: Iterable[int] | None, embeddings: bool = False) -> None:
    """Let only the sublayers of the given original blocks learn (None: of all blocks), or the
    adapters of a model that has some; and `embeddings`, head and final norm."""
    model.requires_grad_(False)
    of_units = unit_parameters(model)
    chosen = adapters(model) or [
        p for unit, ps in of_units.items() if blocks is None or unit.block in blocks for p in ps
    ]
    if embeddings:
        inside = {id(p) for parameters in of_units.values() for p in parameters}
        chosen += [p for p in model.parameters() if id(p) not in inside]
    for parameter in chosen:
        parameter.requires_grad_(True)


@contextlib.contextmanager
def placed(
    model: nn.Module,
    blocks: Iterable[int] | None,
    settings: TrainSettings,
    lora: dict[str, Any] | None = None,
) -> Iterator[Placed]:
    """A model of this process as it is trained: float32, but frozen matrices of sublayers lie in
    the type of matrix products. Afterwards it is in evaluation mode and nothing learns, a float32
    model is float32, what was frozen as before; adapters (`lora`: see `adapt`) are merged."""
    device = device_of(model)
    dtype = compute_dtype(settings.dtype, device)
    adapted = adapt(materialize(model, dtype), settings.seed, **lora) if lora else None
    streamed = stream_of(model) is not None
    set_trainable(model, blocks, settings.train_embeddings)
    matrices = {id(p) for _, m in unit_linears(model) for p in m.parameters()}

    def type_of(parameter: nn.Parameter) -> torch.dtype:
        resting = id(parameter) in matrices and not parameter.requires_grad
        return dtype if resting else torch.float32

    rounded: list[tuple[nn.Parameter, Tensor]] = []
    if streamed:
        materialize(model, type_of)
    else:
        for parameter in model.parameters():
            before, parameter.data = parameter.data, parameter.data.to(type_of(parameter))
            if not torch.equal(parameter.data.to(before.dtype), before):
                rounded.append((parameter, before))
    head = model.get_output_embeddings()
    if dtype != torch.float32 and not any(p.requires_grad for p in head.parameters()):
        # A copy, so that autocast does not round the largest matrix at every step.
        head = copy.deepcopy(head, {}).to(dtype)
    try:
        yield Placed(model, partial(answer_loss, model, head=head), device, dtype)
    finally:
        for parameter, before in rounded:
            parameter.data = before
        # What was read for training, or lies beside adapters, may be larger than the device.
        if not (streamed or adapted):
            model.float()
        model.eval().requires_grad_(False)
        if adapted:
            adapted.merge_and_unload()


def unit_linears(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    """The linear layers inside the sublayers, by name."""
    inside = {module for _, layer in unit_layers(model) for module in layer.modules()}
    linears = ((name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear))
    return [(name, module) for name, module in linears if module in inside]


def adapt(model: nn.Module, seed: int, rank: int = 16, alpha: float = 32) -> Any:
    """Put adapters beside all matrices W of the sublayers, in place; returns what merges them. W x
    becomes W x + alpha / rank B A x (Hu et al. 2022, section 4.1): A (rank, in) is drawn with the
    seed, B (out, rank) is 0."""
    kernels.prepare()  # peft imports gptqmodel where that is installed
    with required("evaluate"):
        from peft import LoraConfig, LoraModel

    names = [name for name, _ in unit_linears(model)]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoraModel(model, config, "lora")


def adapters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of a model's adapters."""
    return [parameter for name, parameter in model.named_parameters() if ".lora_" in name]


@contextlib.contextmanager
def sharded(
    model: nn.Module, blocks: Iterable[int] | None, settings: TrainSettings, offload: bool
) -> Iterator[Placed]:
    """Share a streamed model, as `placed` has it in one process; each reads what it keeps. Matrices
    of sublayers are gathered in the type of matrix products, to which autocast would round them,
    the rest in float32. `offload`: what is not in use is in host memory, moments too."""
    set_trainable(model, blocks, settings.train_embeddings)
    device, weights = device_of(model), stream_of(model)
    dtype = compute_dtype(settings.dtype, device)
    for hook in weights.hooks:
        hook.remove()
    model.float()
    model.stored_as = {name: p.stored_as for name, p in model.named_parameters()}
    offload = offload and device.type != "cpu"
    policy = fsdp.CPUOffloadPolicy() if offload else fsdp.OffloadPolicy()
    mesh = init_device_mesh(device.type, (world()[1],))
    share = partial(fsdp.fully_shard, mesh=mesh, offload_policy=policy)
    products = fsdp.MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    exact = fsdp.MixedPrecisionPolicy(cast_forward_inputs=False)
    for layer in decoder_of(model).layers:
        linears = {module for module in layer.modules() if isinstance(module, nn.Linear)}
        matrices = [p for linear in linears for p in linear.parameters()]
        # They are gathered as one piece, of one type.
        if not any(p.requires_grad for p in matrices):
            for parameter in matrices:
                parameter.data = parameter.data.to(dtype)
        for module in layer.modules():
            if module._parameters and module not in linears:  # norms
                share(module, mp_policy=exact, reshard_after_forward=True)
        share(layer, mp_policy=products, reshard_after_forward=True)
    # What begins and ends the residual stream stays until the backward pass begins with it.
    share(model, mp_policy=exact, reshard_after_forward=False)
    # The head, which the loss calls, has to run inside FSDP.
    model.answer_loss = partial(answer_loss, model)
    fsdp.register_fsdp_forward_method(model, "answer_loss")
    for name, old in [*model.named_parameters()]:
        module, _, leaf = name.rpartition(".")
        read = weights.read(model.stored_as[name], old.dtype).to(device)
        part = distribute_tensor(read, old.device_mesh, old.placements, src_data_rank=None)
        part = nn.Parameter(part.cpu() if offload else part, old.requires_grad)
        setattr(model.get_submodule(module), leaf, part)
    model.tie_weights()
    yield Placed(model, model.answer_loss, device, dtype)


def whole(model: nn.Module, device: torch.device | str, dtype: torch.dtype) -> nn.Module | None:
    """An ordinary model of a shared one's weights, to score or save; None in all but the first
    process. Without other processes the model itself."""
    rank, size = world()
    if size == 1:
        return model
    options = StateDictOptions(True, True, ignore_frozen_params=True)
    trained = get_model_state_dict(model, options=options)
    if rank > 0:
        return None
    state, weights = {}, stream_of(model)
    for name, stored in model.stored_as.items():  # what is frozen may have been rounded here
        tensor = trained[name] if name in trained else weights.read(stored, dtype)
        state[name] = tensor.to(device, dtype)
    ordinary = skeleton(model.config, dtype, device)
    ordinary.load_state_dict(state, strict=False, assign=True)
    ordinary.tie_weights()
    ordinary.generation_config = model.generation_config
    return ordinary
