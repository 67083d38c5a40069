"""The sources of the book's pages: each notebook with what a page needs beyond it, and the pages that are no notebooks.

A page is Markdown or a notebook for MyST. Pictures and sounds leave the notebook and become files beside the page, so
that a browser loads them when they come into sight, and so that each picture has its description.
"""

import base64
import copy
import html
import io
import json
import posixpath
import re
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from tests.tools import notation
from tests.tools.book import contents
from tests.tools.book.contents import Lesson

__all__ = ["EXPLORABLE_IN", "Book", "described", "formulas", "notebook_page", "plain_words", "write_sources"]

TEMPLATES = Path(__file__).parent / "pages"
EXPLORABLE_IN = {0: "", 6: "", 14: "guidance"}  # notebooks with the explorable, and the experiment that it begins with
NO_CELLS = ("colab", "which-python")  # they are for the Python that runs a notebook, and none runs a page

# The pages that are files of the course: the name of the page, the file, the heading in the list of pages.
FILES = {
    "glossary": "notebooks/GLOSSARY.md",
    "symptoms": "notebooks/SYMPTOMS.md",
    "lecturers": "notebooks/FOR_LECTURERS.md",
}

SEEN = re.compile(r"^\*What you see(?:, |: )(.+?)\*(?=\n\n|\s*\Z)", re.MULTILINE | re.DOTALL)
SUMMARY = re.compile(r"<summary>(.+?)</summary>", re.DOTALL)
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?![\s$])(.+?)(?<![\s\\])\$(?!\d)", re.DOTALL)
CODE = re.compile(r"^(```+|~~~+).*?^\1\s*$|(`+)(?!`).+?(?<!`)\2(?!`)", re.MULTILINE | re.DOTALL)
SOUND = re.compile(r"<audio\b.*?\bsrc=\"data:audio/(?P<kind>[\w-]+);base64,(?P<data>[^\"]+)\".*?</audio>", re.DOTALL)
GRAPH = re.compile(r"^```mermaid\n(.+?)^```$", re.MULTILINE | re.DOTALL)
ARROW = re.compile(r"n(?P<from>\d\d)(?:\[[^\]]*\])? (?P<arrow>-->|-\.->) (?=n(?P<to>\d\d))")
NOQA = re.compile(r" +# noqa: [A-Z0-9, ]+$", re.MULTILINE)
SHOWS_EXPLORABLE = re.compile(r"\bexplorer\.show\((?:experiment=)?[\"']?(?P<experiment>\w*)")


class Book:
    """What all pages share: where the repository is, which files the course has, and whether there is an explorable."""

    def __init__(self, root: Path = contents.REPOSITORY) -> None:
        self.root = root
        self.address = contents.repository_address(root / "pyproject.toml")
        self.lessons = contents.lessons(root / "notebooks")
        self.files = {page: file for page, file in FILES.items() if (root / file).is_file()}
        explorable = root / "minidiff" / "explorer.html"
        self.explorable = explorable if explorable.is_file() else None

    def linked(self, text: str, folder: str = "") -> str:
        """Markdown whose links lead to pages of the book, or else to the repository. folder: where the text lies."""
        pages = {file: f"{page}.md" for page, file in self.files.items()} | {"README.md": "howto.md"}
        pages |= {f"notebooks/{lesson.name}.ipynb": f"{lesson.name}.ipynb" for lesson in self.lessons}

        def lead(link: re.Match) -> str:
            target, place = link[1], link[2] or ""
            if "://" in target or target.startswith("mailto:"):
                return link[0]
            file = posixpath.normpath(posixpath.join(folder, target))
            if file in pages:
                return pages[file] + place
            if not (self.root / file).exists():
                raise ValueError(f"a link leads to {target}, and there is no {file} in the course")
            return f"{self.address}/blob/main/{file}{place}"

        # neither code nor a formula is a place for links: f[k](x) is a program in one, and a transform in the other
        return "".join(
            word if formula else LINK.sub(lead, word)
            for code, part in pieces(text, CODE)
            for formula, word in ([(True, part)] if code else pieces(part, MATH))
        )


def pieces(text: str, pattern: re.Pattern) -> list[tuple[bool, str]]:
    """A text in pieces that match a pattern or do not, in their order."""
    found, end = [], 0
    for match in pattern.finditer(text):
        found += [(False, text[end : match.start()]), (True, match[0])]
        end = match.end()
    return [*found, (False, text[end:])]


