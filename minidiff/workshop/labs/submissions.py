"""What came back from the LMS: one notebook for each student, out of a zip that anybody may have filled with anything.

Nothing is written where the zip says. Files are read one by one, with limits, and who sent them follows from their
names, as Moodle and Canvas write them: `Ada Lovelace_1815_assignsubmission_file_/lab05.ipynb`,
`lovelaceada_1815_77_lab05.ipynb`.
"""

import contextlib
import hashlib
import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

import nbformat
from nbformat import NotebookNode

from minidiff.workshop.workers import Refused

__all__ = ["Submission", "Trouble", "Who", "collected", "who_sent"]

LARGEST = 20 << 20  # of one notebook
MOST_FILES, MOST_BYTES = 20_000, 4 << 30  # of the whole
MOODLE = re.compile(r"(?P<name>[^/]+)_(?P<id>\d+)_(?:assignsubmission_(?:file|onlinetext))_?(?P<file>.*)")
CANVAS = re.compile(r"(?P<name>[^_/]+)(?P<late>_LATE)?_(?P<id>\d+)_(?P<file_id>\d+)_(?P<file>.+)")
AGAIN = re.compile(r"(?:-\d+| ?\(\d+\))$")  # lab05-1.ipynb, lab05 (2).ipynb: handed in once more
JUNK = ("__MACOSX", ".DS_Store", ".ipynb_checkpoints", "Thumbs.db")


@dataclass(frozen=True, order=True)
class Who:
    """A student, as the LMS names them. id: safe in file names, and the same at every download."""

    id: str
    name: str = field(compare=False)
    lms: str = field(default="", compare=False)  # "moodle", "canvas" or nothing
    number: str = field(default="", compare=False)  # the LMS's own
    folder: str = field(default="", compare=False)  # what the LMS called the folder or the file, to send feedback back


@dataclass(frozen=True)
class Submission:
    """What one student handed in."""

    who: Who
    notebook: NotebookNode
    file: str
    when: datetime
    late: bool = False  # the LMS said so
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trouble:
    """Why something that a student sent could not be read, in words for the lecturer and the student."""

    who: Who
    file: str
    text: str


def collected(
    source: Path, unfit: Callable[[NotebookNode], str] = lambda notebook: ""
) -> tuple[list[Submission], list[Trouble]]:
    """The last notebook of each student in a zip or a folder, and what could not be read. Sorted by student.

    unfit: what is wrong about a notebook that can be read, or nothing; where another one of the student's is fit, that
    one counts. Raises Refused where there is no such file, or nothing in it is a submission.
    """
    found: dict[str, list[Submission]] = {}
    troubles: dict[str, list[Trouble]] = {}
    seen = 0
    for file, when, read in _files(source):
        who, late = who_sent(file)
        seen += 1
        try:
            notebook = _notebook(read())
            if why := unfit(notebook):
                raise _Unreadable(why)
        except _Unreadable as error:
            troubles.setdefault(who.id, []).append(Trouble(who, file, str(error)))
            continue
        found.setdefault(who.id, []).append(Submission(who, notebook, file, when, late))
    if not seen:
        raise Refused(f"nothing in {source} is a submission: it holds no files that a student can have sent")
    chosen = [_last(submissions) for submissions in found.values()]
    failed = [trouble for id, listed in troubles.items() if id not in found for trouble in listed[-1:]]
    return sorted(chosen, key=lambda one: one.who), sorted(failed, key=lambda one: one.who)


def _last(submissions: list[Submission]) -> Submission:
    """The one that was handed in last: by its time, then by the number that the LMS or a browser added to its name."""
    *others, last = sorted(submissions, key=lambda one: (one.when, len(one.file), one.file))
    if not others:
        return last
    note = f"handed in {len(others) + 1} files; {PurePosixPath(last.file).name} is the last, and was marked"
    return replace(last, notes=(*last.notes, note))


# Who


def who_sent(file: str) -> tuple[Who, bool]:
    """Whose a file is, by its path in the zip, and whether the LMS says that it came late."""
    *folders, last = PurePosixPath(file).parts
    for folder in folders:
        if match := MOODLE.fullmatch(folder):
            return _who(match["name"], match["id"], "moodle", folder), False
    if match := MOODLE.fullmatch(last):
        return _who(match["name"], match["id"], "moodle", last.removesuffix(match["file"])), False
    if match := CANVAS.fullmatch(last):
        return _who(match["name"], match["id"], "canvas", last), bool(match["late"])
    named = folders[-1] if folders else AGAIN.sub("", PurePosixPath(last).stem)
    return _who(named, "", "", named), False


def _who(name: str, number: str, lms: str, folder: str) -> Who:
    name = unicodedata.normalize("NFC", name).strip()
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "student"
    mark = number or hashlib.blake2b(name.encode(), digest_size=3).hexdigest()
    return Who(f"{words[:40]}-{mark}", name, lms, number, folder)


