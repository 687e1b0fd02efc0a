"""Table 5: specialized models on all other domains; see `cross`."""

from functools import partial

from trimllm_paper.tables import cross

build = partial(cross.build, "table5")
"""Table 5 from evaluation files; arguments as in `cross.build`."""
