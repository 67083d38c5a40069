"""What a notebook calls: check, hint, solution, predict. They print, and raise only where there is no such
exercise."""

import ast
import contextlib
import dis
import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType

from minidiff.checks.judging import judge, judge_value, observed
from minidiff.checks.observing import describe
from minidiff.checks.progress import note
from minidiff.checks.records import Exercise, Explanation, Question, Task, Verdict

__all__ = ["Prediction", "check", "examined", "find", "hint", "predict", "solution"]

SEED = 7  # of what an answer draws
AS_GOOD_AS_RIGHT = 0.05  # how far a prediction may be off, relative, to count as right
_shown: dict[str, int] = {}  # how many hints of an exercise were shown


def check(id: str, answer: object) -> Verdict:
    """Say whether an answer to an exercise is right, and what is wrong with it if not: `check("5.1", forward_step)`.

    answer: the function itself, without brackets, or the number or the choice that is asked for. Returns the verdict,
    which a notebook does not show. Whatever the answer does, nothing is raised and nothing global changes. Raises
    ValueError where there is no such exercise.
    """
    exercise = find(id)
    verdict = examined(exercise, answer)
    note(exercise, verdict, answer)
    print(f"{exercise.id} {exercise.name}: {verdict.text}")
    return verdict


def hint(id: str, n: int | None = None) -> None:
    """Print the n-th hint of an exercise, or the next one not shown yet. Raises ValueError for an unknown id."""
    exercise = find(id)
    total = len(exercise.hints)
    number = _shown.get(exercise.id, 0) + 1 if n is None else n
    if number in range(1, total + 1):
        _shown[exercise.id] = int(number)
        print(f"{exercise.id} {exercise.name}, hint {number} of {total}: {exercise.hints[int(number) - 1]}")
    elif n is None:
        _shown.pop(exercise.id, None)
        print(f'Those were all {total} hints. solution("{exercise.id}") prints the answer and why it is right.')
    else:
        print(f"{exercise.id} {exercise.name} has hints 1 to {total}.")


def solution(id: str) -> None:
    """Print the solution of an exercise, another way to write it, and why it is right.

    Of one that is answered in words, print a model answer. Raises ValueError for an unknown id."""
    exercise = find(id)
    if isinstance(exercise, Explanation):
        print(f"{exercise.id} {exercise.name}: a model answer\n{exercise.model}")
        print("\n- ".join(["\nWhat a good answer contains:", *exercise.look_for]))
        return
    if isinstance(exercise, Question):
        print(f"# {exercise.id} {exercise.name}\n{inspect.getsource(exercise.solution)}\n{exercise.why}")
        return
    print(f"# {exercise.id} {exercise.name}\n{inspect.getsource(exercise.solution)}")
    print(f"# or, in another way\n{inspect.getsource(exercise.alternative)}")
    print(exercise.why)


@dataclass(frozen=True, repr=False)
class Prediction:
    """What was expected of a number or a choice before it was computed. None: nothing was noted."""

    question: str
    value: object

    def __repr__(self) -> str:
        return f"<prediction: {self.question}>"

    def _ipython_display_(self) -> None:
        """Show nothing: `predict` has printed already."""

    def compare(self, truth: object) -> None:
        """Print the prediction beside the truth. Where nothing was noted, one fixed line."""
        if self.value is None:
            print(f"{self.question}: you noted no prediction.")
            return
        said = f"{self.question}: you predicted {_shortly(self.value)}. It is {_shortly(truth)}."
        print(f"{said} {_how_near(self.value, truth)}".rstrip())


def predict(question: str, value: object = None, *, truth: object = None) -> Prediction:
    """Note what you expect before you run the next cell: `guess = predict("the spread after 10,000 steps", 100)`.

    value: a number or a choice; None or ... while nothing is filled in. truth: compare at once. A later cell can do
    so too, with `guess.compare(measured)`.
    """
    prediction = Prediction(question, None if value is ... else value)
    if truth is not None:
        prediction.compare(truth)
    elif prediction.value is None:
        print(f"{question}: no prediction yet. Note one before you run the next cell.")
    else:
        print(f"{question}: you predict {_shortly(value)}.")
    return prediction


