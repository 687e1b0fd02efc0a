"""Records of training as Table 9 reads them: only as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest
from chain_files import change, plain_chain, write_chain, write_training

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.tables.durations import Durations

CHAIN = "trim_both_r0.25_d6"


def test_a_training_is_taken_as_it_was_written_only(tmp_path: Path) -> None:
    path = write_training(tmp_path, "full_ft", 4.0)
    (found,) = Durations([path], []).of("tiny", "sciq", "full_ft")
    assert found.train == (4.0, 4.0) and found.scan == (0.0, 0.0) and found.documents == 8
    content = files.read_json(path)
    change(content, ("passes", 0, "seconds"))
    files.write_json(path, content)
    with pytest.raises(UserError, match="was changed after it was written"):
        Durations([path], [])


@pytest.mark.parametrize("place", [("seconds", "train"), ("seconds", "scan"), ("epoch",)])
def test_a_chain_is_taken_as_its_epochs_wrote_it_only(tmp_path: Path, place: tuple) -> None:
    path = write_chain(tmp_path, plain_chain())
    (found,) = Durations([], [path]).of("tiny", "sciq", CHAIN)
    assert found.train == (2.0, 2.0, 2.0) and found.scan == (1.0, 1.0, 1.0)
    epochs = files.read_jsonl(path)
    change(epochs[2], place)
    files.write_jsonl(path, epochs)
    with pytest.raises(UserError, match="was changed after it was written"):
        Durations([], [path])
