"""What figures and claims show in tests: a small model with two recipes."""

from __future__ import annotations

from evaluation_files import CHAINS

from trimllm_paper.context import Context, Domain, Model, Shown


def context(
    *domains: str, published: str | None = None, stand_in: dict[str, str] | None = None
) -> Context:
    """The model `tiny`, its domains (one task each), and the chains of the tests."""
    labels = {"sciq": "SciQ", "notinpaper": "Mine"}
    columns = [
        Domain(
            name=name,
            label=labels.get(name, name),
            tasks=(name,),
            stand_in=(stand_in or {}).get(name),
        )
        for name in domains
    ]
    model = Model(name="tiny", label="Tiny", published=published)
    recipes = {name: Shown(name=name, **keys) for name, keys in CHAINS.items()}
    return Context(models=[model], domains=columns, recipes=recipes, chains=list(CHAINS))
