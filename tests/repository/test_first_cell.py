"""The first cell of every notebook: it says so where another Python runs it, and nothing where all is well.

The cell for Google Colab stands before it (see test_colab.py).
"""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.tools import colab

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def first_cell(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and cell["id"] != colab.ID]
    return "".join(code[0]["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_begins_with_the_same_question(path):
    assert first_cell(path) == first_cell(NOTEBOOKS[0])


@pytest.mark.parametrize("missing", ["torch", "minidiff"])
def test_a_python_without_the_course_is_named(missing, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(ImportError, match="Choose the kernel of the course") as said:
        exec(first_cell(NOTEBOOKS[0]), {})
    assert sys.executable in str(said.value)


def test_where_the_course_is_installed_it_says_nothing(capsys):
    exec(first_cell(NOTEBOOKS[0]), {})
    assert capsys.readouterr().out == ""
