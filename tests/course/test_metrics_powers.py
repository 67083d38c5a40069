"""What each metric promises as a test and as a diagnosis: exact on small cases, calibrated when nothing is wrong, awake
to a stated fault, and asleep where its docstring says so."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from scipy.stats import binom, multivariate_normal, norm
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.utils._python_dispatch import TorchDispatchMode

from minidiff.data import eight_gaussians
from minidiff.exact import GaussianMixture
from minidiff.metrics import (
    ImageScore,
    Measurement,
    _sets,
    classifier_test,
    energy_distance,
    energy_test,
    frechet_distance,
    frechet_extrapolated,
    mmd,
    mmd_test,
    mode_weights,
    precision_recall,
    psnr,
    sliced_wasserstein,
    ssim,
)
from tests.cases import assert_close, dkw_bound, normal, random_mixture


def draws(shape, make_generator, *streams):
    return [normal(shape, make_generator(stream)) for stream in streams]


def on_a_line(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


# --- classifier two-sample test --------------------------------------------------------------------------------------


class Sign(ClassifierMixin, BaseEstimator):
    """Learns nothing, and calls every point right of 0 generated."""

    def fit(self, x, y):
        return self

    def predict(self, x):
        return (x[:, 0] > 0).astype(int)


def held_out(x, generator):
    return x[torch.randperm(len(x), generator=generator)[len(x) // 2 :]]


@pytest.mark.parametrize(("n", "m"), [(8, 8), (7, 12)])
def test_the_classifiers_p_value_counts_every_division_of_the_points(n, m, make_generator):
    """All ways to call as many held-out points generated: which part of them is at least as accurate?"""
    for stream in range(8):
        x, y = 0.4 + normal((n, 2), make_generator(0, stream)), normal((m, 2), make_generator(1, stream))
        found = classifier_test(x, y, generator=make_generator(2), classifier=Sign())
        g = make_generator(2)
        tested = [held_out(x, g), held_out(y, g)]
        points, of_x = torch.cat(tested)[:, 0].tolist(), len(tested[0])

        def accuracy(chosen, points=points, of_x=of_x):
            hits = sum(points[i] > 0 for i in chosen)
            misses = sum(p > 0 for p in points) - hits
            return (hits / of_x + 1 - misses / (len(points) - of_x)) / 2

        observed = accuracy(range(of_x))
        every = [accuracy(chosen) for chosen in itertools.combinations(range(len(points)), of_x)]
        assert found.accuracy == Measurement(pytest.approx(observed), 0.5, n, m)
        assert found.p_value == pytest.approx(np.mean([a >= observed - 1e-12 for a in every]), abs=1e-12)


def test_the_classifier_test_rejects_a_true_hypothesis_no_more_often_than_it_says(make_generator):
    """400 tests of unequal sets at level 0.05, and at every other level: false alarms below 1e-9."""
    rounds = 400
    p = np.array(
        [
            classifier_test(
                normal((60, 2), make_generator(i, 0)),
                normal((40, 2), make_generator(i, 1)),
                generator=make_generator(i),
            ).p_value
            for i in range(rounds)
        ]
    )
    assert (p <= 0.05).sum() <= binom.ppf(1 - 1e-10, rounds, 0.05)
    for level in np.arange(0.02, 1, 0.02):
        assert (p <= level).mean() <= level + dkw_bound(rounds)
    # it is discrete and so a little shy, but no more: at least half of what it may reject at 0.5
    assert (p <= 0.5).mean() > 0.25


def test_a_classifier_is_never_tested_on_what_it_has_learnt(make_generator):
    """One nearest neighbour knows its own training points by heart: on them its accuracy is 1. On 400 others that say
    nothing it is 1/2, with a standard deviation of 0.025: 7 of them."""
    x, y = draws((400, 2), make_generator, 0, 1)
    found = classifier_test(x, y, generator=make_generator(2), classifier=KNeighborsClassifier(1))
    assert abs(found.accuracy.value - 0.5) < 7 * 0.025


def test_a_classifier_finds_what_it_can_learn_and_nothing_else(make_generator):
    """Twice the spread: neighbours see it. A straight line cannot, whatever the number of points."""
    x, y = draws((600, 2), make_generator, 0, 1)
    by_neighbours = classifier_test(2 * x, y, generator=make_generator(2))
    assert by_neighbours.p_value < 1e-5 and by_neighbours.accuracy.value > 0.58
    line = LogisticRegression()
    by_line = classifier_test(2 * x, y, generator=make_generator(2), classifier=line)
    assert by_line.accuracy.value < 0.5 + 7 * 0.5 / math.sqrt(600)
    assert classifier_test(x + 5, y, generator=make_generator(2), classifier=line).accuracy.value > 0.99
    assert not hasattr(line, "coef_"), "the caller's own classifier is left alone"


def test_as_many_neighbours_vote_as_the_paper_says(make_generator):
    x, y = 0.5 + normal((50, 2), make_generator(0)), normal((50, 2), make_generator(1))
    explicit = classifier_test(x, y, generator=make_generator(2), classifier=KNeighborsClassifier(7))
    assert classifier_test(x, y, generator=make_generator(2)) == explicit  # sqrt(50) = 7.07


# --- permutation tests -----------------------------------------------------------------------------------------------

every_test = pytest.mark.parametrize("two_sample_test", [energy_test, mmd_test])


@every_test
def test_p_values_are_uniform_when_nothing_is_wrong(two_sample_test, make_generator):
    """1,000 tests with 19 permutations: p is one of 1/20, ..., 1, each as likely. P(p <= j / 20) within a bound that
    holds for every law, and the rejections at 0.05 within the binomial's: false alarms below 1e-9 each."""
    rounds = 1000
    p = np.array(
        [
            two_sample_test(
                normal((10, 2), make_generator(i, 0)),
                normal((14, 2), make_generator(i, 1)),
                generator=make_generator(i, 2),
                permutations=19,
            )
            for i in range(rounds)
        ]
    )
    for j in range(1, 21):
        assert abs((p <= j / 20 + 1e-9).mean() - j / 20) <= dkw_bound(rounds)
    low, high = binom.ppf([1e-10, 1 - 1e-10], rounds, 0.05)
    assert low <= (p <= 0.05).sum() <= high


