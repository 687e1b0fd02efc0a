"""Shared by all tests: no network, one thread, helpers importable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
for house in ("trimllm", "trimllm_paper"):
    sys.path.insert(0, str(Path(__file__).parent / house))
