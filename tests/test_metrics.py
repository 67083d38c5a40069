"""The metrics against closed forms, direct double loops and SciPy; their floors, null laws and power."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import binom, norm
from scipy.stats import energy_distance as scipy_energy_distance

from minidiff.metrics import Measurement, energy_distance, energy_test, frechet_distance, sliced_wasserstein
from tests.cases import normal

DISTANCES = [energy_distance, sliced_wasserstein, frechet_distance]
every_distance = pytest.mark.parametrize("distance", DISTANCES)


def draws(shape, make_generator, *streams):
    return [normal(shape, make_generator(stream)) for stream in streams]


# --- energy distance -------------------------------------------------------------------------------------------------


def energy_by_hand(x, y):
    """Every pair, one by one."""
    x, y = x.flatten(1).tolist(), y.flatten(1).tolist()

    def mean(a, b):
        return sum(math.dist(p, q) for p in a for q in b) / (len(a) * len(b))

    return 2 * mean(x, y) - mean(x, x) - mean(y, y)


@pytest.mark.parametrize("shape", [(2,), (1, 3, 3)], ids=["points", "images"])
def test_energy_distance_is_its_double_loop(shape, make_generator):
    samples, again = draws((6, *shape), make_generator, 0, 1)
    real = 0.5 + normal((9, *shape), make_generator(2))
    measured = energy_distance(samples, real, again, generator=make_generator(3))
    assert measured.value == pytest.approx(energy_by_hand(samples, real), abs=1e-12)
    assert (measured.samples, measured.real) == (6, 9)


def test_energy_distance_on_a_line_is_scipys(make_generator):
    x, y, again = draws((50, 1), make_generator, 0, 1, 2)
    measured = energy_distance(x + 1, y, again, generator=make_generator(3))
    assert measured.value == pytest.approx(scipy_energy_distance((x + 1)[:, 0], y[:, 0]) ** 2, abs=1e-12)


def test_energy_distance_of_two_gaussians_is_its_closed_form(make_generator):
    """E|N(m, s^2)| = s sqrt(2 / pi) exp(-m^2 / 2 s^2) + m erf(m / s sqrt 2), for even quantiles instead of draws."""

    def mean_abs(m, s):
        return s * math.sqrt(2 / math.pi) * math.exp(-((m / s) ** 2) / 2) + m * math.erf(m / s / math.sqrt(2))

    shift, std = 1.5, 2.0
    x = torch.from_numpy(norm.ppf((np.arange(1000) + 0.5) / 1000))[:, None]
    truth = 2 * mean_abs(shift, math.hypot(1, std)) - mean_abs(0, math.sqrt(2)) - mean_abs(0, std * math.sqrt(2))
    value = energy_distance(shift + std * x, x, x, generator=make_generator(0)).value
    assert value == pytest.approx(truth, abs=2e-3)


def test_energy_distance_keeps_its_digits_far_from_the_origin(make_generator):
    samples, real, again = draws((40, 2), make_generator, 0, 1, 2)
    near = energy_distance(samples, real, again, generator=make_generator(3))
    far = energy_distance(samples + 1e6, real + 1e6, again + 1e6, generator=make_generator(3))
    assert far.value == pytest.approx(near.value, abs=1e-8)
    assert far.floor == pytest.approx(near.floor, abs=1e-8)


# --- the permutation test --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(8, 8), (5, 11)])
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
def test_energy_test_counts_the_permutations_that_are_as_extreme(n, m, shift, make_generator):
    """The p-value from each permutation's own double loop."""
    x, y = normal((n, 2), make_generator(0)), shift + normal((m, 2), make_generator(1))
    pooled, g, permutations = torch.cat([x, y]), make_generator(2), 50
    orders = [torch.randperm(n + m, generator=g) for _ in range(permutations)]
    observed = energy_by_hand(x, y)
    extreme = sum(energy_by_hand(pooled[o[:n]], pooled[o[n:]]) >= observed - 1e-12 for o in orders)
    p = energy_test(x, y, generator=make_generator(2), permutations=permutations)
    assert p == (1 + extreme) / (1 + permutations)


def test_energy_test_rejects_a_true_hypothesis_as_often_as_it_says(make_generator):
    """400 tests at level 0.05; the number of rejections is binomial: false alarms below 1e-9."""
    rounds, level = 400, 0.05
    rejected = sum(
        energy_test(
            *draws((20, 2), lambda s, i=i: make_generator(i, s), 0, 1), generator=make_generator(i, 2), permutations=19
        )
        <= level
        for i in range(rounds)
    )
    low, high = binom.ppf([1e-10, 1 - 1e-10], rounds, level)
    assert low <= rejected <= high


