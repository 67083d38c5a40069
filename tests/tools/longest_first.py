"""A pytest plugin that begins with the files that took longest the last time.

    python -m pytest tests -p tests.tools.longest_first --numprocesses=auto --dist=loadfile

Where files run side by side, a long one that begins last keeps one process busy while the others have nothing left to
do. The seconds of each file are kept in pytest's cache. For a file that was never run they are guessed: a notebook
takes its budget, a file of SLOW what stands there, any other unit test a twentieth of a second.
"""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.tools.notebooks import budget

KEY = "minidiff/seconds"
SECONDS_OF_A_TEST = 0.05
SLOW = {  # seconds: a fresh copy, which has no cache, begins with them too, and ends a minute sooner
    "tests/course/checks/test_meta.py": 290,
    "tests/course/checks/test_lesson.py": 130,
    "tests/course/test_devices.py": 30,
    "tests/course/test_digits.py": 40,
    "tests/course/test_likelihood.py": 30,
    "tests/course/test_sampler_orders.py": 20,
    "tests/repository/test_architecture.py": 50,
    "tests/repository/test_benchmarks.py": 30,
    "tests/repository/test_notebook_tools.py": 65,
    "tests/workshop/labs/test_attacks.py": 40,
    "tests/workshop/labs/test_grading.py": 45,
    "tests/workshop/labs/test_mutations.py": 45,
    "tests/workshop/labs/test_problems.py": 35,
    "tests/workshop/test_commands.py": 35,
    "tests/workshop/test_doctor.py": 45,
    "tests/workshop/test_own_pictures.py": 40,
    "tests/workshop/test_runs.py": 60,
    "tests/workshop/test_runs_cut_off.py": 90,
    "tests/workshop/test_serve.py": 15,
    "tests/workshop/test_subjects.py": 55,
    "tests/workshop/test_workers.py": 60,
}


def pytest_configure(config):
    config.option.loadscopereorder = False  # xdist would begin with the file that has the most tests
    config.pluginmanager.register(LongestFirst(config))


def file_of(nodeid: str) -> str:
    return nodeid.split("::")[0]


class LongestFirst:
    """Orders the tests and remembers how long each file took. Its methods are pytest's hooks."""

    def __init__(self, config):
        self.config = config
        self.seconds = defaultdict(float)

    def known(self) -> dict[str, float]:
        """The seconds that each file took the last time it ran. Empty where pytest keeps no cache."""
        cache = getattr(self.config, "cache", None)
        return cache.get(KEY, {}) if cache else {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        known, tests = self.known(), Counter(file_of(item.nodeid) for item in items)

        def expected(file: str) -> float:
            guess = budget(Path(file)) if file.endswith(".ipynb") else SLOW.get(file, SECONDS_OF_A_TEST * tests[file])
            return known.get(file, guess)

        place = {file: number for number, file in enumerate(sorted(tests, key=expected, reverse=True))}
        items.sort(key=lambda item: place[file_of(item.nodeid)])

    def pytest_runtest_logreport(self, report):
        self.seconds[file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self, exitstatus):
        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)  # and was not interrupted
        if ended and not hasattr(self.config, "workerinput") and getattr(self.config, "cache", None):
            seconds = {file: round(seconds, 2) for file, seconds in self.seconds.items()}
            self.config.cache.set(KEY, {**self.known(), **seconds})
