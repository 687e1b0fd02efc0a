"""llmcompressor's one pass over a model in memory, as two methods use it."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.compress.calibration import encode, pack
from trimllm.compress.job import CompressJob


def one_shot(stock: nn.Module, job: CompressJob, recipe: list[Any]) -> None:
    """Run a recipe of llmcompressor on a stock model in place, block after block."""
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from loguru import logger
    from torch.utils.data import DataLoader

    logger.remove()
    logger.add(lambda line: print(line, end="", file=sys.stderr), level="WARNING")
    pin = IntermediatesCache.pin_memory
    if job.settings.device == "cpu":
        # Pinned memory is a GPU's; without one torch raises.
        IntermediatesCache.pin_memory = lambda *_args, **_kwargs: None
    rows = pack(encode(job.tokenizer, job.texts, job.settings.max_tokens), job.settings.max_tokens)
    data = [{"input_ids": row[0], "attention_mask": torch.ones_like(row[0])} for row in rows]
    try:
        oneshot(
            model=stock,
            processor=job.tokenizer,
            dataset=DataLoader(data, batch_size=1),
            recipe=recipe,
            num_calibration_samples=len(data),
            pipeline="sequential",
        )
    finally:
        IntermediatesCache.pin_memory = pin


def state_of(stock: nn.Module) -> dict[str, Tensor]:
    """Tensors of a model on the CPU, its tied ones once (llmcompressor unties them)."""
    state = {name: tensor.detach().cpu() for name, tensor in stock.state_dict().items()}
    if getattr(stock.config, "tie_word_embeddings", False) or _head_is_tied(stock):
        for name in stock._tied_weights_keys or {}:
            state.pop(name, None)
    return state


def _head_is_tied(stock: nn.Module) -> bool:
    head, embeddings = stock.get_output_embeddings(), stock.get_input_embeddings()
    return head.weight.data_ptr() == embeddings.weight.data_ptr()
