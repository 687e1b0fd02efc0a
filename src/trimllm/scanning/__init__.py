"""One-pass sensitivity scan."""

from trimllm.scanning.onepass import Scan, Scores, from_record, sample_of, scan, to_record
