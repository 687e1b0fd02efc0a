"""Which calibration documents a scan takes."""

from __future__ import annotations

from trimllm.data import Document
from trimllm.scanning.sample import sample_of

POOL = [Document(f"q{number}", (" a", " b"), 0) for number in range(90)]


def test_every_scan_draws_anew_and_the_same_again() -> None:
    draws = [sample_of(POOL, 50, 3, number) for number in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]
    assert all(len({*draw}) == 50 and {*draw} <= {*POOL} for draw in draws)
    assert sample_of(POOL, 50, 4, 0) != draws[0]
    assert sample_of(POOL, None, 3, 0) == sample_of(POOL, 90, 3, 0) == POOL
