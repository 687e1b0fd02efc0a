"""All compressors: what is stored, that it computes, that a fresh process loads it."""

import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from models import SOME, some_ids, tiny, word_tokenizer
from safetensors.torch import load_file

import trimllm
from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.compress import engines, run
from trimllm.compress.engines import Compressed, CompressJob
from trimllm.compress.methods import METHODS, CompressSettings, default_engine, require
from trimllm.compress.run import compress
from trimllm.sublayers import Unit, units

DROPPED = [*SOME, Unit(2, "mlp")]  # also an inner block
SETTINGS = CompressSettings(group_size=32, max_tokens=100)
FOLLOWER = random.Random(0).sample(range(97), 97)


def words_from(first: int, count: int = 20) -> list[int]:
    """Words of which each determines the next."""
    words = [first]
    while len(words) < count:
        words.append(FOLLOWER[words[-1]])
    return words


def as_text(words: list[int]) -> str:
    return " ".join(f"w{word}" for word in words)


TEXTS = [as_text(words_from(word)) for word in range(24)]
HELD_BACK = [(as_text(words_from(word, 15)), f" w{words_from(word, 16)[-1]}") for word in range(97)]


# LLaMA's rotary base is not the one that older versions of transformers fall back on; the
# embeddings of Qwen2 are not tied.
ROTARY = {"rope_type": "default", "rope_theta": 50.0}
CHANGED: dict[str, Any] = {"llama": {"rope_parameters": ROTARY, "head_dim": 16}}


def learnt(family: str, folder: Path) -> Path:
    """A trimmed model that knows which word follows which, and that a compressor can harm."""
    changed = {"hidden_size": 64, "mlp_width": 128, **CHANGED.get(family, {})}
    model = tiny(family, dropped=DROPPED, **changed)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-2)
    chance = random.Random(1)
    for _ in range(100):
        rows = [words_from(chance.randrange(97)) for _ in range(16)]
        ids = torch.tensor(rows) + 4  # four special tokens come first
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return checkpoint.save(model.eval(), word_tokenizer(), folder)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """The model of a family."""
    folder = tmp_path_factory.mktemp("dense")
    return cache(lambda family: learnt(family, folder / family))


def loss_here(script: str, job: dict[str, Any], **_: object) -> float:
    return run.mean_loss(trimllm.load(job["checkpoint"])[0], job["rows"])


CASES: list[Any] = [(method, "llama", default_engine(method)) for method in METHODS]
CASES += [
    ("awq_int4", "opt", default_engine("awq_int4")),
    ("sparsegpt_2_4", "opt", default_engine("sparsegpt_2_4")),
    ("llm_int8", "qwen2", default_engine("llm_int8")),
    pytest.param("awq_int4", "llama", "autoawq", marks=pytest.mark.long),
    pytest.param("gptq_int4", "llama", "auto-gptq", marks=pytest.mark.long),
]


