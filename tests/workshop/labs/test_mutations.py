"""Right answers of all labs, changed in one place each: what is wrong then must not get full points.

The wrong answers that a lab knows were thought of by those who wrote it. Mutants were not: they are the right answers
with another operator, constant, name, slice, function, or order (see `mutants`). Whether one of them is wrong is found
out here without the judge, on inputs that no check uses: number by number for answers that draw nothing, and for random
ones with the same draws first, and then by tests of the law of all points together. What is wrong by this must not be
judged right, and what is right must not be judged wrong.

In the usual run each right answer has a share of its mutants tried, 1,200 in all. All 23,000 take half an hour:

    MINIDIFF_MUTANTS=all OMP_NUM_THREADS=1 python -m pytest tests/workshop/labs/test_mutations.py -q -rP

This also prints the equivalent ones. They are equivalent on cases like those of their exercise; a mistake that shows
only on inputs of a kind that has no case would be among them. So read them once where cases have changed.
"""

import functools
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import NormalDist
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from minidiff import generator
from minidiff.checks import judging as checks_judging
from minidiff.checks.judging import cases_of, judge, observed
from minidiff.checks.observing import observe
from minidiff.checks.records import Case, Exercise, Observation, arguments
from minidiff.checks.views import means
from minidiff.workshop.labs import LABS, judging, lab_of
from minidiff.workshop.labs.records import Variant
from tests.workshop.labs.mutants import Mutant, compiled, mutants_of

ALL = os.environ.get("MINIDIFF_MUTANTS") == "all"
SHARE, RANDOM_SHARE = 8, 5  # mutants of each right answer, where not all are tried
FEWEST = 4  # wrong ones among those of a variant
JUDGED = (7, 8, 9) if ALL else (7,)  # inputs on which mutants are judged, as a salt would choose them
FRESH = (100, 101, 102, 103)  # inputs on which mutants are compared, and never judged; random ones on the first two
SECONDS = 5.0  # for all calls of one case
DOUBLE, SINGLE = (1e-9, 1e-11), (1e-5, 2e-6)  # what rounding does, relative to each number and to the largest
NEAR = 4e-5  # relative: wrong, but by less than twice what the judge leaves to rounding
COUPLED, FIRST, CALLS = 20, 200, 2000 if ALL else 500  # calls: with the same draws; with others, at first and in all
LUCK = 1e-9  # how often one family of tests calls two samples of one law different

VARIANTS = [variant for number in LABS for problem in lab_of(number).problems for variant in problem.variants]
every_variant = pytest.mark.parametrize(
    "variant", [pytest.param(variant, id=variant.exercise.id) for variant in VARIANTS]
)


# What a mutant is, whatever the judge says of it


def nature(exercise: Exercise, right: Callable, mutant: Callable) -> str:
    """`wrong`, `near` (by less than the judge can see), `equivalent`, or `incident`: nothing came that could be
    compared, or the call broke a rule."""
    nearly = False
    for inputs in FRESH[:2] if exercise.view else FRESH:
        found = _nature_on(exercise, right, mutant, inputs)
        if found in ("wrong", "incident"):
            return found
        nearly = nearly or found == "near"
    return "near" if nearly else "equivalent"


def _nature_on(exercise: Exercise, right: Callable, mutant: Callable, inputs: int) -> str:
    calls = COUPLED if exercise.view else 2
    mine, others = _calls(exercise, mutant, inputs, calls, 0), _right_calls(exercise, right, inputs, calls, 0)
    if mine.incident:
        return "incident"
    pairs = []
    for some, more in zip(mine.outputs, others.outputs, strict=True):
        if len(some) != len(more) or any(map(_other_form, some, more)):
            return "wrong"
        pairs += zip(some, more, strict=True)
    if all(_close(a, b, *(SINGLE if b.dtype == torch.float32 else DOUBLE)) for a, b in pairs):
        return "equivalent"
    if all(_close(a, b, NEAR, NEAR / 1000) for a, b in pairs):
        return "near"
    return "wrong" if exercise.view is None or _other_law(exercise, right, mutant, inputs) else "equivalent"


def _calls(exercise: Exercise, answer: Callable, inputs: int, calls: int, seed: int) -> Observation:
    """What an answer returns for all cases of these inputs, or what stopped it."""
    cases, names = _cases(exercise, inputs), arguments(exercise)
    return observe(answer, cases, names=names, calls=calls, seed=seed, seconds=SECONDS)


@functools.lru_cache(maxsize=16)
def _cases(exercise: Exercise, inputs: int) -> tuple[Case, ...]:
    return cases_of(exercise, inputs)


