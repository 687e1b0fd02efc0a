"""Speed and memory of checkpoints and of shapes with random weights, timed in turn.

Decoding one token at batch 1 reads every weight once, so its time is bound by (weight bytes + KV
cache bytes) / memory bandwidth. Beside tokens/s stand the bytes that a token reads and the rates of
a plain copy and of a large matrix product in the same rounds. `sizes`, `build` and `workers` import
torch; everything else is light, for a workflow is planned with it.
"""
