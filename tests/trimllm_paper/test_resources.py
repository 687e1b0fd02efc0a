"""What rules reserve, and what is refused before a job starts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from configurations import configuration, with_compute
from drivers import card, nvidia_smi

from trimllm_paper import demand, duration, resources
from trimllm_paper.config import MISSING, Config
from trimllm_paper.resources import Needs

MODEL = "smollm2-135m"
TOLD = {"model": MODEL, "domain": "sciq"}


@pytest.fixture
def default() -> Config:
    return with_compute(configuration("config"), device="cpu")


@pytest.fixture
def paper() -> Config:
    return configuration("paper")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Give this machine so many MiB of memory, and GPUs of so many GiB."""

    def given(mib: int = 1 << 20, gpus: tuple[float, ...] = (), *, present: int | None = None):
        monkeypatch.setattr(resources, "memory_bytes", lambda: mib << 20)
        monkeypatch.setattr(resources, "gpu_memory_gib", lambda: list(gpus))
        count = len(gpus) if present is None else present
        monkeypatch.setattr("trimllm_paper.gpus.gpus_present", lambda: count)
        monkeypatch.setattr(resources.driver, "unusable", lambda: None)

    return given


@pytest.mark.parametrize(
    "rule, task",
    [
        ("trim_epoch", "trim"),
        ("settle_kept", "settle"),
        ("teach", "teach"),
        ("evaluate_sciq", "evaluate"),
        ("drop_at_once", "sparse_ft"),
        ("fetch_model", "fetch"),
        ("prepare_sciq", None),
        ("table2", None),
        ("export", "evaluate"),
        ("exports", None),  # a target: it has no model
    ],
)
def test_tasks_of_rules(rule: str, task: str | None) -> None:
    assert resources.task_of(rule) == task


def test_pending_targets_are_not_refused(default: Config, machine) -> None:
    machine()
    assert resources.refusal([("exports", {}), ("evaluations", {})], default, here=True) is None


def test_the_ratio_of_a_chain_is_that_of_its_name(default: Config) -> None:
    of = Needs(default).of
    for name, ratio in {"paper": 0.25, "both_r0.5": 0.5, "likelihood_r1": 1}.items():
        assert of("trim", MODEL, name).entry.ratio == ratio
    for name in (None, "random", "nothing"):  # the main chain's
        assert of("sparse_ft", MODEL, name).entry == default.main


def test_what_jobs_of_one_kind_take_is_worked_out_once(
    paper: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        demand, "memory", lambda *how, real=demand.memory: asked.append(how[0]) or real(*how)
    )
    needs = Needs(with_compute(paper, processes=4))
    for drop, domain in itertools.product(range(40), paper.domains):
        told = {"model": "llama-7b", "name": "paper", "domain": domain, "drop": f"{drop:02d}"}
        needs.mem_mb("trim", told)
        needs.runtime("trim", told)
    before = len(asked)
    assert 0 < before < 10
    needs.mem_mb("trim", told | {"name": "both_r1"})
    assert len(asked) > before


def test_rules_reserve_what_is_expected_and_more_at_every_attempt(default: Config) -> None:
    need = demand.memory("trim", default.models[MODEL], default).host_mib
    assert Needs(default).mem_mb("trim", TOLD | {"name": "paper"}) == need
    assert Needs(default).mem_mb("trim", TOLD | {"name": "both_r1"}) > need
    assert Needs(default).mem_mb("trim", TOLD, 3) == 2 * need
    minutes = [Needs(default).runtime("trim", TOLD, attempt) for attempt in (1, 2, 3)]
    assert minutes == sorted(minutes) and minutes[0] > resources.SLOW_START
    expected = duration.seconds("trim", default.models[MODEL], default) / 60
    assert expected < minutes[0] < resources.SLOW_START + 1 + 5 * expected


