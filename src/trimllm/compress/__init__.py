"""Compressors: AWQ, GPTQ, SparseGPT 2:4, LLM.int8() and LLM-Pruner; `run.compress` is the entry."""
