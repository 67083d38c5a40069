"""`python -m minidiff.workshop.labs {release, grade, export}`, which `make lab-release` and its like call."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from minidiff._shipped import how_to_add
from minidiff.workshop.labs import LABS
from minidiff.workshop.workers import Refused

__all__ = ["main"]

FAILED, INTERRUPTED = 1, 130


def lab(text: str) -> str:
    """The number of a lab."""
    if text not in LABS:
        raise argparse.ArgumentTypeError(f"LAB must be one of {', '.join(LABS)}, as in LAB=05, but is {text!r}")
    return text


def source(text: str) -> Path:
    """Where submissions are."""
    if not text:
        raise argparse.ArgumentTypeError("FROM must be the zip that the LMS gave you, as in FROM=submissions.zip")
    return Path(text).expanduser()


def table(text: str) -> Path:
    """Where a table of students is."""
    return Path(text).expanduser()


def moment(text: str) -> datetime:
    """A day, or a day and a time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'must be like "2026-12-24 18:00", but is {text!r}') from None
    return found.replace(hour=23, minute=59, second=59) if len(text) == 10 else found.replace(tzinfo=None)


def percent(text: str) -> float:
    """A number from 0 to 100."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 100, but is {text!r}")
    return found


def parser() -> argparse.ArgumentParser:
    """The three commands."""
    made = argparse.ArgumentParser(prog="python -m minidiff.workshop.labs", description=__doc__.splitlines()[0])
    commands = made.add_subparsers(dest="command", required=True)
    for name, says in [
        ("release", "make the notebook to hand out"),
        ("grade", "mark what came back"),
        ("export", "write grades and feedback again, after you have marked plots"),
    ]:
        command = commands.add_parser(name, help=says, description=says)
        command.add_argument("--lab", required=True, type=lab, help=f"one of {', '.join(LABS)}")
        command.add_argument("--course", help="the folder of the course; $MINIDIFF_LABS, or minidiff-labs at home")
        if name == "release":
            command.add_argument("--students", type=table, help="a table (CSV) with id or name: a bug for each")
        if name == "grade":
            command.add_argument("--from", dest="source", type=source, required=True, help="the LMS's zip, or a folder")
            command.add_argument("--due", type=moment, help='by the clock of the LMS: "2026-12-24 18:00"')
            command.add_argument("--late", type=percent, help="percent of the points for each late day that has begun")
            command.add_argument("--unsafe", action="store_true", help="run answers without a sandbox")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0, 1 where it was refused, 130 where it was interrupted."""
    options = parser().parse_args(arguments)
    try:
        from minidiff.workshop.labs import grading, releasing, returned  # nbgrader takes a second
        from minidiff.workshop.labs.course import course_of
    except ModuleNotFoundError as error:
        print(f"{error.name} is missing: {how_to_add('labs')}", file=sys.stderr)
        return FAILED
    try:
        course = course_of(options.course)
        if options.command == "release":
            files = releasing.release(course, options.lab, options.students)
        elif options.command == "grade":
            said = {"due": options.due, "late": options.late, "unsafe": options.unsafe}
            files = grading.grade(course, options.lab, options.source, **said)
        else:
            from minidiff.workshop.labs import lab_of

            files = returned.export(course, lab_of(options.lab))
    except Refused as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    for what, path in files.items():
        print(f"{what}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