@every_test
def test_a_shift_of_half_a_standard_deviation_is_found_in_200_points(two_sample_test, make_generator):
    """In 500 rounds each test found it in 98 %: fewer than 30 of 40 has a probability below 1e-9."""
    shift, rounds = torch.tensor([0.5, 0.0], dtype=torch.float64), 40
    found = sum(
        two_sample_test(
            shift + normal((200, 2), make_generator(i, 0)),
            normal((200, 2), make_generator(i, 1)),
            generator=make_generator(i, 2),
            permutations=19,
        )
        <= 0.05
        for i in range(rounds)
    )
    assert found >= 30


@every_test
def test_units_do_not_matter_to_a_test(two_sample_test, make_generator):
    x, y = 0.3 + normal((20, 2), make_generator(0)), normal((20, 2), make_generator(1))
    p = two_sample_test(x, y, generator=make_generator(2))
    assert 1 / 201 < p < 1
    for unit in (1e-9, 1e9):
        assert two_sample_test(unit * x, unit * y, generator=make_generator(2)) == p


# --- precision and recall --------------------------------------------------------------------------------------------


def covered_by_hand(x, y, k):
    """The part of x in a ball of y, point by point."""
    x, y = x.flatten(1).tolist(), y.flatten(1).tolist()
    radii = [sorted(math.dist(a, b) for j, b in enumerate(y) if j != i)[k - 1] for i, a in enumerate(y)]
    return sum(any(math.dist(a, b) <= r for b, r in zip(y, radii, strict=True)) for a in x) / len(x)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)], ids=["points", "images"])
@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_their_double_loops(shape, k, make_generator):
    samples, again = draws((20, *shape), make_generator, 0, 1)
    real = 0.5 + normal((31, *shape), make_generator(2))
    found = precision_recall(samples, real, again, generator=make_generator(3), neighbours=k)
    pooled, g = torch.cat([again, real]), make_generator(3)
    splits = [torch.randperm(51, generator=g) for _ in range(8)]
    halves = [(pooled[o[:20]], pooled[o[20:]]) for o in splits]
    precision, recall = covered_by_hand(samples, real, k), covered_by_hand(real, samples, k)
    assert precision != recall
    assert found.precision == pytest.approx((precision, np.mean([covered_by_hand(a, b, k) for a, b in halves]), 20, 31))
    assert found.recall == pytest.approx((recall, np.mean([covered_by_hand(b, a, k) for a, b in halves]), 20, 31))


