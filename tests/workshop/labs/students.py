"""A class for tests: submissions of every kind, from the solutions of a lab and the catalogue of its mistakes."""

import copy
import inspect
import json
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from minidiff.workshop.labs import bugs, lab_of
from minidiff.workshop.labs.notebooks import assignment, graded
from minidiff.workshop.labs.salt import salt_of, variants_of

WHEN = (2026, 11, 1, 12, 0, 0)


@dataclass(frozen=True)
class Handed:
    """What a student hands in, and what should come of it: for each problem the state, and the name of a mistake."""

    name: str
    notebook: NotebookNode
    expected: dict[str, tuple[str, str]]


def release_in(course: Path, number: str) -> NotebookNode:
    name = assignment(lab_of(number))
    return nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)


def filled(release: NotebookNode, answers: dict[str, str]) -> NotebookNode:
    """A release with these sources in the cells of the answers."""
    done = copy.deepcopy(release)
    for cell in done.cells:
        if (name := graded(cell).removeprefix("answer-")) in answers:
            cell.source = answers[name]
    return done


def renamed(source: str, name: str) -> str:
    """The source of a function, dedented, with another name."""
    source = textwrap.dedent(source).strip()
    head, _, rest = source.partition("(")
    return f"def {name}({rest}" if head.startswith("def ") else source


def right_answers(course: Path, number: str) -> dict[str, str]:
    lab, salt = lab_of(number), salt_of(course)
    answers = {
        name: inspect.getsource(variant.exercise.solution).strip() for name, variant in variants_of(lab, salt).items()
    }
    return {**answers, "bug": f'bug = "{bugs.bug_of(lab, salt).right}"'}


def right_in_another_form(course: Path, number: str) -> dict[str, str]:
    """The second right form of each answer, where it needs nothing but math and torch."""
    lab, salt = lab_of(number), salt_of(course)
    forms = {}
    for name, variant in variants_of(lab, salt).items():
        alternative = variant.exercise.alternative
        names = set(alternative.__code__.co_names) & set(alternative.__globals__) - {"math", "torch"}
        if not names and not alternative.__code__.co_freevars:
            forms[name] = renamed(inspect.getsource(alternative), variant.exercise.name)
    return forms


def mistakes(course: Path, number: str) -> Iterator[tuple[str, str, str]]:
    """Problem, name and source of each known mistake that can be written in one cell."""
    lab, salt = lab_of(number), salt_of(course)
    for name, variant in variants_of(lab, salt).items():
        for wrong, code in bugs.bugs_in(variant.exercise):
            yield name, wrong.name, code


def all_right(course: Path, number: str, **instead: tuple[str, str, str]) -> tuple[dict[str, str], dict]:
    """Right answers and what to expect, with others for some problems: problem -> (source, state, mistake)."""
    answers = right_answers(course, number)
    expected = dict.fromkeys(answers, ("right", ""))
    for name, (source, state, mistake) in instead.items():
        answers[name], expected[name] = source, (state, mistake)
    return answers, expected


def in_moodle(path: Path, handed: list[Handed], lab: str = "lab05", **more: bytes) -> Path:
    """A zip as Moodle makes it, with a number for each student."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, one in enumerate(handed, start=1000):
            file = f"{one.name}_{number}_assignsubmission_file_/{lab}.ipynb"
            archive.writestr(zipfile.ZipInfo(file, WHEN), nbformat.writes(one.notebook), zipfile.ZIP_DEFLATED)
        for name, content in more.items():
            archive.writestr(zipfile.ZipInfo(f"{name}_1_assignsubmission_file_/{lab}.ipynb", WHEN), content)
    return path


def marks_of(course: Path, lab: str = "lab05") -> dict[str, dict]:
    """What the judge has kept, by the student's name."""
    kept = [json.loads(path.read_text()) for path in (course / "marks" / lab).glob("*.json")]
    return {entry["who"]["name"]: entry for entry in kept}
