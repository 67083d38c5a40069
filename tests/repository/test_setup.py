"""The set-up: what `make lab` serves, what the files for pip, conda and make say, and what the repository holds."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.tools import lowest

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
assert {"minidiff[lab]", "minidiff[production]"} <= {*EXTRAS["dev"]}  # JupyterLab, and what notebook 27 needs
DIRECT = [
    requirement
    for requirement in map(
        Requirement, [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["lab"], *EXTRAS["production"]]
    )
    if requirement.name != "minidiff"
]
PINNED = [
    *DIRECT,
    *(
        Requirement(line)
        for line in EXTRAS["mutants"] + EXTRAS["bench"] + EXTRAS["labs"] + EXTRAS["browser"] + EXTRAS["book"]
        if line not in EXTRAS["dev"] + EXTRAS["production"]
    ),
    *map(Requirement, EXTRAS["wheel"]),
]
CONDA_NAMES = {"torch": "pytorch"}
COMMANDS = [
    *(
        "help",
        "lab",
        "test",
        "check",
        "course",
        "notebooks",
        "seeds",
        "lab-release",
        "lab-grade",
        "lab-export",
        "book",
        "book-check",
        "soak",
        "lowest",
        "mutants",
        "wheel",
        "bench",
        "bench-quick",
    ),
    "clean",
]
TOP_LEVEL = {
    *("README.md", "notebooks", "minidiff", "data", "tests", "environment.yml", "pyproject.toml", "constraints.txt"),
    *("Makefile", "LICENSE", "CONTRIBUTING.md", "CITATION.cff", ".ci", ".github", ".gitignore", ".binder"),
}

# These tests pretend to be other programs by scripts for a POSIX shell, which Windows does not run.
needs_make = pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="needs make and a POSIX shell")


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    command = ["make", *arguments, *(f"{name}={value}" for name, value in variables.items())]
    alone = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE")
    }  # `make test` is above us
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=alone)


# --- make lab --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """JupyterLab as `make lab` starts it, without a browser: the process, and the file that it prints to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    installed = f"{sys.prefix}/installed"  # since this test runs, all is installed: --old-file tells make so
    command = ["make", "lab", f"--old-file={installed}", f"VENV={sys.prefix}", f"LAB_FLAGS=--no-browser --port={port}"]
    printed = tmp_path / "printed.txt"
    alone = {**os.environ, "JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}  # where nothing has been trusted yet
    with printed.open("w") as file:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=file, stderr=file, env=alone, start_new_session=True)
    yield process, printed
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition, seconds: float = 240):
    """What `condition()` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return value


def answers(address: str) -> bool:
    """Whether the server listens by now: JupyterLab prints its address a moment before."""
    host, port = address.split(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@needs_make
def test_make_lab_prints_an_address_that_serves_notebook_00_and_ends_without_a_trace(server):
    process, printed = server
    found = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+/lab/tree/\S+\?token=\w+", printed.read_text()))
    assert found, f"no address was printed: {printed.read_text()}"
    address = urlsplit(found.group())
    assert address.path == "/lab/tree/notebooks/00_start_here.ipynb"
    assert wait_for(lambda: answers(address.netloc))

    token = parse_qs(address.query)["token"][0]
    with urllib.request.urlopen(found.group(), timeout=120) as page:
        assert b"JupyterLab" in page.read()
    contents = f"http://{address.netloc}/api/contents/notebooks/00_start_here.ipynb"
    with urllib.request.urlopen(f"{contents}?token={token}", timeout=120) as answer:
        notebook = json.load(answer)["content"]
    assert notebook["cells"][0]["source"].startswith("# 00. ")
    code = [cell["metadata"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(metadata["trusted"] for metadata in code)  # or the page of `explorer.show` would be left out
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(contents, timeout=120)

    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=120)
    assert wait_for(lambda: not group_exists(process.pid), seconds=60), "a process of the server is still alive"


def python_of_version(version: str, folder: Path) -> str:
    """This Python, made to take itself for another version."""
    program = folder / f"python{version}"
    lie = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0)"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo Python {version}.0 || "{sys.executable}" -c "{lie}; $2"\n'
    )
    program.chmod(0o755)
    return str(program)


@needs_make
@pytest.mark.parametrize("version", ["3.9", "3.10", "3.15"])
def test_a_python_that_does_not_suit_is_told_in_one_line(version, tmp_path):
    result = make("lab", PYTHON=python_of_version(version, tmp_path), VENV=str(tmp_path / "venv"))
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert "minidiff needs Python 3.11, 3.12, 3.13 or 3.14, but" in result.stderr
    assert f'is "Python {version}.0". Name another: make lab PYTHON=python3.12' in result.stderr
    assert not (tmp_path / "venv").exists()


@needs_make
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_a_python_that_suits_makes_the_environment(version, tmp_path):
    python = python_of_version(version, tmp_path)
    planned = make("--dry-run", "lab", PYTHON=python, VENV=str(tmp_path / "venv"))
    assert planned.returncode == 0
    assert f"{python} -m venv {tmp_path}/venv\n" in planned.stdout
    assert 'pip install -c constraints.txt -e ".[dev]"\n' in planned.stdout


@needs_make
@pytest.mark.parametrize(("system", "folder"), [("Windows_NT", "Scripts"), ("", "bin")])
def test_make_finds_python_where_the_system_puts_it(system, folder, tmp_path):
    planned = make("--dry-run", "course", OS=system, VENV=str(tmp_path / "venv"), NOTEBOOKS="00")
    assert planned.returncode == 0
    created, installed, run = [line for line in planned.stdout.splitlines() if " -m " in line]
    program = f"{tmp_path}/venv/{folder}/python"
    assert created.startswith(f"test -x {program} || ") and created.endswith(f" -m venv {tmp_path}/venv")
    assert installed.startswith(f"{program} -m pip install ") and run.startswith(f"{program} -m tests.tools.notebooks")


@needs_make
def test_make_names_its_commands():
    listed = make().stdout
    assert listed == make("help").stdout
    assert re.findall(r"^make ([\w-]+) +\S", listed, re.MULTILINE) == COMMANDS
    for command in COMMANDS:
        assert make("--dry-run", f"--old-file={sys.prefix}/installed", command, VENV=sys.prefix).returncode == 0


def steps(command: str, folder: Path, failing: str = "nothing", **variables: str):
    """What `make test` or `make check` runs, with a program in place of Python that fails at one of the steps."""
    program = folder / "run"
    program.write_text(f'#!/bin/sh\necho "ran $*"\ncase "$*" in "{failing}"*) exit 1; esac\n')
    program.chmod(0o755)
    installed = [f"--old-file={sys.prefix}/{name}" for name in ("installed", "installed-labs")]
    result = make(command, *installed, VENV=sys.prefix, RUN=str(program), **variables)
    return result, [line.removeprefix("ran ") for line in result.stdout.splitlines() if line.startswith("ran ")]


STEPS = {  # the command, and how a failure of it is called
    **{"nothing": "", "ruff check": "ruff-check", "ruff format": "ruff-format"},
    **{"pytest tests": "unit-tests", "pytest notebooks/00": "notebooks", "pytest notebooks/13": "notebook-13"},
}


@needs_make
@pytest.mark.parametrize("command", ["test", "check"])
@pytest.mark.parametrize("failing", STEPS)
def test_make_test_and_check_run_every_step_and_fail_if_one_does(command, failing, tmp_path):
    result, ran = steps(command, tmp_path, failing)
    made = [step for step in STEPS if step != "nothing" and (command == "test" or STEPS[step] != "notebook-13")]
    assert [next(step for step in STEPS if line.startswith(step)) for line in ran] == made
    assert (result.returncode == 0) == (failing not in made)
    said = [STEPS[failing]] if failing in made else []
    assert re.findall("^not passed: (.*)$", result.stdout, re.MULTILINE) == said


@needs_make
def test_make_test_runs_all_tests_and_notebooks_and_counts_what_the_unit_tests_cover(tmp_path):
    *_, tests, notebooks, capstone = steps("test", tmp_path)[1]
    assert tests.startswith("pytest tests --seed=0 ") and tests.endswith(" --cov=minidiff")
    executed = [re.findall(r"notebooks/\w+\.ipynb", line) for line in (notebooks, capstone)]
    assert sorted([*executed[0], *executed[1]]) == [
        f"notebooks/{path.name}" for path in sorted(REPOSITORY.glob("notebooks/*.ipynb"))
    ]
    assert len(executed[1]) == 1 and "--numprocesses" not in capstone  # alone, with all threads
    assert all("--cov" not in line and " --nbval-lax " in line for line in (notebooks, capstone))
    for line in (tests, notebooks):  # side by side, but not too many
        assert all(option in line for option in ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile"))


@needs_make
def test_make_check_runs_the_part_that_is_quick(tmp_path):
    *_, tests, notebooks = steps("check", tmp_path)[1]
    assert tests.startswith("pytest tests/course --seed=0 ") and "--cov" not in tests
    assert re.findall(r"notebooks/(\d\d)_\w+\.ipynb", notebooks) == ["00", "05", "06"]
    *_, notebooks = steps("check", tmp_path, NOTEBOOKS="09")[1]
    assert re.findall(r"notebooks/(\d\d)_\w+\.ipynb", notebooks) == ["09"]


@needs_make
def test_make_soak_finds_its_file():
    (path,) = re.findall(r"pytest (\S+soak\.py)", make("--dry-run", "soak").stdout)
    assert (REPOSITORY / path).is_file()


@needs_make
def test_make_selects_notebooks_by_number():
    unknown = make("--dry-run", "course", NOTEBOOKS="98")
    assert unknown.returncode != 0 and "no notebook begins with 98" in unknown.stderr
    assert "course notebooks/00_start_here.ipynb\n" in make("--dry-run", "course", NOTEBOOKS="00").stdout
    assert "course notebooks\n" in make("--dry-run", "course").stdout


# --- the files of pip and conda --------------------------------------------------------------------------------------


def test_environment_yml_agrees_with_pyproject():
    *specs, pip = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    conda = {}
    for spec in map(rattler.MatchSpec, specs):
        assert str(spec.name.normalized) not in conda, f"{spec} stands twice"
        conda[spec.name.normalized] = spec.version and set(str(spec.version).split(","))
    wanted = {CONDA_NAMES.get(r.name, r.name): set(map(str, r.specifier)) for r in DIRECT}
    assert conda == {"python": set(PROJECT["requires-python"].split(",")), "pip": None, **wanted}
    assert pip == {"pip": ["-e .[dev]"]}


def test_binder_installs_what_the_notebooks_need():
    """`.binder/environment.yml`: one version of Python, since Binder reads no range, and nothing for tests."""
    python, *specs = yaml.safe_load((REPOSITORY / ".binder" / "environment.yml").read_text())["dependencies"]
    assert re.fullmatch(r"python=3\.\d+", python)
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
    binder = {}
    for spec in map(rattler.MatchSpec, specs):
        assert str(spec.name.normalized) not in binder, f"{spec} stands twice"
        binder[spec.name.normalized] = spec.version and set(str(spec.version).split(","))
    needed = map(Requirement, [*PROJECT["dependencies"], *EXTRAS["lab"], *EXTRAS["production"]])
    assert binder == {"pip": None, **{CONDA_NAMES.get(r.name, r.name): set(map(str, r.specifier)) for r in needed}}


@needs_make
def test_binder_then_installs_minidiff(tmp_path):
    """`.binder/postBuild`, which Binder runs in the repository, with a Python that only says how it was called."""
    script = REPOSITORY / ".binder" / "postBuild"
    assert os.name == "nt" or os.access(script, os.X_OK)
    (tmp_path / "python").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "python").chmod(0o755)
    said = subprocess.run([script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True).stdout
    assert said == "-m pip install --no-deps --editable .\n"


def test_constraints_pin_each_direct_dependency_within_its_bounds():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {pin.name.lower(): pin for pin in map(Requirement, (line for line in lines if line and line[0] != "#"))}
    assert sorted(pinned) == sorted(requirement.name for requirement in PINNED)
    for requirement in PINNED:
        (pin,) = pinned[requirement.name].specifier
        assert pin.operator == "==" and "+" not in pin.version and "*" not in pin.version
        assert requirement.specifier.contains(pin.version), f"{requirement} does not allow {pin.version}"


def test_the_oldest_packages_are_those_of_the_bounds_and_make_lowest_installs_them(tmp_path):
    file = tmp_path / "build" / "lowest.txt"
    lowest.main([str(file)])
    pins = [Requirement(line) for line in file.read_text().splitlines()]
    assert [pin.name for pin in pins] == [Requirement(line).name for line in PROJECT["dependencies"]]
    for pin, line in zip(pins, PROJECT["dependencies"], strict=True):
        (version,), bounds = pin.specifier, Requirement(line).specifier
        assert version.operator == "==" and bounds.contains(version.version)
        assert not bounds.contains(f"{version.version}.dev0", prereleases=True)  # nothing older is allowed
    with pytest.raises(ValueError, match=r"no oldest version as name>=version does: numpy<3"):
        lowest.oldest(["torch>=2.7", "numpy<3"])


@needs_make
def test_make_lowest_is_make_test_elsewhere(tmp_path):
    planned = make("--dry-run", "lowest", LOWEST_ENV=str(tmp_path / "env"))
    assert planned.returncode == 0
    assert f'{tmp_path}/env/bin/python -m pip install -c build/lowest.txt -e ".[dev]"\n' in planned.stdout
    assert f"{tmp_path}/env/bin/python -m pytest tests " in planned.stdout


def test_the_citation_names_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


# --- the repository --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repository_files() -> list[Path]:
    """Every file that is, or by .gitignore would be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, capture_output=True
    )
    if listed.returncode:
        pytest.skip("this copy of the course is no git repository")
    return [Path(name) for name in listed.stdout.decode().split("\0") if name and (REPOSITORY / name).is_file()]


def test_the_top_level_holds_nothing_unexpected(repository_files):
    assert {path.parts[0] for path in repository_files} <= TOP_LEVEL


def test_no_file_names_a_package_registry(repository_files):
    hosts = [host.encode() for host in ("pypi" + ".org", "pythonhosted" + ".org", "pypi" + ".python")]
    naming = [
        str(path) for path in repository_files if any(h in (REPOSITORY / path).read_bytes().lower() for h in hosts)
    ]
    assert naming == []


@needs_make
def test_continuous_integration_calls_make_test_with_the_shared_data(tmp_path):
    """`.ci/run` in a copy with a `make` that only says how it was called."""
    (tmp_path / "course" / ".ci").mkdir(parents=True)
    shutil.copy(REPOSITORY / ".ci" / "run", tmp_path / "course" / ".ci")
    fake = tmp_path / "bin" / "make"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$PWD make $* ${MINIDIFF_DATA-unset}"\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{fake.parent}:{os.environ['PATH']}"}

    def run() -> str:
        return subprocess.run([tmp_path / "course/.ci/run"], env=environment, capture_output=True, text=True).stdout

    assert run() == f"{tmp_path}/course make test unset\n"
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert run() == f"{tmp_path}/course make test {tmp_path}/shared/data\n"
