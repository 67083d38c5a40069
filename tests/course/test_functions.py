"""Kernels, noise of a Gaussian process, waves, the telegraph and scores: against SciPy, scikit-learn, brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.signal import resample as scipy_resample
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ExpSineSquared, Matern

from minidiff import exact, functions, inverse, samplers
from minidiff.functions import Telegraph, Whitening, circle, coverage, crps, line, log_snr_shift, low_pass, resample
from minidiff.paths import GaussianPath
from minidiff.schedules import cosine, ddpm_linear, rectified_flow
from minidiff.training import Batch, denoising_objective
from tests.cases import assert_close, every_path, normal, number

KERNELS = {
    "squared exponential": (functions.squared_exponential, RBF(0.2)),
    "matern": (functions.matern, Matern(0.2, nu=1.5)),
    "exponential": (functions.exponential, Matern(0.2, nu=0.5)),
    "on a circle": (functions.squared_exponential_on_circle, ExpSineSquared(0.2, 1.0)),
}
every_kernel = pytest.mark.parametrize(("kernel", "theirs"), KERNELS.values(), ids=KERNELS)
COSINE = cosine()


def waves_of(kernel, n):
    """The variances of the Fourier coefficients (of the mean of f e^ikx) of a stationary process on a circle, (n,)."""
    return torch.fft.fft(kernel[0]).real / n


# --- kernels and processes -------------------------------------------------------------------------------------------


@every_kernel
def test_kernels_are_those_of_scikit_learn(kernel, theirs):
    x = line(23)
    assert_close(kernel(x, 0.2), torch.from_numpy(theirs(x.numpy()[:, None])))


def test_the_exponential_kernel_on_a_circle_is_the_sum_over_all_turns():
    found = functions.exponential_on_circle(circle(40), 0.3)
    wrapped = sum(torch.exp(-(circle(40) + turn).abs() / 0.3) for turn in range(-60, 61))
    assert_close(found[0], wrapped / wrapped[0], 1e-10)
    assert_close(found, found.roll((1, 1), (0, 1)))  # the same everywhere on the circle
    far = torch.tensor([0.0, 1.3], dtype=torch.float64)
    assert_close(functions.exponential_on_circle(far, 0.3)[0, 1], functions.exponential_on_circle(far % 1, 0.3)[0, 1])


def test_a_grid_has_its_ends_or_none():
    assert_close(line(5), torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64))
    assert_close(circle(4), torch.tensor([0, 0.25, 0.5, 0.75], dtype=torch.float64))


def test_a_gaussian_process_is_a_mixture_with_its_kernels(make_generator):
    a, b = functions.squared_exponential(line(30), 0.1), functions.squared_exponential(line(30), 0.4)
    found = functions.gaussian_process(a, b)
    assert_close(found.weights, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert_close(found.covariances, torch.stack([a, b]) + 3e-5 * torch.eye(30, dtype=torch.float64))
    uneven = functions.gaussian_process(a, b, weights=torch.tensor([0.25, 0.75]), jitter=1e-3)
    assert_close(uneven.covariance(), (a + 3 * b) / 4 + 1e-3 * torch.eye(30, dtype=torch.float64))
    assert float(found.means.abs().max()) == 0 and uneven.sample(3, make_generator(0))[0].shape == (3, 30)


@pytest.mark.parametrize("n", [32, 128])
def test_the_jitter_is_enough_in_single_precision(n):
    mixture = functions.gaussian_process(functions.squared_exponential(line(n), 0.2)).to(torch.float32)
    assert float(mixture.spectrum[0].min()) > 0
    with pytest.raises(ValueError, match="positive definite"):
        functions.gaussian_process(functions.squared_exponential(line(128), 0.2), jitter=0).to(torch.float32)


@every_path
def test_the_chain_is_a_gaussian_process_in_time(path):
    """Step by step, x_t = factor x_s + noise; a Markov chain's inverse covariance has three diagonals."""
    times = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    found = functions.chain_covariance(path, times)
    covariance = torch.zeros(6, 6, dtype=torch.float64)
    covariance[0, 0] = path.sigma(times[0]) ** 2
    for i, (s, t) in enumerate(itertools.pairwise(times), start=1):
        factor, variance = path.transition(t, s)
        covariance[i, :i] = covariance[:i, i] = factor * covariance[i - 1, :i]
        covariance[i, i] = factor**2 * covariance[i - 1, i - 1] + variance
    assert_close(found, covariance, 1e-10)
    inverse_ = torch.linalg.inv(found)
    assert float((inverse_ - inverse_.tril(1).triu(-1)).abs().max() / inverse_.abs().max()) < 1e-9
    ends = functions.chain_covariance(path, torch.tensor([path.t_min, 0.5, 1.0], dtype=torch.float64))
    assert bool(torch.isfinite(ends).all()) and float(ends[2, 2]) == pytest.approx(float(path.sigma(number(1.0))) ** 2)
    shuffled = torch.tensor([4, 0, 2])
    assert_close(functions.chain_covariance(path, times[shuffled]), found[shuffled][:, shuffled])


