"""All exercises of the course, and for each notebook the answers that only the tests know."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import minidiff.checks
from minidiff.checks.records import Exercise, Explanation, Question, Task

__all__ = ["ANSWERS", "CHECKED", "EXERCISES", "MODULES", "QUESTIONS", "TASKS", "marked", "notebook_of"]


def notebook_of(id: str) -> str:
    """The module of an exercise: "n05" for "5.1"."""
    return f"n{int(id.partition('.')[0]):02d}"


def marked(tasks: list[Task]) -> list:
    """Parameters of a test, each named by its notebook and its id, so that `-k n05` chooses a notebook."""
    return [pytest.param(task, id=f"{notebook_of(task.id)}-{task.id}") for task in tasks]


def _modules() -> dict[str, ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(minidiff.checks.__path__))
    names = [name for name in names if name[0] == "n" and name[1:].isdecimal()]
    return {name: importlib.import_module(f"minidiff.checks.{name}") for name in names}


def _answers(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"tests.course.checks.answers_{name}")
    except ModuleNotFoundError:
        return None  # a test says so


MODULES = _modules()
TASKS: list[Task] = [task for module in MODULES.values() for task in module.EXERCISES]
EXERCISES = [task for task in TASKS if isinstance(task, Exercise)]
CHECKED = [task for task in TASKS if not isinstance(task, Explanation)]
QUESTIONS = [task for task in TASKS if isinstance(task, Question)]
ANSWERS = {name: answers for name in MODULES if (answers := _answers(name))}