def formulas(text: str) -> int:
    """How many formulas a Markdown text has."""
    return len(MATH.findall("".join(" " if code else part for code, part in pieces(text, CODE))))


def plain_words(text: str) -> str:
    """Markdown as words alone, which a screen reader can say: `$\\alpha_t$` becomes alpha_t."""
    text = re.sub(r"\\[,;:! ]|\\(?:mathcal|mathbb|mathrm|text|hat|tilde|left|right)\b\s*", " ", text)
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    return " ".join(re.sub(r"[$`*\\{}]", "", text).split())


def described(cells: list[dict]) -> dict[tuple[int, int], str]:
    """What is seen in each picture, by the place of its cell and of the output in it: from the next text that tells it.

    Where that text has as many descriptions as pictures stand above it, each picture has its own, and else all of them.
    """
    found: dict[tuple[int, int], str] = {}
    waiting: list[tuple[int, int]] = []
    for place, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            numbered = enumerate(cell["outputs"])
            waiting += [(place, number) for number, output in numbered if "image/png" in output.get("data", {})]
            continue
        words = [plain_words(seen) for seen in SEEN.findall("".join(cell["source"]))]
        if words:
            own = words if len(words) == len(waiting) else [" ".join(words)] * len(waiting)
            found |= dict(zip(waiting, own, strict=True))
            waiting = []
    return found | dict.fromkeys(waiting, "")


def folded(text: str) -> str:
    """Markdown whose folded questions show their formulas: what stands within HTML is not Markdown any more."""

    def question(found: re.Match) -> str:
        return (
            "<summary>"
            + MATH.sub(r'<span class="math notranslate nohighlight">\\(\2\\)</span>', found[1])
            + "</summary>"
        )

    return SUMMARY.sub(question, text)


def graph_as_table(text: str, found: list[Lesson]) -> str:
    """Markdown whose graph of notebooks is a table. Drawing it would take a program of megabytes in each browser, and a
    table can be read on a phone, and aloud."""

    def table(graph: re.Match) -> str:
        arrows = [arrow.group("from", "arrow", "to") for arrow in ARROW.finditer(graph[1])]
        rows = ["| notebook | builds on | is helped by |", "|---|---|---|"]
        for lesson in found:
            number = lesson.name[:2]
            before = (
                ", ".join(a for a, kind, b in arrows if b == number and kind == arrow) for arrow in ("-->", "-.->")
            )
            rows.append(
                " | ".join([f"| [{lesson.title}]({lesson.name}.ipynb)", *(numbers_as_links(x, found) for x in before)])
                + " |"
            )
        return "\n".join(rows)

    return GRAPH.sub(table, text).replace(" (dashed)", "")  # the table has a column for it


# --- pictures and sounds ---------------------------------------------------------------------------------------------


def picture(png: bytes, words: str, name: str, files: dict[str, bytes]) -> str:
    """A picture or a film as HTML; its files are added to `files`. A film has a last frame that stands still."""
    files[f"figures/{name}.png"] = png
    with Image.open(io.BytesIO(png)) as image:
        (width, height), frames = image.size, getattr(image, "n_frames", 1)
        shown = (
            f'<img class="figure" src="figures/{name}.png" alt="{html.escape(words)}" '
            f'width="{width}" height="{height}" loading="lazy" decoding="async">'
        )
        if frames == 1:  # a telephone shows a wide picture small: a finger on it opens it alone
            return f'<a class="figure" href="figures/{name}.png">{shown}</a>'
        image.seek(frames - 1)
        still = io.BytesIO()
        image.convert("RGB").save(still, "PNG", optimize=True)
    files[f"figures/{name}-still.png"] = still.getvalue()
    calm = f'<source media="(prefers-reduced-motion: reduce)" srcset="figures/{name}-still.png">'
    button = '<button type="button" class="film" hidden>Stop the animation</button>'
    return f'<div class="film"><picture>{calm}{shown}</picture>{button}</div>'


def sounds(text: str, name: str, files: dict[str, bytes]) -> str:
    """HTML whose sounds are files, with a player that loads them when somebody asks."""
    numbers = iter(range(1, 1000))

    def player(found: re.Match) -> str:
        number, kind = next(numbers), found["kind"].removeprefix("x-")
        file = f"sounds/{name}-{number}.{kind}"
        files[file] = base64.b64decode(found["data"])
        own = re.search(r'\baria-label="([^"]+)"', found[0])  # what there is to hear, where the notebook says it
        label = own[1] if own else f"Sound {number} of this cell"
        return f'<audio controls preload="metadata" src="{file}" aria-label="{label}"></audio>'

    return SOUND.sub(player, text)


