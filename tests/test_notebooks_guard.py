"""A guard over the stored notebooks: what nbval does not see.

nbval never compares a cell that was not executed, so stripped notebooks pass it; it does not look at figures; and a
learner also reads what no kernel checks. Each rule is a function from a notebook to its violations, in words.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.tools.notebooks import code_cells, is_marked, output_text

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_000_000  # bytes
ENOUGH_FINDINGS = 3
IMAGES = {"image/png", "image/gif", "image/jpeg", "image/svg+xml"}
MACHINE = re.compile(r"(?<![\w.:/])/(home|Users|root|tmp|work|usr|opt|mnt|private)/\S+|\b[A-Z]:\\\S+|\b0x[0-9a-f]{6,}")


def executed_in_order(notebook) -> Iterator[str]:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"was not executed once from top to bottom: the cells are numbered {counts}"


def free_of_errors(notebook) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook), start=1):
        if "NBVAL_SKIP" in cell.source:
            yield f"cell [{number}] is skipped by nbval"
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell [{number}] holds an error: {output.ename}"
            if output.get("name") == "stderr":
                yield f"cell [{number}] holds what went to stderr; `make notebooks` leaves it out"


def findings_are_stored(notebook) -> Iterator[str]:
    marked = [(number, cell) for number, cell in enumerate(code_cells(notebook), start=1) if is_marked(cell)]
    if len(marked) < ENOUGH_FINDINGS:
        yield f"has {len(marked)} cells marked # NBVAL_CHECK_OUTPUT, fewer than {ENOUGH_FINDINGS}"
    for number, cell in marked:
        if not output_text(cell.outputs).strip():
            yield f"cell [{number}] is marked # NBVAL_CHECK_OUTPUT and holds no text to compare"


def figures_are_described(notebook) -> Iterator[str]:
    for before, cell in zip([None, *notebook.cells], notebook.cells, strict=False):
        if cell.cell_type == "code" and any(IMAGES & set(output.get("data", ())) for output in cell.outputs):
            last = before.source.strip().split("\n\n")[-1] if before and before.cell_type == "markdown" else ""
            if not re.fullmatch(r"\*What you see: \S[^*]{20,}\*", last.strip()):
                yield f"cell [{cell.execution_count}] draws a figure, but no *What you see: ...* ends the text above it"


def names_are_public(notebook) -> Iterator[str]:
    """No `from minidiff import _x`, no `minidiff._x`, no `samplers._x` where samplers is a module of the package."""
    modules = {"minidiff"}
    for number, cell in enumerate(code_cells(notebook), start=1):
        for node in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
            used = []
            if isinstance(node, ast.Import):
                used = [alias.name for alias in node.names if alias.name.split(".")[0] == "minidiff"]
                modules |= {alias.asname for alias in node.names if alias.name in used and alias.asname}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minidiff":
                used = [f"{node.module}.{alias.name}" for alias in node.names]
                modules |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute) and (chain := ast.unparse(node)).split(".")[0] in modules:
                used = [chain]
            for name in used:
                if re.search(r"\._(?!_)|\*", re.sub(r"\(.*\)", "()", name, flags=re.DOTALL)):
                    yield f"cell [{number}] uses the private name {name}"


def outputs_fit_any_machine(notebook) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook), start=1):
        if found := MACHINE.search(output_text(cell.outputs)):
            yield f"cell [{number}] holds what only this machine knows: {found.group()}"


def lesson_is_whole(notebook, number: str) -> Iterator[str]:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    if not re.match(rf"# {number}\. \S", notebook.cells[0].source):
        yield f"does not open with '# {number}. Title'"
    for part in ("exercises", "summary", "sources"):
        if not re.search(rf"^##+ .*\b{part}\b", text, re.MULTILINE | re.IGNORECASE):
            yield f"has no heading for {part}"


def violations(path: Path) -> list[str]:
    """Everything that is wrong with a stored notebook."""
    notebook = nbformat.read(path, as_version=4)
    found = [f"has {path.stat().st_size:,} bytes"] if path.stat().st_size >= LARGEST else []
    for rule in (
        *(executed_in_order, free_of_errors, findings_are_stored, figures_are_described),
        *(names_are_public, outputs_fit_any_machine),
    ):
        found += rule(notebook)
    return [*found, *lesson_is_whole(notebook, path.name[:2])]


# --- the course's notebooks ------------------------------------------------------------------------------------------


def test_the_course_begins_with_notebook_00():
    assert [path.name for path in NOTEBOOKS[:1]] == ["00_start_here.ipynb"]
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name) for path in NOTEBOOKS)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_fit_to_be_read(path):
    assert violations(path) == []


# --- the guard itself ------------------------------------------------------------------------------------------------


def printed(text: str, name: str = "stdout"):
    return new_output("stream", name=name, text=text)


def good_notebook():
    """The smallest notebook that breaks no rule. Its cell 0 is the title; cells 1 to 3 are the findings."""
    checks = [
        new_code_cell(f"# NBVAL_CHECK_OUTPUT\nprint({n})", outputs=[printed(f"{n}\n")], execution_count=n)
        for n in (1, 2, 3)
    ]
    seen = new_markdown_cell("Words.\n\n*What you see: a cloud of points that fades away.*")
    figure = new_output("display_data", data={"image/png": "aaaa", "text/plain": "<Figure size 640x480 with 1 Axes>"})
    plot = new_code_cell("from minidiff import samplers\nplot()", outputs=[figure], execution_count=4)
    end = new_markdown_cell("## Summary\n\n## Exercises\n\n## Sources and further reading")
    return new_notebook(cells=[new_markdown_cell("# 07. A title"), *checks, seen, plot, end, new_code_cell("")])


def check(notebook, folder: Path, name: str = "07_small.ipynb") -> list[str]:
    nbformat.write(notebook, folder / name)
    return violations(folder / name)


def test_a_good_notebook_breaks_no_rule(tmp_path):
    assert check(good_notebook(), tmp_path) == []


def set_source(index, source):
    return lambda notebook: notebook.cells[index].update(source=source)


def add_output(output, index=1):
    return lambda notebook: notebook.cells[index].outputs.append(output)


BROKEN = {
    "never executed": (lambda nb: nb.cells[2].update(execution_count=None), "[1, None, 3, 4]"),
    "executed twice": (lambda nb: nb.cells[2].update(execution_count=9), "[1, 9, 3, 4]"),
    "skipped": (set_source(5, "# NBVAL_SKIP\n1"), "cell [4] is skipped"),
    "error": (
        add_output(new_output("error", ename="KeyError", evalue="", traceback=[])),
        "[1] holds an error: KeyError",
    ),
    "progress bar": (add_output(printed(" 10%|#", "stderr")), "cell [1] holds what went to stderr"),
    "too few findings": (set_source(3, "print(3)"), "has 2 cells marked # NBVAL_CHECK_OUTPUT"),
    "marker in a string": (set_source(3, "print('# NBVAL_CHECK_OUTPUT')"), "has 2 cells marked"),
    "finding without output": (lambda nb: nb.cells[3].update(outputs=[]), "cell [3] is marked"),
    "figure without text": (set_source(4, "Words."), "cell [4] draws a figure"),
    "figure with empty text": (set_source(4, "*What you see: .*"), "cell [4] draws a figure"),
    "text too early": (set_source(4, "*What you see: a cloud of many points.*\n\nWords."), "cell [4] draws a figure"),
    "figure after code": (lambda nb: nb.cells.pop(4), "cell [4] draws a figure"),
    "private import": (set_source(5, "from minidiff import _tensors"), "private name minidiff._tensors"),
    "private module": (set_source(5, "from minidiff._tensors import expand"), "private name minidiff._tensors.expand"),
    "private function": (set_source(5, "from minidiff.exact import _log"), "private name minidiff.exact._log"),
    "private attribute": (set_source(5, "import minidiff.exact as e\ne._log(1)"), "private name e._log"),
    "private chain": (set_source(5, "import minidiff\nminidiff.exact._log"), "private name minidiff.exact._log"),
    "star import": (set_source(5, "from minidiff.exact import *"), "private name minidiff.exact.*"),
    "path of this machine": (add_output(printed("saved in /home/me/x.png")), "only this machine knows: /home/me/x.png"),
    "memory address": (add_output(printed("<Axes at 0x7f21a0b3>")), "only this machine knows: 0x7f21a0b3"),
    "another number": (set_source(0, "# 08. A title"), "does not open with '# 07. Title'"),
    "no title": (set_source(0, "# 07."), "does not open with"),
    "no exercises": (set_source(6, "## Summary\n## Sources"), "has no heading for exercises"),
    "no summary": (set_source(6, "## Exercises\n## Sources\nsummary"), "has no heading for summary"),
    "no sources": (set_source(6, "## Exercises\n## Summary\n# resources"), "has no heading for sources"),
    "too large": (set_source(6, "## Exercises\n## Summary\n## Sources\n" + "x" * LARGEST), "bytes"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_guard_finds(fault, tmp_path):
    break_it, words = BROKEN[fault]
    notebook = good_notebook()
    break_it(notebook)
    found = check(notebook, tmp_path)
    assert len(found) == 1 and words in found[0]


@pytest.mark.parametrize(
    "source",
    [
        "import minidiff\nminidiff.__doc__",
        "import torch\ntorch._C",
        "from collections import _x",
        "%matplotlib inline\n!true",
        "self = 1\nself._x",
    ],
)
def test_the_guard_lets_pass(source, tmp_path):
    notebook = good_notebook()
    notebook.cells[5].source = source
    assert check(notebook, tmp_path) == []
