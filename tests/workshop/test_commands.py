"""What the command line understands and refuses, in which words, and what a person can type who reads them."""

import argparse
import ast
import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from minidiff import _shell
from minidiff.workshop import commands, runs
from minidiff.workshop.workers import Refused
from tests.processes import REPOSITORY, environment, finished
from tests.workshop.conftest import MOONS

WRONG = {
    "nothing": [],
    "no such command": ["learn"],
    "no such data": ["train", "cifar"],
    "steps 0": ["train", "moons", "--steps", "0"],
    "steps and minutes": ["train", "moons", "--steps", "5", "--minutes", "1"],
    "minutes -1": ["train", "moons", "--minutes", "-1"],
    "lr nan": ["train", "moons", "--lr", "nan"],
    "seed -1": ["train", "moons", "--seed", "-1"],
    "batch a": ["train", "moons", "--batch", "a"],
    "out of nothing": ["train", "moons", "--out", ""],
    "no such device": ["train", "moons", "--device", "tpu"],
    "no checkpoint named": ["sample", "--out", "x.npz"],
    "no such sampler": ["sample", "--checkpoint", "mnist-ddpm", "--sampler", "magic", "--out", "x.npz"],
    "no such device number": ["train", "moons", "--device", "cpu:zz"],
    "out is a folder": ["sample", "--checkpoint", "mnist-ddpm", "--out", "folder.npz"],
    "not npz": ["sample", "--checkpoint", "mnist-ddpm", "--out", "x.txt"],
    "nobody's home": ["train", "moons", "--out", "~nobody-of-this-name/run"],
    "nobody's checkpoint": ["sample", "--checkpoint", "~nobody-of-this-name/run", "--out", "x.npz"],
    "nobody's samples": ["sample", "--checkpoint", "mnist-ddpm", "--out", "~nobody-of-this-name/x.npz"],
    "a size for points": ["train", "moons", "--size", "32"],
    "grey for digits": ["train", "digits", "--grey"],
    "a file to learn": ["train", "folder.npz/file"],
    "a classifier does not draw": ["sample", "--checkpoint", "mnist-classifier", "--out", "x.npz"],
    "nor can it be evaluated": ["evaluate", "--checkpoint", "mnist-classifier"],
    "too few to measure": ["evaluate", "--checkpoint", "mnist-ddpm", "--n", "100"],
    "too many to measure": ["evaluate", "--checkpoint", "mnist-ddpm", "--n", "5001"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_usage_is_exit_code_2_with_nothing_on_the_standard_output(
    arguments, small_world, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "folder.npz" / "file").touch()
    try:
        code = commands.main(arguments)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2 and said.out == "" and said.err
    assert [path.name for path in tmp_path.iterdir()] == ["folder.npz"]


def test_a_seed_shift_that_is_no_number_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_SEED", "abc")
    assert commands.main(["train", "moons"]) == 2
    assert capsys.readouterr().err == "minidiff: MINIDIFF_SEED must be a whole number >= 0, but is 'abc'\n"


def test_help_and_a_missing_package_need_nothing_else():
    """`--help` imports no PyTorch code of ours but the package itself; a missing package is a line."""
    source = ast.parse(Path(commands.__file__).read_text(encoding="utf-8"))
    at_the_top = {node.module for node in source.body if isinstance(node, ast.ImportFrom)}
    assert {module for module in at_the_top if module.startswith("minidiff")} == {"minidiff._shell"}
    hide = "import sys; sys.modules['safetensors'] = None; from minidiff.__main__ import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", hide, "train", "moons"], capture_output=True, text=True, env=environment()
    )
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "safetensors" in result.stderr
    assert f"`{_shell.minidiff_command('doctor')}` says what to install" in result.stderr


def test_the_doctor_answers():
    result = finished("doctor", "--json")
    assert result.returncode in (0, 1) and {"facts", "problems"} <= set(json.loads(result.stdout))


def test_a_data_folder_of_nobody_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_DATA", "~nobody-of-this-name/x")
    assert commands.main(["train", "moons"]) == 2
    expected = "MINIDIFF_DATA must be the path of a folder, but is '~nobody-of-this-name/x', and no user has that home"
    assert capsys.readouterr().err == f"minidiff: {expected}\n"


