"""The book, as far as no browser and no Sphinx is needed: which pages there are, and what becomes of a notebook.

`make book` follows every link, and `make book-check` looks at every page in a browser.
"""

import base64
import copy
import importlib.util
import io
import json
import random
import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

from tests import browser
from tests.tools.book import contents, links, pages, proof
from tests.tools.book.contents import Lesson

FOLDER = Path(pages.__file__).parent
needs_sphinx = pytest.mark.skipif(
    importlib.util.find_spec("sphinx-mathjax-offline") is None, reason="Sphinx is missing: pip install -e '.[book]'"
)


@pytest.fixture(scope="module")
def book() -> pages.Book:
    return pages.Book()


@pytest.fixture(scope="module")
def notebooks(book) -> dict[str, dict]:
    folder = book.root / "notebooks"
    return {lesson.name: contents.read_notebook(lesson.name, folder) for lesson in book.lessons}


# --- which pages there are -------------------------------------------------------------------------------------------


def test_every_notebook_has_one_place(book):
    assert [f"{lesson.name}.ipynb" for lesson in book.lessons] == sorted(
        path.name for path in (book.root / "notebooks").glob("*.ipynb")
    )
    assert [lesson for some in contents.parts(book.lessons).values() for lesson in some] == book.lessons
    bounds = [bound for part in contents.PARTS for bound in (part.first, part.last)]
    assert bounds == sorted(bounds)


def test_a_notebook_without_a_part_is_refused():
    with pytest.raises(ValueError, match="no part of the book holds 32_more: see PARTS"):
        contents.parts([Lesson("32_more", "32. More", "", "")])


def test_the_list_of_pages_names_every_page_once(book):
    listed = re.findall(r"^(?![`:])(\S+)$", pages.list_of_pages(book), re.MULTILINE)
    expected = {lesson.name for lesson in book.lessons} | {"howto", "notation"} | set(book.files)
    assert sorted(listed) == sorted(expected)
    assert listed[0] == "00_start_here" and {"glossary", "lecturers"} <= set(listed)


def test_question_and_hours_are_those_of_the_map(book):
    told = contents.map_of(book.root / "notebooks")
    for lesson in book.lessons:
        row = re.search(rf"\({lesson.name}\.ipynb\)\**? \| (.+) \| (.+) \|", told)
        assert (lesson.question, lesson.hours) == (row.groups() if row else ("", ""))
    assert sum(bool(lesson.hours) for lesson in book.lessons) >= 28


def test_the_first_page_has_the_picture_the_routes_and_the_hours(book):
    files = {}
    text = pages.first_page(book, files)
    assert text.startswith("# minidiff") and "figures/head.png" in files and "{{" not in text
    for route in contents.routes(book.root / "notebooks"):
        assert re.match(r"- \*\*.+?\*\*", route)[0] in text
    assert text.count("[06. Exact reversal](06_exact_reversal.ipynb)") == 1
    assert "[13](13_ddpm_mnist.ipynb)" in text and "[15](15_inverse_problems.ipynb) hours" not in text


def test_the_notation_page_has_the_tables_of_notebook_10_and_symbols(book):
    text = pages.notation_page(book)
    assert "| Karras et al. (EDM) |" in text and "| diffusers |" in text and "{{" not in text
    assert "### [06. Exact reversal](06_exact_reversal.ipynb)\n\n| symbol | meaning |" in text


# --- what becomes of a notebook --------------------------------------------------------------------------------------


def png(*colours: str) -> str:
    """A picture of one colour, or a film of several, as notebooks keep it."""
    first, *others = [Image.new("RGB", (30, 20), colour) for colour in colours]
    out = io.BytesIO()
    first.save(out, "PNG", save_all=bool(others), append_images=others)
    return base64.b64encode(out.getvalue()).decode()


def cell(source: str, *outputs: dict, **more) -> dict:
    shown = [{"output_type": "display_data", "metadata": {}, "data": data} for data in outputs]
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": shown, **more}


