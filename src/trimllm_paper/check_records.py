"""What a check of a machine found (`trimllm_paper.gpu_check`); else as `records`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import model_validator

from trimllm_paper.records import Part, Record

Device = Literal["cuda", "cpu"]
Unit = Literal["bytes", "seconds", "tokens/s", "units"]
Verdict = Literal["holds", "does not hold", "not possible here"]


class Quantity(Part):
    """A prediction, and what was measured of it; None where it was not."""

    unit: Unit
    predicted: float
    measured: float | None
    ratio: float | None  # measured over predicted
    least: float | None  # ratios between which the prediction holds; None: any does
    most: float | None

    @property
    def holds(self) -> bool:
        """Whether it was measured and is within its bounds; of nothing, whether it is nothing."""
        if self.measured is None or self.ratio is None:
            return self.measured == self.predicted == 0
        low, high = self.least or 0.0, self.most
        return low <= self.ratio and (high is None or self.ratio <= high)


class Check(Part):
    """One piece of work, in a process of its own."""

    name: str
    what: str
    blocks: int | None  # of the shape's; None where none fit
    quantities: dict[str, Quantity]
    verdict: Verdict
    reason: str | None  # of a verdict other than "holds", in one line
    seconds: float  # of the process, its start included

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        failed = [name for name, one in self.quantities.items() if not one.holds]
        if self.verdict == "holds" and (failed or self.reason):
            raise ValueError(f"{self.name} holds, but not its {', '.join(failed) or 'reason'}")
        if self.verdict != "holds" and not self.reason:
            raise ValueError(f"{self.name} {self.verdict} without a reason")
        return self


class GpuCheck(Record):
    """All checks of one run on one machine; `model` is the shape."""

    PLACED = ("hardware",)
    hardware: str
    device: Device
    gpu: str | None  # the driver's name of it
    kind: str | None  # among `gpus.KINDS`, by whose data sheet times are predicted
    minutes: float  # that all checks together may take
    assumed: dict[str, Any]  # what times rest on (`duration.Assumed`)
    checks: list[Check]
