"""What the book is made of, read from where the course says it: the notebooks, the map in notebook 00, the README."""

import json
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "PARTS",
    "REPOSITORY",
    "Lesson",
    "Part",
    "lessons",
    "markdown_of",
    "parts",
    "readme",
    "repository_address",
    "routes",
    "symbols",
]

REPOSITORY = Path(__file__).parents[3]
FIRST = "00_start_here"

LESSON = re.compile(r"(\d\d)_\w+")
MAP_ROW = re.compile(
    r"^\| (?:\*\*)?\[\d\d [^\]]+\]\((?P<name>\d\d_\w+)\.ipynb\)(?:\*\*)? \| (?P<question>.+?) \| (?P<hours>[\d.]+) \|$",
    re.MULTILINE,
)
ROUTE = re.compile(r"^- \*\*.+?(?=\n- |\n\n|\Z)", re.MULTILINE | re.DOTALL)
SYMBOLS = re.compile(r"^\| symbol \|.*(?:\n\|.*)*", re.MULTILINE)
PICTURE = re.compile(r"\A!\[(?P<words>[^\]]+)\]\((?P<file>[^)]+)\)\n+# (?P<title>[^\n]+)\n+(?P<rest>.*)", re.DOTALL)


class Lesson(NamedTuple):
    """One notebook. `question` and `hours` are empty where the map in notebook 00 does not name it (yet)."""

    name: str  # of the file, without .ipynb
    title: str  # "06. Exact reversal"
    question: str
    hours: str

    @property
    def number(self) -> int:
        return int(self.name[:2])


class Part(NamedTuple):
    """Notebooks that stand together, from the number `first` to the number `last`."""

    title: str
    first: int
    last: int


PARTS = (
    Part("Start here", 0, 0),
    Part("Part I. Physics: how order dissolves", 1, 4),
    Part("Part II. Two dimensions: running it backwards", 5, 11),
    Part("Part III. Images", 12, 15),
    Part("Part IV. The modern toolbox", 16, 21),
    Part("Part V. Beyond images", 22, 28),
    Part("Part VI. Going deeper", 29, 31),
)


def read_notebook(name: str, folder: Path) -> dict:
    return json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))


def markdown_of(notebook: dict) -> list[str]:
    """The text of each Markdown cell."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def map_of(folder: Path) -> str:
    """The cell of notebook 00 that holds the map, the hours and the routes."""
    cells = [text for text in markdown_of(read_notebook(FIRST, folder)) if MAP_ROW.search(text)]
    if len(cells) != 1:
        raise ValueError(
            f"{len(cells)} cells of {FIRST}.ipynb hold a map, rows of notebook, question and hours; one should"
        )
    return cells[0]


def lessons(folder: Path = REPOSITORY / "notebooks") -> list[Lesson]:
    """Every notebook of the folder, in the order of their numbers."""
    told = {row["name"]: row for row in MAP_ROW.finditer(map_of(folder))}
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        if not LESSON.fullmatch(path.stem):
            raise ValueError(f"{path.name} is not called like 06_exact_reversal.ipynb, so it has no place in the book")
        title = re.match(r"# (.+)", markdown_of(read_notebook(path.stem, folder))[0])
        if not title:
            raise ValueError(f"{path.name} does not begin with a title")
        row = told.get(path.stem, {"question": "", "hours": ""})
        found.append(Lesson(path.stem, title[1].strip(), row["question"], row["hours"]))
    return found


def parts(found: list[Lesson]) -> dict[Part, list[Lesson]]:
    """The parts that have notebooks, each with its own."""
    by_part = {part: [lesson for lesson in found if part.first <= lesson.number <= part.last] for part in PARTS}
    homeless = set(found) - {lesson for some in by_part.values() for lesson in some}
    if homeless:
        raise ValueError(
            f"no part of the book holds {', '.join(sorted(lesson.name for lesson in homeless))}: see PARTS"
        )
    return {part: some for part, some in by_part.items() if some}


def routes(folder: Path = REPOSITORY / "notebooks") -> list[str]:
    """The routes through the course, each an item of a list in Markdown, as notebook 00 gives them."""
    found = ROUTE.findall(map_of(folder))
    if not found:
        raise ValueError(f"{FIRST}.ipynb names no route through the course below its map")
    return found


def symbols(notebook: dict) -> str:
    """A notebook's own table of symbols, or an empty string."""
    found = SYMBOLS.search(markdown_of(notebook)[0])
    return found[0] if found else ""


class Readme(NamedTuple):
    """The README, taken apart: its picture, its first paragraph, and its sections by their headings."""

    words: str  # for those who cannot see the picture
    picture: str  # where it lies
    title: str
    introduction: str
    sections: dict[str, str]


def readme(path: Path = REPOSITORY / "README.md") -> Readme:
    found = PICTURE.match(path.read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{path.name} does not begin with a picture and a title")
    introduction, *sections = re.split(r"^## ", found["rest"], flags=re.MULTILINE)
    by_heading = {heading.strip(): text for heading, _, text in (section.partition("\n") for section in sections)}
    return Readme(found["words"], found["file"], found["title"], introduction.strip(), by_heading)


def repository_address(path: Path = REPOSITORY / "pyproject.toml") -> str:
    """Where the repository is on GitHub: the one setting behind all buttons, `Repository` in [project.urls]."""
    address = tomllib.loads(path.read_text(encoding="utf-8"))["project"].get("urls", {}).get("Repository", "")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ValueError(f'[project.urls] needs Repository = "https://github.com/OWNER/NAME", but has {address!r}')
    return address