def text_cell(source: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def small() -> dict:
    sound = base64.b64encode(b"RIFF").decode()
    audio = (
        f'\n <audio  controls="controls" >\n <source src="data:audio/wav;base64,{sound}" type="audio/wav" />\n </audio>'
    )
    cells = [
        text_cell("# 06. Exact reversal\n\nThe [glossary](GLOSSARY.md), and [the test](../tests/conftest.py#L1)."),
        cell("import sys", id="which-python"),
        cell("import torch  # noqa: F401\ndraw()", {"image/png": png("red"), "text/plain": "<Figure>"}),
        cell("film()", {"image/png": png("red", "blue")}),
        text_cell('*What you see: the "cloud" at $\\alpha_t = 1$.*\n\nMore.'),
        cell("play()", {"text/html": audio}),
        text_cell("<details><summary>What is $x_0$?</summary>\n\nA $y$.\n</details>\n\n## Summary\n\n- It ends."),
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def page_of(book, notebook, name="06_exact_reversal"):
    return pages.notebook_page(book, Lesson(name, "a title", "", ""), notebook)


def html_of(page, place) -> str:
    return page["cells"][place]["outputs"][0]["data"]["text/html"]


def test_a_page_is_the_notebook_with_pictures_sounds_and_buttons_and_leaves_the_notebook_as_it_is(book):
    notebook = small()
    before = copy.deepcopy(notebook)
    page, files = page_of(book, notebook)
    assert notebook == before
    assert len(page["cells"]) == len(notebook["cells"]) - 1  # nobody asks which Python runs a page
    head = page["cells"][0]["source"]
    assert head.startswith("# 06. Exact reversal\n\n<p class") and "(glossary.md)" in head
    assert f"({book.address}/blob/main/tests/conftest.py#L1)" in head
    for address in (
        "github/minidiff/minidiff/blob/main/notebooks/06",
        "HEAD?labpath=notebooks%2F06_exact_reversal.ipynb",
    ):
        assert address in head
    assert page["cells"][1]["source"] == "import torch\ndraw()"
    still, film, sound = html_of(page, 1), html_of(page, 2), html_of(page, 4)
    for shown in (still, film):
        assert 'alt="the &quot;cloud&quot; at alpha_t = 1."' in shown and 'width="30" height="20"' in shown
    assert still.startswith('<a class="figure" href="figures/06-1-1.png"><img')
    assert "<button" in film and "prefers-reduced-motion" in film and "<button" not in still
    assert files["sounds/06-4-1-1.wav"] == b"RIFF" and 'src="sounds/06-4-1-1.wav"' in sound and "base64" not in sound
    names = re.findall(r"(?:src|srcset)=\"(figures/[^\"]+)\"", still + film)
    assert sorted(names) == sorted(name for name in files if name.startswith("figures/")) and len(names) == 3
    with Image.open(io.BytesIO(files[next(name for name in names if "still" in name)])) as last:
        assert last.convert("RGB").getpixel((0, 0)) == (0, 0, 255)
    assert r'<span class="math notranslate nohighlight">\(x_0\)</span>?</summary>' in page["cells"][5]["source"]


@pytest.mark.parametrize(
    ("printed", "broken"),
    [("you expect 3 floors: \nthe truth is 2\n", True), ("steps  error\n10     0.5\n", False), ("", False)],
)
def test_only_sentences_are_broken_on_a_telephone(book, printed, broken):
    notebook = small()
    notebook["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": printed}]
    page, _ = page_of(book, notebook)
    assert ["sentences" in cell["metadata"].get("tags", []) for cell in page["cells"]] == [
        place == 1 and broken for place in range(len(page["cells"]))
    ]


def test_a_sound_keeps_its_own_description():
    files = {}
    text = (
        '<figure><audio controls aria-label="a bell" src="data:audio/x-wav;base64,UklGRg=="></audio><figcaption>a bell'
    )
    shown = pages.sounds(text, "23-1-1", files)
    assert 'aria-label="a bell"' in shown and shown.endswith("</audio><figcaption>a bell")
    assert files == {"sounds/23-1-1-1.wav": b"RIFF"}


def test_the_explorable_is_shown_once_where_it_belongs(book, monkeypatch, tmp_path):
    def iframes(notebook, name):
        return json.dumps(page_of(book, notebook, name)[0]).count("<iframe")

    assert (iframes(small(), "06_exact_reversal") > 0) == (book.explorable is not None)
    monkeypatch.setattr(book, "explorable", tmp_path / "explorer.html")
    assert iframes(small(), "06_exact_reversal") == 1 and iframes(small(), "05_forward_diffusion") == 0
    notebook = small()
    notebook["cells"].insert(2, cell("explorer.show('guidance')", {"text/html": "<iframe srcdoc='x'></iframe>"}))
    assert iframes(notebook, "06_exact_reversal") == iframes(notebook, "05_forward_diffusion") == 1
    assert 'src="explorer.html#guidance"' in html_of(page_of(book, notebook)[0], 1)


def test_each_picture_has_its_own_description_where_there_are_as_many():
    cells = [cell("", {"image/png": ""}, {"image/png": ""}), cell("", {"text/plain": ""}), cell("", {"image/png": ""})]
    told = "*What you see, first figure: a *b*\nc.*\n\n*What you see: d.*"
    both = {(0, 0): "first figure: a b c.", (0, 1): "d."}
    assert pages.described([cells[0], text_cell("no"), text_cell(told), cells[2]]) == {**both, (3, 0): ""}
    one = "first figure: a b c. d."
    assert pages.described([*cells, text_cell(told)]) == {(0, 0): one, (0, 1): one, (2, 0): one}


def test_every_picture_of_the_course_has_a_description(notebooks):
    short = [
        f"{name}: cell {place[0]}"
        for name, notebook in notebooks.items()
        for place, words in pages.described(notebook["cells"]).items()
        if len(words.split()) < 5
    ]
    assert short == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("$x$ and $y_0$", 2), ("$$a\n= b$$", 1), ("`$x$` is code", 0), ("```\n$x$\n$y$\n```\n$z$", 1)),
        *((r"it costs 5 \$, or \$6", 0), ("$a$-th, $b$", 2), ("5 $ and 6 $", 0), ("over\n$a\n+ b$ lines", 1)),
    ],
)
def test_formulas_are_counted(text, number):
    assert pages.formulas(text) == number


