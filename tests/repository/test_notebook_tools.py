"""The tools that execute notebooks, on notebooks of a few lines: each kind of failure is told by its name."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from minidiff.measurement import finding
from tests.processes import wait_until
from tests.tools import notebooks
from tests.tools.longest_first import SLOW, LongestFirst

REPOSITORY = Path(__file__).parents[2]
CHECK = "# NBVAL_CHECK_OUTPUT\n"
TAG = "nbval-check-output"
SIDE_BY_SIDE = ["-p", "tests.tools.longest_first", "--numprocesses=2", "--dist=loadfile"]
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


def build_findings(path: Path, *cells: tuple[str, str]) -> Path:
    """A notebook of cells with the tag, each the code of a call of `finding` and what is stored for it."""
    notebook = new_notebook()
    for number, (source, text) in enumerate(cells, start=1):
        cell = new_code_cell(f"from minidiff.measurement import finding\n{source}", execution_count=number)
        cell.metadata.tags = [TAG]
        cell.outputs = [new_output("stream", name="stdout", text=text)]
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path


def under_nbval(folder: Path, *options: str, timeout: float = 30) -> subprocess.CompletedProcess:
    """The notebooks of a folder under nbval, as `make test` runs them."""
    nbval = ["-p", "tests.tools.nbval_report", "--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={timeout}"]
    command = [sys.executable, "-m", "pytest", *nbval, *options, folder]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def sleeping(file: Path) -> str:
    """Code that writes the number of its process into a file, and then sleeps for ten minutes."""
    return f"import os, pathlib, time\npathlib.Path({str(file)!r}).write_text(f'{{os.getpid()}}.')\ntime.sleep(600)"


def pid_in(file: Path) -> int:
    """The number of the process that `sleeping` writes, as soon as it is written."""
    wait_until(lambda: file.exists() and file.read_text().endswith("."), seconds=240)
    return int(file.read_text()[:-1])


def gone(pid: int, seconds: float = 30) -> bool:
    """Whether a process has ended, or does so soon."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def rows(text: str) -> dict[str, str]:
    """The rows of a printed table: the notebook, and what stands after its seconds."""
    return dict(re.findall(r"^(\d\d_\w+) +\d+\.\d +(.+)$", text, re.MULTILINE))


def progress(text: str) -> dict[str, str]:
    """The line of each notebook that is printed while the others still run, without its seconds."""
    text, _, _ = text.partition("\nnotebook ")
    return dict(re.findall(r"^(\d\d_\w+): (.+), \d+\.\d s$", text, re.MULTILINE))


# --- the numbers of findings -----------------------------------------------------------------------------------------

LINE = "✓ T = 5, twice: as good as real data: 1.3 floors (below 3)"


def printed_by(capsys, value, text="T = 5, twice: as good as real data", **options) -> str:
    finding(text, value, **options)
    return capsys.readouterr().out.rstrip("\n")


@pytest.mark.parametrize("value", [0, 2, -0.5, 1.44, 2.99, 1e-3, 1e-4, 3.1e-16, -3.1e-16, -12345.6, -1e20])
@pytest.mark.parametrize(
    "options",
    [
        {"below": 3, "unit": "floors"},
        {"below": 3},
        {"below": 3, "unit": "%"},
        {"above": -1e30, "below": 3.5, "unit": "nats / s"},
        {"above": -1e30},
        {"above": -1e30, "unit": "of 1,000"},
    ],
)
def test_another_number_is_no_difference(value, options, capsys):
    before, after = (printed_by(capsys, number, **options) for number in (1.3, value))
    assert before != after
    assert notebooks.without_numbers(before) == notebooks.without_numbers(after)
    assert notebooks.without_numbers(before).startswith("✓ T = 5, twice: as good as real data: *")
    assert notebooks.first_difference(f"a\n{before}\nb\n", f"a\n{after}\nb\n") == ""


@pytest.mark.parametrize(
    "changed",
    [
        *(LINE.replace("✓", "✗"), LINE.replace("1.3", "nan"), LINE.replace("1.3", "inf"), LINE.replace("1.3", "-inf")),
        *(LINE.replace("T = 5", "T = 6"), LINE.replace("data", "dato"), LINE.replace("below 3", "below 4")),
        *(LINE.replace("below", "above"), LINE.replace("below 3", "between 1 and 3"), LINE.replace("floors", "nats")),
        *(LINE.replace(" floors", ""), LINE.replace("1.3 ", ""), LINE.replace("1.3", "1.3 1.3"), LINE + "\n✓ more"),
        *(LINE + "\n", f"{LINE} ", f" {LINE}", f"more\n{LINE}", "", LINE.replace(" (below 3)", "")),
    ],
)
def test_anything_else_is_a_difference(changed):
    before = f"{LINE}\nlast"
    assert notebooks.without_numbers(before) != notebooks.without_numbers(f"{changed}\nlast")
    assert notebooks.first_difference(before, f"{changed}\nlast").startswith("line")


