"""nbgrader's part: its gradebook, its autograder with our marks in it, and the cost of a late day.

nbgrader keeps the format, the gradebook and the page on which a person marks what needs a person. It executes nothing:
`Given` writes our judge's marks where its executor would have written outputs.
"""

import contextlib
import json
import logging
import math
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nbconvert.filters.markdown import markdown2html
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps.api import NbGraderAPI
from nbgrader.exchange import ExchangeError
from nbgrader.exchange.default import ExchangeList
from nbgrader.plugins import BasePlugin
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets.config import Config

from minidiff.workshop.labs import lab_of
from minidiff.workshop.labs.course import Course, nbgrader_config
from minidiff.workshop.labs.notebooks import EXPLANATION, assignment, graded
from minidiff.workshop.labs.records import Lab
from minidiff.workshop.workers import Refused

__all__ = ["Booked", "Given", "NoRubric", "PerDay", "api_of", "book", "booked", "generate", "opened"]

DAY = 86_400
TAGS = "a blockquote br code div em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul".split()
RUBRIC = "rubric"  # the id of its cell
STAMP = (
    "%Y-%m-%d %H:%M:%S UTC"  # the clock of the LMS, whatever its zone: submissions and deadlines are of the same one
)


class Given(NbGraderPreprocessor):
    """Write the marks of a submission into its notebook, and the rubric under the explanation, for who marks it."""

    def preprocess(self, notebook: Any, resources: dict) -> tuple[Any, dict]:
        """The notebook with outputs in the cells that hold points."""
        about = resources["nbgrader"]
        course = Course(Path(self.config.CourseDirectory.root))
        path = course.marks(about["assignment"], about["student"])
        marks = json.loads(path.read_text(encoding="utf-8"))["marks"]
        lab = lab_of(about["assignment"].removeprefix("lab"))
        cells = []
        for cell in notebook.cells:
            cells.append(cell)
            name = graded(cell)
            if name.startswith("points-"):
                mark = marks[name.removeprefix("points-")]
                said = f"{mark['state']}: {mark['mistake']}" if mark["mistake"] else mark["state"]
                score = {"text/plain": str(mark["points"])}
                cell.outputs = [
                    new_output("stream", name="stdout", text=f"{said}\n{mark['text']}\n"),
                    new_output("execute_result", data=score, execution_count=None),
                ]
            if name == EXPLANATION:
                cells.append(new_markdown_cell(rubric_of(lab), id=RUBRIC))
        notebook.cells = cells
        return notebook, resources


def rubric_of(lab: Lab) -> str:
    """What a person gives points for."""
    lines = [f"- {points} {'point' if points == 1 else 'points'}: {text}" for points, text in lab.plot.rubric]
    return "\n".join(["**For the marker (students never see this)**", "", *lines])


class NoRubric(NbGraderPreprocessor):
    """Take the rubric out of a notebook, for whoever lets nbgrader write feedback in place of ours."""

    def preprocess(self, notebook: Any, resources: dict) -> tuple[Any, dict]:
        """The notebook without it."""
        notebook.cells = [cell for cell in notebook.cells if cell.get("id") != RUBRIC]
        return notebook, resources


def harmless(source: str) -> str:
    """A text as formgrader shows it, without anything that a browser would run.

    Its pages come from the lecturer's Jupyter server: a script in them may do there what the lecturer may do.
    """
    return SanitizeHTML(tags=TAGS, attributes={"a": ["href"]}).sanitize_html_tags(markdown2html(source))


class NoExchange(ExchangeList):
    """Submissions come from the LMS, and not through a folder on a server that students share."""

    def ensure_root(self) -> None:
        raise ExchangeError("no folder is shared with students")


class PerDay(BasePlugin):
    """What a late submission costs: a share of its points for each day that has begun."""

    def late_submission_penalty(self, student_id: str, score: float, total_seconds_late: float) -> float | None:
        """The points to take off, None for none."""
        course = Course(Path(self.config.CourseDirectory.root))
        return penalty_of(course, self.config.CourseDirectory.assignment_id, score, total_seconds_late) or None


def penalty_of(course: Course, name: str, score: float, seconds_late: float) -> float:
    """The points that a late submission loses."""
    share = course.settings().get(name, {}).get("late", 0) / 100
    days = math.ceil(max(0.0, seconds_late) / DAY)
    return min(score, round(score * share * days, 2))


