"""The cell for Google Colab: what it does there and elsewhere, and that putting it in changes nothing else."""

import copy
import sys
import types
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_output

from tests.repository.test_notebooks_guard import good_notebook, violations
from tests.repository.test_setup import PROJECT
from tests.tools import colab
from tests.tools.notebooks import code_cells

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def run(source: str) -> list[str]:
    """The magics that a cell calls, such as `pip install ...`."""
    called = []
    shell = types.SimpleNamespace(run_line_magic=lambda name, line: called.append(f"{name} {line}"))
    exec(TransformerManager().transform_cell(source), {"get_ipython": lambda: shell})
    return called


def executed_notebook():
    """A small notebook as it is stored, whose first code cell shows a value."""
    notebook = good_notebook()
    value = new_output("execute_result", data={"text/plain": "2"}, execution_count=1)
    notebook.cells.insert(1, new_code_cell("1 + 1", outputs=[value], execution_count=1))
    for number, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = number
    return notebook


# --- the cell --------------------------------------------------------------------------------------------------------


def test_elsewhere_it_does_nothing(capsys):
    assert "google.colab" not in sys.modules
    assert run(colab.cell_source("05")) == [] and capsys.readouterr().out == ""


def test_in_colab_it_installs_the_course_from_the_address_of_the_project(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    address = PROJECT["urls"]["Repository"]
    assert address.startswith("https://") and not address.endswith((".git", "/"))
    assert run(colab.cell_source("05")) == [f'pip install --quiet "minidiff @ git+{address}"']
    assert "constraints" not in colab.cell_source("05")
    for number, extra in colab.EXTRAS.items():
        assert run(colab.cell_source(number)) == [f'pip install --quiet "minidiff{extra} @ git+{address}"']
        assert extra.strip("[]") in PROJECT["optional-dependencies"]


# --- the tool --------------------------------------------------------------------------------------------------------


def test_nothing_else_changes():
    before = executed_notebook()
    after = colab.with_colab(copy.deepcopy(before), "07")
    put_in = [place for place, cell in enumerate(after.cells) if cell.id == colab.ID]
    assert put_in == [1]  # after the title, before the first code
    cell = after.cells[1]
    assert cell.execution_count == 1 and cell.outputs == [] and cell.source == colab.cell_source("07")
    rest = [cell for cell in after.cells if cell.id != colab.ID]
    for was, now in zip(before.cells, rest, strict=True):
        if was.cell_type == "code" and was.source:
            assert now.execution_count == was.execution_count + 1
            was.execution_count += 1
            for output in was.outputs:
                if output.output_type == "execute_result":
                    output.execution_count += 1
        assert now == was
    assert after.metadata == before.metadata
    assert after.cells[2].outputs[0].execution_count == 2 == after.cells[2].execution_count


def test_it_is_put_in_once_and_brought_up_to_date(tmp_path, monkeypatch, capsys):
    path = tmp_path / "07_small.ipynb"
    nbformat.write(executed_notebook(), path)
    monkeypatch.setattr(sys, "argv", ["colab", str(tmp_path)])
    colab.main()
    first = path.read_bytes()
    assert capsys.readouterr().out == "07_small: written\n" and violations(path) == []
    colab.main()
    assert capsys.readouterr().out == "07_small: as it was\n" and path.read_bytes() == first
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = "import sys  # an older one"
    notebook.cells.insert(0, notebook.cells.pop(1))  # moved by somebody
    nbformat.write(notebook, path)
    colab.main()
    assert capsys.readouterr().out == "07_small: written\n" and path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_notebook_that_was_not_executed_is_refused(tmp_path, monkeypatch):
    notebook = executed_notebook()
    notebook.cells[2].execution_count = None
    path = tmp_path / "07_small.ipynb"
    nbformat.write(notebook, path)
    before = path.read_bytes()
    monkeypatch.setattr(sys, "argv", ["colab", str(path)])
    with pytest.raises(SystemExit, match=r"07_small was not executed once from top to bottom: .*\[1, None, 3, 4, 5\]"):
        colab.main()
    assert path.read_bytes() == before


# --- the notebooks ---------------------------------------------------------------------------------------------------


def test_all_notebooks_have_it_or_none():
    """Put in by `python -m tests.tools.colab notebooks`, which also brings it up to date."""
    having = [path for path in NOTEBOOKS if any(cell.get("id") == colab.ID for cell in nbformat.read(path, 4).cells)]
    assert having in ([], NOTEBOOKS), f"these do not have it: {sorted(set(NOTEBOOKS) - set(having))}"
    for path in having:
        first = code_cells(nbformat.read(path, 4))[0]
        assert first.get("id") == colab.ID and first.source == colab.cell_source(path.name[:2]), path.stem
        assert first.outputs == [] and first.metadata.tags == colab.TAGS