@every_path
def test_the_posterior_of_a_step_is_regression_with_one_observation(path, make_generator):
    s, t = number(0.3), number(0.7)
    covariance = functions.chain_covariance(path, torch.stack([s, t]))
    x0, x_t = normal((5, 2), make_generator(0)), normal((5, 2), make_generator(1))
    mean, variance = path.posterior(x_t, x0, t, s)
    gain = covariance[0, 1] / covariance[1, 1]
    assert_close(mean, path.alpha(s) * x0 + gain * (x_t - path.alpha(t) * x0), 1e-9)
    assert_close(variance, covariance[0, 0] - gain * covariance[0, 1], 1e-9)


@every_kernel
@pytest.mark.parametrize("path", [COSINE, rectified_flow(), ddpm_linear()], ids=["cosine", "flow", "ddpm"])
def test_denoising_a_function_is_the_regression_of_scikit_learn(kernel, theirs, path, make_generator):
    x = line(40)
    process = functions.gaussian_process(kernel(x, 0.2), jitter=1e-9)
    f = process.sample(3, make_generator(0))[0]
    for t in (number(0.2), number(0.5), number(0.8)):
        noisy = path.perturb(f, t, normal(f.shape, make_generator(1)))
        alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
        regression = GaussianProcessRegressor(theirs, alpha=(sigma / alpha) ** 2, optimizer=None)
        regression.fit(x.numpy()[:, None], noisy.T.numpy() / alpha)
        mean, std = regression.predict(x.numpy()[:, None], return_std=True)
        assert_close(exact.posterior_mean(process, path, noisy, t), torch.from_numpy(mean.T), 1e-6)
        kernel_of = exact.reverse_kernel(process, path, noisy[:1], t, number(0.0), to_data=True)
        assert_close(kernel_of.covariance()[0].diagonal().sqrt(), torch.from_numpy(std[:, 0]), 1e-6)


# --- noise that is not white -----------------------------------------------------------------------------------------


def ou_whitening(n=20, length=0.2):
    return Whitening(functions.exponential_on_circle(circle(n), length))


def test_whitening_there_and_back(make_generator):
    whitening, f = ou_whitening(), normal((7, 20), make_generator(0))
    assert_close(whitening.coloured(whitening.white(f)), f)
    assert_close(whitening.factor @ whitening.factor.T, whitening.covariance)
    assert_close(whitening.white(f).T, torch.linalg.solve(torch.linalg.cholesky(whitening.covariance), f.T))


def test_coloured_noise_has_its_covariance(make_generator):
    """20,000 draws; each of 400 entries has a standard error below 0.01, and is beyond 0.08 once in 10^13."""
    whitening = ou_whitening()
    noise = whitening.noise(torch.zeros(20_000, 20, dtype=torch.float64), make_generator(0))
    assert float((noise.T @ noise / 20_000 - whitening.covariance).abs().max()) < 0.08
    assert whitening.noise(torch.zeros(2, 20), make_generator(0)).dtype == torch.float32


def test_the_mixture_and_the_denoiser_of_white_points(make_generator):
    """E[f | f_t] with coloured noise, by the formula K alpha (alpha^2 K + sigma^2 C)^-1 f_t."""
    whitening, t = ou_whitening(), number(0.4)
    process = functions.gaussian_process(functions.squared_exponential_on_circle(circle(20), 0.5))
    K, C = process.covariances[0], whitening.covariance
    alpha, sigma = COSINE.alpha(t), COSINE.sigma(t)
    noisy = normal((4, 20), make_generator(0))
    wanted = noisy @ torch.linalg.solve(alpha**2 * K + sigma**2 * C, alpha * K)
    white = exact.mixture_denoiser(whitening.mixture(process), COSINE)
    assert_close(whitening.coloured(white(whitening.white(noisy), t)), wanted, 1e-7)
    back = whitening.denoiser(lambda f, t: f @ torch.linalg.solve(alpha**2 * K + sigma**2 * C, alpha * K))
    assert_close(back(whitening.white(noisy), t), white(whitening.white(noisy), t), 1e-7)


