"""What goes back: a page of feedback for each student, a table of grades, and forms that Moodle and Canvas read."""

import csv
import html
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from minidiff.checkpoints import write_file
from minidiff.workshop.labs.course import Course
from minidiff.workshop.labs.gradebook import Booked, booked
from minidiff.workshop.labs.notebooks import BUG, EXPLANATION, PLOT, assignment
from minidiff.workshop.labs.records import Lab
from minidiff.workshop.workers import Refused

__all__ = ["export", "feedback_page"]

STYLE = """
body { font: 1.05rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 0 auto; padding: 1rem; color: #1a1a1a;
       background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 0; }
section { border-left: 0.3rem solid #777; padding: 0.2rem 0 0.2rem 0.8rem; margin: 1.2rem 0; }
section.right { border-color: #1b7a3d; } section.known { border-color: #a85b00; }
section.unknown, section.incident { border-color: #b3261e; }
p { margin: 0.3rem 0; white-space: pre-line; }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616; } }
"""
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def entries(course: Course, lab: Lab) -> list[dict[str, Any]]:
    """What our judge has kept of a lab, one entry for each student, by name."""
    folder = course.place("marks", assignment(lab))
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted(kept, key=lambda entry: (entry["who"]["name"].casefold(), entry["who"]["id"]))


def export(course: Course, lab: Lab) -> dict[str, Path]:
    """Write everything that goes back, with the manual marks that there are. Returns what lies where."""
    kept = entries(course, lab)
    if not kept:
        raise Refused(f"nothing of lab {lab.number} has been graded in {course.folder}: make lab-grade first")
    found = booked(course, lab, [entry["who"]["id"] for entry in kept])
    place = course.returned(assignment(lab))
    files: dict[str, bytes] = {"grades.csv": grades(lab, kept, found)}
    forms = {"moodle": moodle, "canvas": canvas}
    for lms, form in forms.items():
        theirs = [entry for entry in kept if entry["who"]["lms"] == lms]
        if theirs:
            files[f"{lms}.csv"] = form(lab, theirs, found)
    pages = {_page_name(entry): feedback_page(lab, entry, found.get(entry["who"]["id"])) for entry in kept}
    files["feedback.zip"] = _zipped(pages)
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_file(place / name, content)
    for name, page in pages.items():
        path = place / "feedback" / f"{name.replace('/', ' ').removesuffix('.html')}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, page.encode())
    return {name: place / name for name in files}


def _page_name(entry: dict[str, Any]) -> str:
    """What the LMS expects a student's file to be called, to give it to that student."""
    who = entry["who"]
    if who["lms"] == "moodle":
        return f"{who['folder'].rstrip('_')}_/feedback.html"
    if who["lms"] == "canvas":
        return f"{who['folder'].rpartition('.')[0]}.html"
    return f"{who['id']}.html"


def _zipped(pages: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, page in sorted(pages.items()):
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), page, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


# Tables


def columns(lab: Lab) -> list[tuple[str, str, int]]:
    """Of each graded cell: its name for nbgrader, its title in a table, and its points."""
    problems = [(f"points-{one.name}", one.name, one.points) for one in lab.problems]
    most = sum(points for points, _ in lab.plot.rubric)
    return [*problems, (f"points-{BUG}", BUG, lab.bug_points), (EXPLANATION, "plot", most)]


def most_of(lab: Lab) -> int:
    """All points of a lab."""
    return sum(points for *_, points in columns(lab))


def _table(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[_harmless(value) for value in row] for row in rows])
    return text.getvalue().encode("utf-8-sig")  # with a mark, by which spreadsheets know umlauts


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) and value != "-" else value


