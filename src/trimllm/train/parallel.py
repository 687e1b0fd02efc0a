"""Several processes, one GPU each, that train one model: FSDP over decoder layers.

Each process holds an equal share of every weight, gradient and moment. A layer is whole on a
device only while it runs: its shares are gathered before, and thrown away after. Every batch is
split by rows; the loss of a step is divided by the number of answer tokens of all processes, so
that a step is that of one process but for the order in which numbers are added.

A model comes in streamed (`trimllm.checkpoint.load_streamed`), so that no process ever holds it
whole, and each process reads from disk the shares that it keeps. Epochs load, wrap, train and
unwrap: what is written is an ordinary checkpoint.

The residual stream stays in float32 and autocast rounds what goes into matrix products, as in one
process: layers are gathered in the type of the products, what is outside of them as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from more_itertools import chunked
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from trimllm.base.errors import UserError
from trimllm.checkpoint.stream import Stream, skeleton, stream_of
from trimllm.data import Document
from trimllm.score import Scored
from trimllm.score.scorer import max_positions
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.train.batching import Example, Tensors, answer_losses, examples_of, tensors_of
from trimllm.train.team import Team

SCORED = 16
"""Rows that a process scores at once."""


class Sharded(Team):
    """This process as one of those that a launcher started and `torch.distributed` has connected.

    Args:
        device: device of this process.
        offload: hold shares in host memory while they are not used, optimizer included.
        batches: of an optimizer step that run as one, so that weights are gathered once for them.
    """

    def __init__(self, device: torch.device, offload: bool = False, batches: int = 1) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device, self.offload = device, offload and device.type != "cpu"
        self.batches = batches
        self.root: _Root | None = None

    def device_of(self, model: nn.Module) -> torch.device:
        return self.device

    def add_up(self, values: Tensor) -> None:
        dist.all_reduce(values)

    def share(self, batch: Sequence[Example]) -> tuple[Sequence[Example], float]:
        """Every size-th row. The factor undoes the mean that FSDP takes over the processes.

        A process without a row runs one that does not count: all must take part.
        """
        mine = batch[self.rank :: self.size]
        return (mine, float(self.size)) if mine else (batch[:1], 0.0)

    def place(self, model: nn.Module, dtype: torch.dtype) -> _Root:
        """Shard a streamed model; the second pass over a model finds it sharded."""
        if self.root is None or self.root.model is not model:
            stream = stream_of(model)
            if stream is None:
                raise UserError("several processes train a streamed model; use load_streamed")
            self.root = self._shard(model, stream, dtype)
        return self.root

    def retire(self, model: nn.Module) -> None:
        """Shares stay in the types that `place` gave them."""

    def _shard(self, model: nn.Module, stream: Stream, dtype: torch.dtype) -> _Root:
        # A frozen layer's shares rest in the type that it is used in: nothing needs them finer.
        # A layer has one type, since its shares are gathered as one piece.
        layers = decoder_of(model).layers
        parts = [list(layer.parameters()) for layer in layers]
        frozen = {id(p) for part in parts if not any(p.requires_grad for p in part) for p in part}

        def empty(_: str, old: nn.Parameter) -> nn.Parameter:
            rest = dtype if id(old) in frozen else torch.float32
            return nn.Parameter(torch.empty_like(old, device="meta", dtype=rest), old.requires_grad)

        def share_of(name: str, old: nn.Parameter) -> nn.Parameter:
            """This process's share of a stored weight; each reads the file, none has to send."""
            whole = stream.weights.read(name, old.dtype).to(self.device)
            share = distribute_tensor(whole, old.device_mesh, old.placements, src_data_rank=None)
            return nn.Parameter(share.cpu() if self.offload else share, old.requires_grad)

        stream.fill(empty)
        mesh = init_device_mesh(self.device.type, (self.size,))
        offload = fsdp.CPUOffloadPolicy() if self.offload else fsdp.OffloadPolicy()
        shard = partial(fsdp.fully_shard, mesh=mesh, offload_policy=offload)
        products = fsdp.MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
        for layer in layers:
            shard(layer, mp_policy=products, reshard_after_forward=True)
        root = _Root(model)
        # What begins and ends the residual stream stays until the backward pass begins with it.
        as_it_is = fsdp.MixedPrecisionPolicy(cast_forward_inputs=False)
        shard(root, mp_policy=as_it_is, reshard_after_forward=False)
        stream.fill(share_of)
        return root

    @torch.no_grad()
    def score(
        self, model: nn.Module, tokenizer: Any, documents: Sequence[Document], dtype: torch.dtype
    ) -> list[Scored]:
        """Every choice is a row of its own, for a sharded model runs as it is trained. What greedy
        decoding would write is not looked at."""
        assert self.root is not None, "a model is sharded by its first pass"
        rows = examples_of(tokenizer, documents, max_positions(model), every=True)
        found = torch.zeros(len(rows), dtype=torch.double)
        order = sorted(range(len(rows)), key=lambda at: (len(rows[at]), at))
        padding = model.config.pad_token_id or 0
        for part in chunked(order, SCORED * self.size):
            # All must take part in gathering the weights; who has no row runs one again.
            mine = part[self.rank :: self.size]
            batch = tensors_of([rows[at] for at in mine or part[:1]], padding, self.device)
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                losses = self.root(batch)
            found[mine] = -losses.double().cpu()[: len(mine)]
        # Without a backward pass the root's weights stay whole, and would not be what is trained.
        self.root.reshard()
        self.add_up(found)
        counts = [len(document.choices) for document in documents]
        lengths = torch.tensor([len(row.answer) for row in rows]).split(counts)
        return [
            Scored(tuple(each.tolist()), (), tuple(tokens.tolist()))
            for each, tokens in zip(found.split(counts), lengths, strict=True)
        ]

    def unwrap(self, model: nn.Module, dtype: torch.dtype) -> nn.Module | None:
        """The trained model as an ordinary one in host memory, in the first process; else None.

        Args:
            dtype: type of its weights. Each is rounded before it leaves its device.
        """
        state: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            share = parameter.detach()
            if isinstance(share, DTensor):
                share = share.to(self.device).full_tensor()
            if self.rank == 0:
                state[name] = share.to(dtype).cpu()
        if self.rank:
            return None
        whole = skeleton(model.config, dtype)
        whole.load_state_dict(state, assign=True)
        whole.tie_weights()
        whole.generation_config = model.generation_config
        return whole.requires_grad_(False)

    def every(self, value: int) -> list[int]:
        found = [0] * self.size
        dist.all_gather_object(found, value)
        return found


class _Root(nn.Module):
    """Model and loss as one module, so that the head, which the loss calls, runs inside FSDP."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors) -> Tensor:
        return answer_losses(self.model, batch)
