"""Save and load models; trimmed ones load by stock tools too."""

from trimllm.checkpoint.store import load, load_tokenizer, save, weight_bytes

__all__ = ["load", "load_tokenizer", "save", "weight_bytes"]
