"""The glossary: its terms are in order, and each link leads to a notebook that uses the term.

Links to the notebooks in PENDING may lead nowhere until these notebooks are in the folder. As soon as one is there,
its terms are looked for in it like all others. Empty PENDING when all of them are there.
"""

import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
GLOSSARY = NOTEBOOKS / "GLOSSARY.md"
PENDING: set[str] = set()  # numbers of notebooks that are not in the folder yet
TOPICS = ("DVAE", "NLDM", "DIS", "DGAN", "HDM", "DTG")
# (number, term): the notebook explains the thing, but in other words
OTHER_WORDS = {("15", "inpainting"), ("22", "factorisation error")}

LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
ENTRY = re.compile(r"- \*\*(?P<term>[^*]+)\*\*(?P<others> \(.+?\))?: (?P<gloss>.+?[.)]) (?P<links>\[.+)", re.DOTALL)


class Entry(NamedTuple):
    letter: str
    term: str
    gloss: str
    links: list[tuple[str, str]]  # number and file


def words(text: str) -> str:
    """Lower case, without accents, everything but letters and digits as one space."""
    letters = unicodedata.normalize("NFKD", text.replace("Π", "P")).lower()
    return " ".join(re.findall(r"[a-z0-9]+", "".join(c for c in letters if not unicodedata.combining(c))))


def entries(text: str) -> list[Entry]:
    found = []
    for section in text.split("\n## ")[1:]:
        letter, body = section.split("\n", 1)
        for item in re.split(r"\n(?=- )", body.strip()):
            match = ENTRY.fullmatch(" ".join(item.split()))
            assert match, f"no term, gloss and link: {item}"
            found.append(Entry(letter.strip(), match["term"], match["gloss"], LINK.findall(match["links"])))
    return found


def missing(entry: Entry, texts: dict[str, str]) -> list[str]:
    """What is wrong with the links of an entry, given the text of each notebook that is there."""
    wrong = []
    for number, file in entry.links:
        if not file.startswith(f"{number}_"):
            wrong.append(f"{entry.term}: the link [{number}] leads to {file}")
        elif file not in texts:
            if number not in PENDING:
                wrong.append(f"{entry.term}: there is no notebook {file}")
        elif words(entry.term) not in texts[file] and (number, entry.term) not in OTHER_WORDS:
            wrong.append(f"{entry.term}: not in {file}")
    return wrong


def markdown_of(path: Path) -> str:
    notebook = nbformat.read(path, as_version=4)
    return words(" ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))


@pytest.fixture(scope="module")
def text() -> str:
    return GLOSSARY.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {path.name: markdown_of(path) for path in NOTEBOOKS.glob("*.ipynb")}


def test_terms_are_unique_and_in_alphabetical_order(text):
    keys = [words(entry.term) for entry in entries(text)]
    assert len(set(keys)) == len(keys) >= 180
    assert keys == sorted(keys)


def test_terms_stand_under_their_letter(text):
    assert [e.term for e in entries(text) if words(e.term)[0].upper() != e.letter] == []


def test_links_lead_to_notebooks_that_use_the_term(text, texts):
    assert [fault for entry in entries(text) for fault in missing(entry, texts)] == []


def test_all_other_links_lead_to_files(text):
    files = {file for _, file in LINK.findall(text)} - {file for entry in entries(text) for _, file in entry.links}
    assert [file for file in files if not (NOTEBOOKS / file).is_file()] == []


def test_exceptions_are_needed(text, texts):
    """An exception whose notebook has the term by now, or whose entry has gone, has to go as well."""
    there = {(number, e.term): words(e.term) in texts.get(file, "") for e in entries(text) for number, file in e.links}
    assert [exception for exception in OTHER_WORDS if there.get(exception, True)] == []


def test_abbreviations_of_topics_can_be_found(text):
    assert [word for word in TOPICS if not re.search(rf"\b{word}\b", text)] == []


def test_lines_and_formulas(text):
    assert [line for line in text.splitlines() if len(line) > 120] == []
    assert [line for line in text.splitlines() if line.count("$") % 2] == [], "a formula is broken over two lines"
    assert re.findall(r"\\[^A-Za-z].{0,9}", text) == [], "GitHub takes a backslash before a sign for its own"


@pytest.mark.parametrize(
    ("links", "fault"),
    [
        ([("05", "05_there.ipynb")], None),
        ([("18", "18_not_yet.ipynb")], None if "18" in PENDING else "no notebook"),
        ([("06", "06_gone.ipynb")], "no notebook"),
        ([("05", "06_gone.ipynb")], "leads to"),
        ([("07", "07_silent.ipynb")], "not in"),
    ],
)
def test_faults_are_found(links, fault):
    texts = {"05_there.ipynb": words("the Log-SNR of"), "07_silent.ipynb": ""}
    found = missing(Entry("L", "log-SNR", "The logarithm.", links), texts)
    assert [fault in line for line in found] == ([True] if fault else [])
