"""Labs: handed out to two hundred students, collected, graded, returned.

    make lab-release LAB=05                          the notebook to hand out, in a zip
    make lab-grade LAB=05 FROM=submissions.zip       grades, a table for the LMS, and feedback for each student

`records` says what a lab is, `lab05` and its like hold them, `releasing` writes the notebook, `submissions` reads what
came back, `notebooks` pours the answers into a fresh copy, `sandbox` runs them, `judging` gives points, `gradebook`
keeps them in nbgrader's, `returned` writes feedback and tables, and `grading` does all of that in its order.
For lecturers: notebooks/FOR_LECTURERS.md.
"""

import importlib

from minidiff.workshop.labs.records import Lab

__all__ = ["LABS", "lab_of"]

LABS = ("01-02", "03-04", "05", "06", "07-08", "09-10", "12-13", "14-15")


def lab_of(number: str) -> Lab:
    """The lab of this number. Raises ValueError, with all numbers, where there is none."""
    if number not in LABS:
        raise ValueError(f"LAB must be one of {', '.join(LABS)}, but is {number!r}")
    return importlib.import_module(f"minidiff.workshop.labs.lab{number.replace('-', '_')}").LAB
