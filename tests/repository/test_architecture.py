"""What DESIGN promises about the package as a whole: who imports whom, what is public, and what nobody may do.

Each rule is a function from a module's source to its violations, in words; each is also tried on sources that break it.
"""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import minidiff
from minidiff._tensors import noise_like
from minidiff.networks import MLP, UNet
from minidiff.samplers import ancestral_step, ddim_step
from minidiff.targets import target
from minidiff.training import denoising_loss
from tests.cases import PATHS, every_kind, every_path

ROOT = Path(minidiff.__file__).parent
MODULES = {
    ".".join(("minidiff", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
every_module = pytest.mark.parametrize("name", MODULES)

CHAIN = ["minidiff.paths", "minidiff.schedules", "minidiff.targets", "minidiff.denoisers", "minidiff.samplers"]
# What every part of the course may use; each of the others is a family of its own.
ALPHABET = {
    *CHAIN,
    *(f"minidiff.{name}" for name in ("_shell", "_shipped", "_tensors", "data", "exact", "networks", "training")),
    *(f"minidiff.{name}" for name in ("optimizers", "measurement", "bounds", "likelihood", "inverse", "metrics")),
    *(f"minidiff.{name}" for name in ("plots", "checkpoints", "languages", "structured", "explorer")),
}
FAMILIES = {
    f"minidiff.{name}"
    for name in (
        *("adapt", "captioned", "cascades", "clinic", "digits", "discrete", "distillation", "films", "flows"),
        *("functions", "latents", "physics", "planning", "rivals", "signals", "similarity"),
    )
}
# Nothing else may draw, or ask those that do.
DRAW = {"minidiff.plots", "minidiff.checks", "minidiff.workshop", "minidiff.__main__"}
# What pyproject.toml asks for; Pillow comes with matplotlib, which cannot do without it.
LIBRARIES = {
    *("numpy", "torch", "matplotlib", "sklearn", "scipy", "pooch", "requests", "tqdm", "safetensors", "filelock"),
    "PIL",
}


def source(name: str) -> str:
    return MODULES[name].read_text(encoding="utf-8")


def imported(text: str) -> set[str]:
    """Every module that a source imports, `from minidiff import data` as minidiff and minidiff.data."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def reached(name: str) -> set[str]:
    """Every module of the package that importing this one imports, by whatever detour."""
    found, waiting = set(), [name]
    while waiting:
        for module in (imported(source(waiting.pop())) & set(MODULES)) - found:
            found.add(module)
            waiting.append(module)
    return found


# --- who imports whom ------------------------------------------------------------------------------------------------


def part(name: str) -> str:
    """The part of the package that a module belongs to: minidiff.physics.walkers is of minidiff.physics."""
    return ".".join(name.split(".")[:2])


def test_every_part_has_its_place():
    rest = {"minidiff", "minidiff.checks", "minidiff.workshop", "minidiff.__main__"}
    assert {part(name) for name in MODULES} == ALPHABET | FAMILIES | rest


def test_the_chain_runs_one_way():
    for place, name in enumerate(CHAIN):
        assert not reached(name) & set(CHAIN[place:]), name


def test_training_and_metrics_know_no_samplers():
    for name in ("minidiff.training", "minidiff.metrics", "minidiff.exact", "minidiff.data"):
        assert "minidiff.samplers" not in reached(name), name


@every_module
def test_only_the_workshop_knows_the_workshop(name):
    """The wall: no lesson, and no module that a lesson reads, needs it."""
    if part(name) not in ("minidiff.workshop", "minidiff.__main__"):
        assert not {module for module in reached(name) if part(module) == "minidiff.workshop"}


@every_module
def test_families_do_not_know_each_other_nor_the_alphabet_them(name):
    others = FAMILIES - {part(name)}
    if part(name) in ALPHABET | FAMILIES:
        assert not {module for module in reached(name) if part(module) in others | {"minidiff.checks"}}


@pytest.mark.parametrize("path", sorted((ROOT.parent / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_lesson_imports_the_workshop(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    taken = {module for module in imported(code) if part(module) == "minidiff.workshop"}
    assert not taken or path.stem == "27_to_production"


@pytest.mark.parametrize("statement", ["import minidiff", "from minidiff import physics", "import minidiff.checks"])
def test_what_is_imported_first_is_light(statement):
    """Neither scikit-learn nor matplotlib, which take a second each."""
    heavy = "sorted({'sklearn', 'matplotlib', 'PIL', 'pandas'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; {statement}; print({heavy})"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@every_module
def test_nothing_that_computes_draws(name):
    assert name in ("minidiff.plots", "minidiff.checks.pictures") or not any(
        module.split(".")[0] == "matplotlib" for module in imported(source(name))
    )
    assert part(name) in DRAW or "minidiff.plots" not in reached(name)


@every_module
def test_a_module_needs_only_the_libraries_that_the_project_asks_for(name):
    roots = {module.split(".")[0] for module in imported(source(name))}
    without = {"doctor": {"jupyter_client"}, "handout": {"jupyterlab", "nbformat"}}  # they do without
    looked_at = without.get(name.removeprefix("minidiff.workshop."), set())
    if name.startswith("minidiff.workshop.exchange."):
        looked_at = {"onnxscript", "onnxruntime", "diffusers"}  # the extra `production`, and diffusers
    if name.startswith("minidiff.workshop.labs."):
        looked_at = {"nbgrader", "nbconvert", "nbformat", "traitlets"}  # the extra `labs`
    if name == "minidiff.workshop.serve":
        looked_at = {"fastapi", "starlette", "uvicorn"}  # the extra `production`; starlette is what FastAPI stands on
    assert roots - set(sys.stdlib_module_names) <= LIBRARIES | looked_at | {"minidiff"}


def test_networks_and_plots_stand_alone():
    shared = {"minidiff", "minidiff._tensors"}
    assert reached("minidiff.plots") <= shared
    assert reached("minidiff.explorer") <= shared
    assert {part(module) for module in reached("minidiff.networks")} <= {*shared, "minidiff.networks"}


# --- what is public --------------------------------------------------------------------------------------------------


@every_module
def test_a_module_says_what_it_holds_and_lists_what_is_public(name):
    module = importlib.import_module(name)
    assert module.__doc__ and module.__doc__[0] not in " \n"
    assert isinstance(module.__all__, list)
    assert module.__all__ or name in ("minidiff.workshop", "minidiff.workshop.exchange")
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert hasattr(module, public), f"{name} has no {public}"
        assert not public.startswith("_")


@every_module
def test_what_is_public_is_explained(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__ and thing.__doc__[0] not in " \n", f"{name}.{public} has no docstring"
            assert not thing.__doc__.startswith(f"{public}("), f"{name}.{public} has only a signature for a docstring"


def test_the_map_of_the_package_names_every_module():
    listed = {line.split()[0] for line in minidiff.__doc__.splitlines() if line[:1].isalpha() and "  " in line}
    assert listed == {name.split(".")[1] for name in MODULES if "." in name and not name.split(".")[1].startswith("_")}


# --- what nobody may do ----------------------------------------------------------------------------------------------

DRAWS = {
    *(
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "bernoulli",
        "multinomial",
        "poisson",
        "rand_like",
        "randn_like",
    ),
    *("randint_like", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_", "geometric_"),
}


def calls(text: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a source, by its dotted name (`.cuda` where the front is no name)."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def global_randomness(text: str) -> Iterator[str]:
    seeded_in = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.With) and "fork_rng" in ast.unparse(node)
    ]
    excused = {node.lineno for block in seeded_in for node in ast.walk(block) if isinstance(node, ast.Call)}
    if "random" in {module.split(".")[0] for module in imported(text)}:
        yield "imports Python's random"
    for name, call in calls(text):
        given = {keyword.arg for keyword in call.keywords}
        if name.split(".")[-1] in DRAWS and "generator" not in given:
            yield f"line {call.lineno}: {name} without a generator"
        if "manual_seed" in name and "Generator" not in name and call.lineno not in excused:
            yield f"line {call.lineno}: {name} seeds what is global"
        if name.startswith(("np.random.", "numpy.random.")) and not name.endswith(".SeedSequence"):
            yield f"line {call.lineno}: {name}"


def unsafe_loading(text: str) -> Iterator[str]:
    for module in imported(text):
        if module.split(".")[0] in ("pickle", "dill", "joblib", "shelve", "marshal"):
            yield f"imports {module}"
    for name, call in calls(text):
        if name in ("torch.load", "torch.save", "eval", "exec") or "allow_pickle" in {k.arg for k in call.keywords}:
            yield f"line {call.lineno}: {name}"


def chosen_devices(text: str) -> Iterator[str]:
    for name, call in calls(text):
        if name.endswith(".cuda") or name in ("torch.set_default_device", "torch.set_default_dtype"):
            yield f"line {call.lineno}: {name}"
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and "torch.device" in ast.unparse(node.value):
            yield f"line {node.lineno}: a device for the whole module"


def open_signatures(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.args.kwarg:
            yield f"line {node.lineno}: {node.name} takes **{node.args.kwarg.arg}"
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(default, (ast.List, ast.Dict, ast.Set, ast.Call))
            for default in node.args.defaults + node.args.kw_defaults
        ):
            yield f"line {node.lineno}: {node.name} has a default that is made once for all calls"
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield f"line {node.lineno}: imports everything from {node.module}"
        if isinstance(node, ast.ClassDef) and any("ABC" in ast.unparse(base) for base in node.bases):
            yield f"line {node.lineno}: {node.name} is an abstract base class"


def shadowed_gradients(text: str) -> Iterator[str]:
    """`with torch.no_grad(): ... yield` leaves gradients switched off in the caller."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.With) and "no_grad" in "".join(ast.unparse(item) for item in node.items):
            if any(isinstance(inner, (ast.Yield, ast.YieldFrom)) for inner in ast.walk(node)):
                yield f"line {node.lineno}: yields with gradients switched off"


NAMES = {"moons", "swissroll", "checkerboard", "digits", "mnist", "pictures"}


def compared_names(text: str) -> Iterator[str]:
    """Code that asks which data set it has. What differs between them stands in a Subject, once."""
    for node in ast.walk(ast.parse(text)):
        asked = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        asked += [node.value] if isinstance(node, ast.MatchValue) else []
        constants = {inner.value for each in asked for inner in ast.walk(each) if isinstance(inner, ast.Constant)}
        if found := constants & NAMES:
            yield f"asks for {', '.join(sorted(map(str, found)))}"


RULES = [compared_names, global_randomness, unsafe_loading, chosen_devices, open_signatures, shadowed_gradients]


@every_module
@pytest.mark.parametrize("rule", RULES)
def test_no_module_breaks_a_rule(name, rule):
    if rule is global_randomness and re.fullmatch(r"minidiff\.(checks\.n\d\d|workshop\.labs\.lab[\d_]+)", name):
        return  # they hold the mistakes that people make, and this is one
    if rule is unsafe_loading and name == "minidiff.workshop.labs.worker":
        return  # it is there to run the programs of strangers, in a sandbox
    assert list(rule(source(name))) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (compared_names, "size = 28 if name == 'mnist' else 8"),
        (compared_names, "if name in ('digits', 'mnist'): pass"),
        (compared_names, "match name:\n    case 'moons':\n        pass"),
        (global_randomness, "import random"),
        (global_randomness, "from random import shuffle"),
        (global_randomness, "x = torch.randn(3)"),
        (global_randomness, "x = torch.randn_like(x)"),
        (global_randomness, "x.normal_()"),
        (global_randomness, "torch.manual_seed(0)"),
        (global_randomness, "rng = np.random.default_rng(0)"),
        (unsafe_loading, "import pickle"),
        (unsafe_loading, "w = torch.load('w.pt')"),
        (unsafe_loading, "w = np.load('w.npy', allow_pickle=True)"),
        (chosen_devices, "x = net(x).cuda()"),
        (chosen_devices, "DEVICE = torch.device('cpu')"),
        (chosen_devices, "torch.set_default_dtype(torch.float64)"),
        (open_signatures, "def f(x, **kwargs): pass"),
        (open_signatures, "def f(x, y=[]): pass"),
        (open_signatures, "from torch import *"),
        (open_signatures, "class Sampler(ABC): pass"),
        (shadowed_gradients, "def f():\n    with torch.no_grad():\n        yield 1"),
    ],
)
def test_a_rule_finds_what_it_is_for(rule, text):
    assert list(rule(text))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (global_randomness, "x = torch.randn(3, generator=generator)"),
        (global_randomness, "with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)"),
        (global_randomness, "g = torch.Generator(device).manual_seed(0)"),
        (open_signatures, "def _f(**kwargs): pass"),
        (shadowed_gradients, "@torch.no_grad()\ndef f():\n    yield 1"),
    ],
)
def test_a_rule_lets_pass_what_is_right(rule, text):
    assert list(rule(text)) == []


