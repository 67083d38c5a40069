"""Execute the notebooks: the one script behind `make course`, `make notebooks` and `make seeds`.

    python -m tests.tools.notebooks course notebooks                      execute, and write nothing
    python -m tests.tools.notebooks write notebooks/05_*.ipynb            execute, then store the outputs
    python -m tests.tools.notebooks seeds notebooks --seeds 0 1 --threads 1 2

A *finding* is the text that a marked cell prints. A cell is marked by its tag `nbval-check-output`; the notebooks that
do not call `minidiff.measurement.finding` yet mark it by the comment `# NBVAL_CHECK_OUTPUT`. Findings are what nbval
compares with the stored notebook, and what `seeds` compares under other seeds and thread numbers. Both compare the
verdict, the text, the unit and the bound of a finding. Its number may differ: another seed and another machine measure
another one.
"""

import argparse
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.plugin import find_comment_markers, find_metadata_tags

BUDGET = {"13": 180}  # seconds that a notebook may take on two idle cores; every other one has 60
MARGIN = 4  # a cell may run four times its notebook's budget: shared machines stall
AT_A_TIME = 4  # kernels at most: each may need a gigabyte

# The number of a line such as `✓ it is as good as real data: 1.3 floors (below 3)`, which the first group leaves out.
# NaN and infinity are no numbers that may stand for another. Also a pattern for nbval, which takes whole texts.
NUMBER = re.compile(
    r"^([✓✗] .*: )[-+]?[0-9][0-9,]*(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?"
    r"(?=(?: [^():\n]+)? \((?:above|below|between) [^()\n]+\)$)",
    re.MULTILINE,
)
STARRED = r"\1*"
FAILING = "✗ "  # how the line of a finding that does not hold begins


class Run(NamedTuple):
    """A notebook after its execution. `failure` is empty where every cell ran."""

    path: Path
    notebook: nbformat.NotebookNode
    seconds: float
    failure: str


class Finding(NamedTuple):
    """What one marked cell printed. `cell` counts the code cells from 1, as Jupyter numbers them."""

    cell: int
    text: str


# --- reading ---------------------------------------------------------------------------------------------------------


def select(paths: list[Path]) -> list[Path]:
    """The notebooks among files and folders, by name."""
    found = [file for path in paths for file in (sorted(path.glob("*.ipynb")) if path.is_dir() else [path])]
    if not found:
        sys.exit(f"no notebook in {', '.join(map(str, paths))}")
    return found


def budget(path: Path) -> int:
    """The seconds that a notebook may take on two idle cores."""
    return BUDGET.get(path.name[:2], 60)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells that are not empty: those that Jupyter numbers."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def is_marked(cell: nbformat.NotebookNode) -> bool:
    """Whether nbval compares the cell's output. It asks the tags first, and then the comments."""
    return dict([*find_metadata_tags(cell.metadata), *find_comment_markers(cell.source)]).get("check", False)


def output_text(outputs: list) -> str:
    """What outputs say in words. Progress bars and warnings, which go to stderr, are no findings."""
    text = ""
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] == "stdout":
            text += output["text"]
        elif "data" in output:
            text += output["data"].get("text/plain", "") + "\n"
    return text


def findings(notebook: nbformat.NotebookNode) -> list[Finding]:
    """The findings that a notebook holds."""
    numbered = enumerate(code_cells(notebook), start=1)
    return [Finding(number, output_text(cell.outputs)) for number, cell in numbered if is_marked(cell)]


def without_numbers(text: str) -> str:
    """The text with a star in place of each finding's number: what two runs have in common."""
    return NUMBER.sub(STARRED, text)


def failing(notebook: nbformat.NotebookNode) -> list[str]:
    """The findings of any cell that do not hold, each as its cell and its line."""
    return [
        f"cell [{number}] found {line}"
        for number, cell in enumerate(code_cells(notebook), start=1)
        for line in output_text(cell.outputs).splitlines()
        if line.startswith(FAILING)
    ]


