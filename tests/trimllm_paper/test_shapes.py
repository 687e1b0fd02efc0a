"""Shapes in the pipeline: recipes of shapes, kernels, other machines."""

import pytest

from trimllm.base.errors import UserError
from trimllm_paper import shapes
from trimllm_paper.recipe import Recipe


def subject(recipe: str, **options: object) -> object:
    return shapes.subject_of("llama-1b", Recipe.parse(recipe), **options)


def test_recipes_of_shapes() -> None:
    found = subject("trim_half/keep_40+awq_int4", threads=2)
    assert (len(found.units), found.compressor, found.threads) == (18, "awq_int4", 2)
    assert subject("full").units is None
    for wrong in ("trim_other/keep_50", "full_ft", "trim_half/drop_10", "full+llm_pruner"):
        with pytest.raises(
            UserError, match=r"no recipe of a shape \(full, trim_half/keep_PERCENT; "
        ):
            subject(wrong)


def test_another_machine_is_refused() -> None:
    with pytest.raises(UserError, match="this machine is cpu-.*, not a100: measure there"):
        shapes.check_machine("a100", "cpu")
    shapes.check_machine(shapes.machine.this_machine("cpu"), "cpu")
