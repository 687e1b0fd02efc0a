"""Jobs that a fork of the run's server does (`forkserver`): those that time nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimllm_paper import forkserver

if TYPE_CHECKING:
    from trimllm_paper.job import Job


def forked(snakemake: Any) -> Job:
    """The job of a script. Where the run has a server, a twin does it, and this process ends as the
    twin ends; it has imported nothing that jobs need by then."""
    forkserver.hand_over()
    from trimllm_paper.job import Job

    return Job(snakemake)
