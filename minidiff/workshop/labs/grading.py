"""From a zip of submissions to grades. It may be killed at any moment: it goes on from what was finished."""

import hashlib
import json
import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from minidiff.checkpoints import write_file
from minidiff.workshop.labs import bugs, gradebook, judging, lab_of, notebooks, returned
from minidiff.workshop.labs.course import Course
from minidiff.workshop.labs.records import Lab
from minidiff.workshop.labs.releasing import bug_handed_to, row_of, variants_handed_out, with_bug
from minidiff.workshop.labs.salt import salt_of
from minidiff.workshop.labs.sandbox import Sandbox, sandbox
from minidiff.workshop.labs.submissions import Submission, Trouble, collected
from minidiff.workshop.workers import Refused

__all__ = ["grade"]

EDITION = "1"  # of the judge: marks of another one are given again
FEW, AT_ONCE = 5, timedelta(minutes=10)  # so many files within so short a time were not handed in, but downloaded


def grade(
    course: Course,
    number: str,
    source: Path,
    *,
    due: datetime | None = None,
    late: float | None = None,
    unsafe: bool = False,
) -> dict[str, Path]:
    """Mark all submissions of a lab. Returns what lies where. Raises Refused, with what to do."""
    lab = lab_of(number)
    name = notebooks.assignment(lab)
    path = course.place("release", name, f"{name}.ipynb")
    if not path.exists():
        raise Refused(f"lab {number} was never handed out from {course.folder}: make lab-release LAB={number} first")
    release, salt = nbformat.read(path, as_version=4), salt_of(course.folder)
    right, troubles = collected(source, partial(other_lab, lab, release))
    settings(course, lab, due, late)
    variants_handed_out(course, lab)
    timed = times_are_known(right)
    if not timed and course.settings()[name].get("due"):
        print("all files have the time of the download, so nobody is late by it: see FOR_LECTURERS", file=sys.stderr)
    done = []
    with sandbox(unsafe=unsafe) as box:
        for one in tqdm(right, desc=f"marking {name}", unit="student"):
            try:
                marked(course, lab, salt, release, one, box, timed)
                done.append(one)
            except (Refused, OSError):
                raise
            except Exception as error:  # one notebook must not keep the marks of all others
                text = f"it could not be marked, which is a mistake of the course: {type(error).__name__}: {error}"
                troubles.append(Trouble(one.who, one.file, text))
    right = done
    for trouble in troubles:
        noted(course, lab, trouble)
    gradebook.named(course, {one.who.id: one.who.name for one in right})
    failed = booked(course, lab, [one.who.id for one in right])
    files = returned.export(course, lab)
    if failed:
        raise Refused("nbgrader did not take " + "; ".join(f"{id}: {why}" for id, why in failed.items()))
    return files


def settings(course: Course, lab: Lab, due: datetime | None, late: float | None) -> None:
    """Keep what was said about the deadline; what is not said stays as it was."""
    name = notebooks.assignment(lab)
    said = {"due": due.isoformat(" ") if due else None, "late": late}
    course.keep(name, {key: value for key, value in said.items() if value is not None})
    kept = course.settings()[name].get("due")
    gradebook.due(course, lab, datetime.fromisoformat(kept) if kept else None)


def other_lab(lab: Lab, release: NotebookNode, notebook: NotebookNode) -> str:
    """What is wrong about a notebook that is none of this lab, or nothing."""
    about = notebook.metadata.get("minidiff", {}) if isinstance(notebook.get("metadata"), dict) else {}
    said = about.get("lab") if isinstance(about, dict) else None
    if isinstance(said, str) and said != lab.number:
        return f"it is the notebook of lab {said}, and not of lab {lab.number}"
    names = {notebooks.graded(cell) for cell in release.cells} - {""}
    stubs = [cell.source for cell in release.cells if notebooks.graded(cell).startswith("answer-")]
    functions = set().union(*(notebooks.defined(stub) for stub in stubs))
    theirs = {notebooks.graded(cell) for cell in notebook.cells}
    defined = set().union(*(notebooks.defined(notebooks.source_of(cell)) for cell in notebook.cells))
    if said is None and not names & theirs and not functions & defined:
        return f"it is no notebook of lab {lab.number}: it has none of its cells and none of its functions"
    return ""


