"""The checks of the paper's claims: a function each, named as the claim in `published.yaml`.

A printed number is meant to its last digit: 26.8 / 13.0 = 2.06 is the 2.1 of the paper, so the bar
of "2.1 times" is 2.05.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from statistics import fmean
from typing import Any

from more_itertools import map_reduce
from pandas import DataFrame

from trimllm.base.names import PAPER_CRITERIA, PAPER_CRITERION
from trimllm_paper import derive
from trimllm_paper.claims.evidence import (
    PAPER_DOMAINS,
    Comparison,
    Estimate,
    Evidence,
    Finding,
    compare,
    compare_mean,
    keeps_90,
)
from trimllm_paper.context import STAND_IN_FOR
from trimllm_paper.derive import PAPER_UNITS, Chain, Ratio, over, progressive, speedup
from trimllm_paper.frames import rows, where
from trimllm_paper.published import NEAR
from trimllm_paper.recipe import FULL, FULL_FT, HALF, PRETRAINED, RANDOM, SPARSE_FT
from trimllm_paper.verdict import PAPER_MARGIN, lost_at_home

COMPRESSED = (50, 40)
"""Percent of the sublayers kept at a compression of 50 to 60%."""
LAYERS = {"sciq": 100 * 20 / 32, "medmcqa": 100 * 16 / 32}
"""Domain -> percent of the decoder layers that the paper removes."""
RATIOS = (1.0, 0.5, 0.25, 0.125)
Checkpoints = Mapping[float, Comparison]
"""Percent of the sublayers dropped -> accuracy against 90% of Full-FT's."""


def no_loss_50(evidence: Evidence) -> Finding:
    """The paper's own criterion C_a in every domain, at both ends of 50 to 60% compression."""
    domains, comparisons = evidence.context.domains, []
    missing = evidence.lacking([one.name for one in domains], "the models")
    for domain, kept in product(domains, COMPRESSED):
        full, trimmed = evidence.full(domain), evidence.trimmed(domain, kept)
        name = f"{domain.name} at {kept}%"
        if full and trimmed:
            comparisons.append(keeps_90(name, trimmed, full))
        else:
            missing.append(name)
    return Finding(comparisons, missing, evidence.context.own)


def layers_dropped(evidence: Evidence) -> Finding:
    """How far the chain goes above 90% of Full-FT; two sublayers are a layer. It goes so far if a
    checkpoint there or beyond is above, and not if these and the last one before are below."""
    comparisons, missing = [], []
    domains = {one.name: one for one in evidence.context.domains}
    unit = "% dropped above 90% of Full-FT"
    for name, share in LAYERS.items():
        every = evidence.keeps(domains[name], evidence.chain()) if name in domains else {}
        last = max((dropped for dropped in every if dropped <= share + 1e-9), default=None)
        beyond = [one.p_holds for dropped, one in every.items() if dropped >= share - 1e-9]
        if last is not None:
            p_fails = max(one.p_fails for dropped, one in every.items() if dropped >= last)
            ps, basis = (min(beyond, default=1.0), p_fails), every[last].basis
            label = f"{name}, {share:g}% or more"
            comparisons.append(Comparison(label, _furthest(every), unit, *ps, basis))
        if not beyond:
            missing.append(f"{name} with {share:g}% dropped")
    return Finding(comparisons, missing, evidence.context.own)


def both_best(evidence: Evidence) -> Finding:
    """Final Mem by both criteria against that by each alone, at every r."""
    others = [one for one in PAPER_CRITERIA if one != PAPER_CRITERION]
    pairs = [((PAPER_CRITERION, r), (other, r)) for r in RATIOS for other in others]
    return _goes_further(evidence, pairs, strictly=False)


def r_quarter_best(evidence: Evidence) -> Finding:
    """Final Mem at r = 1/4 against that at every other r."""
    criterion = evidence.criterion
    pairs = [((criterion, 0.25), (criterion, r)) for r in RATIOS if r != 0.25]
    return _goes_further(evidence, pairs, strictly=True)


