"""Every compressor on trimmed models: what is stored, and that it loads and computes."""

from __future__ import annotations

import copy
import weakref
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.offload.cache.cpu import CPUCache
from llmcompressor.modifiers.transform.awq import AWQModifier
from models import CONFIGS, logits_of, some_ids, tiny, word_tokenizer
from safetensors import safe_open
from safetensors.torch import load_file

import trimllm
from trimllm import checkpoint
from trimllm.checkpoint import store
from trimllm.checkpoint.stock import to_stock
from trimllm.compress import METHODS, CompressSettings, awq_int4, default_engine
from trimllm.compress.engines import SETTINGS as SETTINGS_OF
from trimllm.compress.job import CompressJob
from trimllm.compress.run import method_of
from trimllm.sublayers import Unit, drop, unit_parameters, units
from trimllm.sublayers.modeling_trimllm import decoder_of

# First and last unit gone, attention and MLPs without their partner, an inner block gone.
DROPPED = [Unit(0, "attention"), Unit(1, "mlp"), Unit(2, "attention"), Unit(2, "mlp")]
DROPPED += [Unit(4, "mlp")]
TEXTS = [" ".join(f"w{(i * k) % 97}" for i in range(1, 20)) for k in range(1, 13)]
SETTINGS = CompressSettings(group_size=32, max_tokens=100)
CASES = [(method, "llama", DROPPED) for method in METHODS]
CASES += [("awq_int4", "opt", DROPPED), ("llm_int8", "qwen2", []), ("gptq_int4", "opt", [])]


def test_what_a_method_is_made_by_is_told() -> None:
    """By keys of the settings; those of groups are its that says so."""
    assert SETTINGS_OF.keys() == METHODS.keys()
    for method, keys in SETTINGS_OF.items():
        assert {*keys} <= {one.name for one in fields(CompressSettings)}
        assert ("group_size" in keys) == method_of(method).grouped, method


def made(method: str, family: str, dropped: list[Unit], folder: Path, **config: bool) -> tuple:
    """(dense model, folder of the compressed checkpoint) of a tiny random model."""
    model = tiny(family, mlp_width=64, **config)
    model = drop(model, dropped) if dropped else model
    source = checkpoint.save(model, word_tokenizer(), folder / "dense")
    loaded, tokenizer = trimllm.load(source)
    (folder / "work").mkdir()
    job = CompressJob(loaded, tokenizer, TEXTS, default_engine(method), SETTINGS, folder / "work")
    found = method_of(method).compress(job)
    (folder / "made").mkdir()
    store.write_tensors(source, found.tensors, found.config, folder / "made")
    return model, folder / "made"


