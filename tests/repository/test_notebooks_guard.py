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
from nbval.plugin import find_comment_markers

from tests.tools.notebooks import code_cells, failing, is_marked, output_text

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_000_000  # bytes
ENOUGH_FINDINGS = 3
TAG = "nbval-check-output"
IMAGES = {"image/png", "image/gif", "image/jpeg", "image/svg+xml"}
MACHINE = re.compile(r"(?<![\w.:/])/(home|Users|root|tmp|work|usr|opt|mnt|private)/\S+|\b[A-Z]:\\\S+|\b0x[0-9a-f]{6,}")


def executed_in_order(notebook) -> Iterator[str]:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"was not executed once from top to bottom: the cells are numbered {counts}"


def free_of_errors(notebook) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook), start=1):
        if "NBVAL_SKIP" in cell.source or "nbval-skip" in cell.metadata.get("tags", []):
            yield f"cell [{number}] is skipped by nbval"
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell [{number}] holds an error: {output.ename}"
            if output.get("name") == "stderr":
                yield f"cell [{number}] holds what went to stderr; `make notebooks` leaves it out"


def findings_are_stored(notebook) -> Iterator[str]:
    """Every finding is compared, is there and holds: nbval is content with a stored ✗ that is ✗ again.

    A cell with the tag holds as many findings as lines that begin with ✓. The older way, a comment, counts as one.
    """
    count = 0
    for number, cell in enumerate(code_cells(notebook), start=1):
        text, marked = output_text(cell.outputs), is_marked(cell)
        by_tag = marked and TAG in cell.metadata.get("tags", [])
        told = re.findall(r"^[✓✗] .*", text, re.MULTILINE)
        count += sum(line[0] == "✓" for line in told) if by_tag else marked
        if told and not by_tag:
            yield f"cell [{number}] prints a finding, but does not have the tag {TAG}"
        if by_tag and list(find_comment_markers(cell.source)):
            yield f"cell [{number}] has the tag {TAG} and a comment for nbval: the tag is enough"
        if marked and not text.strip():
            yield f"cell [{number}] is marked for nbval and holds no text to compare"
    if count < ENOUGH_FINDINGS:
        yield f"has {count} checked findings, fewer than {ENOUGH_FINDINGS}"
    yield from failing(notebook)


DESCRIPTION = r"\*What you see[^:*]*: \S[^*]{20,}\*"
LONGEST_CELL = 25  # lines, unless it is folded
LONGEST_CORE = 4000  # words: twenty minutes of reading


def is_second_edition(notebook) -> bool:
    """Whether the learner writes key lines in it: only such notebooks import the checks."""
    return any("from minidiff.checks import" in cell.source for cell in code_cells(notebook))


def figures_are_described(notebook) -> Iterator[str]:
    """In the second edition below the figure, since it must not answer the prediction above it."""
    if is_second_edition(notebook):
        yield from figures_are_described_below(notebook)
        return
    for before, cell in zip([None, *notebook.cells], notebook.cells, strict=False):
        if cell.cell_type == "code" and any(IMAGES & set(output.get("data", ())) for output in cell.outputs):
            last = before.source.strip().split("\n\n")[-1] if before and before.cell_type == "markdown" else ""
            if not re.fullmatch(r"\*What you see: \S[^*]{20,}\*", last.strip()):
                yield f"cell [{cell.execution_count}] draws a figure, but no *What you see: ...* ends the text above it"


def figures_are_described_below(notebook) -> Iterator[str]:
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and any(IMAGES & set(output.get("data", ())) for output in cell.outputs):
            below = next((after.source for after in notebook.cells[place:] if after.cell_type == "markdown"), "")
            if not re.search(DESCRIPTION, below):
                yield f"cell [{cell.execution_count}] draws a figure, but no *What you see: ...* stands below it"