def test_energy_test_sees_what_differs(make_generator):
    """A shift of one standard deviation, and a spread of twice the size, at 200 points: far beyond chance."""
    x, y = draws((200, 2), make_generator, 0, 1)
    for other in (y + 1, 2 * y):
        assert energy_test(x, other, generator=make_generator(2)) == 1 / 201
    assert energy_test(x, x, generator=make_generator(2)) == 1


# --- sliced Wasserstein ----------------------------------------------------------------------------------------------


def test_sliced_wasserstein_of_a_shift_is_its_length_over_root_d(make_generator):
    """E (shift . line)^2 = |shift|^2 / d, exact for equal sets up to the choice of lines: 7 standard errors of 5,000
    lines, false alarms below 1e-11. In one dimension every line is the axis, and nothing is left to chance."""
    x = normal((30, 2), make_generator(0))
    shift, lines = torch.tensor([3.0, 4.0], dtype=torch.float64), 5_000
    value = sliced_wasserstein(x + shift, x, x, generator=make_generator(1), projections=lines).value
    # (shift . line)^2 = 25 cos^2, of mean 25 / 2 and standard deviation 25 / sqrt(8)
    assert value**2 == pytest.approx(12.5, abs=7 * 25 / math.sqrt(8 * lines))
    on_a_line = sliced_wasserstein(x[:, :1] + 3, x[:, :1], x[:, :1], generator=make_generator(1), projections=4)
    assert on_a_line.value == pytest.approx(3, abs=1e-12)


@pytest.mark.parametrize("shape", [(2,), (1, 3, 3)], ids=["points", "images"])
def test_sliced_wasserstein_is_optimal_transport_along_each_line(shape, make_generator):
    """Against the best assignment, found by linear programming's own solver."""
    samples, real, again = draws((12, *shape), make_generator, 0, 1, 2)
    d, projections = math.prod(shape), 10
    lines = torch.randn(d, projections, generator=make_generator(3), dtype=torch.float64)
    lines = lines / lines.norm(dim=0)
    squares = []
    for line in lines.T:
        cost = cdist((samples.flatten(1) @ line)[:, None], (2 * real.flatten(1) @ line)[:, None], "sqeuclidean")
        squares.append(cost[linear_sum_assignment(cost)].mean())
    value = sliced_wasserstein(samples, 2 * real, again, generator=make_generator(3), projections=projections).value
    assert value == pytest.approx(math.sqrt(np.mean(squares)), abs=1e-12)


# --- Frechet ---------------------------------------------------------------------------------------------------------


def test_frechet_distance_is_its_formula_with_scipys_matrix_root(make_generator):
    mixing = normal((5, 5), make_generator(4))
    samples, real, again = draws((40, 5), make_generator, 0, 1, 2)
    samples = samples @ mixing + 0.3
    a, b = np.cov(samples.numpy(), rowvar=False), np.cov(real.numpy(), rowvar=False)
    shift = samples.mean(0) - real.mean(0)
    formula = float(shift @ shift) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(samples, real, again, generator=make_generator(3)).value == pytest.approx(formula, abs=1e-9)


def test_frechet_distance_of_scaled_and_shifted_sets_is_exact(make_generator):
    """W2^2 of N(m, C) and N(m + shift, c^2 C) is |shift|^2 + (c - 1)^2 tr C, and fitted moments scale exactly."""
    real, again = draws((50, 3), make_generator, 0, 1)
    centred = real - real.mean(0)
    value = frechet_distance(3 * centred + 2, centred, again, generator=make_generator(2)).value
    assert value == pytest.approx(3 * 2**2 + 2**2 * float(torch.trace(centred.T.cov())), abs=1e-9)


def test_frechet_floor_is_the_bias_that_its_size_predicts(make_generator):
    """[2 d + d (d + 1) / 2] / n. Over many draws the floor scatters by 2.2 % around it and the value by 6.2 %: the
    bounds stand at 8 of those standard deviations, false alarms below 1e-12."""
    n, d = 2_000, 32
    samples, real, again = draws((n, d), make_generator, 0, 1, 2)
    measured = frechet_distance(samples, real, again, generator=make_generator(3))
    bias = (2 * d + d * (d + 1) / 2) / n
    assert measured.floor == pytest.approx(bias, rel=8 * 0.022)
    assert measured.value == pytest.approx(bias, rel=8 * 0.062)
    assert measured.ratio == measured.value / measured.floor


# --- what all of them promise ----------------------------------------------------------------------------------------


