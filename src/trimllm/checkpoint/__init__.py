"""Save and load models; trimmed ones load by stock tools too."""

from trimllm.checkpoint.store import load, load_tokenizer, save, weight_bytes
from trimllm.checkpoint.stream import load_streamed, settle, stream_of

__all__ = [
    "load",
    "load_streamed",
    "load_tokenizer",
    "save",
    "settle",
    "stream_of",
    "weight_bytes",
]
