"""`import trimllm.auto` registers trimmed models with the auto classes of transformers.

Afterwards `AutoModelForCausalLM.from_pretrained(directory)` loads a trimmed checkpoint.
"""

from trimllm import sublayers  # noqa: F401