def test_precision_and_recall_on_a_line_by_eye(make_generator):
    real, samples = on_a_line(0, 1, 2, 3), on_a_line(3.5, 4.1, -1, 10)
    found = precision_recall(samples, real, real + 0.1, generator=make_generator(0), neighbours=1)
    # every ball of real reaches 1 far: 3.5 and, on the edge, -1 lie inside. Of the samples' balls, that of -1 holds all
    assert (found.precision.value, found.recall.value) == (0.5, 1)


def test_a_lost_mode_costs_recall_and_noise_costs_precision(make_generator):
    """Half of the modes lost: half of the real points. Standard deviations of all four ratios are below 0.03."""
    mixture = eight_gaussians()
    samples, real, again = (mixture.sample(1000, make_generator(s))[0] for s in range(3))
    half = mixture.sample(2000, make_generator(3))
    lost = precision_recall(half[0][half[1] < 4][:900], real, again[:900], generator=make_generator(4))
    assert abs(lost.recall.value / lost.recall.floor - 0.5) < 0.15 and lost.precision.ratio > 0.85
    noisy = samples + 0.3 * normal((1000, 2), make_generator(5))
    noise = precision_recall(noisy, real, again, generator=make_generator(4))
    assert noise.precision.ratio < 0.65 and noise.recall.ratio > 0.85


def test_equal_points_have_balls_of_radius_0_that_hold_them(make_generator):
    """In 20 dimensions distances come from a matrix product, and that of equal points is not quite 0."""
    places = 5 * normal((4, 20), make_generator(0))
    x = places.repeat(5, 1)
    found = precision_recall(x, x[:12], x, generator=make_generator(1), neighbours=2)
    assert found.precision.value == found.recall.value == 1
    beside = precision_recall(x + 1e-3, x[:12], x, generator=make_generator(1), neighbours=2)
    assert beside.precision.value == beside.recall.value == 0


# --- weights of modes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (1, 2, 2)], ids=["points", "images"])
def test_mode_weights_are_mean_responsibilities(shape, make_generator):
    mixture = random_mixture(3, shape, make_generator(0))
    samples = normal((50, *shape), make_generator(1))
    densities = np.stack(
        [
            w.item() * multivariate_normal(m.flatten().numpy(), c.numpy()).pdf(samples.flatten(1).numpy())
            for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
        ],
        axis=1,
    )
    expected = torch.from_numpy((densities / densities.sum(1, keepdims=True)).mean(0))
    found = mode_weights(samples, mixture, generator=make_generator(2))
    assert_close(found.weights, expected, 1e-10)
    assert_close(found.expected, mixture.weights)
    assert found.distance.value == pytest.approx(0.5 * float((expected - mixture.weights).abs().sum()), abs=1e-12)
    g, floors = make_generator(2), []
    for _ in range(8):
        again = mode_weights(mixture.sample(50, g)[0], mixture, generator=make_generator(3)).weights
        floors.append(0.5 * float((again - mixture.weights).abs().sum()))
    assert found.distance.floor == pytest.approx(np.mean(floors), abs=1e-12)
    assert found.distance[2:] == (50, 50)


def test_many_samples_are_weighed_as_in_one_piece(make_generator):
    mixture = random_mixture(3, (2,), make_generator(0))
    x = normal((2500, 2), make_generator(1))
    parts = [mode_weights(part, mixture, generator=make_generator(2)).weights for part in x.split(500)]
    found = mode_weights(x, mixture, generator=make_generator(2)).weights
    assert_close(found, sum(parts) / 5)
    assert float(found.sum()) == pytest.approx(1)


def two_modes(weight):
    return GaussianMixture(
        torch.tensor([weight, 1 - weight], dtype=torch.float64),
        torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
        torch.ones(2, 1, 1, dtype=torch.float64),
    )


