"""One measurement: full and trimmed models in one engine, each in a process of its own, in turn.

Each round asks every model once, in one order and then the other, so that all see the same of what
else the machine does. Ratios are of rounds, within a format: what trimming gains is no matter of
how fast engines or kernels are.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from trimllm.base import environments, turns
from trimllm.base.errors import UserError
from trimllm.engines.formats import DRAFTING, FORMATS, LLAMA, VLLM, require
from trimllm.engines.setting import Model, Record, Setting
from trimllm.engines.sizes import sizes
from trimllm.exporting.formats import vllm_python
from trimllm.exporting.proof import TIE, vllm_environment
from trimllm.throughput import machine
from trimllm.throughput.result import Run, figures, quartiles
from trimllm.throughput.session import Process, process_bytes

WORKERS = Path(__file__).parent / "workers"
PROGRAMS = {LLAMA: "llama_cpp.py", VLLM: "vllm_worker.py"}
TIES = {LLAMA: 0.05}
"""Where a draft may part from the full model, nats: llama.cpp rounds what goes into a product to
the type of its matrix, and in other ways for several tokens at once; other engines `TIE`."""


def measure(
    models: Sequence[Model], setting: Setting, say: Callable[[str], None] = lambda text: None
) -> Record:
    """Time models of one engine, with a full one in each format.

    Args:
        say: called with a line on every step.

    Returns:
        `measured`, for each model and batch size its `recipe`, `format`, `batch`, facts
        (`versions`, `kernel`, ...) and `result.figures`; `drafts`, of each trimmed model that
        drafts `speedup` of whole answers (quartiles over rounds), tokens `proposed` and `accepted`,
        and on how much its answers were compared; `engine`, `protocol`, `interleaved` (whether all
        formats were timed in turn, or each in its own session), `machine` (before and after).

    Raises:
        UserError: the engine is not installed, a model cannot be run, too little memory, or a draft
            changes an answer.
    """
    engine = FORMATS[models[0].format]
    require(engine)
    setting = replace(setting, device="cpu") if engine == LLAMA else setting
    found: Record = {"engine": engine, "measured": [], "drafts": []}
    before = machine.state(setting.device)
    by_format = [list(group) for _, group in groupby(models, key=lambda one: one.format)]
    together = _fits(models, setting)
    with tempfile.TemporaryDirectory() as workspace:
        start = _Starter(engine, setting, Path(workspace), models)
        for group in [list(models)] if together else by_format:
            if not together and not _fits(group, setting):
                told = f"{group[0].format}: its {len(group)} models do not fit into memory at once"
                raise UserError(f"{told}; end other programs or measure fewer kept_percent")
            found["measured"] += _timed(group, start, say)
        if setting.drafts:
            for group in by_format:
                found["drafts"] += _drafted(group, start, say)
    rounds = {"prompt": len(setting.prompts[0]), "generate": setting.generate}
    return found | {
        "protocol": rounds | {"repeats": setting.repeats, "batches": list(setting.batches)},
        "interleaved": together,
        "threads": setting.threads,
        "device": setting.device,
        "machine": {"before": before, "after": machine.state(setting.device)},
    }


def _fits(models: Sequence[Model], setting: Setting) -> bool:
    """Whether all models fit the memory at once."""
    free = machine.free_bytes(setting.device)
    paths = [Path(one.path) for one in models]
    files = ([p] if p.is_file() else p.glob("*.safetensors") for p in paths)
    weights = [sum(file.stat().st_size for file in group) for group in files]
    return free is None or sum(process_bytes(one, setting.device) for one in weights) <= free


class _Starter:
    """Starts processes of an engine."""

    def __init__(
        self, engine: str, setting: Setting, workspace: Path, models: Sequence[Model]
    ) -> None:
        self.engine, self.setting, self.workspace = engine, setting, workspace
        prompt = len(setting.prompts[0])
        self.sizes = {model: sizes(model, engine, setting.dtype, prompt) for model in models}

    def __call__(
        self, model: Model, draft: Model | None = None, batch: int = 1, exact: bool = False
    ) -> Process:
        """A process with a model, and one that drafts for it."""
        setting = self.setting
        kv = self.sizes[model]["kv_bytes_per_token"]
        room = batch * (len(setting.prompts[0]) + setting.generate + 1)
        python, environment = sys.executable, environments.ours(setting.threads)
        if self.engine == VLLM:
            python = str(vllm_python())
            environment = vllm_environment(self.workspace, setting.threads)
        program = WORKERS / PROGRAMS.get(self.engine, "generate.py")
        return Process(
            f"{model}, drafted by {draft.recipe}" if draft else model,
            [python, "-P", "-W", "ignore", str(Path(turns.__file__)), str(program)],
            environment,
            path=model.path,
            draft=draft and draft.path,
            prompts=[list(ids) for ids in setting.prompts],
            generate=setting.generate,
            batch=batch,
            threads=setting.threads,
            device=setting.device,
            dtype=setting.dtype,
            exact=exact,
            trust_remote_code=setting.trust_remote_code,
            cache_bytes=max(1 << 28, 2 * kv * room),  # vLLM assigns whole blocks,
        )


def _facts(process: Process) -> Record:
    """What an engine says of its model once it has it; `UserError` where it cannot run it."""
    try:
        return process.answer()
    except RuntimeError as error:
        raise UserError(f"the engine cannot run {error}") from error


def _in_turn(processes: Sequence[Process], rounds: int) -> Iterator[tuple[int, Process]]:
    """Number of a round and whose turn it is, every other round the other way round."""
    for number in range(rounds):
        for process in processes[:: -1 if number % 2 else 1]:
            yield number, process


def _timed(models: Sequence[Model], start: _Starter, say: Callable[[str], None]) -> list[Record]:
    """Time models in turn."""
    setting, found = start.setting, []
    with contextlib.ExitStack() as stack:
        most = max(setting.batches)
        of = {stack.enter_context(start(model, batch=most)): model for model in models}
        facts = {
            model: start.sizes[model]
            | _facts(process)
            | {"recipe": model.recipe, "format": model.format, "proof": model.proof}
            for process, model in of.items()
        }
        for batch in setting.batches:
            runs = {model: Run(facts[model] | {"batch": batch}) for model in models}
            for number, process in _in_turn(list(of), 1 + setting.repeats):
                seconds = process.ask("time", batch)
                if number:  # the first one does not count
                    runs[of[process]].prefill.append(seconds["prefill"])
                    runs[of[process]].decode.append(seconds["decode"])
            say(f"batch {batch}: {len(models)} models, {setting.repeats} rounds")
            for model, run in runs.items():
                (full,) = (m for m in models if m.full and m.format == model.format)
                baseline = None if model.full else runs[full]
                found.append(figures(setting.protocol(batch), None, run, baseline))
    return found


def _drafted(models: Sequence[Model], start: _Starter, say: Callable[[str], None]) -> list[Record]:
    """Let the trimmed models of a format draft for the full one; nothing where none may."""
    (full,), trimmed = (m for m in models if m.full), [m for m in models if not m.full]
    if full.format not in DRAFTING or start.engine == VLLM:
        return []
    setting = start.setting
    checked = {draft: _compared(full, draft, start) for draft in trimmed}
    say(f"{full.format}: answers with drafts are those without")
    with contextlib.ExitStack() as stack:
        drafts: list[Model | None] = [None, *trimmed]
        processes = [stack.enter_context(start(full, draft)) for draft in drafts]
        for process in processes:
            _facts(process)
        answers: dict[Process, list[Record]] = {process: [] for process in processes}
        for number, process in _in_turn(processes, 1 + setting.repeats):
            said = process.ask("answer", number % len(setting.prompts))
            if number:
                answers[process].append(said)
    first, *helped = answers.values()
    alone = [said["seconds"] for said in first]
    return [
        {
            "recipe": full.recipe,
            "format": full.format,
            "draft": draft.recipe,
            "speedup": quartiles([a / s["seconds"] for a, s in zip(alone, said, strict=True)]),
            "tokens_per_second": quartiles([len(s["tokens"]) / s["seconds"] for s in said]),
            "alone_tokens_per_second": quartiles([setting.generate / a for a in alone]),
            "proposed": sum(s["proposed"] for s in said),
            "accepted": sum(s["accepted"] for s in said),
            "compared": checked[draft],
        }
        for draft, said in zip(trimmed, helped, strict=True)
    ]


def _compared(full: Model, draft: Model, start: _Starter) -> Record:
    """On how much the answers with a draft are those without; `UserError` where they are not."""
    tie, prompts = TIES.get(start.engine, TIE), range(len(start.setting.prompts))
    ties = 0
    with start(full, exact=True) as alone, start(full, draft, exact=True) as helped:
        _facts(alone), _facts(helped)
        for number in prompts:
            plain, other = (p.ask("answer", number)["tokens"] for p in (alone, helped))
            differ = [i for i, (a, b) in enumerate(zip(plain, other, strict=True)) if a != b]
            if not differ:
                continue
            gap = alone.ask("gap", number, plain[: differ[0]])
            if not gap < tie:
                raise UserError(
                    f"{draft} changes what {full.recipe} answers: token {differ[0]} of text "
                    f"{number} is another one, {gap:.4f} nats behind ({tie:g} are a tie)"
                )
            ties += 1
    return {"answers": len(prompts), "tokens": start.setting.generate, "tie": tie, "ties": ties}