# Files


class _Unreadable(Exception):
    """What was sent is no notebook; the words say what it is instead."""


def _files(source: Path) -> Iterator[tuple[str, datetime, "_Reader"]]:
    """Every file that a student may have sent: its path, its time, and how it is read."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink() and not _junk(path.relative_to(source).as_posix()):
                when = datetime.fromtimestamp(path.stat().st_mtime)
                yield path.relative_to(source).as_posix(), when, _Reader(partial(path.open, "rb"), path.stat().st_size)
        return
    if not source.exists():
        raise Refused(f"FROM must be the zip that the LMS gave you, but there is no {source}")
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError, ValueError):
        raise Refused(f"FROM must be a zip file, but {source} is none") from None
    with archive:
        yield from _entries(archive, "")


def _entries(archive: zipfile.ZipFile, inside: str) -> Iterator[tuple[str, datetime, "_Reader"]]:
    """The entries of a zip, and those of a zip that a student has sent instead of a notebook."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise Refused(
            f"the zip says that it holds {len(entries)} files and too many bytes: it is no set of submissions"
        )
    for entry in entries:
        path = entry.filename.replace("\\", "/")
        parts = PurePosixPath(path).parts
        if _junk(path):
            continue
        file = "/".join([inside, *parts] if inside else parts)
        if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", path):
            reader = _Reader(None, 0, "its name in the zip climbs out of the folder, so it was not read")
        elif (entry.external_attr >> 16) & 0o170000 == 0o120000:
            reader = _Reader(None, 0, "it is a link, and not a file")
        elif entry.flag_bits & 1:
            reader = _Reader(None, 0, "it is encrypted")
        else:
            reader = _Reader(partial(archive.open, entry), entry.file_size)
        when = datetime(1980, 1, 1)
        with contextlib.suppress(ValueError):
            when = datetime(*entry.date_time)
        if path.lower().endswith(".zip") and not inside and not reader.trouble:
            try:
                with zipfile.ZipFile(io.BytesIO(reader())) as inner:
                    yield from _entries(inner, file)
                continue
            except (zipfile.BadZipFile, _Unreadable):
                reader = _Reader(None, 0, "it is a zip that cannot be opened")
        yield file, when, reader


def _junk(path: str) -> bool:
    return any(part in JUNK or part.startswith("._") for part in PurePosixPath(path).parts)


@dataclass(frozen=True)
class _Reader:
    """How a file is read: never more than the limit, whatever a zip says about its size."""

    open: Callable[[], IO[bytes]] | None
    size: int
    trouble: str = ""

    def __call__(self) -> bytes:
        if self.trouble:
            raise _Unreadable(self.trouble)
        if self.size > LARGEST:
            raise _Unreadable(
                f"it has {self.size / 2**20:.0f} MB, and a notebook may have {LARGEST >> 20}: clear large outputs "
                "(Edit > Clear Outputs of All Cells, all but the plot's) and hand it in again"
            )
        try:
            with self.open() as stream:
                data = stream.read(LARGEST + 1)
        except Exception:  # zipfile raises its own, and those of zlib, lzma and bz2
            raise _Unreadable("it cannot be read: the file is damaged") from None
        if len(data) > LARGEST:
            raise _Unreadable(f"it is larger than it says, and than the {LARGEST >> 20} MB that a notebook may have")
        return data


def _notebook(data: bytes) -> NotebookNode:
    """A notebook, whatever wrote it, with all that a cell needs."""
    start = data[:2000].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise _Unreadable(
            "it is a web page (HTML), and not a notebook: hand in the .ipynb itself, by File > Download and not by "
            "File > Save and Export Notebook As"
        )
    if start.startswith(b"%pdf"):
        raise _Unreadable("it is a PDF, and not a notebook: hand in the .ipynb itself")
    if not data.strip():
        raise _Unreadable("it is empty")
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _Unreadable("it is no notebook: a notebook is a file of JSON, with the ending .ipynb") from None
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise _Unreadable("it is no notebook: it has no cells")
    try:
        notebook = nbformat.from_dict(content)
    except (RecursionError, TypeError, ValueError):
        raise _Unreadable("it is no notebook that can be read") from None
    notebook.cells = [cell for cell in notebook.cells if isinstance(cell, dict)]
    if not notebook.cells:
        raise _Unreadable("it is a notebook without cells")
    for cell in notebook.cells:
        if not isinstance(cell.get("metadata"), dict):
            cell["metadata"] = NotebookNode()
        source = cell.get("source", "")
        lines = [line for line in source if isinstance(line, str)] if isinstance(source, list) else [source]
        cell["source"] = "".join(line for line in lines if isinstance(line, str))
    return notebook
