"""What training makes small: the cross entropy of the answers alone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from trimllm.train.batching import Tensors


def answer_loss(model: nn.Module, batch: Tensors, head: nn.Module | None = None) -> Tensor:
    """Summed cross entropy of the answers' tokens; the head runs at answer places only.

    Args:
        head: takes the place of the model's.
    """
    hidden = model.base_model(batch.ids, attention_mask=batch.mask, use_cache=False)
    answers = hidden.last_hidden_state[batch.rows, batch.places]
    logits = (head or model.get_output_embeddings())(answers)
    return F.cross_entropy(logits.float(), batch.targets, reduction="sum")