def marked(
    course: Course, lab: Lab, salt: str, release: NotebookNode, one: Submission, box: Sandbox, timed: bool
) -> None:
    """Mark one submission, unless just that was marked before, and put it where nbgrader looks."""
    bug = bug_handed_to(course, lab, one.who)
    fresh, notes = notebooks.transplanted(with_bug(release, lab, bug), one.notebook)
    people = course.settings()[notebooks.assignment(lab)]["people"]
    if people and not row_of(people, one.who):
        notes.append("is not in the table of students, and was marked by the bug that is everybody's")
    variants = variants_handed_out(course, lab)
    key = _key(salt, bug, fresh, [variant.exercise.id for variant in variants.values()])
    path = course.marks(notebooks.assignment(lab), one.who.id)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    entry = {
        "who": asdict(one.who),
        "file": one.file,
        "when": _stamp(course, lab, one, timed),
        "notes": [*one.notes, *notes],
        "trouble": "",
        "key": key,
    }
    if kept.get("key") == key:
        entry |= {"marks": kept["marks"]}
    else:
        marks = judging.mark_all(lab, variants, bug, salt, fresh, box)
        entry |= {"marks": {name: mark.record() for name, mark in marks.items()}}
    folder = course.submitted(notebooks.assignment(lab), one.who.id)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{notebooks.assignment(lab)}.ipynb", nbformat.writes(fresh).encode())
    write_file(folder / "timestamp.txt", entry["when"].encode())
    entry["booked"] = kept.get("booked", "")
    entry["told"] = _told(fresh)
    entry["told before"] = kept.get("told before", "")
    _write(path, entry)


def _stamp(course: Course, lab: Lab, one: Submission, timed: bool) -> str:
    """When it was handed in. Where times say nothing, the deadline, or just after it if the LMS says `late`."""
    kept, when = course.settings()[notebooks.assignment(lab)].get("due"), one.when
    if kept and (one.late or not timed or one.who.lms == "canvas"):  # a zip of Canvas has the time of the download
        when = datetime.fromisoformat(kept) + timedelta(seconds=1 if one.late else 0)
    return when.strftime(gradebook.STAMP)


def times_are_known(submissions: list[Submission]) -> bool:
    """Whether the times in a zip are those of the submissions. Where all are the same, they are the download's."""
    times = [one.when for one in submissions if one.who.lms != "canvas"]
    return len(times) < FEW or max(times) - min(times) > AT_ONCE


def _told(notebook: NotebookNode) -> str:
    """What a person marks: as long as it is the same, their points need no second look."""
    names = (notebooks.EXPLANATION, f"answer-{notebooks.PLOT}")
    return json.dumps([cell.source for cell in notebook.cells if notebooks.graded(cell) in names])


def _key(salt: str, bug: bugs.Bug, notebook: NotebookNode, ids: list[str]) -> str:
    sources = [f"{cell.cell_type} {cell.source}" for cell in notebook.cells]
    text = json.dumps([EDITION, salt, bug.name, bug.right, ids, sources])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _write(path: Path, entry: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(entry, indent=1, ensure_ascii=False) + "\n").encode())


def noted(course: Course, lab: Lab, trouble: Trouble) -> None:
    """Keep why a submission could not be read, unless an earlier one of that student could."""
    path = course.marks(notebooks.assignment(lab), trouble.who.id)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if kept.get("marks"):
        kept["notes"] = [*dict.fromkeys([*kept["notes"], f"{trouble.file} could not be read: {trouble.text}"])]
        _write(path, kept)
        return
    about = {"who": asdict(trouble.who), "file": trouble.file, "when": "", "notes": [], "trouble": trouble.text}
    _write(path, {**about, "key": "", "marks": {}, "booked": ""})


def booked(course: Course, lab: Lab, students: list[str]) -> dict[str, str]:
    """Write marks into the gradebook where they are not in it yet. Returns what went wrong, by student."""
    name, failed = notebooks.assignment(lab), {}
    api = gradebook.api_of(course, name)
    for student in tqdm(students, desc=f"booking {name}", unit="student"):
        path = course.marks(name, student)
        entry = json.loads(path.read_text(encoding="utf-8"))
        state = f"{entry['key']} {entry['when']}"
        if entry["booked"] == state:
            continue
        if why := gradebook.book(api, course, lab, student):
            failed[student] = why
            continue
        if entry["told"] == entry.get("told before"):
            gradebook.keep_reviewed(course, lab, student)
        entry |= {"booked": state, "told before": entry["told"]}
        _write(path, entry)
    return failed
