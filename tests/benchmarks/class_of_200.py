"""Two hundred submissions of one lab, of every kind, graded in one run; then once more, killed in the middle.

    python -m tests.benchmarks.class_of_200               lab 05, some minutes on two CPU cores
    python -m tests.benchmarks.class_of_200 --lab 09-10

A quarter of the class is right, in both forms; then comes every known mistake that can be written in a cell, random
mutations of right answers, empty and broken notebooks, and hostile ones. What must come of it is checked, and the
program fails where it does not: every right one has all points, every known mistake is named, no hostile one is above
zero, and a grading that is killed and started again ends with the same table.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from minidiff.workshop.labs import LABS, lab_of
from minidiff.workshop.labs.notebooks import assignment
from minidiff.workshop.labs.salt import salt_of, variants_of
from tests.workshop.labs.mutants import mutants_of
from tests.workshop.labs.students import (
    Handed,
    all_right,
    filled,
    in_moodle,
    marks_of,
    mistakes,
    release_in,
    right_in_another_form,
)
from tests.workshop.labs.test_attacks import ENDLESS, PATCHES, PEEKS, QUICK, hostile

__all__ = ["main"]

CLASS, RIGHT, BROKEN = 200, 50, 10
SALT = "a class of two hundred"


def class_of(course: Path, lab: str) -> list[Handed]:
    """Two hundred students, each with a name that says what they hand in."""
    release, handed = release_in(course, lab), []

    def hand_in(kind: str, **instead: tuple[str, str, str]) -> None:
        answers, expected = all_right(course, lab, **instead)
        handed.append(Handed(f"{kind} {len(handed):03d}", filled(release, answers), expected))

    for number in range(RIGHT):
        instead = right_in_another_form(course, lab) if number % 2 else {}
        hand_in("Right", **{name: (source, "right", "") for name, source in instead.items()})
    for problem, mistake, code in mistakes(course, lab):
        hand_in("Known", **{problem: (code, "known", mistake)})
    for number in range(BROKEN):
        notebook = filled(release, {"step": "def ("} if number % 2 else {})
        handed.append(Handed(f"Broken {len(handed):03d}", notebook, {}))
    variants = variants_of(lab_of(lab), salt_of(course))
    first = next(iter(variants))
    for text in {**ENDLESS, **QUICK, **PATCHES, **PEEKS}.values():
        answers = {name: hostile(one.exercise.stub, text) if name == first else "" for name, one in variants.items()}
        handed.append(Handed(f"Hostile {len(handed):03d}", filled(release, answers), {}))
    mutants = [(name, one.source) for name, v in variants.items() for one in mutants_of(v.exercise.solution)]
    random.Random(0).shuffle(mutants)
    for name, mutant in mutants[: CLASS - len(handed)]:
        hand_in("Mutant", **{name: (mutant, "?", "?")})
    return handed


def wrong_ones(handed: list[Handed], kept: dict[str, dict]) -> list[str]:
    """What is not as it must be, in words."""
    found = []
    for one in handed:
        marks = kept[one.name]["marks"]
        if one.name.startswith(("Hostile", "Broken")) and any(mark["points"] for mark in marks.values()):
            found.append(f"{one.name} has points: {marks}")
        for name, (state, mistake) in one.expected.items():
            mark = marks[name]
            if state != "?" and (mark["state"], mark["mistake"]) != (state, mistake):
                found.append(f"{one.name}, {name}: {mark['state']} {mark['mistake']}, expected {state} {mistake}")
    return found


def grading(course: Path, lab: str, source: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "minidiff.workshop.labs", "grade", "--lab", lab, "--course", str(course)]
    return subprocess.Popen([*command, "--from", str(source)], start_new_session=True)


def main(arguments: list[str] | None = None) -> None:
    """Grade the class twice, and say how long it took and what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.class_of_200", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--lab", default="05", choices=LABS)
    lab = parser.parse_args(arguments).lab
    name = assignment(lab_of(lab))
    with tempfile.TemporaryDirectory() as folder:
        course, again = Path(folder) / "course", Path(folder) / "again"
        course.mkdir()
        (course / "salt.txt").write_text(SALT)
        release = [sys.executable, "-m", "minidiff.workshop.labs", "release", "--lab", lab, "--course", str(course)]
        subprocess.run(release, check=True)
        shutil.copytree(course, again)
        handed = class_of(course, lab)
        source = in_moodle(Path(folder) / "all.zip", handed, name)
        begin = time.perf_counter()
        assert grading(course, lab, source).wait() == 0
        seconds = time.perf_counter() - begin
        kept = marks_of(course, name)
        troubles = wrong_ones(handed, kept)
        kinds = Counter(one.name.split()[0] for one in handed)
        states = Counter(mark["state"] for entry in kept.values() for mark in entry["marks"].values())
        print(f"{len(handed)} submissions ({dict(kinds)}) in {seconds:.0f} s, {seconds / len(handed):.2f} s each")
        print(f"verdicts: {dict(states)}")
        process = grading(again, lab, source)
        while len(list((again / "marks").rglob("*.json"))) < len(handed) // 3:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert grading(again, lab, source).wait() == 0
        tables = [(one / "returned" / name / "grades.csv").read_text() for one in (course, again)]
        if tables[0] != tables[1]:
            troubles.append("the table of the killed grading differs")
        print("\n".join(troubles) or "all as it must be, and the same after the grading was killed and started again")
        sys.exit(bool(troubles))


if __name__ == "__main__":
    main()