def _goes_further(
    evidence: Evidence, pairs: Sequence[tuple[tuple[str, float], ...]], *, strictly: bool
) -> Finding:
    """Whether the first chain (criterion, ratio) of each pair drops as much above 90% of Full-FT as
    the second, or strictly more, in every domain that has both, as far as the shorter one goes."""
    comparisons, needed, measured, domains = [], dict[str, None](), set[str](), set[str]()
    for pair in pairs:
        names = [f"{criterion} r={ratio:g}" for criterion, ratio in pair]
        needed |= dict.fromkeys(names)
        for domain in evidence.context.domains:
            chains = [evidence.keeps(domain, evidence.chain(*key)) for key in pair]
            end = min(max(chain, default=0.0) for chain in chains) + 1e-9
            one, other = ({d: x for d, x in chain.items() if d <= end} for chain in chains)
            if not one or not other:
                continue
            reached = _furthest(one), _furthest(other)
            if any(reached):  # where nothing can be dropped, none is better
                ps = _p_further(one, other, strictly), _p_further(other, one, not strictly)
                name, more = f"{domain.name}: {' over '.join(names)}", reached[0] - reached[1]
                basis, unit = next(iter(one.values())).basis, "points of sublayers more dropped"
                comparisons.append(Comparison(name, more, unit, *ps, basis))
            domains.add(domain.name)
            measured |= {*names}
    own = evidence.context.own and domains >= {*PAPER_DOMAINS}
    return Finding(comparisons, [name for name in needed if name not in measured], own)


def _furthest(checkpoints: Checkpoints) -> float:
    """Most that is dropped at an accuracy above 90% of Full-FT, intervals aside."""
    return max((dropped for dropped, one in checkpoints.items() if one.value > 0), default=0.0)


def _p_further(one: Checkpoints, other: Checkpoints, strictly: bool) -> float:
    """One-sided p that a chain goes strictly further than another, or at least as far: at some drop
    it is above the bar, and the other is below at every drop beyond (`strictly`: and there). It is
    as sure as the least sure of these, at the best such drop; to drop nothing passes for sure."""
    passes = {dropped: x.p_holds for dropped, x in one.items()} | ({} if strictly else {0.0: 0.0})
    return min(
        max(p, *(x.p_fails for d, x in other.items() if d > at or strictly and d == at), 0.0)
        for at, p in passes.items()
    )


def mlp_more_than_attention(evidence: Evidence) -> Finding:
    """Kinds of the sublayers dropped until half are gone; chains are the unit."""
    chains, missing = evidence.halved()
    kinds = [[kind for _, kind in derive.dropped(chain)] for chain in chains]
    shares = [100 * one.count("mlp") / len(one) for one in kinds]
    comparison = compare_mean("MLPs", shares, "chains", "% of the dropped sublayers", 50)
    return Finding(comparison, missing, evidence.context.own, pooled=True)


def specialization(evidence: Evidence) -> Finding:
    """Patterns differ between domains by more than between seeds; accuracy falls on unrelated
    domains, and on near ones by less than the paper's own test sets resolve. A pretrained model at
    chance has nothing to lose; what has lost its own domain, too, shows no specialization."""
    chains, missing = evidence.halved()
    patterns, (cross, untested) = _patterns(chains), _cross(evidence)
    missing += [] if patterns else ["the chains under a second seed"]
    return Finding([*patterns, *cross], missing + untested, evidence.context.own)


def _patterns(chains: Sequence[Chain]) -> list[Comparison]:
    """How much more two seeds of a domain agree than two domains do, by their share of common drops
    (Jaccard); a value a domain. Without a second seed and domain there is nothing to compare."""
    sets = map_reduce(chains, lambda one: one[0].domain, lambda one: {*derive.dropped(one)})
    gains = []
    for domain, own in sets.items():
        others = [one for name, each in sets.items() if name != domain for one in each]
        if others and len(own) > 1:
            seeds = fmean(len(a & b) / len(a | b) for a, b in combinations(own, 2))
            domains = fmean(len(a & b) / len(a | b) for a, b in product(own, others))
            gains.append(100 * (seeds - domains))
    # Just above 0: no difference at all refutes the claim.
    return compare_mean("patterns", gains, "domains", "points more overlap between seeds", 1e-9)