def find(id: str) -> Task:
    """The exercise of this id. Raises ValueError, with the ids that there are, where there is none."""
    notebook = str(id).partition(".")[0]
    exercises: tuple[Task, ...] = ()
    if notebook.isdecimal():
        with contextlib.suppress(ModuleNotFoundError):
            exercises = importlib.import_module(f"minidiff.checks.n{int(notebook):02d}").EXERCISES
    for exercise in exercises:
        if exercise.id == str(id):
            return exercise
    there = ", ".join(exercise.id for exercise in exercises)
    there = f"notebook {notebook} has {there}" if there else 'an id is the notebook and a number, such as "5.1"'
    raise ValueError(f"there is no exercise {id!r}: {there}")


def examined(exercise: Task, answer: object) -> Verdict:
    """The verdict on an answer, without printing or noting anything."""
    if isinstance(exercise, Explanation):
        text = f'this one is answered in words. solution("{exercise.id}") shows a model answer, and what to look for.'
        return Verdict(exercise.id, "unchecked", "unchecked", text)
    if isinstance(exercise, Question):
        return _unanswered(exercise) if answer is None or answer is ... else judge_value(exercise, answer)
    if not callable(answer):
        text = f"This is {describe(answer)}, and not a function. Hand over the function itself, without brackets: "
        text += f'check("{exercise.id}", {exercise.name})'
        return Verdict(exercise.id, "incident", "no function", text)
    if _unfilled(exercise, answer):
        return _unanswered(exercise)
    return judge(exercise, observed(exercise, answer, seed=SEED))


def _unanswered(exercise: Exercise | Question) -> Verdict:
    text = f'not filled in yet. hint("{exercise.id}") gives the first of {len(exercise.hints)} hints.'
    return Verdict(exercise.id, "unfilled", "unfilled", text)


def _unfilled(exercise: Exercise, answer: Callable) -> bool:
    """Whether an answer is still the stub, or does nothing at all, whatever its docstring and comments."""
    code = getattr(answer, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    untouched = (_compiled(exercise.stub), _compiled("def nothing():\n    pass"))
    return _instructions(code) in [_instructions(stub) for stub in untouched]


def _compiled(source: str) -> CodeType:
    """The code of the first function of a source, without running anything."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)][:1]
    return next(c for c in compile(tree, "<stub>", "exec").co_consts if isinstance(c, CodeType))


def _instructions(code: CodeType) -> list[tuple[str, object]]:
    """What a function does, step by step. Where its constants lie is left out: a docstring moves them."""
    idle = ("RESUME", "NOP", "CACHE")
    return [(i.opname, repr(i.argval)) for i in dis.get_instructions(code) if i.opname not in idle]


def _shortly(value: object) -> str:
    number = _number(value)
    return describe(value).removeprefix("str ").strip("'\"") if number is None else f"{number:.4g}"


def _number(value: object) -> float | None:
    with contextlib.suppress(Exception):
        return None if isinstance(value, str) else float(value)
    return None


def _how_near(value: object, truth: object) -> str:
    guess, right = _number(value), _number(truth)
    if guess is None or right is None:
        same = _shortly(value).casefold() == _shortly(truth).casefold()
        return "You were right." if same else ""
    if not math.isfinite(guess) or not math.isfinite(right):
        return ""
    if abs(guess - right) <= AS_GOOD_AS_RIGHT * abs(right):
        return "You were right, to 5 %."
    if guess * right <= 0:
        return f"You were {_shortly(abs(guess - right))} off."
    ratio = guess / right
    return f"You were too {'high' if abs(ratio) > 1 else 'low'} by a factor of {max(ratio, 1 / ratio):.2g}."
