"""From the release to grades and back: what lecturers and students meet on the way."""

import copy
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from minidiff.checks.judging import cases_of
from minidiff.checks.observing import readable
from minidiff.checks.records import RNG
from minidiff.workshop.labs import LABS, grading, lab_of, notebooks, salt, sandbox
from minidiff.workshop.labs.__main__ import main
from minidiff.workshop.labs.bugs import LETTERS, bug_of, bugs_in
from minidiff.workshop.labs.course import Course
from minidiff.workshop.labs.gradebook import opened
from minidiff.workshop.labs.notebooks import definitions, graded, transplanted
from minidiff.workshop.labs.salt import variants_of
from tests.workshop.labs.conftest import needs_isolation
from tests.workshop.labs.students import (
    Handed,
    all_right,
    filled,
    in_moodle,
    marks_of,
    mistakes,
    release_in,
    right_answers,
)

SALT = "a salt for tests"
LAB = lab_of("05")
MOST = sum(problem.points for problem in LAB.problems) + LAB.bug_points


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A course whose lab 05 is handed out."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "salt.txt").write_text(SALT)
    assert main(["release", "--lab", "05", "--course", str(folder)]) == 0
    return folder


@pytest.fixture
def course(released, tmp_path):
    """A copy of it for one test."""
    subprocess.run(["cp", "-r", released, tmp_path / "a course"], check=True)
    return tmp_path / "a course"


def grade(course: Path, source: Path, *more: str) -> int:
    return main(["grade", "--lab", "05", "--course", str(course), "--from", str(source), *more])


def table(course: Path, name: str = "grades.csv") -> list[dict[str, str]]:
    text = (course / "returned" / "lab05" / name).read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


# --- handing out -----------------------------------------------------------------------------------------------------


def test_a_release_holds_no_solution_and_is_the_same_every_time(course, capsys):
    handed = zipfile.ZipFile(course / "release" / "lab05.zip")
    (name,) = handed.namelist()
    text = handed.read(name).decode()
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    for variant in variants_of(LAB, SALT).values():
        exercise = variant.exercise
        assert exercise.stub.strip() in [cell.source for cell in notebook.cells]
        body = [line.strip() for line in right_answers(course, "05")[_slot(variant)].splitlines()[1:]]
        assert not any(len(line) > 25 and json.dumps(line)[1:-1] in text for line in body)
        assert exercise.why not in text
    assert SALT not in text
    before = (course / "release" / "lab05.zip").read_bytes()
    assert main(["release", "--lab", "05", "--course", str(course)]) == 0
    assert (course / "release" / "lab05.zip").read_bytes() == before


def _slot(variant) -> str:
    return next(problem.name for problem in LAB.problems if variant in problem.variants)


def test_a_released_notebook_runs_from_top_to_bottom_as_it_is(released):
    space: dict = {}
    for cell in release_in(released, "05").cells:
        if cell.cell_type == "code" and "matplotlib" not in cell.source:
            exec(cell.source, space)
    names = [variant.exercise.name for variant in variants_of(LAB, SALT).values()]
    assert all(callable(space[name]) for name in names) and space["bug"] is None


def test_salts_decide_variants_inputs_and_bugs():
    salts = [f"salt number {k}" for k in range(40)]
    for number in LABS:
        lab = lab_of(number)
        drawn = [tuple(one.exercise.id for one in variants_of(lab, text).values()) for text in salts]
        assert len(set(drawn)) > 5
        for place in range(len(lab.problems)):
            assert len({one[place] for one in drawn}) == len(lab.problems[place].variants)
        assert len({salt.inputs_of(lab, text, lab.problems[0].name) for text in salts}) == len(salts)
        bugs = [bug_of(lab, text) for text in salts]
        assert {bug.right for bug in bugs} == set(LETTERS)
        assert len({bug.name for bug in bugs}) > 5
        assert all(bug.variant not in variants_of(lab, text).values() for bug, text in zip(bugs, salts, strict=True))
        assert len({bug_of(lab, SALT, str(student)).code for student in range(40)}) > 3
    assert variants_of(LAB, SALT) == variants_of(LAB, SALT) and bug_of(LAB, SALT) == bug_of(LAB, SALT)


