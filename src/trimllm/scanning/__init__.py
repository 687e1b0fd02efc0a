"""One-pass sensitivity scan."""

from trimllm.scanning.onepass import scan  # noqa: F401
from trimllm.scanning.record import Scan, Scores, from_record, sample_of, to_record  # noqa: F401