def config_of(course: Course, assignment_id: str) -> Config:
    """nbgrader's settings for a lab of this course."""
    c = Config()
    nbgrader_config(c, str(course.place("nbgrader_config.py")))
    c.CourseDirectory.assignment_id = assignment_id
    return c


def reach_alembic() -> None:
    """nbgrader makes its gradebook by a program called alembic, which it looks for on PATH."""
    scripts = sysconfig.get_path("scripts")
    if scripts not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join((scripts, os.environ.get("PATH", "")))


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without the warnings that SQLAlchemy has for nbgrader, which nobody here can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def api_of(course: Course, assignment_id: str) -> NbGraderAPI:
    """nbgrader, for a lab of this course. It says nothing; what went wrong is in what it returns."""
    reach_alembic()
    for name in ("nbgrader", "traitlets", "alembic", ""):
        logging.getLogger(name or None).setLevel(logging.ERROR)
    return NbGraderAPI(config=config_of(course, assignment_id))


@contextlib.contextmanager
def opened(course: Course) -> Iterator[Gradebook]:
    """The gradebook."""
    reach_alembic()
    with silent(), Gradebook(f"sqlite:///{course.place('gradebook.db')}", "minidiff") as gradebook:
        yield gradebook


def generate(course: Course, lab: Lab) -> Path:
    """Make nbgrader's release from the source, and return the notebook. Raises Refused with nbgrader's own words."""
    name = assignment(lab)
    done = api_of(course, name).generate_assignment(name)
    if not done["success"]:
        raise Refused(f"nbgrader could not make the release: {_last_line(done)}")
    return course.place("release", name, f"{name}.ipynb")


def book(api: NbGraderAPI, course: Course, lab: Lab, student: str) -> str:
    """Write a student's marks into the gradebook. Returns what went wrong, if anything did."""
    with silent():
        done = api.autograde(assignment(lab), student)
    return "" if done["success"] else _last_line(done)


def _last_line(done: dict) -> str:
    said = (done.get("error") or done.get("log") or "it said nothing").strip().splitlines()
    return said[-1]


def keep_reviewed(course: Course, lab: Lab, student: str) -> None:
    """A person has marked this explanation already, and it has not changed: it does not wait for them again."""
    name = assignment(lab)
    with opened(course) as gradebook:
        grade = gradebook.find_grade(EXPLANATION, name, name, student)
        if grade.manual_score is not None:
            grade.needs_manual_grade = False
            gradebook.db.commit()


def due(course: Course, lab: Lab, when: datetime | None) -> None:
    """Set when a lab is due."""
    with opened(course) as gradebook:
        gradebook.update_or_create_assignment(assignment(lab), duedate=when)


def named(course: Course, people: dict[str, str]) -> None:
    """Write the names of students into the gradebook: id -> name."""
    with opened(course) as gradebook:
        for id, name in people.items():
            first, _, last = name.rpartition(" ")
            gradebook.update_or_create_student(id, first_name=first, last_name=last)


@dataclass(frozen=True)
class Booked:
    """What the gradebook says of one submission: points by cell, comments, what waits for a person, and the cost of
    being late."""

    points: dict[str, float]
    comments: dict[str, str]
    waiting: tuple[str, ...]
    penalty: float

    @property
    def total(self) -> float:
        return max(0.0, sum(self.points.values()) - self.penalty)


def booked(course: Course, lab: Lab, students: list[str]) -> dict[str, Booked]:
    """What the gradebook says of a lab, for those students that it knows."""
    name, found = assignment(lab), {}
    with opened(course) as gradebook:
        for student in students:
            try:
                notebook = gradebook.find_submission_notebook(name, name, student)
            except MissingEntry:
                continue
            points = {grade.name: float(grade.score) for grade in notebook.grades}
            comments = {
                one.name: text
                for one in notebook.comments
                if (text := one.comment if one.name == EXPLANATION else one.manual_comment)
            }
            waiting = tuple(grade.name for grade in notebook.grades if grade.needs_manual_grade)
            late = gradebook.find_submission(name, student).total_seconds_late
            penalty = penalty_of(course, name, sum(points.values()), late)
            notebook.late_submission_penalty = penalty or None  # with the points that a person has given by now
            found[student] = Booked(points, comments, waiting, penalty)
        gradebook.db.commit()
    return found
