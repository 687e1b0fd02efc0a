"""All compressors: what is stored, that it computes, that a fresh process loads it."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models import logits_of, some_ids, tiny, word_tokenizer
from safetensors.torch import load_file

import trimllm
from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import store
from trimllm.compress import engines, proof, run
from trimllm.compress.engines import Compressed, CompressJob
from trimllm.compress.methods import METHODS, CompressSettings, default_engine, require
from trimllm.compress.run import compress
from trimllm.sublayers import Unit, drop, units

# First and last sublayer gone, attention and MLPs without their partner, an inner block gone.
DROPPED = [Unit(0, "attention"), Unit(1, "mlp"), Unit(2, "attention"), Unit(2, "mlp")]
DROPPED += [Unit(4, "mlp")]
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


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trimmed model that has learnt which word follows which, and that a compressor can harm.

    Its rotary base is not the one that older versions of transformers fall back on.
    """
    changed = {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}
    changed |= {"hidden_size": 64, "head_dim": 16}
    model = drop(tiny("llama", mlp_width=128, **changed), DROPPED)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-2)
    chance = random.Random(1)
    for _ in range(100):
        rows = [words_from(chance.randrange(97)) for _ in range(16)]
        ids = torch.tensor(rows) + 4  # four special tokens come first
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return checkpoint.save(model.eval(), word_tokenizer(), tmp_path_factory.mktemp("dense") / "m")


def loss_here(path: Path, rows: Any, *_: object) -> float:
    return proof.mean_loss(trimllm.load(path)[0], rows)


ENGINES: list[Any] = [(method, default_engine(method)) for method in METHODS]
ENGINES += [
    pytest.param(("awq_int4", "autoawq"), marks=pytest.mark.long),
    pytest.param(("gptq_int4", "auto-gptq"), marks=pytest.mark.long),
]


