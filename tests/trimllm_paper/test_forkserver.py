"""A script that a fork runs in its stead: the same words, streams and end, whatever that is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from trimllm_paper import forkserver

pytestmark = pytest.mark.skipif(not forkserver.can_serve(), reason="forks are for Linux")
# A script begins as those of the workflow do, and does its work in the fork.
BEGIN = "from trimllm_paper import forkserver; forkserver.hand_over(); import os, sys\n"
FORKED = "import multiprocessing\nassert 'torch' in sys.modules\n"


@contextmanager
def serving(*rooms: str) -> Iterator[None]:
    """A server, of this very process."""
    before = {process.pid for process in psutil.Process().children()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(forkserver.ADDRESS, "")
        forkserver.start(rooms, {"toy": {"family": "llama"}})
        folder = Path(os.environ[forkserver.ADDRESS].partition(os.pathsep)[2])
        yield
    for process in psutil.Process().children():
        if process.pid not in before:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with serving(*forkserver.MODELS):
        yield


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def begin(folder: Path, text: str, *words: str, **how: object) -> subprocess.Popen[str]:
    """A script of this text is at work in a folder."""
    script = folder / "script.py"
    script.write_text(BEGIN + text)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, str(script), *words]
    return subprocess.Popen(command, cwd=folder, text=True, **pipes, **how)


def test_the_fork_has_all_that_the_script_was_given(server: None, tmp_path: Path) -> None:
    text = FORKED + (
        "print(sys.argv[1], os.getcwd(), os.environ['TOLD'], os.getpgrp(), sys.path[0])\n"
        "print(os.getpid(), input(), os.environ.get('TRIMLLM_FORKSERVER'))\n"
        "print('to error', file=sys.stderr)\n"
    )
    told = os.environ | {"TOLD": "by the environment \udce9"}
    script = begin(tmp_path, text, "one", env=told, encoding="utf-8", errors="surrogateescape")
    out, error = script.communicate("a line\n")
    first, second = out.splitlines()
    group = os.getpgrp()
    assert first == f"one {tmp_path} by the environment \udce9 {group} {tmp_path}"
    pid, rest = second.split(" ", 1)
    assert rest == "a line None" and int(pid) != script.pid
    assert (script.returncode, error) == (0, "to error\n")


@pytest.mark.parametrize(
    "text, status, said",
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit('error: words')", 1, "error: words"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong"),
        ("import signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("import atexit; atexit.register(print, 'at the end')", 0, ""),
    ],
)
def test_it_ends_as_the_fork_ends(
    server: None, tmp_path: Path, text: str, status: int, said: str
) -> None:
    script = begin(tmp_path, FORKED + text)
    out, error = script.communicate()
    assert script.returncode == status and said in error
    assert out == ("at the end\n" if "atexit" in text else "")


def test_threads_are_those_of_the_job(server: None, tmp_path: Path) -> None:
    text = (
        "from trimllm_paper.environment import set_environment\n"
        "import torch\nbefore = torch.get_num_threads()\n"
        "set_environment(3, online=False)\nprint(before, torch.get_num_threads())\n"
    )
    out, error = begin(tmp_path, FORKED + text).communicate()
    assert out == "1 3\n", error


def test_the_script_is_at_home_in_its_own_folder(server: None, tmp_path: Path) -> None:
    """Temporary files, the mask of new ones, and modules are those that a script finds."""
    (tmp_path / "work/scratch").mkdir(parents=True)
    (tmp_path / "work/psutil.py").write_text("raise ImportError('a module of the run's folder')")
    text = "import tempfile, psutil\nprint(tempfile.gettempdir(), oct(os.umask(0)))\n"
    told = os.environ | {"TMPDIR": str(tmp_path / "work/scratch")}
    (tmp_path / "script.py").write_text(BEGIN + FORKED + text)
    command = f"umask 027; exec {sys.executable} ../script.py"
    run = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path / "work", env=told, capture_output=True, text=True
    )
    assert run.stdout == f"{tmp_path}/work/scratch 0o27\n", run.stderr


@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_no_interrupt_is_lost_at_the_start(server: None, tmp_path: Path, delay: float) -> None:
    """Of a terminal, to all of its processes."""
    begun = "open('begun', 'w').close()\n"
    work = "import time\ntime.sleep(30)\nprint('was not interrupted')\n"
    (tmp_path / "script.py").write_text(begun + BEGIN + work)
    command = [sys.executable, "script.py"]
    script = subprocess.Popen(
        command,
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    wait_for((tmp_path / "begun").exists)
    time.sleep(delay)
    os.killpg(script.pid, signal.SIGINT)
    out, _ = script.communicate(timeout=25)
    assert out == "" and script.returncode in (1, -signal.SIGINT)


SLEEP = "import time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_of_the_script_ends_the_fork(server: None, tmp_path: Path, number: int) -> None:
    script = begin(tmp_path, FORKED + SLEEP)
    fork = psutil.Process(int(script.stdout.readline()))
    keeper = fork.parent()
    script.send_signal(number)
    assert script.wait(30) == -number
    wait_for(lambda: not fork.is_running() and not keeper.is_running())


def test_an_interrupt_of_both_is_the_forks_to_handle(server: None, tmp_path: Path) -> None:
    text = (
        "import time\ntry:\n    print(os.getpid(), flush=True)\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('cleaned up')\n    sys.exit(5)\n"
    )
    script = begin(tmp_path, FORKED + text)
    fork = int(script.stdout.readline())
    for pid in (script.pid, fork):
        os.kill(pid, signal.SIGINT)
    out, _ = script.communicate(timeout=30)
    assert (script.returncode, out) == (5, "cleaned up\n")


def test_forks_go_on_when_the_run_is_killed(tmp_path: Path) -> None:
    """The server ends, and leaves nothing; what is at work comes to its end."""
    run = tmp_path / "run.py"
    work = "import time\nprint('at work', flush=True)\ntime.sleep(2)\nprint('done')"
    (tmp_path / "script.py").write_text(BEGIN + FORKED + work)
    run.write_text(
        "import os, subprocess, sys\nfrom trimllm_paper import forkserver\n"
        "forkserver.start(['torch'], {})\n"
        "folder = os.environ[forkserver.ADDRESS].partition(os.pathsep)[2]\n"
        "print(folder, flush=True)\n"
        "subprocess.run([sys.executable, 'script.py'])\n"
    )
    command = [sys.executable, str(run)]
    main = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE)
    folder = Path(main.stdout.readline().strip())
    assert main.stdout.readline() == "at work\n"
    main.kill()
    assert main.stdout.read() == "done\n"
    wait_for(lambda: not folder.exists())


@pytest.fixture
def halted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A server at a halt among its imports; call it to let it go on."""
    go = tmp_path / "go"
    halt = f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.05)\n"
    (tmp_path / "halting_room.py").write_text(halt)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with serving("halting_room"):
        yield go.touch