def test_numbers_of_other_lines_are_compared():
    findings = ["✓ seed 3", "✓ a: 1.3 (below 3) or so", "✓ it holds (below 3)"]
    for line in (*findings, "the rate: 1.3 (below 3)", "1.3 floors (below 3)"):
        assert notebooks.without_numbers(line) == line


def test_a_difference_is_told_with_its_numbers():
    told = notebooks.first_difference(f"{LINE}\n{LINE}", f"{LINE.replace('1.3', '1.4')}\n{LINE.replace('✓ ', '✗ ')}")
    assert told == f"line 2\n    expected: {LINE}\n    found:    {LINE.replace('✓ ', '✗ ')}"


def test_nbval_lets_another_number_pass_and_nothing_else(tmp_path):
    stored = "✓ text: 1.3 floors (below 3)\n"
    cells = [
        ("finding('text', 2.4, below=3, unit='floors')", stored),
        ("finding('text', 2.4, below=3, unit='floors');", stored),
        ("finding('a', 1 < 2)\nfinding('b', 12345.6, above=1)", "✓ a\n✓ b: 2 (above 1)\n"),
        ("finding('text', 3.4, below=3, unit='floors')", stored),
        ("finding('text', float('nan'), below=3, unit='floors')", stored),
        ("finding('text', float('-inf'), below=3, unit='floors')", stored),
        ("finding('texts', 1.3, below=3, unit='floors')", stored),
        ("finding('text', 1.3, below=4, unit='floors')", stored),
        ("finding('text', 1.3, above=1, unit='floors')", stored),
        ("finding('text', 1.3, below=3, unit='nats')", stored),
        ("finding('text', 1.3, below=3, unit='floors')\nfinding('more', True)", stored),
        ("finding('text', False)", "✓ text\n"),
    ]
    build_findings(tmp_path / "01_findings.ipynb", *cells)
    printed = under_nbval(tmp_path).stdout
    differing = re.findall(r"^01_findings: cell \[(\d+)\] finding differs, line", printed, re.MULTILINE)
    assert differing == [str(number) for number in range(4, len(cells) + 1)]
    assert rows(printed) == {"01_findings": "no: cell [4] finding differs, line 1 (and 8 more)"} == progress(printed)


# --- nbval's report --------------------------------------------------------------------------------------------------


