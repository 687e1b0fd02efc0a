"""A checkpoint proves itself: loaded by a fresh process, it must still know its language.

`python -m trimllm.compress.proof CHECKPOINT ROWS DEVICE` prints one JSON object, the mean loss of a
checkpoint on scored rows (see `calibration.scored_rows`; a JSON file).

What counts are answers to held-back prompts, against the method's yardstick. Whole texts would not
do: half trimmed on MedMCQA, the default's model has a loss of 0.00 on answers, and of 27 nats a
token on whole texts, where a broken checkpoint would not stand out.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.kernels import is_quantized
from trimllm.base.precision import compute_dtype, round_weights_
from trimllm.checkpoint import load
from trimllm.compress.calibration import ScoredRow, mean_loss


def fresh_loss(
    checkpoint: Path, rows: Sequence[ScoredRow], workspace: Path, device: str, threads: int
) -> float:
    """Mean loss in nats a token of a checkpoint, loaded by a process of its own."""
    file = workspace / "held_back.json"
    files.write_json(file, rows)
    source = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "trimllm.compress.proof", str(checkpoint), str(file), device]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in run.stdout.splitlines() if line.startswith('{"loss"')]
    if run.returncode or not lines:
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        raise UserError(f"the compressed checkpoint cannot be loaded by a fresh process: {last}")
    return float(json.loads(lines[-1])["loss"])


def judge(loss: float, yardstick: float, margin: float, what: str, name: str) -> None:
    """Raise `UserError` unless `loss` is at most `yardstick` + `margin`, all in nats a token."""
    # Written so that a loss that is no number fails.
    if not loss <= yardstick + margin:
        raise UserError(
            f"{what}: loss {loss:.3f} on held-back texts is worse than {name}'s {yardstick:.3f} "
            f"by more than {margin:g}: the compressed checkpoint is broken and was not kept; give "
            "more calibration texts, or another engine"
        )


def _main(checkpoint: str, rows: str, device: str) -> None:
    # Imports leave no garbage: looking for it at the end would take more than a second.
    gc.freeze()
    model, _ = load(checkpoint, device=device, verify=False)
    # Packed weights come with kernels that have a type of their own.
    if not is_quantized(model):
        round_weights_(model, compute_dtype("auto", device))
    print(json.dumps({"loss": mean_loss(model, files.read_json(rows))}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
