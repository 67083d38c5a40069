"""What a notebook calls: check, hint, solution, picture and predict print what they should, and raise nothing."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from minidiff.checks import asking, check, hint, judging, picture, pictures, predict, solution
from minidiff.checks.judging import reference as observed_reference
from minidiff.checks.progress import read_progress
from minidiff.checks.records import Explanation
from tests.course.checks.notebooks import CHECKED, EXERCISES, MODULES, QUESTIONS, TASKS, marked, notebook_of

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
every_exercise = pytest.mark.parametrize("exercise", marked(EXERCISES))
every_checked = pytest.mark.parametrize("exercise", marked(CHECKED))


@pytest.fixture(autouse=True)
def no_hints_yet(monkeypatch):
    monkeypatch.setattr(asking, "_shown", {})


@functools.cache
def truth_of(id, calls):
    """What the truth does: the same for every answer, so that it is observed once."""
    return observed_reference(asking.find(id), "", calls=calls)


@pytest.fixture(autouse=True)
def truths_observed_once(monkeypatch):
    def reference(exercise, name, **how):
        if name or set(how.values()) - {0, None, exercise.calls}:
            return observed_reference(exercise, name, **how)
        return truth_of(exercise.id, exercise.calls)

    for module in (judging, pictures):
        monkeypatch.setattr(module, "reference", reference)


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


def stub(exercise):
    space = {}
    exec(exercise.stub, space)
    return space[exercise.name]


@every_checked
def test_an_unfilled_answer_gets_one_fixed_line(exercise, capsys, progress_folder):
    verdict = check(exercise.id, stub(exercise))
    assert verdict.state == "unfilled"
    line = f'{exercise.id} {exercise.name}: not filled in yet. hint("{exercise.id}") gives the first of '
    line += f"{len(exercise.hints)} hints.\n"
    assert capsys.readouterr().out == line
    assert picture(exercise.id, stub(exercise)) is None
    assert capsys.readouterr().out == line
    assert not progress_folder.exists()  # a lesson that runs from top to bottom unfilled leaves no trace


@every_exercise
def test_solution_and_alternative_are_right(exercise, capsys):
    for function in (exercise.solution, exercise.alternative):
        verdict = check(exercise.id, function)
        assert verdict.state == "right"
        limit = f"{exercise.limit}\n" if exercise.limit else ""
        assert capsys.readouterr().out == f"{exercise.id} {exercise.name}: Right.\n{limit}"
    assert read_progress()[exercise.id]["right"] is True


@every_exercise
def test_a_printed_solution_can_be_pasted(exercise, capsys):
    """It needs nothing but what its notebook imports."""
    solution(exercise.id)
    printed = capsys.readouterr().out
    code, rest = printed.split("# or, in another way")
    assert exercise.why in rest
    space = {}
    exec(f"{imports_of(notebook_of(exercise.id)[1:])}\n{code}", space)
    assert check(exercise.id, space[exercise.name]).state == "right"


def imports_of(number):
    """The imports of a notebook."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return "\n".join(
        ast.unparse(node)
        for cell in cells
        for node in ast.parse(cell).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    )


@pytest.mark.parametrize("question", marked(QUESTIONS))
def test_the_solution_of_a_question_is_code_and_a_reason(question, capsys):
    assert check(question.id, question.solution()).state == "right"
    assert capsys.readouterr().out == f"{question.id} {question.name}: Right.\n"
    solution(question.id)
    printed = capsys.readouterr().out
    assert f"def {question.solution.__name__}()" in printed and question.why in printed
    assert read_progress()[question.id]["right"] is True


@pytest.mark.parametrize("explanation", marked([task for task in TASKS if isinstance(task, Explanation)]))
def test_what_is_answered_in_words_has_hints_and_a_model(explanation, capsys, progress_folder):
    assert check(explanation.id, None).state == "unchecked" and "answered in words" in capsys.readouterr().out
    hint(explanation.id)
    solution(explanation.id)
    printed = capsys.readouterr().out
    assert explanation.hints[0] in printed and explanation.model in printed
    assert all(f"- {sentence}" in printed for sentence in explanation.look_for)
    assert explanation.id not in read_progress()


