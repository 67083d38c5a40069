"""The exercises of all notebooks: every wrong answer is itself and no other, right answers in odd forms pass, and the
guard itself is tried on inputs that are bad on purpose. `answers_nNN` holds such answers for notebook NN."""

import ast
import dataclasses
import functools
import inspect
import itertools
import re
from typing import NamedTuple

import numpy as np
import pytest
import torch

from minidiff.checks import asking, judging
from minidiff.checks.judging import apart, cases_of, formed, judge, judge_value, measured, observed, reference
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Observation, Question, Verdict, arguments, summary
from tests.course.checks.notebooks import ANSWERS, EXERCISES, MODULES, QUESTIONS, TASKS, marked, notebook_of

# Coverage counts lines, and all are run in the fixture `on_input`: counting them again takes a quarter of the time.
pytestmark = pytest.mark.no_cover

SENTENCES = r"[A-Z`(\[0-9a-z].*[.?)]"  # what begins and ends like sentences
INPUTS = range(3)  # which a lab's salt might choose
EXPLANATIONS = [task for task in TASKS if isinstance(task, Explanation)]
BY_ID = {task.id: task for task in TASKS}
every_exercise = pytest.mark.parametrize("exercise", marked(EXERCISES))
every_question = pytest.mark.parametrize("question", marked(QUESTIONS))
every_explanation = pytest.mark.parametrize("explanation", marked(EXPLANATIONS))
FORWARD_STEP = BY_ID["5.1"]


@pytest.fixture(autouse=True)
def measured_once(monkeypatch):
    """What a test compares again and again is measured once."""
    real, done = judging.measured, {}

    def remember(exercise, cases, seen):
        if id(seen) not in done:
            done[id(seen)] = seen, tuple(real(exercise, cases, seen))
        return done[id(seen)][1]

    monkeypatch.setattr(judging, "measured", remember)


class OnInput(NamedTuple):
    """An exercise on one of the inputs that a lab might choose, with what its truth ("") and wrong answers do there."""

    exercise: Exercise
    inputs: int
    seen: dict[str, Observation]


@pytest.fixture(
    scope="module",  # so that all tests of one exercise and input follow one another, and share what was observed
    params=[
        pytest.param((exercise, inputs), id=f"{notebook_of(exercise.id)}-{exercise.id}-{inputs}")
        for exercise in EXERCISES
        for inputs in INPUTS
    ],
)
def on_input(request) -> OnInput:
    exercise, inputs = request.param
    names = ["", *(wrong.name for wrong in exercise.wrong)]
    return OnInput(exercise, inputs, {name: reference(exercise, name, inputs=inputs) for name in names})


@functools.lru_cache(maxsize=400)
def remembered(id: str, wrong: str, inputs: int) -> Observation:
    """What a wrong answer, or the truth (""), does: for comparisons, observed once."""
    return reference(BY_ID[id], wrong, inputs=inputs)


def verdict(exercise: Exercise, answer, *, seed: int = 7, inputs: int = 0) -> Verdict:
    seen = observed(exercise, answer, seed=seed, inputs=inputs)
    return judge(exercise, seen, inputs=inputs, recall=lambda wrong, calls: remembered(exercise.id, wrong, inputs))


def too_close(
    exercise: Exercise, cases: tuple[Case, ...], seen: dict[str, Observation]
) -> list[tuple[str, str, float]]:
    """The pairs of answers that are less than twice as far apart as is allowed, in every case."""
    shaped = {name: formed(observation, seen[""], cases) for name, observation in seen.items()}
    numbers = {
        name: tuple(measured(exercise, cases, observation))
        for name, observation in shaped.items()
        if observation.incident is None
    }
    names = list(numbers)
    return [
        (a or "the truth", b, round(size, 2))
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if (size := apart(cases, numbers[a], numbers[b])) < 2
    ]


# --- wrong answers ---------------------------------------------------------------------------------------------------


def test_every_wrong_answer_is_recognised_as_itself(on_input):
    exercise, inputs, seen = on_input
    for seed, wrong in enumerate(exercise.wrong, start=1000):
        answered = observed(exercise, wrong.answer, seed=seed, inputs=inputs)
        found = judge(exercise, answered, inputs=inputs, recall=lambda name, calls: seen[name])
        assert (found.state, found.name) == ("known", wrong.name), found.text


def test_no_two_answers_are_near_duplicates(on_input):
    """The truth among them. Where one fails: add an input that separates the two, or make them one."""
    exercise, inputs, seen = on_input
    assert too_close(exercise, cases_of(exercise, inputs), seen) == []


