"""Save and load models; trimmed ones load by stock tools too."""

from trimllm.checkpoint.store import load, load_tokenizer, save, weight_bytes
from trimllm.checkpoint.stream import load_streamed, release, settle, stream_of

__all__ = [
    "load",
    "load_streamed",
    "load_tokenizer",
    "release",
    "save",
    "settle",
    "stream_of",
    "weight_bytes",
]
