"""What stands in for full fine-tuning has its own name wherever a measured number stands."""

from pathlib import Path
from typing import Any

import pytest
from paper_results import PaperResults
from result_files import (
    TINY,
    Evaluations,
    build,
    column,
    context,
    plain_chain,
    rows,
    write_chain,
    write_training,
)

from trimllm_paper import claims
from trimllm_paper.claims import checks
from trimllm_paper.claims.evidence import Evidence
from trimllm_paper.figures import drawings
from trimllm_paper.frames import Frame
from trimllm_paper.render import Rendered, to_csv, to_latex, to_markdown
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED

OWN = [TINY | {"label": "LLaMA-7B", "published": "llama-7b"}]

HALF = "trim_paper/drop_04"
"""Of the eight units of `plain_chain`."""


def table2(evaluations: Evaluations, **changes: Any) -> Rendered:
    evaluations.add_domain("sciq")
    return build("table2", evaluations.paths, domains=[column("sciq")], **changes)


def test_rows_reasons_and_notes_name_it_and_the_papers_lines_do_not(
    evaluations: Evaluations, tmp_path: Path
) -> None:
    passes = [write_training(tmp_path, r, 1.0, kept_pass=1) for r in ("full_ft", HALF)]
    chain = write_chain(tmp_path, plain_chain())
    found = table2(evaluations, lora=True, trainings=passes, epochs=chain)
    labels = rows(found)
    assert labels["full_ft"] == "LoRA-FT" and "Full-FT" not in labels.values()
    assert rows(found, "llama-13b")["full_ft"] == "Full-FT"
    assert "keeps 93% of LoRA-FT, paper 99%" in found.cell("tiny", "trimllm_50", "sciq").why
    (note,) = (line for line in found.header if "LoRA-FT" in line)
    assert note.startswith("Stand-in for full fine-tuning: LoRA-FT, adapters beside frozen")
    for form in (to_csv, to_markdown, to_latex):
        assert "LoRA-FT" in form(found)
    # The other name stands where the paper's own numbers do.
    own = [text for text in found.notes if not text.startswith("In the paper itself: ")]
    words = [*found.cells[found.cells.block == "tiny"].why, *own]
    assert len(words) > 50 and not [text for text in words if "Full-FT" in text]


def test_on_the_papers_own_model_no_verdict_is_one_on_full_fine_tuning(
    evaluations: Evaluations,
) -> None:
    def verdicts(**changes: Any) -> set[str | None]:
        cells = table2(evaluations, models=OWN, **changes).cells
        return {*cells[cells.block == "tiny"].verdict}

    own = {REPRODUCED, NOT_REPRODUCED}
    assert own & verdicts()
    evaluations.paths.clear()
    assert not own & verdicts(lora=True)


def test_its_time_is_compared_with_nothing(tmp_path: Path) -> None:
    trainings = [write_training(tmp_path, name, 600.0) for name in ("full_ft", "sparse_ft")]
    found = build(
        "table9", trainings=trainings, epochs=write_chain(tmp_path, plain_chain()), lora=True
    )
    names = [one.label for one in found.columns if one.of == "share"]
    assert names == ["of LoRA-FT"] * 3
    assert {*found.cells.verdict} == {None, NOT_RUN}
    cell = found.cell("tiny", "sparse_ft", "share_2")
    assert cell.value == pytest.approx(100) and "no full fine-tuning" in cell.why


def test_claims_are_judged_on_a_stand_in(tmp_path: Path) -> None:
    results = PaperResults(tmp_path)
    for write in (results.table2, results.speed, results.table9):
        write()
    frame, plain = results.frame, results.context()
    lora = plain.model_copy(update={"lora": True})
    for name, on_plain, on_lora in (
        ("layers_dropped", REPRODUCED, "seen on the stand-in"),
        ("training_time", REPRODUCED, NOT_RUN),
        ("speedup_a100", REPRODUCED, REPRODUCED),  # of shapes, which are the paper's own
    ):
        for shown, expected in ((plain, on_plain), (lora, on_lora)):
            assert getattr(checks, name)(Evidence(frame, shown)).verdict == expected, name
    claims.write(frame, [lora], tmp_path / "claims")
    page = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert "adapters for full fine-tuning" in page and "LoRA-FT" in page


def test_costs_in_epochs_of_full_fine_tuning_need_it(tmp_path: Path) -> None:
    trainings = [write_training(tmp_path, one, 1.0) for one in ("full_ft", "sparse_ft")]
    frame = Frame.of((), write_chain(tmp_path, plain_chain()), trainings)
    for lora, measured in ((False, True), (True, False)):
        assert bool(drawings.costs_of(frame, context("sciq", lora=lora))) == measured
