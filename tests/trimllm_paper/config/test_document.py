"""config/README.md is generated from the models, and every key has a meaning."""

from trimllm_paper.config import document


def test_the_committed_page_is_current_and_every_key_has_a_meaning() -> None:
    page = document.readme()
    remedy = "run python -m trimllm_paper.config.document"
    assert document.README.read_text() == page, remedy
    rows = [line for line in page.splitlines() if line.startswith("| `") and ".yaml" not in line]
    assert len(rows) > 150 and not [row for row in rows if row.endswith(("|  |", "| None |"))]
