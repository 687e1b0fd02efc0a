"""Names of criteria and rules, which the library, the workflow and the paper's tables share.

Importing them costs nothing: the workflow is parsed, and tables are rendered, without torch.
"""

PAPER_CRITERION = "both"
"""The paper's main criterion: accuracy, ties by the activation norm."""
PAPER_CRITERIA = ("calibration", "activation_norm", PAPER_CRITERION)
ANSWER_CRITERION = "answer_likelihood"
"""Of documents with free answers, of which none is right or wrong."""
CRITERIA = (*PAPER_CRITERIA, "likelihood", ANSWER_CRITERION)
FREE_CRITERIA = ("activation_norm", ANSWER_CRITERION)
"""Criteria that need no choices."""
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "opt")
"""Families of models that can be trimmed: the rows of `trimllm.sublayers.modeling_trimllm`."""
GGUF_FAMILIES = ("llama", "mistral", "qwen2")
"""Families that llama.cpp's architecture `deci` computes: RMS norm, rotary positions, gated MLP,
biases or none."""
RULES = ("random", "top", "bottom")
"""Droppings that look at no scan (Sajjad et al.)."""
RULE_KEPT = 50
"""Percent of the units that a dropping by rule leaves, in the paper."""
ADAPTERS = "TRIMLLM_ADAPTERS"
"""Environment variable: rows of one's own families, `package.module:row`, parted by spaces."""
OPTIMIZERS = ("adamw", "adamw_8bit")
"""What moves weights by their gradients."""
TOKENS_AT_ONCE = 2048
"""Tokens with padding that a CPU trains on at once: a longer batch goes in parts."""
STATE_EVERY = 600.0
"""Seconds of a fine-tuning that a killed job may lose: as often its state is kept."""
SCHEDULES = ("chain", "epoch", "constant")
"""Where a learning rate reaches zero: over all epochs of a run, over each, or nowhere."""
