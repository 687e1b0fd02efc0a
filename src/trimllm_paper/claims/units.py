"""Claims on which units go."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from scipy.stats import binomtest

from trimllm_paper import derive
from trimllm_paper.claims.evidence import Evidence, Finding, claim, missing
from trimllm_paper.derive import KINDS
from trimllm_paper.recipe import PRETRAINED

SIGNIFICANT = 0.05
NEAR = {"medmcqa": "pubmedqa", "lexglue": "legalbench"}
"""Domain -> the near domain of the paper's Table 4."""
OVERLAP = 0.8
"""Share of common dropped units (Jaccard) above which two patterns are the same to us."""


@claim(
    f"dropped MLP > dropped attention, sign test p < {SIGNIFICANT} (first half of drops)",
    ours=True,
)
def mlp_more_than_attention(evidence: Evidence) -> Finding:
    """Kinds of the units dropped until half are gone, all domains together."""
    counts = [chain.counts(chain.units_total // 2) for chain in evidence.chains().values()]
    if not counts:
        return missing("the chains by the paper's criterion")
    every = {kind: sum(one.total(kind) for one in counts) for kind in KINDS}
    clear = {kind: sum(one.clear[kind] for one in counts) for kind in KINDS}
    mlp, attention = every["mlp"], every["attention"]
    # two-sided: a split at least as uneven if both were equally likely
    p = float(binomtest(mlp, mlp + attention).pvalue) if mlp + attention else 1.0
    told = f"{mlp} MLP and {attention} attention, p = {p:.2g}; "
    told += f"without ties {clear['mlp']} and {clear['attention']}"
    numbers = {"all": every, "without_ties": clear}
    return Finding(mlp > attention and p < SIGNIFICANT, told, numbers)


@claim(
    f"(1) common share of dropped units < {OVERLAP:g} for every two domains; (2) unrelated "
    "domains: accuracy falls against pretrained, 95% interval below 0; (3) near domains: not"
)
def specialization(evidence: Evidence) -> Finding:
    """Patterns differ, other domains lose, near domains hold (the last two by cross-evaluation)."""
    chains = sorted(evidence.chains().items())
    sets = {domain: set(chain.dropped(chain.units_total // 2)) for domain, chain in chains}
    pairs = {
        f"{a}/{b}": len(sets[a] & sets[b]) / max(1, len(sets[a] | sets[b]))
        for a, b in combinations(sets, 2)
    }
    cross = _cross(evidence)
    far = [one["high"] < 0 for one in cross if not one["near"]]
    near = [one["high"] >= 0 for one in cross if one["near"]]
    low, high = (pick(pairs.values(), default=0.0) for pick in (min, max))
    told = f"(1) overlap {low:.2f} to {high:.2f} (by lot 0.33); " if pairs else "(1) not run; "
    told += f"(2) {sum(far)} of {len(far)} fall; " if far else "(2) not run; "
    told += f"(3) {sum(near)} of {len(near)} hold" if near else "(3) not run"
    holds = high < OVERLAP and all(far + near)
    if not (pairs and far and near):
        holds = False if high >= OVERLAP else None
    return Finding(holds, told, {"overlap": pairs, "cross": cross})


def _cross(evidence: Evidence) -> list[dict[str, Any]]:
    """Differences to the pretrained model on tasks that are not the domain's own, at 40%."""
    found = []
    frame, model = evidence.frame, evidence.model
    for domain in evidence.context.domains:
        recipe = evidence.near(domain, 40)
        for row in frame.by_recipe.get((model, domain.name, recipe), ()):
            # The pretrained model is evaluated once a task, in the task's own domain.
            before = derive.accuracy(frame, model, row.tested, PRETRAINED, [row.task])
            if row.task not in domain.tasks and before:
                change = derive.Accuracy((row,)).minus(before)
                told = {key: getattr(change, key) for key in ("points", "low", "high")}
                near = NEAR.get(domain.name) == row.tested
                found.append({"domain": domain.name, "task": row.task, "near": near} | told)
    return found
