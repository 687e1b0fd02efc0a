"""Writers that die or find the disk full: the final name holds a whole checkpoint, old or new."""

import contextlib
import json
import resource
import signal
from collections.abc import Iterator

import pytest
import torch
from models import Bomb, tiny, word_tokenizer
from safetensors import SafetensorError
from shared import run_python

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError

# For each operation of a writer on files, forks one and kills it right before that operation.
KILLED = """
import itertools, json, os, signal, sys
from pathlib import Path
import torch
from models import tiny, word_tokenizer
from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError

torch.set_num_threads(1)
final = Path(sys.argv[1])
old, new, tokenizer = tiny("llama", seed=1), tiny("llama", seed=2), word_tokenizer()
TOUCHES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.scandir")

def write_until(step):
    counter = itertools.count()
    def hook(event, arguments):
        mine = arguments and str(final.parent) in str(arguments[0])
        if event in TOUCHES and mine and next(counter) == step:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    checkpoint.save(new, tokenizer, final)
    os._exit(0)

def weights():
    if not final.exists():
        return None
    return files.verify_manifest(final)["files"]["model.safetensors"]["sha256"]

checkpoint.save(new, tokenizer, final)
after = weights()
checkpoint.save(old, tokenizer, final)
before = weights()
seen = []
for step in itertools.count():
    if not final.exists():
        checkpoint.save(old, tokenizer, final)
    pid = os.fork()
    if pid == 0:
        write_until(step)
    status = os.waitpid(pid, 0)[1]
    names = {before: "old", after: "new", None: "none"}
    seen.append(names[weights()])
    files.remove_leftovers(final)
    left = [path.name for path in final.parent.iterdir() if path != final]
    assert not left, left
    if os.WIFEXITED(status):
        break
print(json.dumps(seen))
"""


def test_a_writer_killed_at_any_point(tmp_path):
    seen = json.loads(run_python(KILLED, tmp_path / "model", OMP_NUM_THREADS="1"))
    assert seen[0] == "old" and seen[-1] == "new" and len(seen) > 20
    # The old one until the new one is whole; for the moment between two renames neither.
    order = sorted(seen, key=["old", "none", "new"].index)
    assert seen == order and seen.count("none") <= 2, seen


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Let no file grow beyond `limit` bytes, as on a full disk.

    Keep the block short: it also limits what the test runner itself writes.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_leaves_the_old_checkpoint_and_the_old_result(tmp_path):
    path = checkpoint.save(tiny("llama", seed=1), word_tokenizer(), tmp_path / "model")
    before = files.verify_manifest(path)
    for limit in (0, 500, 20_000):
        with pytest.raises((OSError, SafetensorError)), small_files(limit):
            checkpoint.save(tiny("llama", seed=2), word_tokenizer(), path)
        assert files.verify_manifest(path) == before and [*tmp_path.iterdir()] == [path]
    files.write_json(path / "a.json", {"a": 1})
    with pytest.raises(OSError, match="File too large"), small_files(100):
        files.write_json(path / "a.json", {"a": "x" * 1000})
    assert files.read_json(path / "a.json") == {"a": 1} and not [*path.glob(".*")]


def test_leftovers_of_others_stay_and_what_was_moved_away_comes_back(tmp_path):
    for name in (".drop_1.tmp-1", ".drop_15.tmp-1", ".drop_1.old-1"):
        (tmp_path / name).mkdir()
    (tmp_path / ".drop_1.json.tmp-1").touch()
    files.remove_leftovers(tmp_path / "drop_1")
    assert {path.name for path in tmp_path.iterdir()} == {"drop_1", ".drop_15.tmp-1"}


# ---- nothing that is read can run code -----------------------------------------------------------


@pytest.mark.parametrize("trusting", [False, True])
def test_pickled_weights_are_refused_unread(tmp_path, trusting):
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "model")
    (path / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Bomb(tmp_path / "ran")}, path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"safetensors|cannot be loaded"):
        checkpoint.load(path, trust_remote_code=trusting, verify=False)
    assert not (tmp_path / "ran").exists()


def test_code_beside_the_weights_is_not_run_by_default(tmp_path):
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "bomb.Model", "AutoConfig": "bomb.Config"}
    (path / "config.json").write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (path / "bomb.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    model, _ = checkpoint.load(path, verify=False)
    assert type(model).__module__.startswith("transformers.models.") and not ran.exists()