def _cross(evidence: Evidence) -> tuple[list[Comparison], list[str]]:
    """Accuracy at 40% less the pretrained model's on tasks of other domains; and by domain of the
    model, what of Tables 4 and 5 it was not tested on, or not on all of its tasks."""
    frame, domains, model = evidence.frame, evidence.context.domains, evidence.context.model.name
    tasks = {one.name: {*one.tasks} for one in domains if one.name in PAPER_DOMAINS}
    comparisons, missing = [], []
    for domain in domains:
        own = evidence.trimmed(domain, 40)
        recipe = own.tasks[0].recipe if own else ""
        evaluated = where(frame.evaluations, model=model, domain=domain.name, recipe=recipe)
        done: dict[str, set[str]] = {}
        for task, tested in dict.fromkeys(zip(evaluated.task, evaluated.tested, strict=True)):
            before = derive.accuracy(frame, model, tested, PRETRAINED, [task])
            after = derive.accuracy(frame, model, domain.name, recipe, [task])
            if task in domain.tasks or before is None or after is None:
                continue
            done.setdefault(tested, set()).add(task)
            near = NEAR.get(domain.name) == tested
            if not near and before.at_chance:
                continue
            fall, bar = Estimate.difference(after, before), -PAPER_MARGIN if near else 0.0
            unit = f"points on {'near' if near else 'unrelated'} domains"
            one = compare(f"{domain.name} on {task}", fall, unit, bar, at_most=not near)
            if not near and lost_at_home(after, frame, domains):
                one = replace(one, name=f"{one.name} (has lost its own domain)", p_holds=1.0)
            comparisons.append(one)
        others = [x for x in (*tasks, NEAR.get(domain.name)) if x and x != domain.name]
        lacking = [x for x in others if not done.get(x) or not done[x] >= tasks.get(x, set())]
        if lacking and domain.name in tasks:
            missing.append(f"{domain.name} on {', '.join(lacking)}")
    return sorted(comparisons, key=lambda one: one.unit), missing


CONSUMER, A100 = ("v100", "rtx3090"), ("a100",)
BASELINES = ("sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4")
"""Compressors that Table 1 compares with."""
ENGINES, OF_PREDICTED = 2, 90
"""Fewest engines, and percent of the predicted speedup that is enough."""
EPOCHS, TRAINED_ON = 8, "2 a100"
"""Epochs of the last column of Table 9, and its machine as `Frame.trainings` names it."""


def speedup_consumer(evidence: Evidence) -> Finding:
    """TrimLLM as in Table 1, at 40%, over every compressor, on consumer hardware."""
    timings, own = _timings(evidence, CONSUMER)
    ratios = {
        (place, one.compressor): (over(trimmed, one), trimmed)
        for place, timed in timings.groupby("place")
        if (trimmed := _trimmed(timed, evidence, 40))
        for one in rows(timed[timed.base.isin([FULL, FULL_FT]) & timed.compressor.notna()])
    }
    if not ratios:
        return Finding(missing=["throughput of TrimLLM and of a compressor on one machine"])
    comparisons = [
        _faster(f"{place}: over {other}", ratio, row, 2.1 - 0.05)
        for (place, other), (ratio, row) in ratios.items()
    ]
    places = dict.fromkeys(timings.place if own else [place for place, _ in ratios])
    pairs = [pair for pair in product(places, BASELINES) if pair not in ratios]
    missing = [f"{one} on {place}" for place, one in pairs]
    if not missing:  # the largest may be one that was not measured
        largest = max(ratios.values(), key=lambda one: one[0])
        comparisons.append(_faster("the largest", *largest, 5.7 - 0.05))
    return Finding(comparisons, missing, own)


def speedup_a100(evidence: Evidence) -> Finding:
    """The fastest TrimLLM, compressed or not, over the full model; the paper: 132.0 / 42.3."""
    timings, own = _timings(evidence, A100)
    trimmed = rows(where(timings, base="trim").sort_values("speedup"))[-1:]
    faster = [_faster(f"{x.recipe} on {x.place}", speedup(x), x, 3.1 - 0.05) for x in trimmed]
    return Finding(faster, [] if trimmed else ["throughput of TrimLLM"], own)


def compression_8x(evidence: Evidence) -> Finding:
    """AWQ on the trimmed model: bytes and speed against the full one. The paper's 8 is 1 / 12.5%,
    half of the sublayers at a quarter of the bits."""
    (timings, own), smaller, faster = _timings(evidence, A100), [], []
    for place, timed in timings.groupby("place"):
        if one := _trimmed(timed, evidence, 50, "awq_int4"):
            times = Estimate(*[100 / one.bytes_percent] * 3)
            smaller.append(compare(place, times, "times smaller", 8 - 0.5))
            faster.append(_faster(place, speedup(one), one, 4.5 - 0.05))
    missing = [] if faster else ["throughput of TrimLLM with AWQ"]
    return Finding([*smaller, *faster], missing, own)