def test_a_mixture_with_means_moves_with_them(make_generator):
    whitening = ou_whitening()
    mixture = exact.GaussianMixture(
        torch.tensor([0.3, 0.7]).double(), normal((2, 20), make_generator(0)), whitening.covariance.expand(2, 20, 20)
    )
    found = whitening.mixture(mixture)
    assert_close(found.means, whitening.white(mixture.means))
    assert_close(found.covariances, torch.eye(20, dtype=torch.float64).expand(2, 20, 20), 1e-10)


def test_a_measurement_of_white_points_is_that_of_their_functions(make_generator):
    whitening, known = ou_whitening(), torch.zeros(20, dtype=torch.bool)
    known[[3, 9, 17]] = True
    measurement = inverse.masked(known, std=0.1)
    found = whitening.measurement(measurement)
    u, y = normal((5, 20), make_generator(0)), normal((5, 3), make_generator(1))
    assert_close(found.forward(u), whitening.coloured(u)[:, known])
    assert_close((found.adjoint(y) * u).sum(1), (y * found.forward(u)).sum(1))  # what an adjoint is
    assert_close(found.matrix(), measurement.matrix() @ whitening.factor)
    assert found.shape == (20,) and found.std == 0.1


def test_whitened_by_its_own_covariance_guidance_is_exact(make_generator):
    """The prior of u is N(0, I), so the spread that `gaussian_likelihood` assumes is the true one, at every time."""
    process = functions.gaussian_process(functions.squared_exponential(line(16), 0.2))
    whitening = Whitening(process.covariances[0])
    white = whitening.mixture(process)
    matrix = torch.eye(16, dtype=torch.float64)[[2, 5, 11]]
    y = normal((1, 3), make_generator(0))
    measurement = whitening.measurement(inverse.from_matrix(matrix, (16,), 0.1))
    denoise = exact.mixture_denoiser(white, COSINE)
    likelihood = inverse.gaussian_likelihood(denoise, COSINE, measurement, y)
    from minidiff.denoisers import classifier_guided

    conditional = exact.mixture_denoiser(exact.posterior(white, measurement.matrix(), y[0], 0.1), COSINE)
    u = normal((4, 16), make_generator(1))
    for t in (number(0.1), number(0.5), number(0.9)):
        assert_close(classifier_guided(denoise, COSINE, likelihood)(u, t), conditional(u, t), 1e-5)


def test_the_objective_draws_the_noise_it_is_given_and_white_noise_as_before(make_generator):
    whitening, batch = ou_whitening(), Batch(torch.zeros(3, 20))
    plain, other = denoising_objective(COSINE, "v"), denoising_objective(COSINE, "v", noise=whitening.noise)
    a, b = plain.draw(batch, make_generator(0)), other.draw(batch, make_generator(0))
    assert torch.equal(a.t, b.t) and torch.equal(b.eps, whitening.coloured(a.eps))


@pytest.mark.parametrize(("n", "n0"), [(128, 32), (16, 64), (7, 7)])
@every_path
def test_the_shifted_path_has_a_lower_log_snr(path, n, n0):
    t = torch.linspace(max(path.t_min, 0.05), 0.95, 9, dtype=torch.float64)
    shifted = log_snr_shift(path, n, n0)
    assert_close(shifted.log_snr(t), path.log_snr(t) - math.log(n / n0), 1e-10)
    assert_close(torch.hypot(shifted.alpha(t), shifted.sigma(t)), torch.hypot(path.alpha(t), path.sigma(t)))
    assert shifted.t_min == path.t_min and float(shifted.alpha(number(0.5))) > 0


