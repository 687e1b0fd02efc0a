"""Results that show themselves; how they look is told elsewhere."""

from __future__ import annotations

from trimllm.base.rooms import named


class Shown:
    """Base of what prints as one line and shows itself as HTML in a notebook.

    `trimllm.show`, which knows how, is named by a text and not imported: a look is no part of what
    was computed, and whoever hashes the code behind a result should not find it there.
    """

    def __repr__(self) -> str:
        return named("trimllm.show:line")(self)

    def _repr_html_(self) -> str:
        return named("trimllm.show:html")(self)
