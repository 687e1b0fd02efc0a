"""One check a claim of published.yaml: a formula over our measurements (see `claims`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from trimllm.base.names import PAPER_CRITERIA, PAPER_CRITERION
from trimllm_paper.chains import KINDS, Run
from trimllm_paper.claims.claim_speed import compression_8x, speedup_a100, speedup_consumer
from trimllm_paper.claims.claims import Check, Finding, missing
from trimllm_paper.claims.evidence import Evidence
from trimllm_paper.cost import FULL_EPOCHS, PAPER_UNITS, SPARSE_FACTOR, progressive
from trimllm_paper.measured import Accuracy
from trimllm_paper.verdict import KEEPS

BOTH, OURS = PAPER_CRITERION, "likelihood"
SIGNIFICANT = 0.05
RATIOS = (1.0, 0.5, 0.25, 0.125)
NEAR = {"medmcqa": "pubmedqa", "lexglue": "legalbench"}
"""Domain -> the near domain of the paper's Table 4."""
OVERLAP = 0.8
"""Share of common dropped units (Jaccard) above which two patterns are the same to us."""
SLACK = 0.05
"""By how much a share of time may exceed the paper's and still agree."""


# ---- accuracy --------------------------------------------------------------------------------


def _kept(evidence: Evidence, criterion: str) -> dict[str, tuple[Accuracy, Accuracy]]:
    """Domain -> accuracy at 50% and of Full-FT."""
    found = {}
    for domain in evidence.domains:
        name = domain["name"]
        pair = evidence.near(name, criterion, 50), evidence.accuracy(name, "full_ft")
        if pair[0] and pair[1]:
            found[name] = pair
    return found


def _shares(pairs: dict[str, tuple[Accuracy, Accuracy]]) -> str:
    return ", ".join(
        f"{name} {100 * trimmed.percent / full.percent:.0f}% (difference {trimmed.minus(full)})"
        for name, (trimmed, full) in pairs.items()
    )


def no_loss_50(evidence: Evidence) -> Finding:
    """The paper's own criterion C_a in every domain, at half of the units."""
    formula = "accuracy(TrimLLM 50%) > 0.9 × accuracy(Full-FT) in every domain"
    pairs = _kept(evidence, BOTH)
    if not pairs:
        return missing(formula, "Full-FT or TrimLLM (50%)")
    shares = {name: a.percent / full.percent for name, (a, full) in pairs.items() if full.right}
    return Finding(
        formula,
        all(share > KEEPS for share in shares.values()),
        _shares(pairs),
        {"share_of_full_ft": shares},
        n=sum(trimmed.n for trimmed, _ in pairs.values()),
        ours=_shares(_kept(evidence, OURS)),
    )


def layers_dropped(evidence: Evidence) -> Finding:
    """How far the chain goes above 90% of Full-FT; two units are a decoder layer."""
    wanted = {"sciq": 20 / 32, "medmcqa": 16 / 32}
    formula = "largest share of units dropped with accuracy > 0.9 × Full-FT: SciQ ≥ 20/32, "
    formula += "MedMCQA ≥ 16/32"
    present = [d["name"] for d in evidence.domains if d["name"] in wanted]

    def far(criterion: str) -> dict[str, float]:
        found = {name: evidence.furthest(name, criterion, evidence.run) for name in present}
        return {name: share for name, share in found.items() if share is not None}

    found, ours = far(BOTH), far(OURS)
    if len(found) < len(wanted):
        return missing(formula, "Full-FT or the chain in SciQ and MedMCQA")
    holds = all(found[name] >= 100 * share - 1e-9 for name, share in wanted.items())
    smallest = min(
        (share for name in present for share in evidence.evaluated(name, BOTH, evidence.run)),
        default=0,
    )
    text = f"{_percents(found)}, of checkpoints from {smallest:.0f}% on"
    return Finding(formula, holds, text, {"dropped_percent": found}, ours=_percents(ours))


def _percents(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f}%" for name, value in values.items())


# ---- which units -----------------------------------------------------------------------------


