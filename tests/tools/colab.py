"""The cell that makes a notebook run in Google Colab, and `python -m tests.tools.colab`, which writes it.

    python -m tests.tools.colab notebooks                       every notebook of the folder
    python -m tests.tools.colab notebooks/23_adaptation.ipynb   one

It is the first code cell: in Colab it installs the course from the address that pyproject.toml gives under
[project.urls], anywhere else it does nothing and prints nothing. So no notebook has to be executed when it is put in:
the code cells after it move up by one number, and all else stays as it is, ids and outputs too. Where the cell is there
it is brought up to date.
"""

import argparse
import os
import sys
import tomllib
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from tests.tools.notebooks import code_cells, select

__all__ = ["ID", "cell_source", "main", "with_colab"]

REPOSITORY = Path(__file__).parents[2]
ID = "colab"
TAGS = ["hide-input", "remove-cell"]  # folded in JupyterLab, and no part of the book

# No versions are pinned: Colab's own PyTorch fits, and another one would take minutes. What is meant is %pip, in words
# of Python, since tests read notebooks as such.
EXTRAS = {"27": "[production]"}  # what a notebook needs besides
SOURCE = """\
import sys

if "google.colab" in sys.modules:  # Colab has all but the course itself
    course = "minidiff{extra} @ git+{address}"
    get_ipython().run_line_magic("pip", f"install --quiet '{{course}}'")
"""


def address() -> str:
    """Where the repository can be reached, from pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def cell_source(number: str) -> str:
    """What the cell says in the notebook of this number."""
    return SOURCE.format(extra=EXTRAS.get(number, ""), address=address()).rstrip("\n")


def with_colab(notebook: nbformat.NotebookNode, number: str) -> nbformat.NotebookNode:
    """Notebook `number` with the cell before its first code cell, up to date and once. Changes the notebook given.

    Raises ValueError where the notebook was not executed from top to bottom: then it has no numbers to move.
    """
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        raise ValueError(f"was not executed once from top to bottom: its cells are numbered {counts}")
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != ID]
    first = next((place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))
    notebook.cells.insert(first, new_code_cell(cell_source(number), id=ID, metadata={"tags": TAGS}))
    for count, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":  # it repeats the number of its cell
                output.execution_count = count
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description="Put the cell for Google Colab into notebooks.")
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them")
    for path in select(parser.parse_args().paths):
        before = path.read_bytes()
        try:
            notebook = with_colab(nbformat.read(path, as_version=4), path.name[:2])
        except ValueError as error:
            sys.exit(f"{path.stem} {error}")
        temporary = path.with_suffix(".ipynb.tmp")
        nbformat.write(notebook, temporary)
        changed = temporary.read_bytes() != before
        if changed:
            os.replace(temporary, path)
        else:
            temporary.unlink()
        print(f"{path.stem}: {'written' if changed else 'as it was'}")


if __name__ == "__main__":
    main()