def grades(lab: Lab, kept: list[dict], found: dict[str, Booked]) -> bytes:
    """All there is, a line for each student."""
    titles = [title for _, title, _ in columns(lab)]
    rows: list[list[Any]] = [["id", "name", "LMS number", *titles, "late", "total", "of", "waits for you", "notes"]]
    for entry in kept:
        who, booked_ = entry["who"], found.get(entry["who"]["id"])
        notes = "; ".join([*entry["notes"], *([f"not read: {entry['trouble']}"] if entry["trouble"] else [])])
        if booked_ is None:
            rows.append([who["id"], who["name"], who["number"], *[""] * len(titles), "", "", most_of(lab), "", notes])
            continue
        points = [booked_.points.get(name, 0) for name, *_ in columns(lab)]
        waits = "plot" if EXPLANATION in booked_.waiting else ""
        late = -booked_.penalty if booked_.penalty else ""
        total = round(booked_.total, 2)
        rows.append([who["id"], who["name"], who["number"], *points, late, total, most_of(lab), waits, notes])
    return _table(rows)


def _total(entry: dict, found: dict[str, Booked]) -> float | str:
    known = found.get(entry["who"]["id"])
    return round(known.total, 2) if known else ""  # what could not be read gets no mark, not even 0


def moodle(lab: Lab, kept: list[dict], found: dict[str, Booked]) -> bytes:
    """Moodle's offline grading worksheet: it finds a student by `Participant 1234`, and wants all of these columns."""
    rows = [["Identifier", "Full name", "Grade", "Maximum grade", "Last modified (grade)"]]
    rows += [[f"Participant {e['who']['number']}", e["who"]["name"], _total(e, found), most_of(lab), "-"] for e in kept]
    return _table(rows)


def canvas(lab: Lab, kept: list[dict], found: dict[str, Booked]) -> bytes:
    """Canvas's gradebook: it finds a student by ID. The second line says what the points are out of."""
    rows = [["Student", "ID", "Section", assignment(lab)], ["    Points Possible", "", "", most_of(lab)]]
    rows += [[e["who"]["name"], e["who"]["number"], "", _total(e, found)] for e in kept]
    return _table(rows)


# Feedback


def feedback_page(lab: Lab, entry: dict[str, Any], known: Booked | None) -> str:
    """One page for one student: points, the mistake by name, the smallest case, where to read again."""
    parts = []
    if entry["trouble"] or known is None:
        text = entry["trouble"] or "It has not been marked yet."
        parts.append(_section("incident", "Your file could not be read", "", f"{entry['file']}: {text}."))
    else:
        for name, title, most in columns(lab):
            parts.append(_part(entry, known, name, title, most))
    total = f"{_plain(known.total)} of {most_of(lab)} points" if known else "no points yet"
    waits = " The plot is not marked yet." if known and EXPLANATION in known.waiting else ""
    late = f" For being late, {_plain(known.penalty)} were taken off." if known and known.penalty else ""
    notes = "".join(f"<p>{html.escape(note[0].upper() + note[1:])}.</p>" for note in entry["notes"])
    title = f"Lab {lab.number}: {lab.title}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(entry['who']['name'])}: {total}.{waits}{late}</p>\n{notes}"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _part(entry: dict[str, Any], known: Booked, name: str, title: str, most: int) -> str:
    points = known.points.get(name, 0)
    if name == EXPLANATION:
        if name in known.waiting:
            return _section("unfilled", f"Your plot (up to {most} points)", "", "A person will mark this.")
        state = "right" if points == most else "known"
        said = [known.comments[cell] for cell in (f"answer-{PLOT}", EXPLANATION) if cell in known.comments]
        return _section(state, "Your plot", f"{_plain(points)} of {most}", "\n".join(said))
    mark = entry["marks"][name.removeprefix("points-")]
    text = mark["text"] + (f"\nRead again: {mark['read']}." if mark["read"] else "")
    if comment := known.comments.get(f"answer-{mark['name']}"):
        text += f"\nComment: {comment}"
    said = f"{mark['title']}: {mark['mistake']}" if mark["state"] == "known" and mark["mistake"] else mark["title"]
    return _section(mark["state"], said, f"{_plain(points)} of {most}", text)


def _section(state: str, title: str, points: str, text: str) -> str:
    head = f"{html.escape(title)}" + (f" ({points} points)" if points else "")
    return f'<section class="{html.escape(state)}"><h2>{head}</h2><p>{html.escape(text)}</p></section>'


def _plain(points: float) -> str:
    return f"{points:.4g}"
