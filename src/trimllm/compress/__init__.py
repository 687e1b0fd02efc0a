"""Compressors: AWQ, GPTQ, SparseGPT 2:4, LLM.int8() and LLM-Pruner, one file a method.

A dense checkpoint, plain or trimmed, and texts go in; a checkpoint that `trimllm.load`, stock
transformers and lm-eval read comes out, with the surviving sublayers only. `run.compress` does it;
`methods.METHODS` lists them without importing torch. A new compressor is an entry there and a file
of its name that defines `compress(job)` and `yardstick_(model, settings)`.
"""
