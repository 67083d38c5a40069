"""What pip installs: the wheel's lists against the folders, and the package as a wheel lays it out. Nothing is built
here; `make wheel` builds it and tries it."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from minidiff import _shipped
from minidiff.checkpoints import CARD, SHIPPED, WEIGHTS, checkpoint_folder
from minidiff.data import course_file
from minidiff.workshop import commands, doctor, handout
from minidiff.workshop.workers import Refused
from tests.processes import environment
from tests.repository.test_setup import PROJECT
from tests.tools import wheel

REPOSITORY = Path(__file__).parents[2]
SETUPTOOLS = wheel.settings()
# What git knows below minidiff/, data/ and notebooks/ and the wheel leaves out: the picture at the head of the README,
# and what lecturers read, who need the repository for `make`.
LEFT_OUT = {Path("data/picture.png"), Path("notebooks/FOR_LECTURERS.md")}


# --- the lists -------------------------------------------------------------------------------------------------------


def packages_in(folder: Path) -> set[str]:
    """Every package below a folder, by its dotted name."""
    return {".".join(path.parent.relative_to(folder.parent).parts) for path in folder.rglob("__init__.py")}


def test_every_package_is_in_the_wheel():
    listed = SETUPTOOLS["packages"]
    assert len(listed) == len(set(listed))
    assert packages_in(REPOSITORY / "minidiff") == {name for name in listed if not name.startswith("minidiff.shipped")}
    for name in listed:
        assert (REPOSITORY / wheel.folder_of(name, SETUPTOOLS["package-dir"])).is_dir(), name


def test_every_file_is_in_the_wheel():
    known = wheel.known_to_git()
    if known is None:
        pytest.skip("this copy of the course is no git repository")
    ours = {path for path in known if path.parts[0] in ("minidiff", "data", "notebooks") and path.exists()}
    assert {path.relative_to(REPOSITORY) for path in map(REPOSITORY.joinpath, LEFT_OUT) if path.is_file()} == LEFT_OUT
    assert set(wheel.expected_files().values()) == ours - LEFT_OUT


def test_whatever_the_package_reads_is_in_the_wheel():
    held = set(wheel.package_files())
    for name in SHIPPED:
        assert {f"minidiff/shipped/checkpoints/{name}/{file}" for file in (CARD, WEIGHTS)} <= held
    named = set()  # by course_file("benchmarks/recipe.json") and the like
    for path in [*REPOSITORY.glob("minidiff/**/*.py"), *REPOSITORY.glob("notebooks/*.ipynb")]:
        named |= set(re.findall(r'course_file\(\\?"([^"{}\\]+)\\?"\)', path.read_text(encoding="utf-8")))
    assert {"benchmarks/recipe.json", "benchmarks/shipped.json"} <= named
    assert {f"minidiff/shipped/{name}" for name in named} <= held
    assert {f"minidiff/shipped/notebooks/{path.name}" for path in _shipped.course_notebooks()} <= held


def test_whatever_the_notebooks_link_to_is_in_the_wheel():
    held = {Path(name).name for name in wheel.package_files() if name.startswith("minidiff/shipped/notebooks/")}
    for path in sorted(REPOSITORY.glob("notebooks/*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                linked = set(re.findall(r"\]\(([^)#\s:]+\.(?:ipynb|md|png))[^)]*\)", "".join(cell["source"])))
                assert linked <= held, f"{path.name} links to {linked - held}"


def test_no_pattern_takes_a_whole_tree():
    """`**` would pack a downloaded MNIST, or a training."""
    patterns = [pattern for each in SETUPTOOLS["package-data"].values() for pattern in each]
    assert patterns and not any("**" in pattern for pattern in patterns)
    assert set(SETUPTOOLS["package-data"]) <= set(SETUPTOOLS["packages"])
    assert SETUPTOOLS["include-package-data"] is False


def test_the_lists_are_read_as_setuptools_does(tmp_path, monkeypatch):
    """A package, a file or a checkpoint more is noticed; what is below a folder of another name is found there."""
    for name in ("minidiff/new/__init__.py", "data/checkpoints/new/card.json", "data/checkpoints/new/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert packages_in(tmp_path / "minidiff") == {"minidiff.new"}
    card = Path("data/checkpoints/new/card.json")
    assert wheel.package_files(tmp_path) == {"minidiff/shipped/checkpoints/new/card.json": card}
    mapped = {"a": "one", "a.b": "two"}
    assert wheel.folder_of("a.b.c", mapped) == Path("two/c") and wheel.folder_of("a.c", mapped) == Path("one/c")
    assert wheel.folder_of("d.e", mapped) == Path("d/e")


# --- the package as a wheel lays it out ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder such as site-packages, with links in place of copies."""
    site = tmp_path_factory.mktemp("site")
    for name, path in wheel.package_files().items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            (site / name).symlink_to(REPOSITORY / path)
        except OSError:  # Windows lets few people link
            shutil.copyfile(REPOSITORY / path, site / name)
    return site