# --- no device is assumed --------------------------------------------------------------------------------------------


@every_path
@every_kind
def test_formulas_and_steps_run_wherever_the_data_are(path, kind, make_generator):
    """On `meta`, which has shapes and no numbers: a tensor made on another device would be noticed. Noise is drawn
    where its generator lives and brought over."""
    x, t = torch.empty(3, 2, device="meta"), torch.empty(3, device="meta")
    results = [path.perturb(x, t, x), *path.posterior(x, x, t, t), *path.rates(t), target(kind, path, x, x, t)]
    results.append(noise_like(x, make_generator(0)))
    results.append(ancestral_step(lambda x_t, t: x_t, path, x, t, t, generator=make_generator(0)).x)
    results.append(ddim_step(lambda x_t, t: x_t, path, x, t, t, eta=0.5, generator=make_generator(0)).x)
    with torch.device("meta"):
        net = MLP()
    results.append(denoising_loss(net, path, x, t, x, kind=kind))
    assert all(result.device.type == "meta" for result in results)


@pytest.mark.parametrize("name", PATHS)
def test_everything_runs_in_double_precision(name, make_generator):
    path = PATHS[name]
    x, t = torch.ones(2, 1, 8, 8).double(), torch.full((2,), 0.5).double()
    with torch.random.fork_rng(devices=[]):
        net = UNet(widths=(16,), blocks=1).double()
    assert denoising_loss(net, path, x, t, x, kind="v").dtype == torch.float64
    step = ancestral_step(lambda x_t, t: x_t, path, x, t[0], t[0] / 2, generator=make_generator(0))
    assert step.x.dtype == torch.float64
