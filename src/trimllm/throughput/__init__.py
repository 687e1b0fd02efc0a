"""Throughput and memory of any checkpoint or shape: decode, prefill, achieved bandwidth.

Decoding one token at batch 1 reads every weight once, so the time of a token is bound by
(weight bytes + KV cache bytes) / memory bandwidth. Each measurement therefore states three things
beside its tokens/s: the bytes that a token reads, the bytes/s reached, and the bytes/s that a plain
copy reaches on the same machine in the same session.

`shapes` and `patterns` know models without weights, `subject` what is measured, `build` and
`kernels` make it, `timing` times it in one process, `session` runs two processes in turn, `result`
and `predict` make the figures of it, `machine` names the hardware. All but `build`, `kernels`,
`one_row`, `timing` and `worker` are light: a workflow is planned with them.
"""