ASKS = """
import json, sys
from pathlib import Path
from minidiff import _shipped
from minidiff.checkpoints import SHIPPED, checkpoint_folder
from minidiff.data import course_file
from minidiff.__main__ import main
from minidiff.workshop import doctor

folders = [str(checkpoint_folder(name)) for name in SHIPPED]
report = str(course_file("benchmarks/recipe.json"))
codes = [main(["course", "mine"]), main(["course", "mine"])]
damaged = doctor.restore("mnist-ddpm", checkpoint_folder("mnist-ddpm")), doctor.restore("mnist-ddpm", None)
try:
    checkpoint_folder("nothing")
except FileNotFoundError as error:
    said = str(error)
print(json.dumps([_shipped.__file__, folders, report, codes, damaged, said]))
"""


def test_a_wheel_finds_all_that_it_brings(installed, tmp_path):
    """Far from the repository, with nothing in the environment that leads to it."""
    surroundings = environment(PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE="1")
    surroundings.pop("MINIDIFF_DATA", None)
    command = [sys.executable, "-c", ASKS]
    result = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    module, folders, report, codes, damaged, said = json.loads(result.stdout.splitlines()[-1])
    shipped = installed / "minidiff" / "shipped"
    assert Path(module).parent == installed / "minidiff"
    assert folders == [str(shipped / "checkpoints" / name) for name in SHIPPED]
    assert report == str(shipped / "benchmarks" / "recipe.json")
    assert said == f"no checkpoint 'nothing': no checkpoints/nothing/card.json in {shipped}"
    assert codes == [0, 0]
    count = len(_shipped.course_notebooks())
    assert result.stdout.splitlines()[:2] == [
        f"wrote {count} files to mine",
        f"wrote 0 files to mine; {count} were there and stay as they are",
    ]
    for path in _shipped.course_notebooks():
        assert (tmp_path / "mine" / path.name).read_bytes() == path.read_bytes()
    for cure in damaged:
        assert re.fullmatch(r"install the wheel again: .* --force-reinstall --no-deps minidiff-\S+-any\.whl", cure)


