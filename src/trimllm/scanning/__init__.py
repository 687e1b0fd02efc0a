"""One-pass sensitivity scan."""

from trimllm.scanning.onepass import Scan, scan
from trimllm.scanning.record import from_record, to_record
