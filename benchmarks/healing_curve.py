"""Draw what `benchmarks/healing.py --out FILE` found: accuracy against tokens of healing.

A panel a domain; the line above is full fine-tuning, scored by the same documents. Bars are 95%
intervals over these documents (Wilson's).

    python benchmarks/healing_curve.py docs/healing.jsonl docs/healing \\
        --note "one chain each, of seed 0, in the default's stand-ins of both data sets"
"""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from pathlib import Path

from trimllm_paper.figures.style import CRITERIA, REFERENCES, figure
from trimllm_paper.intervals import wilson


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", type=Path, help="file of JSON lines")
    parser.add_argument("stem", type=Path, help="the figure's path, without suffix")
    parser.add_argument("--note", help="what the rows do not say, to stand below")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.rows.read_text(encoding="utf-8").splitlines()]
    domains = sorted({row["domain"] for row in rows})
    size = 3.4 * len(domains), 2.9
    models = " and ".join(sorted({row["model"] for row in rows}))
    title = f"Healing {models} with half of the units: each point one decay of so many tokens"
    with figure(args.stem, title, size, 1, len(domains), 3, sharey=True) as (axes, notes):
        for ax, domain in zip(axes[0], domains, strict=True):
            own = [row for row in rows if row["domain"] == domain]
            trimmed = sorted((r for r in own if "/" in r["recipe"]), key=lambda r: r["recipe"])
            for row in own:
                if "/" not in row["recipe"]:
                    ax.axhline(row["accuracy"], **REFERENCES[row["recipe"]])
            for name, points in groupby(trimmed, key=lambda row: row["recipe"]):
                each = sorted(points, key=lambda row: row["tokens"])
                # What was not healed stands at the left edge: the axis has no zero.
                least = min(filter(None, (row["tokens"] for row in each)), default=2)
                tokens = [max(row["tokens"], least / 2) for row in each]
                shown = [row["accuracy"] for row in each]
                around = [wilson(r["accuracy"] * r["scored"] / 100, r["scored"]) for r in each]
                below = [one - low for one, (low, _) in zip(shown, around, strict=True)]
                above = [high - one for one, (_, high) in zip(shown, around, strict=True)]
                look = CRITERIA[each[0]["criterion"]] | {"label": name.partition("/")[0]}
                ax.errorbar(tokens, shown, (below, above), **look)
            ax.set(title=domain, xlabel="tokens of healing (the first: none)", xscale="log")
        axes[0][0].set_ylabel("accuracy (%)")
        scored = sorted({row["scored"] for row in rows})
        told = f"{' or '.join(map(str, scored))} documents that nothing was trained on"
        notes.append("; ".join(filter(None, [told, args.note])))


if __name__ == "__main__":
    main()
