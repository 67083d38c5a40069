"""The notebook of a lab: what is handed out, what nbgrader keeps, and a submission poured into a fresh copy of it.

Cells carry nbgrader's metadata (schema 3). For each problem there is a locked prompt, an answer, and a locked cell that
holds its points; then the bug, the plot, and its explanation, which a person marks.
"""

import ast
import copy
import inspect
from collections.abc import Iterator
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from minidiff.workshop.labs.bugs import LETTERS, Bug
from minidiff.workshop.labs.records import Lab, Problem, Variant

__all__ = ["BUG", "EXPLANATION", "PLOT", "answers_of", "assignment", "defined", "definitions", "graded", "is_filled"]
__all__ += ["plain_stub", "release_of", "source_of", "transplanted"]

BUG, PLOT, EXPLANATION = "bug", "plot", "explanation"
PICTURES = ("image/png",)  # what a plot may leave in a submission
LARGEST_PICTURE = 2_000_000  # characters
MOST_CELLS, LONGEST_CELL = 60, 100_000  # of a student's own
SHORTEST_EXPLANATION = 60  # characters of a text of a student's own, where the cell for it is empty
PLAIN_CALLS = ("math", "torch", "float", "int", "tuple", "list", "range", "len", "abs", "min", "max", "sum", "dict")
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
HOW = """Fill in each function where `...` stands, and keep its name and its arguments. You may add cells with helpers.
When your functions are marked they run alone, with `math`, `torch` and what this notebook gives you, and nothing is
there that a cell has printed, loaded or computed. A `g` is a `torch.Generator`: hand it on to whatever draws.

Nothing here tells you whether you are right, so test it yourself: small inputs that you can do by hand, a mean or a
variance of many draws, a limit that you know. A right function gets all its points, and a function with a well-known
mistake a quarter of them. In the end restart the kernel, run everything, save, and hand in this file (.ipynb)."""
EXPLAIN = "*Your explanation: about six sentences.*"


def assignment(lab: Lab) -> str:
    """The name of a lab's folder and notebook."""
    return f"lab{lab.number}"


def _nbgrader(grade_id: str, *, grade: bool = False, solution: bool = False, points: int | None = None) -> dict:
    kind = {"grade": grade, "grade_id": grade_id, "locked": not solution, "schema_version": 3, "solution": solution}
    return {"nbgrader": {**kind, "task": False, **({} if points is None else {"points": points})}}


def plain_stub(variant: Variant) -> str:
    """What a student finds in the cell of a function."""
    return variant.exercise.stub.strip("\n")


def bug_text(lab: Lab, bug: Bug) -> str:
    """The cell that shows the bug."""
    listed = "\n".join(f"- **{letter}** {text}" for letter, text in zip(LETTERS, bug.choices, strict=False))
    return (
        f"## {len(lab.problems) + 1}. Find the bug ({lab.bug_points} points)\n\n"
        f"Somebody had to solve this problem:\n\n> {bug.variant.prompt}\n\n"
        f"Their function has a bug:\n\n```python\n{bug.code}\n```\n\n"
        f"Which sentence says what is wrong?\n\n{listed}"
    )


def bug_stub(bug: Bug) -> str:
    return f'bug = None  # your answer: one of "{LETTERS[0]}" to "{LETTERS[len(bug.choices) - 1]}"'


def points_text(title: str, most: int) -> str:
    return f"# {title}: {most} points. This cell is filled in when the lab is marked."


def release_of(lab: Lab, variants: dict[str, Variant], bug: Bug, *, version: str) -> NotebookNode:
    """The notebook to hand out. version: what it says about itself, so that another release is noticed."""
    cells = [
        new_markdown_cell(f"# Lab {lab.number}. {lab.title}\n\n{HOW}", metadata=_nbgrader("how")),
        new_code_cell(given_code(variants), metadata=_nbgrader("given")),
    ]
    for place, problem in enumerate(lab.problems, start=1):
        cells += problem_cells(place, problem, variants[problem.name])
    cells += [
        new_markdown_cell(bug_text(lab, bug)),  # not locked, since each student may have another one
        new_code_cell(bug_stub(bug), metadata=_nbgrader(f"answer-{BUG}", solution=True)),
        points_cell(BUG, "Find the bug", lab.bug_points),
        *plot_cells(lab),
    ]
    for cell in cells:  # the same release whenever it is made
        cell["id"] = cell.metadata.get("nbgrader", {}).get("grade_id", BUG)
    info = {"lab": lab.number, "version": version}
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL, "minidiff": info})