def test_links_lead_to_pages_or_to_the_repository_or_are_refused(book):
    there = {
        "[a](05_forward_diffusion.ipynb)": "[a](05_forward_diffusion.ipynb)",
        "[a](../README.md#two)": "[a](howto.md#two)",
        "[a](../minidiff/__init__.py)": f"[a]({book.address}/blob/main/minidiff/__init__.py)",
        **{same: same for same in ("[a](https://a.b/c)", "[a](#here)", "`[a](k)`", "$u[0](k)$", "```\nu[0](k)\n```")},
    }
    for text, led in there.items():
        assert book.linked(text, "notebooks") == led
    with pytest.raises(ValueError, match=r"a link leads to 98\.ipynb, and there is no notebooks/98\.ipynb"):
        book.linked("[a](98.ipynb)", "notebooks")


def test_the_graph_of_notebooks_becomes_a_table(book):
    graph = (
        '```mermaid\nflowchart LR\n    n00["00 start"] --> n05["05 forward"] --> n06["06 x"]\n    n02 -.-> n06\n```\n'
    )
    table = pages.graph_as_table(f"Before\n\n{graph}\nAfter", book.lessons)
    row = "| [06. Exact reversal](06_exact_reversal.ipynb) | [05](05_forward_diffusion.ipynb) | [02](02_langevin"
    assert row in table and table.endswith("\nAfter") and "mermaid" not in table


@pytest.mark.parametrize("urls", ["", '[project.urls]\nRepository = "https://example.org/x"'])
def test_buttons_need_the_address_of_the_repository(urls, tmp_path):
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'x'\n{urls}")
    with pytest.raises(ValueError, match=r"\[project.urls\] needs Repository"):
        contents.repository_address(tmp_path / "pyproject.toml")