@every_distance
def test_a_perfect_model_scores_the_floor_and_a_wrong_one_does_not(distance, make_generator):
    """In 400 draws the ratio was 1.0 on average, beyond 2.4 in one of a hundred, and its tail falls by a factor e each
    0.35: beyond 12 lie less than 1e-10."""
    samples, real, again = draws((300, 4), make_generator, 0, 1, 2)
    perfect = distance(samples, real, again, generator=make_generator(3))
    assert isinstance(perfect, Measurement) and perfect.value > 0 and perfect.floor > 0
    assert perfect.ratio < 12
    wrong = distance(samples + 5, real, again, generator=make_generator(3))
    assert wrong.ratio > 20
    assert wrong.floor == perfect.floor


@every_distance
def test_the_floor_is_the_mean_distance_of_random_splits_of_what_is_real(distance, make_generator):
    samples, real, again = draws((30, 2), make_generator, 0, 1, 2)
    options = {"projections": 1} if distance is sliced_wasserstein else {}
    floor = distance(samples[:, :1], real[:, :1], again[:, :1], generator=make_generator(3), **options).floor
    g = make_generator(3)
    if distance is sliced_wasserstein:
        torch.randn(1, 1, generator=g, dtype=torch.float64)  # its one line, on which a sign is all that is random
    pooled = torch.cat([again, real])[:, :1]
    splits = [torch.randperm(60, generator=g) for _ in range(8)]
    values = [
        distance(pooled[o[:30]], pooled[o[30:]], again[:, :1], generator=make_generator(4), **options).value
        for o in splits
    ]
    assert floor == pytest.approx(sum(values) / 8, abs=1e-9)


@every_distance
def test_the_same_seed_measures_the_same(distance, make_generator):
    sets = draws((30, 3), make_generator, 0, 1, 2)
    assert distance(*sets, generator=make_generator(3)) == distance(*sets, generator=make_generator(3))


@every_distance
def test_a_set_against_itself_is_at_distance_0_and_the_order_is_free(distance, make_generator):
    x, y, again = draws((30, 3), make_generator, 0, 1, 2)
    order = torch.randperm(30, generator=make_generator(3))
    assert distance(x[order], x, again, generator=make_generator(4)).value == pytest.approx(0, abs=1e-7)
    shuffled = distance(x[order], y, again, generator=make_generator(4)).value
    assert shuffled == pytest.approx(distance(x, y, again, generator=make_generator(4)).value, abs=1e-9)


@every_distance
@pytest.mark.parametrize(
    ("place", "bad", "error", "words"),
    [
        (0, torch.full((20, 2), math.nan), ValueError, "samples must be finite, but 40 of its 40 values are NaN"),
        (1, torch.full((20, 2), math.inf), ValueError, "real must be finite, but 40 of its 40"),
        (2, torch.full((20, 2), math.nan), ValueError, "real_again must be finite"),
        (0, [[0.0, 1.0]] * 20, TypeError, "samples must be a tensor, but is list"),
        (0, torch.zeros(20, 3), ValueError, r"samples must have shape \(N, \*\(2,\)\) with N >= 2, but is a float32"),
        (2, torch.zeros(20, 1), ValueError, r"real_again must have shape \(N, \*\(2,\)\)"),
        (0, torch.zeros(1, 2), ValueError, r"samples must have shape .* with N >= 2"),
        (2, torch.zeros(10, 2), ValueError, "real_again must hold as many samples as samples, 20, .* but holds 10"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(distance, place, bad, error, words, make_generator):
    sets = draws((20, 2), make_generator, 0, 1, 2)
    sets[place] = bad
    with pytest.raises(error, match=words):
        distance(*sets, generator=make_generator(3))


def test_refusals_of_single_distances(make_generator):
    x, y, g = *draws((20, 2), make_generator, 0, 1), make_generator(2)
    with pytest.raises(ValueError, match="samples and real must be equally many, but are 20 and 19"):
        sliced_wasserstein(x, y[1:], x, generator=g)
    with pytest.raises(ValueError, match=r"samples must hold more samples than features \(2\), but holds 2"):
        frechet_distance(x[:2], y, x[:2], generator=g)
    with pytest.raises(ValueError, match=r"real must hold more samples than features \(2\), but holds 2"):
        frechet_distance(x, y[:2], x, generator=g)
    with pytest.raises(ValueError, match="x must be finite"):
        energy_test(x * math.nan, y, generator=g)
    with pytest.raises(ValueError, match="y must be finite"):
        energy_test(x, y * math.nan, generator=g)
    with pytest.raises(ValueError, match=r"x must have shape"):
        energy_test(x[:, :1], y, generator=g)