def given_code(variants: dict[str, Variant]) -> str:
    """The first cell with code: imports, and what the problems give."""
    functions = {one.__name__: one for variant in variants.values() for one in variant.given}
    sources = "".join(f"\n\n\n{inspect.getsource(one).strip()}" for one in functions.values())
    return f"import math\n\nimport torch{sources}"


def problem_cells(place: int, problem: Problem, variant: Variant) -> Iterator[NotebookNode]:
    """Prompt, answer and points of one problem."""
    name = variant.exercise.name
    text = f"## {place}. `{name}` ({problem.points} points)\n\n{variant.prompt}"
    yield new_markdown_cell(text, metadata=_nbgrader(f"prompt-{problem.name}"))
    yield new_code_cell(plain_stub(variant), metadata=_nbgrader(f"answer-{problem.name}", solution=True))
    yield points_cell(problem.name, name, problem.points)


def points_cell(name: str, title: str, most: int) -> NotebookNode:
    return new_code_cell(points_text(title, most), metadata=_nbgrader(f"points-{name}", grade=True, points=most))


def plot_cells(lab: Lab) -> Iterator[NotebookNode]:
    """A plot to draw, and to explain."""
    most = sum(points for points, _ in lab.plot.rubric)
    text = f"## {len(lab.problems) + 2}. Explain your own plot ({most} points)\n\n{lab.plot.prompt}"
    yield new_markdown_cell(text, metadata=_nbgrader(f"prompt-{PLOT}"))
    stub = "import matplotlib.pyplot as plt\n\n...  # your plot, with names on both axes"
    yield new_code_cell(stub, metadata=_nbgrader(f"answer-{PLOT}", solution=True))
    yield new_markdown_cell(EXPLAIN, metadata=_nbgrader(EXPLANATION, grade=True, solution=True, points=most))


# What came back


def graded(cell: NotebookNode) -> str:
    """The name of a cell that nbgrader knows, or nothing."""
    kept = cell.get("metadata", {}).get("nbgrader", {})
    name = kept.get("grade_id", "") if isinstance(kept, dict) else ""
    return name if isinstance(name, str) else ""


def source_of(cell: NotebookNode) -> str:
    """What a cell says."""
    return cell.get("source", "")


def defined(source: str) -> set[str]:
    """What functions a cell defines, also where it is no valid Python."""
    try:
        return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        lines = source.splitlines()
        return {line[4:].partition("(")[0].strip() for line in lines if line.startswith("def ")}


def _assigned(source: str) -> bool:
    """Whether a cell answers the question for the bug."""
    return any(line.replace(" ", "").startswith("bug=") for line in source.splitlines())


def is_filled(source: str, stub: str) -> bool:
    """Whether a cell says something else than it was handed out with, comments and docstrings apart."""
    return _meaning(source) != _meaning(stub)


