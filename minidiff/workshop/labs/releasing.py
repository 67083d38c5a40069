"""Make the notebook to hand out: for nbgrader, in a zip for the LMS, and with solutions for the lecturer."""

import copy
import csv
import hashlib
import inspect
import io
import json
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from minidiff.checkpoints import write_file
from minidiff.workshop.labs import bugs, gradebook, lab_of, notebooks
from minidiff.workshop.labs.bugs import Bug
from minidiff.workshop.labs.course import Course
from minidiff.workshop.labs.records import Lab, Variant
from minidiff.workshop.labs.salt import salt_of, variants_of
from minidiff.workshop.labs.submissions import Who
from minidiff.workshop.workers import Refused

__all__ = ["bug_handed_to", "people_of", "release", "row_of", "solved", "variants_handed_out", "with_bug"]


def release(course: Course, number: str, students: Path | None = None) -> dict[str, Path]:
    """Make a lab's notebook. Returns what lies where.

    students: a table (CSV) with a column `id` (the LMS's number) or `name`; then each gets a bug of their own to find.
    """
    lab, salt = lab_of(number), salt_of(course.folder)
    name, variants, people = notebooks.assignment(lab), variants_of(lab, salt), people_of(students)
    bug = bugs.bug_of(lab, salt)
    plain = notebooks.release_of(lab, variants, bug, version="")
    version = hashlib.blake2b(nbformat.writes(plain).encode(), digest_size=4).hexdigest()
    source = course.place("source", name, f"{name}.ipynb")
    _write(source, notebooks.release_of(lab, variants, bug, version=version))
    made = nbformat.read(gradebook.generate(course, lab), as_version=4)
    drawn = {who: bugs.bug_of(lab, salt, who) for who in people} | {"": bug}
    kept = {problem: variant.exercise.id for problem, variant in variants.items()}
    records = {who: bugs.record_of(one) for who, one in drawn.items()}
    course.keep(name, {"bugs": records, "variants": kept, "people": people})
    solution = course.place("solution", name, f"{name}.ipynb")
    _write(solution, solved(made, lab, variants, bug))
    files = {f"{name}.ipynb": made}
    if people:
        files = {f"{who}/{name}.ipynb": with_bug(made, lab, drawn[who]) for who in people}
    packed = course.place("release", f"{name}.zip")
    write_file(packed, _zipped(files))
    return {"to hand out": packed, "solutions, for you alone": solution}


def people_of(students: Path | None) -> dict[str, list[str]]:
    """Who gets a notebook of their own, by id or else by name: all that a row of the table calls them."""
    if students is None:
        return {}
    if not students.is_file():
        raise Refused(f"STUDENTS must be a table (CSV) with a column id or name, but there is no {students}")
    try:
        rows = list(csv.DictReader(io.StringIO(students.read_text(encoding="utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error):
        raise Refused(f"STUDENTS must be a table (CSV, UTF-8), but {students} is none") from None
    columns = [column for column in ("id", "name") if rows and column in rows[0]]
    if not columns:
        raise Refused(f"STUDENTS must have a column id or name and a line for each student, but {students} has not")
    called = [[(row[column] or "").strip().replace("/", "-") for column in columns] for row in rows]
    return {words[0]: [word for word in words if word] for words in called if words[0]}


def bug_handed_to(course: Course, lab: Lab, who: Who) -> Bug:
    """The bug that a student was given: that of their number or name in the table, or else everybody's."""
    kept = course.settings()[notebooks.assignment(lab)]
    return bugs.bug_from(kept["bugs"][row_of(kept["people"], who)], lab)


def row_of(people: dict[str, list[str]], who: Who) -> str:
    """The row of a table that is a student's, or nothing."""
    said = {who.number, who.name, who.id} - {""}
    return next((key for key, words in people.items() if said & {key, *words}), "")


def variants_handed_out(course: Course, lab: Lab) -> dict[str, Variant]:
    """The variants of a lab as they were handed out, by the name of the problem."""
    kept = course.settings()[notebooks.assignment(lab)]["variants"]
    by_id = {one.exercise.id: one for problem in lab.problems for one in problem.variants}
    missing = [id for id in kept.values() if id not in by_id]
    if missing:
        raise Refused(f"lab {lab.number} was handed out by another edition of the course, with {', '.join(missing)}")
    return {problem: by_id[id] for problem, id in kept.items()}


def with_bug(made: NotebookNode, lab: Lab, bug: Bug) -> NotebookNode:
    """A release with another bug to find."""
    changed = copy.deepcopy(made)
    for cell in changed.cells:
        if cell.get("id") == notebooks.BUG:
            cell.source = notebooks.bug_text(lab, bug)
    return changed


def solved(made: NotebookNode, lab: Lab, variants: dict[str, Variant], bug: Bug) -> NotebookNode:
    """A release with right answers in it."""
    done = copy.deepcopy(made)
    answers = {f"answer-{name}": inspect.getsource(one.exercise.solution) for name, one in variants.items()}
    answers[f"answer-{notebooks.BUG}"] = f'bug = "{bug.right}"  # {bug.name}'
    for cell in done.cells:
        if (name := notebooks.graded(cell)) in answers:
            cell.source = answers[name].strip()
        if name == notebooks.EXPLANATION:
            cell.source = gradebook.rubric_of(lab)
    return done


def _write(path: Path, notebook: NotebookNode) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.validate(notebook)
    write_file(path, nbformat.writes(notebook).encode())


def _zipped(files: dict[str, NotebookNode]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, notebook in files.items():
            text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
