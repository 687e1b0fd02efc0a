"""Compressors: AWQ, GPTQ, SparseGPT 2:4, LLM.int8() and LLM-Pruner, one file a method.

Every method has the same shape: a dense checkpoint, plain or trimmed, and texts go in; a checkpoint
that `trimllm.load`, stock transformers and lm-eval read comes out, with the surviving units only.
"""

from trimllm.compress.job import CompressSettings
from trimllm.compress.run import METHODS, check, compress, default_engine, missing_package

__all__ = ["METHODS", "CompressSettings", "check", "compress", "default_engine", "missing_package"]
