"""Points for answers. They run in a sandbox, and are judged here, where no answer ever runs.

The judge knows what is right, and compares; see `minidiff.checks.judging`. A random answer must also scatter as the
right one does: otherwise a single huge number would hide everything, because it makes all means uncertain.
"""

import ast
import inspect
from dataclasses import asdict, dataclass, replace

from minidiff.checks.judging import cases_of, judge, measured, reference
from minidiff.checks.records import Case, Exercise, Incident, Observation, Verdict, arguments
from minidiff.workshop.labs.bugs import LETTERS, Bug
from minidiff.workshop.labs.messages import Unreadable, packed, read_observation, write_cases
from minidiff.workshop.labs.notebooks import BUG, answers_of, definitions, is_filled, plain_stub
from minidiff.workshop.labs.records import Lab, Variant
from minidiff.workshop.labs.salt import inputs_of, number
from minidiff.workshop.labs.sandbox import Sandbox

__all__ = ["KNOWN_SHARE", "Mark", "mark_all", "mark_answer", "mark_bug"]

KNOWN_SHARE = 0.25  # of the points, for a mistake that is known
SECONDS = 6.0  # for one case, on a busy machine; an answer of the course takes a hundredth of it
PATIENCE = 12.0  # for the whole job
WIDEST = 4.0  # how much larger than the right answer's the variance of a random answer's numbers may be


@dataclass(frozen=True)
class Mark:
    """What one answer got: points out of most, the state and name of the verdict, and what to tell the student."""

    name: str
    title: str
    points: float
    most: int
    state: str
    mistake: str
    text: str
    read: str = ""

    def record(self) -> dict:
        """As JSON holds it."""
        return asdict(self)


def mark_all(lab: Lab, variants: dict[str, Variant], bug: Bug, salt: str, notebook, box: Sandbox) -> dict[str, Mark]:
    """All marks of a transplanted notebook that need no person, by the name of the problem."""
    answers, own = answers_of(notebook)
    marks = {}
    for problem in lab.problems:
        variant = variants[problem.name]
        others = [*own, *(source for name, source in answers.items() if name not in (problem.name, "plot", BUG))]
        inputs = inputs_of(lab, salt, problem.name)
        verdict = mark_answer(variant, answers.get(problem.name, ""), others, inputs, box)
        points = problem.points * {"right": 1.0, "known": KNOWN_SHARE}.get(verdict.state, 0.0)
        title, read = variant.exercise.name, "" if verdict.state == "right" else variant.read
        mistake = "" if verdict.state == "right" else verdict.name
        marks[problem.name] = Mark(
            problem.name, title, points, problem.points, verdict.state, mistake, verdict.text, read
        )
    marks[BUG] = mark_bug(lab, bug, answers.get(BUG, ""))
    return marks


# The bug


def mark_bug(lab: Lab, bug: Bug, source: str) -> Mark:
    """Points for the letter in a cell, which is read and not run."""
    said, most = _letter(source), lab.bug_points
    if said is None:
        text = f'No answer was found. It has to be written as bug = "{LETTERS[0]}", with one of the letters.'
        return Mark(BUG, "find the bug", 0, most, "unfilled", "unfilled", text)
    if said == bug.right:
        return Mark(BUG, "find the bug", most, most, "right", "", "Right.")
    text = f"Not {said}: the bug is another one. Run the function by hand on the smallest input that you can think of."
    return Mark(BUG, "find the bug", 0, most, "known", f"said {said}", text, bug.variant.read)


