"""The engine: incidents are named, remarks are made, what is global stays as it is, and all answers come to an end."""

import builtins
import functools
import linecache
import math
import random
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch

from minidiff.checks import asking, guards, observing
from minidiff.checks.asking import examined
from minidiff.checks.guards import TimeIsUp, time_limit
from minidiff.checks.judging import judge, observed
from minidiff.checks.n05 import COMPOSED, CONSTANT_BETA, COSINE, FORWARD_STEP, JUMP
from minidiff.checks.records import Verdict


def verdict(answer, exercise=FORWARD_STEP, *, seconds: float = 10.0) -> Verdict:
    return judge(exercise, observed(exercise, answer, seed=7, seconds=seconds))


def step(x, beta, g):
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn(x.shape, generator=g, dtype=x.dtype)


# --- incidents -------------------------------------------------------------------------------------------------------


def incidents():
    def exception(x, beta, g):
        keep = 1 - beta
        return torch.sqrt(keep) * x

    def no_end(x, beta, g):
        while True:
            x = x + 0

    def returns_nothing(x, beta, g):
        x = step(x, beta, g)

    def wrong_type(x, beta, g):
        return step(x, beta, g).tolist()

    def wrong_shape(x, beta, g):
        return step(x, beta, g)[..., None]

    def wrong_dtype(x, beta, g):
        return step(x, beta, g).float()

    def not_finite(x, beta, g):
        return step(x, beta, g) / 0

    def changes_its_input(x, beta, g):
        x *= math.sqrt(1 - beta)
        x += math.sqrt(beta) * torch.randn(x.shape, generator=g, dtype=x.dtype)
        return x

    def global_randomness(x, beta, g):
        return math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn_like(x)

    def not_repeatable(x, beta, g):
        own = torch.Generator()
        own.seed()
        return step(x, beta, own)

    def no_randomness(x, beta, g):
        return step(x, beta, g.manual_seed(0))

    return [value for name, value in locals().items() if callable(value)]


@pytest.mark.parametrize("answer", incidents(), ids=lambda answer: answer.__name__)
def test_each_incident_is_named(answer):
    found = verdict(answer, seconds=0.4 if answer.__name__ == "no_end" else 10)
    assert (found.state, found.name.replace(" ", "_")) == ("incident", answer.__name__), found.text


def sometimes_two(x, beta, g):
    out = step(x, beta, g)
    return (out, out) if out[0, 0] > 0.9 else out


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (lambda x, beta, g: sys.exit(), "exception", "SystemExit"),
        (lambda x, beta, g: (_ for _ in ()).throw(MemoryError), "exception", "MemoryError"),
        (lambda x, beta: x, "exception", "takes 2 positional arguments but 3 were given"),
        (lambda x, beta, g: "x", "wrong type", "returns str 'x', and should return a float32 tensor of shape (250, 1)"),
        (lambda x, beta, g: ..., "wrong type", "returns ellipsis"),
        (lambda x, beta, g: step(x, beta, g).numpy(), "wrong type", "a NumPy array of shape (250, 1)"),
        (lambda x, beta, g: step(x, beta, g).to_sparse(), "wrong type", "float32 tensor"),
        (lambda x, beta, g: step(x, beta, g).to("meta"), "wrong type", "float32 tensor"),
        (lambda x, beta, g: (step(x, beta, g), beta), "wrong type", "a tuple of 2, and should return a float32 tensor"),
        (lambda x, beta, g: step(x, beta, g) > 1, "wrong dtype", "a bool tensor"),
        (lambda x, beta, g: step, "wrong type", "a function"),
        (lambda x, beta, g: (yield x), "wrong type", "generator"),
        (lambda x, beta, g: x + torch.randn(len(x), generator=g), "wrong shape", "shape (250, 250)"),
        (lambda x, beta, g: step(x, beta, g).long(), "wrong dtype", "an int64 tensor"),
        (sometimes_two, "not repeatable", "another one with the same arguments"),
        (lambda x, beta, g: step(x, beta, g).add_(np.random.rand()), "global randomness", "generator=g"),  # noqa: NPY002
        (lambda x, beta, g: step(x, beta, g).add_(random.random()), "global randomness", "generator=g"),
        (lambda x, beta, g: step(x, beta, g).add_(time.perf_counter()), "not repeatable", "the same generator"),
        (lambda x, beta, g: math.sqrt(1 - beta) * x, "no randomness", "from g?"),
        (lambda x, beta, g: x.resize_(3), "changes its input", "argument x"),
        (lambda x, beta, g: input(), "exception", ""),
    ],
)
def test_odd_answers_are_incidents_too(answer, kind, says, monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda: 1 / 0)
    found = verdict(answer)
    assert (found.state, found.name) == ("incident", kind), found.text
    assert says in found.text