IMPORTED = "print(os.getpid(), 'halting_room' in sys.modules)"


def test_who_asks_among_its_imports_waits_and_is_served(
    halted: Callable[[], None], tmp_path: Path
) -> None:
    scripts = [begin(tmp_path, IMPORTED) for _ in range(2)]
    time.sleep(1)  # in which one that did not wait would mostly have ended
    assert [script.poll() for script in scripts] == [None, None]
    halted()
    for script in scripts:
        out, error = script.communicate(timeout=60)
        pid, imported = out.split()
        assert imported == "True" and int(pid) != script.pid, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_work_of_who_does_not_wait_is_not_done(
    halted: Callable[[], None], tmp_path: Path, number: int
) -> None:
    work = "open('asked', 'a').close()\n" + BEGIN + "open('worked', 'w').close()\n"
    script = tmp_path / "gone.py"
    script.write_text(work)
    words = [sys.executable, str(script)]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for((tmp_path / "asked").exists)
    time.sleep(1)  # until it waits
    process.send_signal(number)
    assert process.wait(60) != 0
    halted()
    out, _ = begin(tmp_path, IMPORTED).communicate(timeout=60)  # it comes after
    assert out.endswith("True\n")
    assert not (tmp_path / "worked").exists()


@pytest.mark.parametrize("address", ["", "/another/python:/nowhere", f"{sys.executable}:/nowhere"])
def test_where_nobody_answers_the_script_goes_on_itself(tmp_path: Path, address: str) -> None:
    told = os.environ | {forkserver.ADDRESS: address}
    script = begin(tmp_path, "print(os.getpid(), 'torch' in sys.modules)", env=told)
    out, error = script.communicate()
    assert (out, script.returncode) == (f"{script.pid} False\n", 0), error
