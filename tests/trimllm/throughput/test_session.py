"""Fresh processes in turn: what comes back, and what is told when something goes wrong."""

from __future__ import annotations

import os
import signal
import statistics

import pytest

from trimllm.base.errors import UserError
from trimllm.base.precision import has_bfloat16
from trimllm.throughput import machine, session
from trimllm.throughput.build import faster_kernel
from trimllm.throughput.result import Protocol, Run, figures, predicted
from trimllm.throughput.session import Process, measure
from trimllm.throughput.subject import Subject, shape_subject

PROTOCOL = Protocol(tokens=20, generate=4, repeats=3, prefills=2)
FULL = Subject(shape="llama-tiny")
HALF = shape_subject("llama-tiny", 0.5, 50)


@pytest.fixture(scope="module")
def found() -> dict:
    return measure(HALF, FULL, PROTOCOL)


def test_both_were_timed_in_turn(found: dict) -> None:
    assert found["interleaved"] and len(found["speedup"]["samples"]) == 3
    own, other = found["decode_tokens_per_second"], found["baseline"]["decode_tokens_per_second"]
    ratios = [a / b for a, b in zip(own["samples"], other["samples"], strict=True)]
    assert found["speedup"]["samples"] == pytest.approx(ratios)
    assert len(found["prefill_tokens_per_second"]["samples"]) == 2
    assert (found["units_kept"], found["units_total"], found["baseline"]["units_kept"]) == (4, 8, 8)


def test_achieved_bytes_follow_from_what_is_recorded(found: dict) -> None:
    for one in (found, found["baseline"]):
        sizes = one["bytes"]
        assert sizes["total"] == sizes["units"] + sizes["embeddings"] + sizes["head"]
        # 16 prompt tokens and, on the mean, 2.5 generated ones
        read = sizes["units"] + sizes["head"] + 18.5 * one["kv_bytes_per_token"]
        assert one["read_bytes_per_token"] == pytest.approx(read)
        rate = one["decode_tokens_per_second"]["median"]
        assert one["achieved_bytes_per_second"] == pytest.approx(read * rate)
        share = one["achieved_bytes_per_second"] / found["copy_bytes_per_second"]
        assert one["share_of_copy"] == pytest.approx(share)
    achieved = [one["achieved_bytes_per_second"] for one in (found, found["baseline"])]
    assert found["bandwidth_ratio"] == pytest.approx(achieved[0] / achieved[1])
    assert found["bytes"]["units"] * 2 == found["baseline"]["bytes"]["units"]


def test_each_decodes_with_the_kernel_that_its_own_decoding_is_fastest_with(found: dict) -> None:
    for one in (found, found["baseline"]):
        assert one["linear_kernel_seconds"].keys() == {"onednn", "native"}
        assert one["linear_kernel"] == faster_kernel(one["linear_kernel_seconds"])


