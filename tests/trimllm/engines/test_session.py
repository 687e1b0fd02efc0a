"""Full and trimmed models in turn in engines for real: tiny ones, each in its own process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exports import byte_tokenizer, needs_llama_cpp, saved, tiny_model

from trimllm.base.errors import UserError
from trimllm.checkpoint import load
from trimllm.engines import session
from trimllm.engines.session import measure
from trimllm.engines.setting import Model, Setting, prompts
from trimllm.exporting import gguf_file
from trimllm.exporting.proof import TEXTS
from trimllm.sublayers import Unit

FULL, HALF = "full_ft", "trim_paper/drop_04"
GONE = [Unit(block, kind) for block in (1, 3) for kind in ("attention", "mlp")]
DROPPED = {FULL: [], HALF: GONE}
SETTING = Setting(
    prompts(byte_tokenizer(), TEXTS, 2, 12), generate=4, repeats=2, batches=(1, 2), dtype="float32"
)
TIMED = replace(SETTING, drafts=False)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        recipe: saved(tiny_model("llama", dropped), folder / str(number))
        for number, (recipe, dropped) in enumerate(DROPPED.items())
    }


@pytest.fixture(scope="module")
def files(checkpoints: dict[str, Path]) -> list[Model]:
    """Both models as GGUF files of two types."""
    found = []
    for kind in ("f16", "q8_0"):
        for recipe, path in checkpoints.items():
            file = path.with_name(f"{path.name}-{kind}.gguf")
            model, tokenizer = load(path)
            gguf_file.write(model, tokenizer, path, file, kind, "tiny")
            how: dict[str, Any] = {"full": recipe == FULL, "proof": {"mean_difference": 0.0}}
            found.append(Model(recipe, f"gguf_{kind}", str(file), str(path), **how))
    return found


def figures(found: dict[str, Any], recipe: str, batch: int, format: str) -> dict[str, Any]:
    named = {(one["recipe"], one["batch"], one["format"]): one for one in found["measured"]}
    return named[recipe, batch, format]


def check_figures(found: dict[str, Any], format: str) -> None:
    """Ratios are of rounds with the full model of the format; predictions follow from sizes."""
    for batch in SETTING.batches:
        full, one = (figures(found, recipe, batch, format) for recipe in (FULL, HALF))
        assert "baseline" not in full and (full["units_kept"], one["units_kept"]) == (10, 6)
        assert one["baseline"].items() >= full.items()
        for name, gain in (("decode", "speedup"), ("prefill", "prefill_speedup")):
            own, theirs = (m[f"{name}_tokens_per_second"]["samples"] for m in (one, full))
            ratios = [a / b for a, b in zip(own, theirs, strict=True)]
            assert len(ratios) == 2 and one[gain]["samples"] == pytest.approx(ratios)
    one, two = (figures(found, HALF, batch, format) for batch in (1, 2))
    # A step reads the weights once and every cache: 12 tokens of the prompt and, in the mean, 2.5.
    more = 14.5 * one["kv_bytes_per_token"]
    assert two["read_bytes_per_token"] == pytest.approx(one["read_bytes_per_token"] + more)
    ratio = one["baseline"]["read_bytes_per_token"] / one["read_bytes_per_token"]
    assert one["predicted_speedup"] == pytest.approx(ratio) and ratio > 1


def test_transformers_with_and_without_a_draft(checkpoints: dict[str, Path]) -> None:
    models = [
        Model(one, "transformers", str(path), str(path), full=one == FULL)
        for one, path in checkpoints.items()
    ]
    found = measure(models, SETTING)
    assert found["interleaved"] and (found["engine"], len(found["measured"])) == ("transformers", 4)
    check_figures(found, "transformers")
    one = figures(found, HALF, 1, "transformers")
    assert one["precision"] == "float32" and "Linear" in one["kernel"]
    assert one["kv_bytes_per_token"] == 3 * 2 * 16 * 4  # attentions, keys and values, width, bytes
    (draft,) = found["drafts"]
    assert draft["draft"] == HALF and len(draft["speedup"]["samples"]) == 2
    assert draft["compared"] == {"answers": 2, "tokens": 4, "tie": 1e-3, "ties": 0}
    assert 0 <= draft["accepted"] <= draft["proposed"] > 0


@needs_llama_cpp
def test_llama_cpp_with_parallel_sequences_and_drafts(files: list[Model]) -> None:
    itself = replace(files[0], recipe="itself", full=False)
    found = measure([*files[:2], itself, *files[2:]], SETTING)
    assert found["engine"] == "llama_cpp" and len(found["measured"]) == 5 * 2
    for format in ("gguf_f16", "gguf_q8_0"):
        check_figures(found, format)
    f16, q8_0 = (figures(found, HALF, 2, f"gguf_{kind}") for kind in ("f16", "q8_0"))
    assert f16["precision"] == "f16" and f16["bytes"]["units"] > 1.5 * q8_0["bytes"]["units"]
    assert f16["kv_bytes_per_token"] == 3 * 2 * 16 * 2 and f16["proof"] == {"mean_difference": 0.0}
    # Nothing but what loses nothing drafts, and a draft as good as the model is right.
    drafts = {one["draft"]: one for one in found["drafts"]}
    assert drafts.keys() == {HALF, "itself"}
    assert all(one["format"] == "gguf_f16" for one in drafts.values())
    assert drafts["itself"]["accepted"] > drafts["itself"]["proposed"] / 2


@needs_llama_cpp
def test_a_draft_that_changes_an_answer_is_an_error(
    files: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = session.Process.ask

    def other(process: session.Process, command: str, *arguments: Any) -> Any:
        said = ask(process, command, *arguments)
        if command == "answer" and "drafted" in str(process.subject):
            said["tokens"][2] += 1
        return gap if command == "gap" else said

    monkeypatch.setattr(session.Process, "ask", other)
    gap = 0.049
    (draft,) = measure(files[:2], replace(SETTING, batches=(1,), repeats=1))["drafts"]
    assert draft["compared"]["ties"] == 2
    gap = 0.051
    with pytest.raises(UserError, match=r"drop_04 .*changes what full_ft answers: token 2 of text"):
        measure(files[:2], replace(SETTING, batches=(1,), repeats=1))


@needs_llama_cpp
def test_formats_take_turns_apart_where_memory_is_short(
    files: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = session._fits
    monkeypatch.setattr(session, "_fits", lambda found, how: len(found) < 4 and fits(found, how))
    found = measure(files, TIMED)
    assert not found["interleaved"] and found["drafts"] == [] and len(found["measured"]) == 8
    monkeypatch.setattr(session.machine, "free_bytes", lambda device: 1 << 20)
    with pytest.raises(UserError, match="gguf_f16: its 2 models do not fit into memory"):
        measure(files[:2], TIMED)


@needs_llama_cpp
def test_a_file_that_cannot_be_run_is_one_line(files: list[Model], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(UserError, match="full_ft as gguf_f16") as told:
        measure([replace(files[0], path=str(broken))], TIMED)
    assert "\n" not in str(told.value)


def test_prompts_are_stretches_of_texts() -> None:
    tokenizer = byte_tokenizer()
    ids = [token for text in TEXTS for token in tokenizer(text).input_ids]
    assert prompts(tokenizer, TEXTS, 2, 10) == [ids[:10], ids[10:20]]
    many = prompts(tokenizer, ["ab"], 3, 4)
    assert [len(one) for one in many] == [4, 4, 4] and len({*many[0]}) <= 2
    with pytest.raises(UserError, match="no token"):
        prompts(tokenizer, [""], 1, 4)