def second_edition(notebook) -> Iterator[str]:
    """What STYLE asks for: short cells, and no prediction beside a description."""
    if not is_second_edition(notebook):
        return
    for number, cell in enumerate(code_cells(notebook), start=1):
        lines = sum(bool(line.strip()) for line in cell.source.splitlines())
        if lines > LONGEST_CELL and "hide-input" not in cell.metadata.get("tags", []):
            yield f"cell [{number}] has {lines} lines, more than {LONGEST_CELL}"
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "**Predict" in cell.source and "*What you see" in cell.source:
            yield f"a text asks for a prediction and describes a figure: {cell.source[:40]!r}"
    if not any("check(" in cell.source for cell in code_cells(notebook)):
        yield "no exercise is checked"


def core_words(notebook) -> int:
    """Words of what everybody reads: all text but asides, the questions at the end, exercises and sources."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    core = re.sub(r"^## [^\n]*\(aside\).*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    return len(core.split("## Check yourself")[0].split())


def core_path_is_short(notebook) -> Iterator[str]:
    if (words := core_words(notebook)) > LONGEST_CORE:
        yield f"has a core path of {words:,} words, more than {LONGEST_CORE:,}"


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


def nothing_of_matplotlib_is_printed(notebook) -> Iterator[str]:
    """A last line such as `axes.set_title(...)` returns what no reader needs: it ends with a semicolon."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        shown = [output.data.get("text/plain", "") for output in cell.outputs if output.output_type == "execute_result"]
        if any(re.match(r"[\[(]*(Text\(|<matplotlib)", text) for text in shown):
            yield f"cell [{number}] shows what matplotlib returns"


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
        *(names_are_public, outputs_fit_any_machine, second_edition, core_path_is_short),
        nothing_of_matplotlib_is_printed,
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


SEEN = "*What you see: a cloud of points that fades away.*"


def good_notebook():
    """The smallest notebook that breaks no rule. Its cell 0 is the title; cells 1 to 3 print three findings."""
    checks = [
        new_code_cell(f"finding('{n}', 1, below=2)", outputs=[printed(f"✓ {n}: 1 (below 2)\n")], execution_count=n)
        for n in (1, 2, 3)
    ]
    for cell in checks:
        cell.metadata.tags = [TAG]
    seen = new_markdown_cell(f"Words.\n\n{SEEN}")
    figure = new_output("display_data", data={"image/png": "aaaa", "text/plain": "<Figure size 640x480 with 1 Axes>"})
    plot = new_code_cell("from minidiff import samplers\nplot()", outputs=[figure], execution_count=4)
    end = new_markdown_cell("## Summary\n\n## Exercises\n\n## Sources and further reading")
    return new_notebook(cells=[new_markdown_cell("# 07. A title"), *checks, seen, plot, end, new_code_cell("")])


def check(notebook, folder: Path, name: str = "07_small.ipynb") -> list[str]:
    nbformat.write(notebook, folder / name)
    return violations(folder / name)


def test_a_good_notebook_breaks_no_rule(tmp_path):
    assert check(good_notebook(), tmp_path) == []


def test_asides_and_exercises_do_not_count_as_the_core_path():
    long = "word " * 5000
    texts = ["# 07. One\n\ntwo", f"## Three (aside)\n{long}", "## Four", f"## Check yourself\n{long}"]
    assert core_words(new_notebook(cells=[new_markdown_cell(text) for text in texts])) == 6


def test_findings_may_be_marked_by_the_older_comment_or_stand_together(tmp_path):
    notebook = good_notebook()
    for n in (1, 2):
        notebook.cells[n].update(source=f"# NBVAL_CHECK_OUTPUT\nprint({n})", metadata={}, outputs=[printed(f"{n}\n")])
    assert check(notebook, tmp_path) == []
    notebook = good_notebook()
    for n in (1, 2):
        notebook.cells[n].update(source="1", metadata={}, outputs=[])
    notebook.cells[3].outputs = [printed("✓ one\nsome words\n✓ two\n"), printed("✓ three: 1 (below 2)\n")]
    assert check(notebook, tmp_path) == []


def set_source(index, source):
    return lambda notebook: notebook.cells[index].update(source=source)