def test_mode_weights_of_overlapping_modes_are_unbiased_for_a_perfect_model_only(make_generator):
    """Modes at -1 and 1 of standard deviation 1. The mean responsibility under other weights is an integral. 7 standard
    errors of 40,000 points, each at most 0.5 / 200."""
    n, mixture = 40_000, two_modes(0.8)
    close = 7 * 0.5 / math.sqrt(n)

    def responsibility(x):
        return 1 / (1 + 0.25 * math.exp(2 * x))  # 0.2 N(x; 1, 1) over 0.8 N(x; -1, 1) is 0.25 e^(2x)

    for true in (0.8, 0.3):
        x = two_modes(true).sample(n, make_generator(0))[0]
        found = float(mode_weights(x, mixture, generator=make_generator(1)).weights[0])
        expected = quad(
            lambda z, true=true: (true * norm.pdf(z + 1) + (1 - true) * norm.pdf(z - 1)) * responsibility(z), -9, 9
        )[0]
        assert abs(found - expected) < close
        nearest = float((x < 0).double().mean())
        if true == 0.8:
            assert expected == pytest.approx(0.8, abs=1e-9)
            assert abs(nearest - 0.8) > 2 * close, "the nearest mode is wrong even for a perfect model"
        else:
            assert expected > 0.3 + 0.1, "a wrong weight is drawn towards the true one"


# --- PSNR and SSIM ---------------------------------------------------------------------------------------------------


def pictures(n, channels, height, width, make_generator, *stream):
    return torch.rand(n, channels, height, width, generator=make_generator(*stream), dtype=torch.float64)


def test_psnr_by_hand(make_generator):
    reference = pictures(3, 2, 5, 7, make_generator, 0)
    errors = torch.tensor([0.1, 0.01, 0.2], dtype=torch.float64)[:, None, None, None]
    found = psnr(reference + errors, reference, data_range=1.0)
    assert_close(found.each, torch.tensor([20.0, 40.0, 20 * math.log10(5)], dtype=torch.float64), 1e-9)
    assert found.value == pytest.approx((60 + 20 * math.log10(5)) / 3) and found.images == 3
    grey = reference.mean(dim=(2, 3), keepdim=True)
    floors = [10 * math.log10(1 / float(((g - r) ** 2).mean())) for g, r in zip(grey, reference, strict=True)]
    assert found.floor == pytest.approx(np.mean(floors))
    wider = psnr(reference + errors, reference, data_range=2.0)
    assert_close(wider.each - found.each, torch.full((3,), 20 * math.log10(2), dtype=torch.float64), 1e-9)
    assert psnr(reference, reference, data_range=1.0).value == math.inf


def ssim_by_hand(x, y, data_range, radius):
    """One image, channel by channel, with SciPy's Gaussian filter, which cuts its window where it is told."""

    def local(z):
        blurred = gaussian_filter(z, 1.5, truncate=radius / 1.5)
        return blurred[radius:-radius, radius:-radius]

    found = []
    for a, b in zip(x.double().numpy(), y.double().numpy(), strict=True):
        ma, mb = local(a), local(b)
        va, vb, cov = local((a) ** 2) - ma**2, local(b**2) - mb**2, local(a * b) - ma * mb
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        found.append(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())
    return np.mean(found)