@pytest.mark.parametrize("together", [True, False])
def test_nobody_decodes_with_the_kernel_of_another(
    monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    asked: list[tuple[str, ...]] = []
    ask = Process.ask
    chosen = {"full": "native", "trimmed": "onednn"}

    def spy(process: Process, *command: str) -> object:
        name = process.subject.units and "trimmed" or "full"
        asked.append((name, *command))
        if command == ("choose_kernel",):
            return {"linear_kernel": chosen[name], "linear_kernel_seconds": {}}
        return ask(process, *command)

    monkeypatch.setattr(Process, "ask", spy)
    monkeypatch.setattr(session, "fits_together", lambda subjects: together)
    found = measure(HALF, FULL, PROTOCOL)
    assert (found["linear_kernel"], found["baseline"]["linear_kernel"]) == ("onednn", "native")
    decoded = [(name, kernel) for name, command, *rest in asked for kernel in rest]
    assert set(decoded) == set(chosen.items())
    # one round of warming up; in each other the products are timed alone, too
    assert len(decoded) == 2 * (1 + 2 * PROTOCOL.repeats)


def test_a_copy_stands_beside_every_round(found: dict) -> None:
    assert len(found["copy_samples"]) == PROTOCOL.repeats
    assert found["copy_bytes_per_second"] == statistics.median(found["copy_samples"])
    assert len(found["matrix_samples"]) == PROTOCOL.prefills
    assert found["matrix_operations_per_second"] == statistics.median(found["matrix_samples"])


def test_a_prompt_has_its_share_of_the_rate_of_products(found: dict) -> None:
    for one in (found, found["baseline"]):
        seconds = PROTOCOL.prompt / one["prefill_tokens_per_second"]["median"]
        achieved = one["prefill_operations"] / seconds
        assert one["achieved_operations_per_second"] == pytest.approx(achieved)
        share = achieved / found["matrix_operations_per_second"]
        assert one["share_of_matrix"] == pytest.approx(share) and share > 0
        # An emulated type has no rate that is known to be the best.
        assert share < 1 or not has_bfloat16()


@pytest.mark.parametrize("kept", [4, 2])
def test_the_speedup_by_linear_layers_alone_has_the_rest_of_the_units_that_are_left(
    kept: int,
) -> None:
    facts = {
        "kv_bytes_per_token": 0,
        "prefill_operations": 1,
        "bytes": {"units": 1, "embeddings": 1, "head": 1},
        "units_total": 4,
    }
    full, own = (
        Run(facts | {"units_kept": units}, [4 * step] * 2, [1.0], [products] * 2)  # 4 tokens
        for step, products, units in ((1.0, 0.75, 4), (0.5, 0.125, kept))
    )
    told = figures(PROTOCOL, None, own, full)
    # A quarter of the full model's time lies between its layers; of half of the units, an eighth.
    assert told["predicted_by_layers"] == pytest.approx(1 / (0.25 * kept / 4 + 0.125))
    assert told["products_share"]["median"] == pytest.approx(0.25)
    assert told["baseline"]["products_share"]["median"] == pytest.approx(0.75)
    assert "predicted_by_layers" not in told["baseline"]


def test_predictions_follow_from_what_is_recorded(found: dict) -> None:
    full = found["baseline"]
    bytes_ratio = full["read_bytes_per_token"] / found["read_bytes_per_token"]
    operations_ratio = full["prefill_operations"] / found["prefill_operations"]
    assert found["predicted_speedup"] == pytest.approx(bytes_ratio)
    assert found["predicted_prefill_speedup"] == pytest.approx(operations_ratio)
    assert 1 < operations_ratio < 2 and 1 < bytes_ratio < 2  # the head is not halved
    for name in ("speedup", "prefill_speedup"):
        share = found[name]["median"] / found[f"predicted_{name}"]
        assert found[f"share_of_predicted_{name}"] == pytest.approx(share)


def test_what_is_not_recorded_is_not_predicted(found: dict) -> None:
    older = {key: value for key, value in found.items() if key != "prefill_operations"}
    named = {"predicted_speedup", "share_of_predicted_speedup", "predicted_by_layers"}
    assert predicted(older).keys() == named
    assert predicted(found["baseline"]) == {}


def test_without_a_baseline_there_is_one_process() -> None:
    alone = measure(FULL, None, PROTOCOL)
    assert "baseline" not in alone and "speedup" not in alone and not alone["interleaved"]
    assert alone["peak_memory_bytes"] > alone["bytes"]["total"]


def test_models_that_do_not_fit_together_run_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "PROCESS_BYTES", 1 << 30)
    monkeypatch.setattr(machine, "free_bytes", lambda device: 3 << 29)
    assert measure(HALF, FULL, PROTOCOL)["interleaved"] is False
    monkeypatch.setattr(machine, "free_bytes", lambda device: 1 << 29)
    with pytest.raises(UserError, match=r"llama-tiny needs about 1.0 GiB of memory, 0.5 GiB are"):
        measure(HALF, FULL, PROTOCOL)


def test_a_mistake_in_the_process_is_one_line(tmp_path: object) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="family 'gpt2' has no adapter"):
        measure(Subject(checkpoint=str(tmp_path)), None, PROTOCOL)


def test_a_process_that_is_killed_is_told() -> None:
    with Process.of(FULL, PROTOCOL) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match=r"ended with -9: it was killed, most likely"):
            process.answer()


def test_a_process_ends_with_the_block() -> None:
    with Process.of(FULL, PROTOCOL) as process:
        pass
    assert process.poll() is not None


@pytest.mark.parametrize("changes", [{"generate": 20}, {"repeats": 0}, {"prefills": 0}])
def test_a_protocol_that_times_nothing(changes: dict[str, int]) -> None:
    with pytest.raises(UserError, match="must be at least 1"):
        Protocol(**{**vars(PROTOCOL), **changes}).check()


def test_a_compiled_pair_that_fails_is_told_beside_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = session._timed

    def without_compiler(subjects: list[Subject], *rest: object) -> object:
        if subjects[0].mode == "compiled":
            raise RuntimeError("no compiler")
        return started(subjects, *rest)

    monkeypatch.setattr(session, "_timed", without_compiler)
    found = measure(FULL, None, PROTOCOL, also_compiled=True)
    assert found["compiled"] == {"error": "no compiler"} and found["random_weights"]
