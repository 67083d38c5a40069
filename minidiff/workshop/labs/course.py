"""The folder of a course: where things lie in it, and nbgrader's settings, with our judge in the place of its executor.

salt.txt              the secret of the course; keep it
gradebook.db          nbgrader's, with all marks
source, release, submitted, autograded      nbgrader's
marks                 what our judge found, one file for each student
returned              what goes back: grades.csv, forms for the LMS, feedback
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidiff.checkpoints import write_file
from minidiff.workshop.workers import Refused

__all__ = ["COURSE", "Course", "course_of", "nbgrader_config"]

COURSE = "MINIDIFF_LABS"

SETTINGS = """# Written by `make lab-release`. Open this folder in JupyterLab and choose Nbgrader > Formgrader.
from minidiff.workshop.labs.course import nbgrader_config

c = get_config()  # noqa: F821
nbgrader_config(c, __file__)
"""


@dataclass(frozen=True)
class Course:
    """A folder, and the places in it."""

    folder: Path

    def place(self, *names: str) -> Path:
        return self.folder.joinpath(*names)

    def marks(self, assignment: str, student: str) -> Path:
        return self.place("marks", assignment, f"{student}.json")

    def returned(self, assignment: str) -> Path:
        return self.place("returned", assignment)

    def submitted(self, assignment: str, student: str) -> Path:
        return self.place("submitted", student, assignment)

    def settings(self) -> dict[str, Any]:
        """What was said about labs: when they are due, what a day costs."""
        path = self.place("labs.json")
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def keep(self, assignment: str, said: dict[str, Any]) -> None:
        """Add to what was said about a lab."""
        settings = self.settings()
        settings[assignment] = {**settings.get(assignment, {}), **said}
        write_file(self.place("labs.json"), (json.dumps(settings, indent=1) + "\n").encode())


def course_of(named: str | None) -> Course:
    """The folder of the course: as named, or `$MINIDIFF_LABS`, or `minidiff-labs` at home. It is made."""
    folder = Path(named or os.environ.get(COURSE) or Path.home() / "minidiff-labs").expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise Refused(f"COURSE must be a folder, but {folder} is a file")
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if new:
        folder.chmod(0o700)  # nobody else on this machine reads marks
    if not (folder / "nbgrader_config.py").exists():
        write_file(folder / "nbgrader_config.py", SETTINGS.encode())
    return Course(folder)


def nbgrader_config(c: Any, file: str) -> None:
    """Settings for nbgrader: this folder, and marks that our judge has given instead of an execution."""
    from nbconvert.preprocessors import ClearMetadataPreprocessor, CSSHTMLHeaderPreprocessor
    from nbgrader import preprocessors as of_nbgrader

    from minidiff.workshop.labs import gradebook

    c.CourseDirectory.root = str(Path(file).parent)
    c.CourseDirectory.course_id = "minidiff"
    c.Exchange.root = str(Path(file).parent / "exchange")
    c.ExchangeFactory.list = gradebook.NoExchange
    c.Autograde.sanitize_preprocessors = [
        *(of_nbgrader.DeduplicateIds, of_nbgrader.OverwriteKernelspec),
        *(of_nbgrader.OverwriteCells, of_nbgrader.CheckCellMetadata),
    ]
    c.Autograde.autograde_preprocessors = [
        *(gradebook.Given, of_nbgrader.IgnorePattern, ClearMetadataPreprocessor),
        *(of_nbgrader.SaveAutoGrades, of_nbgrader.AssignLatePenalties, of_nbgrader.CheckCellMetadata),
    ]
    # the source holds no solutions and no tests, so that there is nothing to strip
    c.GenerateAssignment.preprocessors = [
        *(of_nbgrader.LockCells, of_nbgrader.ComputeChecksums, of_nbgrader.SaveCells, of_nbgrader.CheckCellMetadata),
    ]
    c.GenerateFeedback.preprocessors = [gradebook.NoRubric, of_nbgrader.GetGrades, CSSHTMLHeaderPreprocessor]
    c.AssignLatePenalties.plugin_class = gradebook.PerDay
    c.HTMLExporter.filters = {"markdown2html": gradebook.harmless}  # a person looks at what students wrote
