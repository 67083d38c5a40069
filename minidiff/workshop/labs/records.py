"""What a lab is made of: problems with variants, a bug to find, a plot to explain. Frozen records without behaviour."""

from collections.abc import Callable
from dataclasses import dataclass

from minidiff.checks.records import Exercise

__all__ = ["Lab", "Plot", "Problem", "Variant"]


@dataclass(frozen=True)
class Variant:
    """One form of a problem: an exercise of its own, which is near one of the lesson's, and not the same.

    exercise: as in the lessons. Its first case is public: feedback shows it. The others are hidden, so that what their
    `says` tells holds no number of theirs. An argument may be a tensor, a number, a string, RNG, a tuple of these, or
    a function of `given`.
    prompt: Markdown, what is asked, with every symbol.
    read: where to read again, `notebook 05, section 2`.
    given: plain functions that need only math and torch; the lab hands out their source.
    """

    exercise: Exercise
    prompt: str
    read: str
    given: tuple[Callable, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A graded function. The salt of a course chooses one of the variants.

    name: of its cells, `step`; the functions of the variants have names of their own.
    """

    name: str
    points: int
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Plot:
    """A plot that a student draws and explains, and that a person marks.

    prompt: Markdown, what to draw and what to explain. rubric: points, and what they are given for.
    """

    prompt: str
    rubric: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Lab:
    """Ninety minutes of work: graded functions, one bug to find, and one plot to explain.

    number: `05`, or `0708` for two notebooks. after: the notebooks that it follows.
    """

    number: str
    title: str
    after: tuple[str, ...]
    problems: tuple[Problem, ...]
    plot: Plot
    bug_points: int = 2
