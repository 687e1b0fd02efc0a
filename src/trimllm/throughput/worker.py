"""One model in one fresh process, told by lines of JSON on its standard input what to time.

    python -m trimllm.throughput.worker     the first line describes the `Subject`

Every line of the answer is one JSON object: `{"value": ...}`, or `{"error": ...}` for a mistake of
the user and `{"crash": ...}` for any other, after which the process ends.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from trimllm.base.errors import UserError
from trimllm.throughput.subject import Subject


class Worker:
    """The model of a process and what can be asked of it; each method is one command."""

    def __init__(self, subject: Subject, prompt: int, generate: int) -> None:
        import torch

        from trimllm.throughput.build import build
        from trimllm.throughput.timing import Decoder, PeakMemory, weight_bytes

        torch.set_num_threads(subject.threads)
        self.model = build(subject)
        self.subject, self.sizes = subject, weight_bytes(self.model)
        self.memory = PeakMemory(torch.device(subject.device))
        self.highest = 0
        self.decoder = Decoder(self.model, prompt, generate, subject.mode)

    def facts(self) -> dict[str, Any]:
        """What the model is: units, bytes of weights and of one token in the cache, operations."""
        import torch

        from trimllm.base.machine import hardware, versions
        from trimllm.throughput.timing import kv_bytes_per_token, prefill_operations
        from trimllm.units import original_units, units

        left = units(self.model)
        return {
            "units": [list(unit) for unit in left],
            "units_kept": len(left),
            "units_total": original_units(self.model),
            "bytes": self.sizes,
            "kv_bytes_per_token": kv_bytes_per_token(self.model, self.model.dtype),
            "prefill_operations": prefill_operations(self.model, self.decoder.prompt),
            "layers": self._layers(),
            "threads": torch.get_num_threads(),
            "timed_on": hardware(),
            "versions": versions("gptqmodel", "bitsandbytes"),
        }

    def _layers(self) -> list[str]:
        """Classes of the units' linear layers: names the kernel of a compressed model."""
        from trimllm.units.modeling_trimllm import decoder_of

        modules = decoder_of(self.model).layers.modules()
        return sorted({type(m).__name__ for m in modules if hasattr(m, "in_features")})

    def warm_up(self) -> None:
        """A pass that does not count."""
        self.decoder.warm_up()

    def choose_kernel(self) -> dict[str, Any]:
        """`linear_kernel`, the faster one for this model, and `linear_kernel_seconds` of each."""
        from trimllm.throughput.one_row import faster_kernel, linear_kernel_seconds

        seconds = linear_kernel_seconds(self.model)
        return {"linear_kernel": faster_kernel(seconds), "linear_kernel_seconds": seconds}

    def use_kernel(self, name: str) -> str:
        """Decode with this linear kernel; says which one is in use now."""
        self.decoder.kernel = name
        return self.decoder.kernel

    def prefill(self) -> float:
        """Seconds of the prompt."""
        return self.decoder.prefill_seconds()

    def decode(self) -> float:
        """Seconds of the generated tokens."""
        return self.decoder.decode_seconds()

    def copy(self) -> float:
        """Bytes/s of a plain copy, whose buffers do not count as the model's memory."""
        from trimllm.throughput.timing import PeakMemory, copy_rate

        self.highest = self.peak()
        rate = copy_rate(self.decoder.device)
        self.memory = PeakMemory(self.decoder.device)
        return rate

    def peak(self) -> int:
        """Largest memory since the model was made, bytes."""
        if self.highest and not self.memory.resettable:
            return self.highest  # later peaks are those of the copied buffers
        return max(self.highest, self.memory.bytes())


def serve(lines: TextIO, answer: Callable[[dict[str, Any]], None]) -> None:
    """Make the model that the first line describes, then obey the others."""
    try:
        told = json.loads(lines.readline())
        worker = Worker(Subject.from_dict(told["subject"]), told["prompt"], told["generate"])
        answer({"value": worker.facts()})
        for line in lines:
            command, *arguments = json.loads(line)
            answer({"value": getattr(worker, command)(*arguments)})
    except UserError as error:
        answer({"error": str(error)})
    except Exception as error:
        traceback.print_exc()
        answer({"crash": f"{type(error).__name__}: {error}"})


def main() -> None:
    # Libraries greet on standard output, which belongs to the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    serve(sys.stdin, answer)


if __name__ == "__main__":
    main()
