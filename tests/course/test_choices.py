"""Forced choices: against SciPy's own test and intervals, and by counting every outcome."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, ttest_1samp

from minidiff import metrics
from minidiff.metrics import choices_needed, equivalent, forced_choice, forced_choice_of_judges, power_of_choices


@pytest.mark.parametrize(("right", "n"), [(0, 10), (3, 10), (5, 10), (30, 50), (50, 50), (104, 200), (1, 1)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_value_interval_and_p_are_scipys(right, n, level):
    found, theirs = forced_choice(right, n, level=level), binomtest(right, n)
    limits = theirs.proportion_ci(level, "exact")
    assert found == pytest.approx((right / n, limits.low, limits.high, theirs.pvalue), abs=1e-9)


def test_the_interval_covers_as_often_as_it_says_where_walds_does_not():
    n, p = 50, 0.99
    weights = binom.pmf(np.arange(n + 1), n, p)
    ours = [forced_choice(k, n) for k in range(n + 1)]
    assert sum(w for w, c in zip(weights, ours, strict=True) if c.low <= p <= c.high) == pytest.approx(0.986, abs=2e-3)
    half = [1.96 * math.sqrt(k / n * (1 - k / n) / n) for k in range(n + 1)]
    wald = sum(w for k, w in enumerate(weights) if abs(k / n - p) <= half[k])
    assert wald == pytest.approx(0.395, abs=2e-3)  # Brown, Cai & DasGupta 2001, section 2


@pytest.mark.parametrize(("n", "p"), [(5, 0.9), (6, 0.9), (50, 0.6), (101, 0.4), (1, 0.7)])
def test_power_is_the_sum_over_all_outcomes_that_reject(n, p):
    rejected = [k for k in range(n + 1) if binomtest(k, n).pvalue <= 0.05]
    assert power_of_choices(n, p) == pytest.approx(binom.pmf(rejected, n, p).sum() if rejected else 0.0, abs=1e-12)


def test_a_test_of_nothing_rejects_at_most_at_its_level():
    assert all(power_of_choices(n, 0.5) <= 0.05 for n in range(1, 120))


def test_the_number_needed_is_the_first_that_reaches_the_power():
    n = choices_needed(0.6)
    assert n == 199 and power_of_choices(n, 0.6) >= 0.8
    assert all(power_of_choices(k, 0.6) < 0.8 for k in range(1, n))
    assert choices_needed(0.4) == n


def test_equality_is_shown_by_an_interval_within_the_margin():
    assert not equivalent(50, 100) and equivalent(500, 1000) and not equivalent(560, 1000)
    narrow = forced_choice(300, 600, level=0.9)
    assert equivalent(300, 600) == (narrow.low > 0.45 and narrow.high < 0.55)


def test_people_are_the_unit_where_people_answer_more_than_once():
    right = [12, 9, 15, 11, 8, 14]
    found, theirs = forced_choice_of_judges(right, 20), ttest_1samp(np.array(right) / 20, 0.5)
    limits = theirs.confidence_interval(0.95)
    assert found == pytest.approx((np.mean(right) / 20, limits.low, limits.high, theirs.pvalue))
    same = forced_choice_of_judges([10, 10], 20)
    assert (same.value, same.low, same.high, same.p) == (0.5, 0.5, 0.5, 1.0)
    assert forced_choice_of_judges([11, 11], 20).p == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: forced_choice(11, 10), "right must be a whole number from 0 to 10"),
        (lambda: forced_choice(1, 0), "n must be a whole number >= 1"),
        (lambda: forced_choice(1, 2, level=95), "level must lie between 0 and 1"),
        (lambda: forced_choice_of_judges([3], 4), "2 people or more"),
        (lambda: power_of_choices(10, 1.2), r"probability must lie in \[0, 1\]"),
        (lambda: choices_needed(0.5), "differ enough from 1/2"),
        (lambda: equivalent(5, 10, margin=0.5), "margin must lie below 1/2"),
        (lambda: equivalent(5, 10, level=0.6), "level must lie below 1/2"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_word_is_no_number():
    with pytest.raises(TypeError, match="level must be a number"):
        metrics.forced_choice(1, 2, level="95 %")
