"""Text files: their rows, and every fault with file and line."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.errors import UserError
from trimllm.data import lines
from trimllm.data.lines import csv_rows, lines_of
from trimllm.data.rows import RowError
from trimllm.data.sources import read_source


def read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_source({"file": str(tmp_path / name)}).rows


@pytest.mark.parametrize("parted", [",", ";", "\t"])
def test_rows_of_a_csv_by_the_names_of_its_header(tmp_path, parted):
    text = 'q,a\n"one, or\n""two""?",1\n\nthree?,3\n'.replace(",", parted)
    rows = read(tmp_path, "rows.csv", "\ufeff" + text)
    first = f'one{parted} or\n"two"?'
    assert rows == [
        ("rows.csv:2", {"q": first, "a": "1"}),
        ("rows.csv:5", {"q": "three?", "a": "3"}),
    ]


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"), min_size=1)


@given(table=st.lists(st.tuples(TEXTS, TEXTS), max_size=5), parted=st.sampled_from(",;\t"))
def test_what_a_library_writes_is_read_back(table, parted):
    stream = io.StringIO()
    csv.writer(stream, delimiter=parted).writerows([("q", "a"), *table])
    rows = csv_rows(lines_of(io.BytesIO(stream.getvalue().encode()), "x"), "x")
    assert [tuple(row.values()) for _, row in rows] == table


def test_faults_of_a_csv(tmp_path):
    rows = read(tmp_path, "rows.csv", "q,a\n1,2,3\n1,2\n")
    assert [where for where, _ in rows] == ["rows.csv:2", "rows.csv:3"]
    assert isinstance(rows[0][1], RowError) and "3 fields, where the header names 2" in str(rows[0])
    for text, message in [
        ("", "rows.csv: empty; the first line of a CSV names its columns"),
        ("q,q\n1,2\n", "rows.csv:1: the header needs a name for each column, each once"),
        ("q,\n1,2\n", "rows.csv:1: the header needs a name for each column, each once"),
        ('q,a\n1,2\n3,"4\n5,6\n', "rows.csv:3: no row of a CSV (unexpected end of data)"),
    ]:
        with pytest.raises(UserError) as refused:
            read(tmp_path, "rows.csv", text)
        assert str(refused.value).startswith(message)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.json"])
def test_another_encoding_is_refused_with_its_line(tmp_path, name):
    text = '{"q":\n1}\n{"q": "caf\xe9"}\n'
    with pytest.raises(UserError, match=rf"^{name}:3: not UTF-8.*; save the file in the encoding"):
        read(tmp_path, name, text.encode("latin-1"))
    with pytest.raises(UserError, match=rf"^{name}:1: not UTF-8"):
        read(tmp_path, name, text.encode("utf-16"))


def test_of_a_line_without_end_a_bounded_part_is_read():
    class Counting(io.BytesIO):
        taken = 0

        def readline(self, size=-1):
            Counting.taken = max(Counting.taken, size)
            assert size > 0
            return super().readline(size)

    text = b'{"q": 1}\n' + b"x" * 50_000_000
    with pytest.raises(UserError, match=r"^f:2: a line of more than 8 MiB; give one row a line"):
        lines_of(Counting(text), "f")
    assert Counting.taken == lines.LONGEST_LINE + 1
