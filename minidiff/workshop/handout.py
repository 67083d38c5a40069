"""`minidiff course` and `minidiff lab`: the notebooks in a folder of the reader's, and JupyterLab at the first of them.

Whoever has only the wheel gets the course so. What the notebooks read, such as trained networks, they find in the
package, and what they draw or train lands beside them.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from minidiff._shell import pip_install
from minidiff._shipped import course_notebooks
from minidiff.checkpoints import write_file
from minidiff.workshop.workers import Refused

__all__ = ["FIRST", "FOLDER", "NoJupyterLab", "Written", "folder_to_open", "open_lab", "write_course"]

FIRST = "00_start_here.ipynb"
FOLDER = "minidiff-course"  # where the notebooks go if nobody names a folder
SPIN = "GOMP_SPINCOUNT", "10000"  # the Makefile says why


class NoJupyterLab(RuntimeError):
    """JupyterLab is not there. The message says what to do."""


class Written(NamedTuple):
    """The names of the files that were written, and of those that were there before and were left alone."""

    new: list[str]
    kept: list[str]


def write_course(folder: Path) -> Written:
    """Write the notebooks, and the tables that they link to, into a folder. What is there already stays as it is.

    Raises Refused where the folder is a file, OSError where it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise Refused(f"DIR must be a folder, but {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    written = Written([], [])
    for source in course_notebooks():
        target = folder / source.name
        if os.path.lexists(target):
            written.kept.append(source.name)
        else:
            write_file(target, source.read_bytes())
            written.new.append(source.name)
    return written


def folder_to_open(named: Path | None) -> Path:
    """The folder that was named, or else the first with notebook 00: this one, `notebooks` or `minidiff-course`."""
    if named is not None:
        return named
    near = [Path(), Path("notebooks"), Path(FOLDER)]
    return next((folder for folder in near if (folder / FIRST).is_file()), Path(FOLDER))


def open_lab(folder: Path, *, browser: bool = True, port: int | None = None) -> None:
    """Open JupyterLab at the first notebook of a folder, and return when it has ended.

    Raises NoJupyterLab where it is not installed.
    """
    if find_spec("jupyterlab") is None:
        raise NoJupyterLab(
            f"JupyterLab is not installed: {pip_install('jupyterlab')} installs it. The notebooks lie in "
            f"{folder.absolute()}, for any other program that opens notebooks"
        )
    from jupyterlab.labapp import LabApp

    trust(folder)
    os.environ.setdefault(*SPIN)
    sys.argv[1:] = []  # ours are not JupyterLab's
    LabApp.launch_instance(
        [
            "--ip=127.0.0.1",
            "--allow-root",
            f"--ServerApp.root_dir={folder.absolute()}",
            f"--LabApp.default_url=/lab/tree/{FIRST}",
            *([] if browser else ["--no-browser"]),
            *([] if port is None else [f"--port={port}"]),
        ]
    )


def trust(folder: Path) -> None:
    """Have Jupyter trust the notebooks that are still as they came, so that it shows what is interactive in them.

    Those that show no HTML look the same without.
    """
    import nbformat
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()
    for source in course_notebooks():
        target, content = folder / source.name, source.read_bytes()
        if b'"text/html"' in content and target.is_file() and target.read_bytes() == content:
            notary.sign(nbformat.read(target, as_version=4))