@pytest.mark.parametrize("name", MODULES)
def test_a_notebook_checks_the_exercises_of_its_module_with_their_stubs(name):
    """Every exercise is handed out once, word for word as the record says, and those in words are named."""
    (path,) = NOTEBOOKS.glob(f"{name[1:]}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for task in MODULES[name].EXERCISES:
        if isinstance(task, Explanation):
            assert f"{task.id} " in text, task.id
        else:
            assert code.count(f'check("{task.id}", {task.name})') == 1, task.id
            assert ast.unparse(ast.parse(task.stub)) in ast.unparse(ast.parse(code)), task.id
    asked = re.findall(r'check\("([\d.]+)"', code)
    assert sorted(asked) == sorted(task.id for task in MODULES[name].EXERCISES if task in CHECKED)


def test_an_unknown_id_is_a_clear_error():
    for call in (lambda id: check(id, len), hint, solution, lambda id: picture(id, len)):
        with pytest.raises(ValueError, match=r"there is no exercise '5.99': notebook 5 has 5.1, 5.2, .*, 5.9"):
            call("5.99")
        with pytest.raises(ValueError, match="an id is the notebook and a number"):
            call("forward_step")
        with pytest.raises(ValueError, match=r"there is no exercise '77\.1'"):
            call("77.1")


def test_a_verdict_is_quiet():
    verdict = check("5.5", lambda T, left=0.01: 1 - left ** (2 / T))
    assert repr(verdict) == "<5.5: right>"
    assert DisplayFormatter().format(verdict) == ({}, {})
    assert DisplayFormatter().format(predict("the mean", 1)) == ({}, {})


def test_hints_walk_on(capsys):
    for n in (1, 2, 3):
        hint("5.1")
        assert capsys.readouterr().out.startswith(f"5.1 forward_step, hint {n} of 3: ")
    hint("5.1")
    assert 'solution("5.1")' in capsys.readouterr().out
    hint("5.1")
    assert "hint 1 of 3" in capsys.readouterr().out
    hint("5.2")
    assert "hint 1 of 3" in capsys.readouterr().out
    hint("5.1", 3)
    assert "hint 3 of 3" in capsys.readouterr().out
    for n in (0, 4, -1, "x", 1.5):
        hint("5.1", n)
        assert capsys.readouterr().out == "5.1 forward_step has hints 1 to 3.\n"


@pytest.mark.parametrize(
    ("value", "truth", "printed"),
    [
        (None, 3.14159, "the spread: you noted no prediction.\n"),
        (..., 3.14159, "the spread: you noted no prediction.\n"),
        (100, 100.3, "the spread: you predicted 100. It is 100.3. You were right, to 5 %.\n"),
        (10_000, 100, "the spread: you predicted 1e+04. It is 100. You were too high by a factor of 1e+02.\n"),
        (50, 100, "the spread: you predicted 50. It is 100. You were too low by a factor of 2.\n"),
        (-1, 1, "the spread: you predicted -1. It is 1. You were 2 off.\n"),
        (0, 0, "the spread: you predicted 0. It is 0. You were right, to 5 %.\n"),
        ("A", "A", "the spread: you predicted A. It is A. You were right.\n"),
        ("A", "B", "the spread: you predicted A. It is B.\n"),
        (torch.tensor(2.0), torch.tensor(2.0), "the spread: you predicted 2. It is 2. You were right, to 5 %.\n"),
        (float("nan"), 2, "the spread: you predicted nan. It is 2.\n"),
    ],
)
def test_predictions_are_noted_and_compared(value, truth, printed, capsys):
    guess = predict("the spread", value)
    noted = capsys.readouterr().out
    if value is None or value is ...:
        assert noted == "the spread: no prediction yet. Note one before you run the next cell.\n"
    else:
        assert noted.startswith("the spread: you predict ")
    guess.compare(truth)
    assert capsys.readouterr().out == printed
    predict("the spread", value, truth=truth)
    assert capsys.readouterr().out == printed


@every_exercise
def test_a_picture_shows_both_answers(exercise):
    wrong = exercise.wrong[0].answer
    for answer in (exercise.solution, wrong):
        figure = picture(exercise.id, answer)
        if figure is None:
            continue
        labels = {text.get_text() for ax in figure.axes for text in ax.get_legend().get_texts()}
        assert labels == {"yours", "right"}
    if figure is not None:
        figure.canvas.draw()


def test_a_picture_of_an_incident_is_its_text(capsys):
    assert picture("5.1", lambda x, beta, g: str(x)) is None
    assert "returns str" in capsys.readouterr().out


def test_a_picture_of_a_mistake_that_an_incident_betrays_is_its_text(capsys):
    """A loop that draws nothing gives the same numbers at every call, so there is no second case to draw."""
    walk_back = asking.find("6.4")
    (silent,) = (wrong for wrong in walk_back.wrong if wrong.name == "no noise")
    assert picture("6.4", silent.answer) is None
    assert silent.message in capsys.readouterr().out


def test_importing_the_checks_loads_nothing_heavy():
    heavy = "[m for m in ('sklearn', 'matplotlib', 'scipy', 'pooch', 'IPython') if m in sys.modules]"
    out = subprocess.run(
        [sys.executable, "-c", f"import sys, minidiff.checks; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"
