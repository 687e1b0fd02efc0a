"""What tables show and what they need evaluated."""

from result_files import TINY, column, context

from trimllm_paper import specification
from trimllm_paper.tables import TABLES


def needed(table: str, **changes: object) -> list[tuple[str, str, str, str]]:
    return specification.needed(TABLES[table](context(**changes)), context(**changes))


def recipes(table: str, **changes: object) -> set[str]:
    return {recipe for _, _, recipe, _ in needed(table, **changes)}


def test_what_the_main_table_is_made_from() -> None:
    found = needed("table2")
    assert len(found) == len(set(found)) == 5 * (3 + 4 + 2 * 3)
    assert all(trained == tested for _, trained, _, tested in found)
    assert {recipe for _, _, recipe, _ in found} == {
        *("pretrained", "full_ft", "sparse_ft"),
        *(f"full_ft+{name}" for name in ("llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4")),
        *(f"trim_{name}/drop_{drop}" for name in ("paper", "ours") for drop in (30, 36, 42)),
    }
    # What a configuration does not run is a row, but no work.
    changes = {"trim": {"kept_percent": [50]}, "compress": {"methods": ["gptq_int4"]}}
    few = recipes("table2", chains=["paper"], **changes)
    assert few == {"pretrained", "full_ft", "sparse_ft", "full_ft+gptq_int4", "trim_paper/drop_30"}


def test_criteria_and_ratios_need_every_checkpoint_of_their_chains() -> None:
    chain = [f"drop_{drop:02d}" for drop in range(0, 31, 6)]
    names = ["calibration_r0.25", "activation_norm_r0.25", "paper", "ours"]
    assert recipes("table3") == {
        *("pretrained", "full_ft", "sparse_ft"),
        *(f"trim_{name}/{drop}" for name in names for drop in chain),
        *(f"trim_{rule}/drop_30" for rule in ("random", "top", "bottom")),
    }
    few = {"tables": {"criteria": ["both", "likelihood"], "rules": ["top"]}}
    assert recipes("table3", **few) == {
        *("pretrained", "full_ft", "sparse_ft", "trim_top/drop_30"),
        *(f"trim_{name}/{drop}" for name in ("paper", "ours") for drop in chain),
    }
    found = recipes("table6", tables={"criteria": ["both"], "ratios": [0.5, 0.25]})
    names = ("both_r0.5", "paper")
    assert found == {"pretrained", "full_ft", *(f"trim_{n}/{s}" for n in names for s in chain)}
    odd = recipes("table3", models=[TINY | {"units": 62}])  # 31 blocks have no half
    assert not [recipe for recipe in odd if "random" in recipe]


def test_specialized_models_are_tested_on_other_domains() -> None:
    found = needed("table5", chains=["paper"])
    assert len(found) == 5 + 5 * 5 + 5  # Full-FT on its own domain alone
    assert ("tiny", "sciq", "full_ft", "sciq") in found
    assert ("tiny", "sciq", "full_ft", "piqa") not in found
    assert ("tiny", "sciq", "trim_paper/drop_36", "piqa") in found
    near = {"tables": {"near": {"medmcqa": "pubmedqa"}}, "tested": [column("pubmedqa")]}
    found = needed("table4", chains=["paper"], **near)
    assert sorted(found) == [
        ("tiny", "medmcqa", "full_ft", "medmcqa"),
        ("tiny", "medmcqa", "pretrained", "medmcqa"),
        ("tiny", "medmcqa", "trim_paper/drop_36", "medmcqa"),
        ("tiny", "medmcqa", "trim_paper/drop_36", "pubmedqa"),
        ("tiny", "pubmedqa", "pretrained", "pubmedqa"),
    ]
    assert needed("table4") == []
    assert "trim_paper/drop_42" in recipes("table5", trim={"kept_percent": [50, 30]})


def test_what_is_timed() -> None:
    found = specification.needed_timings(context())
    assert len(found) == len(set(found))
    assert {recipe for name, recipe in found if name == "tiny"} == {
        "full_ft",
        *(f"full_ft+{name}" for name in ("sparsegpt_2_4", "llm_int8", "awq_int4")),
        *(f"trim_{name}/drop_{drop}" for name in ("paper", "ours") for drop in (30, 36, 42)),
        *("trim_paper/drop_30+sparsegpt_2_4", "trim_paper/drop_30+awq_int4"),
    }
    full = [f"full+{name}" for name in ("sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4")]
    assert {recipe for name, recipe in found if name == "random-llama-1b"} == {
        *("full", *full),
        *(f"trim_half/keep_{kept}" for kept in (50, 40)),
        *("trim_half/keep_50+sparsegpt_2_4", "trim_half/keep_50+awq_int4"),
    }
    shapes = context(throughput={"shapes": ["llama-1b"], "checkpoints": False})
    assert {name for name, _ in specification.needed_timings(shapes)} == {"random-llama-1b"}
