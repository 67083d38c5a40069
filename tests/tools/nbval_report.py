"""A pytest plugin that says how long each notebook took under nbval, and in which of three ways it failed.

    python -m pytest notebooks -p tests.tools.nbval_report --nbval-lax --nbval-current-env --nbval-cell-timeout 240

It tells apart a cell that ran out of time (a slow machine), a finding that differs (a broken lesson) and a cell that
raised an error. The timeout holds for a notebook with the usual budget of 60 s; one with three times the budget gets
three times the timeout. Where a notebook had to do without MNIST, findings that differ from the stored ones are
skipped, and said to be.
"""

from collections import defaultdict
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell, NbCellError

from tests.tools.notebooks import budget, first_difference, lacks_mnist, output_text, table

NO_MNIST = "MNIST not found"


def pytest_configure(config):
    config.pluginmanager.register(Report(config.option))


class Report:
    """Watches the cells that nbval executes. Its methods are pytest's hooks."""

    def __init__(self, option):
        self.option = option
        self.timeout = option.nbval_cell_timeout
        self.seconds = defaultdict(float)
        self.failures = defaultdict(list)
        self.skipped = defaultdict(int)

    def pytest_itemcollected(self, item):
        if isinstance(item, IPyNbCell):
            # What goes to stderr, such as a progress bar, is no finding.
            item.parent.skip_compare = {*item.parent.skip_compare, "stderr"}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        if not isinstance(item, IPyNbCell):
            return (yield)
        name = item.parent.path.stem
        self.option.nbval_cell_timeout = self.timeout * budget(item.parent.path) / 60
        was_late = item.parent.timed_out
        problem = None
        try:
            yield
        except Exception as error:
            problem = error
        if item.parent.timed_out and not was_late:
            # A loop that ends well when it is interrupted hides the timeout from nbval.
            verdict = f"ran out of time ({self.option.nbval_cell_timeout:g} s)"
            problem = problem or NbCellError(item.cell_num, verdict, item.cell.source)
        elif problem is None:
            return
        elif str(problem) == "Cell outputs differ":
            if lacks_mnist(item.parent.nb):
                self.skipped[name] += 1
                pytest.skip(NO_MNIST)
            where = first_difference(output_text(item.cell.outputs), output_text(item.test_outputs))
            verdict = f"finding differs, {where or 'in more than its text'}"
        else:
            errors = [output for output in item.test_outputs or [] if output.output_type == "error"]
            verdict = f"raised {errors[0].ename}: {errors[0].evalue}" if errors else f"failed: {problem}"
        if not was_late:  # what follows a timeout is its consequence
            self.failures[name].append(f"cell [{item.cell_num + 1}] {verdict}")
        raise problem

    def pytest_runtest_logreport(self, report):
        path = Path(report.fspath)
        if path.suffix == ".ipynb":
            self.seconds[path.stem] += report.duration
            if report.failed and report.when != "call":
                self.failures[path.stem].append(f"failed in {report.when}: no kernel?")

    def pytest_terminal_summary(self, terminalreporter):
        rows = []
        for name, seconds in self.seconds.items():
            verdict = "yes"
            if self.skipped[name]:
                verdict = f"yes, findings skipped: {self.skipped[name]} ({NO_MNIST})"
            if self.failures[name]:
                first, *others = self.failures[name]
                verdict = f"no: {first.splitlines()[0]}" + (f" (and {len(others)} more)" if others else "")
            rows.append((name, f"{seconds:.1f}", verdict))
        if rows:
            terminalreporter.write_line(table(("notebook", "seconds", "passed"), rows))
        for name, failures in self.failures.items():
            for failure in failures:
                terminalreporter.write_line(f"{name}: {failure}")
