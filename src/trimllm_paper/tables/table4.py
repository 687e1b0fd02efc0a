"""Table 4: specialized models on near domains; see `cross`."""

from functools import partial

from trimllm_paper.tables import cross

build = partial(cross.build, "table4")
"""Table 4 from evaluation files; arguments as in `cross.build`."""