def test_the_repository_finds_its_own(monkeypatch, tmp_path):
    """What an editable install runs: nothing is copied into the package."""
    monkeypatch.delenv("MINIDIFF_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert _shipped.shipped_folder() is None and not (REPOSITORY / "minidiff" / "shipped").exists()
    assert checkpoint_folder("mnist-ddpm") == REPOSITORY / "data" / "checkpoints" / "mnist-ddpm"
    assert course_file("benchmarks/recipe.json") == REPOSITORY / "data" / "benchmarks" / "recipe.json"
    assert {path.parent for path in _shipped.course_notebooks()} == {REPOSITORY / "notebooks"}
    assert "make lab" in doctor.restore("mnist-ddpm", None) or "git checkout" in doctor.restore("mnist-ddpm", None)


# --- minidiff course, minidiff lab -----------------------------------------------------------------------------------


@pytest.fixture
def notebooks(tmp_path, monkeypatch) -> list[Path]:
    """A course of two notebooks and a glossary."""
    names = ("00_start_here.ipynb", "01_next.ipynb", "GLOSSARY.md")
    (tmp_path / "source").mkdir()
    paths = [tmp_path / "source" / name for name in names]
    for path in paths:
        path.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', encoding="utf-8")
    monkeypatch.setattr(handout, "course_notebooks", lambda: paths)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return paths


def test_course_overwrites_nothing(notebooks, capsys):
    Path("mine").mkdir()
    Path("mine/01_next.ipynb").write_text("what I have written")
    Path("mine/GLOSSARY.md").symlink_to("nowhere")
    assert commands.main(["course", "mine"]) == 0
    said = capsys.readouterr()
    assert said.out == "wrote 1 files to mine; 2 were there and stay as they are\n"
    assert said.err.startswith("to open them: ") and said.err.endswith(" -m minidiff lab mine\n")
    assert Path("mine/01_next.ipynb").read_text() == "what I have written"
    assert Path("mine/GLOSSARY.md").is_symlink() and not Path("mine/nowhere").exists()
    assert sorted(path.name for path in Path("mine").iterdir()) == [path.name for path in notebooks]


def test_course_refuses_a_file(notebooks, capsys):
    Path("mine").touch()
    with pytest.raises(Refused):
        handout.write_course(Path("mine"))
    for command in ("course", "lab"):
        assert commands.main([command, "mine"]) == 2
        assert capsys.readouterr().err == "minidiff: DIR must be a folder, but mine is a file\n"


@pytest.fixture
def launched(monkeypatch) -> list[list[str]]:
    """What JupyterLab is started with, which is not started."""
    labapp, calls = pytest.importorskip("jupyterlab.labapp"), []
    monkeypatch.setattr(labapp.LabApp, "launch_instance", calls.append)
    monkeypatch.setattr(sys, "argv", ["minidiff", "lab"])
    monkeypatch.setattr(handout, "trust", lambda folder: None)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    return calls


@pytest.mark.parametrize(
    ("there", "arguments", "opened"),
    [
        ("", [], "minidiff-course"),
        (".", [], "."),
        ("notebooks", [], "notebooks"),
        ("minidiff-course", [], "minidiff-course"),
        ("notebooks", ["mine"], "mine"),
        ("mine", ["mine"], "mine"),
    ],
)
def test_lab_opens_the_notebooks_and_writes_them_if_there_are_none(notebooks, launched, there, arguments, opened):
    if there:
        Path(there).mkdir(exist_ok=True)
        Path(there, "00_start_here.ipynb").write_text("mine")
    assert commands.main(["lab", *arguments, "--no-browser", "--port", "8899"]) == 0
    (given,) = launched
    assert {"--no-browser", "--port=8899", f"--ServerApp.root_dir={Path(opened).absolute()}"} <= set(given)
    assert "--LabApp.default_url=/lab/tree/00_start_here.ipynb" in given
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    if there == opened:
        assert Path(opened, "00_start_here.ipynb").read_text() == "mine"
        assert not Path(opened, "01_next.ipynb").exists()
    else:
        assert Path(opened, "01_next.ipynb").is_file()


def test_lab_without_jupyterlab_is_one_line(notebooks, monkeypatch, capsys):
    monkeypatch.setattr(handout, "find_spec", lambda name: None)
    assert commands.main(["lab", "mine"]) == 1
    *_, said = capsys.readouterr().err.splitlines()
    assert said.startswith("minidiff: JupyterLab is not installed: ") and "-m pip install jupyterlab inst" in said
    assert str(Path("mine").absolute()) in said and Path("mine/00_start_here.ipynb").is_file()


def test_lab_trusts_what_it_has_written_and_nothing_else(notebooks, monkeypatch):
    nbformat, sign = pytest.importorskip("nbformat"), pytest.importorskip("nbformat.sign")
    signed = []
    monkeypatch.setattr(sign.NotebookNotary, "sign", lambda self, notebook: signed.append(notebook))
    handout.write_course(Path("mine"))
    changed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(changed, "mine/01_next.ipynb")
    Path("mine/02_foreign.ipynb").write_bytes(notebooks[0].read_bytes())
    handout.trust(Path("mine"))
    assert [notebook.cells for notebook in signed] == [[]]


# --- the tool --------------------------------------------------------------------------------------------------------


def test_the_extras_do_not_repeat_each_other():
    extras = PROJECT["optional-dependencies"]
    assert not set(extras["lab"]) & set(extras["dev"])


def test_a_wheel_that_lacks_a_file_or_holds_another_is_refused(tmp_path, monkeypatch):
    wanted = {"minidiff/__init__.py": Path("minidiff/__init__.py"), "minidiff/paths.py": Path("minidiff/paths.py")}
    monkeypatch.setattr(wheel, "expected_files", lambda: wanted)

    def packed(**files: bytes) -> Path:
        path = tmp_path / "some.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    good = {name: (REPOSITORY / path).read_bytes() for name, path in wanted.items()}
    wheel.check_contents(packed(**good, **{"minidiff-0.1.0.dist-info/METADATA": b""}))
    for bad, words in [
        ({"minidiff/paths.py": good["minidiff/paths.py"]}, "lacks minidiff/__init__.py"),
        ({**good, "minidiff/mnist.gz": b""}, "holds what git does not know: minidiff/mnist.gz"),
        ({**good, "minidiff/paths.py": b"old"}, "holds changed: minidiff/paths.py"),
    ]:
        with pytest.raises(wheel.Failed, match=words):
            wheel.check_contents(packed(**bad))


def test_a_step_that_fails_says_what_it_printed():
    with pytest.raises(wheel.Failed, match="ended with code 3 and said:\nwhy"):
        wheel.run(sys.executable, "-c", "print('why'); raise SystemExit(3)")


def test_nothing_leads_back_to_the_repository(monkeypatch):
    for name in ("PYTHONPATH", "MINIDIFF_DATA"):
        monkeypatch.setenv(name, "/somewhere")
    assert not {"PYTHONPATH", "MINIDIFF_DATA"} & set(wheel.plain_environment())
    assert wheel.plain_environment(PYTHONPATH="mine")["PYTHONPATH"] == "mine"
