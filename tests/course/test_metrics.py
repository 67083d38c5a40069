"""The metrics against closed forms, direct double loops and SciPy; their floors, null laws and power."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import binom, norm, qmc
from scipy.stats import energy_distance as scipy_energy_distance

from minidiff.metrics import (
    Measurement,
    energy_distance,
    energy_test,
    frechet_distance,
    frechet_extrapolated,
    median_distance,
    mmd,
    mmd_test,
    sliced_wasserstein,
)
from tests.cases import normal

DISTANCES = [energy_distance, mmd, sliced_wasserstein, frechet_distance, frechet_extrapolated]
every_distance = pytest.mark.parametrize("distance", DISTANCES)
BIASED = [energy_distance, sliced_wasserstein, frechet_distance]
every_biased_distance = pytest.mark.parametrize("distance", BIASED)


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


@pytest.mark.parametrize("shape", [(1,), (3, 4, 4)], ids=["numbers", "images"])
def test_energy_distance_of_heaps_of_equal_points_is_exact(shape, make_generator):
    """All at one place against all at another; then p there and 1 - p here: 2 (p - q)^2 times the distance."""
    here, there = torch.zeros(20, *shape), torch.full((20, *shape), 3.0)
    gap, g = 3 * math.sqrt(math.prod(shape)), make_generator(0)
    assert energy_distance(here, there, here, generator=g).value == pytest.approx(2 * gap, abs=1e-9)
    x, y = torch.cat([here[:5], there[:15]]), torch.cat([here[:16], there[:4]])
    assert energy_distance(x, y, x, generator=g).value == pytest.approx(2 * (15 / 20 - 4 / 20) ** 2 * gap, abs=1e-9)


def test_energy_distance_of_two_uniform_laws_is_its_integral(make_generator):
    """On [0, 1] and [0, 2]: 2 integral (F - G)^2 = 1 / 3. Even points stand for the laws, to 1 / n."""
    x = (torch.arange(1000, dtype=torch.float64)[:, None] + 0.5) / 1000
    assert energy_distance(x, 2 * x, x, generator=make_generator(0)).value == pytest.approx(1 / 3, abs=1e-3)


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


# --- MMD -------------------------------------------------------------------------------------------------------------


def mmd_by_hand(x, y, bandwidth):
    """Every pair of different points, one by one (Gretton et al., equation 3)."""
    x, y = x.flatten(1).tolist(), y.flatten(1).tolist()

    def kernel(p, q):
        return math.exp(-(math.dist(p, q) ** 2) / (2 * bandwidth**2))

    within = [sum(kernel(p, q) for p, q in itertools.permutations(z, 2)) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return sum(within) - 2 * sum(kernel(p, q) for p in x for q in y) / (len(x) * len(y))


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)], ids=["points", "images"])
def test_mmd_is_its_double_loop_and_its_floor_the_scatter_of_splits(shape, make_generator):
    samples, again = draws((6, *shape), make_generator, 0, 1)
    real = 0.5 + normal((9, *shape), make_generator(2))
    measured = mmd(samples, real, again, generator=make_generator(3), bandwidth=1.7)
    assert measured.value == pytest.approx(mmd_by_hand(samples, real, 1.7), abs=1e-12)
    pooled, g = torch.cat([again, real]), make_generator(3)
    splits = [torch.randperm(15, generator=g) for _ in range(32)]
    squares = [mmd_by_hand(pooled[o[:6]], pooled[o[6:]], 1.7) ** 2 for o in splits]
    assert measured.floor == pytest.approx(math.sqrt(sum(squares) / 32), abs=1e-12)
    assert (measured.samples, measured.real) == (6, 9)


def test_mmd_takes_the_median_distance_of_real_samples(make_generator):
    samples, real, again = 3 * normal((7, 2), make_generator(0)), *draws((7, 2), make_generator, 1, 2)
    pooled = torch.cat([again, real]).numpy()
    median = sorted(cdist(pooled, pooled)[np.triu_indices(14, 1)])[45]  # of 91
    assert median_distance(torch.from_numpy(pooled), generator=make_generator(3)) == pytest.approx(median, abs=1e-12)
    found = mmd(samples, real, again, generator=make_generator(3)).value
    assert found == pytest.approx(mmd_by_hand(samples, real, median), abs=1e-12)


def test_the_median_distance_of_many_points_is_that_of_the_law(make_generator):
    """Between two standard normal numbers: sqrt(2) times the upper quartile of one. The standard error of the median
    of all pairs of 2,000 points is about 0.012; and sorting the points changes nothing that matters."""
    x = normal((5000, 1), make_generator(0)).sort(dim=0).values
    found = median_distance(x, generator=make_generator(1))
    assert found == pytest.approx(math.sqrt(2) * norm.ppf(0.75), abs=8 * 0.012)


def gaussian_mmd(mean, cov_x, cov_y, bandwidth):
    """E k(X, Y) for X - Y ~ N(m, C) is |I + C / b^2|^(-1/2) exp(-m (b^2 I + C)^(-1) m / 2)."""

    def mean_kernel(m, cov):
        wide = torch.eye(len(m), dtype=torch.float64) + cov / bandwidth**2
        return float(torch.exp(-m @ torch.linalg.solve(wide, m) / (2 * bandwidth**2)) / torch.linalg.det(wide).sqrt())

    zero = torch.zeros_like(mean)
    return mean_kernel(zero, 2 * cov_x) + mean_kernel(zero, 2 * cov_y) - 2 * mean_kernel(mean, cov_x + cov_y)


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
@pytest.mark.parametrize("same", [True, False])
def test_mmd_of_two_gaussians_is_unbiased_at_any_size(bandwidth, same, make_generator):
    """The mean over 300 draws of 7 and 11 points, against the closed form: 7 standard errors, false alarms below
    1e-10. Of equal Gaussians it is 0, and more than a third of the estimates are negative."""
    mixing = torch.tensor([[1.5, 0.4], [0.0, 0.5]], dtype=torch.float64)
    shift = torch.tensor([0.8, -0.3], dtype=torch.float64)
    if same:
        mixing, shift = torch.eye(2, dtype=torch.float64), 0 * shift
    identity = torch.eye(2, dtype=torch.float64)
    truth = gaussian_mmd(shift, mixing.T @ mixing, identity, bandwidth)
    assert (truth == 0) is same
    values = []
    for i in range(300):
        x, y = normal((7, 2), make_generator(i, 0)) @ mixing + shift, normal((11, 2), make_generator(i, 1))
        values.append(mmd(x, y, x, generator=make_generator(i, 2), bandwidth=bandwidth).value)
    assert abs(np.mean(values) - truth) < 7 * np.std(values) / math.sqrt(300)
    assert not same or np.mean(np.array(values) < 0) > 1 / 3


def test_mmd_of_all_divisions_of_the_same_points_is_0_on_average(make_generator):
    """Exactly: that is what unbiased means, on 7 points that 35 ways divide into 3 and 4."""
    points, g = normal((7, 2), make_generator(0)), make_generator(1)
    values = []
    for chosen in itertools.combinations(range(7), 3):
        x, y = points[list(chosen)], points[[i for i in range(7) if i not in chosen]]
        values.append(mmd(x, y, x, generator=g, bandwidth=1.0).value)
    assert abs(sum(values)) < 1e-12 and min(values) < -0.05


def test_mmd_keeps_its_digits_far_from_the_origin(make_generator):
    for d in (2, 20):
        samples, real, again = draws((40, d), make_generator, 0, 1, 2)
        near = mmd(samples, real, again, generator=make_generator(3), bandwidth=1.0)
        far = mmd(samples + 1e6, real + 1e6, again + 1e6, generator=make_generator(3), bandwidth=1.0)
        assert (far.value, far.floor) == pytest.approx((near.value, near.floor), abs=1e-8)


@pytest.mark.parametrize("bandwidth", [None, 0.7])
def test_mmd_test_counts_the_permutations_that_are_as_extreme(bandwidth, make_generator):
    for shift in (0.0, 0.5):
        x, y = normal((6, 2), make_generator(0)), shift + normal((9, 2), make_generator(1))
        pooled, g = torch.cat([x, y]), make_generator(2)
        if bandwidth is None:
            width = median_distance(pooled, generator=g)  # and its shuffle comes first
        else:
            width = bandwidth
        orders = [torch.randperm(15, generator=g) for _ in range(40)]
        observed = mmd_by_hand(x, y, width)
        extreme = sum(mmd_by_hand(pooled[o[:6]], pooled[o[6:]], width) >= observed - 1e-12 for o in orders)
        p = mmd_test(x, y, generator=make_generator(2), permutations=40, bandwidth=bandwidth)
        assert p == pytest.approx((1 + extreme) / 41)


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


# Two Gaussians, of which no axis of one is an axis of the other.
SHIFT = np.array([0.7, -0.4])
COV_X, COV_Y = np.array([[1.5, 0.6], [0.6, 0.5]]), np.array([[0.4, -0.1], [-0.1, 1.2]])


def even_gaussian(mean, covariance, n=4096):
    """Points that stand for a Gaussian far more evenly than random ones do (Sobol 1967)."""
    even = norm.ppf(qmc.Sobol(2, scramble=False).random(n) + 0.5 / n)
    return torch.from_numpy(mean + even @ np.linalg.cholesky(covariance).T)


def test_sliced_wasserstein_of_two_gaussians_is_its_closed_form_on_each_line(make_generator):
    """On a line u: (m . u)^2 + (sqrt(u A u) - sqrt(u B u))^2. Even points stand for the laws, to half a percent."""
    x, y = even_gaussian(SHIFT, COV_X), even_gaussian(np.zeros(2), COV_Y)
    lines = torch.randn(2, 50, generator=make_generator(0), dtype=torch.float64)
    lines = (lines / lines.norm(dim=0)).numpy().T
    spreads = [np.sqrt(np.einsum("li,ij,lj->l", lines, cov, lines)) for cov in (COV_X, COV_Y)]
    truth = np.mean((lines @ SHIFT) ** 2 + (spreads[0] - spreads[1]) ** 2)
    value = sliced_wasserstein(x, y, x, generator=make_generator(0), projections=50).value
    assert value**2 == pytest.approx(truth, rel=5e-3)


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


def test_frechet_distance_of_two_gaussians_is_their_wasserstein_distance(make_generator):
    """Dowson & Landau: |m|^2 + tr(A + B - 2 sqrt(A B)). Even points stand for the laws, to half a percent."""
    x, y = even_gaussian(SHIFT, COV_X), even_gaussian(np.zeros(2), COV_Y)
    truth = SHIFT @ SHIFT + np.trace(COV_X + COV_Y - 2 * sqrtm(COV_X @ COV_Y).real)
    for distance in (frechet_distance, frechet_extrapolated):
        assert distance(x, y, x, generator=make_generator(0)).value == pytest.approx(truth, rel=5e-3)


@pytest.mark.parametrize(("n", "m"), [(41, 41), (50, 37)])
def test_frechet_extrapolated_is_a_straight_line_through_parts(n, m, make_generator):
    """Whole, halves, thirds, quarters, with each part's distance by the other function and NumPy's line."""
    samples, real, again = 1 + normal((n, 3), make_generator(0)), *draws((m, 3), make_generator, 1, 2)
    again = torch.cat([again, again])[:n]

    def line(x, y):
        heights = []
        for parts in (1, 2, 3, 4):
            a, b = n // parts, m // parts
            pieces = [(x[i * a : (i + 1) * a], y[i * b : (i + 1) * b]) for i in range(parts)]
            found = [frechet_distance(p, q, p, generator=make_generator(9)).value for p, q in pieces]
            heights.append(sum(found) / parts)
        return np.polyfit([1, 2, 3, 4], heights, 1)[1]

    g = make_generator(3)
    first, *others = [torch.randperm(n + m, generator=g) for _ in range(9)]
    pooled, truth = torch.cat([samples, real]), torch.cat([again, real])
    measured = frechet_extrapolated(samples, real, again, generator=make_generator(3))
    assert measured.value == pytest.approx(line(pooled[first[first < n]], pooled[first[first >= n]]), abs=1e-9)
    squares = [line(truth[o[:n]], truth[o[n:]]) ** 2 for o in others]
    assert measured.floor == pytest.approx(math.sqrt(sum(squares) / 8), abs=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_the_extrapolation_removes_the_small_sample_bias(scale, make_generator):
    """N(0, s^2 I) against N(0, I) in 16 dimensions, 480 points: truth 16 (s - 1)^2. The plain distance is biased by
    [2 d + d (d + 1) / 2] / n = 0.35 (times about s where they differ); the other keeps less than a fifteenth of it.
    Means over 40 draws; the bounds leave room for 7 standard errors, of 0.017 at most."""
    n, d, truth = 480, 16, 16 * (scale - 1) ** 2
    plain, extrapolated = [], []
    for i in range(40):
        x, y = scale * normal((n, d), make_generator(i, 0)), normal((n, d), make_generator(i, 1))
        plain.append(frechet_distance(x, y, x, generator=make_generator(i, 2)).value)
        extrapolated.append(frechet_extrapolated(x, y, x, generator=make_generator(i, 2)).value)
    bias, error = (2 * d + d * (d + 1) / 2) / n, 7 * np.std(plain) / math.sqrt(40)
    assert abs(np.mean(plain) - truth - bias * scale) < 0.1 * bias + error
    assert abs(np.mean(extrapolated) - truth) < bias / 15 + error
    assert np.mean(plain) - truth > 2 * abs(np.mean(extrapolated) - truth)


# --- what all of them promise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [mmd, frechet_extrapolated])
def test_a_perfect_model_scatters_around_0_and_a_wrong_one_does_not(distance, make_generator):
    """In 1,500 draws the ratio was 0.0 on average with a standard deviation of 1.2, beyond 4.3 in one of a hundred, and
    its tail falls by a factor e each 1.43 (MMD) and 0.87: beyond 35 lie less than 1e-9."""
    samples, real, again = draws((300, 4), make_generator, 0, 1, 2)
    perfect = distance(samples, real, again, generator=make_generator(3))
    assert isinstance(perfect, Measurement) and perfect.floor > 0
    assert abs(perfect.ratio) < 35
    wrong = distance(samples + 5, real, again, generator=make_generator(3))
    assert wrong.ratio > 100
    assert wrong.floor == perfect.floor


@every_biased_distance
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


@every_biased_distance
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


@every_biased_distance
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


@every_distance
def test_a_missing_generator_is_refused(distance, make_generator):
    """PyTorch would take the global one, and no seed would repeat the number."""
    x = normal((20, 2), make_generator(0))
    for wrong in (None, 0):
        with pytest.raises(TypeError, match=rf"generator must be a torch\.Generator .* but is {wrong}"):
            distance(x, x, x, generator=wrong)


@pytest.mark.parametrize("two_sample_test", [energy_test, mmd_test])
def test_refusals_of_the_tests(two_sample_test, make_generator):
    x, g = normal((20, 2), make_generator(0)), make_generator(1)
    for wrong in (0, -3, 1.5, True):
        with pytest.raises(ValueError, match=f"permutations must be a whole number >= 1, but is {wrong}"):
            two_sample_test(x, x, generator=g, permutations=wrong)
    with pytest.raises(ValueError, match=r"y must have shape \(N, \*\(2,\)\) with N >= 2"):
        two_sample_test(x, x[:1], generator=g)
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        two_sample_test(x, x, generator=None)


def test_refusals_of_bandwidths(make_generator):
    x, g = normal((20, 2), make_generator(0)), make_generator(1)
    for wrong in (0, -1.0, math.nan, math.inf, "median"):
        with pytest.raises((TypeError, ValueError), match=r"bandwidth must be (a number|finite and > 0), but is"):
            mmd(x, x, x, generator=g, bandwidth=wrong)
        with pytest.raises((TypeError, ValueError), match=r"bandwidth must be (a number|finite and > 0), but is"):
            mmd_test(x, x, generator=g, bandwidth=wrong)
    heap = torch.cat([torch.zeros(17, 2), x[:3].float()])
    with pytest.raises(ValueError, match="bandwidth must be given, since most of the samples are equal"):
        mmd(x, heap, heap, generator=g)
    assert mmd(x, heap, heap, generator=g, bandwidth=1.0).value > 0
    with pytest.raises(ValueError, match="x must be finite"):
        median_distance(x * math.nan, generator=g)


def test_refusals_of_single_distances(make_generator):
    x, y, g = *draws((20, 2), make_generator, 0, 1), make_generator(2)
    with pytest.raises(ValueError, match="samples and real must be equally many, but are 20 and 19"):
        sliced_wasserstein(x, y[1:], x, generator=g)
    with pytest.raises(ValueError, match=r"samples must hold more samples than features \(2\), but holds 2"):
        frechet_distance(x[:2], y, x[:2], generator=g)
    with pytest.raises(ValueError, match=r"real must hold more samples than features \(2\), but holds 2"):
        frechet_distance(x, y[:2], x, generator=g)
    with pytest.raises(
        ValueError, match=r"real must hold 4 parts, each of more samples than features \(2\), but holds 11"
    ):
        frechet_extrapolated(x, y[:11], x, generator=g)
    with pytest.raises(ValueError, match="projections must be a whole number >= 1, but is 0"):
        sliced_wasserstein(x, y, x, generator=g, projections=0)
    with pytest.raises(ValueError, match="x must be finite"):
        energy_test(x * math.nan, y, generator=g)
    with pytest.raises(ValueError, match="y must be finite"):
        energy_test(x, y * math.nan, generator=g)
    with pytest.raises(ValueError, match=r"x must have shape"):
        energy_test(x[:, :1], y, generator=g)