@pytest.mark.parametrize("pair", ENGINES, ids="-".join)
def test_a_checkpoint_is_small_and_computes_what_its_yardstick_does(
    pair: tuple[str, str], dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        require(*pair)
    except UserError as error:
        pytest.skip(str(error))
    method, engine = pair
    if method != "gptq_int4":  # a process of its own takes seconds
        monkeypatch.setattr(run, "fresh_loss", loss_here)
    record = compress(
        method, dense, TEXTS, HELD_BACK, out := tmp_path / "out", engine=engine, settings=SETTINGS
    )
    files.verify_manifest(out)
    assert list(tmp_path.iterdir()) == [out]
    assert files.read_json(out / "compression.json") == record
    loss = record["loss"]
    assert loss["dense"] < 0.5 < 3 < torch.tensor(97.0).log()  # chance: 4.6
    model, tokenizer = trimllm.load(out)
    assert units(model) == units(trimllm.load(dense)[0])
    assert loss_here(out, proof.scored_rows(tokenizer, HELD_BACK, 100)) == pytest.approx(
        loss["compressed"], abs=0.02
    )
    assert loss["compressed"] <= loss["yardstick"] + METHODS[method].margin
    assert record["bytes"]["embeddings"] == record["bytes_dense"]["embeddings"]
    smaller = 1.001 if method == "sparsegpt_2_4" else 0.8
    assert record["bytes"]["total"] <= smaller * record["bytes_dense"]["total"]
    with pytest.raises(UserError, match="compressed already"):
        compress("llm_pruner", out, TEXTS, HELD_BACK, tmp_path / "again")
    if "quantization_config" in files.read_json(out / "config.json"):
        with pytest.raises(UserError, match="packed weights .* cannot be saved"):
            checkpoint.save(model, tokenizer, tmp_path / "again", dtype="bfloat16")


CASES = [(method, "llama", DROPPED, True) for method in METHODS]
CASES += [("awq_int4", "opt", DROPPED, True), ("gptq_int4", "opt", [], True)]
CASES += [("llm_int8", "qwen2", [], False), ("sparsegpt_2_4", "opt", DROPPED, True)]


@pytest.mark.parametrize(
    "method, family, dropped, tied", CASES, ids=[f"{m}-{f}-{len(d)}" for m, f, d, _ in CASES]
)
def test_what_survived_is_stored_and_computes(
    method: str, family: str, dropped: list[Unit], tied: bool, tmp_path: Path
) -> None:
    model = tiny(family, mlp_width=64, tie_word_embeddings=tied)
    model = drop(model, dropped) if dropped else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded, tokenizer = trimllm.load(checkpoint.save(model, word_tokenizer(), tmp_path / "dense"))
    (tmp_path / "work").mkdir()
    engine = default_engine(method)
    job = CompressJob(loaded, tokenizer, TEXTS, engine, SETTINGS, tmp_path / "work")
    result = run.COMPRESSORS[method](job)
    (output := tmp_path / "output").mkdir()
    store.write_tensors(tmp_path / "dense", result.tensors, result.config, output)

    stored = load_file(output / "model.safetensors")
    names = {name.rsplit(".", 1)[0] for name in stored}
    assert names <= {name for name, _ in model.named_modules()} | {"lm_head"}
    outside = {name for name in before if ".layers." not in name and name in stored}
    assert outside == {name for name in stored if ".layers." not in name}
    assert tied or "lm_head.weight" in outside
    for name in outside:
        assert torch.equal(stored[name].float(), before[name]), name
    if method == "sparsegpt_2_4":
        for name, tensor in stored.items():
            if "_proj.weight" in name or ".fc" in name and tensor.dim() == 2:
                assert ((tensor.unflatten(1, (-1, 4)) == 0).sum(2) >= 2).all(), name
    if method == "llm_int8":
        assert {stored[n].dtype for n in stored if n.endswith("proj.weight")} == {torch.int8}

    compressed, _ = trimllm.load(output)
    assert units(compressed) == units(model)
    ids = some_ids(2, 24)
    expected, values = logits_of(model, ids), logits_of(compressed, ids).float()
    run.yardstick_(plain := copy.deepcopy(model), method, SETTINGS)
    assert (values - expected).norm() < 2 * (logits_of(plain, ids) - expected).norm()
    start, options = ids[:1, :5], {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    options["attention_mask"] = torch.ones_like(start)
    with_cache = compressed.generate(start, **options)
    if method != "llm_int8":  # which multiplies by the largest inputs of all tokens of a call
        assert torch.equal(with_cache, compressed.generate(start, use_cache=False, **options))


def test_a_broken_checkpoint_is_refused_and_removed(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales that went wrong, as quantizers were seen to make them."""

    def corrupted(job: CompressJob) -> Compressed:
        result = engines.llm_int8(job)
        result.tensors["model.norm.weight"] = -result.tensors["model.norm.weight"]
        return result

    monkeypatch.setattr(run, "fresh_loss", loss_here)
    monkeypatch.setitem(run.COMPRESSORS, "llm_int8", corrupted)
    with pytest.raises(UserError, match="llm_int8: loss .* is worse than round to nearest"):
        compress("llm_int8", dense, TEXTS, HELD_BACK, tmp_path / "out", settings=SETTINGS)
    assert list(tmp_path.iterdir()) == []
    for loss in (2.2, float("nan"), float("inf")):
        with pytest.raises(UserError, match="broken"):
            proof.judge(loss, 2.0, 0.1, "awq_int4", "rounding")


@pytest.mark.parametrize(
    "method, changed, message",
    [
        ("zip", {}, "no compressor 'zip'"),
        ("llm_pruner", {"engine": "none"}, "llm_pruner has no engine 'none' .there are: torch"),
        ("gptq_int4", {"settings": replace(SETTINGS, group_size=128)}, "128 does not divide a lay"),
        ("llm_pruner", {"held_back": TEXTS[:1]}, "1 held-back texts are calibration texts too"),
        ("llm_pruner", {"held_back": ["w1"]}, "no two tokens in a row"),
        ("llm_pruner", {"texts": [" "] * 9}, "the calibration texts hold no tokens"),
    ],
)
def test_what_cannot_be_compressed_is_refused(
    dense: Path, tmp_path: Path, method: str, changed: dict[str, Any], message: str
) -> None:
    options = {"texts": TEXTS, "held_back": HELD_BACK, "settings": SETTINGS} | changed
    with pytest.raises(UserError, match=message):
        compress(method, dense, output=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_rows_hold_the_texts_in_order(tmp_path: Path) -> None:
    texts = [" ".join(["w1"] * n) for n in (5, 3, 8, 1, 0, 9)]
    for longest in (1, 4, 7, 26, 99):
        settings = CompressSettings(max_tokens=longest)
        rows = CompressJob(None, word_tokenizer(), texts, "torch", settings, tmp_path).rows()
        assert rows.shape[2] <= longest and 0 <= 26 - rows.numel() < len(rows)


@torch.no_grad()
def test_the_loss_is_that_of_the_answers() -> None:
    """Long prompts lose their beginning; of a text all tokens but the first are scored."""
    tokenizer = word_tokenizer()
    pairs = [("w1 w2 w3", " w4"), ("w5 w6", " w7 w8"), ("w9 w10 w11 w12", " w13")]
    rows = proof.scored_rows(tokenizer, [*pairs, "w1 w2"], 4)
    assert [(len(ids), first) for ids, first in rows] == [(4, 3), (4, 2), (4, 3), (2, 1)]
    assert rows[2][0] == tokenizer("w10 w11 w12 w13").input_ids
    model, losses = drop(tiny("opt"), [Unit(0, "mlp"), Unit(1, "attention")]), []
    for ids, first in rows:
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-float(scores[at - 1, ids[at]]) for at in range(first, len(ids))]
    assert len(losses) == 5
    assert proof.mean_loss(model, rows) == pytest.approx(sum(losses) / 5, rel=1e-5)