def test_a_finer_grid_with_the_shifted_path_is_as_hard_as_the_coarse_one():
    """The mean square error of the best filter, by the waves: 0.900 and 0.394 without the shift."""

    def error(n, path):
        t = number(0.9)
        signal = waves_of(functions.squared_exponential_on_circle(circle(n), 0.5), n).clamp(min=0)
        alpha, sigma = path.alpha(t), path.sigma(t)
        return float((signal * sigma**2 / n / (alpha**2 * signal + sigma**2 / n)).sum())

    assert error(32, COSINE) == pytest.approx(0.900, abs=1e-3) and error(512, COSINE) == pytest.approx(0.394, abs=1e-3)
    assert error(512, log_snr_shift(COSINE, 512, 32)) == pytest.approx(error(32, COSINE), abs=1e-9)


# --- waves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n0", "n"), [*itertools.product([8, 9, 15, 16], [8, 9, 15, 16, 31, 64])])
def test_resampling_is_that_of_scipy(n0, n, make_generator):
    f = normal((3, n0), make_generator(0))
    assert_close(resample(f, n), torch.from_numpy(scipy_resample(f.numpy(), n, axis=1)), 1e-10)


def test_resampling_puts_a_wave_on_another_grid_and_keeps_the_points_in_common(make_generator):
    wave = torch.cos(2 * math.pi * (3 * circle(16) + 0.1))
    assert_close(resample(wave[None], 50)[0], torch.cos(2 * math.pi * (3 * circle(50) + 0.1)))
    f = normal((2, 5, 16), make_generator(0))
    assert_close(resample(f, 64)[..., ::4], f)
    assert_close(resample(resample(f, 64), 16), f)
    assert resample(f.float(), 20).dtype == torch.float32 and torch.equal(
        resample(f, 16).round(decimals=9), f.round(decimals=9)
    )


def test_a_low_pass_keeps_slow_waves_and_drops_fast_ones():
    x = circle(32)
    slow, fast = torch.cos(2 * math.pi * 4 * x) + 2, torch.sin(2 * math.pi * 5 * x)
    assert_close(low_pass((slow + fast)[None], 4)[0], slow)
    assert_close(low_pass((slow + fast)[None], 5)[0], slow + fast)
    limited = functions.band_limited(lambda f, t: f * (1 + t), 4)
    assert_close(limited((slow + fast)[None], number(0.5))[0], 1.5 * slow)
    assert_close(low_pass(slow[None] + fast, 0)[0], torch.full((32,), 2.0, dtype=torch.float64))


# --- the telegraph ---------------------------------------------------------------------------------------------------


def all_signals(telegraph):
    """Every signal of few points, (2^n, n), and its probability, (2^n,)."""
    signals = torch.tensor(list(itertools.product([1.0, -1.0], repeat=telegraph.n)), dtype=torch.float64)
    jumps = (signals[:, 1:] != signals[:, :-1]).sum(1).double()
    return signals, 0.5 * telegraph.flip**jumps * (1 - telegraph.flip) ** (telegraph.n - 1 - jumps)


def test_the_exact_telegraph_denoiser_is_the_sum_over_all_signals(make_generator):
    telegraph = Telegraph(7, 3.0)
    signals, prior = all_signals(telegraph)
    assert float(prior.sum()) == pytest.approx(1)
    noisy = 1.5 * normal((6, 7), make_generator(0))
    for path, t in itertools.product([COSINE, rectified_flow()], [number(0.2), number(0.6), number(0.95)]):
        squares = ((noisy[:, None] - path.alpha(t) * signals) ** 2).sum(2)
        weights = torch.softmax(prior.log() - squares / (2 * path.sigma(t) ** 2), dim=1)
        assert_close(telegraph.denoiser(path)(noisy, t), weights @ signals, 1e-9)
        assert_close(telegraph.denoiser(path)(noisy, t.expand(6)), weights @ signals, 1e-9)


def test_the_telegraph_denoiser_is_finite_at_both_ends(make_generator):
    telegraph = Telegraph(64, 3.0)
    f = telegraph.sample(3, make_generator(0))
    for t in (0.001, 0.9999):
        found = telegraph.denoiser(COSINE)(f, torch.tensor(t))
        assert bool(torch.isfinite(found).all()) and float(found.abs().max()) <= 1
    assert_close(telegraph.denoiser(COSINE)(f, torch.tensor(0.001)), f, 1e-5)


