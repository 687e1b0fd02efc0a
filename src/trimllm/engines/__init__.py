"""Speed where people run a model: full and trimmed, in turn, in transformers, llama.cpp and vLLM;
and the trimmed model as a draft for the full one.

What `throughput` measures is the method's own speed, a bare loop on the best kernels. Here every
engine runs as it comes: its own generation, cache and scheduler.
"""
