"""Names that the library, the workflow and the paper's tables share; light to import."""

import importlib
from typing import Any

from trimllm.base.errors import UserError

PAPER_CRITERION = "both"
"""The paper's main criterion: accuracy, ties by the activation norm."""
PAPER_CRITERIA = ("calibration", "activation_norm", PAPER_CRITERION)
ANSWER_CRITERION = "answer_likelihood"
"""For documents with free answers."""
CRITERIA = (*PAPER_CRITERIA, "likelihood", ANSWER_CRITERION)
FREE_CRITERIA = ("activation_norm", ANSWER_CRITERION)
"""Criteria that need no choices."""
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "opt")
"""Model families that can be trimmed: the rows of `trimllm.sublayers.modeling_trimllm`."""
GGUF_FAMILIES = ("llama", "mistral", "qwen2")
"""Families that llama.cpp's architecture `deci` computes: RMS norm, rotary positions, gated MLP."""
RULES = ("random", "top", "bottom")
"""Rules that drop without a scan (Sajjad et al.)."""
RULE_KEPT = 50
"""Percent of the sublayers that a rule keeps, in the paper."""
ADAPTERS = "TRIMLLM_ADAPTERS"
"""Environment variable: one's own model families, `package.module:family`, space-separated."""
OPTIMIZERS = ("adamw", "adamw_8bit")
TOKENS_AT_ONCE = 2048
"""Tokens with padding that a CPU trains on at once; a longer batch is split."""
STATE_EVERY = 600.0
"""Seconds between two saved states of a fine-tuning."""
SCHEDULES = ("chain", "epoch", "constant")
"""Where a learning rate reaches zero: at the end of a run, of each epoch, or nowhere."""


def imported(name: str) -> Any:
    """The object that `package.module:name` names; `UserError` if it cannot be imported."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{name!r} names nothing that can be imported: {error}") from error
