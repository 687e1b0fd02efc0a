"""The paper's headline sentences, each checked on our own measurements by a formula.

A check is a function of `Evidence`, entered with its formula by `@claim` under the id that the
claim has in published.yaml, in the file of its group: `speed`, `accuracy`, `units`. `write` judges
what they find and writes claims.md and claims.json; `write_contradictions` what in the paper
contradicts the paper.
"""

from trimllm_paper.claims.report import write, write_contradictions

__all__ = ["write", "write_contradictions"]
