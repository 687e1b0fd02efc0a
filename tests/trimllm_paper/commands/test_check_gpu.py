"""The check of a GPU, tried out on a CPU."""

import re

import pytest

from trimllm_paper.commands import check_gpu


@pytest.mark.slow
@pytest.mark.long
def test_all_checks_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_gpu.run("cpu") == 0
    *lines, _ = capsys.readouterr().out.splitlines()
    assert len(lines) == len(check_gpu.CHECKS) and all(line.startswith("ok") for line in lines)
    (loss,) = re.findall(r"trimming \(loss\): (\S+), expected (\S+)", "\n".join(lines))
    assert loss[0] == loss[1] and float(loss[0]) > 0


def test_a_check_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = {"memory": lambda *_: (1.0, 4.0, 0.5), "int4": lambda *_: 1 / 0}
    monkeypatch.setattr(check_gpu, "CHECKS", checks)
    assert check_gpu.run("cpu") == 1
    lines = capsys.readouterr().out
    assert "FAILED  memory: 1, expected 4" in lines and "FAILED  int4: division by zero" in lines
