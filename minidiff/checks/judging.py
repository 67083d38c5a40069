"""Compare what an answer did with the truth and with the known wrong answers. The answer itself is never called here.

Answers that draw nothing agree if all their numbers do, to a relative 2e-5, which single precision reaches. Random
answers agree if the means of all the numbers of the exercise's view do: Welch's t, with one row for each call, at a
level at which a right answer is called wrong once in a million checks (Bonferroni over all numbers and cases).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch
from torch import Tensor

from minidiff import generator
from minidiff._tensors import describe
from minidiff.checks.observing import SECONDS, observe
from minidiff.checks.observing import describe as describe_value
from minidiff.checks.records import RNG, Case, Exercise, Incident, Observation, Question, Verdict, arguments

__all__ = [
    "Gap",
    "Number",
    "apart",
    "cases_of",
    "distance",
    "formed",
    "judge",
    "judge_value",
    "measured",
    "observed",
    "reference",
]

ALARM = 1e-6  # how often a right answer is called wrong, per check
CLOSE = 2e-5  # relative, for answers that draw nothing; single precision does not reach much more
SMALLEST = 1e-3  # numbers below this share of the largest one are compared with that share of it
FEWEST, DISMISSED = 30, 1.5  # calls, and units of what is allowed, after which a wrong answer is out of the question
SEED, INPUTS = 5, 0  # of what the references draw; of the arguments in a lesson. A lab has its own


@dataclass(frozen=True)
class Number:
    """What an answer is compared by: numbers that are exact, or the mean of a random one.

    values: (N,) or (1,). error: the squared standard error of a mean. scale: how large its numbers are; None: exact.
    shape: that of the values before they were put into a row.
    """

    values: Tensor
    error: float = 0.0
    scale: float | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Gap:
    """How far two answers are apart in a case, in units of what is allowed, and the plainest number that shows it."""

    size: float
    case: Case
    name: str
    mine: float
    right: float


def cases_of(exercise: Exercise, inputs: int = INPUTS) -> tuple[Case, ...]:
    """The cases of an exercise. `inputs` chooses their random arguments."""
    return tuple(exercise.cases(generator(inputs)))


def observed(
    exercise: Exercise, answer: Callable, *, seed: int, inputs: int = INPUTS, seconds: float = SECONDS
) -> Observation:
    """What an answer does on all the cases of an exercise."""
    names, cases = arguments(exercise), cases_of(exercise, inputs)
    return observe(answer, cases, names=names, calls=exercise.calls, seed=seed, seconds=seconds)


def reference(exercise: Exercise, name: str, *, inputs: int = INPUTS, calls: int | None = None) -> Observation:
    """What the truth (the name "") or a wrong answer does, in the form that `judge` compares with."""
    answers = {"": exercise.truth} | {wrong.name: wrong.answer for wrong in exercise.wrong}
    few = replace(exercise, calls=calls or exercise.calls)
    return observed(few, answers[name], seed=SEED + 1 + list(answers).index(name), inputs=inputs)


def judge(
    exercise: Exercise,
    seen: Observation,
    *,
    inputs: int = INPUTS,
    recall: Callable[[str, int], Observation] | None = None,
) -> Verdict:
    """Right, a known mistake, an unknown one, or an incident. inputs: those that the answer was observed with.

    recall: from the name of a wrong answer, or "" for the truth, and a number of calls to what it does. `reference`
    where none is given.
    """
    recall = recall or (lambda name, calls: reference(exercise, name, inputs=inputs, calls=calls))
    cases, truth = cases_of(exercise, inputs), recall("", exercise.calls)
    seen, remarks = formed(seen, truth, cases), "".join(f"\n{remark}" for remark in seen.remarks)
    if seen.incident:
        for wrong in exercise.wrong if seen.outputs else ():
            if _same_incident(seen, formed(recall(wrong.name, few(exercise)), truth, cases)):
                text = f"Not right. {wrong.message}\n{seen.incident.text}{remarks}"
                return Verdict(exercise.id, "known", wrong.name, text)
        return Verdict(exercise.id, "incident", seen.incident.kind, f"{seen.incident}{remarks}")
    mine = tuple(measured(exercise, cases, seen))
    gap = distance(cases, mine, measured(exercise, cases, truth))
    if gap.size <= 1:
        limit = f"\n{exercise.limit}" if exercise.limit else ""
        return Verdict(exercise.id, "right", "right", f"Right.{limit}{remarks}")
    near = {}
    for wrong in exercise.wrong:
        for calls, limit in [(few(exercise), DISMISSED), (exercise.calls, 1.0)]:
            other = formed(recall(wrong.name, calls), truth, cases)
            near[wrong] = math.inf if other.incident else distance(cases, mine, measured(exercise, cases, other)).size
            if near[wrong] > limit or calls == exercise.calls:
                break
    nearest = min(near, key=near.get, default=None)
    if nearest is not None and near[nearest] <= 1:
        text = f"Not right. {nearest.message}\n{_evidence(exercise, gap)}{remarks}"
        return Verdict(exercise.id, "known", nearest.name, text)
    text = f"Not right, and no mistake that we know.\n{_evidence(exercise, gap)}{remarks}"
    return Verdict(exercise.id, "unknown", "unknown", text)


def judge_value(question: Question, answer: object) -> Verdict:
    """The verdict on a number or a choice: right, a known mistake, an unknown one, or an incident."""
    value, trouble = _choice(question, answer) if question.choices else _one_number(answer)
    if trouble:
        return Verdict(question.id, "incident", "wrong type", trouble)
    if _answers(value, question.right):
        return Verdict(question.id, "right", "right", "Right.")
    for wrong in question.wrong:
        if _answers(value, wrong.value):
            return Verdict(question.id, "known", wrong.name, f"Not right. {wrong.message}")
    text = f'Not right, and no mistake that we know. hint("{question.id}") may help.'
    return Verdict(question.id, "unknown", "unknown", text)


def _answers(value: float | str, expected: tuple[float, float] | str) -> bool:
    return value == expected if isinstance(expected, str) else expected[0] <= value <= expected[1]


def _choice(question: Question, answer: object) -> tuple[str, str]:
    """The choice that is meant, and what to say if there is none."""
    meant = {choice.casefold(): choice for choice in question.choices}
    said = " ".join(str(answer).split()).casefold()
    if isinstance(answer, str) and said in meant:
        return meant[said], ""
    choices = ", ".join(f'"{choice}"' for choice in question.choices)
    return "", f"This is {describe_value(answer)}, and should be one of {choices}."


def _one_number(answer: object) -> tuple[float, str]:
    """The number that is meant, and what to say if there is none."""
    trouble = f"This is {describe_value(answer)}, and should be one number."
    if isinstance(answer, (str, bytes, bool)) or callable(answer):
        return math.nan, trouble
    try:
        value = float(answer)
    except Exception:
        return math.nan, trouble
    return value, "" if math.isfinite(value) else "This is NaN or infinity, and should be a number."


def few(exercise: Exercise) -> int:
    """How many calls of a wrong answer are enough to see that it is not the one: most are dismissed by these."""
    return min(exercise.calls, max(FEWEST, exercise.calls // 8))


def measured(exercise: Exercise, cases: tuple[Case, ...], seen: Observation) -> Iterator[dict[str, Number]]:
    """For each case the named numbers by which answers are compared. The observation must be free of incidents."""
    for case, outputs in zip(cases, seen.outputs, strict=True):
        if exercise.view is None:
            names = exercise.parts or ("the result",)
            yield {
                name: Number(part[0].double().flatten(), shape=tuple(part.shape[1:]))
                for name, part in zip(names, outputs, strict=True)
            }
        else:
            args = [argument for argument in case.args if argument is not RNG]
            yield {name: _mean_of(row.double()) for name, row in exercise.view(outputs[0].double(), *args).items()}


def distance(cases: tuple[Case, ...], a: Sequence[dict[str, Number]], b: Iterable[dict[str, Number]]) -> Gap:
    """The first case in which two answers disagree (size > 1), or else their largest disagreement.

    a, b: from `measured`. Within a case, the gap reported is that of the first number that disagrees.
    """
    tests = sum(len(numbers) for numbers in a)
    quantile, gaps = _quantile(tests), []
    for case, mine, right in zip(cases, a, b, strict=True):
        for name, number in mine.items():
            gaps.append(_gap(case, name, number, right[name], quantile))
            if gaps[-1].size > 1:
                return gaps[-1]
    return max(gaps, key=lambda gap: gap.size)


def apart(cases: tuple[Case, ...], a: Sequence[dict[str, Number]], b: Sequence[dict[str, Number]]) -> float:
    """The largest disagreement of two answers in any case, for those who look after the wrong answers."""
    tests = sum(len(numbers) for numbers in a)
    return max(
        _gap(case, name, number, others[name], _quantile(tests)).size
        for case, numbers, others in zip(cases, a, b, strict=True)
        for name, number in numbers.items()
    )


def _quantile(tests: int) -> float:
    """How many standard errors are allowed, where so many means are compared."""
    return NormalDist().inv_cdf(1 - ALARM / (2 * tests))


def _mean_of(rows: Tensor) -> Number:
    error = float(rows.var()) / len(rows)
    return Number(rows.mean().reshape(1), error, float(rows.abs().mean()))


def _gap(case: Case, name: str, mine: Number, right: Number, quantile: float) -> Gap:
    if mine.scale is None:
        largest = float(right.values.abs().max())
        allowed = CLOSE * right.values.abs().clamp(min=SMALLEST * largest or SMALLEST)
    else:
        rounding = CLOSE * ((mine.scale + right.scale) / 2 + SMALLEST)
        allowed = torch.tensor(quantile * math.sqrt(mine.error + right.error) + rounding)
    sizes = (mine.values - right.values).abs() / allowed
    worst = int(sizes.argmax())
    if len(sizes) > 1:
        place = torch.unravel_index(torch.tensor(worst), mine.shape or mine.values.shape)
        name = f"element [{', '.join(str(int(index)) for index in place)}] of {name}"
    return Gap(float(sizes[worst]), case, name, float(mine.values[worst]), float(right.values[worst]))


def formed(seen: Observation, truth: Observation, cases: tuple[Case, ...]) -> Observation:
    """The observation, with an incident where type, shape or dtype are not those of the truth."""
    wants = ["a number" if words.startswith("the number") else words for words in truth.returned]
    if seen.incident and seen.incident.kind in ("changes its input", "global randomness", "not repeatable"):
        return seen  # these come first; all others may be due to a wrong form
    for case, mine, right, returned, wanted in zip(
        cases, seen.outputs, truth.outputs, seen.returned, wants, strict=False
    ):  # after an incident there are fewer outputs than cases
        kind = _form(mine, right)
        if kind:
            if len(mine) == len(right) > 1:
                returned, wanted = (", ".join(describe(p[0]) for p in parts) for parts in (mine, right))
            text = f"For {case.says} your function returns {returned}, and should return {wanted}."
            return replace(seen, incident=Incident(kind, text))
    if seen.incident and seen.incident.kind == "wrong type":
        text = f"{seen.incident.text}, and should return {wants[len(seen.outputs)]}."
        return replace(seen, incident=Incident("wrong type", text))
    return seen


def _form(mine: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> str | None:
    """What is wrong about the form of these outputs. Where one number is wanted, a tensor of one number will do."""
    if len(mine) != len(right):
        return "wrong type"
    for p, q in zip(mine, right, strict=True):
        if p.shape[1:] != q.shape[1:]:
            return "wrong shape"
        if p.ndim > 1 and p.dtype != q.dtype:
            return "wrong dtype"
    return None


def _same_incident(a: Observation, b: Observation) -> bool:
    """Whether two answers went wrong in the same way and with the same numbers."""
    if b.incident is None or a.incident.kind != b.incident.kind or len(a.outputs) != len(b.outputs):
        return False
    return all(
        p[0].shape == q[0].shape and torch.allclose(p[0].double(), q[0].double(), rtol=CLOSE, equal_nan=True)
        for mine, other in zip(a.outputs, b.outputs, strict=True)
        for p, q in zip(mine, other, strict=False)
    )


def _evidence(exercise: Exercise, gap: Gap) -> str:
    """The smallest case that shows the mistake: the input, what came out, and what should have."""
    mine, right = next(
        (
            pair
            for digits in range(3, 10)
            if len(set(pair := (f"{gap.mine:.{digits}g}", f"{gap.right:.{digits}g}"))) > 1
        ),
        (str(gap.mine), str(gap.right)),
    )
    calls = f" ({exercise.calls} calls)" if exercise.view else ""
    return f"Smallest case: for {gap.case.says}, {gap.name} is {mine}, and should be {right}{calls}."
