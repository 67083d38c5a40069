"""The doctor: each problem is found, told with its cure, and alone; a machine that has everything is told so."""

import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from minidiff import checkpoints as checkpoints_module
from minidiff import digits
from minidiff._shell import minidiff_command
from minidiff.checkpoints import SHIPPED
from minidiff.data import mnist_folders
from minidiff.workshop import doctor
from minidiff.workshop.doctor import Fact, Note, Problem, Report, examine, show, to_json

mnist_module = sys.modules["minidiff.data.mnist"]  # its name in the package is that of the function
NAMES = list(mnist_module.MNIST_FILES)
KEYS = [
    *("minidiff", "python", "packages", "jupyterlab", "kernel", "settings", "devices", "threads", "bfloat16", "mnist"),
    *("checkpoints", "free_disk"),
]
CHECKS = {
    **{"minidiff": "package_itself", "Python": "python", "packages": "packages", "JupyterLab": "jupyterlab"},
    **{"kernel": "kernel", "settings": "settings", "devices": "devices", "threads": "threads"},
    **{"bfloat16": "bfloat16", "MNIST": "mnist", "checkpoints": "checkpoints", "free disk": "disk"},
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine that lacks nothing: a small MNIST, whose hashes the package now expects, in `$MINIDIFF_DATA/mnist`;
    a cache folder of its own; PyTorch's build for processors; and no time spent on bfloat16."""
    pixels = np.arange(784).astype(np.uint8).tobytes()
    images, labels = ((b"\0\0\x08" + bytes([d]) + b"\0\0\0\x01") for d in (3, 1))  # IDX: unsigned bytes, one of them
    images += (b"\0\0\0" + bytes([28])) * 2
    small = [images + pixels, labels + b"\7", images + pixels[::-1], labels + b"\4"]
    contents = dict(zip(NAMES, small, strict=True))
    hashes = {name: (hashlib.sha256(content).hexdigest(), "0" * 64) for name, content in contents.items()}
    monkeypatch.setattr(mnist_module, "MNIST_FILES", hashes)
    monkeypatch.setattr(mnist_module.pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(mnist_module.pooch, "retrieve", lambda *given, **named: pytest.fail("the doctor downloads"))
    monkeypatch.setattr(doctor, "bfloat16", lambda: iter([Fact(["faster"], {"ratio": 0.5})]))
    monkeypatch.setattr(doctor, "kernel", lambda: iter([Fact(["Python 3 (python3)"], [])]))
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "10000")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for name, content in contents.items():
        (tmp_path / "data" / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def printed(capsys, as_json=True):
    """The exit code, and what the doctor printed to stdout: an object, or text."""
    capsys.readouterr()
    code = doctor.doctor(as_json=as_json)
    out = capsys.readouterr().out
    return code, json.loads(out) if as_json else out


def only_problem(capsys, what, cure):
    """The object of a doctor who found one problem, with these words, and said so on the screen as well."""
    code, found = printed(capsys)
    assert code == 1 and found["healthy"] is False
    (problem,) = found["problems"]
    assert what in problem["what"] and cure in problem["cure"]
    code, screen = printed(capsys, as_json=False)
    assert code == 1 and screen.endswith("\n\n1 problem\n")
    assert f"PROBLEM      {problem['what']}; cure: {problem['cure']}\n" in screen
    return found


# --- as a command ----------------------------------------------------------------------------------------------------


def run(folder, *, as_json, first="", **environment):
    """The doctor in a process of its own, after a line of Python."""
    source = f"import sys\n{first}\nfrom minidiff.workshop.doctor import doctor\nsys.exit(doctor(as_json={as_json}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(doctor.__file__).parents[2]), **environment}
    return subprocess.run([sys.executable, "-c", source], cwd=folder, capture_output=True, text=True, env=environment)


def test_a_machine_without_mnist_is_healthy_and_stays_as_it_is(tmp_path):
    (tmp_path / "data").mkdir()
    settings = {"MINIDIFF_SEED": "3", "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = run(tmp_path, as_json=True, MINIDIFF_DATA=str(tmp_path / "data"), MPLCONFIGDIR=str(tmp_path), **settings)
    found = json.loads(result.stdout)
    assert result.returncode == 0 and found["healthy"] is True and found["problems"] == []
    assert list(found["facts"]) == KEYS and None not in found["facts"].values()
    assert found["facts"]["python"]["version"] == platform.python_version()
    assert {name: importlib.metadata.version(name) for name in found["facts"]["packages"]} == found["facts"]["packages"]
    assert {"numpy", "torch", "scikit-learn", "requests", "filelock"} <= set(found["facts"]["packages"])
    assert found["facts"]["bfloat16"]["ratio"] > 0
    assert [each["state"] for each in found["facts"]["checkpoints"]] == ["found"] * len(SHIPPED)
    if {each["state"] for each in found["facts"]["mnist"]} == {"not there"}:  # somebody's cache folder may hold it
        assert f"MNIST will be downloaded (12 MB) when first needed, to {tmp_path / 'data' / 'mnist'}" in found["notes"]
    assert list((tmp_path / "data").iterdir()) == [] and not (tmp_path / "cache" / "minidiff").exists()


def test_a_package_that_is_broken_stops_nothing(tmp_path):
    """None in sys.modules makes an import fail: so do most modules of minidiff then, and the doctor does not."""
    result = run(
        tmp_path, as_json=False, first="sys.modules['pooch'] = None", MINIDIFF_SEED="-1", MINIDIFF_DATA=str(tmp_path)
    )
    assert result.returncode == 1
    told = [line for line in result.stdout.splitlines() if line.startswith("PROBLEM")]
    assert len(told) == 2 and result.stdout.endswith("\n\n2 problems\n")
    assert "pooch cannot be imported" in told[0]
    assert told[0].endswith(f"; cure: {sys.executable} -m pip install --force-reinstall 'pooch>=1.8'")
    assert "MINIDIFF_SEED must be a whole number, but is '-1'; cure: " in told[1]
    for name in ("bfloat16", "MNIST", "checkpoints"):
        assert f"\n{name:<13}not examined\n" in result.stdout
    assert "Traceback" not in result.stderr


# --- a healthy machine -----------------------------------------------------------------------------------------------


def test_a_machine_that_lacks_nothing(machine, capsys):
    code, found = printed(capsys)
    assert code == 0 and found["healthy"] is True and found["notes"] == found["problems"] == []
    assert [each["state"] for each in found["facts"]["mnist"]] == ["found", "not there"]
    assert found["facts"]["settings"] == {"MINIDIFF_SEED": None, "MINIDIFF_DATA": str(machine / "data")}
    assert found["facts"]["threads"]["torch"] == torch.get_num_threads()
    usage = shutil.disk_usage(machine).free
    for each in found["facts"]["free_disk"]:
        assert each["free_bytes"] == pytest.approx(usage, rel=0.2)
    assert [each["folder"] for each in found["facts"]["free_disk"]] == [str(Path.cwd()), str(machine / "data/mnist")]
    code, screen = printed(capsys, as_json=False)
    assert code == 0 and screen.endswith("\n\neverything is in place\n")
    assert f"\nMNIST        found       {machine / 'data' / 'mnist'}\n" in screen
    assert f"\n             not there   {machine / 'cache' / 'minidiff' / 'mnist'}\n" in screen


# --- MNIST -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spoil", [lambda packed: packed[:-9], lambda packed: gzip.compress(b"other")])
def test_damaged_mnist(machine, capsys, name, spoil):
    file = machine / "data" / "mnist" / f"{name}.gz"
    file.write_bytes(spoil(file.read_bytes()))
    found = only_problem(capsys, str(file), "move that file elsewhere or name another folder, and run again")
    assert found["facts"]["mnist"][0] == {"folder": str(file.parent), "state": "damaged"}


def test_a_second_copy_of_mnist_is_not_needed(machine, capsys):
    second = machine / "cache" / "minidiff" / "mnist"
    shutil.copytree(machine / "data" / "mnist", second)
    (second / f"{NAMES[0]}.gz").write_bytes(b"damaged, but never read")
    _, found = printed(capsys)
    assert found["healthy"] and [each["state"] for each in found["facts"]["mnist"]] == ["found", "not needed"]


def test_a_folder_that_is_looked_in_twice_is_told_once(machine, capsys, monkeypatch):
    """$MINIDIFF_DATA may be the data folder of the repository above."""
    (machine / "minidiff").mkdir()
    (machine / "minidiff" / "__init__.py").touch()
    assert mnist_folders()[0] == mnist_folders()[1]
    code, found = printed(capsys)
    assert code == 0 and found["notes"] == []
    assert [each["state"] for each in found["facts"]["mnist"]] == ["found", "not there"]


@pytest.mark.parametrize("left", ["nothing", "some files"])
def test_mnist_that_is_not_there_will_be_downloaded(machine, capsys, monkeypatch, left):
    for name in NAMES[: 1 if left == "some files" else 4]:
        (machine / "data" / "mnist" / f"{name}.gz").unlink()
    code, found = printed(capsys)
    state = "incomplete" if left == "some files" else "not there"
    assert code == 0 and [each["state"] for each in found["facts"]["mnist"]] == [state, "not there"]
    words = "MNIST will be downloaded (12 MB) when first needed, to "
    assert found["notes"] == [f"{words}{machine / 'data' / 'mnist'}"]
    monkeypatch.delenv("MINIDIFF_DATA")
    assert printed(capsys)[1]["notes"] == [f"{words}{machine / 'cache' / 'minidiff' / 'mnist'}"]


def test_mnist_that_could_not_be_written(machine, capsys, monkeypatch):
    """A file stands where the folder's path goes on: nothing can be written there, not even by root."""
    monkeypatch.delenv("MINIDIFF_DATA")
    (machine / "cache").write_text("a file")
    where = machine / "cache" / "minidiff" / "mnist"
    found = only_problem(capsys, f"MNIST is not there, and {where}, where it would go", "set MINIDIFF_DATA")
    assert found["notes"] == []


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(machine):
    """A copy of the classifier's checkpoint where it is looked for first."""
    name = "mnist-classifier"
    return Path(shutil.copytree(checkpoints_module.checkpoint_folder(name), machine / "data" / "checkpoints" / name))


@pytest.mark.parametrize("in_git", [False, True])
@pytest.mark.parametrize("file", ["weights.safetensors", "card.json"])
def test_a_damaged_checkpoint(machine, checkpoint, capsys, file, in_git):
    """Its folder is named once. What lies outside any repository cannot be checked out from one."""
    content = bytearray((checkpoint / file).read_bytes())
    content[0 if file == "card.json" else -1] ^= 1
    (checkpoint / file).write_bytes(content)
    if in_git:
        (machine / ".git").mkdir()
    anew = minidiff_command("train", "mnist-classifier", "--out", "runs/mnist-classifier")
    found = only_problem(capsys, str(checkpoint), anew)
    (problem,) = found["problems"]
    assert problem["what"].count(str(checkpoint)) == 1
    again = f"git checkout {checkpoint}" if in_git else "copy it from the course again"
    assert problem["cure"].startswith(f"{again}, or make it anew: {doctor.python_here()} -m minidiff train ")
    assert [each["state"] for each in found["facts"]["checkpoints"]] == ["damaged", *["found"] * (len(SHIPPED) - 1)]
    assert found["facts"]["checkpoints"][0]["folder"] == str(checkpoint)


def test_a_checkpoint_without_its_weights(checkpoint, capsys):
    (checkpoint / "weights.safetensors").unlink()
    found = only_problem(capsys, f"{checkpoint / 'weights.safetensors'} is missing", "--out runs/mnist-classifier")
    assert [each["state"] for each in found["facts"]["checkpoints"]] == ["missing", *["found"] * (len(SHIPPED) - 1)]


def test_a_checkpoint_that_is_nowhere(machine, capsys, monkeypatch):
    real, gone = checkpoints_module.checkpoint_folder, {"mnist-ddpm": "mnist-gone"}
    monkeypatch.setattr(checkpoints_module, "checkpoint_folder", lambda name: real(gone.get(name, name)))
    found = only_problem(
        capsys,
        f"no checkpoint 'mnist-gone': no checkpoints/mnist-gone/card.json in {machine / 'data'}, ",
        "git checkout data/checkpoints/mnist-ddpm, or make it: "
        + minidiff_command("train", "mnist-ddpm", "--out", "data/checkpoints/mnist-ddpm"),
    )
    states = {each["name"]: each["state"] for each in found["facts"]["checkpoints"]}
    assert states == {name: "missing" if name == "mnist-ddpm" else "found" for name in SHIPPED}
    assert found["facts"]["checkpoints"][SHIPPED.index("mnist-ddpm")]["folder"] is None


# --- disk, settings, Python ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "cure"), [("elsewhere", "make room"), ("data/mnist", "set MINIDIFF_DATA to")])
@pytest.mark.parametrize("free", [0, 499_999_999, 500_000_000])
def test_a_full_disk(machine, capsys, monkeypatch, place, cure, free):
    def usage(folder):
        return types.SimpleNamespace(free=free if Path(folder) == machine / place else 10**12)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    if free == 500_000_000:
        assert printed(capsys)[1]["healthy"]
    else:
        only_problem(capsys, f"{machine / place} has 0.{free // 10**8} GB left, less than 0.5 GB", cure)


@pytest.mark.parametrize("seed", ["seven", "-1", "1.5", ""])
def test_a_wrong_seed_is_one_problem_and_is_left_alone(machine, capsys, monkeypatch, seed):
    monkeypatch.setenv("MINIDIFF_SEED", seed)
    found = only_problem(capsys, f"MINIDIFF_SEED must be a whole number, but is {seed!r}", "set it to 0, 1")
    assert found["facts"]["settings"]["MINIDIFF_SEED"] == os.environ["MINIDIFF_SEED"] == seed


def test_a_data_folder_that_is_not_there(machine, capsys, monkeypatch):
    monkeypatch.setenv("MINIDIFF_DATA", str(machine / "no" / "such"))
    only_problem(capsys, f"MINIDIFF_DATA names {machine / 'no' / 'such'}, which is no folder", "make that folder")


def test_fault_16_a_data_folder_may_begin_with_the_home(machine, capsys, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(machine))
    monkeypatch.setenv("MINIDIFF_DATA", "~/data")
    code, found = printed(capsys)
    assert code == 0 and found["facts"]["mnist"][0]["state"] == "found" and found["notes"] == []


def test_a_data_folder_that_is_not_given_in_full(machine, capsys, monkeypatch):
    monkeypatch.setenv("MINIDIFF_DATA", "../data")
    code, found = printed(capsys)
    assert code == 0 and found["facts"]["mnist"][0]["state"] == "found"
    assert len(found["notes"]) == 1 and "MINIDIFF_DATA=../data is another folder" in found["notes"][0]


@pytest.mark.parametrize(("version", "suits"), [((3, 10), 0), ((3, 11), 1), ((3, 14), 1), ((3, 15), 0), ((4, 0), 0)])
def test_the_version_of_python(machine, capsys, monkeypatch, version, suits):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    problems = [each for each in doctor.python() if isinstance(each, Problem)]
    assert len(problems) == 1 - suits
    assert all("Python 3.11 to 3.14" in each.what and "make lab PYTHON=" in each.cure for each in problems)


# --- packages --------------------------------------------------------------------------------------------------------


def without(monkeypatch, *missing):
    """Take installed packages for missing."""
    real = importlib.metadata.version

    def version(name):
        if name in missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_a_package_that_is_missing(machine, capsys, monkeypatch):
    without(monkeypatch, "safetensors")
    install = f"{sys.executable} -m pip install 'safetensors>=0.4.5'"
    found = only_problem(capsys, "safetensors is not installed", install)
    assert found["facts"]["packages"]["safetensors"] is None and found["facts"]["packages"]["numpy"]
    assert [name for name in KEYS if found["facts"][name] is None] == ["bfloat16", "mnist", "checkpoints"]
    assert found["notes"] == ["bfloat16, MNIST and checkpoints are examined once the packages are in order"]
    assert "safetensors missing" in printed(capsys, as_json=False)[1]


def test_minidiff_that_is_not_installed(machine, capsys, monkeypatch):
    without(monkeypatch, "minidiff")
    found = only_problem(capsys, "minidiff is not installed", f"{sys.executable} -m pip install -e .")
    assert None in found["facts"]["minidiff"].values() and found["facts"]["mnist"][0]["state"] == "found"


def test_jupyterlab_is_no_must(machine, capsys, monkeypatch):
    without(monkeypatch, "jupyterlab")
    code, found = printed(capsys)
    assert code == 0 and found["facts"]["jupyterlab"] is None
    assert len(found["notes"]) == 1 and "JupyterLab is not installed" in found["notes"][0]


# --- kernels ---------------------------------------------------------------------------------------------------------


def with_kernels(monkeypatch, programs):
    """Jupyter finds these kernels: name -> the program that each starts."""
    kernelspec = pytest.importorskip("jupyter_client.kernelspec")
    specs = {
        name: {"spec": {"argv": [program, "-m", "ipykernel_launcher"], "display_name": f"Title of {name}"}}
        for name, program in programs.items()
    }
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_all_specs", lambda self: specs)


def test_the_kernels_of_this_python_are_named(monkeypatch):
    """Also where another name of the same Python is registered, and Jupyter's own, which runs the Python beside it."""
    beside = str(Path(sys.executable).with_name("python3.99"))
    mine = {"python3": "python", "minidiff": sys.executable, "alike": beside}
    with_kernels(monkeypatch, {**mine, "julia": "/opt/julia", "old": "/x/python"})
    fact, note = doctor.kernel()
    assert [each["name"] for each in fact.value] == list(mine)
    assert fact.lines == [f"Title of {name} ({name})" for name in mine]
    assert f"Python Environments, then {doctor.python_here()}." in note.words
    assert f"{doctor.python_here()} -m ipykernel install --user --name minidiff" in note.words


def test_where_no_kernel_runs_this_python_it_is_said(monkeypatch):
    with_kernels(monkeypatch, {"old": "/x/python", "empty": ""})
    fact, note = doctor.kernel()
    assert fact == Fact(["none of this Python"], []) and "once, then Kernel, Change Kernel, minidiff" in note.words


def test_without_jupyter_there_is_no_kernel(monkeypatch):
    monkeypatch.setitem(sys.modules, "jupyter_client", None)
    monkeypatch.setitem(sys.modules, "jupyter_client.kernelspec", None)
    assert list(doctor.kernel()) == [Fact(["none: Jupyter is not installed here"], [])]


def test_fault_9_cures_can_be_typed_where_no_environment_is_activated(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv" / "bin" / "python"))
    assert doctor.pip_install("numpy>=2.0") == ".venv/bin/python -m pip install 'numpy>=2.0'"
    made = ".venv/bin/python -m minidiff train mnist-ddpm --out data/checkpoints/mnist-ddpm"
    assert doctor.restore("mnist-ddpm", None) == f"git checkout data/checkpoints/mnist-ddpm, or make it: {made}"
    monkeypatch.setattr(sys, "executable", "/my programs/python")
    assert doctor.restore("mnist-ddpm", tmp_path / "a").endswith(
        ", or make it anew: '/my programs/python' -m minidiff train mnist-ddpm --out runs/mnist-ddpm"
    )


# --- devices, threads, precision -------------------------------------------------------------------------------------


def test_a_gpu_that_cannot_be_used_is_a_note(monkeypatch):
    def unusable():
        warnings.warn("the driver is too old", stacklevel=1)
        return False

    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "is_available", unusable)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    note, fact = doctor.devices()
    assert note == Note("PyTorch is built for CUDA 12.6, but finds no GPU that it can use (the driver is too old)")
    assert [each["device"] for each in fact.value] == ["cpu"]


CARDS = {
    "Linux, which gets the build for CUDA everywhere": ("Linux", None, "0x8086", None, False),
    "a card without a driver": ("Linux", None, "0x10de", None, True),
    "a driver that does not work": ("Linux", None, "0x8086", "/usr/bin/nvidia-smi", True),
    "a build for AMD's cards": ("Linux", "6.2", "0x8086", None, True),
    "a build for CUDA that somebody chose": ("Windows", None, "0x8086", None, True),
}


@pytest.mark.parametrize(("system", "hip", "vendor", "program", "noted"), CARDS.values(), ids=CARDS)
def test_a_build_for_cuda_without_a_card_is_only_noted_where_it_says_something(
    system, hip, vendor, program, noted, tmp_path, monkeypatch
):
    for name, content in {"0000:00:02.0": "0x8086", "0000:01:00.0": vendor}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{content}\n", encoding="ascii")
    monkeypatch.setattr(doctor, "PCI_DEVICES", tmp_path)
    monkeypatch.setattr(doctor.platform, "system", lambda: system)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: program if name == "nvidia-smi" else None)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    notes = [finding for finding in doctor.devices() if isinstance(finding, Note)]
    assert bool(notes) == noted and all("finds no GPU" in note.words for note in notes)


def test_gpus_are_named_with_their_memory(monkeypatch):
    cards = [types.SimpleNamespace(name=f"Card {n}", total_memory=n * 8_000_000_000) for n in (1, 2)]
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: cards[number])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    (fact,) = doctor.devices()
    assert fact.lines[1:] == ["cuda:0 (Card 1, 8 GB)", "cuda:1 (Card 2, 16 GB)", "mps (Apple GPU)"]


@pytest.mark.parametrize(("system", "spin", "notes"), [("Linux", None, 1), ("Linux", "10000", 0), ("Darwin", None, 0)])
def test_threads_that_spin_are_a_note_on_linux(monkeypatch, system, spin, notes):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setenv("GOMP_SPINCOUNT", spin or "")
    if spin is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    told = [each.words for each in doctor.threads() if isinstance(each, Note)]
    assert len(told) == notes and all("GOMP_SPINCOUNT=10000" in words for words in told)


@pytest.mark.parametrize(
    ("full", "half", "verdict", "words", "measured"),
    [
        (0.1, 0.05, "faster", "0.50 times", [4, 4]),
        (0.1, 0.3, "slower", "3.0 times", [4, 4]),
        (0.1, 0.095, "no faster", "0.95 times", [4, 4]),
        (0.3, 4.5, "slower", "15.0 times", [4, 1]),
    ],
)
def test_bfloat16_is_measured_and_not_for_long(monkeypatch, full, half, verdict, words, measured):
    """By a clock that only the loss moves on: after a warm-up on two images, four times or until a second is over."""
    clock, batches = [0.0], {False: [], True: []}

    def loss(net, batch, generator):
        in_half = torch.is_autocast_enabled("cpu")
        batches[in_half].append(len(batch.x0))
        assert batch.x0.shape[1:] == (1, 28, 28) and -1 <= batch.x0.min() < -0.9 and 0.9 < batch.x0.max() <= 1
        clock[0] += (half if in_half else full) if len(batch.x0) == 32 else 0.01
        return 0 * next(net.parameters()).sum().expand(len(batch.x0))

    monkeypatch.setattr(digits, "digit_objective", lambda: loss)
    monkeypatch.setattr(doctor, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    (fact,) = doctor.bfloat16()
    assert fact.value["verdict"] == verdict and fact.value["ratio"] == pytest.approx(half / full, abs=1e-3)
    assert fact.value["float32_seconds"] == pytest.approx(full)
    assert fact.lines == [f"{verdict} on this processor: takes {words} as long as float32"]
    assert [batches[False], batches[True]] == [[2] + [32] * times for times in measured]


# --- what else may go wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_breaks_is_a_problem_and_the_others_go_on(machine, capsys, monkeypatch, name):
    def broken():
        yield Note("before it broke")
        raise RuntimeError("some\nsurprise")

    monkeypatch.setattr(doctor, CHECKS[name], broken)
    code, found = printed(capsys)
    assert code == 1 and "before it broke" in found["notes"]
    (problem,) = found["problems"]
    assert problem["what"] == f"the check of {name} failed (RuntimeError: some surprise)"
    assert problem["cure"]
    nothing = {name.lower().replace(" ", "_")} | ({"bfloat16", "mnist", "checkpoints"} if name == "packages" else set())
    assert {key for key, fact in found["facts"].items() if fact is None} == nothing


def test_every_check_is_tried_above(machine):
    assert list(examine().facts) == list(CHECKS)


# --- the screen ------------------------------------------------------------------------------------------------------

SAMPLE = Report(
    {"Python": Fact(["3.12"], "3.12"), "MNIST": Fact(["one", "two"], [1, 2]), "free disk": None},
    ["a note of " + 20 * "many words " + "that is long"],
    [Problem("this is wrong", "do that"), Problem("and that", "/a/folder/" + 90 * "x")],
)


def test_the_screen_is_aligned_and_ends_with_the_verdict():
    lines = show(SAMPLE).splitlines()
    assert lines[:4] == ["Python       3.12", "MNIST        one", "             two", "free disk    not examined"]
    assert lines[4] == "" and lines[5] == "note         " + SAMPLE.notes[0]
    assert lines[6] == "PROBLEM      this is wrong; cure: do that"
    assert lines[-2:] == ["", "2 problems"]


def test_a_terminal_breaks_long_lines_between_words():
    lines = show(SAMPLE, 80).splitlines()
    assert all(len(line) <= 80 or line.split() == [SAMPLE.problems[1].cure] for line in lines)
    broken = [line for line in lines if line.startswith(" " * 13) and line.strip() != "two"]
    assert len(broken) == 4 and lines[5].startswith("note         a note of")
    assert " ".join(show(SAMPLE, 80).split()) == " ".join(show(SAMPLE).split())


def test_the_screen_of_a_machine_that_lacks_nothing_is_one_screen(tmp_path):
    """At most 40 lines of a terminal, here with all that it names: packages, kernels, devices, folders, checkpoints."""
    result = run(tmp_path, as_json=False, MPLCONFIGDIR=str(tmp_path), GOMP_SPINCOUNT="10000")
    report = [line for line in result.stdout.splitlines() if not line.startswith("PROBLEM")]
    assert sum(max(1, -(-len(line) // 100)) for line in report) <= 40, result.stdout


@pytest.mark.parametrize(("terminal", "broken"), [(True, True), (False, False)])
def test_lines_are_broken_in_a_terminal_only(machine, monkeypatch, terminal, broken):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("MINIDIFF_DATA", str(machine / "no" / "such"))
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdout", screen)
    assert doctor.doctor(as_json=False) == 1
    (problem,) = [line for line in screen.getvalue().splitlines() if line.startswith("PROBLEM")]
    assert ("cure: make that folder, name another, or unset it" not in problem) == broken


def test_the_object_says_what_the_screen_says():
    found = json.loads(to_json(SAMPLE))
    assert found == {
        "healthy": False,
        "facts": {"python": "3.12", "mnist": [1, 2], "free_disk": None},
        "notes": SAMPLE.notes,
        "problems": [{"what": problem.what, "cure": problem.cure} for problem in SAMPLE.problems],
    }


def test_a_terminal_that_lacks_a_letter_still_shows_the_screen(machine, monkeypatch):
    monkeypatch.setenv("MINIDIFF_DATA", str(machine / "Übung"))
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert doctor.doctor(as_json=False) == 1
    sys.stdout.flush()
    assert rb"\xdcbung, which is no folder" in raw.getvalue()
