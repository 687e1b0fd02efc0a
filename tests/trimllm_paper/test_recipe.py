"""Recipes and paths: what is written is read again, and nobody else needs to know how."""

import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.errors import UserError
from trimllm_paper.config.models import RecipeEntry
from trimllm_paper.recipe import ANY, DENSE, Paths, Place, Recipe, place_of, variant_name

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,9}(\.[0-9]{1,3})?", fullmatch=True)
COMPRESSORS = st.none() | st.sampled_from(["awq_int4", "gptq_int4", "sparsegpt_2_4"])
RECIPES = st.one_of(
    st.builds(Recipe, st.sampled_from(["pretrained", "full_ft", "sparse_ft", "full"])),
    st.builds(Recipe.trimmed, NAMES, st.integers(0, 63), st.just(64)),
    st.builds(Recipe.shape, st.sampled_from([50, 40, 12.5])),
)


@given(RECIPES, COMPRESSORS)
def test_a_recipe_is_its_text(recipe: Recipe, compressor: str | None) -> None:
    made = recipe.compressed(compressor)
    assert Recipe.parse(str(made)) == made and made.compressed(None) == recipe
    assert re.fullmatch(ANY, str(made)) and re.fullmatch(DENSE, str(recipe))


@given(RECIPES, COMPRESSORS)
def test_a_path_says_what_it_was_made_of(recipe: Recipe, compressor: str | None) -> None:
    recipe, paths = recipe.compressed(compressor), Paths("some/results")
    facts = {"model": "m", "domain": "d", "task": "t", "hardware": "h", "engine": "e"}
    facts |= {"recipe": recipe, "format": "gguf_q8_0"}
    kinds = ("evaluation", "scan", "throughput", "engines", "export", "training", "compression")
    for kind in (*kinds, "epoch", "manifest", "teacher", "answers"):
        of_kind = {name: facts[name] for name in vars(Paths)[kind].names if name in facts}
        place = place_of(getattr(paths, kind)(**of_kind))
        if kind == "epoch" and recipe.drop is not None:
            of_kind["recipe"] = recipe.state
        if str(recipe) == "pretrained" and "/models/" in getattr(paths, kind)(**of_kind):
            of_kind["domain"] = "base"
        assert place == Place(kind, "some/results", **of_kind)
    assert place_of(paths.choice("m")) == Place("choice", "some/results", "m")


@pytest.mark.parametrize(
    "text", ["", "trim", "trim_x", "trim_x/drop_", "full_ft+", "Full", "trim_x/drop_1", "a/b"]
)
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no recipe"):
        Recipe.parse(text)


def test_two_ways_to_train_never_meet_in_one_path() -> None:
    recipes = {
        "paper": RecipeEntry(criterion="both"),
        "wide": RecipeEntry(criterion="both", ratio=1),
        "ours": RecipeEntry(criterion="likelihood", start="full_ft"),
    }
    name = partial(variant_name, recipes, recipes["paper"])
    assert name("both", 0.25) == "paper" and name("both", 1.0) == "wide"
    assert name("both", 0.5) == "both_r0.5"
    # Another way to train is no variant of the paper's, whatever its criterion and ratio.
    assert name("likelihood", 0.25) == "likelihood_r0.25"
    assert variant_name(recipes, recipes["ours"], "likelihood", 0.25) == "ours"
