"""What is wanted of a model, in the words of who wants it.

"smallest above 95%", "at most 200 MB", "at least 30 tokens/s": one of these or several.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trimllm.base.errors import UserError

_NUMBER = r"(?P<number>[0-9]+(?:[.,][0-9]+)?)"
FORMS = {
    "above_percent": rf"(?:the )?(?:smallest )?(?:above|at least|over) {_NUMBER} ?(?:%|percent)"
    r"(?: of (?:full|full[ _-]fine-?tuning|full_ft))?",
    "megabytes": rf"(?:at most|below|under|up to) {_NUMBER} ?(?P<unit>MB|GB|megabytes?|gigabytes?)",
    "tokens_per_second": rf"(?:at least|above|over) {_NUMBER} ?"
    r"(?:tokens?|tok)(?: ?/ ?s(?:ec(?:ond)?)?| (?:a|per) second)",
}
EXAMPLES = '"smallest above 95%", "at most 200 MB", "at least 30 tokens/s"'


def wanted(texts: Sequence[str]) -> dict[str, float]:
    """Keys of the section `own` of the configuration, by texts that hold one wish or several.

    Raises `UserError` for words that are none, and for two wishes of one kind.
    """
    wishes: dict[str, float] = {}
    for part in (part for text in texts for part in re.split(r"[,;] +|,$| and ", text)):
        text = " ".join(part.split())
        fits = ((key, re.fullmatch(form, text, re.I)) for key, form in FORMS.items())
        key, match = next(((key, match) for key, match in fits if match), ("", None))
        if match is None:
            raise UserError(f"{text!r} is no wish; say {EXAMPLES}, one of these or several")
        number = float(match["number"].replace(",", "."))
        if key == "megabytes" and match["unit"][0] in "gG":
            number *= 1000
        if key in wishes:
            raise UserError(f"{text!r} is the second wish of its kind ({key})")
        if not number or (key == "above_percent" and number > 100):
            raise UserError(f"{text!r}: {number:g} is nothing to ask for")
        wishes[key] = int(number) if number.is_integer() else number
    return wishes
