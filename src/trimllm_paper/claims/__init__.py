"""The paper's headline sentences: `claims` judges each by its check and writes what was found.

The checks are `claim_checks`, those about throughput `claim_speed`; `evidence` is what they ask.
"""