def test_an_incident_in_a_list_of_wrong_answers_is_explained():
    found = verdict(lambda T: COSINE.solution(T)[1:], COSINE)
    assert (found.state, found.name) == ("known", "k = 0 is missing")
    assert "returns a float64 tensor of shape (4,), and should return a float64 tensor of shape (5,)" in found.text
    assert verdict(lambda T: torch.ones(T, dtype=torch.float64), COSINE).name == "wrong shape"


def test_two_results_are_judged_one_by_one():
    assert verdict(lambda path, t, s, r: path.alpha(t), COMPOSED).name == "wrong type"
    found = verdict(lambda path, t, s, r: (path.transition(t, r)[0], torch.ones(3)), COMPOSED)
    assert found.name == "wrong shape" and "a float32 tensor of shape (3,)" in found.text


def test_one_number_may_come_as_a_number_or_as_a_tensor():
    for turn in (float, torch.tensor, np.float32, lambda value: torch.tensor(value, requires_grad=True)):
        assert verdict(lambda T, left=0.01, turn=turn: turn(1 - left ** (2 / T)), CONSTANT_BETA).state == "right"
    assert verdict(lambda T, left=0.01: True, CONSTANT_BETA).name == "wrong type"
    assert verdict(lambda T, left=0.01: torch.ones(1), CONSTANT_BETA).name == "wrong shape"
    assert verdict(lambda T, left=0.01: float("nan"), CONSTANT_BETA).name == "not finite"


def test_an_object_whose_words_raise_is_survived():
    class Rude:
        def __repr__(self):
            raise RuntimeError("no")

    class RudeError(Exception):
        def __str__(self):
            raise RuntimeError("no")

    def raises(x, beta, g):
        raise RudeError

    assert "Rude" in verdict(lambda x, beta, g: Rude()).text
    assert "raises RudeError" in verdict(raises).text


CELL = """def helper(x):
    return x.no_such_thing

def forward_step(x, beta, g):
    # a comment
    y = x + 1
    return helper(y)
"""


def cell(source: str, file: str = "/tmp/ipykernel_7/123.py", **space) -> dict:
    """What a notebook does with a cell: its source is known under the name of a file that does not exist."""
    space = {"torch": torch, "math": math, **space}
    exec(compile(source, file, "exec"), space)
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    return space


def test_an_exception_names_the_line_of_the_learners_function():
    text = verdict(cell(CELL)["forward_step"]).text
    assert text == (
        "For x = 1 (250 times) and beta = 0.2 your function raises AttributeError: 'Tensor' object has no attribute "
        "'no_such_thing' in line 4 of it, `return helper(y)`."
    )


def test_a_root_of_a_plain_number_gets_the_cure():
    found = verdict(lambda x, beta, g: torch.sqrt(beta) * x)
    assert "take `math.sqrt`, not `torch.sqrt`" in found.text


@pytest.mark.parametrize("wrap", [lambda f: functools.partial(f), lambda f: functools.wraps(f)(lambda *a: f(*a))])
def test_wrapped_functions_are_functions(wrap):
    assert examined(FORWARD_STEP, wrap(step)).state == "right"
    assert examined(FORWARD_STEP, wrap(lambda x, beta, g: x.no_such_thing)).name == "exception"


def test_objects_that_can_be_called_are_functions():
    class Step:
        def __call__(self, x, beta, g):
            return step(x, beta, g)

    assert examined(FORWARD_STEP, Step()).state == "right"


def test_what_is_no_function_is_said_so():
    for thing in (None, 3, torch.ones(2)):
        found = examined(FORWARD_STEP, thing)
        assert (found.state, found.name) == ("incident", "no function")
        assert 'check("5.1", forward_step)' in found.text


# --- time ------------------------------------------------------------------------------------------------------------


