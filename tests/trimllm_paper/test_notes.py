"""Lines under a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chain_files import epoch, every_unit, plain_chain, write_chain, write_training

from trimllm_paper.frames import Frame
from trimllm_paper.notes import tie_notes, token_notes


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


def test_tokens_are_counted_to_the_kept_pass_of_the_half_trimmed(tmp_path: Path) -> None:
    """Half of eight units are gone after two of the epochs; means over the domains."""
    epochs, trainings = [], []
    for domain, tokens in (("sciq", 100), ("piqa", 300)):
        epochs += write_chain(tmp_path, plain_chain(), domain=domain)
        told = {"domain": domain, "tokens": tokens, "passes": 3}
        trainings.append(write_training(tmp_path, "full_ft", 1.0, kept_pass=1, **told))
        # Settled over three passes, of which the first is kept.
        half = "trim_paper/drop_04"
        trainings.append(write_training(tmp_path, half, 1.0, kept_pass=0, **told))
    (told,) = token_notes(Frame.of(epochs=epochs, trainings=trainings))
    assert told.startswith("tiny: tokens ")
    assert "settled: paper 500; Full-FT to its kept pass 400," in told  # 3 × 100 + 200; 2 × 200
    assert token_notes(Frame.of(epochs=epochs, trainings=trainings[:1])) == []
    assert token_notes(Frame.of(trainings=trainings)) == []
