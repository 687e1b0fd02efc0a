"""What only the CSV tells of a measured accuracy."""

from __future__ import annotations

from typing import Any

from trimllm_paper.derive import Accuracy


def of_accuracy(accuracy: Accuracy, base: Accuracy | None, full: Accuracy | None) -> dict[str, Any]:
    """The checkpoint, its size and code, and what it has of the pretrained and Full-FT's accuracy.

    Shares are in percent, `share_above_chance` of what Full-FT has above chance; none where it has
    nothing.
    """
    first, chance = accuracy.tasks[0], accuracy.chance
    found: dict[str, Any] = {
        "recipe": first.recipe,
        "trained_on": first.domain,
        "tasks": ";".join(dict.fromkeys(task.task for task in accuracy.tasks)),
        "seeds": ";".join(map(str, accuracy.by_seed)),
        "code": ";".join(commits_of(accuracy)),
        "kept_percent": accuracy.kept_percent,
        "weight_bytes": round(1e6 * accuracy.megabytes),
        "bytes_percent": accuracy.bytes_percent,
        "chance": chance,
        "above_chance": None if chance is None else accuracy.percent - chance,
        "share_of_full_ft": full and share(accuracy, full),
        "share_above_chance": full and share(accuracy, full, chance),
        "answer_loss": accuracy.answer_loss,
        **accuracy.free,
    }
    for name, other in {"minus_pretrained": base, "minus_full_ft": full}.items():
        difference = accuracy.minus(other) if other and other.tasks != accuracy.tasks else None
        for suffix, field in (("", "points"), ("_low", "low"), ("_high", "high")):
            found[name + suffix] = getattr(difference, field, None)
        found[f"{name}_paired"] = str(difference.paired).lower() if difference else None
    return found


def share(one: Accuracy, full: Accuracy, above: float | None = 0.0) -> float | None:
    """What one has of another's accuracy, above a level, in percent; None where that has nothing,
    or the level is not known."""
    if above is None or full.percent <= above:
        return None
    return 100 * (one.percent - above) / (full.percent - above)


def commits_of(accuracy: Accuracy) -> list[str]:
    """The commits whose code evaluated it, each once; records of training have their own."""
    every = (short((task.provenance or {}).get("git_commit")) for task in accuracy.tasks)
    return list(dict.fromkeys(one for one in every if one))


def short(value: Any) -> str:
    """First twelve digits of a hash, with the mark of local changes kept."""
    digits, _, mark = str(value or "").partition("-")
    return digits[:12] + (f"-{mark}" if mark else "")