def _letter(source: str) -> str | None:
    """The last letter that is given to `bug` in a cell, if there is one."""
    found = None
    try:
        nodes = ast.walk(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            if [target.id for target in node.targets if isinstance(target, ast.Name)] == [BUG]:
                found = node.value.value.strip().upper()
    return found if found in tuple(LETTERS) else None


# Functions


def mark_answer(variant: Variant, source: str, others: list[str], inputs: int, box: Sandbox) -> Verdict:
    """The verdict on one function. others: what else the student wrote. inputs: what chooses the hidden cases."""
    exercise, stub = variant.exercise, plain_stub(variant)
    if not is_filled(source, stub):
        return Verdict(exercise.id, "unfilled", "unfilled", "Not filled in.")
    cells = [definitions(other) for other in others if other.strip()] + [definitions(source)]
    public, *hidden = cases_of(exercise, inputs)
    seen = _run(variant, cells, (public,), number(str(inputs), "public"), box)
    if seen.incident is None:
        rest = _run(variant, cells, tuple(hidden), number(str(inputs), "hidden"), box)
        if rest.incident is not None:
            rest = replace(rest, incident=_without_numbers(rest.incident))
        remarks = tuple(dict.fromkeys([*seen.remarks, *rest.remarks]))
        seen = Observation(seen.outputs + rest.outputs, seen.returned + rest.returned, rest.incident, remarks)
    try:
        verdict = judge(exercise, seen, inputs=inputs, recall=lambda name, _: _remembered(variant, inputs, name))
    except Exception:  # an answer that writes its own observation can make one that nothing honest makes
        return Verdict(exercise.id, "incident", "unreadable", "What your function returned could not be compared.")
    if verdict.state == "right" and (odd := _scatter(exercise, seen, inputs, variant)):
        return Verdict(exercise.id, "unknown", "unknown", odd)
    return verdict


def _run(variant: Variant, cells: list[str], cases: tuple[Case, ...], seed: int, box: Sandbox) -> Observation:
    """What an answer does on these cases, in the sandbox."""
    exercise = variant.exercise
    listed, tensors = write_cases(cases, variant.given)
    job = {
        **{"given": [inspect.getsource(one) for one in variant.given], "cells": cells, "name": exercise.name},
        **{"names": list(arguments(exercise)), "cases": listed, "calls": exercise.calls, "seed": seed},
        **{"seconds": SECONDS, "patience": PATIENCE},
    }
    ended = box(packed(job, tensors), PATIENCE)
    if ended.how == "late":
        text = f"Your function did not end within {PATIENCE:.3g} s, and was stopped."
        return Observation(incident=Incident("no end", text))
    if ended.how == "died":
        text = "Your function ended the program that ran it: by too much memory, too much output, or on purpose."
        return Observation(incident=Incident("died", text))
    try:
        return read_observation(ended.message, cases, exercise.calls)
    except Unreadable:
        text = "What your function returned could not be read back. It should return tensors or numbers."
        return Observation(incident=Incident("unreadable", text))


def _without_numbers(incident: Incident) -> Incident:
    """An incident in a hidden case: its kind, and nothing that the answer may have put into its words."""
    kinds = {
        "exception": "In a hidden case your function raises an error that it does not raise in the public one.",
        "no end": "In a hidden case your function does not end.",
        "not finite": "In a hidden case your function returns NaN or infinity.",
    }
    text = kinds.get(incident.kind, f"In a hidden case: {incident.kind}.")
    return Incident(incident.kind, text)


_memory: dict[tuple[str, int, str], Observation] = {}


def _remembered(variant: Variant, inputs: int, name: str) -> Observation:
    """What the truth or a wrong answer does, observed once for all students."""
    key = (variant.exercise.id, inputs, name)
    if key not in _memory:
        _memory[key] = reference(variant.exercise, name, inputs=inputs)
    return _memory[key]


def _scatter(exercise: Exercise, seen: Observation, inputs: int, variant: Variant) -> str:
    """What to say where a random answer's numbers scatter far more than the right one's, or nothing."""
    if exercise.view is None:
        return ""
    cases, truth = cases_of(exercise, inputs), _remembered(variant, inputs, "")
    for case, mine, right in zip(cases, measured(exercise, cases, seen), measured(exercise, cases, truth), strict=True):
        for name, one in mine.items():
            if right[name].error > 0 and one.error > WIDEST * right[name].error:
                return f"Not right, and no mistake that we know.\nFor {case.says}, {name} scatters far too much."
    return ""