def endless(x, beta, g):
    while True:
        try:
            x = x + 0
        except Exception:
            pass


def stubborn(x, beta, g):
    while True:
        x = x + 0
        try:
            x = x + 0
        except BaseException:
            pass


@pytest.mark.parametrize("answer", [endless, stubborn, lambda x, beta, g: time.sleep(60)])
def test_what_does_not_end_is_stopped(answer):
    start = time.monotonic()
    found = verdict(answer, seconds=0.3)
    assert found.name == "no end" and "did not end within 0.3 s" in found.text
    assert time.monotonic() - start < 20
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_is_too_slow_is_not_called_endless():
    def slow(x, beta, g):
        time.sleep(0.05)
        return step(x, beta, g)

    assert "too slow" in verdict(slow, seconds=0.4).text


BY_THREAD = """
import math, signal, sys, threading, torch
from minidiff.checks.judging import judge, observed
from minidiff.checks.n05 import FORWARD_STEP

def endless(x, beta, g):
    while True:
        try:
            x = x + 0
        except Exception:
            pass

def work():
    for answer in (endless, FORWARD_STEP.solution, endless):
        seconds = 0.3 if answer is endless else 20
        print(judge(FORWARD_STEP, observed(FORWARD_STEP, answer, seed=1, seconds=seconds)).name)

if sys.argv[1] == "in a thread":
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    del signal.setitimer
    work()
total = sum(range(10**6))  # an interruption that was not taken back would arrive here
print("done")
"""


@pytest.mark.parametrize("how", ["in a thread", "without signals"])
def test_without_a_signal_it_is_stopped_by_a_thread(how):
    """In a process of its own, so that an interruption that goes astray harms no other test."""
    run = [sys.executable, "-c", BY_THREAD, how]
    out = subprocess.run(run, capture_output=True, text=True, check=True, timeout=120).stdout
    assert out.split("\n") == ["no end", "right", "no end", "done", ""]


def test_without_signals_and_threads_there_is_no_limit(monkeypatch):
    monkeypatch.delattr(signal, "setitimer")

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert verdict(step).state == "right"


def test_an_alarm_of_somebody_else_is_left_alone():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(number))
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        with pytest.raises(TimeIsUp), time_limit(0.2):
            while True:
                pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_stop_button_stops():
    def pressed(x, beta, g):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict(pressed)


# --- what is global --------------------------------------------------------------------------------------------------


def moves_everything(x, beta, g):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(torch.get_num_threads() + 1)
    return x


def moves_and_raises(x, beta, g):
    moves_everything(x, beta, g)
    raise ValueError


def moves_and_never_ends(x, beta, g):
    moves_everything(x, beta, g)
    while True:
        pass


@pytest.mark.parametrize("answer", [moves_everything, moves_and_raises, moves_and_never_ends])
def test_whatever_is_global_stays_as_it_is(answer):
    """The fixture of all tests, which watches everything global, is the judge."""
    assert verdict(answer, seconds=0.3).state == "incident"


def test_an_import_that_draws_is_not_held_against_the_answer():
    first = []

    def imports(x, beta, g):
        if not first:
            first.append(random.random())
        return step(x, beta, g)

    assert verdict(imports).state == "right"


def test_every_call_gets_the_arguments_as_they_are_in_the_case():
    seen = []

    def remember(x, beta, g):
        seen.append(float(x.sum()))
        return step(x, beta, g)

    verdict(remember)
    assert len(seen) == 2 * (FORWARD_STEP.calls + 1) and len(set(seen)) == 2


def test_changing_an_argument_late_is_seen_too():
    calls = []

    def late(x, beta, g):
        calls.append(1)
        out = step(x, beta, g)
        if len(calls) == 5:
            x += 1
        return out

    assert verdict(late).name == "changes its input"


# --- remarks ---------------------------------------------------------------------------------------------------------


def test_printing_is_remarked_and_swallowed(capsys):
    def talks(x, beta, g):
        print("hello", file=sys.stderr)
        print("hello")
        return step(x, beta, g)

    found = verdict(talks)
    assert found.state == "right" and "Your function prints." in found.text
    assert capsys.readouterr() == ("", "")


def test_a_warning_of_a_library_is_no_print():
    def warns(x, beta, g):
        warnings.warn("it is deprecated", UserWarning, stacklevel=1)
        return step(x, beta, g)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        found = verdict(warns)
    assert found.state == "right" and found.text == "Right."