def every_engine(evidence: Evidence) -> Finding:
    """What trimming gains in each engine, in percent of what the bytes that it saves predict."""
    chain = {"base": "trim", "name": evidence.context.chains[0], "batch": 1}
    trimmed = where(evidence.frame.engines, model=evidence.context.model.name, **chain)
    comparisons, engines = [], dict[str, set[str]]()
    for (hardware, format), group in trimmed.groupby(["hardware", "format"], sort=False):
        for row in rows(derive.near(group, 50))[:1]:
            engines.setdefault(hardware, set()).add(row.engine)
            ratio, low, high = speedup(row)
            part = row.share_decode / ratio
            share = (part * ratio, part * low, part * high)
            name, unit = f"{hardware}/{format}", "% of the predicted speedup"
            comparisons.append(compare(name, Estimate.rounds(share, row), unit, OF_PREDICTED))
    # Of the paper's model on its GPUs: all of them are needed, and no others count.
    own = bool(evidence.context.model.published) and {*engines} <= {*CONSUMER, *A100}
    machines = {*CONSUMER, *A100} if own else {*engines}
    few = [one for one in sorted(machines) if len(engines.get(one, ())) < ENGINES]
    missing = [f"{ENGINES} engines{' on ' if few else ''}{', '.join(few)}"]
    return Finding(comparisons, missing if few or not comparisons else [], own)


def training_time(evidence: Evidence) -> Finding:
    """Time of sparse fine-tuning and of the chain over full fine-tuning's, as in Table 9."""
    shares, missing, own = _shares_of_full_ft(evidence)
    comparisons = []
    for name, bar in (("Sparse-FT", 0.6 + 0.05), ("TrimLLM", 0.4 + 0.05)):
        what = name, [one[name] for one in shares.values()], "domains", "of Full-FT's time"
        comparisons += compare_mean(*what, bar, at_most=True)
    return Finding(comparisons, missing, own, pooled=True)


def two_per_epoch(evidence: Evidence) -> Finding:
    """The paper's Eq. 6 for N = 64 and n_d = 32, with the measured factor of a sparse update."""
    shares, missing, own = _shares_of_full_ft(evidence)
    full, unit = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2), "epochs of Full-FT"
    epochs = [full * one["Sparse-FT"] for one in shares.values()]
    least = compare_mean("5 - 1 at least", epochs, "domains", unit, 4)
    most = compare_mean("5 + 1 at most", epochs, "domains", unit, 6, at_most=True)
    return Finding([*least, *most], missing, own, pooled=True)


def _timings(evidence: Evidence, machines: Sequence[str]) -> tuple[DataFrame, bool]:
    """Measurements, with their `place` HARDWARE/MODEL: of the paper's model if all of the
    paper's machines have some, else of this model and of shapes with random weights; and whether
    they are the paper's."""
    timings = evidence.frame.timings
    timings = timings.assign(place=timings.hardware + "/" + timings.model)
    model, shape = evidence.context.model, f"{RANDOM}{STAND_IN_FOR}"
    paper = [shape, model.name] if model.published == STAND_IN_FOR else [shape]
    own = timings[timings.hardware.isin(machines) & timings.model.isin(paper)]
    if {*own.hardware} == {*machines}:
        return own, True
    return timings[timings.model.str.startswith(RANDOM) | (timings.model == model.name)], False


def _trimmed(
    timings: DataFrame, evidence: Evidence, kept: float, compressor: str | None = None
) -> Any:
    """TrimLLM at a kept fraction: of the main recipe, else of a shape."""
    first = (evidence.context.chains[0], HALF)
    return next(iter(derive.trimmed_timings(timings, kept, compressor, first).values()), None)


def _faster(name: str, ratio: Ratio, timing: Any, bar: float) -> Comparison:
    return compare(name, Estimate.rounds(ratio, timing), "times as fast", bar)


def _shares_of_full_ft(evidence: Evidence) -> tuple[dict[str, dict[str, float]], list[str], bool]:
    """Domain -> time of Sparse-FT and of the chain over Full-FT's, seconds a token, mean over
    seeds, as in Table 9; what is missing; whether all was trained on the paper's machine."""
    context, frame, model = evidence.context, evidence.frame, evidence.context.model.name
    what = {"Sparse-FT": SPARSE_FT, "TrimLLM": evidence.chain()}
    chains = derive.chains(frame, model=model, name=evidence.chain())
    epochs = min([EPOCHS, *map(len, chains)])
    shares = {}
    for domain in () if context.lora else context.domains:  # adapters are no full fine-tuning
        place = evidence.place(domain)
        runs = {k: derive.training_time(*place, one, epochs).share for k, one in what.items()}
        if all(run.notna().any() for run in runs.values()):
            shares[domain.name] = {key: run.mean() / 100 for key, run in runs.items()}
    missing = evidence.lacking(shares, "full and sparse fine-tuning and the chain")
    trained = [where(one, model=model) for one in (frame.trainings, frame.epochs)]
    machines = {machine for one in trained for machine in one.machine}
    return shares, missing, context.own and machines == {TRAINED_ON}
