"""Compressors: AWQ, GPTQ, SparseGPT 2:4, LLM.int8() and LLM-Pruner.

A dense checkpoint, plain or trimmed, and texts go in; a checkpoint that `trimllm.load`, stock
transformers and lm-eval read comes out, with the surviving sublayers only. `run.compress` does it.
A compressor is an entry of `methods.METHODS`, which imports no torch, and of `run.COMPRESSORS`.
"""