@functools.lru_cache(maxsize=8)
def _right_calls(exercise: Exercise, right: Callable, inputs: int, calls: int, seed: int) -> Observation:
    return _calls(exercise, right, inputs, calls, seed)


def _other_form(a: Tensor, b: Tensor) -> bool:
    """Whether another shape came back, or another dtype, which matters for more than a single number."""
    return a.shape != b.shape or (b.ndim > 1 and a.dtype != b.dtype)


def _close(a: Tensor, b: Tensor, relative: float, floor: float) -> bool:
    a, b = a.double(), b.double()
    return bool(((a - b).abs() <= relative * b.abs() + floor * b.abs().max()).all())


# Laws


def _other_law(exercise: Exercise, right: Callable, mutant: Callable, inputs: int) -> bool:
    """Whether a random mutant follows another law than the right answer. A few calls show most of them."""
    scale, others = (_right_calls(exercise, right, inputs, CALLS, seed).outputs for seed in (1, 2))
    for calls in (FIRST, CALLS):
        mine = _calls(exercise, mutant, inputs, calls, 3).outputs
        for case, (a,), (b,), (c,) in zip(_cases(exercise, inputs), mine, others, scale, strict=True):
            if laws_differ(a, b[:calls], c, case):
                return True
    return False


def laws_differ(mine: Tensor, right: Tensor, scale: Tensor, case: Case) -> bool:
    """Whether two samples (R, n, d) are from different laws. scale: a third sample, of the right law.

    Every test gives numbers that are nearly standard normal where the laws agree; none may be too large for chance.
    """
    mine, right, scale = mine.double(), right.double(), scale.double()
    mean, std = scale.mean(dim=0), scale.std(dim=0)
    fixed = std <= 1e-9 * scale.abs().amax(dim=0)
    if not torch.allclose(mine[:, fixed], right[:, fixed], rtol=1e-6):
        return True
    std = torch.where(fixed, torch.ones_like(std), std)
    a, b = ((torch.where(fixed, mean, one) - mean) / std for one in (mine, right))
    return not all(  # so that NaN, from numbers too large for their fourth power, is a difference
        float(scores.abs().max()) <= NormalDist().inv_cdf(1 - LUCK / (2 * scores.numel()))
        for scores in _scores(a, b, ~fixed, case)
    )


def _scores(a: Tensor, b: Tensor, free: Tensor, case: Case) -> Iterator[Tensor]:
    """How far two samples' laws are apart, in standard errors: some thirty families of numbers, the cheapest first.

    a, b: (R, n, d), in units of the right law. free: (n, d), where the right law is one at all.
    """
    for look in (lambda z: z, lambda z: z**2, lambda z: z**3, lambda z: z**4):  # all numbers of a call together
        yield _welch(_by_call(look(a)), _by_call(look(b)))
        for x in _inputs_by_point(case, a[0]):  # and how they depend on the input
            yield _welch(_by_call(look(a) * x), _by_call(look(b) * x))
    yield _welch(_by_call(a[:, 1:] * a[:, :-1]), _by_call(b[:, 1:] * b[:, :-1]))  # neighbours
    yield _welch(_by_call(a[..., 1:] * a[..., :-1]), _by_call(b[..., 1:] * b[..., :-1]))  # axes
    yield _welch(_by_call(a.mean(dim=1) ** 2), _by_call(b.mean(dim=1) ** 2))  # what the points of a call share
    yield _welch(_by_call(a[1:] * a[:-1]), _by_call(b[1:] * b[:-1]))  # a call and the next
    a, b = a[:, free], b[:, free]
    yield _welch(a, b)  # each number by itself: its mean,
    yield _welch(a**2, b**2)  # its variance,
    yield _kolmogorov(a, b)  # its shape,
    yield (_correlations(a) - _correlations(b)) * math.sqrt(len(a) / 2)  # and what it has to do with each other one


def _by_call(numbers: Tensor) -> Tensor:
    """The mean of each call, (R,); 0 where there is no number, as for the product of one axis with the next."""
    return numbers.flatten(1).mean(dim=1).nan_to_num()


def _welch(a: Tensor, b: Tensor) -> Tensor:
    """The difference of the means of rows, in standard errors."""
    error = torch.sqrt(a.var(dim=0) / len(a) + b.var(dim=0) / len(b))
    return (a.mean(dim=0) - b.mean(dim=0)) / error.clamp(min=1e-12)


def _kolmogorov(a: Tensor, b: Tensor) -> Tensor:
    """The Kolmogorov-Smirnov test of each column, as the standard normal number that is as rare."""
    both, n = torch.cat([a, b]), len(a)
    order = both.argsort(dim=0)
    steps = torch.where(order < n, 1.0, -1.0).double()
    distance = steps.cumsum(dim=0).abs().amax(dim=0) / n
    log_chance = math.log(2) - distance**2 * n  # Smirnov's, which is an upper bound far out
    return torch.sqrt((-2 * log_chance).clamp(min=0))  # a little more than the normal quantile


