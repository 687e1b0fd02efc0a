"""Speed where people run a model: full and trimmed, in turn, in transformers, llama.cpp and vLLM.

`throughput` measures a bare loop over the model; here every engine runs as it comes: its own
generation, cache and scheduler.
"""
