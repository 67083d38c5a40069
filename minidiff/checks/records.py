"""What a check is made of: exercises, questions, their wrong answers, what an answer did, and the verdict on it.

All of them are frozen records without behaviour. `observing` fills an Observation, `judging` turns it into a Verdict.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

__all__ = ["RNG", "Case", "Exercise", "Explanation", "Incident", "Observation", "Question", "State", "Task", "Verdict"]
__all__ += ["Wrong", "WrongValue", "arguments", "summary"]

State = Literal["unfilled", "incident", "known", "unknown", "right", "unchecked"]


class _Rng:
    def __repr__(self) -> str:
        return "RNG"


RNG = _Rng()  # stands for the random generator among the arguments of a case


@dataclass(frozen=True)
class Wrong:
    """A wrong answer that people give: something to run, a name, what to say about it, and where it was seen."""

    name: str
    answer: Callable
    message: str
    seen: str


@dataclass(frozen=True)
class Case:
    """The arguments of one call, and how to describe them to the learner. RNG stands for a generator."""

    args: tuple
    says: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is handed out, what is right, and what is wrong in a known way.

    stub: the cell as it is handed out. An answer that does the same is unfilled.
    solution, alternative, why: what `solution` prints.
    truth: a right answer that shares no line with the solution.
    cases: from a generator to the cases, the plainest first.
    view: for random answers. (outputs (R, *D) in float64, *arguments without RNG) -> named numbers, (R,) each, the
        plainest first. None for an answer that draws nothing: it is compared number by number.
    parts: the names of what is returned, where that is more than one thing.
    calls: how often a random answer is called for each case.
    limit: what the check cannot see, said after "Right."; empty where there is nothing to say.
    """

    id: str
    name: str
    stub: str
    solution: Callable
    alternative: Callable
    why: str
    truth: Callable
    cases: Callable[[torch.Generator], tuple[Case, ...]]
    wrong: tuple[Wrong, ...]
    hints: tuple[str, ...]
    view: Callable[..., dict[str, Tensor]] | None = None
    parts: tuple[str, ...] = ()
    calls: int = 400
    limit: str = ""


@dataclass(frozen=True)
class WrongValue:
    """A wrong answer to a Question that people give: a choice, or all numbers from the lowest to the highest."""

    name: str
    value: tuple[float, float] | str
    message: str
    seen: str


@dataclass(frozen=True)
class Question:
    """An exercise whose answer is one number, or one of several choices.

    stub: the line as it is handed out, `fewest = None  # the fewest steps that are still at the floor`.
    right: the lowest and the highest number that count as right, or the right choice.
    solution: without arguments; it computes the right answer, and `solution` prints it with `why`.
    choices: all that may be chosen; empty where a number is asked for. Each wrong one is a WrongValue.
    """

    id: str
    name: str
    stub: str
    right: tuple[float, float] | str
    solution: Callable[[], object]
    why: str
    wrong: tuple[WrongValue, ...]
    hints: tuple[str, ...]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """An exercise that is answered in words or on paper, so that no program checks it.

    task: what is asked, in one sentence. model: an answer. look_for: what a good answer contains, a sentence each.
    """

    id: str
    name: str
    task: str
    model: str
    look_for: tuple[str, ...]
    hints: tuple[str, ...]


Task = Exercise | Question | Explanation


@dataclass(frozen=True)
class Incident:
    """Why an answer could not be compared with anything: a short name, what happened, and what to do about it."""

    kind: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.advice}".rstrip()


@dataclass(frozen=True)
class Observation:
    """What an answer did. It holds tensors and words only, so that it can be made in one process and judged in another.

    outputs: for each case, for each thing returned, a tensor (R, *D): one row for each call.
    returned: for each case, what came back, in words.
    """

    outputs: tuple[tuple[Tensor, ...], ...] = ()
    returned: tuple[str, ...] = ()
    incident: Incident | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found: its state, the name of the mistake or incident, and the text that was printed."""

    id: str
    state: State
    name: str
    text: str = field(compare=False)

    def __repr__(self) -> str:
        return f"<{self.id}: {self.state}>"

    def _ipython_display_(self) -> None:
        """Show nothing: the check has printed already."""


def arguments(exercise: Exercise) -> tuple[str, ...]:
    """The names of the arguments of an exercise, from its stub."""
    return tuple(argument.arg for argument in _function(exercise).args.args)


def summary(task: Task) -> str:
    """What is asked, in one line: of the docstring or the comment in the stub, or the task itself."""
    if isinstance(task, Explanation):
        return task.task
    if isinstance(task, Question):
        said = task.stub.partition("#")[2].strip() or task.name
        return f"{said[0].upper()}{said[1:].rstrip('.')}."
    return (ast.get_docstring(_function(task)) or task.name).splitlines()[0]


def _function(exercise: Exercise) -> ast.FunctionDef:
    return next(node for node in ast.parse(exercise.stub).body if isinstance(node, ast.FunctionDef))
