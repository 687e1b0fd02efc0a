"""Figure: what is left of full fine-tuning's accuracy as units go, domain by domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.errors import UserError
from trimllm.paper.measured import Results
from trimllm.paper.style import CRITERIA, REFERENCES, figure, save

LABELS = {
    "both": "TrimLLM, both (paper)",
    "calibration": "TrimLLM, calibration (paper)",
    "activation_norm": "TrimLLM, activation norm (paper)",
    "likelihood": "TrimLLM, likelihood (ours)",
    "full_ft": "Full-FT",
    "pretrained": "pretrained",
    "chance": "chance",
}


def draw(
    evals: Iterable[str | Path],
    model: Mapping[str, Any],
    domains: Sequence[Mapping[str, Any]],
    stem: str | Path,
    *,
    criteria: Sequence[str],
    kept_percent: Sequence[float],
    ratio: float,
    drops_per_epoch: int,
) -> None:
    """Draw accuracy (%) with 95% Wilson intervals against units kept (%), one panel a domain.

    Args:
        evals: evaluation files.
        model, domains: as in `table2.build`.
        stem: path without suffix; PDF and PNG are written.
    """
    results = Results(evals)
    with figure(2.1 * len(domains), 2.3, len(domains)) as (drawn, axes):
        for ax, domain in zip(axes, domains, strict=True):
            name, tasks = domain["name"], domain["tasks"]
            full = results.accuracy(model["name"], name, "full_ft", tasks)
            before = results.accuracy(model["name"], name, "pretrained", tasks)
            if full is None or before is None:
                raise UserError(f"{name}: full_ft or pretrained was not evaluated; run them first")
            levels = {"full_ft": full.percent, "pretrained": before.percent, "chance": full.chance}
            for key, level in levels.items():
                if level is not None:
                    ax.axhline(level, label=LABELS[key], **REFERENCES[key])
            for shift, criterion in enumerate(criteria):
                recipes = (
                    results.trimmed(
                        model["name"],
                        name,
                        criterion,
                        kept,
                        ratio=ratio,
                        drops_per_epoch=drops_per_epoch,
                    )
                    for kept in kept_percent
                )
                found = [results.accuracy(model["name"], name, r, tasks) for r in recipes if r]
                points = [point for point in found if point]
                ax.errorbar(
                    # a little apart, so that intervals do not cover each other
                    [point.kept_percent + 0.7 * shift for point in points],
                    [point.percent for point in points],
                    yerr=[
                        [point.percent - point.ci95[0] for point in points],
                        [point.ci95[1] - point.percent for point in points],
                    ],
                    label=LABELS[criterion],
                    **CRITERIA[criterion],
                )
            ax.invert_xaxis()
            ax.set_xticks(sorted(kept_percent))
            ax.set_ylim(0, 100)
            stand_in = "†" if domain.get("stand_in") else ""
            ax.set_title(f"{domain['label']}{stand_in} (n = {full.n})")
            ax.set_xlabel("units kept (%)")
        axes[0].set_ylabel("accuracy (%)")
        handles, names = axes[0].get_legend_handles_labels()
        drawn.legend(
            handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=len(names)
        )
        drawn.suptitle(
            f"{model['label']}: accuracy with 95% intervals; † stand-in data", y=1.04, fontsize=9
        )
        drawn.tight_layout()
        save(drawn, stem)
