"""The check of a GPU: what runs anywhere runs here on a CPU, the rest needs the GPU."""

from __future__ import annotations

import importlib.util
import math

import pytest

from trimllm_paper import gpus
from trimllm_paper.__main__ import main
from trimllm_paper.commands import check_gpu
from trimllm_paper.commands.check_gpu import Found

KIND = gpus.KINDS[gpus.ASSUMED]
has_gpu = gpus.gpus_present() > 0


@pytest.mark.skipif(not has_gpu, reason="needs a GPU")
def test_all_of_it_on_a_gpu(capsys: pytest.CaptureFixture) -> None:
    assert main(["check-gpu"]) == 0, capsys.readouterr().out


@pytest.mark.skipif(has_gpu, reason="for machines without a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture) -> None:
    assert main(["check-gpu"]) == 1
    assert (
        capsys.readouterr().err
        == "error: this machine has no GPU (/dev/nvidia*); check-gpu needs one\n"
    )


def test_an_epoch_runs_on_a_cpu() -> None:
    found = check_gpu.epoch("cpu", KIND)
    assert found.holds and 0 < found.measured < math.inf


@pytest.mark.skipif(not importlib.util.find_spec("gptqmodel"), reason="int4 kernels not installed")
def test_an_int4_model_takes_a_step_on_a_cpu() -> None:
    assert check_gpu.int4("cpu", KIND).measured > 0


def test_rates_are_compared_with_the_plan() -> None:
    """A product of two 512 x 512 matrices in a second would be 0.27 GFLOP/s."""
    found = check_gpu.product("cpu", KIND, size=512)
    assert found.planned == pytest.approx(0.4 * 312) and 0 < found.measured < found.planned
    assert not found.holds
    copied = check_gpu.copy("cpu", KIND, size=1 << 20)
    assert copied.planned == pytest.approx(0.75 * 2039) and not copied.holds


def test_one_that_breaks_off_does_not_end_the_others() -> None:
    def breaks(device: str, kind: gpus.Kind) -> Found:
        raise RuntimeError("CUDA error:\n no kernel image")

    def holds(device: str, kind: gpus.Kind) -> Found:
        return Found("GiB", 76.0, 76.0)

    first, second = check_gpu.lines("cpu", KIND, (breaks, holds))
    assert first == ("breaks         fails: CUDA error: no kernel image", False)
    assert second[1] and second[0].split() == ["holds", "76", "GiB", "76", "GiB", "holds"]
