"""The tools that execute notebooks, on notebooks of a few lines: each kind of failure is told by its name."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.tools import notebooks

REPOSITORY = Path(__file__).parents[1]
CHECK = "# NBVAL_CHECK_OUTPUT\n"
LATE = "import time\ntime.sleep(60)"
STUBBORN = "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass"


def build(path: Path, *cells: str, prints: str = "") -> Path:
    """A notebook that looks executed; its marked cells hold `prints`."""
    notebook = new_notebook(metadata={"language_info": {"name": "python", "version": "3.9.9"}})
    for number, source in enumerate(cells, start=1):
        cell = new_code_cell(source, execution_count=number, id=f"cell-{number}")
        if CHECK in source:
            cell.outputs = [new_output("stream", name="stdout", text=prints)]
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path


def rows(text: str) -> dict[str, str]:
    """The rows of a printed table: the notebook, and what stands after its seconds."""
    return dict(re.findall(r"^(\d\d_\w+) +\d+\.\d +(.+)$", text, re.MULTILINE))


# --- nbval's report --------------------------------------------------------------------------------------------------


def test_nbval_report_tells_each_failure_by_its_name(tmp_path):
    spinning = "import os\nassert os.environ['GOMP_SPINCOUNT'] == '10000'"
    bar = "import sys\nprint('10%|#', file=sys.stderr)\nprint(1)"
    build(tmp_path / "01_fine.ipynb", spinning, CHECK + bar, prints="1\n")
    build(tmp_path / "02_late.ipynb", "1", LATE)
    build(tmp_path / "03_stubborn.ipynb", STUBBORN, "1")
    build(tmp_path / "04_differs.ipynb", CHECK + "print('same')\nprint('new')", prints="same\nold\n")
    build(tmp_path / "05_raises.ipynb", "MnistUnavailable = 'asked for'\n1 / 0", "undefined")
    build(tmp_path / "06_no_mnist.ipynb", "MnistUnavailable = 'asked for'", CHECK + "print(1)", prints="2\n")
    build(tmp_path / "13_longer_budget.ipynb", "import time\ntime.sleep(4)")
    (tmp_path / "conftest.py").write_text("import minidiff.data\nminidiff.data.find_mnist = lambda: None\n")
    options = ["-p", "tests.tools.nbval_report", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=3"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert rows(result.stdout) == {
        "01_fine": "yes",
        "02_late": "no: cell [2] ran out of time (3 s)",
        "03_stubborn": "no: cell [1] ran out of time (3 s)",
        "04_differs": "no: cell [1] finding differs, line 2",
        "05_raises": "no: cell [1] raised ZeroDivisionError: division by zero (and 1 more)",
        "06_no_mnist": "yes, findings skipped: 1 (MNIST not found)",
        "13_longer_budget": "yes",
    }
    assert "04_differs: cell [1] finding differs, line 2\n    expected: old\n    found:    new\n" in result.stdout
    assert result.returncode == 1
    assert re.search(r"^=+ 5 failed, 5 passed, 1 skipped.* in .*=+$", result.stdout.splitlines()[-1])


# --- executing and writing -------------------------------------------------------------------------------------------


def test_course_names_what_went_wrong_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "budget", lambda path: 0.5 if "late" in path.name else 60)
    paths = [
        build(tmp_path / "01_fine.ipynb", "x = 1", CHECK + "print(x)"),
        build(tmp_path / "02_late.ipynb", "1", LATE),
        build(tmp_path / "03_raises.ipynb", "", "1", "1 / 0", "1"),
        build(tmp_path / "04_dies.ipynb", "import os\nos._exit(1)"),
    ]
    before = [path.read_bytes() for path in paths]
    assert not notebooks.course(paths)
    assert rows(capsys.readouterr().out) == {
        "01_fine": "yes",
        "02_late": "no: cell [2] ran out of time (2 s)",
        "03_raises": "no: cell [2] raised ZeroDivisionError: division by zero",
        "04_dies": "no: the kernel died in cell [1]",
    }
    assert [path.read_bytes() for path in paths] == before
    assert notebooks.course(paths[:1])


def test_write_stores_the_outputs_and_nothing_that_changes_between_runs(tmp_path, capsys):
    bar = "from tqdm import tqdm\nfor _ in tqdm(range(3)):\n    pass\n"
    warning = "import warnings\nwarnings.warn('take care', stacklevel=1)"
    path = build(tmp_path / "01_fine.ipynb", bar + warning, "print('a')\nprint('b')", "1 + 1")
    assert notebooks.write([path])
    first = path.read_bytes()
    stored = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in stored.cells] == [1, 2, 3]
    assert stored.cells[0].outputs == []
    assert stored.cells[1].outputs == [{"output_type": "stream", "name": "stdout", "text": "a\nb\n"}]
    assert stored.cells[2].outputs[0].data == {"text/plain": "2"}
    assert stored.metadata.kernelspec.name == "python3"
    assert stored.metadata.language_info == {"name": "python"}
    assert all(cell.metadata == {} for cell in stored.cells)
    printed = capsys.readouterr().out
    assert "01_fine, cell [1] warns:" in printed and "UserWarning: take care" in printed and "it/s" not in printed
    assert notebooks.write([path])
    assert path.read_bytes() == first


def test_write_leaves_a_notebook_that_fails_as_it_was(tmp_path, capsys):
    path = build(tmp_path / "01_raises.ipynb", "print(1)", "1 / 0")
    before = path.read_bytes()
    assert not notebooks.write([path])
    assert rows(capsys.readouterr().out)["01_raises"].startswith("no: cell [2] raised ZeroDivisionError")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["01_raises.ipynb"]


def test_ctrl_c_ends_the_kernel_too(tmp_path):
    started = tmp_path / "pid"
    source = (
        f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(f'{{os.getpid()}}.')\ntime.sleep(600)"
    )
    build(tmp_path / "01_sleeps.ipynb", source)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.tools.notebooks", "course", tmp_path],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background would ignore it
    )
    deadline = time.monotonic() + 240
    while not (started.exists() and started.read_text().endswith(".")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        _, printed = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1
    assert printed == "interrupted: every kernel is stopped, no notebook is half written\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()[:-1]), 0)


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_seeds_names_the_line_that_differs(tmp_path, capsys):
    lucky = CHECK + "import os\nprint('one')\nprint('seed', os.environ['MINIDIFF_SEED'])"
    paths = [
        build(tmp_path / "01_steady.ipynb", "print(id(object()))", CHECK + "print('one')", prints="one\n"),
        build(tmp_path / "02_lucky.ipynb", "1", lucky, prints="one\nseed 0\n"),
    ]
    assert not notebooks.seeds(paths, [0, 1], [1])
    table, _, differences = capsys.readouterr().out.partition("notebook ")[2].partition("\n\n")
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["01_steady", "1", "same", "same"],
        ["02_lucky", "1", "same", "differs"],
    ]
    assert differences == ("02_lucky, seed 1, 1 thread: cell [2], line 2\n    expected: seed 0\n    found:    seed 1\n")


def test_seeds_sets_the_number_of_threads(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "1")  # heeded before OMP_NUM_THREADS where PyTorch is built with MKL
    count = CHECK + "import torch\nprint(torch.get_num_threads(), 'threads')"
    path = build(tmp_path / "01_threads.ipynb", count, prints="1 threads\n")
    assert not notebooks.seeds([path], [0], [2])
    differences = capsys.readouterr().out
    assert (
        "01_threads, seed 0, 2 threads: cell [1], line 1\n    expected: 1 threads\n    found:    2 threads"
        in differences
    )


def test_seeds_without_mnist_compares_the_runs_with_one_another(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minidiff.data.find_mnist", lambda: None)
    path = build(
        tmp_path / "13_digits.ipynb", CHECK + "MnistUnavailable = 'asked for'\nprint('digits')", prints="MNIST\n"
    )
    assert notebooks.seeds([path], [0, 1], [1])
    printed = capsys.readouterr().out
    assert "13_digits: MNIST not found" in printed and "Every finding is the same in every run." in printed
