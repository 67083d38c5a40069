r"""The rows of the notation table, and `python -m tests.tools.notation`, which writes them into notebook 10.

A row of the table is the record that `@row` attaches to the test that holds it:

    @row("direction", "noise grows", papers=("noise grows", "noise grows", "noise grows", "noise falls", "noise grows"))
    def test_direction(): ...

The order of the tests is the order of the rows. A row with `papers` stands in the table of the papers, a row with
`libraries` in that of the libraries, and a row with both in both.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from minidiff.checkpoints import write_file

__all__ = ["LIBRARIES", "PAPERS", "Row", "main", "markdown", "row", "rows_of", "tables", "with_tables"]

NOTEBOOK = Path("notebooks") / "10_fast_samplers.ipynb"
PAPERS = (
    "Ho et al. (DDPM)",
    "Song et al. (SDE)",
    "Karras et al. (EDM)",
    "Lipman et al. (flow matching)",
    "Lu et al. (DPM-Solver++)",
)
LIBRARIES = ("diffusers", "k-diffusion")

SECTION = re.compile(r"^## [^\n]*notation table.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^\|.*(?:\n\|.*)*", re.MULTILINE)
BETWEEN_CELLS = "\n\0\n"


class Row(NamedTuple):
    """One thing, and what it is called: in this course, by PAPERS and by LIBRARIES. None: it is not in that table."""

    what: str
    course: str
    papers: tuple[str, ...] | None = None
    libraries: tuple[str, ...] | None = None


def row(
    what: str, course: str, papers: tuple[str, ...] | None = None, libraries: tuple[str, ...] | None = None
) -> Callable:
    """A decorator: the test below holds this row. Every cell is Markdown."""
    if papers is None and libraries is None:
        raise ValueError(f"the row {what!r} stands in no table")
    for cells, columns in ((papers, PAPERS), (libraries, LIBRARIES)):
        if cells is not None and (not isinstance(cells, tuple) or len(cells) != len(columns)):
            raise ValueError(f"the row {what!r} needs one cell for each of {columns}, not {cells}")
    for cell in (what, course, *(papers or ()), *(libraries or ())):
        if not cell or cell != cell.strip() or "|" in cell or "\n" in cell:
            raise ValueError(f"the row {what!r} has a cell that does not fit into a table: {cell!r}")

    def attach(test: Callable) -> Callable:
        test.row = Row(what, course, papers, libraries)
        return test

    return attach


def rows_of(module: ModuleType) -> dict[str, Row]:
    """The rows of a module of tests, in their order, by the names of the functions that hold them."""
    functions = {name: thing for name, thing in vars(module).items() if inspect.isfunction(thing)}
    return {name: function.row for name, function in functions.items() if hasattr(function, "row")}


def markdown(rows: Iterable[Row]) -> list[str]:
    """The two tables, papers first."""
    rows = list(rows)
    papers = [(row.what, row.course, *row.papers) for row in rows if row.papers]
    libraries = [(row.what, row.course, *row.libraries) for row in rows if row.libraries]
    return [table(PAPERS, papers), table(LIBRARIES, libraries)]


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = ("what", "in this course", *columns)
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


# --- the notebook ----------------------------------------------------------------------------------------------------


def text_of(notebook: dict) -> str:
    """All that a notebook says in Markdown."""
    cells = (cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return BETWEEN_CELLS.join("".join(cell["source"]) for cell in cells)


def find_tables(text: str) -> list[re.Match]:
    sections = list(SECTION.finditer(text))
    if len(sections) != 1:
        raise ValueError(f"{len(sections)} of its headings name the notation table, and one should")
    return list(TABLE.finditer(text, sections[0].start(), sections[0].end()))


def tables(content: str) -> list[str]:
    """The tables under the heading "notation table". content: of a notebook's file."""
    return [found.group() for found in find_tables(text_of(json.loads(content)))]


def with_tables(content: str, new: list[str]) -> str:
    """The content of a notebook's file with new tables in place of those under its heading; the rest is as it was."""
    notebook = json.loads(content)
    if as_stored(notebook) != content:
        raise ValueError("it is not stored as Jupyter stores it, so more than the tables would change")
    text = text_of(notebook)
    old = find_tables(text)
    if len(old) != len(new):
        raise ValueError(f"{len(old)} tables stand under its heading, and {len(new)} are to be written")
    for found, lines in reversed(list(zip(old, new, strict=True))):
        text = text[: found.start()] + lines + text[found.end() :]
    cells = (cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    for cell, source in zip(cells, text.split(BETWEEN_CELLS), strict=True):
        cell["source"] = source.splitlines(keepends=True)
    return as_stored(notebook)


def as_stored(notebook: dict) -> str:
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """`python -m tests.tools.notation [--notebook FILE]`."""
    from tests.course import test_notation  # which takes `row` from here

    parser = argparse.ArgumentParser(description="Write the rows of the tests into the tables of notebook 10.")
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK, help=f"default: {NOTEBOOK}")
    path = parser.parse_args(arguments).notebook
    content = path.read_bytes().decode()
    try:
        new = with_tables(content, markdown(rows_of(test_notation).values()))
    except ValueError as error:
        sys.exit(f"{path} is left as it is: {error}")
    if new != content:
        write_file(path, new.encode())
    print(f"{path}: {'as it was' if new == content else 'written'}")


if __name__ == "__main__":
    main()