# --- a notebook ------------------------------------------------------------------------------------------------------


def buttons(address: str, name: str) -> str:
    """Where the notebook can be run or had: Colab, Binder, a download."""
    repository, file = address.removeprefix("https://github.com/"), f"notebooks/{name}.ipynb"
    colab = f"https://colab.research.google.com/github/{repository}/blob/main/{file}"
    binder = f"https://mybinder.org/v2/gh/{repository}/HEAD?labpath={quote(file, safe='')}"
    return (
        f'<p class="buttons"><a href="{colab}">Open in Colab</a> <a href="{binder}">Open in Binder</a> '
        f'<a href="{file}" download>Download</a></p>'
    )


def notebook_page(book: Book, lesson: Lesson, notebook: dict) -> tuple[dict, dict[str, bytes]]:
    """The page of a notebook, and the files that it needs beside it."""
    notebook, files = copy.deepcopy(notebook), {}
    cells = [cell for cell in notebook["cells"] if cell.get("id") not in NO_CELLS]
    words = described(cells)
    for place, cell in enumerate(cells):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            cell["source"] = folded(book.linked(text, "notebooks"))
            continue
        cell["source"] = NOQA.sub("", text)
        if sentences(cell["outputs"]):
            cell["metadata"].setdefault("tags", []).append("sentences")
        for number, output in enumerate(cell["outputs"]):
            data, name = output.get("data", {}), f"{lesson.name[:2]}-{place}-{number + 1}"
            if "image/png" in data:
                png = base64.b64decode("".join(data["image/png"]))
                output["data"] = {"text/html": picture(png, words[place, number], name, files)}
            elif "text/html" in data:
                output["data"] = {"text/html": sounds("".join(data["text/html"]), name, files)}
        shows = SHOWS_EXPLORABLE.search(text)
        if shows and book.explorable:
            data = {"text/html": explorable(shows["experiment"])}
            cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data}]
    title, _, rest = cells[0]["source"].partition("\n")
    cells[0]["source"] = f"{title}\n\n{buttons(book.address, lesson.name)}\n{rest}"
    shown = any(SHOWS_EXPLORABLE.search("".join(cell["source"])) for cell in cells)
    if book.explorable and lesson.number in EXPLORABLE_IN and not shown:
        with_explorable(cells, EXPLORABLE_IN[lesson.number])
    notebook["cells"] = cells
    return notebook, files


def explorable(experiment: str = "") -> str:
    """The page to play with, in a frame, which it makes as high as itself and as dark as the page around it."""
    address = f"explorer.html#{experiment}" if experiment else "explorer.html"
    frame = (
        f'<iframe class="explorable" src="{address}" loading="lazy" title="A diffusion model to play with"></iframe>'
    )
    return f'{frame}\n<p class="explorable"><a href="{address}">Play with it on a page of its own</a></p>'


def sentences(outputs: list[dict]) -> bool:
    """Whether the text of a cell's outputs may be broken anywhere, as no table may."""
    printed = "".join("".join(output["text"]) for output in outputs if output.get("name") == "stdout")
    return bool(printed) and not re.search(r"\S {2,}\S", printed)


def with_explorable(cells: list[dict], experiment: str) -> None:
    """Put the explorable before the summary."""
    for cell in cells:
        before, heading, after = "".join(cell["source"]).partition("## Summary")
        if cell["cell_type"] == "markdown" and heading:
            cell["source"] = f"{before}## Try it\n\n{explorable(experiment)}\n\n{heading}{after}"
            return


# --- the other pages -------------------------------------------------------------------------------------------------


def filled(page: str, **texts: str) -> str:
    """The template of a page, with each {{name}} replaced by its text."""
    return re.sub(
        r"\{\{(\w+)\}\}", lambda found: texts[found[1]], (TEMPLATES / f"{page}.md").read_text(encoding="utf-8")
    )


