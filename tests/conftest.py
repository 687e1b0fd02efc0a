"""Shared by all tests: no network, one thread, no test that depends on time."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A busy machine takes longer over one example than hypothesis allows.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