def test_telegraph_signals_have_the_covariance_of_an_ornstein_uhlenbeck_process(make_generator):
    """20,000 signals: an entry is off by 0.05 (7 standard errors) less than once in 10^11."""
    telegraph = Telegraph(24, 4.0)
    f = telegraph.sample(20_000, make_generator(0)).double()
    assert bool((f.abs() == 1).all())
    assert float((f.T @ f / 20_000 - functions.exponential(line(24), 1 / 8)).abs().max()) < 0.05
    assert float(f.mean().abs()) < 0.05
    signals, prior = all_signals(Telegraph(5, 4.0))
    exactly = torch.einsum("k,ki,kj->ij", prior, signals, signals)
    assert_close(exactly, functions.exponential(line(5), 1 / 8), 1e-12)


# --- scores of a band ------------------------------------------------------------------------------------------------


def test_crps_is_the_mean_over_all_pairs(make_generator):
    samples, truth = normal((4, 7, 3), make_generator(0)), normal((4, 3), make_generator(1))
    pairs = (samples[:, :, None] - samples[:, None]).abs().sum((1, 2)) / (7 * 6)
    assert_close(crps(samples, truth), (samples - truth[:, None]).abs().mean(1) - pairs / 2)


def test_crps_of_normal_samples_is_its_closed_form(make_generator):
    """Gneiting & Raftery 2007, equation 5; 100,000 samples, so 0.02 is 8 standard errors and more."""
    samples = 1.5 * normal((1, 100_000, 1), make_generator(0)) + 0.5
    for value in (-1.0, 0.5, 3.0):
        z = (value - 0.5) / 1.5
        wanted = 1.5 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
        assert float(crps(samples, torch.full((1, 1), value, dtype=torch.float64))) == pytest.approx(wanted, abs=0.02)


def test_coverage_asks_whether_the_middle_of_the_samples_holds_the_truth(make_generator):
    samples = torch.arange(101.0)[None, :, None].expand(1, 101, 4)
    truth = torch.tensor([[4.5, 5.5, 94.5, 95.5]])
    assert torch.equal(coverage(samples, truth, 0.9), torch.tensor([[0.0, 1.0, 1.0, 0.0]]))
    exact_draws = normal((2000, 400, 2), make_generator(0))
    found = coverage(exact_draws, normal((2000, 2), make_generator(1)), 0.8)
    assert float(found.mean()) == pytest.approx(0.8, abs=0.05)  # 7 standard errors of 4,000 answers


def test_what_cannot_be_meant_is_refused():
    for make in (line, circle):
        with pytest.raises(ValueError, match="n must be a whole number"):
            make(1)
    with pytest.raises(TypeError, match="x must be places"):
        functions.matern(torch.zeros(3, 2), 0.1)
    with pytest.raises(ValueError, match="length must be finite and > 0"):
        functions.exponential(line(3), 0.0)
    with pytest.raises(ValueError, match="at least one kernel"):
        functions.gaussian_process()
    with pytest.raises(ValueError, match="level must lie in"):
        coverage(torch.zeros(1, 3, 2), torch.zeros(1, 2), 1.0)
    for score in (crps, lambda a, b: coverage(a, b, 0.9)):
        with pytest.raises(ValueError, match=r"samples must have shape \(P, M, n\)"):
            score(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="number of samples must be a whole number"):
        crps(torch.zeros(1, 1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="rate must be"):
        Telegraph(5, -1.0)
    for n, n0 in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="must be a whole number"):
            log_snr_shift(COSINE, n, n0)


def test_a_whole_walk_in_white_coordinates_draws_the_process(make_generator):
    """The variance of 3,000 draws at 20 points, within 7 standard errors; DDIM's 100 steps are off by less than 1 %."""
    whitening = ou_whitening()
    process = functions.gaussian_process(functions.squared_exponential_on_circle(circle(20), 0.5))
    denoise = exact.mixture_denoiser(whitening.mixture(process), COSINE)
    start = normal((3000, 20), make_generator(0))
    drawn = whitening.coloured(
        samplers.last(samplers.dpmpp_2m(denoise, COSINE, start, torch.linspace(0.998, 0, 31, dtype=torch.float64)))
    )
    assert float((drawn.T @ drawn / 3000 - process.covariances[0]).abs().max()) < 7 * math.sqrt(2 / 3000) + 0.02


def test_a_path_of_any_scale_may_be_shifted():
    growing = GaussianPath(alpha=torch.ones_like, sigma=lambda t: 5 * t)
    assert float(log_snr_shift(growing, 4, 1).sigma(number(1.0))) == pytest.approx(2 * 5 * math.sqrt(26 / 101))
    assert np.isfinite(float(log_snr_shift(growing, 4, 1).alpha(number(0.0))))