def _correlations(z: Tensor) -> Tensor:
    z = z - z.mean(dim=0)
    z = z / z.norm(dim=0).clamp(min=1e-12)
    return (z.T @ z).triu(diagonal=1)


def _inputs_by_point(case: Case, like: Tensor) -> Iterator[Tensor]:
    """The tensors among the arguments that have a number for each point or axis, of mean 0 and variance 1, (n, d)."""
    n, d = like.shape
    for argument in case.args:
        if isinstance(argument, Tensor) and argument.shape in ((n, d), (n,), (d,)):
            x = argument.double()
            x = (x[:, None] if x.shape == (n,) else x).expand(n, d)
            if float(x.std()) > 1e-9:
                yield (x - x.mean()) / x.std()


# What the judge says


def state_of(variant: Variant, mutant: Callable, inputs: int, seed: int) -> str:
    """The state of the verdict that marking would give, in this process."""
    exercise = variant.exercise
    seen = observed(exercise, mutant, seed=seed, inputs=inputs, seconds=SECONDS)
    verdict = judge(exercise, seen, inputs=inputs, recall=lambda name, _: judging._remembered(variant, inputs, name))
    odd = verdict.state == "right" and judging._scatter(exercise, seen, inputs, variant)
    return "unknown" if odd else verdict.state


class Trial(NamedTuple):
    """A mutant, what it is, and the states of the verdicts on it, one for each of the inputs on which it was judged."""

    label: str
    nature: str
    states: tuple[str, ...]

    @property
    def survived(self) -> bool:
        """Whether it is wrong, and got full points."""
        return self.nature in ("wrong", "incident") and "right" in self.states

    @property
    def suffered(self) -> bool:
        """Whether it is right, and did not get full points."""
        return self.nature == "equivalent" and set(self.states) != {"right"}


def trials(variant: Variant) -> list[Trial]:
    """Compare and judge mutants of both right answers of a variant."""
    found = []
    for right in (variant.exercise.solution, variant.exercise.alternative):
        share = RANDOM_SHARE if variant.exercise.view else SHARE
        for number, mutant in enumerate(mutants_of(right) if ALL else chosen(right, share)):
            answer = compiled(mutant, right)
            states = tuple(state_of(variant, answer, inputs, seed=1000 + number) for inputs in JUDGED)
            found.append(Trial(mutant.label, nature(variant.exercise, right, answer), states))
    return found


def chosen(right: Callable, share: int) -> tuple[Mutant, ...]:
    """Some of the mutants of a right answer: one of each kind in turn, always the same."""
    mutants = mutants_of(right)
    shuffled, kinds, turns = random.Random(right.__name__).sample(mutants, len(mutants)), Counter(), {}
    for mutant in shuffled:
        turns[mutant] = kinds[mutant.kind]
        kinds[mutant.kind] += 1
    return tuple(sorted(shuffled, key=turns.get)[:share])


def only_loses_precision(label: str) -> bool:
    """Whether a mutant only forgets a dtype, so that it computes in single precision, which is allowed to a student."""
    before, after = label.split("` became `")
    return before.count("dtype=") > after.count("dtype=")


@every_variant
def test_mutants_get_full_points_if_and_only_if_they_are_right(variant, monkeypatch):
    """Where a wrong one survives, the cases or the view of the exercise are too plain: add to them."""
    monkeypatch.setattr(judging, "_memory", {})  # what the references do is kept for this variant, and no longer
    found = trials(variant)
    print(Counter(trial.nature for trial in found))
    print(*(f"{trial.nature}: {trial.label}" for trial in found if trial.nature in ("near", "equivalent")), sep="\n")
    assert [trial for trial in found if trial.survived] == []
    assert [trial for trial in found if trial.suffered] == []
    assert [trial for trial in found if trial.nature == "near" and not only_loses_precision(trial.label)] == []
    assert sum(trial.nature == "wrong" for trial in found) >= FEWEST


def test_there_are_at_least_three_hundred_wrong_mutants():
    assert FEWEST * len(VARIANTS) >= 300


# Whether all this can fail

AROUND, MERGED, AXES, JUMP = (
    next(variant for variant in VARIANTS if variant.exercise.id == f"lab{id}")
    for id in ("05.step.variance", "05.length.merged", "07-08.variance.axes", "05.jump.between")
)


