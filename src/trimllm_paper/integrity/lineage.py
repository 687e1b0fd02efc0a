"""Whether results that stand ready are this run's own: same configuration, model, data and code.

Snakemake compares times, parameters and code with what it noted in `.snakemake/`. A result that was
copied here, made by a run that was killed, or kept by `--rerun-triggers mtime` has no such notes or
none that count. What it carries itself is compared here, before anything is built upon it. Results
under other seeds, which tables pool with this run's, must be what it would make under their seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.machine import config_hash, recorded

Place = Callable[[str], str | None]
"""From an output or input of a job to the file that is looked at instead, or None."""
ANOTHER = "was made by another configuration or code"


def foreign(jobs: Iterable[Any]) -> tuple[str, str] | None:
    """The first output of finished jobs that this run would not have made, and why.

    Args:
        jobs: Snakemake's jobs whose outputs are taken as they are: with `output`, `input` (lists
            of paths) and `params`.

    Raises:
        UserError: for the records of a chain that cannot be read.
    """
    return _first(list(jobs), str)


def foreign_replicate(
    jobs: Iterable[Any], results: str, replicates: Sequence[str], seed: int
) -> tuple[str, str] | None:
    """The first result under another seed that this run would not have made under it, and why.

    Compared are the results that a job reads beside this run's, and all that they are made from.

    Args:
        jobs: all jobs of the run, finished or not.
        results, seed: folder and seed of the run.
        replicates: folders of the same results under other seeds, one a folder.

    Raises:
        UserError: for the records of a chain that cannot be read.
    """
    jobs, folder_of = list(jobs), {seed: results}
    for folder in replicates:
        place = _inside(folder, results)
        pooled = _behind(jobs, place)
        other = _seed_in(pooled, place)
        if other is None:
            continue
        if other in folder_of:
            return folder, f"holds results of seed {other}, and so does {folder_of[other]}"
        folder_of[other] = folder
        if found := _first(pooled, place, other):
            path, why = found
            than = " than this run's with only the seed changed" if why == ANOTHER else ""
            return path, why + than
    return None


def with_seed(settings: Any, seed: int) -> Any:
    """Settings with every value that is named `seed` replaced, however deep it lies."""
    if isinstance(settings, Mapping):
        return {k: seed if k == "seed" else with_seed(v, seed) for k, v in settings.items()}
    if isinstance(settings, list | tuple):
        return [with_seed(value, seed) for value in settings]
    return settings


def _inside(folder: str, results: str) -> Place:
    """Where a result of this run lies in another folder of results."""

    def place(path: str) -> str | None:
        own = Path(path)
        return str(folder / own.relative_to(results)) if own.is_relative_to(results) else None

    return place


def _behind(jobs: Sequence[Any], place: Place) -> list[Any]:
    """The jobs whose outputs are read in another place too, and those that they depend on."""
    made_by = {str(path): job for job in jobs for path in job.output}
    read = {str(path) for job in jobs for path in job.input}
    open_jobs = [job for job in jobs if any(place(str(path)) in read for path in job.output)]
    found: dict[Any, None] = {}
    while open_jobs:
        job = open_jobs.pop()
        if job not in found:
            found[job] = None
            open_jobs += [made_by[path] for path in map(str, job.input) if path in made_by]
    return list(found)


def _seed_in(jobs: Iterable[Any], place: Place) -> int | None:
    """The seed that most results name, or None where none does."""
    paths = (place(str(path)) for job in jobs for path in job.output)
    found = (recorded(path).get("seed") for path in paths if path and path.endswith(".json"))
    seeds = Counter(seed for seed in found if seed is not None).most_common(1)
    return seeds[0][0] if seeds else None


def _first(jobs: Sequence[Any], place: Place, seed: int | None = None) -> tuple[str, str] | None:
    """The first file in the place of an output that its job would not have made, and why.

    Args:
        seed: under which it would have; None means the run's own.
    """
    made_by = {str(path): job for job in jobs for path in job.output}

    @cache
    def expected(job: Any) -> str:
        params = dict(job.params.items())
        return config_hash(params if seed is None else with_seed(params, seed))

    for job in sorted(jobs, key=lambda job: list(map(str, job.output))):
        for path in filter(None, map(place, map(str, job.output))):
            for found, maker in _made(path, job, made_by):
                if "config_hash" in found and found["config_hash"] != expected(maker):
                    return path, ANOTHER
                inputs = filter(None, map(place, map(str, maker.input)))
                if "config_hash" in found and (problem := _other_input(found, inputs)):
                    return path, problem
    return None


def _made(
    path: str, job: Any, made_by: Mapping[str, Any]
) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Provenance of every result in a file, each with the job that made it.

    A line of `.../records/...jsonl` is the record of an epoch, as the job of that epoch wrote it.
    """
    if path.endswith(".json"):
        yield recorded(path), job
    elif path.endswith(".jsonl") and "records" in Path(path).parts and Path(path).is_file():
        lines = files.read_jsonl(path)
        for epoch, line in zip(map(str, job.input), lines, strict=False):
            if epoch in made_by:
                yield line.get("provenance", {}), made_by[epoch]


def _other_input(found: Mapping[str, Any], inputs: Iterable[str]) -> str | None:
    """What a result was made from that is not what lies there now."""
    paths = list(map(Path, inputs))
    # Of several checkpoints among the inputs the first is the one that was read. It may have been
    # an epoch's, which is gone once it was evaluated.
    read = next((path for path in paths if path.name == files.MANIFEST), None)
    if (
        read
        and read.is_file()
        and "manifest_sha256" in found
        and files.sha256_of(read) != found["manifest_sha256"]
    ):
        return f"was made from another checkpoint than {read.parent}"
    data = next((path for path in paths if path.name == "report.json" and path.is_file()), None)
    if data and "data_hashes" in found and files.read_json(data)["files"] != found["data_hashes"]:
        return f"was made from other documents than {data.parent}"
    return None
