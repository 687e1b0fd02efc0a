"""Progress bars on standard error, by tqdm."""

from tqdm.auto import tqdm


def progress_bar(documents: int, label: str | None, *, shown: bool = True) -> tqdm:
    """A bar over documents, drawn at most every two seconds; nothing without a label, and if not
    `shown` (in all but one of several processes)."""
    options = {"unit": " documents", "mininterval": 2, "miniters": 1}
    return tqdm(total=documents, desc=label, disable=label is None or not shown, **options)
