"""The graded problems of all labs: every mistake is itself and no other, right answers pass, and nothing is told that a
lab must hide."""

import ast
import dataclasses
import functools
import inspect
import re

import pytest
import torch
from torch import Tensor

from minidiff.checks.judging import apart, cases_of, formed, judge, measured, observed, reference
from minidiff.checks.records import RNG, Exercise, Observation, arguments
from minidiff.workshop.labs import LABS, lab_of
from minidiff.workshop.labs.messages import packed, read_cases, unpacked, write_cases
from minidiff.workshop.labs.records import Lab, Problem, Variant

INPUTS = (0, 1)  # which a salt might choose
PROBLEMS = [(lab_of(number), problem) for number in LABS for problem in lab_of(number).problems]
VARIANTS = [(problem, variant) for _, problem in PROBLEMS for variant in problem.variants]
every_lab = pytest.mark.parametrize("lab", [pytest.param(lab_of(number), id=number) for number in LABS])
every_variant = pytest.mark.parametrize(
    "variant", [pytest.param(variant, id=variant.exercise.id) for _, variant in VARIANTS]
)
on_inputs = pytest.mark.parametrize("inputs", INPUTS)
NUMBER = re.compile(r"\d")


@functools.lru_cache(maxsize=40)
def seen_by_name(id: str, inputs: int) -> dict[str, Observation]:
    """What the truth ("") and the wrong answers of a variant do."""
    exercise = next(variant.exercise for _, variant in VARIANTS if variant.exercise.id == id)
    names = ["", *(wrong.name for wrong in exercise.wrong)]
    return {name: reference(exercise, name, inputs=inputs) for name in names}


def verdict(exercise: Exercise, answer, *, seed: int, inputs: int):
    seen = observed(exercise, answer, seed=seed, inputs=inputs)
    known = seen_by_name(exercise.id, inputs)
    return judge(exercise, seen, inputs=inputs, recall=lambda name, calls: known[name])


@every_variant
@on_inputs
def test_every_mistake_is_recognised_as_itself(variant, inputs):
    exercise = variant.exercise
    for seed, wrong in enumerate(exercise.wrong, start=1000):
        found = verdict(exercise, wrong.answer, seed=seed, inputs=inputs)
        assert (found.state, found.name) == ("known", wrong.name), found.text


@every_variant
@on_inputs
def test_no_two_answers_are_near_duplicates(variant, inputs):
    """The truth among them. Where one fails: add a case that separates the two, or make them one."""
    exercise, seen = variant.exercise, seen_by_name(variant.exercise.id, inputs)
    cases = cases_of(exercise, inputs)
    shaped = {name: formed(observation, seen[""], cases) for name, observation in seen.items()}
    numbers = {name: tuple(measured(exercise, cases, one)) for name, one in shaped.items() if one.incident is None}
    names = list(numbers)
    close = [
        (a or "the truth", b, round(size, 2))
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if (size := apart(cases, numbers[a], numbers[b])) < 2
    ]
    assert close == []


@every_variant
def test_right_answers_are_right_in_both_forms_and_whatever_the_seed(variant):
    for seed in range(4):
        for answer in (variant.exercise.solution, variant.exercise.alternative):
            found = verdict(variant.exercise, answer, seed=seed, inputs=seed % 2)
            assert found.state == "right" and found.text == "Right.", found.text


@every_variant
def test_a_variant_tells_what_it_should_and_hides_what_it_should(variant):
    exercise, (public, *hidden) = variant.exercise, cases_of(variant.exercise, 0)
    assert hidden, "there must be hidden cases"
    assert all(not NUMBER.search(case.says) for case in hidden), "the words of a hidden case hold no numbers"
    assert public.says == cases_of(exercise, 1)[0].says
    assert _same(public.args, cases_of(exercise, 1)[0].args), "the first case is public, and the same for all"
    assert not all(_same(a.args, b.args) for a, b in zip(hidden, cases_of(exercise, 1)[1:], strict=True)), (
        "a salt must change the hidden cases"
    )
    assert len(exercise.wrong) >= 4 and len({wrong.name for wrong in exercise.wrong}) == len(exercise.wrong)
    assert exercise.hints == () and ast.get_docstring(ast.parse(exercise.stub).body[0])
    assert list(inspect.signature(exercise.solution).parameters) == list(arguments(exercise))
    assert exercise.name == exercise.solution.__name__
    assert re.fullmatch(r"notebook \d\d, (section \d+|sections \d+ and \d+)", variant.read)
    assert len(variant.prompt) > 100 and variant.prompt.endswith(".")
    for wrong in exercise.wrong:
        assert wrong.message[0].isupper() and wrong.message.endswith(".") and "Your" in wrong.message + "Your"


def _same(a: tuple, b: tuple) -> bool:
    return len(a) == len(b) and all(
        torch.equal(p, q) if isinstance(p, Tensor) else p is q or p == q for p, q in zip(a, b, strict=True)
    )


def allowed(value, given) -> bool:
    """Whether an argument can travel to a sandbox."""
    if isinstance(value, tuple):
        return all(allowed(part, given) for part in value)
    if isinstance(value, Tensor):
        return value.device.type == "cpu" and value.dtype in (torch.float32, torch.float64, torch.int64, torch.bool)
    return value is RNG or value is None or isinstance(value, (bool, int, float, str)) or value in given


@every_variant
def test_arguments_can_travel_and_what_is_given_stands_alone(variant):
    cases = cases_of(variant.exercise, 0)
    assert all(allowed(argument, variant.given) for case in cases for argument in case.args)
    listed, tensors = write_cases(cases, variant.given)
    words, back = unpacked(packed({"cases": listed}, tensors))
    arrived = read_cases(words["cases"], back, {one.__name__: one for one in variant.given})
    assert all(_same(a.args, b.args) for a, b in zip(cases, arrived, strict=True))
    space = {}
    exec("import math\nimport torch", space)
    for function in variant.given:
        source = inspect.getsource(function)
        exec(compile(source, "<given>", "exec"), space)
        names = set(function.__code__.co_names) & set(function.__globals__)
        assert names <= {"math", "torch"} | {other.__name__ for other in variant.given}, names


@every_lab
def test_a_lab_is_ninety_minutes_of_work(lab):
    assert 4 <= len(lab.problems) <= 6
    assert all(len(problem.variants) >= 2 for problem in lab.problems)
    assert len({problem.name for problem in lab.problems}) == len(lab.problems)
    assert all(re.fullmatch("[a-z]+", problem.name) and 2 <= problem.points <= 5 for problem in lab.problems)
    assert sum(points for points, _ in lab.plot.rubric) in (3, 4, 5) and len(lab.plot.prompt) > 150
    assert all(points >= 1 and text.endswith(".") for points, text in lab.plot.rubric)
    ids = [variant.exercise.id for problem in lab.problems for variant in problem.variants]
    assert len(set(ids)) == len(ids) and all(id.startswith(f"lab{lab.number}.") for id in ids)


def test_there_are_at_least_eight_labs():
    assert len(LABS) >= 8
    assert [dataclasses.is_dataclass(lab_of(number)) for number in LABS] == [True] * len(LABS)
    assert isinstance(lab_of(LABS[0]), Lab) and isinstance(PROBLEMS[0][1], Problem)
    assert isinstance(VARIANTS[0][1], Variant)
