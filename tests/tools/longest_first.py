"""A pytest plugin that begins with the files that took longest the last time.

    python -m pytest tests -p tests.tools.longest_first --numprocesses=auto --dist=loadfile

Where files run side by side, a long one that begins last keeps one process busy while the others have nothing left to
do. The seconds of each file are kept in pytest's cache. For a file that was never run they are guessed: a notebook
takes its budget, a unit test a fifth of a second.
"""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.tools.notebooks import budget

KEY = "minidiff/seconds"
SECONDS_OF_A_TEST = 0.2


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
            guess = budget(Path(file)) if file.endswith(".ipynb") else SECONDS_OF_A_TEST * tests[file]
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
