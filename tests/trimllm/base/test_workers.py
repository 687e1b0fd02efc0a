"""Workers reply, report users' mistakes in one line, and end with their block."""

import os

import pytest

from trimllm.base.errors import UserError
from trimllm.base.workers import Worker, environment, python_of

SCRIPT = """
import os, sys
class UserError(Exception): pass
class Worker:
    def __init__(self, start):
        print("greeting")
        if start == "mistake":
            raise UserError("no such model")
        if start == "exit":
            sys.exit("wrong device")
        self.sum, self.facts = start, {"pid": os.getpid(), "path": "trimllm" in sys.modules}
    def add(self, value):
        self.sum += value
        return self.sum
    def die(self):
        os.kill(os.getpid(), 9)
    def fail(self):
        return 1 / 0
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "worker.py").write_text(SCRIPT)
    return tmp_path / "worker.py"


def test_a_worker_replies_and_ends_with_its_block(script):
    variables = environment(3, isolated=True)
    with Worker(script, {"start": 1}, name="sum", variables=variables) as worker:
        assert [worker.ask("add", 2), worker.ask("add", 3)] == [3, 6]
        pid = worker.facts["pid"]
        assert pid != os.getpid() and not worker.facts["path"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("start", "command", "message"),
    [
        ("mistake", None, "sum: no such model"),
        ("exit", None, "sum: wrong device"),
        (1, "die", r"sum ended \(signal 9; not enough memory\?\)"),
        (1, "fail", "sum: ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_is_one_line(script, start, command, message):
    with pytest.raises(UserError, match=message):  # noqa: SIM117
        with Worker(script, {"start": start}, name="sum") as worker:
            worker.ask(command)


def test_the_python_of_an_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMLLM_TOY_PYTHON", raising=False)
    (tmp_path / ".envs/toy").mkdir(parents=True)
    with pytest.raises(UserError, match="toy is not installed: run `make envs`"):
        python_of("toy", "envs")  # incomplete
    (tmp_path / ".envs/toy/.complete").touch()
    assert python_of("toy", "envs") == tmp_path / ".envs/toy/bin/python"
    monkeypatch.setenv("TRIMLLM_TOY_PYTHON", str(tmp_path))
    with pytest.raises(UserError, match="is not an executable Python"):
        python_of("toy", "envs")
