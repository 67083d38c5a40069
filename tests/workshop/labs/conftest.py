"""A sandbox for tests, and patience for answers that never end."""

import os
import shutil
import sys

import pytest

from minidiff.workshop.labs import judging
from minidiff.workshop.labs.sandbox import sandbox

needs_isolation = pytest.mark.skipif(
    sys.platform != "linux" or (os.geteuid() != 0 and shutil.which("bwrap") is None),
    reason="answers are locked in on Linux only, as root or with bubblewrap",
)


@pytest.fixture(scope="module")
def box():
    """The sandbox of this machine, warm for all tests of a module."""
    with sandbox() as made:
        yield made


@pytest.fixture
def impatient(monkeypatch):
    """Wait two seconds for a case, and four for a job."""
    monkeypatch.setattr(judging, "SECONDS", 2.0)
    monkeypatch.setattr(judging, "PATIENCE", 4.0)
