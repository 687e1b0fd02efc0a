"""Full and trimmed models in turn in engines for real: tiny ones, each in its own process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exports import byte_tokenizer, needs_llama_cpp, saved, tiny_model

from trimllm.base.errors import UserError
from trimllm.checkpoint import load_tokenizer
from trimllm.engines import session
from trimllm.engines.session import measure
from trimllm.engines.setting import Model, Setting, prompts
from trimllm.export import gguf_file
from trimllm.export.evidence import TEXTS
from trimllm.export.layers import Layers
from trimllm.units import Unit

FULL, HALF, LESS = "full_ft", "trim_paper/drop_04", "trim_paper/drop_08"
GONE = [Unit(block, kind) for block in (1, 3) for kind in ("attention", "mlp")]
MORE = [*GONE, Unit(0, "mlp"), Unit(2, "mlp"), Unit(4, "mlp"), Unit(4, "attention")]
DROPPED = {FULL: [], HALF: GONE, LESS: MORE}
SETTING = Setting(
    prompts(byte_tokenizer(), TEXTS, 2, 12), generate=4, repeats=2, batches=(1, 2), dtype="float32"
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        recipe: saved(tiny_model("llama", dropped), folder / str(number))
        for number, (recipe, dropped) in enumerate(DROPPED.items())
    }


def as_checkpoints(checkpoints: dict[str, Path], *recipes: str) -> list[Model]:
    return [
        Model(one, "transformers", *2 * [str(checkpoints[one])], full=one == FULL)
        for one in recipes
    ]


def as_gguf(checkpoints: dict[str, Path], folder: Path, *kinds: str) -> list[Model]:
    found = []
    for kind in kinds:
        for recipe in (FULL, HALF):
            path = checkpoints[recipe]
            file = folder / f"{path.name}-{kind}.gguf"
            layers = Layers(tiny_model("llama", DROPPED[recipe]).config, path)
            gguf_file.write(layers, load_tokenizer(path), file, kind, name="tiny", about={})
            found.append(Model(recipe, f"gguf_{kind}", str(file), str(path), full=recipe == FULL))
    return found


def figures(found: dict[str, Any], recipe: str, batch: int, format: str) -> dict[str, Any]:
    named = {(one["recipe"], one["batch"], one["format"]): one for one in found["measured"]}
    return named[recipe, batch, format]


@pytest.fixture(scope="module")
def in_transformers(checkpoints: dict[str, Path]) -> dict[str, Any]:
    return measure(as_checkpoints(checkpoints, FULL, HALF, LESS), SETTING)


def test_every_model_is_timed_beside_the_full_one(in_transformers: dict[str, Any]) -> None:
    found = in_transformers
    assert found["interleaved"] and found["engine"] == "transformers"
    assert len(found["measured"]) == 3 * 2
    for batch in SETTING.batches:
        full = figures(found, FULL, batch, "transformers")
        assert "baseline" not in full and full["units_kept"] == 10
        for recipe, kept in ((HALF, 6), (LESS, 2)):
            one = figures(found, recipe, batch, "transformers")
            assert one["baseline"].items() >= full.items() and one["units_kept"] == kept
            for name in ("decode", "prefill"):
                rates = (m[f"{name}_tokens_per_second"]["samples"] for m in (one, full))
                gain = one["speedup" if name == "decode" else "prefill_speedup"]["samples"]
                assert gain == pytest.approx([a / b for a, b in zip(*rates, strict=True)])
            assert one["precision"] == "float32" and "Linear" in one["kernel"]


def test_a_batch_reads_the_weights_once_and_every_cache(in_transformers: dict[str, Any]) -> None:
    one, two = (figures(in_transformers, HALF, batch, "transformers") for batch in (1, 2))
    # 12 tokens of the prompt and, in the mean, 2.5 written ones.
    more = 14.5 * one["kv_bytes_per_token"]
    assert two["read_bytes_per_token"] == pytest.approx(one["read_bytes_per_token"] + more)
    assert one["predicted_speedup"] > two["predicted_speedup"] > 1


def test_drafts_change_no_answer_and_what_they_propose_is_counted(
    in_transformers: dict[str, Any],
) -> None:
    drafts = in_transformers["drafts"]
    assert [one["draft"] for one in drafts] == [HALF, LESS]
    for one in drafts:
        assert one["compared"] == {"answers": 2, "tokens": 4, "tie": 1e-3, "ties": 0}
        assert 0 <= one["accepted"] <= one["proposed"] > 0
        assert len(one["speedup"]["samples"]) == 2


def test_a_draft_as_good_as_the_model_itself_is_always_right(
    checkpoints: dict[str, Path],
) -> None:
    full = as_checkpoints(checkpoints, FULL)
    (one,) = measure([*full, replace(full[0], recipe="itself", full=False)], SETTING)["drafts"]
    assert one["accepted"] == one["proposed"] > 0


def test_a_draft_that_changes_an_answer_is_an_error(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = session.Process.ask

    def other(process: session.Process, command: str, *arguments: Any) -> Any:
        said = ask(process, command, *arguments)
        if command == "answer" and "drafted" in str(process.subject):
            said["tokens"][2] += 1
        return said

    monkeypatch.setattr(session.Process, "ask", other)
    with pytest.raises(UserError, match=r"drop_04 .*changes what full_ft answers: token 2 of text"):
        measure(as_checkpoints(checkpoints, FULL, HALF), SETTING)


@needs_llama_cpp
def test_llama_cpp_times_files_in_parallel_sequences(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    found = measure(as_gguf(checkpoints, tmp_path, "f16", "q8_0"), SETTING)
    assert found["engine"] == "llama_cpp" and len(found["measured"]) == 2 * 2 * 2
    f16, q8_0 = (figures(found, HALF, 2, f"gguf_{kind}") for kind in ("f16", "q8_0"))
    assert f16["precision"] == "f16" and f16["bytes"]["units"] > 1.5 * q8_0["bytes"]["units"]
    assert f16["kv_bytes_per_token"] == 3 * 2 * 16 * 2  # attentions, keys and values, width, bytes
    assert all(one["decode_tokens_per_second"]["median"] > 0 for one in found["measured"])
    # Nothing but what loses nothing drafts.
    (draft,) = found["drafts"]
    assert (draft["format"], draft["draft"]) == ("gguf_f16", HALF)
    assert draft["compared"]["tie"] == 0.05 and draft["proposed"] >= draft["accepted"]


def test_formats_take_turns_apart_where_memory_is_short(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    models, setting = as_checkpoints(checkpoints, FULL, HALF), replace(SETTING, drafts=False)
    another = [replace(one, format="llm_int8") for one in models]
    fits = session._fits
    monkeypatch.setattr(session, "_fits", lambda found, how: len(found) < 4 and fits(found, how))
    found = measure([*models, *another], setting)
    assert not found["interleaved"] and found["drafts"] == [] and len(found["measured"]) == 8
    monkeypatch.setattr(session.machine, "free_bytes", lambda device: 1 << 20)
    with pytest.raises(UserError, match="transformers: its 2 models do not fit into memory"):
        measure(models, setting)


def test_prompts_are_stretches_of_texts() -> None:
    tokenizer = byte_tokenizer()
    ids = [token for text in TEXTS for token in tokenizer(text).input_ids]
    assert prompts(tokenizer, TEXTS, 2, 10) == [ids[:10], ids[10:20]]
    many = prompts(tokenizer, ["ab"], 3, 4)
    assert [len(one) for one in many] == [4, 4, 4] and len({*many[0]}) <= 2
    with pytest.raises(UserError, match="no token"):
        prompts(tokenizer, [""], 1, 4)
