"""llmcompressor's one pass over a model in memory, as two methods use it."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from trimllm.compress.job import CompressJob


def one_shot(stock: nn.Module, job: CompressJob, recipe: list[Any]) -> None:
    """Run a recipe of llmcompressor on a stock model in place, block after block."""
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from loguru import logger

    logger.remove()
    logger.add(lambda line: print(line, end="", file=sys.stderr), level="WARNING")
    data = [{"input_ids": row[0], "attention_mask": torch.ones_like(row[0])} for row in job.rows()]
    pin = IntermediatesCache.pin_memory
    if job.settings.device == "cpu":
        # Pinned memory is a GPU's; without one torch raises.
        IntermediatesCache.pin_memory = lambda *_args, **_kwargs: None
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
