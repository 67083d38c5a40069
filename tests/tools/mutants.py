"""Break the formulas on purpose, one place at a time, and count what the tests notice: `make mutants`.

mutmut makes the mutants and runs, for each of them, the tests that reach the broken function. What it may break and
which tests it may run stand in pyproject.toml. It works on a copy, under build/, for two reasons: nothing of it lies
about among the sources, and it leaves decorated functions alone. The loops of the samplers are decorated, with
`torch.no_grad()`; in the copy the decorator is called in a line of its own below the function, which is the same thing.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPY = ROOT / "build" / "mutants"
COPIED = ["minidiff", "tests", "data/checkpoints", "pyproject.toml"]
UNDONE = "torch.no_grad()"
ENOUGH = 0.95
NOTICED = {"killed", "timeout", "segfault", "caught by type check"}


def without_decorators(source: str, decorator: str = UNDONE) -> str:
    """Write `@decorator def f` as `def f` and, below it, `f = decorator(f)`, for functions of a module."""
    lines = source.splitlines(keepends=True)
    for function in reversed(ast.parse(source).body):
        if not isinstance(function, ast.FunctionDef) or len(function.decorator_list) != 1:
            continue
        if ast.unparse(function.decorator_list[0]) == decorator:
            lines.insert(function.end_lineno, f"\n\n{function.name} = {decorator}({function.name})\n")
            del lines[function.decorator_list[0].lineno - 1]
    return "".join(lines)


def prepare(copy: Path = COPY) -> None:
    """Copy what the tests need; mutmut's own folder in the copy, with what it found so far, stays."""
    for name in COPIED:
        source, target = ROOT / name, copy / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for module in (copy / "minidiff").rglob("*.py"):
        module.write_text(without_decorators(module.read_text(encoding="utf-8")), encoding="utf-8")


def results(printed: str) -> dict[str, str]:
    """mutant -> what became of it, from what `mutmut results --all true` prints."""
    return dict(re.findall(r"^\s*(\S+__mutmut_\d+): (.+?)\s*$", printed, re.MULTILINE))


def table(found: dict[str, str]) -> str:
    """A line for each module: mutants, how many were noticed, and the share."""
    modules = {}
    for mutant, outcome in found.items():
        modules.setdefault(mutant.split(".")[1], Counter())[outcome in NOTICED] += 1
    modules["all"] = sum(modules.values(), Counter())
    lines = [f"{'module':<14}{'mutants':>8}{'noticed':>9}{'share':>8}"]
    for module, count in modules.items():
        lines.append(f"{module:<14}{count.total():>8}{count[True]:>9}{count[True] / count.total():>8.1%}")
    return "\n".join(lines)


def mutmut(*arguments: str, capture: bool = False) -> str:
    """Run mutmut in the copy, each process on one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, cwd=COPY, env=environment, text=True, stdout=subprocess.PIPE if capture else None)
    if done.returncode:
        raise SystemExit(f"mutmut {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout or ""


def main(arguments: list[str] | None = None) -> int:
    """Make and try all mutants, print the survivors and the score. 0 where at least 95 % were noticed."""
    parser = argparse.ArgumentParser(description="break the formulas on purpose and count what the tests notice")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="mutants that are tried at once")
    parser.add_argument("--report", action="store_true", help="try nothing; print what is known")
    chosen = parser.parse_args(arguments)
    prepare()
    if not chosen.report:
        mutmut("run", "--max-children", str(chosen.processes))
    found = results(mutmut("results", "--all", "true", capture=True))
    if waiting := sum(outcome == "not checked" for outcome in found.values()):
        print(f"{waiting} of {len(found)} mutants were not tried yet: run again to go on")
        return 1
    for mutant, outcome in found.items():
        if outcome not in NOTICED:
            print(f"\n{mutant}: {outcome}\n{mutmut('show', mutant, capture=True)}")
    print(table(found))
    return int(sum(outcome in NOTICED for outcome in found.values()) < ENOUGH * len(found))


if __name__ == "__main__":
    sys.exit(main())