def test_nbval_report_tells_each_failure_by_its_name(tmp_path, monkeypatch):
    """Side by side, as `make test` runs them. The test of findings above runs a notebook alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # which side by side is one
    heeded = "import os\nassert [os.environ[n] for n in ('GOMP_SPINCOUNT', 'OMP_NUM_THREADS')] == ['10000', '1']"
    bar = "import sys\nprint('10%|#', file=sys.stderr)\nprint(1)"
    build(tmp_path / "01_fine.ipynb", heeded, CHECK + bar, prints="1\n")
    build(tmp_path / "02_late.ipynb", "1", LATE)
    build(tmp_path / "03_stubborn.ipynb", STUBBORN, "1")
    build(tmp_path / "04_differs.ipynb", CHECK + "print('same')\nprint('new')", prints="same\nold\n")
    build(tmp_path / "05_raises.ipynb", "MnistUnavailable = 'asked for'\n1 / 0", "undefined")
    build(tmp_path / "06_no_mnist.ipynb", "MnistUnavailable = 'asked for'", CHECK + "print(1)", prints="2\n")
    build(tmp_path / "13_longer_budget.ipynb", "import time\ntime.sleep(4)")
    (tmp_path / "conftest.py").write_text("import minidiff.data\nminidiff.data.find_mnist = lambda: None\n")
    result = under_nbval(tmp_path, *SIDE_BY_SIDE, timeout=3)
    verdicts = {
        "01_fine": "yes",
        "02_late": "no: cell [2] ran out of time (3 s)",
        "03_stubborn": "no: cell [1] ran out of time (3 s)",
        "04_differs": "no: cell [1] finding differs, line 2",
        "05_raises": "no: cell [1] raised ZeroDivisionError: division by zero (and 1 more)",
        "06_no_mnist": "yes, findings skipped: 1 (MNIST not found)",
        "13_longer_budget": "yes",
    }
    assert list(rows(result.stdout).items()) == list(verdicts.items())  # in the order of the course
    assert "04_differs: cell [1] finding differs, line 2\n    expected: old\n    found:    new\n" in result.stdout
    assert result.returncode == 1
    assert re.search(r"^=+ 5 failed, 5 passed, 1 skipped.* in .*=+$", result.stdout.splitlines()[-1])
    assert progress(result.stdout) == verdicts


def test_ctrl_c_ends_the_kernels_of_notebooks_that_run_side_by_side(tmp_path):
    pids = [tmp_path / "first", tmp_path / "second"]
    for number, file in enumerate(pids):
        build(tmp_path / f"0{number}_sleeps.ipynb", sleeping(file), "1", "2")
    options = ["-p", "tests.tools.nbval_report", "--nbval-lax", "--nbval-current-env", *SIDE_BY_SIDE]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background would ignore it
    )
    try:
        kernels = [pid_in(file) for file in pids]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to every process in front
        printed, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0
    assert set(rows(printed).values()) <= {"no: it did not come to its end"}
    assert all(gone(pid) for pid in kernels)


# --- the order of files ----------------------------------------------------------------------------------------------


def test_the_file_that_took_longest_begins_the_next_time(tmp_path):
    (tmp_path / "test_a.py").write_text("import time\ndef test_1(): pass\ndef test_2(): time.sleep(0.2)\n")
    (tmp_path / "test_b.py").write_text("def test_1(): pass\n")
    (tmp_path / "test_c.py").write_text("import time\ndef test_1(): time.sleep(0.5)\n")

    def order(*options: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-p", "tests.tools.longest_first", "-v", *options, tmp_path]
        printed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout
        return re.findall(r"(test_\w)\.py::test_1 PASSED|PASSED \S*(test_\w)\.py::test_1", printed)

    found = ["".join(pair) for pair in order()]
    assert found == ["test_a", "test_b", "test_c"]  # the most tests first
    found = ["".join(pair) for pair in order("--numprocesses=1", "--dist=loadfile")]
    assert found == ["test_c", "test_a", "test_b"]


def test_a_notebook_that_was_never_run_is_taken_to_need_its_budget():
    names = ["tests/test_a.py::test_1", "notebooks/05_a.ipynb::Cell 0", "b.py::test_1", "notebooks/13_b.ipynb::Cell 0"]
    known = {"b.py": 90.0}
    config = SimpleNamespace(cache=SimpleNamespace(get=lambda key, default: known))
    items = [SimpleNamespace(nodeid=name) for name in [*names, "notebooks/05_a.ipynb::Cell 1"]]
    LongestFirst(config).pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == [
        *("notebooks/13_b.ipynb::Cell 0", "b.py::test_1", "notebooks/05_a.ipynb::Cell 0"),
        *("notebooks/05_a.ipynb::Cell 1", "tests/test_a.py::test_1"),
    ]


def test_a_fresh_copy_begins_with_the_files_that_are_known_to_be_slow():
    assert [file for file in SLOW if not (REPOSITORY / file).is_file()] == []
    slowest, next_slowest, *_ = sorted(SLOW, key=SLOW.get, reverse=True)
    names = [f"tests/test_many.py::test_{n}" for n in range(99)] + [f"{next_slowest}::test_1", f"{slowest}::test_1"]
    items = [SimpleNamespace(nodeid=name) for name in names]
    LongestFirst(SimpleNamespace(cache=None)).pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items[:2]] == [f"{slowest}::test_1", f"{next_slowest}::test_1"]


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


def test_write_and_course_refuse_a_finding_that_fails(tmp_path, capsys, monkeypatch):
    path = build_findings(tmp_path / "01_fails.ipynb", ("1", "✓ a: 1 (below 2)\n"), ("1", "✗ b: 3 (below 2)\n✗ c\n"))
    ended = notebooks.Run(path, nbformat.read(path, as_version=4), 1.0, "")
    ended.notebook.metadata.changed = True
    monkeypatch.setattr(notebooks, "execute_all", lambda jobs: iter([ended]))
    before = path.read_bytes()
    for command in (notebooks.write, notebooks.course):
        assert not command([path])
        assert rows(capsys.readouterr().out) == {"01_fails": "no: cell [2] found ✗ b: 3 (below 2) (and 1 more)"}
    assert path.read_bytes() == before


def test_ctrl_c_ends_the_kernel_too(tmp_path):
    build(tmp_path / "01_sleeps.ipynb", sleeping(tmp_path / "pid"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.tools.notebooks", "course", tmp_path],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background would ignore it
    )
    try:
        kernel = pid_in(tmp_path / "pid")
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1
    assert printed == "interrupted: every kernel is stopped, no notebook is half written\n"
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)


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


def test_seeds_lets_another_number_pass_and_no_finding_that_fails(tmp_path, capsys):
    path = build_findings(
        tmp_path / "01_findings.ipynb",
        ("import os\nseed = int(os.environ['MINIDIFF_SEED'])\nfinding('a', seed, below=3)", "✓ a: 2.7 (below 3)\n"),
        ("finding('b', seed, below=1)", "✓ b: 0 (below 1)\n"),
        ("finding('c', 5, below=3)", "✗ c: 4 (below 3)\n"),
    )
    assert not notebooks.seeds([path], [0, 1], [1])
    assert capsys.readouterr().out.partition("notebook ")[2].partition("\n\n")[2].splitlines() == [
        "01_findings, seed 0, 1 thread: cell [3] found ✗ c: 5 (below 3)",
        *("01_findings, seed 1, 1 thread: cell [2], line 1", "    expected: ✓ b: 0 (below 1)"),
        "    found:    ✗ b: 1 (below 1)",
    ]


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