@pytest.mark.parametrize(("size", "window"), [((14, 19), 11), ((11, 11), 11), ((8, 8), 7)])
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_is_its_formula_with_scipys_filter(size, window, data_range, make_generator):
    reference = pictures(4, 3, *size, make_generator, 0)
    images = 0.6 * reference + 0.4 * pictures(4, 3, *size, make_generator, 1)
    found = ssim(images, reference, data_range=data_range, window=window)
    for one, image, right in zip(found.each.tolist(), images, reference, strict=True):
        assert one == pytest.approx(ssim_by_hand(image, right, data_range, window // 2), abs=1e-12)
    grey = reference.mean(dim=(2, 3), keepdim=True).expand_as(reference)
    floors = [ssim_by_hand(g, r, data_range, window // 2) for g, r in zip(grey, reference, strict=True)]
    assert found.floor == pytest.approx(np.mean(floors), abs=1e-12)
    assert found.value == pytest.approx(float(found.each.mean()))


def test_ssim_of_plain_images_and_of_mirrored_ones(make_generator):
    plain = torch.ones(1, 1, 12, 12)
    expected = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    assert ssim(0.3 * plain, 0.6 * plain, data_range=1.0).value == pytest.approx(expected, abs=1e-6)
    x = pictures(2, 1, 16, 16, make_generator, 0)
    assert ssim(x, x, data_range=1.0).value == pytest.approx(1)
    assert ssim(1 - x, x, data_range=1.0).value < -0.8


def test_many_images_are_scored_as_each_of_them_alone(make_generator):
    reference, images = (pictures(503, 1, 12, 12, make_generator, s) for s in range(2))
    for score in (psnr, ssim):
        together = score(images, reference, data_range=1.0)
        assert isinstance(together, ImageScore) and together.images == len(together.each) == 503
        for i in (0, 499, 500, 502):
            alone = score(images[i : i + 1], reference[i : i + 1], data_range=1.0)
            assert alone.value == pytest.approx(float(together.each[i]), abs=1e-12)


def test_ssim_takes_a_texture_moved_by_one_pixel_for_another_one(make_generator):
    """Means over 200 images of 1,024 pixels: 0 to within 0.01, where the same image has 1."""
    reference = normal((200, 1, 32, 32), make_generator(0))
    assert abs(ssim(reference.roll(1, dims=3), reference, data_range=2.0).value) < 0.1
    slight = reference + 0.3 * normal(reference.shape, make_generator(1))
    assert ssim(slight, reference, data_range=2.0).value > 0.7


def test_psnr_prefers_a_blank_page_to_another_draw_of_the_same_texture(make_generator):
    """Twice the squared error: 3 dB less. The mean over 200 images of 1,024 pixels has a standard error of 0.03 dB."""
    reference, other = (normal((200, 1, 32, 32), make_generator(s)) for s in range(2))
    draw, blank = (psnr(x, reference, data_range=2.0).value for x in (other, torch.zeros_like(other)))
    assert blank - draw == pytest.approx(10 * math.log10(2), abs=0.25)
    assert psnr(other, reference, data_range=2.0).floor == pytest.approx(blank, abs=0.05)


# --- blind spots -----------------------------------------------------------------------------------------------------


def test_frechet_sees_two_moments_and_no_more(make_generator):
    """Eight Gaussians on a circle against one with their mean and covariance. The null laws' tails are in test_metrics;
    over many seeds the energy distance was 33 floors, and one in a billion of its ratios would lie below 10."""
    samples = eight_gaussians().sample(2000, make_generator(0))[0].double()
    real, again = draws((2000, 2), make_generator, 1, 2)
    sets = (samples, real, again)
    assert frechet_distance(*sets, generator=make_generator(3)).ratio < 12
    assert abs(frechet_extrapolated(*sets, generator=make_generator(3)).ratio) < 25
    assert energy_distance(*sets, generator=make_generator(3)).ratio > 10
    assert classifier_test(samples, real, generator=make_generator(3)).p_value < 1e-9


def test_energy_distance_misses_a_rare_mode_that_mode_weights_find(make_generator):
    """One point in a hundred belongs 8 standard deviations away. Mean ratios of 10 draws of 3,000 points; over many
    seeds they scatter by 0.3 around 1.9 and by 0.9 around 8.2."""
    mixture = GaussianMixture(
        torch.tensor([0.99, 0.01], dtype=torch.float64),
        torch.tensor([[0.0, 0.0], [8.0, 0.0]], dtype=torch.float64),
        torch.eye(2, dtype=torch.float64).repeat(2, 1, 1),
    )
    by_energy, by_weights = [], []
    for i in range(10):
        samples = normal((3000, 2), make_generator(i, 0))
        real, again = (mixture.sample(3000, make_generator(i, s))[0] for s in (1, 2))
        by_energy.append(energy_distance(samples, real, again, generator=make_generator(i, 3)).ratio)
        by_weights.append(mode_weights(samples, mixture, generator=make_generator(i, 4)).distance.ratio)
    assert np.mean(by_energy) < 4
    assert np.mean(by_weights) > 4


def test_mmd_misses_what_is_finer_than_its_bandwidth(make_generator):
    """Numbers rounded to multiples of 1/50, against numbers that are not. The null law's tail is in test_metrics; with
    the small bandwidth the ratio was 90 on average."""
    samples, real, again = (torch.rand(1500, 1, generator=make_generator(s), dtype=torch.float64) for s in range(3))
    sets = ((50 * samples).floor() / 50 + 0.01, real, again)
    assert abs(mmd(*sets, generator=make_generator(3)).ratio) < 35
    assert mmd(*sets, generator=make_generator(3), bandwidth=0.003).ratio > 40


def test_sliced_wasserstein_hardly_sees_one_coordinate_among_many(make_generator):
    """One of 100 coordinates is twice as wide: alone it stands out, among the others it does not. Over many seeds the
    ratios were 13 and 1.05; the logarithm of the first scatters by 0.15."""
    samples, real, again = draws((1000, 100), make_generator, 0, 1, 2)
    samples[:, 0] *= 2
    assert sliced_wasserstein(samples, real, again, generator=make_generator(3)).ratio < 2
    alone = (z[:, :1] for z in (samples, real, again))
    assert sliced_wasserstein(*alone, generator=make_generator(3)).ratio > 2.5


def test_precision_and_recall_do_not_weigh(make_generator):
    """Half of all points in one mode of eight, where an eighth belongs: nothing for them, plain for the others. Over
    many seeds the ratios were 1.00 twice, each to 0.01, then 133 and 14, each to a factor of 1.3."""
    mixture = eight_gaussians()
    lopsided = GaussianMixture(torch.tensor([0.5, *[0.5 / 7] * 7]), mixture.means, mixture.covariances)
    samples = lopsided.sample(1500, make_generator(0))[0]
    real, again = (mixture.sample(1500, make_generator(s))[0] for s in (1, 2))
    found = precision_recall(samples, real, again, generator=make_generator(3))
    assert 0.9 < found.precision.ratio < 1.1 and 0.9 < found.recall.ratio < 1.1
    assert energy_distance(samples, real, again, generator=make_generator(3)).ratio > 20
    assert mode_weights(samples, mixture, generator=make_generator(3)).distance.ratio > 5


def test_one_real_outlier_makes_everything_on_the_way_to_it_precise(make_generator):
    real, again, g = *draws((300, 2), make_generator, 0, 1), make_generator(2)
    samples = torch.tensor([50.0, 0.0]) + normal((300, 2), g)
    assert precision_recall(samples, real, again, generator=make_generator(3)).precision.value == 0
    real[0] = torch.tensor([100.0, 0.0])
    assert precision_recall(samples, real, again, generator=make_generator(3)).precision.value == 1


def test_a_model_that_copies_beats_a_perfect_one(make_generator):
    """Nothing here knows memory: copies of the real samples are below every floor and above every ceiling. For MMD the
    algebra leaves -2 / n times 1 minus the mean kernel, which is negative whatever the points are."""
    real, again = draws((200, 2), make_generator, 0, 1)
    for distance in (energy_distance, sliced_wasserstein, frechet_distance):
        assert distance(real.clone(), real, again, generator=make_generator(2)).ratio < 1e-6
    assert mmd(real.clone(), real, again, generator=make_generator(2)).ratio < 0
    assert precision_recall(real.clone(), real, again, generator=make_generator(2)).precision.ratio > 1


# --- memory ----------------------------------------------------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("d", [2, 20])
@pytest.mark.parametrize("measure", [energy_distance, energy_test, mmd, mmd_test, precision_recall])
def test_all_pairs_are_never_held_at_once(measure, d, make_generator):
    """3,000 samples against 3,000: not more than one tile, or the 2 million distances behind a median."""
    sets = draws((3000, d), make_generator, 0, 1, 2)
    sets = sets[:2] if measure in (energy_test, mmd_test) else sets
    with LargestTensor() as largest:
        measure(*sets, generator=make_generator(3))
    assert largest.elements <= 2_000_000 < 3000**2 / 4


@pytest.mark.parametrize("tile", [7, 16])
@pytest.mark.parametrize("d", [2, 20])
def test_many_tiles_give_what_one_tile_gives(d, tile, make_generator, monkeypatch):
    """Values and floors of 20 samples against 31, which the tests by hand have compared with double loops."""
    samples, again, real = normal((20, d), make_generator(0)) + 0.3, *draws((31, d), make_generator, 1, 2)

    def measured():
        sets = (samples, real, again[:20])
        return [measure(*sets, generator=make_generator(3)) for measure in (energy_distance, mmd)] + list(
            precision_recall(*sets, generator=make_generator(3))
        )

    whole = measured()
    monkeypatch.setattr(_sets, "TILE", tile)
    for found, expected in zip(measured(), whole, strict=True):
        assert found == pytest.approx(expected, abs=1e-12)


def test_tiles_cover_every_pair_once():
    for n, m in ((1, 1), (1024, 1025), (3000, 700)):
        seen = torch.zeros(n, m)
        for i, j in _sets.tile_pairs(n, m):
            seen[i, j] += 1
        assert bool((seen == 1).all())
        seen = torch.zeros(n, n)
        for i, j in _sets.tile_pairs(n):
            seen[i, j] += 1
            if i != j:
                seen[j, i] += 1
        assert bool((seen == 1).all())


# --- refusals --------------------------------------------------------------------------------------------------------


def test_diagnostics_refuse_what_they_cannot_judge(make_generator):
    x, g = normal((20, 2), make_generator(0)), make_generator(1)
    with pytest.raises(ValueError, match="samples must be finite"):
        classifier_test(x * math.nan, x, generator=g)
    with pytest.raises(ValueError, match=r"samples must have shape \(N, \*\(2,\)\)"):
        classifier_test(x[:, :1], x, generator=g)
    with pytest.raises(ValueError, match=r"real must have shape \(N, \*D\) with N >= 2, but is a float64"):
        classifier_test(x[:, 0], x[:, 0], generator=g)
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        classifier_test(x, x, generator=None)
    with pytest.raises(ValueError, match="neighbours must be a whole number from 1 to 9, but is 10"):
        precision_recall(x[:10], x, x[:10], generator=g, neighbours=10)
    with pytest.raises(ValueError, match="neighbours must be a whole number from 1 to 9, but is 0"):
        precision_recall(x, x[:10], x, generator=g, neighbours=0)
    with pytest.raises(ValueError, match=r"real_again must hold as many samples as samples, 20, .* but holds 10"):
        precision_recall(x, x, x[:10], generator=g)
    with pytest.raises(ValueError, match="real_again must be finite"):
        precision_recall(x, x, x * math.inf, generator=g)
    with pytest.raises(TypeError, match="mixture must be a GaussianMixture, but is str 'moons'"):
        mode_weights(x, "moons", generator=g)
    with pytest.raises(ValueError, match=r"samples must have shape \(N, \*\(2,\)\) to go with mixture, but is a float"):
        mode_weights(x[:, :1], eight_gaussians(), generator=g)
    with pytest.raises(ValueError, match="samples must be finite, but 40 of its"):
        mode_weights(x * math.nan, eight_gaussians(), generator=g)
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        mode_weights(x, eight_gaussians(), generator=0)


@pytest.mark.parametrize("score", [psnr, ssim])
def test_images_that_cannot_be_compared_are_refused(score):
    x = torch.zeros(2, 1, 12, 12)
    with pytest.raises(
        ValueError, match=r"reference must have shape \(2, 1, 12, 12\), as images has, but is a float32"
    ):
        score(x, x[:1], data_range=1.0)
    with pytest.raises(
        ValueError, match=r"images must have shape \(N, C, H, W\), but is a float32 tensor of shape \(2,"
    ):
        score(x[:, 0], x[:, 0], data_range=1.0)
    with pytest.raises(ValueError, match="images must be finite, but 288 of its 288"):
        score(x * math.nan, x, data_range=1.0)
    with pytest.raises(TypeError, match="reference must be a tensor, but is list"):
        score(x, [0.0], data_range=1.0)
    for wrong in (0, -1.0, math.inf, math.nan, "1"):
        with pytest.raises((TypeError, ValueError), match=r"data_range must be (a number|finite and > 0), but is"):
            score(x, x, data_range=wrong)


def test_a_window_that_does_not_fit_is_refused():
    x = torch.zeros(2, 1, 8, 12)
    with pytest.raises(ValueError, match="window must be a whole number from 1 to 8, but is 11"):
        ssim(x, x, data_range=1.0)
    with pytest.raises(ValueError, match="window must be odd, so that it has a middle, but is 6"):
        ssim(x, x, data_range=1.0, window=6)
