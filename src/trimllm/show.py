"""How a scan and an epoch look: a line of text, and in a notebook HTML with a chart of the units.

Lines and letters have the page's own colour, bars one that stands out on light and dark pages
alike. The chart is an SVG: nothing is drawn by a library, nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import singledispatch
from html import escape
from typing import Any

from trimllm import select
from trimllm.base.names import ANSWER_CRITERION, PAPER_CRITERION
from trimllm.scanning import Scan
from trimllm.select import ranking
from trimllm.sublayers import Unit
from trimllm.sublayers.packing import KINDS
from trimllm.trimming import Epoch

COLORS = {"attention": "#3b8fc4", "mlp": "#c9772b"}
# Pixels: a block's column, a kind's row, the space between, the names on the left.
COLUMN, ROW, GAP, LEFT = 14, 40, 4, 70


@singledispatch
def line(result: Any) -> str:
    """A result in one line."""
    raise TypeError(f"{type(result).__name__} has no look")


@singledispatch
def html(result: Any) -> str:
    """A result as HTML for a notebook."""
    raise TypeError(f"{type(result).__name__} has no look")


@line.register
def _(scan: Scan) -> str:
    return f"Scan of {scan.documents} documents: {'; '.join(_facts_of_scan(scan).values())}"


@html.register
def _(scan: Scan) -> str:
    title = f"Scan of {scan.documents} documents"
    return _page(title, _facts_of_scan(scan), _chart(scan, _criterion_of(scan)))


@line.register
def _(epoch: Epoch) -> str:
    facts = _facts_of_epoch(epoch)
    return f"Epoch {epoch.number} of {epoch.epochs - 1}: {'; '.join(facts.values())}"


@html.register
def _(epoch: Epoch) -> str:
    chart = _chart(
        epoch.scan,
        epoch.criterion,
        epoch.size["units_total"] // len(KINDS),
        epoch.selection.dropped,
        epoch.trainable,
    )
    title = f"Epoch {epoch.number} of {epoch.epochs - 1}"
    return _page(title, _facts_of_epoch(epoch), chart)


def _facts_of_scan(scan: Scan) -> dict[str, str]:
    """What a scan found, in words, by a name for it."""
    name = _criterion_of(scan)
    facts = {}
    if (whole := _baseline(scan, name)) is not None:
        facts["as it is"] = f"{_told(whole, name)} with nothing dropped"
    facts["units"] = f"{len(scan.norm)} units"
    if scan.scored:
        ranked, scores = ranking(scan, name), _scores(scan, name)
        for word, unit in (("least missed", ranked[0]), ("most missed", ranked[-1])):
            facts[word] = f"{word} {unit} ({_told(scores[unit], name)} without it)"
    if scan.eliminated:
        facts["eliminated"] = f"{len(scan.eliminated)} eliminated early"
    return facts


def _facts_of_epoch(epoch: Epoch) -> dict[str, str]:
    """What an epoch did and left, in words, by a name for it."""
    chosen, size = epoch.selection, epoch.size
    facts = {"dropped": "nothing dropped"}
    if chosen.dropped:
        facts["dropped"] = f"dropped {', '.join(map(str, chosen.dropped))}"
    if chosen.margin is not None:
        points = " points" if select.criterion(epoch.criterion).counted else ""
        facts["margin"] = f"margin {chosen.margin:.4g}{points} by {epoch.criterion}"
    if chosen.ties is not None:
        facts["ties"] = f"{chosen.ties} tied" if chosen.ties > 1 else "no tie"
    megabytes = 2 * size["parameters"] / 1e6
    facts["left"] = (
        f"{size['units_left']} of {size['units_total']} units left, {size['parameters']:,} "
        f"parameters ({megabytes:,.{1 if megabytes > 1 else 3}f} MB in 16 bits)"
    )
    facts["loss"] = "not trained" if epoch.loss is None else f"loss {epoch.loss:.3f}"
    if (held := epoch.held_back) is not None:
        right = "" if held.accuracy is None else f"{held.accuracy:.1f}% right, "
        facts["held back"] = f"{right}{held.likelihood:.3f} nats on {held.documents} held back"
    return facts


def _criterion_of(scan: Scan) -> str:
    """The criterion by which a scan is shown that serves no other."""
    return ANSWER_CRITERION if scan.free else PAPER_CRITERION


def _scores(scan: Scan, criterion: str) -> dict[Unit, float]:
    """Of every unit that has one, what is left without it: accuracy (%) where answers are counted,
    else the criterion's own score."""
    rank = select.criterion(criterion)
    scale = 100 / scan.documents if rank.counted else 1.0
    return {unit: scale * rank.first(scan, unit) for unit in scan.scored}