def sign_test(first: int, second: int) -> float:
    """Two-sided exact probability of a split at least as uneven if both were equally likely."""
    n, most = first + second, max(first, second)
    tail = sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n
    return min(1.0, 2 * tail)


def mlp_more_than_attention(evidence: Evidence) -> Finding:
    """Kinds of the units dropped until half are gone, all domains together."""
    formula = f"dropped MLP > dropped attention, sign test p < {SIGNIFICANT} (first half of drops)"

    def pooled(criterion: str) -> dict[str, dict[str, int]] | None:
        chains = evidence.chains(criterion).values()
        counts = [chain.counts(chain.units_total // 2) for chain in chains]
        if not counts:
            return None
        return {
            "all": {kind: sum(one.total(kind) for one in counts) for kind in KINDS},
            "without_ties": {kind: sum(one.clear[kind] for one in counts) for kind in KINDS},
        }

    def told(found: dict[str, dict[str, int]]) -> str:
        every, clear = found["all"], found["without_ties"]
        p = sign_test(every["mlp"], every["attention"])
        return (
            f"{every['mlp']} MLP and {every['attention']} attention, p = {p:.2g}; without ties "
            f"{clear['mlp']} and {clear['attention']}"
        )

    found, ours = pooled(BOTH), pooled(OURS)
    if found is None:
        return missing(formula, "the chains by the paper's criterion")
    mlp, attention = found["all"]["mlp"], found["all"]["attention"]
    holds = mlp > attention and sign_test(mlp, attention) < SIGNIFICANT
    return Finding(formula, holds, told(found), found, ours=told(ours) if ours else "")


def specialization(evidence: Evidence) -> Finding:
    """Patterns differ, other domains lose, near domains hold (the last two by cross-evaluation)."""
    formula = (
        f"(1) common share of dropped units < {OVERLAP:g} for every two domains; (2) unrelated "
        "domains: accuracy falls against pretrained, 95% interval below 0; (3) near domains: not"
    )
    sets = {name: set(c.dropped(c.units_total // 2)) for name, c in evidence.chains(BOTH).items()}
    pairs = {f"{a}/{b}": _jaccard(sets[a], sets[b]) for a, b in combinations(sorted(sets), 2)}
    cross = _cross(evidence)
    numbers = {"overlap": pairs, "cross": cross}
    text = (
        f"(1) overlap {min(pairs.values()):.2f} to {max(pairs.values()):.2f} (by lot 0.33); "
        if pairs
        else "(1) not run; "
    )
    far = [one for one in cross if not one["near"]]
    near = [one for one in cross if one["near"]]
    lost = [one for one in far if one["high"] < 0]
    held = [one for one in near if one["high"] >= 0]
    text += f"(2) {len(lost)} of {len(far)} fall; " if far else "(2) not run; "
    text += f"(3) {len(held)} of {len(near)} hold" if near else "(3) not run"
    if not pairs or not far or not near:
        differs = bool(pairs) and max(pairs.values()) >= OVERLAP
        return Finding(formula, False if differs else None, text, numbers)
    holds = max(pairs.values()) < OVERLAP and len(lost) == len(far) and len(held) == len(near)
    return Finding(formula, holds, text, numbers)


def _jaccard(a: set[tuple[int, str]], b: set[tuple[int, str]]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def _cross(evidence: Evidence) -> list[dict[str, object]]:
    """Differences to the pretrained model on tasks that are not the domain's own, at 40%."""
    found = []
    home = {task: d["name"] for d in evidence.domains for task in d.get("tasks") or ()}

    def is_near(trained: str, task: str) -> bool:
        near = NEAR.get(trained)
        return near is not None and (home.get(task) == near or task.startswith(near))

    for domain in evidence.domains:
        recipe = evidence.results.trimmed(
            evidence.name,
            domain["name"],
            BOTH,
            40,
            ratio=evidence.run.ratio,
            drops_per_epoch=evidence.run.drops_per_epoch,
        )
        measured = [
            one
            for one in evidence.results.measurements
            if (one.model, one.domain, one.recipe) == (evidence.name, domain["name"], recipe)
            and one.task not in (domain.get("tasks") or ())
        ]
        for one in measured:
            # The pretrained model is evaluated once a task, in the task's own domain.
            places = [home.get(one.task), *NEAR.values(), *(d["name"] for d in evidence.domains)]
            before = next(
                (
                    found_there
                    for place in places
                    if place
                    and (
                        found_there := evidence.results.accuracy(
                            evidence.name, place, "pretrained", [one.task]
                        )
                    )
                ),
                None,
            )
            if before:
                difference = Accuracy((one,)).minus(before)
                found.append(
                    {
                        "domain": domain["name"],
                        "task": one.task,
                        "near": is_near(domain["name"], one.task),
                        "points": difference.points,
                        "low": difference.low,
                        "high": difference.high,
                    }
                )
    return found


# ---- criteria and ratios ---------------------------------------------------------------------


def _final_mem(
    evidence: Evidence, chains: Sequence[tuple[str, Run]]
) -> tuple[list[str], list[float]]:
    """Final Mem of some chains, as in Table 6, and the domains that it is the mean of.

    In percent of the units, by chain: what the smallest checkpoint above 90% of Full-FT keeps, as
    far as the shortest of the chains goes. The domains are those in which all of them were
    evaluated; without any there are no numbers.
    """
    kept: dict[str, list[float]] = {}
    for name in (domain["name"] for domain in evidence.domains):
        ends = [max(evidence.evaluated(name, *chain), default=None) for chain in chains]
        if None not in ends:
            found = [evidence.furthest(name, *chain, at_most=min(ends)) for chain in chains]
            if None not in found:
                kept[name] = [100 - share for share in found]
    return list(kept), [_mean(column) for column in zip(*kept.values(), strict=True)]


def _where(evidence: Evidence, names: Sequence[str]) -> str:
    """Words for the domains that numbers come from, where these are not all."""
    return "" if len(names) == len(evidence.domains) else f"in {', '.join(names)}: "


def both_best(evidence: Evidence) -> Finding:
    """Final Mem by every criterion at every r, as in Table 6."""
    formula = "Final Mem(both, r) ≤ Final Mem(calibration, r) and (activation norm, r), r ∈ {1, "
    formula += "1/2, 1/4, 1/8}"
    step = evidence.run.drops_per_epoch
    known: dict[str, dict[str, float]] = {}
    ours: dict[str, float] = {}
    domains: set[str] = set()
    for ratio in RATIOS:
        run = Run(ratio, step)
        names, sizes = _final_mem(evidence, [(criterion, run) for criterion in PAPER_CRITERIA])
        if not sizes:
            continue
        known[f"r={ratio:g}"] = dict(zip(PAPER_CRITERIA, sizes, strict=True))
        domains |= set(names)
        beside, likelihood = _final_mem(evidence, [(BOTH, run), (OURS, run)])
        if beside == names:
            ours[f"r={ratio:g}"] = likelihood[1]
    if not known:
        return missing(formula, "the chains by all three criteria")
    worse = [r for r, row in known.items() if row[BOTH] > min(row.values()) + 1e-9]
    names = [domain["name"] for domain in evidence.domains if domain["name"] in domains]
    text = _where(evidence, names) + "; ".join(
        f"{r}: " + ", ".join(f"{name} {size:.0f}%" for name, size in row.items())
        for r, row in known.items()
    )
    nothing = all(size == 100 for row in known.values() for size in row.values())
    if nothing:
        text += "; nothing was dropped above 90% of Full-FT, so no criterion stands out"
    complete = len(known) == len(RATIOS)
    holds = False if worse or (complete and nothing) else (True if complete else None)
    return Finding(
        formula,
        holds,
        text,
        {"kept_percent": known, "domains": names},
        own=evidence.own and len(names) == len(evidence.domains),
        ours=", ".join(f"{r} {size:.0f}%" for r, size in ours.items()),
    )


def r_quarter_best(evidence: Evidence) -> Finding:
    """Final Mem at r = 1/4 against every other r."""
    formula = "Final Mem(both, 1/4) < Final Mem(both, r) for r ∈ {1, 1/2, 1/8}"
    step = evidence.run.drops_per_epoch

    def by_ratio(criterion: str) -> tuple[list[str], dict[float, float]]:
        names, sizes = _final_mem(evidence, [(criterion, Run(ratio, step)) for ratio in RATIOS])
        return names, dict(zip(RATIOS, sizes, strict=False))

    def told(sizes: dict[float, float]) -> str:
        return ", ".join(f"r = {ratio:g}: {size:.0f}%" for ratio, size in sizes.items())

    names, sizes = by_ratio(BOTH)
    numbers = {"kept_percent": {f"{r:g}": size for r, size in sizes.items()}, "domains": names}
    if not sizes:
        return Finding(formula, None, "not run: a chain at every r", numbers)
    others = [size for ratio, size in sizes.items() if ratio != 0.25]
    return Finding(
        formula,
        sizes[0.25] < min(others),
        _where(evidence, names) + told(sizes),
        numbers,
        own=evidence.own and len(names) == len(evidence.domains),
        ours=told(by_ratio(OURS)[1]),
    )


# ---- time ------------------------------------------------------------------------------------


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def training_time(evidence: Evidence) -> Finding:
    """Seconds a token of sparse fine-tuning and of the chain, over full fine-tuning's."""
    formula = f"time(Sparse-FT) / time(Full-FT) ≤ {0.6 + SLACK:g} and time(TrimLLM) / "
    formula += f"time(Full-FT) ≤ {0.4 + SLACK:g}, scans left out"
    costs = {d: one for (d, c), one in evidence.costs.items() if c == BOTH and one.sparse_factor}
    if not costs:
        return missing(formula, "full and sparse fine-tuning and the chain")
    sparse, trim = (
        _mean([one.sparse_factor for one in costs.values()]),
        _mean([one.factor for one in costs.values()]),
    )
    scans = _mean(
        [(one.with_scans[-1] - one.training[-1]) / one.training[-1] for one in costs.values()]
    )
    numbers = {"sparse": sparse, "trim": trim, "scans_over_training": scans, "domains": len(costs)}
    low, high = (pick(one.factor for one in costs.values()) for pick in (min, max))
    text = (
        f"{sparse:.2f} and {trim:.2f} ({low:.2f} to {high:.2f}), mean over {len(costs)} domains, "
        f"seconds a token; the scans take {scans:.1f} times as long as the chain's training"
    )
    return Finding(formula, sparse <= 0.6 + SLACK and trim <= 0.4 + SLACK, text, numbers)


def two_per_epoch(evidence: Evidence) -> Finding:
    """The paper's own formula, with its factor of a sparse update and with ours."""
    formula = "Eq. 6 × f / N = 5 ± 1 epochs, N = 64, n_d = 32, f = measured Sparse-FT / Full-FT"
    full = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
    theirs = SPARSE_FACTOR * full
    factors = [one.sparse_factor for one in evidence.costs.values() if one.sparse_factor]
    numbers: dict[str, float] = {"paper": theirs, "factor_for_5": FULL_EPOCHS / full}
    text = f"with the paper's f = {SPARSE_FACTOR}: {theirs:.2f}"
    if not factors:
        return Finding(formula, None, f"not run: full and sparse fine-tuning; {text}", numbers)
    factor = _mean(factors)
    numbers |= {"factor": factor, "measured": factor * full}
    text = (
        f"f = {factor:.2f}: {factor * full:.2f} epochs; {text}; 5 epochs would need "
        f"f = {FULL_EPOCHS / full:.2f}, about the paper's TrimLLM / Full-FT of Table 9"
    )
    return Finding(formula, abs(factor * full - FULL_EPOCHS) <= 1, text, numbers)


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        speedup_consumer,
        speedup_a100,
        no_loss_50,
        layers_dropped,
        compression_8x,
        mlp_more_than_attention,
        specialization,
        both_best,
        r_quarter_best,
        training_time,
        two_per_epoch,
    )
}
"""Claim's id -> its check."""