# --- the site --------------------------------------------------------------------------------------------------------

GOOD = (
    '<a href="b.html#there">b</a> <a href="https://a.org/x">out</a> <img src="data:image/png;base64,aa"> <p id="here">'
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *(
            ("", None),
            ('<a href="#here">', None),
            ('<a href="b.html">', None),
            ('<link rel="canonical" href="https://a.org">', None),
        ),
        *(
            ('<a href="c.html">', "c.html leads nowhere"),
            ('<a href="b.html#here">', "a place that b.html does not have"),
        ),
        *(
            ('<img src="c.png">', "leads nowhere"),
            ('<a href="../x.html">', "leads nowhere"),
            ('<a href="ftp:x">', "not whole"),
        ),
        *(
            ('<script src="https://a.org/x.js">', "nothing may leave"),
            ('<link href="//a.org/x.css">', "nothing may leave"),
        ),
    ],
)
def test_broken_links_are_found(text, words, tmp_path):
    (tmp_path / "a.html").write_text(GOOD + text)
    (tmp_path / "b.html").write_text('<p id="there"><a href="a.html#here">')
    found = links.broken(tmp_path)
    assert (
        (found == []) if words is None else (len(found) == 1 and words in found[0] and found[0].startswith("a.html: "))
    )


@needs_sphinx
def test_the_settings_execute_nothing_and_load_nothing_from_elsewhere():
    settings = runpy.run_path(str(FOLDER / "conf.py"))
    assert settings["nb_execution_mode"] == "off" and settings["nb_ipywidgets_js"] == {}
    assert "://" not in settings["mathjax_path"] and settings["MATHJAX"].is_file()
    for name in [*settings["html_css_files"], *settings["html_js_files"], "icon.svg"]:
        text = (FOLDER / "static" / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
    assert settings["root_doc"] == "index" and settings["html_theme"] == "furo"


def test_without_a_browser_the_book_is_not_looked_at_and_this_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(browser, "CHROMIUM", None)
    assert proof.prove(tmp_path, tmp_path, [], None) is None
    said = capsys.readouterr().out
    assert said.startswith("the book is not looked at, since ") and (
        browser.MISSING in said or browser.NO_PLAYWRIGHT in said
    )


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.MISSING)
def test_the_proof_finds_what_is_wrong_with_a_page(tmp_path, capsys):
    pytest.importorskip("playwright.sync_api", reason=browser.NO_PLAYWRIGHT)
    pytest.importorskip("axe_playwright_python", reason=browser.NO_PLAYWRIGHT)
    (tmp_path / "poor.md").write_text("$x$")
    (tmp_path / "index.html").write_text('<html lang="en"><title>t</title><form><input name="q" aria-label="q"></form>')
    (tmp_path / "search.html").write_text('<html lang="en"><title>t</title><p>no result')
    (tmp_path / "poor.html").write_text(
        '<html lang="en"><title>t</title><main><article><h1>t</h1><p style="color: #ccc">pale $x$</p>'
        '<p style="width: 900px">wide</p><img src="none.png" alt=""><audio src="none.wav"></audio><input>'
        '<script>console.error("a word"); new Image().src = "http://198.51.100.1/x.png"; undefined.y</script></article>'
    )
    state = random.getstate()
    told = proof.prove(tmp_path, tmp_path, ["poor"], None, seconds=1)
    random.setstate(state)  # playwright has drawn from it
    for words in (
        *(
            "1 formulas are written and 0 rendered",
            "not rendered: $x$",
            "a picture that cannot be seen",
            "without a description",
        ),
        *("a sound that cannot be played", "console: a word", "script: ", "asks http://198.51.100.1/x.png", "404 for"),
        *("axe, in any colours: label (critical", "axe, light: color-contrast (serious", "axe, dark: color-contrast"),
        *("on a phone, the page is", "on a phone, p. reaches", "the search for Langevin finds nothing"),
        *("List of pages: no button", "On this page: no button"),
    ):
        assert words in told, told
    assert "1 pages, 1 formulas" in capsys.readouterr().out