def test_the_guard_sees_a_bad_input():
    """At beta = 0.5 exchanged factors are right, and at x = 0 nothing shows what x is multiplied by."""
    for x, beta, close in [(1.0, 0.5, "coefficients exchanged"), (0.0, 0.2, "nothing shrinks")]:
        bad = (Case((torch.full((250, 1), x), beta, RNG), "a bad input"),)
        exercise = dataclasses.replace(FORWARD_STEP, cases=lambda g, bad=bad: bad)
        seen = {name: reference(exercise, name) for name in ["", close]}
        assert [pair[:2] for pair in too_close(exercise, bad, seen)] == [("the truth", close)]


def test_the_guard_sees_a_view_that_is_too_plain():
    """Mean and variance alone do not tell a normal number from a product of two."""
    plain = dataclasses.replace(
        FORWARD_STEP,
        view=lambda out, x, beta: {"the mean": out.flatten(1).mean(dim=1), "the variance": out.flatten(1).var(dim=1)},
    )
    seen = {name: reference(plain, name) for name in ["", "noise times noise"]}
    assert [pair[:2] for pair in too_close(plain, cases_of(plain), seen)] == [("the truth", "noise times noise")]


def test_few_calls_dismiss_no_wrong_answer_that_is_the_one():
    """As `check` does it: first a few calls of every wrong answer, then all calls of those that are left."""
    for exercise in (BY_ID[id] for id in ("5.1", "5.2", "5.6", "5.9")):
        for wrong in exercise.wrong[-1:]:
            assert judge(exercise, observed(exercise, wrong.answer, seed=3)).name == wrong.name


# --- right answers ---------------------------------------------------------------------------------------------------


def forms() -> list:
    """(exercise, form) for every notebook, each named by the notebook, the exercise and the form."""
    found = []
    for name, answers in ANSWERS.items():
        by_name = {task.name: task for task in MODULES[name].EXERCISES}
        for exercise, form in answers.FORMS:
            label = f"{name}-{exercise}-{getattr(form, '__name__', 'form')}"
            found.append(pytest.param(by_name[exercise], form, id=label))
    return found


@pytest.mark.parametrize(("exercise", "form"), forms())
def test_right_answers_in_unusual_forms_pass(exercise, form):
    found = verdict(exercise, form)
    assert found.state == "right" and found.text.splitlines()[0] == "Right.", found.text


@every_exercise
def test_there_are_unusual_forms_of_every_exercise(exercise):
    known = [name for name, _ in ANSWERS[notebook_of(exercise.id)].FORMS]
    assert known.count(exercise.name) >= 1


# An exercise with few calls has a slow answer, and its power is small by choice
@pytest.mark.parametrize("exercise", marked([exercise for exercise in EXERCISES if exercise.calls >= 100]))
def test_the_truth_is_right_whatever_the_seed(exercise):
    for seed in range(6):
        assert verdict(exercise, exercise.solution, seed=seed, inputs=seed % 3).state == "right"


# --- mistakes that are in no list ------------------------------------------------------------------------------------


@every_exercise
def test_a_mistake_that_is_in_no_list_is_shown_and_not_guessed(exercise):
    unknown = ANSWERS[notebook_of(exercise.id)].UNKNOWN[exercise.name]
    assert len(unknown) >= 2
    for answer in unknown:
        found = verdict(exercise, answer)
        assert found.state == "unknown", found.text
        lines = found.text.splitlines()
        assert lines[0] == "Not right, and no mistake that we know."
        assert lines[1].startswith("Smallest case: for ") and ", and should be " in lines[1]


# --- questions, and what is answered in words ------------------------------------------------------------------------


def inside(value) -> object:
    """An answer that this value stands for: the choice itself, or a number between the two ends."""
    return value if isinstance(value, str) else 0.5 * (max(value[0], -1e9) + min(value[1], 1e9))


@every_question
def test_the_solution_of_a_question_is_right_and_every_wrong_value_is_named(question):
    assert judge_value(question, question.solution()).state == "right"
    assert judge_value(question, inside(question.right)).state == "right"
    for wrong in question.wrong:
        found = judge_value(question, inside(wrong.value))
        assert (found.state, found.name) == ("known", wrong.name) and wrong.message in found.text
    assert len(question.wrong) >= 2


@every_question
def test_the_values_of_a_question_do_not_overlap(question):
    values = [question.right, *(wrong.value for wrong in question.wrong)]
    if question.choices:
        assert sorted(values) == sorted(question.choices)  # every choice is right or has its message
    else:
        ends = sorted(values)
        assert all(low <= high for low, high in ends)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(ends))


