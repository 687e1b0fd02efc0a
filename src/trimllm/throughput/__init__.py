"""Speed and memory of models, timed in turn: by a bare loop, and in engines as people run them.

Decoding one token at batch 1 reads every weight once, so its time is bound by (weight bytes + KV
cache bytes) / memory bandwidth. `subject` and `result` import no torch.
"""