def _meaning(source: str) -> str:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source.strip()
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
            and len(node.body) > 1
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def transplanted(release: NotebookNode, submitted: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """A fresh release with a submission's answers, and notes on what was unusual.

    An answer is found by the name of its cell; among copies it is the last one that was filled in; where names are lost
    (VS Code, Colab, a cell deleted and written anew), it is the last cell that defines the function. A student's own
    cells of code come along, each before the answer that follows it. Everything else is as it was handed out.
    """
    fresh, notes = copy.deepcopy(release), []
    theirs = [cell for cell in submitted.cells if isinstance(cell, dict) and len(source_of(cell)) <= LONGEST_CELL]
    if len(theirs) < len(submitted.cells):
        notes.append("a cell of more than 100,000 characters was left out")
    taken: dict[int, str] = {}  # by the identity of a cell: the name of the answer it became
    for cell in fresh.cells:
        name = graded(cell)
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            continue
        stub = cell.source
        own = [one for one in theirs if graded(one) == name and one.get("cell_type") == cell.cell_type]
        own = [one for one in own if is_filled(source_of(one), stub)]
        lost = [one for one in theirs if _looks_like(one, name, stub) and is_filled(source_of(one), stub)]
        found = own or lost
        if found:
            cell.source = source_of(found[-1])
            taken.update({id(one): name for one in found})
            if cell.cell_type == "code" and name == f"answer-{PLOT}":
                cell.outputs = list(_pictures(found[-1]))
        if len(own) > 1 or (not own and lost):
            notes.append(f"{name}: {len(own)} copies, {len(lost)} without the cell's name; the last one was taken")
    fresh.cells = list(_with_own_cells(fresh, theirs, taken, notes))
    return fresh, notes


def _looks_like(cell: NotebookNode, name: str, stub: str) -> bool:
    """Whether a cell without nbgrader's name, or with another one, holds the answer of this name."""
    text = source_of(cell)
    if name == EXPLANATION:
        own = cell.get("cell_type") == "markdown" and not text.startswith("#")  # the bug's cell has no name either
        return not graded(cell) and own and len(text) >= SHORTEST_EXPLANATION
    if cell.get("cell_type") != "code":
        return False
    if name == f"answer-{BUG}":
        return not graded(cell) and _assigned(source_of(cell))
    if name == f"answer-{PLOT}":
        return not graded(cell) and bool(list(_pictures(cell)))
    return bool(defined(stub) & defined(source_of(cell)))


def _pictures(cell: NotebookNode) -> Iterator[NotebookNode]:
    """The pictures among a cell's outputs, without anything else."""
    outputs = cell.get("outputs", [])
    for output in outputs if isinstance(outputs, list) else []:
        data = output.get("data", {}) if isinstance(output, dict) else {}
        for kind in PICTURES:
            picture = data.get(kind) if isinstance(data, dict) else None
            picture = "".join(picture) if isinstance(picture, list) and all(map(_is_text, picture)) else picture
            if isinstance(picture, str) and len(picture) <= LARGEST_PICTURE:
                plain: dict[str, Any] = {"output_type": "display_data", "metadata": {}, "data": {kind: picture}}
                yield NotebookNode(plain)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _with_own_cells(
    fresh: NotebookNode, theirs: list[NotebookNode], taken: dict[int, str], notes: list[str]
) -> Iterator[NotebookNode]:
    """The cells of the fresh notebook, each after the student's own cells that came before it."""
    before: dict[str, list[NotebookNode]] = {}
    waiting: list[NotebookNode] = []
    released = {source_of(cell).strip() for cell in fresh.cells}
    own = 0
    for cell in theirs:
        if name := taken.get(id(cell)) or graded(cell):
            before.setdefault(name, []).extend(waiting)
            waiting = []
        elif (text := source_of(cell)).strip() and text.strip() not in released and own < MOST_CELLS:
            own += 1
            kind = "markdown" if cell.get("cell_type") != "code" else "code"
            copied = new_code_cell(text) if kind == "code" else new_markdown_cell(text)
            if kind == "code":
                copied.outputs = list(_pictures(cell))
            copied["id"] = f"own-{own}"
            waiting.append(copied)
    if own == MOST_CELLS:
        notes.append(f"of the student's own cells, the first {MOST_CELLS} were kept")
    for cell in fresh.cells:
        yield from before.pop(graded(cell), [])
        yield cell
    for left in before.values():
        yield from left
    yield from waiting


# What is run


def answers_of(notebook: NotebookNode) -> tuple[dict[str, str], list[str]]:
    """Of a transplanted notebook: the source of each answer by its name, and all code of the student's, in order."""
    answers = {
        name.removeprefix("answer-"): cell.source
        for cell in notebook.cells
        if (name := graded(cell)).startswith("answer-") and cell.cell_type == "code"
    }
    own = [cell.source for cell in notebook.cells if cell.cell_type == "code" and not graded(cell)]
    return answers, own


def definitions(source: str) -> str:
    """Of a cell only what defines: imports, functions, classes, and plain values. Lines keep their numbers.

    Plots, loops and calls at the outer level are left out: they are for the student's eyes, and may take for ever. A
    cell that is no valid Python is left as it is, so that its error can be told.
    """
    lines = source.splitlines()
    plain = [("" if line.lstrip().startswith(("%", "!", "?")) else line) for line in lines]
    try:
        body = ast.parse("\n".join(plain)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    kept = list(plain)
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)) or _is_plain(node):
            continue
        for number in range(node.lineno - 1, node.end_lineno):
            kept[number] = ""
    return "\n".join(kept)


def _is_plain(node: ast.stmt) -> bool:
    """Whether this gives a name to a value that needs no call but of math, of torch, or of what Python has."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return False
    calls = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
    return all(ast.unparse(call).partition(".")[0] in PLAIN_CALLS for call in calls)
