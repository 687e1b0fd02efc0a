"""Numbers of a page without a source, or that their source does not hold, are named."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from configurations import ROOT

from trimllm.base.files import sha256_of
from trimllm_paper.__main__ import main
from trimllm_paper.integrity import pages

PAGES = ("README.md", "LIMITS.md", "docs/artifact.md", "docs/measured.md")
TABLE = """# A page

<!-- cells of kept.csv: model=tiny -->
| accuracy in % | PIQA | SciQ† |
|---|---|---|
| all units, 50% <!-- full_ft --> | 54.4 | 68.8 |
| half <!-- half --> | 50 | not run |
| chance <!-- chance --> | 50.0 | 14.3 |
"""
ROWS = [
    ("tiny", "full_ft", "piqa", "54.375", "50"),
    ("tiny", "full_ft", "sciq", "68.75", "14.2857"),
    ("tiny", "half", "piqa", "50.4", "50"),
    ("large", "full_ft", "piqa", "99", "50"),
]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with a table's CSV."""
    with (tmp_path / "kept.csv").open("w", newline="") as stream:
        names = ("model", "row", "column", "measured", "chance")
        csv.writer(stream).writerows([names, *ROWS])
    return tmp_path


def found(folder: Path, text: str) -> list[str]:
    (folder / "page.md").write_text(text)
    return pages.problems([folder / "page.md"], folder)


@pytest.mark.parametrize("name", PAGES)
def test_every_measured_number_of_the_projects_pages_has_its_source(name: str) -> None:
    """And those that were read off a file are still that file's."""
    assert pages.problems([ROOT / name], ROOT) == []


def test_the_projects_accuracy_tables_are_their_sources() -> None:
    whole = [one for name in PAGES for one in pages.blocks(ROOT / name)]
    tables = [one for one in whole if "accuracy in %" in "".join(one.lines[:2])]
    files = [pages.CELLS.search(one.lines[0])["file"] for one in tables]
    assert files[0] == "results/reference/tables/table2.csv" and len(files) == len(set(files))
    assert all(len(one.lines) > 10 for one in tables)


def test_a_table_that_is_its_files_has_no_problem(kept: Path) -> None:
    assert found(kept, TABLE) == []


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("54.4", "54.3", "line 6: 54.3 is 54.375 in "),
        ("68.8", "68.6", "line 6: 68.6 is 68.75 in "),
        (" <!-- full_ft -->", "", "line 6: 54.4 has no source: "),
        ("half <!-- half", "half <!-- third", "has no row 'third', 'piqa'"),
        ("not run", "33.3", "line 7: 33.3 has no source: "),
        ("SciQ", "LexGLUE", "'lexglue'"),
        ("54.4", "**54.3**", "line 6: 54.3 is 54.375 in "),
        ("54.4", "54.4 or so", "'54.4 or so' is no single number"),
        ("| 68.8 |", "| 68.8 | 99.9 |", "line 6: 99.9 has no source: "),
        ("kept.csv: model=tiny", "kept.csv", "line 3: a source is not of its form"),
        ("model=tiny", "model=small", "has no row 'full_ft', 'piqa'"),
        ("kept.csv", "gone.csv", "line 3: gone.csv, its source, does not exist"),
        ("<!-- cells of kept.csv: model=tiny -->\n", "", "line 5: '50%' has no source"),
    ],
)
def test_a_cell_that_is_not_its_files_is_named(kept: Path, old: str, new: str, said: str) -> None:
    problems = found(kept, TABLE.replace(old, new))
    assert problems and said in problems[0]


def test_what_was_read_off_a_file_that_is_another_one_now_is_named(kept: Path) -> None:
    begins = sha256_of(kept / "kept.csv")[:8]
    text = f"<!-- read off kept.csv@{begins} -->\nHalf of the units costs 4 points.\n"
    assert found(kept, text) == []
    with (kept / "kept.csv").open("a") as stream:
        stream.write("tiny,half,sciq,60,25\n")
    (problem,) = found(kept, text)
    assert f"({begins}); read it anew" in problem and "line 1" in problem


