"""Names of criteria and rules, which the library, the workflow and the paper's tables share.

The workflow is parsed and tables are rendered without torch.
"""

PAPER_CRITERION = "both"
"""The paper's main criterion: accuracy, ties by the activation norm."""
PAPER_CRITERIA = ("calibration", "activation_norm", PAPER_CRITERION)
ANSWER_CRITERION = "answer_likelihood"
"""Of documents with free answers, none of which is right or wrong."""
CRITERIA = (*PAPER_CRITERIA, "likelihood", ANSWER_CRITERION)
FREE_CRITERIA = ("activation_norm", ANSWER_CRITERION)
"""Criteria that need no choices."""
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "opt")
"""Families of models that can be trimmed: the rows of `trimllm.sublayers.modeling_trimllm`."""
GGUF_FAMILIES = ("llama", "mistral", "qwen2")
"""Families that llama.cpp's architecture `deci` computes: RMS norm, rotary positions, gated MLP."""
RULES = ("random", "top", "bottom")
"""Rules that drop without a scan (Sajjad et al.)."""
RULE_KEPT = 50
"""Percent of the sublayers that a rule leaves, in the paper."""
ADAPTERS = "TRIMLLM_ADAPTERS"
"""Environment variable: one\'s own model families, `package.module:family`, space-separated."""
OPTIMIZERS = ("adamw", "adamw_8bit")
"""Optimizers."""
TOKENS_AT_ONCE = 2048
"""Tokens with padding that a CPU trains on at once; a longer batch is split."""
STATE_EVERY = 600.0
"""Seconds between two saved states of a fine-tuning."""
SCHEDULES = ("chain", "epoch", "constant")
"""Where a learning rate reaches zero: at the end of a run, of each epoch, or nowhere."""
