"""What comes with the course beside its code: in the repository next to the package, in a wheel inside of it.

pyproject.toml maps the repository's `data` to `minidiff/shipped`, and its `notebooks` to `minidiff/shipped/notebooks`.
An editable install leaves everything where it is.
"""

import importlib.metadata
from pathlib import Path

from minidiff._shell import pip_install

__all__ = ["course_notebooks", "how_to_add", "how_to_install_again", "shipped_folder"]

PACKAGE = Path(__file__).parent
NOTEBOOKS = "[0-9][0-9]_*.ipynb"
TABLES = ("GLOSSARY.md", "SYMPTOMS.md")  # notebooks link to them


def shipped_folder() -> Path | None:
    """The folder of the package that holds the repository's `data` where a wheel was installed, else None."""
    folder = PACKAGE / "shipped"
    return folder if folder.is_dir() else None


def course_notebooks() -> list[Path]:
    """The notebooks of the course and the tables that they link to, by name."""
    shipped = shipped_folder()
    folder = shipped / "notebooks" if shipped else PACKAGE.parent / "notebooks"
    return sorted([*folder.glob(NOTEBOOKS), *(folder / name for name in TABLES if (folder / name).is_file())])


def how_to_install_again() -> str:
    """What to do where a file that came in the wheel is damaged or gone."""
    wheel = f"minidiff-{importlib.metadata.version('minidiff')}-py3-none-any.whl"
    return f"install the wheel again: {pip_install('--force-reinstall', '--no-deps', wheel)}"


def how_to_add(extra: str) -> str:
    """What installs the packages of one of minidiff's extras: in the folder of the repository, or beside a wheel."""
    if shipped_folder():
        return pip_install(f"minidiff[{extra}]")  # minidiff stays as it is: pip takes the list from the installed wheel
    return pip_install("-c", "constraints.txt", "-e", f".[{extra}]")
