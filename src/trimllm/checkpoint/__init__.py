"""Save and load models; trimmed ones load by stock tools too."""

from trimllm.checkpoint.store import load, load_tokenizer, save, weight_bytes
from trimllm.checkpoint.stream import load_streamed, materialize, stream_of
