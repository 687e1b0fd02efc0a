"""A model on the host whose blocks visit a device one at a time, forward and backward.

For gradients of all weights of a model that is larger than the device: embeddings, final norm and
head are there all the time, a block's weights and their gradients while it runs. A block runs
forward once without keeping anything but its input, and again when the gradient of its output is
there, as in gradient checkpointing; the gradients of its weights are added up on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.sublayers.modeling_trimllm import decoder_of


@contextmanager
def visiting(model: nn.Module, device: torch.device | str) -> Iterator[None]:
    """Inside this context a model on the host runs on `device`, block by block.

    Gradients of the blocks' weights are added to `grad` on the host, with the values that a model
    that lies on the device as a whole would have; what is outside of the blocks gets none.
    """
    layers = decoder_of(model).layers
    with _there(_outside(model), device):
        for layer in layers:
            layer.forward = partial(_visit, layer, device, layer.forward)
        try:
            yield
        finally:
            for layer in layers:
                del layer.forward


def _outside(model: nn.Module) -> list[nn.Module]:
    """The modules that are in no block."""
    inside = {id(module) for module in decoder_of(model).layers.modules()}
    return [module for module in model.modules() if id(module) not in inside]


@contextmanager
def _there(modules: list[nn.Module], device: torch.device | str) -> Iterator[None]:
    """The weights and buffers of some modules are on `device` in here; then those of before, with
    the gradients that came."""
    places = [
        (slots, name, old)
        for module in modules
        for slots in (module._parameters, module._buffers)
        for name, old in slots.items()
        if old is not None
    ]
    brought: dict[int, Any] = {}  # a tied weight is one weight there, too
    for slots, name, old in places:
        if id(old) not in brought:
            new = old.detach().to(device)
            weight = isinstance(old, nn.Parameter)
            brought[id(old)] = nn.Parameter(new, old.requires_grad) if weight else new
        slots[name] = brought[id(old)]
    try:
        yield
    finally:
        for slots, name, old in places:
            slots[name] = old
            grad = brought.pop(id(old)).grad if id(old) in brought else None
            if grad is not None:
                grad = grad.to(old.device)
                old.grad = grad if old.grad is None else old.grad + grad


def _visit(
    layer: nn.Module,
    device: torch.device | str,
    forward: Callable[..., Tensor],
    hidden: Tensor,
    *rest: Any,
    **named: Any,
) -> Tensor:
    """What stands in the place of a block's `forward`."""
    if torch.is_grad_enabled() and not hidden.requires_grad:
        hidden = hidden.detach().requires_grad_()  # behind frozen embeddings
    run = lambda stream: forward(stream, *rest, **named)  # noqa: E731
    return _Visit.apply(hidden, run, list(layer.modules()), device)


class _Visit(torch.autograd.Function):
    """One visit forward, and one for the gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        run: Callable[[Tensor], Tensor],
        modules: list[nn.Module],
        device: torch.device | str,
    ) -> Tensor:
        ctx.run, ctx.modules, ctx.device = run, modules, device
        ctx.save_for_backward(hidden)
        with _there(modules, device):
            return run(hidden)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
        hidden = ctx.saved_tensors[0].detach().requires_grad_()
        with _there(ctx.modules, ctx.device), torch.enable_grad():
            torch.autograd.backward(ctx.run(hidden), grad)
        return hidden.grad, None, None, None
