"""Every test of the checks notes its progress in a folder of its own, never in the user's."""

import pytest


@pytest.fixture(autouse=True)
def progress_folder(tmp_path, monkeypatch):
    """The folder where this test's progress goes."""
    monkeypatch.setenv("MINIDIFF_PROGRESS", str(tmp_path / "progress"))
    return tmp_path / "progress"