def _baseline(scan: Scan, criterion: str) -> float | None:
    """The same with nothing dropped; None where a criterion does not say."""
    if select.criterion(criterion).counted:
        return scan.baseline
    likelihoods = {
        "likelihood": scan.baseline_likelihood,
        ANSWER_CRITERION: scan.baseline_answer_likelihood,
    }
    return likelihoods.get(criterion)


def _told(score: float, criterion: str) -> str:
    """A score with its unit."""
    return f"{score:.1f}% right" if select.criterion(criterion).counted else f"{score:.3f}"


def _page(title: str, facts: dict[str, str], chart: str) -> str:
    # What a line says, a table has as the name of a row already.
    told = {name: text.removeprefix(f"{name} ") for name, text in facts.items()}
    rows = (_tag("tr", _tag("th", escape(k)), _tag("td", escape(v))) for k, v in told.items())
    return _tag("div", _tag("strong", escape(title)), _tag("table", *rows), chart)


def _tag(name: str, *inside: str, **how: object) -> str:
    """An element; its attributes' hyphens are underscores here."""
    told = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in how.items())
    return f"<{name}{told}>{''.join(inside)}</{name}>"


def _chart(
    scan: Scan,
    criterion: str,
    blocks: int = 0,
    dropped: Collection[Unit] = (),
    trained: Collection[int] = (),
) -> str:
    """A bar for every unit that a scan met: the higher, the less it is missed.

    Args:
        blocks: of the full model; where a unit is gone, a dot stands.
        dropped: units that went after the scan: outlined and crossed.
        trained: blocks with a mark beneath.
    """
    scores, whole = _scores(scan, criterion), _baseline(scan, criterion)
    known = [*scores.values(), *(() if whole is None else (whole,))]
    low, high = min(known, default=0.0), max(known, default=0.0)
    blocks = max([blocks, *(unit.block + 1 for unit in scan.norm)])
    wide, bottom = LEFT + COLUMN * blocks, len(KINDS) * (ROW + GAP)

    def height(score: float) -> float:
        """Pixels; the lowest score is seen too."""
        return round(ROW * (0.1 + 0.9 * ((score - low) / (high - low) if high > low else 1)), 1)

    parts = []
    for ground, kind in zip(range(ROW + GAP, bottom + 1, ROW + GAP), KINDS, strict=True):
        parts.append(_tag("text", kind, x=0, y=ground - GAP))
        for block in range(blocks):
            unit, left, width = Unit(block, kind), LEFT + COLUMN * block, COLUMN - GAP
            tall, state, look = 2.0, "gone before", {"fill": "currentColor", "opacity": 0.5}
            if unit in scan.eliminated:
                tall, state = ROW, f"eliminated after {scan.eliminated[unit]} documents"
                look = {"fill": "none", "stroke": COLORS[kind], "stroke_dasharray": "2 2"}
            elif unit in scores:
                tall, state = height(scores[unit]), f"{_told(scores[unit], criterion)} without it"
                look = {"fill": COLORS[kind]}
            top = ground - tall
            if unit in dropped:
                state, look = f"dropped; {state}", {"fill": "none", "stroke": COLORS[kind]}
                across = (
                    f"M{left} {top}L{left + width} {ground}M{left + width} {top}L{left} {ground}"
                )
                parts.append(_tag("path", d=across, stroke="currentColor"))
            title = _tag("title", f"{unit}: {state}")
            parts.append(_tag("rect", title, x=left, y=top, width=width, height=tall, **look))
        if whole is not None:
            y, look = ground - height(whole), {"stroke": "currentColor", "stroke_dasharray": "2 3"}
            parts.append(_tag("line", x1=LEFT, x2=wide, y1=y, y2=y, **look))
    for block in trained:
        x = LEFT + COLUMN * block
        parts.append(_tag("rect", x=x, y=bottom + 4, width=COLUMN - GAP, height=3))
    for block in range(0, blocks, 5):
        parts.append(_tag("text", str(block), x=LEFT + COLUMN * block, y=bottom + 20))
    legend = [f"bars: {_told(low, criterion)} to {_told(high, criterion)} without the unit"]
    legend += ["dotted: with all"] if whole is not None else []
    legend += ["crossed: dropped"] if dropped else []
    legend += ["underlined: trained"] if trained else []
    chart = _tag(
        "svg",
        *parts,
        role="img",
        aria_label="Units by block; " + legend[0],
        viewBox=f"0 0 {wide} {bottom + 24}",
        width=wide,
        style="max-width: 100%",
        fill="currentColor",
        font_family="sans-serif",
        font_size=11,
    )
    return _tag("div", chart, _tag("div", _tag("small", "; ".join(legend))))