def test_a_bug_is_code_that_makes_this_very_mistake():
    """What is shown behaves as the wrong answer of the catalogue does: same numbers for the same inputs and seed."""
    shown = 0
    for number in LABS:
        for problem in lab_of(number).problems:
            for variant in problem.variants:
                for wrong, code in bugs_in(variant.exercise):
                    space = {one.__name__: one for one in variant.given}
                    exec(f"import math\nimport torch\n{code}", space)
                    case = cases_of(variant.exercise, 3)[-1]
                    outs = []
                    for answer in (wrong.answer, space[variant.exercise.name]):
                        g = torch.Generator().manual_seed(1)
                        outs.append(readable(answer(*[g if one is RNG else one for one in case.args])))
                    exact = {"rtol": 0, "atol": 0, "equal_nan": True}
                    same = all(torch.allclose(p, q, **exact) for p, q in zip(*outs, strict=True))
                    assert same, (variant.exercise.id, wrong.name)
                    shown += 1
    assert shown > 300


def test_each_student_may_get_a_bug_of_their_own(course, tmp_path):
    people = tmp_path / "list.csv"
    people.write_text("id,name\n1000,Ada\n1001,Jürgen Groß\n1002,Zoë\n", encoding="utf-8-sig")
    assert main(["release", "--lab", "05", "--course", str(course), "--students", str(people)]) == 0
    handed = zipfile.ZipFile(course / "release" / "lab05.zip")
    assert handed.namelist() == ["1000/lab05.ipynb", "1001/lab05.ipynb", "1002/lab05.ipynb"]
    texts = [handed.read(name).decode() for name in handed.namelist()]
    assert len(set(texts)) > 1
    for bad, said in [("no.csv", "there is no"), ("empty.csv", "must have a column id or name")]:
        (tmp_path / "empty.csv").write_text("a,b\n1,2\n")
        assert main(["release", "--lab", "05", "--course", str(course), "--students", str(tmp_path / bad)]) == 1, said


