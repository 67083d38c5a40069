"""A round trip in nbgrader's own pages: a browser opens them in a JupyterLab, and a person marks there.

Browser and server are real. The browser can find no machine but this one, and what it asks of others is an error.
"""

import contextlib
import csv
import html
import io
import random
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output

from minidiff.workshop.labs import lab_of
from minidiff.workshop.labs.__main__ import main
from minidiff.workshop.labs.notebooks import EXPLANATION, graded
from tests.browser import CHROMIUM, FLAGS, MISSING, NO_PLAYWRIGHT
from tests.processes import end, environment, free_port, wait_until
from tests.workshop.labs.conftest import needs_isolation
from tests.workshop.labs.students import Handed, filled, in_moodle, marks_of, mistakes, release_in, right_answers

drivers = pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT)
pytestmark = [needs_isolation, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]

WINDOW = {"width": 1280, "height": 1600}  # JupyterLab has a question at the bottom, which would cover the table
LAB = lab_of("05")
TOKEN = "a-token-for-tests"
SALT = "a salt for tests"
WIDTH = 640  # of the student's picture, in pixels
ADA, JURGEN, ZOE = "ada-lovelace-1000", "jurgen-muller-1001", "zoe-gross-1002"
EXPLAINED = "The variance is forgotten *twice* as fast, since 1 < 2 & so on."
COMMENT, REMARK = "Schön erklärt, aber <b>warum</b> 0,02?", "Kurz & gut."
ATTACK = """
<script>window.attacked = "by a script"</script>
<img src="nowhere.png" onerror="window.attacked = 'by a picture'">
<input id="explanation" class="score" value="5">

[Read more](javascript:void(window.attacked='by_a_link'))
"""
# nbgrader's page for one submission takes MathJax from there. Without it, formulas stay as they were written, and
# there are no keyboard shortcuts; points and comments do without.
MATHJAX = "https://cdnjs.cloudflare.com/ajax/libs/mathjax/2.7.7/latest.js?config=TeX-AMS_CHTML-full,Safe"
WITHOUT_MATHJAX = {"Failed to load resource: net::ERR_NAME_NOT_RESOLVED", "MathJax is not defined"}


# What students have handed in


def cell_of(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if graded(cell) == name)


def picture() -> str:
    """A plot, as a notebook keeps it."""
    figure, axes = plt.subplots(figsize=(WIDTH / 100, 4), dpi=100)
    axes.plot([0, 1], [2, 0.013])
    file = io.BytesIO()
    figure.savefig(file, dpi=100)  # whatever style another test has set in this process
    plt.close(figure)
    return b64encode(file.getvalue()).decode()


def class_of_three(folder: Path, *, wrong: tuple[str, ...] = (), explained: str = EXPLAINED) -> list[Handed]:
    """Ada has everything right but the problems named. Jürgen changed nothing. Zoë has a mistake, and an attack."""
    release, answers = release_in(folder, "05"), right_answers(folder, "05")
    ada = filled(release, answers | {name: "x = 1" for name in wrong})
    cell_of(ada, "answer-plot").source = "plt.plot([0, 1], [2, 0.013])"
    cell_of(ada, "answer-plot").outputs = [new_output("display_data", data={"image/png": picture()})]
    cell_of(ada, EXPLANATION).source = explained
    problem, _, code = next(mistakes(folder, "05"))
    zoe = filled(release, answers | {problem: code})
    cell_of(zoe, EXPLANATION).source = f"I am honest.\n{ATTACK}"
    zoe.cells.insert(3, new_markdown_cell(ATTACK))
    named = {"Ada Lovelace": ada, "Jürgen Müller": release, "Zoë Groß": zoe}
    return [Handed(name, notebook, {}) for name, notebook in named.items()]


# The lecturer's side