@pytest.mark.parametrize(
    "method, family, dropped", CASES, ids=[f"{m}-{f}-{len(d)}" for m, f, d in CASES]
)
def test_a_compressed_model_holds_what_survived_and_computes(
    method: str, family: str, dropped: list[Unit], tmp_path: Path
) -> None:
    dense, path = made(method, family, dropped, tmp_path)
    model, _ = trimllm.load(path)
    assert units(model) == units(dense)
    with safe_open(path / "model.safetensors", "pt") as tensors:
        names = {name.rsplit(".", 1)[0] for name in tensors.keys()}  # noqa: SIM118
    assert names <= {name for name, _ in dense.named_modules()} | {"lm_head"}

    ids = some_ids(2, 24)
    expected, found = logits_of(dense, ids), logits_of(model, ids).float()
    method_of(method).plain_(plain := copy.deepcopy(dense), SETTINGS)
    limit = logits_of(plain, ids)
    # Not worse than twice the error of the plainest way to the same size.
    assert (found - expected).norm() < 2 * (limit - expected).norm()

    start, options = ids[:1, :5], {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    options["attention_mask"] = torch.ones_like(start)
    with_cache = model.generate(start, **options)
    assert torch.equal(with_cache, model.generate(start, use_cache=False, **options))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_in_no_block_stays(method: str, tied: bool, tmp_path: Path) -> None:
    """Embeddings, final norm and head, of a head that is the embeddings as well."""
    dense, path = made(method, "llama", DROPPED, tmp_path, tie_word_embeddings=tied)
    stored, before = load_file(path / "model.safetensors"), dense.state_dict()
    outside = {name for name in before if ".layers." not in name and name in stored}
    assert outside == {name for name in stored if ".layers." not in name}
    assert outside >= {"model.embed_tokens.weight", "model.norm.weight"}
    assert tied or "lm_head.weight" in outside
    for name in outside:
        assert torch.equal(stored[name].float(), before[name]), name


def test_pruned_checkpoints_are_smaller_and_stock(tmp_path: Path) -> None:
    dense, path = made("llm_pruner", "llama", [], tmp_path)
    model, _ = trimllm.load(path)
    assert type(model) is type(dense)
    whole, cut = (
        sum(p.numel() for parameters in unit_parameters(one).values() for p in parameters)
        for one in (dense, model)
    )
    assert 0.4 < cut / whole < 0.55
    written, before = (store.bytes_by_part(p)["total"] for p in (path, tmp_path / "dense"))
    assert written == 4 * sum(p.numel() for p in model.parameters()) < before


def test_two_of_four_weights_are_zero(tmp_path: Path) -> None:
    _, path = made("sparsegpt_2_4", "llama", DROPPED, tmp_path)
    model, _ = trimllm.load(path)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            assert ((module.weight.unflatten(1, (-1, 4)) == 0).sum(2) >= 2).all(), name


def test_int8_stores_a_byte_a_weight(tmp_path: Path) -> None:
    dense, path = made("llm_int8", "llama", DROPPED, tmp_path)
    with safe_open(path / "model.safetensors", "pt") as tensors:
        for name, parameter in dense.named_parameters():
            if "proj" in name:
                stored = tensors.get_tensor(name)
                assert stored.dtype == torch.int8 and stored.shape == parameter.shape, name


def test_all_families_have_a_case_here() -> None:
    assert {"llama", "qwen2", "opt"} <= {family for _, family, _ in CASES} <= set(CONFIGS)


@pytest.mark.parametrize("method", ["awq_int4", "sparsegpt_2_4"])
def test_engines_bring_a_block_at_a_time(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What llmcompressor onloads becomes a copy, as on a GPU, and copies are counted."""
    live: dict[int, int] = {}
    peak = 0

    def onload(_: CPUCache, offloaded: torch.Tensor | None) -> torch.Tensor | None:
        nonlocal peak
        if offloaded is None:
            return None
        copy = offloaded.detach().clone().as_subclass(type(offloaded))
        live[id(copy)] = copy.nbytes
        weakref.finalize(copy, live.pop, id(copy))
        peak = max(peak, sum(live.values()))
        return copy

    stored = []
    for counted_ones in (False, True):
        folder = tmp_path / str(counted_ones)
        folder.mkdir()
        with monkeypatch.context() as patch:
            if counted_ones:
                patch.setattr(CPUCache, "onload", onload)
            dense, path = made(method, "llama", DROPPED, folder)
        stored.append(load_file(path / "model.safetensors"))
    assert stored[0].keys() == stored[1].keys()
    assert all(torch.equal(stored[0][name], stored[1][name]) for name in stored[0])
    stock = to_stock(dense)
    inside = sum(p.nbytes for p in decoder_of(stock).layers[0].parameters())
    outside = sum(p.nbytes for p in stock.parameters()) - inside * len(decoder_of(stock).layers)
    assert inside < peak < outside + 2.5 * inside
    assert peak < sum(p.nbytes for p in stock.parameters())


def test_the_search_of_awq_sees_what_it_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """autocast's cache gave it the first weights each time: no scale made an error."""
    errors: list[float] = []
    plain = AWQModifier._compute_loss

    def noted(self: AWQModifier, *outputs: torch.Tensor) -> float:
        errors.append(float(plain(self, *outputs)))
        return errors[-1]

    monkeypatch.setattr(AWQModifier, "_compute_loss", noted)
    monkeypatch.setattr(awq_int4, "has_bfloat16", lambda: True)
    made("awq_int4", "llama", [], tmp_path)
    searches = [errors[at : at + awq_int4.GRID] for at in range(0, len(errors), awq_int4.GRID)]
    assert len(searches) > 4
    assert all(min(tried) > 0 and len(set(tried)) > 1 for tried in searches)


@pytest.mark.parametrize("tokens, rows", [(1, 1), (190, 2), (10_000, 3)])
def test_the_search_of_awq_runs_on_the_first_rows(
    tokens: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three of 95, 95 and 38 tokens; its activations are of all."""
    seen: list[int] = []
    counts: list[int] = []
    plain, best = AWQModifier._compute_loss, AWQModifier._compute_best_scale

    def noted(self: AWQModifier, *outputs: list[torch.Tensor]) -> float:
        seen.extend(map(len, outputs))
        return plain(self, *outputs)

    def counted(self: AWQModifier, mapping: Any, *rest: Any) -> torch.Tensor:
        counts.append(int(self._smooth_activation_stats[mapping.smooth_name][1]))
        return best(self, mapping, *rest)

    monkeypatch.setattr(AWQModifier, "_compute_loss", noted)
    monkeypatch.setattr(AWQModifier, "_compute_best_scale", counted)
    monkeypatch.setattr(awq_int4, "SEARCH_TOKENS", tokens)
    made("awq_int4", "llama", [], tmp_path)
    assert set(seen) == {rows}
    assert set(counts) == {sum(len(text.split()) for text in TEXTS)}
