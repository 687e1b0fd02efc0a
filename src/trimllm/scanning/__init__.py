"""One-pass sensitivity scan."""

from trimllm.scanning.onepass import scan
from trimllm.scanning.record import Scan, Scores, from_record, to_record

__all__ = ["Scan", "Scores", "from_record", "scan", "to_record"]
