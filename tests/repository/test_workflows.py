"""The workflows: what they run is `make`, on every system and every Python that minidiff is made for, and no more."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from minidiff.data import mnist_folders
from tests.repository.test_setup import needs_make
from tests.tools.book.__main__ import SITE

REPOSITORY = Path(__file__).parents[2]
FILES = sorted((REPOSITORY / ".github" / "workflows").glob("*.y*ml"))
WORKFLOWS = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES}
TEXTS = {file.stem: file.read_text(encoding="utf-8") for file in FILES}
every_workflow = pytest.mark.parametrize("name", WORKFLOWS)
EXECUTING = ("nightly", "test")  # those that run the notebooks, and so need MNIST; the book is made from what is stored
every_executing_workflow = pytest.mark.parametrize("name", EXECUTING)
PUBLISHING = {("book", "publish"): {"pages": "write", "id-token": "write"}}  # the one job that may do more than read
LONGEST = 360  # minutes, which GitHub gives to one job


def triggers(workflow):
    """What starts a workflow. YAML 1.1 takes the word `on` for True."""
    given = workflow[True]
    return given if isinstance(given, dict) else dict.fromkeys([given] if isinstance(given, str) else given)


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(workflow):
    """Every line that any job of a workflow runs, once for each value of the job's matrix."""
    found = []
    for job in workflow["jobs"].values():
        for line in (line for step in job["steps"] for line in step.get("run", "").splitlines()):
            name = re.search(r"\$\{\{ matrix\.(\w+) \}\}", line)
            values = job["strategy"]["matrix"][name.group(1)] if name else [None]
            found += [line.replace(name.group(), value) if name else line for value in values]
    return found


