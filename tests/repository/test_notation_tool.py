"""The notation table of notebook 10 is made of the rows of tests/course/test_notation.py, and of nothing else."""

import json
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.course import test_notation
from tests.tools.notation import LIBRARIES, PAPERS, Row, main, markdown, row, rows_of, tables, with_tables

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
WHOLE, FIRST_ROWS, MORE_ROWS = ("10_fast_samplers", "05_forward_diffusion", "07_learning_to_denoise")
ROWS = list(rows_of(test_notation).values())


def content(name: str) -> str:
    return (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")


def rows_in(name: str) -> list[list[str]]:
    """The cells of each row of the one table that a notebook has under its heading, without the head."""
    (table,) = tables(content(name))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_notebook_holds_what_the_tool_would_write():
    found, expected = ([table.splitlines() for table in both] for both in (tables(content(WHOLE)), markdown(ROWS)))
    assert found == expected, "the rows are in tests/course/test_notation.py; then `python -m tests.tools.notation`"
    assert with_tables(content(WHOLE), markdown(ROWS)) == content(WHOLE)


def test_every_row_has_a_test_and_every_test_a_row():
    assert list(rows_of(test_notation)) == [name for name in vars(test_notation) if name.startswith("test_")]
    assert len({row.what for row in ROWS}) == len(ROWS) >= 35


def test_every_row_has_all_columns():
    for table, columns in zip(markdown(ROWS), (PAPERS, LIBRARIES), strict=True):
        assert {line.count("|") for line in table.splitlines()} == {len(columns) + 3}


def test_the_first_rows_are_still_there():
    """What notebooks 05 and 07 began: the same words for the same things, and the same letters of Ho's."""
    papers = {row.what: [row.what, row.course, row.papers[0]] for row in ROWS if row.papers}
    first = rows_in(FIRST_ROWS)
    assert len(first) >= 10
    assert first == [papers[what] for what, *_ in first]
    more = {what for what, *_ in rows_in(MORE_ROWS)}
    assert len(more) >= 7
    assert more <= {row.what for row in ROWS}


# --- rows ------------------------------------------------------------------------------------------------------------

TIME = Row("time", "$t$", ("–", "$t$", "$t$", "$1 - t$", "$t$"), ("`timestep`", "`sigma`"))
DRIFT = Row("drift", "$f$", papers=("–", "$f$", "–", "–", "$f$"))
NU = Row("exponent", r"$\nu$", libraries=("`variance_type`", "–"))


def test_the_tables_of_three_rows():
    papers, libraries = markdown([TIME, DRIFT, NU])
    assert papers.splitlines() == [
        "| what | in this course | " + " | ".join(PAPERS) + " |",
        "|---|---|---|---|---|---|---|",
        "| time | $t$ | – | $t$ | $t$ | $1 - t$ | $t$ |",
        "| drift | $f$ | – | $f$ | – | – | $f$ |",
    ]
    assert libraries.splitlines() == [
        "| what | in this course | diffusers | k-diffusion |",
        "|---|---|---|---|",
        "| time | $t$ | `timestep` | `sigma` |",
        r"| exponent | $\nu$ | `variance_type` | – |",
    ]


def test_a_row_stays_with_its_test():
    @row(*TIME)
    def test_time(): ...

    module = ModuleType("tests_of_one_row")
    module.test_time, module.test_without, module.row = test_time, lambda: None, row
    assert rows_of(module) == {"test_time": TIME}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"papers": None, "libraries": None}, "no table"),
        ({"papers": TIME.papers[:4]}, "one cell for each"),
        ({"papers": (*TIME.papers, "–")}, "one cell for each"),
        ({"papers": ()}, "one cell for each"),
        ({"papers": "abcde"}, "one cell for each"),
        ({"libraries": TIME.papers}, "one cell for each"),
        ({"what": ""}, "does not fit"),
        ({"course": "$|t|$"}, "does not fit"),
        ({"libraries": ("`sigma` ", "–")}, "does not fit"),
        ({"libraries": ("two\nlines", "–")}, "does not fit"),
    ],
)
def test_a_row_that_fits_no_table_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        row(**{**TIME._asdict(), **wrong})


# --- the notebook ----------------------------------------------------------------------------------------------------


def cell_changed(papers: str, libraries: str) -> list[str]:
    return [papers.replace("$1 - t$", "$t$", 1), libraries]


def row_lost(papers: str, libraries: str) -> list[str]:
    return [papers, libraries.replace(libraries.splitlines()[5] + "\n", "")]


def head_changed(papers: str, libraries: str) -> list[str]:
    return [papers.replace("Ho et al.", "Ho"), libraries]


@pytest.mark.parametrize("harm", [cell_changed, row_lost, head_changed])
def test_what_is_changed_by_hand_is_written_again(harm, tmp_path):
    notebook, right = tmp_path / "copy.ipynb", with_tables(content(WHOLE), markdown(ROWS))
    wrong = with_tables(right, harm(*markdown(ROWS)))
    assert tables(wrong) != tables(right)
    notebook.write_bytes(wrong.encode())
    main(["--notebook", str(notebook)])
    assert notebook.read_bytes() == right.encode()
    assert list(tmp_path.iterdir()) == [notebook]


def test_a_notebook_that_is_right_is_not_written(tmp_path, monkeypatch, capsys):
    notebook = tmp_path / "copy.ipynb"
    notebook.write_bytes(with_tables(content(WHOLE), markdown(ROWS)).encode())
    monkeypatch.setattr("tests.tools.notation.write_file", None)
    main(["--notebook", str(notebook)])
    assert capsys.readouterr().out == f"{notebook}: as it was\n"


OTHER = "| a | b |\n|---|---|\n| 1 | 2 |"


def build(*sources: str) -> str:
    """The file of a notebook of these Markdown cells, with an executed cell between each two."""
    cells = []
    for source in sources:
        output = new_output("display_data", data={"text/plain": "0.1 ± 1e-5 |", "application/json": {"β": [1e-05, 2]}})
        cells += [new_markdown_cell(source), new_code_cell(OTHER, outputs=[output], execution_count=1)]
    return nbformat.writes(new_notebook(cells=cells)) + "\n"


def test_only_the_tables_under_the_heading_change():
    before = f"## 12. Others\n\n{OTHER}\n"
    middle = "## 13. The notation table\n\nText.\n\n{}\n\n### Libraries\n"
    after = "{}\n\nWords.\n\n## Summary\n\n" + OTHER
    old, (papers, libraries) = build(before, middle.format(OTHER), after.format(OTHER)), markdown([TIME, DRIFT, NU])
    new = json.loads(with_tables(old, [papers, libraries]))
    sources = ["".join(cell["source"]) for cell in new["cells"] if cell["cell_type"] == "markdown"]
    assert sources == [before, middle.format(papers), after.format(libraries)]
    old = json.loads(old)
    for notebook in (old, new):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                del cell["source"]
    assert new == old


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (build(OTHER), "0 of its headings"),
        (build("## The notation table\n", "## The notation table\n"), "2 of its headings"),
        (build(f"## The notation table\n\n{OTHER}"), "1 tables stand"),
        (build(f"## The notation table\n\n{OTHER}\n\n{OTHER}").replace("\n ", "\n  "), "not stored as Jupyter"),
    ],
)
def test_a_notebook_without_two_tables_is_left_as_it_is(text, words, tmp_path):
    notebook = tmp_path / "copy.ipynb"
    notebook.write_bytes(text.encode())
    with pytest.raises(SystemExit, match=words):
        main(["--notebook", str(notebook)])
    assert notebook.read_bytes() == text.encode()
