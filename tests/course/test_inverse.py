"""Inverse problems: measurements by their definition, the exact posterior by quadrature, methods by what they claim."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.distributions import MultivariateNormal

from minidiff import exact, inverse
from minidiff.denoisers import classifier_guided
from minidiff.exact import GaussianMixture, mixture_denoiser
from minidiff.samplers import ancestral, last
from minidiff.schedules import cosine, ddpm_linear, rectified_flow, ve, vp_linear
from tests.cases import assert_close, dkw_bound, farthest_from_cdf, normal, number, random_mixture

IMAGE = (1, 8, 8)
KNOWN = torch.zeros(IMAGE, dtype=torch.bool)
KNOWN[0, 2:5, 1:7] = True
MATRIX = torch.tensor([[1.0, 0.5], [0.0, 2.0], [-1.0, 1.0]], dtype=torch.float64)
MEASUREMENTS = {
    "noisy points": inverse.noisy((2,), 0.3),
    "noisy images": inverse.noisy(IMAGE, 0.3),
    "one coordinate": inverse.masked(torch.tensor([True, False]), 0.1),
    "masked images": inverse.masked(KNOWN, 0.2),
    "fewer pixels": inverse.downsampled(IMAGE, 2, 0.1),
    "colours": inverse.downsampled((3, 8, 4), 4, 0.1),
    "blurred": inverse.blurred(IMAGE, 1.3, 0.05),
    "three of two": inverse.from_matrix(MATRIX, (2,), 0.2),
}
BROAD = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
every_measurement = pytest.mark.parametrize("measurement", MEASUREMENTS.values(), ids=MEASUREMENTS)


# --- measurements ----------------------------------------------------------------------------------------------------


@every_measurement
def test_the_adjoint_is_the_transpose(measurement, make_generator):
    for n in range(5):
        x = normal((3, *measurement.shape), make_generator(0, n))
        y = normal(tuple(measurement.forward(x).shape), make_generator(1, n))
        left = (measurement.forward(x) * y).flatten(1).sum(1)
        assert_close(left, (x * measurement.adjoint(y)).flatten(1).sum(1), 1e-12)


@every_measurement
def test_the_matrix_is_the_measurement(measurement, make_generator):
    x = normal((4, *measurement.shape), make_generator(0))
    A = measurement.matrix()
    assert_close(x.flatten(1) @ A.T, measurement.forward(x).flatten(1), 1e-12)
    values, vectors = measurement.spectrum
    assert_close(vectors @ torch.diag(values) @ vectors.T, A @ A.T, 1e-10)


def test_a_mask_keeps_numbers_and_puts_them_back(make_generator):
    x = normal((2, *IMAGE), make_generator(0))
    measurement = MEASUREMENTS["masked images"]
    assert measurement.forward(x).shape == (2, 18)
    assert_close(measurement.forward(x)[1], x[1][KNOWN])
    assert_close(measurement.adjoint(measurement.forward(x)), torch.where(KNOWN, x, torch.zeros_like(x)))


def test_fewer_pixels_are_means_of_blocks(make_generator):
    x = normal((2, 3, 8, 4), make_generator(0))
    few = MEASUREMENTS["colours"].forward(x)
    for row in range(2):
        assert_close(few[:, :, row, 0], x[:, :, 4 * row : 4 * row + 4].mean(dim=(2, 3)))


def test_a_blur_is_scipys(make_generator):
    x = normal((1, *IMAGE), make_generator(0))
    theirs = gaussian_filter(x[0, 0].numpy(), 1.3, mode="constant", radius=8)
    assert_close(MEASUREMENTS["blurred"].forward(x)[0, 0], torch.from_numpy(theirs), 1e-9)


def test_a_blur_of_an_image_that_is_not_square_is_scipys(make_generator):
    x = normal((2, 3, 6, 9), make_generator(0))
    theirs = gaussian_filter(x.numpy(), 0.8, mode="constant", radius=9, axes=(2, 3))
    assert_close(inverse.blurred((3, 6, 9), 0.8).forward(x), torch.from_numpy(theirs), 1e-9)


def test_noise_has_the_stated_size(make_generator):
    """False-alarm rate 1e-10 (Dvoretzky, Kiefer and Wolfowitz)."""
    x0 = torch.zeros(20_000, 2, dtype=torch.float64)
    y = MEASUREMENTS["three of two"].measure(x0, make_generator(0))
    for column in y.T:
        cdf = lambda z: np.array([0.5 * math.erfc(-v / 0.2 / math.sqrt(2)) for v in z])  # noqa: E731
        assert farthest_from_cdf(column, cdf) < dkw_bound(len(y))


# --- the exact posterior ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("matrix", "std"), [(MATRIX[:1], 0.3), (MATRIX, 0.5), (MATRIX[:2], 0.1)])
def test_the_posterior_of_a_mixture_is_bayes_rule_on_a_grid(matrix, std, make_generator):
    mixture = random_mixture(3, (2,), make_generator(0))
    y = matrix @ mixture.sample(1, make_generator(1))[0][0]
    found = exact.posterior(mixture, matrix, y, std)
    side = torch.linspace(-6, 6, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    path, zero = vp_linear(), number(0.0)
    likelihood = -0.5 * ((y - grid @ matrix.T) ** 2).sum(1) / std**2
    joint = exact.log_prob(mixture, path, grid, zero) + likelihood
    evidence = torch.logsumexp(joint, dim=0) + 2 * math.log(12 / 600)
    seen = joint - evidence > -20
    assert_close((joint - evidence)[seen], exact.log_prob(found, path, grid, zero)[seen], 1e-5)


def test_the_posterior_of_an_image_is_the_conditional_of_the_joint_gaussian(make_generator):
    mixture = random_mixture(1, IMAGE, make_generator(0))
    measurement = MEASUREMENTS["fewer pixels"]
    A, C = measurement.matrix(), mixture.covariances[0]
    y = measurement.measure(mixture.sample(1, make_generator(1))[0], make_generator(2)).flatten()
    found = exact.posterior(mixture, A, y, measurement.std)
    precision = torch.linalg.inv(C) + A.T @ A / measurement.std**2  # Bishop, equation 2.117
    mean = torch.linalg.solve(precision, torch.linalg.solve(C, mixture.means[0].flatten()) + A.T @ y / 0.1**2)
    assert_close(found.covariances[0], torch.linalg.inv(precision), 1e-9)
    assert_close(found.means[0].flatten(), mean, 1e-9)


def test_the_weights_of_the_posterior_are_those_of_the_evidence(make_generator):
    mixture = random_mixture(3, (2,), make_generator(0))
    y = normal((3,), make_generator(1))
    covariances = MATRIX @ mixture.covariances @ MATRIX.T + 0.2**2 * torch.eye(3, dtype=torch.float64)
    evidence = mixture.weights * MultivariateNormal(mixture.means @ MATRIX.T, covariances).log_prob(y).exp()
    assert_close(exact.posterior(mixture, MATRIX, y, 0.2).weights, evidence / evidence.sum(), 1e-10)


def test_much_noise_teaches_nothing_and_little_noise_everything(make_generator):
    mixture = random_mixture(3, (2,), make_generator(0))
    x0 = mixture.sample(1, make_generator(1))[0][0]
    nothing = exact.posterior(mixture, MATRIX, MATRIX @ x0, 1e6)
    assert_close(nothing.weights, mixture.weights, 1e-6)
    assert_close(nothing.covariances, mixture.covariances, 1e-6)
    everything = exact.posterior(mixture, MATRIX, MATRIX @ x0, 1e-5)
    assert_close(everything.mean(), x0, 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_component_that_is_ruled_out_keeps_the_smallest_weight(dtype):
    """Its weight, exp(-5e5), is 0 in numbers, and a mixture has no component of weight 0."""
    mixture = GaussianMixture(
        torch.tensor([0.5, 0.5], dtype=dtype),
        torch.tensor([[-50.0], [50.0]], dtype=dtype),
        torch.full((2, 1, 1), 0.01, dtype=dtype),
    )
    found = exact.posterior(mixture, torch.ones(1, 1), torch.tensor([50.0]), 0.01)
    assert 0 < float(found.weights[0]) < 1e-30
    assert_close(found.mean(), torch.tensor([50.0], dtype=dtype), 1e-4)


# --- what is put in place --------------------------------------------------------------------------------------------


@every_measurement
def test_what_is_replaced_has_the_law_that_is_stated(measurement, make_generator):
    """Along a random line of y. False-alarm rate 1e-10 each."""
    path, t, n = cosine(), number(0.6), 4000
    x = normal((n, *measurement.shape), make_generator(0))
    y = normal(tuple(measurement.forward(x[:1]).shape), make_generator(1))
    replaced = measurement.forward(inverse.replace(measurement, path, x, y, t, make_generator(2))).flatten(1)
    values, vectors = measurement.spectrum
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    for i in {0, len(values) // 2, len(values) - 1}:
        variance = sigma**2 * float(values[i]) - alpha**2 * measurement.std**2
        along = replaced @ vectors[:, i]
        if values[i] <= 1e-10 * values.max() or variance < 0:  # not measured, or noisier than what is there
            assert_close(along, measurement.forward(x).flatten(1) @ vectors[:, i], 1e-9)
        else:
            mean = alpha * float(y.flatten() @ vectors[:, i])
            scale = math.sqrt(2 * variance)
            cdf = lambda z, m=mean, s=scale: np.array([0.5 * math.erfc(-(v - m) / s) for v in z])  # noqa: E731
            assert farthest_from_cdf(along, cdf) < dkw_bound(n)


def test_the_noise_of_y_and_what_is_added_make_the_noise_of_x_t(make_generator):
    """Half of the noise of x_t comes with y. Without subtracting it, the variance would be 1.5 times as large.

    False-alarm rate 1e-10 (Dvoretzky, Kiefer and Wolfowitz).
    """
    path, t, n = cosine(), number(0.6), 20_000
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    measurement = inverse.noisy((1,), sigma / alpha / math.sqrt(2))
    y = measurement.measure(torch.full((n, 1), 0.7, dtype=torch.float64), make_generator(0))
    x = normal((n, 1), make_generator(1))
    replaced = inverse.replace(measurement, path, x, y, t, make_generator(2))[:, 0]
    cdf = lambda z: np.array([0.5 * math.erfc(-(v - 0.7 * alpha) / (sigma * math.sqrt(2))) for v in z])  # noqa: E731
    assert farthest_from_cdf(replaced, cdf) < dkw_bound(n)


def test_what_was_not_measured_stays(make_generator):
    measurement = inverse.masked(KNOWN)
    x, y = normal((3, *IMAGE), make_generator(0)), normal((1, 18), make_generator(1))
    for t in (0.9, 0.3, 0.0):
        replaced = inverse.replace(measurement, cosine(), x, y, number(t), make_generator(2))
        assert_close(replaced[:, ~KNOWN], x[:, ~KNOWN])
    assert_close(replaced[:, KNOWN], y.expand(3, 18), 1e-12)  # at t = 0: y itself


def test_only_directions_that_are_measured_more_clearly_are_replaced():
    """Three numbers of a point in the plane: one combination of them is always 0, and says nothing."""
    path, t = cosine(), number(0.5)
    noiseless = inverse.from_matrix(MATRIX, (2,))
    assert inverse.replaceable(noiseless, path, t).tolist() == [False, True, True]
    low, high = noiseless.spectrum[0][1:].tolist()
    ratio = float(path.sigma(t) / path.alpha(t))
    between = inverse.from_matrix(MATRIX, (2,), ratio * ((low + high) / 2) ** 0.5)
    assert inverse.replaceable(between, path, t).tolist() == [False, False, True]


def test_a_measurement_that_is_all_noise_replaces_nothing(make_generator):
    x, y = normal((3, 2), make_generator(0)), normal((3, 2), make_generator(1))
    replaced = inverse.replace(inverse.noisy((2,), 1e9), ddpm_linear(), x, y, number(0.9), make_generator(2))
    assert_close(replaced, x, 0)


# --- likelihoods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["noisy points", "one coordinate", "three of two", "fewer pixels", "masked images"])
@pytest.mark.parametrize("path", [cosine(), vp_linear()], ids=["cosine", "vp_linear"])
def test_the_unit_spread_is_exact_for_standard_normal_data(name, path, make_generator):
    measurement = MEASUREMENTS[name]
    d = math.prod(measurement.shape)
    prior = GaussianMixture(
        torch.ones(1, dtype=torch.float64),
        torch.zeros(1, *measurement.shape, dtype=torch.float64),
        torch.eye(d, dtype=torch.float64)[None],
    )
    y = measurement.measure(prior.sample(1, make_generator(0))[0], make_generator(1))
    truth = mixture_denoiser(exact.posterior(prior, measurement.matrix(), y.flatten(), measurement.std), path)
    denoise = mixture_denoiser(prior, path)
    guided = classifier_guided(denoise, path, inverse.gaussian_likelihood(denoise, path, measurement, y))
    x_t = normal((5, *measurement.shape), make_generator(2))
    for t in (0.9, 0.5, 0.05):
        assert_close(guided(x_t, number(t)), truth(x_t, number(t)), 1e-8)


def test_the_unit_spread_holds_on_paths_that_let_the_variance_grow(make_generator):
    """Where alpha^2 + sigma^2 is not 1: for x0 ~ N(0, I), Var[x0 | x_t] by the exact kernel."""
    prior = GaussianMixture(*(part.double() for part in (BROAD.weights, BROAD.means, BROAD.covariances)))
    for path in (ve(), rectified_flow()):
        for t in (number(0.3), number(0.8)):
            kernel = exact.reverse_kernel(prior, path, normal((1, 2), make_generator(0)), t, number(0.0), to_data=True)
            assert_close(kernel.covariance()[0], inverse.unit_spread(path, t) * torch.eye(2).double(), 1e-10)


def test_without_spread_it_is_the_gradient_of_theorem_1(make_generator):
    """For one Gaussian N(0, C), x0_hat = G x_t is linear, and the gradient G^T A^T (y - A G x_t) / std^2."""
    mixture, path, t = random_mixture(1, (2,), make_generator(0)), vp_linear(), number(0.4)
    mixture = GaussianMixture(mixture.weights, torch.zeros_like(mixture.means), mixture.covariances)
    alpha, sigma = path.alpha(t), path.sigma(t)
    C = mixture.covariances[0]
    G = alpha * C @ torch.linalg.inv(alpha**2 * C + sigma**2 * torch.eye(2, dtype=torch.float64))
    measurement, x, y = (
        MEASUREMENTS["three of two"],
        normal((4, 2), make_generator(1)),
        normal((4, 3), make_generator(2)),
    )
    denoise = mixture_denoiser(mixture, path)
    log_prob = inverse.gaussian_likelihood(denoise, path, measurement, y, inverse.no_spread)
    gradient = (y - x @ G.T @ MATRIX.T) @ MATRIX @ G / measurement.std**2
    wanted = x @ G.T + sigma**2 / alpha * gradient
    assert_close(classifier_guided(denoise, path, log_prob)(x, t), wanted, 1e-9)


def test_a_measurement_without_noise_needs_no_direction_that_it_does_not_have(make_generator):
    measurement = inverse.from_matrix(torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64), (2,))
    mixture, path = random_mixture(2, (2,), make_generator(0)), cosine()
    log_prob = inverse.gaussian_likelihood(
        mixture_denoiser(mixture, path), path, measurement, torch.ones(1, 2).double()
    )
    assert bool(torch.isfinite(log_prob(normal((3, 2), make_generator(1)), number(0.5))).all())


@pytest.mark.parametrize("spread", [inverse.no_spread, inverse.unit_spread])
def test_as_noise_grows_the_gradient_vanishes(spread, make_generator):
    mixture, path = random_mixture(3, (2,), make_generator(0)), cosine()
    denoise, x = mixture_denoiser(mixture, path), normal((5, 2), make_generator(1))
    log_prob = inverse.gaussian_likelihood(denoise, path, inverse.noisy((2,), 1e6), torch.ones(1, 2).double(), spread)
    assert_close(classifier_guided(denoise, path, log_prob)(x, number(0.6)), denoise(x, number(0.6)), 1e-9)


# --- loops -----------------------------------------------------------------------------------------------------------

TIMES = torch.linspace(1, 0, 31, dtype=torch.float64)


@pytest.fixture
def problem(make_generator):
    """A mixture with correlated coordinates, of which one is measured; its exact posterior."""
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    means = torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    mixture = GaussianMixture(weights, means, 0.5**2 * torch.eye(2, dtype=torch.float64).repeat(2, 1, 1))
    measurement = inverse.masked(torch.tensor([True, False]), 1e-3)
    return mixture, measurement, torch.tensor([[0.4]], dtype=torch.float64)


def upper_share(x):
    return float((x[:, 1] > 0).double().mean())


def test_replacement_is_biased_and_repaint_less_so(problem, make_generator):
    """0.28 and 0.04 off, n = 1,000: the standard error of a share is below 0.015 and 0.009."""
    mixture, measurement, y = problem
    truth = exact.posterior(mixture, measurement.matrix(), y[0], measurement.std)
    wanted = float(truth.weights[1])
    assert wanted > 0.95
    path = ddpm_linear()
    denoise, x = mixture_denoiser(mixture, path), normal((1000, 2), make_generator(0))
    naive = last(inverse.replacement(denoise, path, measurement, y, x, TIMES, generator=make_generator(1)))
    mended = last(inverse.repaint(denoise, path, measurement, y, x, TIMES, repeats=20, generator=make_generator(2)))
    assert wanted - upper_share(naive) > 0.15
    assert abs(wanted - upper_share(mended)) < 0.1


def test_replacement_is_repaint_that_never_goes_back_up(problem, make_generator):
    mixture, measurement, y = problem
    path, x = cosine(), normal((5, 2), make_generator(0))
    given = (mixture_denoiser(mixture, path), path, measurement, y, x, TIMES)
    states = list(inverse.replacement(*given, generator=make_generator(1)))
    again = list(inverse.repaint(*given, repeats=1, generator=make_generator(1)))
    for state, other, s in zip(states, again, TIMES[1:], strict=True):
        assert state.t == other.t == s
        assert_close(state.x, other.x, 0)


def test_dps_obeys_its_algorithm(make_generator):
    """One step from the same noise, in the paper's own words: DDPM's step, then zeta times the gradient of |r|^2."""
    mixture, path = random_mixture(2, (2,), make_generator(0)), ddpm_linear()
    measurement, denoise = MEASUREMENTS["three of two"], mixture_denoiser(mixture, path)
    x, y, times = normal((4, 2), make_generator(1)), normal((4, 3), make_generator(2)), TIMES[10:12]
    state = next(inverse.dps(denoise, path, measurement, y, x, times, scale=0.7, generator=make_generator(3)))
    unconditional = next(ancestral(denoise, path, x, times, generator=make_generator(3)))
    z = x.clone().requires_grad_()
    residual = y - denoise(z, times[0]) @ MATRIX.T
    squares = (residual**2).sum(dim=1)
    zeta = 0.7 / squares.detach().sqrt()
    (gradient,) = torch.autograd.grad((zeta * squares).sum(), z)
    assert state.t == times[1]
    assert_close(state.x, unconditional.x - gradient, 1e-10)
    assert_close(state.x0_hat, unconditional.x0_hat, 1e-12)


def test_dps_with_scale_0_is_ddpm(problem, make_generator):
    mixture, measurement, y = problem
    path, x = cosine(), normal((5, 2), make_generator(0))
    denoise = mixture_denoiser(mixture, path)
    found = last(inverse.dps(denoise, path, measurement, y, x, TIMES, scale=0.0, generator=make_generator(1)))
    assert_close(found, last(ancestral(denoise, path, x, TIMES, generator=make_generator(1))), 1e-9)


def test_dps_hears_noise_as_loud_as_a_message(make_generator):
    """Its step has a fixed length, whatever the noise: with a measurement that means nothing it leaves the prior."""
    mixture, path = random_mixture(2, (2,), make_generator(0)), ddpm_linear()
    denoise, x = mixture_denoiser(mixture, path), normal((500, 2), make_generator(1))
    noise_only = inverse.noisy((2,), 1e3)
    y = noise_only.measure(torch.zeros(500, 2, dtype=torch.float64), make_generator(2))
    moved = last(inverse.dps(denoise, path, noise_only, y, x, TIMES, generator=make_generator(3)))
    plain = last(ancestral(denoise, path, x, TIMES, generator=make_generator(3)))
    assert float((moved - plain).norm(dim=1).mean()) > 0.5


@pytest.mark.parametrize(("std", "last_step"), [(0.0, 3), (1e-3, 1)])
def test_loops_of_repaint_ask_as_often_as_they_say(std, last_step, problem, make_generator):
    """With noise in y, nothing is put in place on the last step, to sigma = 0."""
    mixture, _, y = problem
    measurement = inverse.masked(torch.tensor([True, False]), std)
    path, asked = cosine(), []
    denoise = mixture_denoiser(mixture, path)

    def counted(x_t, t):
        asked.append(float(t))
        return denoise(x_t, t)

    x = normal((3, 2), make_generator(0))
    states = list(inverse.repaint(counted, path, measurement, y, x, TIMES, repeats=3, generator=make_generator(1)))
    assert len(states) == 30
    assert asked == [float(t) for t in TIMES[:-2] for _ in range(3)] + [float(TIMES[-2])] * last_step
    assert torch.is_grad_enabled()


def test_repaint_goes_back_up_by_the_path(problem, make_generator):
    """Two rounds of one step, by hand, with the same draws."""
    mixture, measurement, y = problem
    path, times = ddpm_linear(), TIMES[5:7]
    t, s = times
    denoise, x = mixture_denoiser(mixture, path), normal((3, 2), make_generator(0))
    found = last(inverse.repaint(denoise, path, measurement, y, x, times, repeats=2, generator=make_generator(1)))
    g = make_generator(1)
    z = x
    for again in (0, 1):
        z = next(ancestral(denoise, path, z, times, generator=g)).x
        z = inverse.replace(measurement, path, z, y, s, g)
        if again == 0:
            factor, variance = path.transition(t, s)
            z = factor * z + variance.sqrt() * torch.randn(z.shape, generator=g, dtype=z.dtype)
    assert_close(found, z, 1e-12)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: inverse.noisy((2,), -1.0), "std must be >= 0 and finite, but is -1.0"),
        (lambda: inverse.noisy((2,), math.nan), "std must be >= 0"),
        (
            lambda: inverse.masked(torch.zeros(2, dtype=torch.bool)),
            "known must be a bool tensor with at least one True",
        ),
        (lambda: inverse.masked(torch.ones(2)), "known must be a bool tensor"),
        (lambda: inverse.downsampled((1, 8, 6), 4), "multiples of factor"),
        (lambda: inverse.downsampled((8, 8), 2), "shape must be"),
        (lambda: inverse.blurred((1, 8, 8), 0.0), "width positive"),
        (lambda: inverse.from_matrix(torch.ones(2, 3), (2,)), r"matrix must have shape \(m, 2\)"),
        (
            lambda: exact.posterior(BROAD, torch.ones(1, 3), torch.ones(1), 1.0),
            r"matrix must have shape \(len\(y\), 2\)",
        ),
        (lambda: exact.posterior(BROAD, torch.ones(1, 2), torch.ones(1), 0.0), "std must be positive and finite"),
    ],
)
def test_a_measurement_that_means_nothing_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x": torch.zeros(3, 3)}, r"x must have shape \(B, \*\(2,\)\)"),
        ({"x": torch.full((3, 2), math.nan)}, "x must be finite"),
        ({"y": torch.zeros(2, 1)}, r"y must have shape \(1, \*\(1,\)\) or \(3, ...\)"),
        ({"y": torch.zeros(3, 2)}, "y must have shape"),
        ({"y": torch.full((1, 1), math.inf)}, "y must be finite"),
        ({"times": torch.linspace(0, 1, 5)}, "times must fall strictly"),
    ],
)
def test_a_problem_that_does_not_fit_is_refused(changed, words, make_generator):
    given = {"y": torch.zeros(1, 1), "x": torch.zeros(3, 2), "times": torch.linspace(1, 0, 5)} | changed
    measurement = inverse.masked(torch.tensor([True, False]))
    for loop in (inverse.replacement, inverse.repaint, inverse.dps):
        with pytest.raises(ValueError, match=words):
            next(loop(mixture_denoiser(BROAD, cosine()), cosine(), measurement, **given, generator=make_generator(0)))


@pytest.mark.parametrize("repeats", [0, 1.5, True])
def test_repeats_must_be_a_whole_number(repeats, make_generator):
    given = torch.zeros(1, 1), torch.zeros(3, 2), torch.linspace(1, 0, 5)
    measurement = inverse.masked(torch.tensor([True, False]))
    with pytest.raises(ValueError, match="repeats must be a whole number"):
        next(inverse.repaint(None, cosine(), measurement, *given, repeats=repeats, generator=make_generator(0)))


def test_scale_must_be_a_number_from_0_on(make_generator):
    given = torch.zeros(1, 1), torch.zeros(3, 2), torch.linspace(1, 0, 5)
    with pytest.raises(ValueError, match=r"scale must be >= 0 and finite, but is -1\.0"):
        next(
            inverse.dps(
                None,
                cosine(),
                inverse.masked(torch.tensor([True, False])),
                *given,
                scale=-1.0,
                generator=make_generator(0),
            )
        )
