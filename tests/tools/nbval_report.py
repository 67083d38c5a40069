"""A pytest plugin that says how long each notebook took under nbval, and in which of three ways it failed.

    python -m pytest notebooks -p tests.tools.nbval_report --nbval-lax --nbval-current-env --nbval-cell-timeout 240

It tells apart a cell that ran out of time (a slow machine), a finding that differs (a broken lesson) and a cell that
raised an error. The timeout holds for a notebook with the usual budget of 60 s; one with three times the budget gets
three times the timeout. The number of a finding may differ from the stored one; its verdict, text, unit and bound may
not. Where a notebook had to do without MNIST, findings that differ from the stored ones are skipped, and said to be.

With `--numprocesses=2 --dist=loadfile`, notebooks run side by side in processes of pytest-xdist, each on one thread.
The process that runs a cell is then not the one that prints, so what it has seen travels in the `user_properties` of
the test.
"""

import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell, NbCellError

from tests.tools.notebooks import NUMBER, STARRED, budget, first_difference, lacks_mnist, output_text, table

NO_MNIST = "MNIST not found"
FAILURE, SKIPPED = "notebook failure", "notebook finding skipped"  # names of user properties


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # one of several processes; its kernels inherit the environment
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    config.pluginmanager.register(Report(config))


def notebook_of(nodeid: str) -> str:
    """The name of the notebook that a test is a cell of; an empty string for any other test."""
    path = Path(nodeid.split("::")[0])
    return path.stem if path.suffix == ".ipynb" else ""


class Report:
    """Watches the cells that nbval executes. Its methods are pytest's hooks."""

    def __init__(self, config):
        self.config = config
        self.timeout = config.option.nbval_cell_timeout
        self.cells = Counter()
        self.seconds = defaultdict(float)
        self.failures = defaultdict(list)
        self.skipped = Counter()

    # --- where the cells run ---

    def pytest_itemcollected(self, item):
        if isinstance(item, IPyNbCell):
            # What goes to stderr, such as a progress bar, is no finding.
            item.parent.skip_compare = {*item.parent.skip_compare, "stderr"}
            item.parent.sanitize_patterns[NUMBER] = STARRED

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        if not isinstance(item, IPyNbCell):
            return (yield)
        self.config.option.nbval_cell_timeout = timeout = self.timeout * budget(item.parent.path) / 60
        was_late = item.parent.timed_out
        problem = None
        try:
            yield
        except Exception as error:
            problem = error
        if item.parent.timed_out and not was_late:
            # A loop that ends well when it is interrupted hides the timeout from nbval.
            verdict = f"ran out of time ({timeout:g} s)"
            problem = problem or NbCellError(item.cell_num, verdict, item.cell.source)
        elif problem is None:
            return
        elif str(problem) == "Cell outputs differ":
            if lacks_mnist(item.parent.nb):
                item.user_properties.append((SKIPPED, NO_MNIST))
                pytest.skip(NO_MNIST)
            where = first_difference(output_text(item.cell.outputs), output_text(item.test_outputs))
            verdict = f"finding differs, {where or 'in more than its text'}"
        else:
            errors = [output for output in item.test_outputs or [] if output.output_type == "error"]
            verdict = f"raised {errors[0].ename}: {errors[0].evalue}" if errors else f"failed: {problem}"
        if not was_late:  # what follows a timeout is its consequence
            item.user_properties.append((FAILURE, f"cell [{item.cell_num + 1}] {verdict}"))
        raise problem

    # --- where the results come together ---

    def pytest_collection_finish(self, session):
        self.cells = Counter(notebook_of(item.nodeid) for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        self.cells = self.cells or Counter(map(notebook_of, ids))  # a process that starts later collects them again

    def pytest_runtest_logreport(self, report):
        if not (name := notebook_of(report.nodeid)):
            return
        self.seconds[name] += report.duration
        if report.when == "call":
            self.failures[name] += [words for key, words in report.user_properties if key == FAILURE]
            self.skipped[name] += sum(key == SKIPPED for key, _ in report.user_properties)
        elif report.failed:
            lost = "its process died" if report.when == "???" else f"failed in {report.when}: no kernel?"
            self.failures[name].append(lost)
        if report.when == "teardown":
            self.cells[name] -= 1
            if self.cells[name] == 0:
                self.tell(name)

    def tell(self, name: str):
        """One line as soon as a notebook has come to its end. In a process of pytest-xdist nobody would see it."""
        if terminal := self.config.pluginmanager.get_plugin("terminalreporter"):
            terminal.write(f"\n{name}: {self.verdict(name)}, {self.seconds[name]:.1f} s\n")

    def verdict(self, name: str) -> str:
        """Whether a notebook passed, and if not, why."""
        if self.failures[name]:
            first, *others = self.failures[name]
            return f"no: {first.splitlines()[0]}" + (f" (and {len(others)} more)" if others else "")
        if self.cells[name]:
            return "no: it did not come to its end"
        return f"yes, findings skipped: {self.skipped[name]} ({NO_MNIST})" if self.skipped[name] else "yes"

    def pytest_terminal_summary(self, terminalreporter):
        rows = [(name, f"{self.seconds[name]:.1f}", self.verdict(name)) for name in sorted(self.seconds)]
        if rows:
            terminalreporter.write_line(table(("notebook", "seconds", "passed"), rows))
        for name in sorted(self.failures):
            for failure in self.failures[name]:
                terminalreporter.write_line(f"{name}: {failure}")