# --- what can be typed -----------------------------------------------------------------------------------------------

PYTHONS = {
    "in .venv": ("{here}/.venv/bin/python", ".venv/bin/python"),
    "in a folder with a blank": ("{here}/my env/bin/python", "'my env/bin/python'"),
    "here": ("{here}/python", "./python"),
    "elsewhere": ("/opt/python/bin/python3", "/opt/python/bin/python3"),
    "unknown": ("", "python"),
}


@pytest.mark.parametrize(("python", "typed"), PYTHONS.values(), ids=PYTHONS)
def test_fault_9_to_go_on_can_be_typed_where_no_environment_is_activated(python, typed, tmp_path, monkeypatch):
    """By the Python that runs now, from the folder that one is in; in quotes where the shell needs them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", python.format(here=Path.cwd()))
    options = argparse.Namespace(data="my pictures", size=16, grey=True, device="cuda", compile=True)
    line = commands.to_go_on(options, Path("runs") / "it's")
    assert line.startswith(f"{typed} -m minidiff train 'my pictures' --out ")
    said = ["runs/it's", "--resume", "--size", "16", "--grey", "--device", "cuda", "--compile"]
    assert shlex.split(line)[-8:] == said
    plain = argparse.Namespace(data="moons", size=None, grey=False, device="cpu", compile=False)
    assert commands.to_go_on(plain, Path("runs/moons")) == f"{typed} -m minidiff train moons --out runs/moons --resume"


def test_fault_9_on_windows_it_is_quoted_for_its_shells(monkeypatch):
    monkeypatch.setattr(_shell.os, "name", "nt")
    monkeypatch.setattr(_shell, "python_here", lambda: r".venv\Scripts\python.exe")
    line = _shell.minidiff_command("train", r"C:\My pictures", "--out", r"runs\a")
    assert line == r'.venv\Scripts\python.exe -m minidiff train "C:\My pictures" --out runs\a'


def test_the_command_minidiff_is_the_same(tmp_path):
    """As pip installs it: pyproject.toml names `minidiff.__main__:main`."""
    script = Path(sys.executable).with_name("minidiff.exe" if os.name == "nt" else "minidiff")
    if not script.exists():
        pytest.skip("minidiff is not installed here with its command")
    result = subprocess.run([script, "train", "cifar"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2 and result.stderr.startswith("usage: minidiff train ")
    assert 'minidiff = "minidiff.__main__:main"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


# --- pipes that lack letters -----------------------------------------------------------------------------------------


SEVERAL = """
import json, sys
from minidiff.__main__ import main
print(json.dumps([main(arguments) for arguments in json.loads(sys.argv[1])]))
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_fault_12_names_beyond_the_pipe_s_letters_stop_nothing(encoding, tmp_path):
    """Train, sample, evaluate and doctor, where a folder is called by letters that the output cannot hold: in one
    process, whose output is a pipe."""
    folder = tmp_path / "Übung Ω 数"
    folder.mkdir()
    run, drawn = str(folder / "run"), str(folder / "x ω.npz")
    few = ["--n", "5", "--steps", "2"]
    lines = [
        [*map(str, MOONS), "--steps", "20", "--out", run],
        ["sample", "--checkpoint", run, *few, "--out", drawn],
        ["evaluate", "--checkpoint", run, *few],
        ["sample", "--checkpoint", str(folder / "nowhere"), "--out", str(folder / "y.npz")],
        ["train", "moons", "--out", run],
        ["doctor"],
    ]
    result = subprocess.run(
        [sys.executable, "-c", SEVERAL, json.dumps(lines)],
        capture_output=True,
        encoding=encoding,
        timeout=300,
        check=False,
        env=environment(PYTHONIOENCODING=encoding, PYTHONUTF8="0", MINIDIFF_DATA=str(folder)),
    )
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    *printed, codes = result.stdout.splitlines()
    assert json.loads(codes)[:5] == [0, 0, 0, 1, 2] and json.loads(codes)[5] in (0, 1)
    assert (folder / "run" / "card.json").exists() and (folder / "x ω.npz").exists()
    shown = "Ω".encode(encoding, "backslashreplace").decode()
    trained, missing, held = (line for line in result.stderr.splitlines() if shown in line)
    assert trained.startswith("trained: ") and missing.startswith("minidiff: no checkpoint ")
    assert held.endswith("add --resume to go on with it, or choose another folder")
    assert printed[0].startswith("wrote ") and sum(shown in line for line in printed) > 2  # the doctor names it too