SENTENCE = """<!-- read off kept.csv@{hash}: model=tiny -->
Half of the units, of 60 <!-- = cell(full_ft) of piqa
sciq --> keeps 54.4 and 69%, <!-- = share(half, full_ft) of piqa --> 93% of it, which costs
at most <!-- = most difference(full_ft, half) of piqa --> 4 points, all <!-- = range above(full_ft)
of piqa sciq -->4.4 to 54.
"""


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("", "", None),
        ("54.4 and", "54.3 and", "line 2: 54.3, 69 should be 54.375, 68.75: cell(full_ft) of piqa"),
        ("69%", "68%", "line 2: 54.4, 68 should be 54.375, 68.75"),
        ("69%", "much", "line 2: 54.4, 93 should be"),
        ("93%", "92%", "line 3: 92 should be 92.6897: share(half, full_ft) of piqa in "),
        ("4 points", "-4 points", "line 4: -4 should be 3.975"),
        ("4.4 to 54", "54 to 4.4", "line 4: 54, 4.4 should be 4.375, 54.4643"),
        ("4.4 to 54", "4.4", "line 4: 4.4 should be"),
        ("(half, full_ft)", "(half)", "does not have '= share(half) of piqa'"),
        ("(half, full_ft) of piqa", "(half, full_ft) of sciq", "does not have '= share(half"),
        ("share", "__import__", "does not have '= __import__(half"),
        ("= share(half", "= share((half", "line 3: an expression is not of its form"),
        (": model=tiny", "", "line 2: an expression is not of its form, of no file"),
        (": model=tiny", ": model=huge", "does not have '= cell(full_ft)"),
        ("69%, <!--", "69%,\n<!--", "line 4: an expression is not of its form, of no file or beg"),
    ],
)
def test_numbers_of_a_sentence_follow_from_its_expressions(
    kept: Path, old: str, new: str, said: str | None
) -> None:
    text = SENTENCE.format(hash=sha256_of(kept / "kept.csv")[:8])
    problems = found(kept, text.replace(old, new) if old else text)
    assert problems == [] if said is None else problems and said in problems[0]


def test_an_expression_may_name_another_file(kept: Path) -> None:
    text = (
        "<!-- given: words -->\nIt is <!-- = cell(half) of piqa in kept.csv: model=tiny --> {}%.\n"
    )
    assert found(kept, text.format(50)) == [] and found(kept, text.format(51))
    assert "gone.csv does not have" in found(kept, text.format(50).replace("kept", "gone"))[0]


def test_an_expression_tells_what_seeds_do_over_columns(tmp_path: Path) -> None:
    """Pooled by their variances: of 3, 4 and 0 points that is the root of 25/3."""
    rows = [f"tiny,half,{column},50,{sd}" for column, sd in (("a", 3), ("b", 4), ("c", 0))]
    (tmp_path / "seeds.csv").write_text("\n".join(["model,row,column,measured,deviation", *rows]))
    text = (
        f"<!-- read off seeds.csv@{sha256_of(tmp_path / 'seeds.csv')[:8]}: model=tiny -->\n"
        "It moves <!-- = pooled deviation(half) of a b c --> by {} points.\n"
    )
    assert found(tmp_path, text.format(2.89)) == []
    assert "should be 2.88675" in found(tmp_path, text.format(3.54))[0]
    (tmp_path / "seeds.csv").write_text("model,row,column,measured,deviation\ntiny,half,a,50,")
    assert "does not have '= pooled deviation(half) of a b c'" in found(tmp_path, text)[-1]


def test_an_expression_tells_what_the_f1_of_words_does_not(tmp_path: Path) -> None:
    fields = "model,row,column,measured,exact_match,rouge_l,perplexity"
    (tmp_path / "free.csv").write_text(f"{fields}\ntiny,half,forum,0,21.4,17.3,12.5\n")
    text = (
        f"<!-- read off free.csv@{sha256_of(tmp_path / 'free.csv')[:8]}: model=tiny -->\n"
        "| half | <!-- = exact(half) rouge(half) perplexity(half) of forum --> 21 / 17 / {} |\n"
    )
    assert found(tmp_path, text.format("12.5")) == []
    (problem,) = found(tmp_path, text.format("12.6"))
    assert "21, 17, 12.6 should be 21.4, 17.3, 12.5" in problem


