"""Progress is noted in the user's folder, whole or not at all, and never in the way; the page needs nothing else."""

import json
import os
import re
from html.parser import HTMLParser

import pytest

from minidiff.checks import check, progress
from minidiff.checks.n05 import EXERCISES
from minidiff.checks.progress import KEPT, PROGRESS, UNKNOWN, folder, progress_page, read_progress, write_progress
from tests.course.checks.notebooks import CHECKED


def right(T, left=0.01):
    return 1 - left ** (2 / T)


def wrong(T, left=0.01):
    return left ** (2 / T)


def unknown(T, left=0.01):
    return 0.123456


def test_verdicts_are_noted(progress_folder):
    for answer in (wrong, right, unknown):
        check("5.5", answer)
    assert read_progress() == {"5.5": {"state": "unknown", "mistake": "unknown", "right": True, "tries": 3}}
    assert sorted(path.name for path in progress_folder.iterdir() if path.name != ".lock") == [PROGRESS, UNKNOWN]


def test_unknown_answers_are_kept_with_their_source_and_once(progress_folder):
    for _ in range(3):
        check("5.5", unknown)
    (line,) = (progress_folder / UNKNOWN).read_text(encoding="utf-8").splitlines()
    entry = json.loads(line)
    assert entry["exercise"] == "5.5" and "return 0.123456" in entry["answer"]
    assert entry["verdict"].startswith("Not right, and no mistake that we know.")
    assert str(progress_folder) not in line and os.path.expanduser("~") not in line


def test_only_so_many_unknown_answers_are_kept(progress_folder):
    progress_folder.mkdir()
    (progress_folder / UNKNOWN).write_text("\n".join(str(n) for n in range(3 * KEPT)), encoding="utf-8")
    check("5.5", unknown)
    lines = (progress_folder / UNKNOWN).read_text(encoding="utf-8").splitlines()
    assert len(lines) == KEPT and "0.123456" in lines[-1] and lines[0] == str(2 * KEPT + 1)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"5.5": 3}', '{"5.5": {"tries": "x", "right": "yes"}}', "\x00\xff"]
)
def test_a_damaged_file_is_survived(content, progress_folder):
    progress_folder.mkdir()
    (progress_folder / PROGRESS).write_text(content, encoding="utf-8")
    assert f"0 of {len(CHECKED)} right" in progress_page()
    check("5.5", right)
    assert read_progress()["5.5"] == {"state": "right", "mistake": "", "right": True, "tries": 1}


def test_where_nothing_can_be_written_nothing_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIDIFF_PROGRESS", str(tmp_path / "file" / "below"))
    assert check("5.5", right).state == "right"
    assert capsys.readouterr().out == "5.5 constant_beta: Right.\n"
    assert read_progress() == {} and f"0 of {len(CHECKED)} right" in progress_page()


@pytest.mark.parametrize("n", range(2))
def test_a_file_is_written_whole_or_not_at_all(n, progress_folder, pulled_at):
    check("5.5", wrong)
    before = (progress_folder / PROGRESS).read_bytes()
    pulled_at(0, OSError)
    check("5.5", right)
    assert (progress_folder / PROGRESS).read_bytes() == before
    assert not list(progress_folder.glob("*.tmp")) and not list(progress_folder.glob(".*.tmp"))


def test_without_the_variable_it_is_a_folder_of_the_users(monkeypatch):
    monkeypatch.delenv("MINIDIFF_PROGRESS")
    assert folder().parts[-2:] == ("minidiff", "checks")
    monkeypatch.setenv("MINIDIFF_PROGRESS", "")
    assert folder().parts[-2:] == ("minidiff", "checks")


# --- the page --------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags of a page, their attributes, and whether all are closed."""

    EMPTY = ("meta", "br", "link", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.open, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_says_what_is_right_and_what_is_left():
    check("5.5", right)
    check("5.1", forgets)
    check("5.4", wrong_cosine)
    page = progress_page()
    for total in (
        len(CHECKED),
        len(EXERCISES),
    ):  # each also for those who cannot see it
        assert page.count(f"1 of {total} right") == 2
    rows = re.findall(r'<li class="(\w+)">.*?<strong>(\d+\.\d+) .*?<span class="state">(.*?)</span>', page, re.DOTALL)
    states = {id: (kind, words) for kind, id, words in rows}
    assert list(states) == [exercise.id for exercise in CHECKED]
    assert states["5.5"] == ("right", "right, 1 try")
    assert states["5.1"] == ("tried", "not right yet, 1 try; last: returns nothing")
    assert states["5.4"] == ("tried", "not right yet, 1 try; last: not squared")
    assert states["5.2"] == ("left", "not started")


def forgets(x, beta, g):
    x = x + 1


def wrong_cosine(T):
    return EXERCISES[3].solution(T).sqrt()


def test_the_page_needs_nothing_else_and_is_well_formed():
    check("5.5", unknown)
    text = progress_page()
    page = Page(text)
    assert page.open == [] and len(set(page.ids)) == len(page.ids)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert names.count("h1") == 1 and names.count("main") == 1 and names.count("title") == 1
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "progress")
    assert "One answer of yours was wrong in a way that no check could name." in text


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_colours_can_be_read_in_light_and_dark():
    themes = re.findall(r":root \{(.*?)\}", progress.PAGE)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w+);", theme))
        for name in ("ink", "soft", "right", "tried"):
            light, dark = sorted((luminance(colours[name]), luminance(colours["paper"])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name


def test_what_is_noted_is_text_on_the_page_and_no_markup(progress_folder):
    progress_folder.mkdir()
    noted = {"5.5": {"state": "known", "mistake": "<b>&", "right": False, "tries": 2}}
    (progress_folder / PROGRESS).write_text(json.dumps(noted), encoding="utf-8")
    assert "not right yet, 2 tries; last: &lt;b&gt;&amp;" in progress_page()


def test_the_page_is_written(tmp_path):
    path = write_progress(tmp_path / "new" / "progress.html")
    assert path.read_text(encoding="utf-8") == progress_page()
    assert [p.name for p in path.parent.iterdir()] == ["progress.html"]
