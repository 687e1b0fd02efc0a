"""Progress bars on standard error, by tqdm."""

from __future__ import annotations

from tqdm.auto import tqdm


def progress_bar(total: int, unit: str, label: str | None, *, shown: bool = True) -> tqdm:
    """A bar that is drawn at most every two seconds, in a log file too.

    Args:
        total: number of items.
        unit: what an item is ("documents", "steps").
        label: what is being done; None shows nothing.
        shown: False in all but one of several processes.
    """
    hidden = label is None or not shown
    return tqdm(total=total, unit=f" {unit}", desc=label, disable=hidden, mininterval=2, miniters=1)
