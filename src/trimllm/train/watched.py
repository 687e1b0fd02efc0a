"""The scan as training needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.base.processes import ALONE, Processes
from trimllm.base.progress import Progress
from trimllm.data import Document
from trimllm.scan import Scan, scan
from trimllm.units.adapters import device_of


def watched_scan(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    dtype: str = "auto",
    *,
    label: str = "scan",
    processes: Processes = ALONE,
    **options: Any,
) -> Scan:
    """`scan` with progress, in the type that training runs in (see `TrainSettings.dtype`)."""
    found_dtype = compute_dtype(dtype, device_of(model))
    progress = Progress(len(documents), "documents", label, log=processes.log())
    # The master weights stay as they are; a scan in bfloat16 runs on a rounded copy.
    if model.dtype != found_dtype:
        model = rounded_copy(model, found_dtype)
    found = scan(model, tokenizer, documents, progress=progress, processes=processes, **options)
    progress.done(f"accuracy {found.baseline:.1f}% with nothing dropped")
    return found