def test_reading_the_notebook_is_remarked():
    source = """def forward_step(x, beta, g):
    z = torch.randn(x.shape, generator=g, dtype=x.dtype) + 0 * T
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * z * one(x.T)
"""
    space = cell(source, T=1000, one=lambda x: 1)
    assert verdict(space["forward_step"]).text == (
        "Right.\nYour function reads T from the notebook. Its arguments should be all it needs."
    )


def test_an_attribute_is_no_variable_of_the_notebook():
    source = "def forward_step(x, beta, g):\n    return step(x.T.T, beta, g)\n"
    assert verdict(cell(source, T=1000, step=step)["forward_step"]).text == "Right."


# --- unfilled --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        FORWARD_STEP.stub,
        'def forward_step(x, beta, g):\n    "mine"\n    # thinking\n    ...',
        "def forward_step(x, beta, g):\n    pass",
        'def forward_step(x, beta, g):\n    """Doc."""',
        "def forward_step(a, b, c): ...",
    ],
)
def test_what_does_nothing_is_unfilled(source):
    assert examined(FORWARD_STEP, cell(source)["forward_step"]).state == "unfilled"


def test_a_stub_that_does_something_is_unfilled_as_well():
    import dataclasses

    stub = "import math\n\n\ndef forward_step(x, beta, g):\n    keep = ...  # your code\n    return keep * x\n"
    exercise = dataclasses.replace(FORWARD_STEP, stub=stub)
    assert examined(exercise, cell(stub)["forward_step"]).state == "unfilled"
    assert examined(exercise, cell(stub.replace("...", "1"))["forward_step"]).state != "unfilled"


def test_a_first_line_is_not_unfilled():
    source = "def forward_step(x, beta, g):\n    z = torch.randn(x.shape, generator=g)"
    assert examined(FORWARD_STEP, cell(source)["forward_step"]).name == "returns nothing"


# --- evidence --------------------------------------------------------------------------------------------------------


def test_the_smallest_case_says_input_and_both_numbers():
    found = verdict(lambda T, left=0.01: 1 - left, CONSTANT_BETA)
    assert found.text == (
        "Not right, and no mistake that we know.\n"
        "Smallest case: for T = 4 and left = 0.6, the result is 0.4, and should be 0.225."
    )
    found = verdict(lambda T: COSINE.solution(T).clone().index_fill_(0, torch.tensor([2]), 0.5), COSINE)
    assert "for T = 4, element [2] of the result is 0.5, and should be 0.494." in found.text


def test_numbers_that_are_close_are_shown_with_the_digits_that_differ():
    found = verdict(lambda T, left=0.01: (1 - left ** (2 / T)) * (1 + 1e-4), CONSTANT_BETA)
    assert "the result is 0.22543, and should be 0.2254." in found.text


def test_single_precision_is_enough_and_less_is_not():
    assert verdict(lambda T, left=0.01: (1 - left ** (2 / T)) * (1 + 1e-5), CONSTANT_BETA).state == "right"
    assert verdict(lambda T, left=0.01: (1 - left ** (2 / T)) * (1 + 3e-5), CONSTANT_BETA).state == "unknown"


def test_an_observation_holds_no_reference_to_the_answer():
    """So that it can be made in one process and judged in another."""
    seen = observed(JUMP, JUMP.solution, seed=1)
    assert all(type(part) is torch.Tensor for case in seen.outputs for part in case)
    assert [part.shape[0] for case in seen.outputs for part in case] == [JUMP.calls] * 2
    assert seen.incident is None and all(isinstance(words, str) for words in seen.returned)


def test_judging_calls_no_answer():
    def once(x, beta, g):
        assert not over, "the answer was called by the judge"
        return step(x, beta, g)

    over: list = []
    seen = observed(FORWARD_STEP, once, seed=1)
    over.append(True)
    assert judge(FORWARD_STEP, seen).state == "right"


def test_observing_knows_nothing_of_what_is_right():
    import ast
    import inspect

    for module in (observing, guards):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.ImportFrom):
                assert not {"judging", "n05", "Exercise", "Wrong"} & {
                    node.module.split(".")[-1],
                    *(a.name for a in node.names),
                }
    assert asking.SEED >= 0
