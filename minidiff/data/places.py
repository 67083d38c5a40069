"""Where files lie: in the folder that the reader names, in the repository, or in the package that a wheel installed.

The environment variable MINIDIFF_DATA names a folder of the reader's own, which is looked into first. In it, and in
every folder that is named to a function, `~` stands for the reader's home, also where no shell has put it in.
"""

import os
from pathlib import Path

from minidiff._shipped import shipped_folder

__all__ = ["course_file", "data_folder", "named_folder", "repositories_above"]


def named_folder(name: str, folder: str | Path) -> Path:
    """The folder that somebody named, with the home in place of a `~` at its beginning. `name` is the argument's.

    Raises TypeError where it is no path, ValueError where it is empty or nobody's home.
    """
    if not isinstance(folder, (str, os.PathLike)) or not isinstance(os.fspath(folder), str):
        raise TypeError(f"{name} must be the path of a folder, but is {folder!r}")
    if not os.fspath(folder):
        raise ValueError(f"{name} must be the path of a folder, but is empty; '.' is the one that you are in")
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:  # Path's word for a user that does not exist
        raise ValueError(
            f"{name} must be the path of a folder, but is {str(folder)!r}, and no user has that home; if the folder is "
            f"called so, write ./{folder}"
        ) from error


def data_folder() -> Path | None:
    """The folder that the environment variable MINIDIFF_DATA names, or None where it is not set or empty."""
    folder = os.environ.get("MINIDIFF_DATA")
    return named_folder("the environment variable MINIDIFF_DATA", folder) if folder else None


def repositories_above() -> list[Path]:
    """Folders at or above the working directory that hold this course (a notebook's kernel starts in notebooks/)."""
    here = Path.cwd()
    return [above for above in (here, *here.parents) if os.path.isfile(above / "minidiff" / "__init__.py")]


def course_file(name: str) -> Path:
    """Where a file that comes with the course lies: in `$MINIDIFF_DATA`, the `data` of the repository above, or beside
    or in the package.

    Raises FileNotFoundError, naming the folders it looked in.
    """
    own = data_folder()
    folders = [own] if own else []
    folders += [above / "data" for above in repositories_above()]
    folders.append(shipped_folder() or Path(__file__).parents[2] / "data")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"no {name} in {', '.join(dict.fromkeys(str(folder) for folder in folders))}")
