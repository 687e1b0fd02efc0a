"""What is wanted, in words."""

from __future__ import annotations

import pytest

from trimllm.base.errors import UserError
from trimllm_paper.config.models import Own
from trimllm_paper.own.wishes import wanted


@pytest.mark.parametrize(
    "texts, found",
    [
        ([], {}),
        (["smallest above 95% of full fine-tuning"], {"above_percent": 95}),
        (["smallest above 95%, at most 200 MB"], {"above_percent": 95, "megabytes": 200}),
        (["at most 0.2 GB and at least 30 tokens/s"], {"megabytes": 200, "tokens_per_second": 30}),
        (["at least 97.5 %", "at least 30 tokens a second"], {"above_percent": 97.5}
         | {"tokens_per_second": 30}),
    ],
)  # fmt: skip
def test_words_become_keys(texts: list[str], found: dict[str, float]) -> None:
    assert wanted(texts) == found


@pytest.mark.parametrize(
    "text, told",
    [
        ("fast", "is no wish; say"),
        ("at most 200", "is no wish"),
        ("above 95%, above 90%", "second wish of its kind"),
        ("above 120%", "nothing to ask for"),
        ("at most 0 MB", "nothing to ask for"),
    ],
)
def test_what_is_no_wish_is_refused(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        wanted([text])


def test_nothing_said_is_95_percent() -> None:
    assert Own().wanted == {"above_percent": 95}