def test_another_salt_is_refused(course, monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_LAB_SALT", "quite another one")
    assert main(["release", "--lab", "05", "--course", str(course)]) == 1
    assert "is another salt than that in" in capsys.readouterr().err
    monkeypatch.setenv("MINIDIFF_LAB_SALT", "short")
    assert main(["release", "--lab", "05", "--course", str(course / "new")]) == 1
    assert "at least 8 characters" in capsys.readouterr().err


def test_a_new_course_has_a_secret_salt_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("MINIDIFF_LAB_SALT", raising=False)
    first, second = (salt.salt_of(tmp_path / name) for name in "ab")
    assert first != second and len(first) == 32 and first == salt.salt_of(tmp_path / "a")
    if os.name == "posix":
        assert (tmp_path / "a" / "salt.txt").stat().st_mode & 0o077 == 0


# --- pouring answers into a fresh copy -------------------------------------------------------------------------------


def answered(course: Path, change) -> dict[str, str]:
    """The answers that are found in a submission with right answers, after a change to it."""
    release = release_in(course, "05")
    submitted = filled(release, right_answers(course, "05"))
    change(submitted)
    fresh, _ = transplanted(release, submitted)
    nbformat.validate(fresh)
    return notebooks.answers_of(fresh)[0]


def cell_of(notebook, name):
    return next(cell for cell in notebook.cells if graded(cell) == name)


def lose_all_ids(notebook):
    for cell in notebook.cells:
        cell.metadata = {}
        cell.pop("id", None)


def delete_points(notebook):
    notebook.cells = [cell for cell in notebook.cells if not graded(cell).startswith("points")]


def duplicate(notebook):
    notebook.cells.append(copy.deepcopy(cell_of(notebook, "answer-step")))


def stub_after(notebook):
    again = copy.deepcopy(cell_of(notebook, "answer-step"))
    again.source = release_stub(again)
    notebook.cells.append(again)


def release_stub(cell):
    return next(
        variant.exercise.stub for variant in variants_of(LAB, SALT).values() if variant.exercise.name in cell.source
    )


def rewrite_elsewhere(notebook):
    cell = cell_of(notebook, "answer-step")
    notebook.cells.append(new_code_cell(cell.source))
    notebook.cells.remove(cell)


def reverse(notebook):
    notebook.cells = notebook.cells[::-1]


def change_locked(notebook):
    for cell in notebook.cells:
        if not graded(cell).startswith("answer"):
            cell.source = "print('mine')"


def wild_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata["nbgrader"] = [1]
    cell.metadata["nbgrader"] = {"grade_id": 7}


@pytest.mark.parametrize(
    "change",
    [lose_all_ids, delete_points, duplicate, stub_after, rewrite_elsewhere, reverse, change_locked, wild_metadata],
)
def test_answers_are_found_whatever_happened_to_the_cells(change, released):
    right = right_answers(released, "05")
    found = answered(released, change)
    assert {name: found[name].strip() for name in right} == right


def test_a_students_own_cells_come_along_and_their_pictures(released):
    release = release_in(released, "05")
    submitted = filled(release, right_answers(released, "05"))
    submitted.cells.insert(3, new_code_cell("def my_helper(x):\n    return x"))
    picture = new_output("display_data", data={"image/png": "AAAA", "text/html": "<script>"})
    plot = cell_of(submitted, "answer-plot")
    plot.source, plot.outputs = "plt.plot([1, 2])", [picture, new_output("stream", text="x")]
    fresh, notes = transplanted(release, submitted)
    assert [cell.source for cell in fresh.cells if not graded(cell) and cell.get("id", "").startswith("own")] == [
        "def my_helper(x):\n    return x"
    ]
    assert [dict(one.data) for one in cell_of(fresh, "answer-plot").outputs] == [{"image/png": "AAAA"}]
    assert notes == [] and "my_helper" in "".join(notebooks.answers_of(fresh)[1])


def test_only_what_defines_is_run():
    source = "import torch\n%matplotlib inline\nx = 3\ny = f(2)\nfor _ in range(9): pass\n"
    source += "def f(a):\n    return a\nprint(f(1))\nONE = torch.ones(1)"
    assert definitions(source).split("\n") == [
        "import torch",
        "",
        "x = 3",
        "",
        "",
        "def f(a):",
        "    return a",
        "",
        "ONE = torch.ones(1)",
    ]
    assert definitions("def f(:\n") == "def f(:\n"


# --- marking ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def class_of_eight(released, tmp_path_factory):
    """Eight students, graded once."""
    folder = tmp_path_factory.mktemp("graded") / "Kurs für Übungen"
    subprocess.run(["cp", "-r", released, folder], check=True)
    release = release_in(folder, "05")
    problem, mistake, code = next(mistakes(folder, "05"))
    handed = []

    def hand_in(name, *, instead=None, change=None):
        answers, expected = all_right(folder, "05", **(instead or {}))
        notebook = filled(release, answers)
        if change:
            change(notebook)
        handed.append(Handed(name, notebook, expected))

    hand_in("Ada Lovelace")
    hand_in("Jürgen Groß", instead={problem: (code, "known", mistake)})
    hand_in("李 小龍", change=lose_all_ids)
    hand_in("=cmd|'calc'!A0")
    stub = {
        "step": (cell_of(release, "answer-step").source, "unfilled", "unfilled"),
        "bug": ("bug = None", "unfilled", "unfilled"),
    }
    hand_in("Half Done", instead=stub)
    hand_in(
        "Syntax Error", instead={"step": ("def " + cell_of(release, "answer-step").source, "incident", "not defined")}
    )
    hand_in("Bad <script>alert(1)", instead={"jump": ("jump = 3", "incident", "not defined")})
    handed.append(Handed("Nothing", release, {}))
    source = in_moodle(folder.parent / "all.zip", handed, Web=b"<!DOCTYPE html>", Other=_other_lab())
    assert grade(folder, source) == 0
    return folder, handed, source


def _other_lab() -> bytes:
    lab = lab_of("06")
    notebook = notebooks.release_of(lab, variants_of(lab, SALT), bug_of(lab, SALT), version="x")
    return nbformat.writes(notebook).encode()


@needs_isolation
def test_every_answer_gets_its_verdict(class_of_eight):
    folder, handed, _ = class_of_eight
    kept = marks_of(folder)
    for one in handed[:-1]:
        found = {name: (mark["state"], mark["mistake"]) for name, mark in kept[one.name]["marks"].items()}
        assert found == one.expected, one.name
    assert all(mark["points"] == 0 for mark in kept["Nothing"]["marks"].values())


@needs_isolation
def test_grades_say_what_the_judge_said(class_of_eight):
    folder, handed, _ = class_of_eight
    rows = {row["name"].lstrip("'"): row for row in table(folder)}
    assert len(rows) == len(handed) + 2
    assert float(rows["Ada Lovelace"]["total"]) == MOST == float(rows["李 小龍"]["total"])
    assert "2 copies" not in rows["李 小龍"]["notes"] and "without the cell's name" in rows["李 小龍"]["notes"]
    assert float(rows["Jürgen Groß"]["step"]) == 0.25 * LAB.problems[0].points
    assert "it is a web page" in rows["Web"]["notes"] and rows["Web"]["total"] == ""
    assert "it is the notebook of lab 06" in rows["Other"]["notes"]
    assert [row["name"] for row in table(folder) if row["name"].startswith(("=", "@", "+"))] == []
    moodle = {row["Full name"]: row for row in table(folder, "moodle.csv")}
    assert moodle["Ada Lovelace"] == {
        **{"Identifier": "Participant 1000", "Full name": "Ada Lovelace"},
        **{"Grade": str(float(MOST)), "Maximum grade": str(MOST + sum(points for points, _ in LAB.plot.rubric))},
        "Last modified (grade)": "-",
    }


@needs_isolation
def test_feedback_names_the_mistake_and_hides_what_is_hidden(class_of_eight):
    folder, handed, _ = class_of_eight
    pages = zipfile.ZipFile(folder / "returned" / "lab05" / "feedback.zip")
    texts = {name: pages.read(name).decode() for name in pages.namelist()}
    juergen = texts["Jürgen Groß_1001_assignsubmission_file_/feedback.html"]
    problem, mistake, _ = next(mistakes(folder, "05"))
    message = next(wrong.message for wrong in variants_of(LAB, SALT)[problem].exercise.wrong if wrong.name == mistake)
    assert mistake in juergen and message.split(".")[0] in juergen.replace("&#x27;", "'").replace("&quot;", '"')
    assert "Smallest case" in juergen and "Read again: notebook 05" in juergen and 'name="viewport"' in juergen
    for name, text in texts.items():
        assert SALT not in text and "<script" not in text
        others = [one.name for one in handed if one.name not in name and one.name.isalpha() and len(one.name) > 4]
        assert not any(other in text for other in others)
    secret = salt.inputs_of(LAB, SALT, "step")
    assert not any(str(secret) in text for text in texts.values())


@needs_isolation
def test_grading_again_changes_nothing_and_runs_nothing(class_of_eight, monkeypatch):
    folder, _, source = class_of_eight
    before = {path: path.read_bytes() for path in (folder / "returned").rglob("*") if path.is_file()}

    def never(*arguments, **named):
        raise AssertionError("nothing had to be marked again")

    monkeypatch.setattr(grading.judging, "mark_all", never)
    monkeypatch.setattr(grading.gradebook, "book", never)
    assert grade(folder, source) == 0
    assert {path: path.read_bytes() for path in (folder / "returned").rglob("*") if path.is_file()} == before


@needs_isolation
def test_manual_points_and_late_penalties_survive(course, tmp_path):
    release = release_in(course, "05")
    answers, expected = all_right(course, "05")
    notebook = filled(release, answers)
    cell_of(notebook, "explanation").source = "The mean goes first, because it falls by the square root only."
    source = in_moodle(tmp_path / "a.zip", [Handed("Ada Lovelace", notebook, expected)])  # on 1 November, at noon
    assert grade(course, source, "--due", "2026-10-30", "--late", "10") == 0
    assert float(table(course)[0]["late"]) == pytest.approx(-0.2 * MOST)
    assert table(course)[0]["waits for you"] == "plot"
    (student,) = [row["id"] for row in table(course)]
    with opened(Course(course)) as gradebook:
        marked = gradebook.find_grade("explanation", "lab05", "lab05", student)
        marked.manual_score, marked.needs_manual_grade = 3, False  # as Formgrader does it
        gradebook.find_comment("explanation", "lab05", "lab05", student).manual_comment = "Well seen."
        gradebook.db.commit()
    assert main(["export", "--lab", "05", "--course", str(course)]) == 0
    assert float(table(course)[0]["total"]) == pytest.approx(0.8 * (MOST + 3))
    page = next((course / "returned" / "lab05" / "feedback").glob("*.html")).read_text()
    assert "Well seen." in page and "For being late" in page
    assert table(course)[0]["waits for you"] == ""
    cell_of(notebook, "answer-step").source = release_stub(cell_of(notebook, "answer-step"))
    again = in_moodle(tmp_path / "b.zip", [Handed("Ada Lovelace", notebook, expected)])
    assert grade(course, again) == 0  # what was said about the deadline is kept
    assert table(course)[0]["waits for you"] == ""  # what a person has marked is as it was
    points = MOST - LAB.problems[0].points
    assert float(table(course)[0]["total"]) == pytest.approx(0.8 * (points + 3))


@needs_isolation
def test_a_grading_that_is_killed_goes_on_where_it_was(course, tmp_path):
    release = release_in(course, "05")
    answers, expected = all_right(course, "05")
    handed = [Handed(f"Student {letter}", filled(release, answers), expected) for letter in "ABCD"]
    source = in_moodle(tmp_path / "a.zip", handed)
    command = [sys.executable, "-m", "minidiff.workshop.labs", "grade", "--lab", "05", "--course", str(course)]
    process = subprocess.Popen([*command, "--from", str(source)], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((course / "marks").rglob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: json.loads(path.read_text())["key"] for path in (course / "marks").rglob("*.json")}
    assert 2 <= len(kept)
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert grade(course, source) == 0
    assert all(json.loads(path.read_text())["key"] == key for path, key in kept.items()) and stamps
    assert [float(row["total"]) for row in table(course)] == [float(MOST)] * 4


def test_times_of_the_download_make_nobody_late(course, tmp_path, capsys):
    answers = {"length": right_answers(course, "05")["length"]}
    handed = [Handed(f"Student {letter}", filled(release_in(course, "05"), answers), {}) for letter in "ABCDEF"]
    source = in_moodle(tmp_path / "a.zip", handed)
    assert grade(course, source, "--due", "2026-10-01", "--late", "10", "--unsafe") == 0
    assert {row["late"] for row in table(course)} == {""}
    assert "the time of the download" in capsys.readouterr().err


def test_one_notebook_that_cannot_be_marked_keeps_no_other_from_its_marks(course, tmp_path, monkeypatch):
    answers, expected = {"length": right_answers(course, "05")["length"]}, {}
    handed = [Handed(f"Student {letter}", filled(release_in(course, "05"), answers), expected) for letter in "AB"]
    real = grading.judging.mark_all
    calls = []

    def once(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("by chance")
        return real(*arguments)

    monkeypatch.setattr(grading.judging, "mark_all", once)
    assert grade(course, in_moodle(tmp_path / "a.zip", handed), "--unsafe") == 0
    first, second = table(course)
    assert "could not be marked" in first["notes"] and first["total"] == ""
    assert float(second["total"]) == LAB.problems[-1].points


def test_an_explanation_in_another_cell_waits_for_a_person(released):
    release = release_in(released, "05")
    submitted = filled(release, {})
    submitted.cells.append(
        new_markdown_cell("The mean falls by the square root of alpha_bar, and so it goes last of all.")
    )
    fresh, _ = transplanted(release, submitted)
    assert cell_of(fresh, "explanation").source.startswith("The mean falls")


def test_a_wrong_call_is_told_in_a_line(course, tmp_path, capsys):
    for arguments, said in [
        (["release", "--lab", "99"], "LAB must be one of 01-02"),
        (["grade", "--lab", "05", "--from", ""], "FROM must be the zip"),
        (["grade", "--lab", "05", "--from", "a.zip", "--due", "soon"], "2026-12-24 18:00"),
        (["grade", "--lab", "05", "--from", "a.zip", "--late", "200"], "a number from 0 to 100"),
    ]:
        with pytest.raises(SystemExit):
            main([*arguments, "--course", str(course)])
        assert said in capsys.readouterr().err
    for arguments, said in [
        (["grade", "--lab", "06", "--from", "a.zip"], "make lab-release LAB=06 first"),
        (["grade", "--lab", "05", "--from", str(tmp_path / "a.zip")], "there is no"),
    ]:
        assert main([*arguments, "--course", str(course)]) == 1
        assert said in capsys.readouterr().err


def test_without_isolation_grading_is_refused(course, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sandbox, "isolation_here", lambda: "none")
    answers = {"length": right_answers(course, "05")["length"]}
    notebook = filled(release_in(course, "05"), answers)
    source = in_moodle(tmp_path / "a.zip", [Handed("Ada Lovelace", notebook, {})])
    assert grade(course, source) == 1
    assert "UNSAFE=1" in capsys.readouterr().err
    assert grade(course, source, "--unsafe") == 0
    assert float(table(course)[0]["total"]) == LAB.problems[-1].points


def test_canvas_gets_its_own_form(course, tmp_path):
    answers = right_answers(course, "05")
    text = nbformat.writes(filled(release_in(course, "05"), answers))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("lovelaceada_77_901_lab05.ipynb", text)
        archive.writestr("grossjurgen_LATE_78_902_lab05-1.ipynb", text)
    assert grade(course, tmp_path / "a.zip", "--due", "2099-01-01", "--late", "10", "--unsafe") == 0
    rows = table(course, "canvas.csv")
    assert [row["ID"] for row in rows] == ["", "78", "77"]
    assert float(rows[1]["lab05"]) == pytest.approx(0.9 * MOST) and float(rows[2]["lab05"]) == MOST
    names = zipfile.ZipFile(course / "returned" / "lab05" / "feedback.zip").namelist()
    assert names == ["grossjurgen_LATE_78_902_lab05-1.html", "lovelaceada_77_901_lab05.html"]
