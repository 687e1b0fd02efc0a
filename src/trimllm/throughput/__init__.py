"""Throughput and memory of any checkpoint or shape: decode, prefill, achieved bandwidth.

Decoding one token at batch 1 reads every weight once, so the time of a token is bound by
(weight bytes + KV cache bytes) / memory bandwidth. Each measurement therefore states beside its
tokens/s the bytes that a token reads, the bytes/s reached, and the bytes/s of a plain copy on the
same machine in the same session. `build` and `worker` alone are heavy: all else plans a workflow.
"""