@pytest.mark.parametrize("method, family, engine", CASES)
def test_a_checkpoint_is_small_and_computes_what_its_yardstick_does(
    method, family, engine, dense, tmp_path, monkeypatch
):
    try:
        require(method, engine)
    except UserError as error:
        pytest.skip(str(error))
    if method != "gptq_int4":  # a process of its own takes seconds
        monkeypatch.setattr(run, "run_worker", loss_here)
    source, out = dense(family), tmp_path / "out"
    record = compress(method, source, TEXTS, HELD_BACK, out, engine=engine, settings=SETTINGS)
    files.verify_manifest(out)
    assert list(tmp_path.iterdir()) == [out]
    assert files.read_json(out / "compression.json") == record
    loss = record["loss"]
    assert loss["dense"] < 0.5 < 3 < torch.tensor(97.0).log()  # chance: 4.6
    model, tokenizer = trimllm.load(out)
    assert units(model) == units(trimllm.load(source)[0])
    rows = run.scored_rows(tokenizer, HELD_BACK, 100)
    assert run.mean_loss(model, rows) == pytest.approx(loss["compressed"], abs=0.02)
    assert loss["compressed"] <= loss["yardstick"] + METHODS[method].margin
    assert record["bytes"]["embeddings"] == record["bytes_dense"]["embeddings"]
    smaller = 1.001 if method == "sparsegpt_2_4" else 0.8
    assert record["bytes"]["total"] <= smaller * record["bytes_dense"]["total"]
    # What no method touches has its bytes.
    stored, before = (load_file(folder / "model.safetensors") for folder in (out, source))
    outside = {name for name in before if ".layers." not in name}
    assert outside == {name for name in stored if ".layers." not in name}
    assert all(stored[name].equal(before[name]) for name in outside)
    matrices = [one for name, one in stored.items() if name not in outside and one.dim() == 2]
    if method == "sparsegpt_2_4":
        assert all(((one.unflatten(1, (-1, 4)) == 0).sum(2) >= 2).all() for one in matrices)
    if method == "llm_int8":
        assert {one.dtype for one in matrices} == {torch.int8}
    else:  # it multiplies by the largest inputs of all tokens of a call
        options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
        start = some_ids(1, 5)
        options["attention_mask"] = torch.ones_like(start)
        with_cache = model.generate(start, **options)
        assert torch.equal(with_cache, model.generate(start, use_cache=False, **options))
    with pytest.raises(UserError, match="is the checkpoint itself"):
        compress("llm_pruner", source, TEXTS, HELD_BACK, source)
    with pytest.raises(UserError, match="compressed already"):
        compress("llm_pruner", out, TEXTS, HELD_BACK, tmp_path / "again")
    if "quantization_config" in files.read_json(out / "config.json"):
        with pytest.raises(UserError, match="packed weights .* cannot be saved"):
            checkpoint.save(model, tokenizer, tmp_path / "again", dtype="bfloat16")


def test_a_broken_checkpoint_is_refused_and_removed(dense, tmp_path, monkeypatch):
    """Scales that went wrong, as quantizers were seen to make them."""

    def corrupted(job: CompressJob) -> Compressed:
        result = engines.llm_int8(job)
        result.tensors["model.norm.weight"] = -result.tensors["model.norm.weight"]
        return result

    monkeypatch.setattr(run, "run_worker", loss_here)
    monkeypatch.setitem(run.COMPRESSORS, "llm_int8", corrupted)
    with pytest.raises(UserError, match="llm_int8: loss .* is worse than round to nearest"):
        compress("llm_int8", dense("llama"), TEXTS, HELD_BACK, tmp_path / "out", settings=SETTINGS)
    assert list(tmp_path.iterdir()) == []
    for loss in (2.2, float("nan"), float("inf")):
        with pytest.raises(UserError, match="broken"):
            run.judge(loss, 2.0, 0.1, "awq_int4", "rounding")


@pytest.mark.parametrize(
    "method, changed, message",
    [
        ("zip", {}, "no compressor 'zip'"),
        ("llm_pruner", {"engine": "none"}, "llm_pruner has no engine 'none' .there are: torch"),
        ("gptq_int4", {"settings": replace(SETTINGS, group_size=128)}, "128 does not divide a lay"),
        ("llm_pruner", {"held_back": TEXTS[:1]}, "1 held-back texts are calibration texts too"),
        ("llm_pruner", {"texts": [" "] * 9}, "the calibration texts hold no tokens"),
    ],
)
def test_what_cannot_be_compressed_is_refused(dense, tmp_path, method, changed, message):
    options = {"texts": TEXTS, "held_back": HELD_BACK, "settings": SETTINGS} | changed
    with pytest.raises(UserError, match=message):
        compress(method, dense("llama"), output=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@torch.no_grad()
def test_the_loss_is_that_of_the_answers():
    """Long prompts lose their beginning; of a text all tokens but the first are scored."""
    tokenizer = word_tokenizer()
    pairs = [("w1 w2 w3", " w4"), ("w5 w6", " w7 w8"), ("w9 w10 w11 w12", " w13")]
    rows = run.scored_rows(tokenizer, [*pairs, "w1 w2"], 4)
    assert [(len(ids), first) for ids, first in rows] == [(4, 3), (4, 2), (4, 3), (2, 1)]
    assert rows[2][0] == tokenizer("w10 w11 w12 w13").input_ids
    model, losses = tiny("opt", dropped=[Unit(0, "mlp"), Unit(1, "attention")]), []
    for ids, first in rows:
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-float(scores[at - 1, ids[at]]) for at in range(first, len(ids))]
    assert len(losses) == 5
    assert run.mean_loss(model, rows) == pytest.approx(sum(losses) / 5, rel=1e-5)