def first_difference(expected: str, found: str) -> str:
    """The first line in which two texts differ by more than the number of a finding, or an empty string."""
    for number, lines in enumerate(zip_longest(expected.splitlines(), found.splitlines()), start=1):
        was, now = ("(no such line)" if line is None else line for line in lines)
        if without_numbers(was) != without_numbers(now):
            return f"line {number}\n    expected: {was}\n    found:    {now}"
    return ""


def lacks_mnist(notebook: nbformat.NotebookNode) -> bool:
    """Whether a notebook has a way without MNIST (it handles `MnistUnavailable`) and must take it on this machine."""
    if not any("MnistUnavailable" in cell.source for cell in code_cells(notebook)):
        return False
    from minidiff.data import find_mnist

    return find_mnist() is None


# --- executing -------------------------------------------------------------------------------------------------------

_running: set[NotebookClient] = set()
_stop = threading.Event()


def execute(path: Path, environment: dict[str, str] | None = None) -> Run:
    """Execute a notebook in a fresh kernel, in memory. Its file is read and never written."""
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    timeout = MARGIN * budget(path)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        shutdown_kernel="immediate",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    number, failure, start = 0, "", time.perf_counter()
    try:
        with client.setup_kernel(cwd=str(path.parent), env={**os.environ, **(environment or {})}):
            _running.add(client)
            for index, cell in enumerate(notebook.cells):
                if _stop.is_set():
                    raise DeadKernelError
                number += cell.cell_type == "code" and bool(cell.source.strip())
                client.execute_cell(cell, index, execution_count=number)
    except CellTimeoutError:
        failure = f"cell [{number}] ran out of time ({timeout:g} s)"
    except CellExecutionError as error:
        failure = f"cell [{number}] raised {error.ename}: {error.evalue}".splitlines()[0]
    except DeadKernelError:
        failure = f"the kernel died in cell [{number}]"
    finally:
        _running.discard(client)
    return Run(path, notebook, time.perf_counter() - start, failure)


def execute_all(jobs: list[tuple[Path, dict[str, str]]], at_a_time: int = 1) -> Iterator[Run]:
    """Execute the jobs and yield their results in order. Whatever ends the loop, Ctrl-C too, ends the kernels."""
    _stop.clear()
    with ThreadPoolExecutor(at_a_time) as pool:
        try:
            yield from pool.map(lambda job: execute(*job), jobs)
        except BaseException:
            _stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for client in list(_running):
                client.km.provisioner.process.kill()
            raise


# --- the three commands ----------------------------------------------------------------------------------------------


def problem_of(run: Run) -> str:
    """Why a run is no good: a cell failed, or a finding does not hold. An empty string where neither is so."""
    first, *others = [run.failure] if run.failure else failing(run.notebook) or [""]
    return first + (f" (and {len(others)} more)" if others else "")


def course(paths: list[Path]) -> bool:
    """Execute every notebook and print how long each took."""
    rows = []
    for run in execute_all([(path, {}) for path in paths]):
        problem = problem_of(run)
        verdict = f"no: {problem}" if problem else "yes"
        if not problem and run.seconds > budget(run.path):
            verdict = f"yes, but it should take {budget(run.path)} s at most"
        rows.append((run.path.stem, f"{run.seconds:.1f}", verdict))
        print(f"{run.path.stem}: {verdict}", flush=True)
    print(table(("notebook", "seconds", "passed"), rows))
    return all(row[-1].startswith("yes") for row in rows)


def write(paths: list[Path]) -> bool:
    """Execute every notebook, and store the outputs of those in which every cell ran and every finding holds."""
    rows = []
    for run in execute_all([(path, {}) for path in paths]):
        problem = problem_of(run)
        if not problem:
            store(run)
        rows.append((run.path.stem, f"{run.seconds:.1f}", f"no: {problem}" if problem else "yes"))
        print(f"{run.path.stem}: {problem or 'written'}", flush=True)
    print(table(("notebook", "seconds", "written"), rows))
    return all(row[-1] == "yes" for row in rows)