def add_output(output, index=1):
    return lambda notebook: notebook.cells[index].outputs.append(output)


def add_cell(notebook, text, *tags):
    cell = new_code_cell("1", outputs=[printed(text + "\n")], execution_count=5)
    cell.metadata.tags = list(tags)
    notebook.cells.append(cell)


BROKEN = {
    "never executed": (lambda nb: nb.cells[2].update(execution_count=None), "[1, None, 3, 4]"),
    "executed twice": (lambda nb: nb.cells[2].update(execution_count=9), "[1, 9, 3, 4]"),
    "skipped": (set_source(5, "# NBVAL_SKIP\n1"), "cell [4] is skipped"),
    "skipped by tag": (lambda nb: nb.cells[5].metadata.update(tags=["nbval-skip"]), "cell [4] is skipped"),
    "error": (
        add_output(new_output("error", ename="KeyError", evalue="", traceback=[])),
        "[1] holds an error: KeyError",
    ),
    "progress bar": (add_output(printed(" 10%|#", "stderr")), "cell [1] holds what went to stderr"),
    "too few findings": (lambda nb: nb.cells[3].update(metadata={}, outputs=[]), "has 2 checked findings, fewer than"),
    "too few lines": (lambda nb: nb.cells[3].update(outputs=[printed("3\n")]), "has 2 checked findings"),
    "marker in a string": (
        lambda nb: nb.cells[3].update(source="print('# NBVAL_CHECK_OUTPUT')", metadata={}, outputs=[]),
        "has 2 checked findings",
    ),
    "not compared": (lambda nb: add_cell(nb, "✓ 4: 1 (below 2)"), "cell [5] prints a finding, but does not"),
    "marked by comment": (
        lambda nb: nb.cells[3].update(source="# NBVAL_CHECK_OUTPUT\nfinding('3', 1, below=2)", metadata={}),
        "cell [3] prints a finding, but does not have the tag",
    ),
    "marked twice": (set_source(3, "# NBVAL_CHECK_OUTPUT\n1"), "cell [3] has the tag nbval-check-output and a comment"),
    "marked without output": (lambda nb: add_cell(nb, " ", TAG), "cell [5] is marked for nbval and holds no text"),
    "finding that fails": (lambda nb: add_cell(nb, "✗ 4: 3 (below 2)", TAG), "cell [5] found ✗ 4: 3 (below 2)"),
    "truth that fails": (add_output(printed("✗ it holds\n")), "cell [1] found ✗ it holds"),
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
    "an axis label": (
        add_output(new_output("execute_result", data={"text/plain": "[Text(0, 0.5, 'one step')]"})),
        "cell [1] shows what matplotlib returns",
    ),
    "core path too long": (set_source(4, "word " * 4001 + "\n\n" + SEEN), "core path of 4,0"),
    "too large": (set_source(6, "## Exercises\n## Summary\n## Sources\n" + "x" * LARGEST), "bytes"),
}


def rewritten() -> object:
    """The same small notebook in the form of the second edition: the figure first, then what it shows."""
    notebook = good_notebook()
    notebook.cells[5].source = "from minidiff.checks import check\ncheck('7.1', None)"
    notebook.cells[4], notebook.cells[5] = notebook.cells[5], notebook.cells[4]
    return notebook


def test_a_notebook_of_the_second_edition_breaks_no_rule(tmp_path):
    assert check(rewritten(), tmp_path) == []


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (set_source(5, "Words."), "stands below it"),
        (
            set_source(5, f"**Predict:** what?\n\n{SEEN}"),
            "asks for a prediction",
        ),
        (set_source(4, "from minidiff.checks import check\n" + "x = 1\n" * 25), "has 26 lines"),
        (set_source(4, "from minidiff.checks import check\nplot()"), "no exercise is checked"),
    ],
)
def test_the_guard_knows_the_second_edition(break_it, words, tmp_path):
    notebook = rewritten()
    break_it(notebook)
    assert any(words in line for line in check(notebook, tmp_path))


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
