"""Commands that a person can type where they stand: with the Python that runs now, quoted for their shell."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

__all__ = ["command", "minidiff_command", "pip_install", "python_here"]


def python_here() -> str:
    """The Python that runs this: from the working directory where it lies below it, such as `.venv/bin/python`.

    Not resolved: a virtual environment's Python is a link to another one.
    """
    path = Path(sys.executable or "python")
    try:
        below = path.relative_to(Path.cwd())
    except ValueError:
        return str(path)
    return str(below) if len(below.parts) > 1 else os.path.join(os.curdir, below)  # a bare name is looked for elsewhere


def command(*words: object) -> str:
    """Words as one line for the shell."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def minidiff_command(*words: object) -> str:
    """`... -m minidiff WORDS`, with the Python that runs now."""
    return command(python_here(), "-m", "minidiff", *words)


def pip_install(*words: str) -> str:
    """The command that installs something for the Python that runs now."""
    return command(python_here(), "-m", "pip", "install", *words)