def test_a_time_limit_follows_what_was_counted(paper: Config, tmp_path: Path) -> None:
    told = {"model": "llama-7b", "domain": "sciq", "name": "paper"}
    config = paper.model_copy(update={"results": str(tmp_path)})
    expected = Needs(config).runtime("trim", told)
    report = tmp_path / "data/sciq/report.json"
    report.parent.mkdir(parents=True)
    splits = {"train": {"documents": 100}}
    report.write_text(json.dumps({"domain": "SciQ", "files": {}, "splits": splits}))
    assert Needs(config).runtime("trim", told) < expected
    # Of a domain that nobody has counted or described a job may have to train on very many.
    bare = SimpleNamespace(expected=None, tests={"a": 1})
    unknown = SimpleNamespace(
        **{name: getattr(config, name) for name in ("models", "main", "recipes", "compute")},
        **{name: getattr(config, name) for name in ("finetune", "trim", "evaluate", "tables")},
        results="nowhere",
        tested={"own": bare},
    )
    assert Needs(unknown).runtime("trim", told | {"domain": "own"}) > expected


def test_time_follows_the_model(paper: Config) -> None:
    paper = with_compute(paper, longest_minutes=None)
    for task in demand.TASKS:
        small, large = (
            Needs(paper).runtime(task, {"model": name}) for name in ("llama-7b", "llama-13b")
        )
        assert small < large
    # 26 GB at 10 MB/s.
    assert Needs(paper).runtime("fetch", {"model": "llama-13b"}) > 43


def test_measurements_reserve_what_there_is(default: Config, machine) -> None:
    told = {"model": "random-llama-1b"}
    both = Needs(default).mem_mb("measure", told)
    assert both > 2 * 2 * 1_000_000_000 >> 20
    machine(both - 1)
    assert Needs(default).mem_mb("measure", told) == both - 1
    assert Needs(default).runtime("measure", told) > resources.SLOW_START


def test_too_little_memory(default: Config, machine) -> None:
    jobs = [("full_ft", TOLD), ("prepare_sciq", {})]
    machine(100_000)
    assert resources.refusal(jobs, default, here=True) is None
    machine(1700)
    key, value, problem = resources.refusal(jobs, default, here=True)
    assert (key, value) == (["models", MODEL, "parameters"], 134515008)
    assert "full_ft" in problem and "1,700 MiB" in problem
    assert resources.refusal(jobs, default, here=False) is None
    timed = [("measure", {"model": "random-llama-1b"})]
    key, value, problem = resources.refusal(timed, default, here=True)
    assert (key, value) == (["throughput", "shapes"], ["llama-1b"]) and "random-llama-1b" in problem
    machine(4000)  # one after the other
    assert resources.refusal(timed, default, here=True) is None


def test_the_papers_configuration_runs_on_the_gpus_that_it_asks_for(paper: Config, machine) -> None:
    """Four of 80 GB; not two, not of 40, and not none."""
    rules = (
        "fetch_model",
        "scan",
        "full_ft",
        "sparse_ft",
        "trim_epoch",
        "settle",
        "compress",
        "evaluate_x",
    )
    jobs = [(rule, {"model": name, "domain": "sciq"}) for name in paper.models for rule in rules]

    def refused(*gpus: float, **more: int) -> tuple | None:
        machine(gpus=gpus, **more)
        return resources.refusal(jobs, paper, here=True)

    assert refused(*[79.6] * 4) is None
    key, value, problem = refused(*[79.6] * 2)
    assert (key, value) == (["compute", "processes"], None) and "2 GPUs" in problem
    assert "full_ft of llama-13b is shared by 4" in problem
    key, _, problem = refused(79.6, 79.6, 79.6, 39.4)
    assert key == ["compute", "processes"] and "GiB" in problem and "39" in problem
    key, value, problem = refused()
    assert (key, value) == (["compute", "device"], "cuda") and "no GPU" in problem
    assert refused(present=4) is None  # there are some, and nothing tells their size
    jobs = [("fetch_model", {"model": "llama-7b"})]
    assert refused() is None


