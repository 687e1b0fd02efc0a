"""What a model's bytes and operations let one expect of its speed beside the full model's.

A token decoded at batch 1 reads every weight and the cache once, so its time goes with the bytes; a
prompt reads them once for all of its tokens, so its time goes with the operations. A speedup below
its prediction is time that does not shrink with the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREDICTIONS = {
    "speedup": "read_bytes_per_token",
    "prefill_speedup": "prefill_operations",
}
"""Measured speedup -> the figure of either model of whose ratio it should be."""


def predicted(content: Mapping[str, Any]) -> dict[str, float]:
    """Predicted speedups of a measurement, and the shares of them that were reached.

    Args:
        content: a measurement as `session.measure` returns it.

    Returns:
        `predicted_speedup`, `share_of_predicted_speedup`, `predicted_prefill_speedup` and
        `share_of_predicted_prefill_speedup`; without those whose figures are not recorded, and
        nothing for the full model itself.
    """
    found = {}
    full = content.get("baseline", {})
    for speedup, figure in PREDICTIONS.items():
        if speedup in content and figure in content and figure in full:
            ratio = full[figure] / content[figure]
            found[f"predicted_{speedup}"] = ratio
            found[f"share_of_predicted_{speedup}"] = content[speedup]["median"] / ratio
    return found