@every_question
def test_a_question_takes_any_number_and_nothing_else(question):
    low, high = (0.0, 0.0) if question.choices else question.right
    for answer in ([1.0], "many", True, len, float("nan"), torch.ones(2), {}):
        found = judge_value(question, answer)
        assert found.state == "incident" and "should be" in found.text
    middle = (low + high) / 2
    if not question.choices:
        for form in (torch.tensor(middle, dtype=torch.float64), np.float64(middle), np.array(middle)):
            assert judge_value(question, form).state == "right"
    else:
        assert judge_value(question, f" {question.right.upper()} ").state == "right"


@every_question
def test_the_stub_of_a_question_is_one_line_and_unfilled(question):
    space = {}
    exec(question.stub, space)
    assert space[question.name] is None and "#" in question.stub and len(question.stub.splitlines()) == 1
    verdict = asking.examined(question, space[question.name])
    assert verdict.state == "unfilled"


def test_the_message_of_a_number_beyond_all_known_ones():
    question = Question("9.9", "n", "n = None  # a number", (1, 2), lambda: 1, "Why.", (), ("A.", "B.", "C."))
    assert judge_value(question, 3).text == 'Not right, and no mistake that we know. hint("9.9") may help.'
    assert [judge_value(question, value).state for value in (1, 1.5, 2, 2.01)] == ["right"] * 3 + ["unknown"]


@every_explanation
def test_an_explanation_has_a_model_answer_and_is_not_checked(explanation):
    assert len(explanation.model.split()) >= 15 and len(explanation.look_for) >= 2
    assert asking.examined(explanation, None).state == "unchecked"
    for text in (explanation.task, explanation.model, *explanation.look_for, *explanation.hints):
        assert re.fullmatch(SENTENCES, text, re.DOTALL), text


# --- what an exercise says -------------------------------------------------------------------------------------------


@every_exercise
def test_the_stub_the_solution_and_the_alternative_fit(exercise):
    stub = next(node for node in ast.parse(exercise.stub).body if isinstance(node, ast.FunctionDef))
    assert stub.name == exercise.name and ast.get_docstring(stub)
    for function in (exercise.solution, exercise.alternative):
        assert tuple(inspect.signature(function).parameters) == arguments(exercise)
    for line in exercise.stub.splitlines():
        assert len(line) <= 120
    assert asking.find(exercise.id) is exercise


@every_exercise
def test_the_truth_and_the_solution_share_no_line(exercise):
    def lines(function):
        return {line.strip() for line in inspect.getsource(function).splitlines()[1:] if len(line.strip()) > 8}

    for function in (exercise.solution, exercise.alternative):
        assert not lines(function) & lines(exercise.truth)


@pytest.mark.parametrize("exercise", marked(EXERCISES + QUESTIONS))
def test_messages_are_whole_sentences_and_none_is_said_twice(exercise):
    texts = [wrong.message for wrong in exercise.wrong]
    assert len(set(texts)) == len(texts) and len({wrong.name for wrong in exercise.wrong}) == len(texts)
    for text in [*texts, *exercise.hints, exercise.why, summary(exercise)]:
        assert re.fullmatch(SENTENCES, text, re.DOTALL), text
        assert "  " not in text and not re.search(r"[a-z]\.[A-Z][a-z]", text), text
    assert all(wrong.seen for wrong in exercise.wrong) and len(exercise.hints) >= 3


@pytest.mark.parametrize("name", MODULES)
def test_the_ids_of_a_notebook_count_up(name):
    ids = [task.id for task in MODULES[name].EXERCISES]
    assert ids == [f"{int(name[1:])}.{n}" for n in range(1, len(ids) + 1)]
    assert name in ANSWERS, f"tests/course/checks/answers_{name}.py is missing"
    assert all(asking.find(task.id) is task for task in MODULES[name].EXERCISES)


@every_exercise
def test_the_cases_begin_with_the_plainest_and_depend_on_the_input_alone(exercise):
    first, second = cases_of(exercise, 0), cases_of(exercise, 0)
    assert [case.says for case in first] == [case.says for case in second]
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a.args, b.args, strict=True):
            assert torch.equal(x, y) if isinstance(x, torch.Tensor) else type(x) is type(y)


def test_the_level_is_shared_by_all_numbers_of_a_check():
    assert judging._quantile(1) < judging._quantile(12)
    assert judging._quantile(1) == pytest.approx(4.89, abs=0.01)