def allowed_pythons():
    """The versions of Python that pyproject.toml allows, from the bounds that it states."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    return [f"3.{minor}" for minor in range(int(low), int(high))]


def test_there_are_three():
    assert list(WORKFLOWS) == ["book", "nightly", "test"]


# --- when and where --------------------------------------------------------------------------------------------------


def test_every_push_and_pull_request_is_tested():
    started_by = triggers(WORKFLOWS["test"])
    assert started_by == {"push": None, "pull_request": None}  # no branch or path is left out


def test_the_tests_run_on_every_system_and_python():
    (job,) = WORKFLOWS["test"]["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert set(matrix) == {"system", "python"}  # nothing is excluded from their product
    assert matrix["system"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert matrix["python"] == allowed_pythons()  # as words: a bare 3.10 would be 3.1
    assert job["runs-on"] == "${{ matrix.system }}" and job["strategy"]["fail-fast"] is False
    (setup,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python@")]
    assert setup["with"] == {"python-version": "${{ matrix.python }}"}
    assert not any("if" in part or "continue-on-error" in part for part in [job, *job["steps"]])


def test_the_nightly_runs_are_nightly_and_by_hand():
    started_by = triggers(WORKFLOWS["nightly"])
    assert set(started_by) == {"schedule", "workflow_dispatch"}
    (schedule,) = started_by["schedule"]
    minute, hour, *rest = schedule["cron"].split()
    assert 0 <= int(minute) < 60 and 0 <= int(hour) < 24 and rest == ["*", "*", "*"]
    (setup,) = [step for step in steps(WORKFLOWS["nightly"]) if step.get("uses", "").startswith("actions/setup-python")]
    assert setup["with"]["python-version"] in allowed_pythons()


def test_the_book_is_published_from_main_and_by_hand():
    assert triggers(WORKFLOWS["book"]) == {"push": {"branches": ["main"]}, "workflow_dispatch": None}
    build, publish = WORKFLOWS["book"]["jobs"].values()
    assert publish["needs"] == "build" and not any("if" in part for part in [build, publish, *build["steps"]])


# --- what ------------------------------------------------------------------------------------------------------------


def test_what_runs_is_make():
    assert commands(WORKFLOWS["test"]) == ["make test"]
    assert commands(WORKFLOWS["nightly"]) == ["make seeds", "make soak", "make lowest"]
    assert commands(WORKFLOWS["book"]) == ["make book-check"]


def test_what_is_published_is_what_was_built_and_looked_at():
    build, publish = WORKFLOWS["book"]["jobs"].values()
    *_, check, upload = build["steps"]
    assert check["run"] == "make book-check" and upload["uses"].startswith("actions/upload-pages-artifact@")
    assert REPOSITORY / upload["with"]["path"] == SITE
    (deploy,) = publish["steps"]  # and nothing else is done with the right to publish
    assert deploy["uses"].startswith("actions/deploy-pages@")


@needs_make
@every_workflow
def test_make_knows_the_commands(name):
    listed = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True).stdout
    for command in commands(WORKFLOWS[name]):
        assert re.search(rf"^{command} ", listed, re.MULTILINE), f"`{command}` is unknown"


@needs_make
@every_workflow
def test_make_takes_the_python_that_was_set_up(name, tmp_path):
    """PYTHON comes from the environment, since `make test` is called as everybody calls it."""
    for job in WORKFLOWS[name]["jobs"].values():
        if any("run" in step for step in job["steps"]):
            assert job["env"]["PYTHON"] == "python"
            assert job["defaults"]["run"]["shell"] == "bash"
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho yes\n")  # what the Makefile asks a Python that suits
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": "python"}
    command = ["make", "--dry-run", "test", f"VENV={tmp_path}/venv"]
    planned = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert f"|| python -m venv {tmp_path}/venv\n" in planned.stdout


# --- nothing more ----------------------------------------------------------------------------------------------------


@every_workflow
def test_a_workflow_may_only_read(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    more = {
        (name, job): given["permissions"] for job, given in WORKFLOWS[name]["jobs"].items() if "permissions" in given
    }
    assert more == {key: rights for key, rights in PUBLISHING.items() if key[0] == name}
    assert "secrets" not in TEXTS[name] and "token" not in TEXTS[name].lower().replace("id-token: write", "")
    assert "pull_request_target" not in TEXTS[name]


@every_workflow
def test_a_workflow_ends_and_gives_way_to_a_newer_one(name):
    assert WORKFLOWS[name]["concurrency"]["cancel-in-progress"] is True
    assert "github.ref" in WORKFLOWS[name]["concurrency"]["group"]
    for job in WORKFLOWS[name]["jobs"].values():
        assert 30 <= job["timeout-minutes"] <= LONGEST


@every_workflow
def test_actions_are_githubs_own_and_pinned(name):
    used = [step["uses"] for step in steps(WORKFLOWS[name]) if "uses" in step]
    known = "checkout|setup-python|cache" + ("|upload-pages-artifact|deploy-pages" if name == "book" else "")
    assert used and all(re.fullmatch(rf"actions/({known})@v\d+", action) for action in used)


@every_workflow
def test_no_address_is_written_down(name):
    """Neither an index of packages nor a mirror: pip and minidiff know their own."""
    assert "://" not in TEXTS[name] and "index-url" not in TEXTS[name].lower().replace("_", "-")


@every_executing_workflow
def test_pip_and_mnist_are_kept_where_they_are_looked_for(name, tmp_path, monkeypatch):
    (job,) = WORKFLOWS[name]["jobs"].values()
    pip, mnist = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/cache@")]
    assert pip["path"] == job["env"]["PIP_CACHE_DIR"]
    assert "runner.os" in pip["key"] and all(file in pip["key"] for file in ("pyproject.toml", "constraints.txt"))
    assert mnist["enableCrossOsArchive"] is True and "{{" not in mnist["path"]  # else it is another for each system
    monkeypatch.setenv("MINIDIFF_DATA", job["env"]["MINIDIFF_DATA"].replace("${{ github.workspace }}", str(tmp_path)))
    assert mnist_folders()[0] == tmp_path / mnist["path"]
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert f"{mnist['path']}/" in ignored  # so that no check of the repository takes the files for ours


def test_all_workflows_share_their_caches():
    book, *executing = (
        [step for step in steps(WORKFLOWS[name]) if "cache@" in step.get("uses", "")] for name in ("book", *EXECUTING)
    )
    assert executing[0] == executing[1]
    assert book == executing[0][:1]  # pip's
    assert WORKFLOWS["book"]["jobs"]["build"]["env"]["PIP_CACHE_DIR"] == book[0]["with"]["path"]