def toctree(caption: str, pages: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def list_of_pages(book: Book) -> str:
    """The list of pages at the side: the parts with their notebooks, then what one looks up."""
    by_part = contents.parts(book.lessons)
    start, *others = [(part.title, [lesson.name for lesson in some]) for part, some in by_part.items()]
    look_up = ["notation", *(page for page in ("glossary", "symptoms") if page in book.files)]
    trees = [(start[0], [*start[1], "howto"]), *others, ("Look it up", look_up)]
    if "lecturers" in book.files:
        trees.append(("Teach with it", ["lecturers"]))
    return "\n".join(toctree(*tree) for tree in trees)


def numbers_as_links(text: str, found: list[Lesson]) -> str:
    """The numbers of notebooks become links; a number of hours is none."""
    names = {lesson.name[:2]: lesson.name for lesson in found}
    return re.sub(
        r"(?<![\w.])(\d\d)(?![\w.]*\d| hours)",
        lambda number: f"[{number[1]}]({names[number[1]]}.ipynb)" if number[1] in names else number[1],
        text,
    )


def first_page(book: Book, files: dict[str, bytes]) -> str:
    told = contents.readme(book.root / "README.md")
    routes = "\n".join(contents.routes(book.root / "notebooks"))
    tables = []
    for part, some in contents.parts(book.lessons).items():
        rows = [f"| [{lesson.title}]({lesson.name}.ipynb) | {lesson.question} | {lesson.hours} |" for lesson in some]
        tables.append(
            "\n".join([f"### {part.title}", "", "| notebook | the question | hours |", "|---|---|---|", *rows])
        )
    head = picture((book.root / told.picture).read_bytes(), told.words, "head", files)
    return filled(
        "index",
        title=told.title,
        picture=head.replace('loading="lazy" ', ""),  # it is in sight at once
        introduction=book.linked(told.introduction),
        explorable=f"## Try it\n\n{explorable('melt')}\n" if book.explorable else "",
        routes=numbers_as_links(book.linked(routes, "notebooks"), book.lessons),
        tables="\n\n".join(tables),
        address=book.address,
        pages=list_of_pages(book),
    )


def howto_page(book: Book, files: dict[str, bytes]) -> str:
    """The README without its head, which is on the first page."""
    told = contents.readme(book.root / "README.md")
    text = "\n".join(f"## {heading}\n{text}" for heading, text in told.sections.items())

    def shown(found: re.Match) -> str:
        file = book.root / found[2]
        return picture(file.read_bytes(), found[1], file.stem, files)

    return filled(
        "howto", address=book.address, sections=book.linked(re.sub(r"!\[([^\]]+)\]\(([^)]+\.png)\)", shown, text))
    )


def notation_page(book: Book) -> str:
    """The tables of notebook 10, which a test holds against the code, and the symbols of every notebook."""
    folder = book.root / "notebooks"
    papers, libraries = notation.tables((book.root / notation.NOTEBOOK).read_text(encoding="utf-8"))
    own = []
    for lesson in book.lessons:
        table = contents.symbols(json.loads((folder / f"{lesson.name}.ipynb").read_text(encoding="utf-8")))
        if table:
            own.append(f"### [{lesson.title}]({lesson.name}.ipynb)\n\n{book.linked(table, 'notebooks')}")
    return filled("notation", papers=papers, libraries=libraries, symbols="\n\n".join(own))


def write_sources(book: Book, folder: Path) -> list[str]:
    """Write the source of every page into a folder, and the files beside them into its folder `extra`."""
    files: dict[str, bytes] = {}
    pages: dict[str, str] = {}
    for lesson in book.lessons:
        content = (book.root / "notebooks" / f"{lesson.name}.ipynb").read_bytes()
        files[f"notebooks/{lesson.name}.ipynb"] = content
        page, beside = notebook_page(book, lesson, json.loads(content))
        pages[f"{lesson.name}.ipynb"] = json.dumps(page)
        files |= beside
    pages |= {
        "index.md": first_page(book, files),
        "howto.md": howto_page(book, files),
        "notation.md": notation_page(book),
    }
    for page, file in book.files.items():
        text = (book.root / file).read_text(encoding="utf-8")
        pages[f"{page}.md"] = folded(book.linked(graph_as_table(text, book.lessons), posixpath.dirname(file)))
    if book.explorable:
        files["explorer.html"] = book.explorable.read_bytes()
    for name, content in {**{f"extra/{name}": file for name, file in files.items()}, **pages}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return sorted(name.rpartition(".")[0] for name in pages)
