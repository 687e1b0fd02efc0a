"""Throughput and memory of any checkpoint or shape: decode, prefill, achieved bandwidth.

Decoding one token at batch 1 reads every weight once, so the time of a token is bound by
(weight bytes + KV cache bytes) / memory bandwidth. Each measurement therefore states three things
beside its tokens/s: the bytes that a token reads, the bytes/s reached, and the bytes/s that a plain
copy reaches on the same machine in the same session. What is measured beside a full model also
states the speedups that its bytes (decoding) and operations (prompt) predict, and the shares of
them that it reaches.

`shapes` and `patterns` know models without weights, `build` and `kernels` make them, `timing`
measures, `worker` is one fresh process, `session` runs two of them in turn, `predict` says what to
expect of the one beside the other, `machine` names the hardware. Nothing here is imported before it
is needed: a workflow reads the names of the shapes.
"""