def store(run: Run) -> None:
    """Write an executed notebook in place of its file, without what changes from one run or machine to the next.

    Nothing from stderr is stored: a progress bar is of no use to a reader. Warnings are printed for the author instead.
    """
    for number, cell in enumerate(code_cells(run.notebook), start=1):
        for output in cell.outputs:
            if output.get("name") == "stderr" and (warning := without_progress_bars(output.text)):
                print(f"{run.path.stem}, cell [{number}] warns:\n{warning}")
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        cell.metadata.pop("execution", None)
    run.notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    temporary = run.path.with_suffix(".ipynb.tmp")
    nbformat.write(run.notebook, temporary)
    os.replace(temporary, run.path)


def without_progress_bars(text: str) -> str:
    """The lines of stderr that tqdm did not write."""
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    return "\n".join(line for line in lines if not re.search(r"\d+%\||it/s|s/it", line))


def seeds(paths: list[Path], shifts: list[int], threads: list[int]) -> bool:
    """Compare every notebook's findings under other seeds and thread numbers with the stored ones."""
    expected = {}
    for path in paths:
        stored = nbformat.read(path, as_version=4)
        expected[path] = None if lacks_mnist(stored) else findings(stored)
    verdicts, differences = {}, []
    for count in threads:
        settings = [(path, seed) for path in paths for seed in shifts]
        jobs = [(path, kernel_environment(seed, count)) for path, seed in settings]
        runs = execute_all(jobs, at_a_time=max(1, min(AT_A_TIME, (os.cpu_count() or 1) // count)))
        for (path, seed), run in zip(settings, runs, strict=True):
            if expected[path] is None and not run.failure:
                print(f"{path.stem}: MNIST not found, so its runs are compared with the first one")
                expected[path] = findings(run.notebook)
            found = [run.failure] if run.failure else compare(expected[path], findings(run.notebook))
            found = found or failing(run.notebook)  # a finding that holds nowhere is the same in every run
            where = f"{path.stem}, seed {seed}, {count} thread{'s' * (count > 1)}"
            differences += [f"{where}: {difference}" for difference in found]
            verdicts[path, count, seed] = "failed" if run.failure else "differs" if found else "same"
            print(f"{where}: {verdicts[path, count, seed]}, {run.seconds:.1f} s", flush=True)
    rows = []
    for path in paths:
        rows += [(path.stem, str(count), *(verdicts[path, count, seed] for seed in shifts)) for count in threads]
    print(table(("notebook", "threads", *(f"seed {seed}" for seed in shifts)), rows))
    print("\n".join(differences) or "Every finding is the same in every run.")
    return not differences


def kernel_environment(seed: int, threads: int) -> dict[str, str]:
    """Environment variables for a seed and a number of threads. Where PyTorch finds MKL, it heeds MKL's number."""
    return {"MINIDIFF_SEED": str(seed), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def compare(expected: list[Finding], found: list[Finding]) -> list[str]:
    """Say where findings differ: cell, line, and both lines."""
    pairs = zip(expected, found, strict=True)
    return [f"cell [{was.cell}], {words}" for was, now in pairs if (words := first_difference(was.text, now.text))]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A plain table, columns aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in [head, *rows]]
    return "\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Execute the notebooks of the course.")
    parser.add_argument("command", choices=["course", "write", "seeds"])
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    arguments = parser.parse_args()
    paths = select(arguments.paths)
    try:
        if arguments.command == "seeds":
            passed = seeds(paths, arguments.seeds, arguments.threads)
        else:
            passed = {"course": course, "write": write}[arguments.command](paths)
    except KeyboardInterrupt:
        sys.exit("interrupted: every kernel is stopped, no notebook is half written")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
