"""Records of trim runs as the pipeline writes them, made up by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation_files import chain_keys

from trimllm_paper.recipe import Paths, Recipe
from trimllm_paper.records import Epoch, Training

KINDS = ("attention", "mlp")
TWO_A100: dict[str, Any] = {
    "provenance": {"hardware": {"gpu": "NVIDIA A100-SXM4-80GB"}},
    "processes": {"count": 2, "offload": False},
}
"""What a record of training says that was made on the machine of the paper's Table 9."""


def epoch(
    number: int,
    dropped: list[tuple[int, str]],
    left: dict[tuple[int, str], int],
    *,
    criterion: str = "both",
    blocks: int = 4,
    documents: int = 10,
    seconds: float = 2.0,
    tokens: int = 100,
    scan_seconds: float = 1.0,
) -> dict[str, Any]:
    """One epoch: `left` maps the units scanned to the right answers without them."""
    units = [
        {
            "block": block,
            "kind": kind,
            "correct": correct,
            "accuracy": 100 * correct / documents,
            "likelihood": -1.0 / (1 + correct),
            "norm": 1.0 + block,
            "eq3": 1.0,
            "eq4": 1.0,
        }
        for (block, kind), correct in left.items()
    ]
    training = {
        **{"seconds": seconds, "tokens": tokens, "documents": 8, "steps": 1, "loss": 1.0},
        **{"loss_last_quarter": 1.0, "trainable_parameters": 1},
    }
    return {
        "epoch": number,
        "criterion": criterion,
        "ratio": 0.25,
        "units_dropped": [list(unit) for unit in dropped],
        "units_total": 2 * blocks,
        "trainable_blocks": [0],
        "ties": 1 if dropped else None,
        "margin": 0.0 if dropped else None,
        "scan": {"documents": documents, "units": units, "baseline_accuracy": 90.0},
        "training": training,
        "seconds": {"train": seconds, "scan": scan_seconds},
        "settings": {"seed": 0},
        "provenance": {"config_hash": "c0ffee" * 8},
    }


def every_unit(correct: int = 5, blocks: int = 4, **others: int) -> dict[tuple[int, str], int]:
    """All units with equal right answers; `attention0=7` sets one apart."""
    found = {(block, kind): correct for block in range(blocks) for kind in KINDS}
    for name, value in others.items():
        kind = name.rstrip("0123456789")
        found[int(name.removeprefix(kind)), kind] = value
    return found


def write_chain(
    root: Path,
    epochs: list[dict[str, Any]],
    *,
    name: str = "paper",
    domain: str = "sciq",
    model: str = "tiny",
    step: int = 2,
    seed: int = 0,
) -> list[Path]:
    """Write models/{model}/{domain}/trim_{name}/state_KK/epoch.json of every epoch."""
    gone: list[str] = []
    paths = []
    for one in epochs:
        gone += [kind for _, kind in one["units_dropped"]]
        total = one["units_total"]
        left = {f"{kind}_left": total // 2 - sum(k == kind for k in gone) for kind in KINDS}
        recipe = str(Recipe.trimmed(name, len(gone), total).state)
        paths.append(Path(Paths(str(root)).epoch(model, domain, recipe)))
        Epoch(
            **{"model": model, "domain": domain, "recipe": recipe, "step": step, "seed": seed},
            **{"epochs": len(epochs), "units_left": total - len(gone), "parameters": 1},
            **left,
            **one,
        ).write(paths[-1])
    return paths


def write_training(
    root: Path,
    recipe: str,
    seconds: float,
    *,
    domain: str = "sciq",
    tokens: int = 100,
    passes: int = 2,
    seed: int = 0,
    **more: Any,
) -> Path:
    """Write models/tiny/{domain}/{recipe}/training.json."""
    path = Path(Paths(str(root)).training("tiny", domain, recipe))
    one = {
        **{"seconds": seconds, "tokens": tokens, "documents": 8, "steps": 1, "loss": 1.0},
        **{"loss_last_quarter": 1.0, "trainable_parameters": 1},
    }
    Training(
        **{"model": "tiny", "domain": domain, "recipe": recipe, "seed": seed, "epochs": passes},
        **{"units_left": 8, "units_total": 8, "attention_left": 4, "mlp_left": 4},
        **{"parameters": 1, "trainable_blocks": None, "settings": {"seed": seed}},
        **chain_keys(recipe),
        passes=[one] * passes,
        **{"provenance": {"config_hash": "c0ffee" * 8}} | more,
    ).write(path)
    return path


def plain_chain(criterion: str = "both") -> list[dict[str, Any]]:
    """Epoch 0, then two that drop two units each: first two MLPs clearly, then two attentions."""
    first = every_unit(mlp0=9, mlp1=8)
    second = {unit: 5 for unit in first if unit not in ((0, "mlp"), (1, "mlp"))}
    second |= {(2, "attention"): 7, (3, "attention"): 7}
    return [
        epoch(0, [], every_unit(), criterion=criterion),
        epoch(1, [(0, "mlp"), (1, "mlp")], first, criterion=criterion),
        epoch(2, [(2, "attention"), (3, "attention")], second, criterion=criterion),
    ]


def places(content: Any) -> list[tuple[Any, ...]]:
    """The way to every single value in a JSON document."""
    if not isinstance(content, dict | list):
        return [()]
    keys = content if isinstance(content, dict) else range(len(content))
    return [(key, *rest) for key in keys for rest in places(content[key])]


def change(content: Any, place: tuple[Any, ...]) -> None:
    """Change one value, as a person might who knows of no seal."""
    for key in place[:-1]:
        content = content[key]
    old = content[place[-1]]
    content[place[-1]] = old + 1 if isinstance(old, int | float) else f"{old}?"