@pytest.mark.parametrize(
    "name, fewest", [("README.md", 5), ("docs/measured.md", 14), ("LIMITS.md", 1)]
)
def test_a_number_that_is_changed_in_a_page_is_named(
    tmp_path: Path, name: str, fewest: int
) -> None:
    """Of every expression the first number behind it, as of '72, 77 and 83%'."""
    text = (ROOT / name).read_text(encoding="utf-8")
    numbers = [*re.finditer(r"<!-- = [^>]*-->(?:<!-- = [^>]*-->)*\D*?(-?\d+)", text)]
    assert len(numbers) >= fewest
    for one in numbers:
        wrong = f"{text[: one.start(1)]}{int(one[1]) + 2}{text[one.end(1) :]}"
        (tmp_path / "page.md").write_text(wrong, encoding="utf-8")
        told = pages.problems([tmp_path / "page.md"], ROOT)
        assert told and all(f" {int(one[1]) + 2}" in problem for problem in told), one[0]


@pytest.mark.parametrize(
    "text, number",
    [
        ("It took 1:28 minutes.", "1:28 minutes"),
        ("It took\n2.8 GB.", "2.8 GB"),
        ("Four times? 8.3 times as fast.", "8.3 times"),
        ("A loss of 14 nats", "14 nats"),
        ("Up to 13 points", "13 points"),
        ("It took 9:23 more", "9:23"),
    ],
)
def test_a_measured_number_without_a_source_is_named(kept: Path, text: str, number: str) -> None:
    (problem,) = found(kept, f"Words.\n\n{text}\n")
    assert f"{number!r} has no source" in problem
    for source in ("measured 2026-11-25: by `make`", "given: the paper's"):
        assert found(kept, f"<!-- {source} -->\n{text}\n") == []
    # A source holds for its block alone, and says when or what.
    assert found(kept, f"<!-- given: this -->\n\n{text}\n")
    assert found(kept, f"<!-- measured: somehow -->\n{text}\n")


@pytest.mark.parametrize(
    "text", ["Python 3.11, 60 units, `5 GB`", "[a](b-5%-c)", "```\nmake  # 5 minutes\n\n10 GB\n```"]
)
def test_other_numbers_need_none(kept: Path, text: str) -> None:
    assert found(kept, text + "\n") == []


def test_verify_names_them(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "results/reference/scans", kept / "results/scans")
    (kept / "page.md").write_text("It takes 5 GB.\n")
    assert main(["verify", str(kept / "results"), "--pages", str(kept / "page.md")]) == 1
    told = capsys.readouterr()
    assert "page.md, line 1: '5 GB' has no source" in told.err and "1 pages; 1 failed" in told.out
    assert main(["verify", str(kept), "--pages", str(kept / "none.md")]) == 1
    assert "none.md does not exist" in capsys.readouterr().err


def test_a_number_of_no_expression_is_named_where_all_was_read_off_rows(tmp_path: Path) -> None:
    """But for the sizes of the rows and the 95% of intervals; what was measured, too, says so."""
    fields = "model,row,column,measured,kept_percent,ci95_low,ci95_high,published"
    rows = "tiny,half_50,forum,40,50,30,52,41.5\ntiny,full,forum,80,100,,,"
    (tmp_path / "read.csv").write_text(f"{fields}\n{rows}\n")
    source = f"<!-- read off read.csv@{sha256_of(tmp_path / 'read.csv')[:8]}: model=tiny -->\n"
    text = (
        "With 50% of the units <!-- = share(half_50, full) of forum --> 50% of 80 are left, at 95% "
        "<!-- = width(half_50) of forum --> 11 points to either side; in the paper "
        "<!-- = printed(half_50) of forum --> 41.5%.\n"
    )
    assert found(tmp_path, source + text) == []
    (problem,) = found(tmp_path, f"{source}{text}It is 3.1 times as fast.\n")
    assert "line 3: '3.1 times' is of no expression" in problem
    (problem,) = found(tmp_path, source + text.replace("41.5%", "52.4%"))
    assert "52.4 should be 41.5" in problem
    measured = "<!-- measured 2026-01-01: by hand -->\n"
    assert found(tmp_path, f"{source}{measured}{text}It is 3.1 times as fast.\n") == []
