"""What results/bench holds: one JSON a model on a machine, as the tables need it.

The path `.../bench/{hardware}/{model}/{recipe}[+{compressor}].json` names the measurement; the file
must agree with it, wherever it was measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.files import check_seal, read_json
from trimllm_paper.measured import TRIM

KEEP = re.compile(r"trim_(?P<pattern>[a-z0-9]+)/keep_(?P<kept>[0-9.]+)")
"""Recipe of a trimmed shape."""
NEEDED = {
    *("decode_tokens_per_second", "prefill_tokens_per_second", "bytes", "units_kept"),
    *("units_total", "share_of_copy", "achieved_bytes_per_second", "peak_memory_bytes"),
}


@dataclass(frozen=True)
class Timing:
    """One model on one machine."""

    hardware: str
    model: str
    recipe: str
    """Without compressor."""
    compressor: str | None
    content: Mapping[str, Any]
    source: str

    def median(self, what: str) -> float:
        """Median of a figure that has quartiles."""
        return float(self.content[what]["median"])

    def range(self, what: str) -> tuple[float, float]:
        """Quartiles of a figure."""
        return float(self.content[what]["q1"]), float(self.content[what]["q3"])

    @property
    def is_full(self) -> bool:
        """Whether it is the full model itself, which others are compared with."""
        return "baseline" not in self.content

    @property
    def speedup(self) -> float:
        """Over the full model, measured in turn with it: median of the rounds' ratios."""
        return 1.0 if self.is_full else self.median("speedup")

    @property
    def speedup_range(self) -> tuple[float, float] | None:
        """Quartiles of the rounds' ratios; None for the full model itself."""
        return None if self.is_full else self.range("speedup")

    @property
    def unit_bytes_percent(self) -> float:
        """Bytes of the units in percent of the full model's; embeddings and head apart."""
        own = self.content["bytes"]["units"]
        return 100 * own / self._full("bytes")["units"]

    @property
    def bytes_percent(self) -> float:
        """All weight bytes in percent of the full model's."""
        return 100 * self.content["bytes"]["total"] / self._full("bytes")["total"]

    @property
    def kept_percent(self) -> float:
        """Units kept in percent of all."""
        return 100 * self.content["units_kept"] / self.content["units_total"]

    def _full(self, key: str) -> Any:
        return self.content.get("baseline", self.content)[key]


def read_timing(path: str | Path) -> Timing:
    """Read one measurement and check it against its path and its seal.

    Raises `UserError` for a file that is missing, incomplete, moved, or edited by hand.
    """
    path = Path(path)
    parts = path.with_suffix("").parts
    at = len(parts) - 1 - parts[::-1].index("bench") if "bench" in parts else len(parts)
    if len(parts) - at < 4:
        raise UserError(f"{path} is not of the form bench/HARDWARE/MODEL/RECIPE.json")
    named = {"hardware": parts[at + 1], "model": parts[at + 2], "recipe": "/".join(parts[at + 3 :])}
    content = read_json(path)
    remedy = "delete it and measure again"
    if not isinstance(content, dict) or not content.keys() >= NEEDED:
        raise UserError(f"{path} is no measurement of throughput; {remedy}")
    check_seal(path, content)
    for key, value in named.items():
        if content.get(key, value) != value:
            raise UserError(
                f"{path} says {key} {content[key]!r} but lies under {value!r}; {remedy}"
            )
    recipe, _, compressor = named["recipe"].partition("+")
    return Timing(
        named["hardware"], named["model"], recipe, compressor or None, content, path.as_posix()
    )


class Timings:
    """All measurements of a table, by machine, model and what was done to it."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.timings = tuple(read_timing(path) for path in sorted(map(str, paths)))

    def groups(self) -> list[tuple[str, str]]:
        """(hardware, model) of everything that was measured, in order."""
        return sorted({(one.hardware, one.model) for one in self.timings})

    def of(self, hardware: str, model: str) -> list[Timing]:
        """The measurements of a model on a machine."""
        return [one for one in self.timings if (one.hardware, one.model) == (hardware, model)]

    def full(self, hardware: str, model: str, compressor: str | None = None) -> Timing | None:
        """The full model, as it is or compressed."""
        for one in self.of(hardware, model):
            if one.recipe in ("full", "full_ft") and one.compressor == compressor:
                return one
        return None

    def trimmed(
        self, hardware: str, model: str, kept_percent: float, compressor: str | None = None
    ) -> dict[str, Timing]:
        """Trimmed models of about so many units, by criterion or pattern, in order of the name.

        As in the tables of accuracy, a kept fraction is met by less than one unit's share.
        """
        found: dict[str, Timing] = {}
        for one in self.of(hardware, model):
            name = trimmed_by(one.recipe)
            near = abs(one.kept_percent - kept_percent) < 100 / one.content["units_total"] - 1e-9
            if name and near and one.compressor == compressor:
                found[name] = one
        return found


def trimmed_by(recipe: str) -> str | None:
    """Criterion of a chain, or pattern of a shape, that a recipe was trimmed by, if it was."""
    if match := TRIM.fullmatch(recipe):
        return match["criterion"]
    match = KEEP.fullmatch(recipe)
    return match["pattern"] if match else None