@dataclass(frozen=True)
class Desk:
    """A lecturer's: the folder of the course, what the LMS gave, and where JupyterLab answers."""

    folder: Path
    handed: Path
    url: str

    def run(self, command: str, *more: object) -> None:
        assert main([command, "--lab", "05", "--course", str(self.folder), *map(str, more)]) == 0

    def grades(self) -> dict[str, dict[str, str]]:
        """What returned/lab05/grades.csv says, by student."""
        text = (self.folder / "returned" / "lab05" / "grades.csv").read_text(encoding="utf-8-sig")
        return {row["id"]: row for row in csv.DictReader(io.StringIO(text))}

    def feedback(self, name: str) -> str:
        (page,) = (self.folder / "returned" / "lab05" / "feedback").glob(f"{name}_*.html")
        return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Desk]:
    """A graded course, in a folder that is not easy to name, and JupyterLab in it, as a lecturer starts it."""
    folder = tmp_path_factory.mktemp("Kurse für Öl") / "mein Kurs"
    folder.mkdir()
    (folder / "salt.txt").write_text(SALT)
    port = free_port()
    made = Desk(folder, folder.parent / "submissions.zip", f"http://127.0.0.1:{port}")
    made.run("release")
    in_moodle(made.handed, class_of_three(folder))
    made.run("grade", "--from", made.handed)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", "--allow-root", "--no-browser", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",  # it asks PyPI
    ]
    homes = {"HOME": str(folder.parent)}  # nobody's own settings are read or changed
    homes |= {f"JUPYTER_{name}_DIR": str(folder.parent / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    log = folder.parent / "jupyter.log"
    with log.open("w") as file:
        how = {"cwd": folder, "stdout": file, "stderr": file, "start_new_session": True}
        server = subprocess.Popen(command, env=environment(**homes), **how)
    try:
        wait_until(lambda: server.poll() is not None or answers(made.url), seconds=60)
        assert server.poll() is None, log.read_text()
        yield made
        said = log.read_text(encoding="utf-8").splitlines()
        assert not [line for line in said if line.startswith(("[E ", "[C ", "Traceback"))]
    finally:
        end(server)


def answers(url: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        with urllib.request.urlopen(f"{url}/api?token={TOKEN}") as reply:
            return reply.status == 200
    return False


@contextlib.contextmanager
def browser(desk: Desk, path: str):
    """A new browser at a page. On leaving: nothing was asked of another machine, and no page has complained."""
    asked: list[str] = []
    wrong: list[str] = []
    state = random.getstate()
    try:
        with drivers.sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            context = chromium.new_context(viewport=WINDOW)
            context.set_default_timeout(60_000)
            context.on("request", lambda request: asked.append(request.url))
            context.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            context.on("weberror", lambda error: wrong.append(error.error.message))
            page = context.new_page()
            page.on("websocket", lambda socket: asked.append(socket.url.replace("ws:", "http:")))
            page.goto(f"{desk.url}{path}?token={TOKEN}")
            yield page
            chromium.close()
    finally:
        random.setstate(state)  # playwright has drawn from it
    elsewhere = {url for url in asked if not url.startswith((desk.url, "data:", "blob:"))}
    assert elsewhere <= {MATHJAX}
    assert [text for text in wrong if not (elsewhere and text in WITHOUT_MATHJAX)] == []


def rows(frame) -> list[list[str]]:
    """What a table of nbgrader's shows, cell by cell."""
    frame.wait_for_function("() => globalThis.models?.loaded")
    texts = "table => [...table.rows].map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    return frame.locator("#main-table").evaluate(texts)


def waiting(frame) -> dict[str, bool]:
    """Of the table of submissions: who waits for a person."""
    names = [row[1] for row in rows(frame)]
    marked = frame.locator("td.needs-manual-grade").evaluate_all("cells => cells.map(cell => cell.innerHTML !== '')")
    return dict(zip(names, marked, strict=True))


def submissions(desk: Desk, page) -> list[list[str]]:
    """The table from which a person begins to mark, with names."""
    page.goto(f"{desk.url}/formgrader/gradebook/lab05/lab05")
    rows(page)
    page.click("text=Show All Names")
    return rows(page)


def open_submission(desk: Desk, page, name: str) -> None:
    """From the table of submissions to one of them."""
    submissions(desk, page)
    page.click(f"a:visible:text-is('{name}')")
    page.wait_for_function("() => globalThis.formgrader?.grades?.loaded && formgrader.comments?.loaded")


def said_in(page) -> str:
    """All that a page shows, with single spaces."""
    return " ".join(page.inner_text("body").split())


def give(page, field: str, value: str) -> None:
    """Write into a field and leave it, as a person does, until the server has it."""
    with page.expect_response(saved) as reply:
        page.fill(field, value)
        page.press(field, "Tab")
    assert reply.value.ok


def saved(reply) -> bool:
    return "/formgrader/api/" in reply.url and reply.request.method == "PUT"


def of(points: str | float, most: str | float) -> str:
    """As nbgrader writes points."""
    return f"{float(points):g} / {float(most):g}"


# Tests


def test_a_lecturer_finds_the_marks_in_jupyterlab(desk):
    grades = desk.grades()
    with browser(desk, "/lab") as page:
        page.get_by_role("menuitem", name="Nbgrader").click()
        page.get_by_role("menuitem", name="Formgrader").click()
        frame = page.wait_for_selector("iframe").content_frame()
        ((name, *_, handed, _, _),) = rows(frame)
        assert (name, handed) == ("lab05", "3")
        frame.click("#main-table .num-submissions a")
        frame.wait_for_url("**/manage_submissions/lab05")
        found = {id: (name, when, status, score) for name, id, when, status, score, *_ in rows(frame)}
        names = {ADA: "Lovelace, Ada", JURGEN: "Müller, Jürgen", ZOE: "Groß, Zoë"}
        states = {"plot": "needs manual grading", "": "graded"}
        assert found == {
            id: (names[id], "2026-11-01 12:00:00 UTC", states[row["waits for you"]], of(row["total"], row["of"]))
            for id, row in grades.items()
        }
        assert [status for *_, status, _ in found.values()].count("graded") == 1
        frame.click("text=Manual Grading")
        frame.wait_for_url("**/formgrader/gradebook")
        average = sum(float(row["total"]) for row in grades.values()) / 3
        assert [(row[0], row[3]) for row in rows(frame)] == [("lab05", of(round(average, 2), grades[ADA]["of"]))]
        frame.click("#main-table a")
        frame.wait_for_url("**/formgrader/gradebook/lab05")
        frame.click("#main-table a:text-is('lab05')")
        frame.wait_for_url("**/formgrader/gradebook/lab05/lab05")
        assert sorted(waiting(frame)) == ["Submission #1", "Submission #2", "Submission #3"]
        frame.click("text=Show All Names")
        assert waiting(frame) == {names[id]: row["waits for you"] == "plot" for id, row in grades.items()}
        scores = {row[1]: row[2] for row in rows(frame)}
        assert scores == {names[id]: of(row["total"], row["of"]) for id, row in grades.items()}


def test_who_marks_sees_the_answers_the_verdicts_the_plot_and_the_rubric(desk):
    marks = marks_of(desk.folder)["Zoë Groß"]["marks"]
    with browser(desk, "/formgrader") as page:
        open_submission(desk, page, "Groß, Zoë")
        page.click("nav .glyphicon-eye-open")
        assert "Groß, Zoë" in page.inner_text("nav")
        said = said_in(page)
        (mistake,) = [mark["mistake"] for mark in marks.values() if mark["state"] == "known"]
        assert f"known: {mistake}" in said
        assert all(" ".join(mark["text"].split()) in said for mark in marks.values())
        open_submission(desk, page, "Lovelace, Ada")
        said = said_in(page)
        assert "The variance is forgotten twice as fast, since 1 < 2 & so on." in said
        assert all(f"{points} point" in said and text in said for points, text in LAB.plot.rubric)
        for source in right_answers(desk.folder, "05").values():
            assert " ".join(source.split()) in said
        assert page.locator("#notebook img").evaluate_all("all => all.map(one => one.naturalWidth)") == [WIDTH]
        assert "needs_manual_grade" in page.get_attribute("#explanation", "class")


def test_points_and_a_comment_given_in_the_browser_come_back_and_survive(desk):
    before, most = desk.grades()[ADA], float(desk.grades()[ADA]["of"])
    with browser(desk, "/formgrader") as page:
        open_submission(desk, page, "Lovelace, Ada")
        give(page, "#explanation", "3.5")
        give(page, "#explanation-comment", COMMENT)
        give(page, "#answer-step-comment", REMARK)
        (row,) = [row for row in submissions(desk, page) if row[1] == "Lovelace, Ada"]
        total = float(before["total"]) + 3.5
        assert row[2] == of(total, most) and not waiting(page)["Lovelace, Ada"]
    desk.run("export")
    marked = desk.grades()[ADA]
    assert marked == before | {"plot": "3.5", "total": str(total), "waits for you": ""}
    page_back = desk.feedback("Ada Lovelace")
    assert html.escape(COMMENT) in page_back and html.escape(REMARK) in page_back
    assert "3.5 of 5" in page_back and "not marked yet" not in page_back

    desk.run("grade", "--from", desk.handed)  # the same again
    assert desk.grades()[ADA] == marked and desk.feedback("Ada Lovelace") == page_back

    desk.run("grade", "--from", desk.handed, "--due", "2026-10-31", "--late", "10")  # which changes no answer
    late = desk.grades()[ADA]
    assert (late["plot"], late["waits for you"]) == ("3.5", "")
    assert float(late["total"]) == pytest.approx(0.9 * total)

    other = class_of_three(desk.folder, wrong=("step",), explained="The mean lasts longest.")
    again = in_moodle(desk.folder.parent / "again.zip", other)
    desk.run("grade", "--from", again)  # Ada has changed her answers: what a person gave stays, and is to be looked at
    changed = desk.grades()[ADA]
    assert (changed["step"], changed["plot"], changed["waits for you"]) == ("0.0", "3.5", "plot")
    with browser(desk, "/formgrader") as page:  # of the same server, which has not been told
        (row,) = [row for row in submissions(desk, page) if row[1] == "Lovelace, Ada"]
        assert row[3].startswith(f"{total - 3.5 - float(before['step']):g} /") and waiting(page)["Lovelace, Ada"]
        open_submission(desk, page, "Lovelace, Ada")
        assert page.input_value("#explanation") == "3.5" and page.input_value("#explanation-comment") == COMMENT
        with page.expect_response(saved):
            page.click("button:visible:text-is('Resolve')")
        submissions(desk, page)
        assert not waiting(page)["Lovelace, Ada"]
    desk.run("export")
    assert desk.grades()[ADA] == changed | {"waits for you": ""}


def test_what_a_student_wrote_runs_nothing_in_the_browser_of_who_marks(desk):
    """nbgrader's pages come from the lecturer's Jupyter server, where a script may do whatever the lecturer may do."""
    with browser(desk, "/formgrader") as page:
        open_submission(desk, page, "Groß, Zoë")
        assert "I am honest." in said_in(page)
        assert page.evaluate("window.attacked") is None
        for link in page.locator("a:text-is('Read more')").all():
            link.click()
        assert page.evaluate("window.attacked") is None
        assert page.locator("#explanation").count() == page.locator("#explanation.tabbable").count() == 1
        assert page.locator("#notebook img").count() == 0


def test_clicks_on_nbgraders_own_commands_break_nothing(desk):
    release = desk.folder / "release" / "lab05" / "lab05.ipynb"
    before, handed_out = desk.grades(), release.read_bytes()
    with browser(desk, "/formgrader") as page:
        rows(page)
        page.click(".assign a")
        assert "Success" in page.inner_text(".modal-dialog:visible")
        page.goto(f"{desk.url}/formgrader/manage_submissions/lab05")
        for row in range(len(rows(page))):
            page.locator(".autograde a").nth(row).click()
            assert "Success" in page.inner_text(".modal-dialog:visible")
            page.goto(f"{desk.url}/formgrader/manage_submissions/lab05")
            rows(page)
    assert release.read_bytes() == handed_out
    desk.run("export")
    numbers = ("total", "late", "plot", "step")
    assert [[row[one] for one in numbers] for row in desk.grades().values()] == [
        [row[one] for one in numbers] for row in before.values()
    ]