def test_mutants_are_what_slips_would_make_and_always_the_same():
    right = JUMP.exercise.solution
    mutants = mutants_of(right)
    assert mutants == mutants_of(right) and len({mutant.source for mutant in mutants}) == len(mutants) > 80
    assert chosen(right, 5) == chosen(right, 9)[:5]
    last = "return math.sqrt(kept) * x + math.sqrt(1 - kept) * eps"
    for kind, line, mutated in (
        ("operator", last, last.replace(" + ", " - ")),
        ("constant", last, last.replace("1 -", "2 -")),
        ("term", last, last.partition(" + ")[0]),
        ("order", last, last.replace("1 - kept", "kept - 1")),
        ("function", last, last.replace("math.sqrt(kept)", "kept")),
        ("name", last, last.replace("eps", "x")),
        ("slice", "kept = float((1 - betas[j:k]).prod())", "kept = float((1 - betas[j - 1:k]).prod())"),
    ):
        assert (kind, f"jump_between: `{line}` became `{mutated}`") in {(one.kind, one.label) for one in mutants}


def test_a_view_that_is_too_plain_is_found_out(monkeypatch):
    monkeypatch.setattr(judging, "_memory", {})
    plain = replace(AROUND.exercise, view=lambda out, x, beta, v: means({"the mean of the result": out}))
    survivors = [trial.label for trial in trials(replace(AROUND, exercise=plain)) if trial.survived]
    assert survivors and all(label.startswith("step_around") for label in survivors)


def test_a_judge_that_is_too_mild_is_found_out(monkeypatch):
    monkeypatch.setattr(judging, "_memory", {})
    monkeypatch.setattr(checks_judging, "CLOSE", 2.0)
    assert any(trial.survived for trial in trials(MERGED))


def test_a_judge_that_is_too_strict_is_found_out(monkeypatch):
    monkeypatch.setattr(judging, "_memory", {})
    monkeypatch.setattr(checks_judging, "CLOSE", 1e-20)
    assert any(trial.suffered for trial in trials(AXES))


@every_variant
def test_the_comparison_knows_what_the_lab_says_is_wrong_and_right(variant):
    exercise = variant.exercise
    natures = {wrong.name: nature(exercise, exercise.solution, wrong.answer) for wrong in exercise.wrong}
    assert set(natures.values()) <= {"wrong", "incident"}, natures
    if ALL or exercise.view is None:
        assert nature(exercise, exercise.solution, exercise.truth) in ("equivalent", "near")
        assert nature(exercise, exercise.solution, exercise.alternative) == "equivalent"


POINTS = torch.linspace(-2, 3, 100, dtype=torch.float64)[:, None].expand(100, 2)
CASE = Case((POINTS,), "points on a line")
OTHER_LAWS = {
    "another mean of one number": lambda z: z + 0.5 * torch.eye(100, 2),
    "another variance": lambda z: 1.03 * z,
    "another variance of one number": lambda z: (1 + torch.eye(100, 2)) * z,
    "uniform": lambda z: math.sqrt(12) * (torch.special.ndtr(z) - 0.5),
    "one noise for two neighbours": lambda z: torch.cat([z[:, :1], z[:, :1], z[:, 2:]], dim=1),
    "one noise for two points far apart": lambda z: torch.cat([z[:, -1:], z[:, 1:]], dim=1),
    "one noise for both axes": lambda z: z[..., :1].expand_as(z),
    "a little noise that all points share": lambda z: math.sqrt(0.9) * z + math.sqrt(0.1) * z[:, :1].roll(1, 0),
    "a mean that depends on the input": lambda z: z + 0.03 * (POINTS - POINTS.mean()),
    "a variance that depends on the input": lambda z: (1 + 0.03 * (POINTS - POINTS.mean())) * z,
    "noise of the call before": lambda z: (z + 0.2 * z.roll(1, 0)) / math.sqrt(1.04),
    "skewed": lambda z: z + 0.03 * (z**2 - 1),
    "nothing random in one number": lambda z: torch.cat([0 * z[:, :1], z[:, 1:]], dim=1),
}


def samples(seed: int) -> list[Tensor]:
    return [torch.randn(500, 100, 2, generator=generator(seed, i), dtype=torch.float64) for i in range(3)]


@pytest.mark.parametrize("other", OTHER_LAWS.values(), ids=OTHER_LAWS)
def test_another_law_is_noticed(other):
    mine, right, scale = samples(3)
    assert laws_differ(other(mine), right, scale, CASE)


def test_the_same_law_is_taken_for_the_same():
    assert not any(laws_differ(*samples(seed), CASE) for seed in range(10))
    mine, right, scale = samples(3)
    assert not laws_differ(-mine, right, scale, CASE)
