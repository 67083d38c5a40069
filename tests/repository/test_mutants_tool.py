"""The tool behind `make mutants`: what it changes in its copy, and how it counts. No mutant is tried here."""

import inspect
import tomllib
import types
from pathlib import Path

import torch

from minidiff import likelihood, samplers
from tests.tools import mutants

ROOT = Path(__file__).parents[2]

PRINTED = """
    minidiff.paths.xǁGaussianPathǁlog_snr__mutmut_1: killed
    minidiff.paths.xǁGaussianPathǁlog_snr__mutmut_2: survived
    minidiff.samplers.x_predict__mutmut_1: timeout
    minidiff.samplers.x_predict__mutmut_2: no tests
"""


def test_a_decorated_function_is_the_same_when_its_decorator_is_called_below():
    functions = ["def f(x):\n    return x * 2\n", "def g(x):\n    yield f(x)\n"]
    source = "import torch\n\n\n" + "\n\n".join(f"@torch.no_grad()\n{function}" for function in functions)
    plain = mutants.without_decorators(source)
    assert "@" not in plain
    module = types.ModuleType("module")
    exec(compile(plain, "module", "exec"), module.__dict__)
    x = torch.ones(1, requires_grad=True)
    assert not module.f(x).requires_grad
    assert not next(module.g(x)).requires_grad


def test_other_decorators_stay():
    source = "@cache\ndef f():\n    return 1\n\n\nclass A:\n    @torch.no_grad()\n    def g(self):\n        return 2\n"
    assert mutants.without_decorators(source) == source


def test_every_loop_of_the_samplers_can_be_broken():
    for module in (samplers, likelihood):
        source = inspect.getsource(module)
        assert "@torch.no_grad()" in source
        assert "@torch.no_grad()" not in mutants.without_decorators(source)


def test_what_mutmut_prints_is_counted_for_each_module():
    found = mutants.results(PRINTED)
    assert list(found.values()) == ["killed", "survived", "timeout", "no tests"]
    lines = [line.split() for line in mutants.table(found).splitlines()[1:]]
    assert lines == [["paths", "2", "1", "50.0%"], ["samplers", "2", "1", "50.0%"], ["all", "4", "2", "50.0%"]]


def test_the_modules_and_tests_that_are_named_exist():
    chosen = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    for name in [*chosen["only_mutate"], *chosen["pytest_add_cli_args_test_selection"]]:
        assert (ROOT / name).is_file(), name
