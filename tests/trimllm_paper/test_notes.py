"""Lines under a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chain_files import epoch, every_unit, write_chain

from trimllm_paper.frame import Frame
from trimllm_paper.notes import tie_notes


def _notes(root: Path, *chosen: tuple[int, float], **more: Any) -> list[str]:
    """Of a chain that dropped a unit an epoch, with so many ties and such a margin each."""
    first = epoch(0, [], every_unit())
    then = [
        epoch(1 + block, [(block, "mlp")], every_unit()) | {"ties": ties, "margin": margin}
        for block, (ties, margin) in enumerate(chosen)
    ]
    return tie_notes(Frame.of(epochs=write_chain(root, [first, *then], step=1, **more)).epochs)


def test_ties_that_the_margin_decided_are_no_warning(tmp_path: Path) -> None:
    # Two went together, and the best unit that stayed was worse.
    assert _notes(tmp_path, (2, 2.1), (1, 4.2)) == []


def test_equals_of_which_one_stayed_are_a_warning(tmp_path: Path) -> None:
    (told,) = _notes(tmp_path, (3, 0.0), (1, 4.2), (7, 0.0))
    assert told.startswith("Warning: ") and told.endswith(
        "paper 2 of 3 epochs, among up to 7 units"
    )
