"""Progress bars on standard error, by tqdm."""

from __future__ import annotations

from tqdm.auto import tqdm


def progress_bar(total: int, unit: str, label: str | None, *, shown: bool = True) -> tqdm:
    """A bar over `total` items ("documents", "steps"), drawn at most every two seconds; nothing
    without a label, and if not `shown` (in all but one of several processes)."""
    hidden = label is None or not shown
    return tqdm(total=total, unit=f" {unit}", desc=label, disable=hidden, mininterval=2, miniters=1)