# --- disks and memory ------------------------------------------------------------------------------------------------

ERRORS = {
    "read-only": (errno.EROFS, "Read-only file system", "choose a folder on a disk that can be written to"),
    "not yours": (errno.EACCES, "Permission denied", "choose a folder that you may write to"),
    "full": (errno.ENOSPC, "No space left on device", "make room, or choose a folder on another disk"),
}


@pytest.mark.parametrize(("number", "words", "cure"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("command", ["train", "sample"])
def test_fault_16_a_disk_that_cannot_be_written_comes_with_a_cure(
    command, number, words, cure, whole, tmp_path, monkeypatch, capsys
):
    def refuse(self, *arguments, **more):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    out = tmp_path / "new" / "x.npz"
    arguments = ["train", "moons"] if command == "train" else ["sample", "--checkpoint", str(whole[0]), "--steps", "2"]
    assert commands.main([*arguments, "--out", str(out)]) == 1
    place = out if command == "train" else out.parent
    assert capsys.readouterr().err == f"minidiff: {words} ({place}): {cure}\n"


def test_fault_16_a_disk_that_is_mounted_read_only(whole, tmp_path):
    """A real one, where one can be made."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no read-only disk can be made here")
    try:
        for arguments in (("train", "moons", "--out", disk / "run"), ("sample", "--checkpoint", whole[0], "--n", 2)):
            more = () if arguments[0] == "train" else ("--steps", 2, "--out", disk / "x.npz")
            result = finished(*arguments, *more)
            assert result.returncode == 1 and result.stdout == ""
            assert result.stderr.startswith("minidiff: Read-only file system (") and result.stderr.count("\n") == 1
            assert result.stderr.endswith("): choose a folder on a disk that can be written to\n")
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_too_little_memory_is_one_line(error, monkeypatch, capsys):
    def greedy(*arguments, **more):
        raise error

    monkeypatch.setattr(runs, "train_in", greedy)
    assert commands.main(["train", "moons"]) == 1
    expected = "not enough memory: choose smaller numbers (--batch, --n), or fewer or smaller pictures"
    assert capsys.readouterr().err == f"minidiff: {expected}\n"


def test_a_fault_of_minidiff_s_own_is_not_hidden(monkeypatch):
    def faulty(*arguments, **more):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(runs, "train_in", faulty)
    with pytest.raises(ZeroDivisionError):
        commands.main(["train", "moons"])


def test_refused_is_wrong_usage(monkeypatch, capsys):
    def refusing(*arguments, **more):
        raise Refused("--this must be that, but is not\nand more")

    monkeypatch.setattr(runs, "train_in", refusing)
    assert commands.main(["train", "moons"]) == 2
    assert capsys.readouterr().err == "minidiff: --this must be that, but is not\n"


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_writes_its_page_and_opens_it(tmp_path, monkeypatch, capsys):
    import webbrowser

    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setenv("MINIDIFF_PROGRESS", str(tmp_path / "noted"))
    assert commands.main(["progress"]) == 0
    page = tmp_path / "noted" / "progress.html"
    said = capsys.readouterr()
    assert said.out == f"{page}\n" and said.err == ""
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>") and opened == [page.as_uri()]
    assert commands.main(["progress", "--no-browser", "--out", str(tmp_path / "mine.html")]) == 0
    assert (tmp_path / "mine.html").exists() and len(opened) == 1


def test_progress_says_where_no_browser_can_be_opened(tmp_path, monkeypatch, capsys):
    import webbrowser

    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    monkeypatch.setenv("MINIDIFF_PROGRESS", str(tmp_path))
    assert commands.main(["progress"]) == 0
    assert capsys.readouterr().err == "minidiff: no browser could be opened: open the file above in one\n"


def test_progress_on_the_command_line(tmp_path):
    result = finished("progress", "--no-browser", MINIDIFF_PROGRESS=str(tmp_path))
    assert result.returncode == 0 and Path(result.stdout.strip()).exists(), result.stderr
