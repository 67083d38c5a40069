"""Answers of a notebook's exercises by name: what the tests of odd and unknown answers are built from."""

from collections.abc import Callable, Sequence

from minidiff.checks.records import Exercise


def answers_of(exercises: Sequence) -> tuple[Callable, Callable]:
    """Two lookups: the solution of an exercise by its name, and a wrong answer by the names of exercise and mistake."""
    by_name = {exercise.name: exercise for exercise in exercises if isinstance(exercise, Exercise)}

    def solution(name: str) -> Callable:
        return by_name[name].solution

    def wrong(name: str, mistake: str) -> Callable:
        (found,) = (wrong.answer for wrong in by_name[name].wrong if wrong.name == mistake)
        return found

    return solution, wrong
