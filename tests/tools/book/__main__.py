"""`python -m tests.tools.book build` and `python -m tests.tools.book check`."""

import argparse
import importlib.util
import shutil
import sys
import time
from pathlib import Path

from tests.tools.book.contents import REPOSITORY
from tests.tools.book.pages import Book, write_sources

BUILD = REPOSITORY / "build"
SITE, SOURCES = BUILD / "book", BUILD / "book-sources"
NEEDED = ("sphinx", "myst_nb", "furo", "sphinx_copybutton", "sphinx-mathjax-offline")


def build() -> None:
    """Write the site into build/book. It is made elsewhere, and put in place once it is whole and no link is broken."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"the book needs {', '.join(missing)}: pip install -c constraints.txt -e '.[book]', or make book")
    from sphinx.cmd.build import main as sphinx_build

    from tests.tools.book.links import broken

    start, new = time.perf_counter(), SITE.with_suffix(".tmp")
    for folder in (SOURCES, new):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        pages = write_sources(Book(), SOURCES)
    except ValueError as error:
        sys.exit(f"the book is not built: {error}")
    settings = [
        "-q",
        "-W",
        "--keep-going",
        "-c",
        str(Path(__file__).parent),
        "-D",
        f"html_extra_path={SOURCES / 'extra'}",
    ]
    if sphinx_build([*settings, "-d", str(SOURCES / "doctrees"), str(SOURCES), str(new)]):
        sys.exit("the book is not built: see above")
    wrong = broken(new)
    if wrong:
        sys.exit("\n".join([*wrong, f"the book is not built: {len(wrong)} links are broken"]))
    old = SITE.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)
    if SITE.exists():
        SITE.rename(old)
    new.rename(SITE)
    shutil.rmtree(old, ignore_errors=True)
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) / 1e6
    took = time.perf_counter() - start
    print(f"{SITE / 'index.html'}: {len(pages)} pages, {size:.0f} MB, no link is broken, in {took:.0f} s")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.book", description="The course as a web site.")
    parser.add_argument("command", choices=["build", "check"], help="write build/book, or look at it in a browser")
    parser.add_argument("--pages", nargs="*", default=[], help="check: only pages whose names begin so")
    parser.add_argument("--pictures", type=Path, help="check: a folder for pictures of every page, as it was seen")
    given = parser.parse_args(arguments)
    if given.command == "build":
        return build()
    if not SITE.is_dir():
        sys.exit("there is no book yet: make book")
    from tests.tools.book.proof import prove

    return sys.exit(prove(SITE, SOURCES, given.pages, given.pictures))


if __name__ == "__main__":
    main()
