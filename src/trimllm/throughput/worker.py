"""One model in one fresh process, told by lines of JSON on its standard input what to time.

    python -m trimllm.throughput.worker     the first line: [subject, prompt, generate]

Every line of the answer is one JSON object: `{"value": ...}`, or `{"error": ...}` for a mistake of
the user and `{"crash": ...}` for any other, after which the process ends.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import torch

from trimllm.base.errors import UserError
from trimllm.base.machine import hardware, versions
from trimllm.throughput import timing
from trimllm.throughput.build import build
from trimllm.throughput.one_row import faster_kernel, linear_kernel_seconds
from trimllm.throughput.subject import Subject
from trimllm.units import original_units, units
from trimllm.units.modeling_trimllm import decoder_of


class Worker:
    """The model of a process and what can be asked of it; each method is one command."""

    def __init__(self, subject: Subject, prompt: int, generate: int) -> None:
        torch.set_num_threads(subject.threads)
        self.subject, self.model = subject, build(subject)
        self.sizes = timing.weight_bytes(self.model)
        timing.forget_peak(self.model.device)
        self.decoder = timing.Decoder(self.model, prompt, generate, subject.mode)

    def facts(self) -> dict[str, Any]:
        """What the model is: units, bytes of weights and of one token in the cache, operations.

        `layers` are the classes of the units' linear layers: the kernel of a compressed model.
        """
        left = units(self.model)
        linears = [m for m in decoder_of(self.model).layers.modules() if hasattr(m, "in_features")]
        return {
            "units": [list(unit) for unit in left],
            "units_kept": len(left),
            "units_total": original_units(self.model),
            "bytes": self.sizes,
            "kv_bytes_per_token": timing.kv_bytes_per_token(self.model, self.model.dtype),
            "prefill_operations": timing.prefill_operations(self.model, self.decoder.prompt),
            "layers": sorted({type(linear).__name__ for linear in linears}),
            "threads": torch.get_num_threads(),
            "timed_on": hardware(),
            "versions": versions("gptqmodel", "bitsandbytes"),
            **{name: getattr(self.subject, name) for name in ("dtype", "device", "mode")},
        }

    def choose_kernel(self) -> dict[str, Any]:
        """`linear_kernel`, the faster one for this model, and `linear_kernel_seconds` of each."""
        seconds = linear_kernel_seconds(self.model)
        return {"linear_kernel": faster_kernel(seconds), "linear_kernel_seconds": seconds}

    def prefill(self) -> float:
        """Seconds of the prompt."""
        return self.decoder.prefill_seconds()

    def decode(self, kernel: str) -> float:
        """Seconds of the generated tokens, with a linear kernel of `one_row`."""
        return self.decoder.decode_seconds(kernel)

    def peak(self) -> int:
        """Largest memory since the model was made, bytes; asked before the first copy."""
        return timing.peak_bytes(self.model.device)

    def copy(self) -> float:
        """Bytes/s of a plain copy."""
        return timing.copy_rate(self.model.device)


def main() -> None:
    # Libraries greet on standard output, which belongs to the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(kind: str, content: Any) -> None:
        print(json.dumps({kind: content}), file=answers, flush=True)

    try:
        subject, prompt, generate = json.loads(sys.stdin.readline())
        worker = Worker(Subject(**subject), prompt, generate)
        answer("value", worker.facts())
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            answer("value", getattr(worker, command)(*arguments))
    except UserError as error:
        answer("error", str(error))
    except Exception as error:
        traceback.print_exc()
        answer("crash", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
