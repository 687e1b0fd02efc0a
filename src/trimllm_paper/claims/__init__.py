"""The paper's headline sentences, each checked on measurements.

A claim has its sentence and its check in words in `published.yaml`, and one function of the same
name in `accuracy`, `speed` or `sublayers`, which returns comparisons with p-values (`evidence`).
`report` turns these into a verdict, into claims.md and claims.csv.
"""

from trimllm_paper.claims.report import write, write_contradictions

__all__ = ["write", "write_contradictions"]