def test_what_int4_kernels_lack_is_told_before_anything_is_trained(
    paper: Config, machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(gpus=(80.0,) * 4)
    monkeypatch.setattr(resources.kernels, "four_bit_lacks", lambda device: "a C compiler")
    told = {"model": "llama-7b", "domain": "sciq"}
    for rule, more in (
        ("compress", {"dense": "full_ft", "compressor": "awq_int4"}),
        ("evaluate_sciq", {"recipe": "full_ft+gptq_int4"}),
        ("measure", {"model": "random-llama-7b", "recipe": "full+awq_int4"}),
    ):
        key, _, problem = resources.refusal([(rule, told | more)], paper, here=True)
        assert key == ["compress", "methods"] and "int4 needs a C compiler on a GPU" in problem
    others = {"dense": "full_ft", "compressor": "llm_int8"}
    assert resources.refusal([("compress", told | others)], paper, here=True) is None
    cpu = with_compute(paper, device="cpu")
    found = resources.refusal([("compress", told | {"compressor": "awq_int4"})], cpu, here=True)
    assert found is None or found[0] != ["compress", "methods"]


def test_no_job_is_planned_over_the_longest_that_a_cluster_allows(paper: Config) -> None:
    """Every training of the paper's configuration in a day; one that takes longer is refused."""
    rules = ("scan", "full_ft", "sparse_ft", "trim_epoch", "compress", "evaluate_x")
    every = [
        (rule, {"model": name, "domain": domain, "name": chain})
        for rule, name, domain, chain in itertools.product(
            rules, paper.models, paper.domains, ("paper", "both_r1")
        )
    ]
    assert resources.refusal(every, paper, here=False) is None
    for rule, told in every:
        for attempt in (1, 3):
            task = resources.task_of(rule)
            assert Needs(paper).runtime(task, told, attempt) <= 1440
    short = with_compute(paper, longest_minutes=60)
    key, value, problem = resources.refusal(every, short, here=False)
    assert (key, value) == (["compute", "longest_minutes"], 60)
    assert "is expected to take" in problem and "llama-7b" in problem
    easy = [("scan", {"model": "opt-1.3b", "domain": "sciq"})]
    assert resources.refusal(easy, short, here=False) is None


def test_a_cluster_whose_gpus_are_too_small(paper: Config) -> None:
    """13B does not fit on four cards of 40 GB, nor on one of 80; who submits has none to ask."""
    jobs = [("full_ft", {"model": "llama-13b", "domain": "sciq"})]
    assert resources.refusal(jobs, paper, here=False) is None
    for compute in ({"gpu": "A100-SXM4-40GB", "processes": 4}, {"processes": 1}):
        key, _, problem = resources.refusal(jobs, with_compute(paper, **compute), here=False)
        assert key == ["compute", "processes"] and "full_ft of LLaMA-13B takes about" in problem
        assert f"those of {compute.get('gpu', 'A100-SXM4-80GB')} have" in problem
    untold = with_compute(paper, gpu=None, processes=1)
    assert resources.refusal(jobs, untold, here=False) is None


def test_machines_of_a_cluster_that_measure_are_named(default: Config) -> None:
    jobs = [("measure", {"model": MODEL})]
    key, value, problem = resources.refusal(jobs, default, here=False)
    assert (key, value) == (["throughput", "hardware"], MISSING) and "say what they are" in problem
    named = default.throughput.model_copy(update={"hardware": "a100", "threads": 8})
    config = default.model_copy(update={"throughput": named})
    assert resources.refusal(jobs, config, here=False) is None


def test_gpus_that_jobs_may_not_see_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ("81559 MiB", "40960 MiB", "[N/A]")
    nvidia_smi(tmp_path, *(card("NVIDIA A100", **{"memory.total": size}) for size in sizes))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asked = resources.gpus.here.__wrapped__  # anew, whatever was told before
    monkeypatch.setattr(resources.gpus, "here", asked)
    assert resources.gpu_memory_gib() == [pytest.approx(79.6, abs=0.1), 40]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert resources.gpu_memory_gib() == [40]
    nvidia_smi(tmp_path, failure="No devices were found")
    assert resources.gpu_memory_gib() == []


def test_a_driver_that_does_not_fit_is_told_where_jobs_run(
    paper: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a K80 and a driver of 2018 no build of torch makes use; on a cluster nobody has asked."""
    nvidia_smi(tmp_path, card("Tesla K80"), driver="390.157", cuda="CUDA Version: 9.1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    jobs = [("scan", {"model": "llama-7b", "domain": "sciq"})]
    key, value, problem = resources.refusal(jobs, paper, here=True)
    assert (key, value) == (["compute", "device"], "cuda")
    assert problem.startswith("torch ") and "390.157" in problem and "install" in problem
    found = resources.refusal(jobs, with_compute(paper, device="cpu"), here=True)
    assert found is None or "390.157" not in found[2]
    assert resources.refusal(jobs, paper, here=False) is None
    assert resources.refusal([("prepare_sciq", {})], paper, here=True) is None
