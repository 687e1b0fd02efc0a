"""Shapes in the pipeline: recipes of shapes, patterns of kept chains, other machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from configurations import configuration

from trimllm.base.errors import UserError
from trimllm.throughput.shapes import Chain, kept_units
from trimllm_paper import shapes
from trimllm_paper.recipe import Recipe

PATTERNS = {"half": 0.5}
KEPT = Path(__file__).parents[2] / "results/reference/models/smollm2-135m/piqa/trim_paper"


def subject(recipe: str, **how: object) -> object:
    return shapes.subject_of("llama-1b", Recipe.parse(recipe), PATTERNS, **how)


def test_recipes_of_shapes() -> None:
    found = subject("trim_half/keep_40+awq_int4", threads=2)
    assert (len(found.units), found.compressor, found.threads) == (18, "awq_int4", 2)
    assert subject("full").units is None
    for wrong in ("trim_other/keep_50", "full_ft", "trim_half/drop_10"):
        with pytest.raises(UserError, match=r"no recipe of a shape \(patterns: half\)"):
            subject(wrong)


def test_the_kept_chain_is_a_pattern() -> None:
    chain = shapes.pattern_units(KEPT)
    assert isinstance(chain, Chain) and chain.blocks == 30
    assert len(kept_units(22, 50, chain)) == 22


def test_a_folder_without_a_chain(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no chain"):
        shapes.pattern_units(tmp_path)


def test_another_machine_is_refused() -> None:
    with pytest.raises(UserError, match="this machine is cpu-.*, not a100: measure there"):
        shapes.check_machine("a100", "cpu")
    shapes.check_machine(shapes.machine.this_machine("cpu"), "cpu")


def test_a_shape_without_its_kernel_is_refused_before_it_is_timed() -> None:
    section = configuration("smoke").throughput
    job = {"model": "random-llama-1b", "recipe": "full+awq_int4", "hardware": "here"}
    shapes.refuse_untimed([("measure", job)], section)
    wide = section.model_copy(update={"group_size": 96})
    with pytest.raises(UserError, match="group size 96 does not divide llama-1b's hidden_size"):
        shapes.refuse_untimed([("measure", job)], wide)
    with pytest.raises(UserError, match="cannot be timed on random weights"):
        shapes.refuse_untimed([("measure", job | {"recipe": "full+llm_pruner"})], section)
    # Only what is about to be measured counts.
    shapes.refuse_untimed([("scan", job)], wide)
