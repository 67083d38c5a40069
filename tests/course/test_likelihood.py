"""The bound against its definition and its closed form; the ODE's log-likelihood against the exact density; bits."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.distributions import Normal, kl_divergence

from minidiff import bounds, likelihood
from minidiff.bounds import variational_bound
from minidiff.data import eight_gaussians, three_gaussians
from minidiff.denoisers import from_network
from minidiff.exact import GaussianMixture, log_prob, mixture_denoiser, score
from minidiff.likelihood import (
    bits_per_dim,
    dequantised,
    normal_probe,
    ode_log_likelihood,
    rademacher_probe,
    velocity_and_divergence,
)
from minidiff.networks import MLP, UNet, initialised
from minidiff.paths import GaussianPath
from minidiff.samplers import forward_variance, posterior_variance
from minidiff.schedules import cosine, ddpm_linear, vp_linear
from tests.cases import (
    PATHS,
    dkw_bound,
    every_path,
    every_shape,
    farthest_from_cdf,
    normal,
    number,
    random_mixture,
)

VP = vp_linear()
VARIANCES = {"tilde": posterior_variance, "beta": forward_variance}
every_variance = pytest.mark.parametrize("variance", VARIANCES.values(), ids=VARIANCES)


def falling(n, start=1.0, end=0.0):
    return torch.linspace(start, end, n + 1, dtype=torch.float64)


def one_gaussian(std, shape=(1,)):
    d = math.prod(shape)
    return GaussianMixture(torch.ones(1), torch.zeros(1, *shape), std**2 * torch.eye(d)[None]).to(torch.float64)


def gaussian_denoiser(path, std):
    """E[x0 | x_t] of N(0, std^2 I), written out."""

    def denoise(x_t, t):
        alpha, sigma = path.alpha(t).to(x_t), path.sigma(t).to(x_t)
        return alpha * std**2 / (alpha**2 * std**2 + sigma**2) * x_t

    return denoise


def gaussian_log_prob(x, std):
    """log N(x; 0, std^2 I), (B,), in float64."""
    return Normal(number(0.0), number(std)).log_prob(x.double()).flatten(1).sum(1)


def exact_log_prob(mixture, x):
    """log p of clean data."""
    return log_prob(mixture, VP, x, number(0.0))


def wavy(x_t, t):
    """Some denoiser."""
    return torch.sin(2 * x_t) + t


# --- the bound, term by term -----------------------------------------------------------------------------------------


@every_path
@every_shape
@every_variance
def test_each_term_is_the_divergence_of_its_gaussians(path, shape, variance, make_generator):
    """Against the KL of torch.distributions, on the same noise, with any denoiser."""
    x0, times, g = normal(shape, make_generator(0)), falling(5, 0.95, path.t_min), make_generator(1)
    bound = variational_bound(wavy, path, x0, times, generator=make_generator(1), variance=variance)
    noisy = [t for t in times if path.sigma(t) > 0]
    assert bound.times.tolist() == [float(t) for t in noisy]
    assert len(bound.steps) == len(noisy) - 1
    for found, t, s in zip(bound.steps, noisy[:-1], noisy[1:], strict=True):
        x_t = path.perturb(x0, t, normal(shape, g))
        mean_q, of_q = path.posterior(x_t, x0, t, s)
        mean_p, _ = path.posterior(x_t, wavy(x_t, t), t, s)
        p = Normal(mean_p, variance(path, t, s).sqrt())
        expected = kl_divergence(Normal(mean_q, of_q.sqrt()), p).flatten(1).sum(1)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    end = noisy[-1]
    x0_hat = wavy(path.perturb(x0, end, normal(shape, g)), end)
    decoder = -Normal(x0_hat, path.sigma(end)).log_prob(x0).flatten(1).sum(1)
    torch.testing.assert_close(bound.decoder, decoder, rtol=1e-10, atol=1e-10)
    alpha, sigma = path.alpha(times[0]), path.sigma(times[0])
    prior = kl_divergence(Normal(alpha * x0, sigma), Normal(torch.zeros_like(x0), torch.hypot(alpha, sigma)))
    torch.testing.assert_close(bound.prior, prior.flatten(1).sum(1), rtol=1e-10, atol=1e-10)
    total = bound.prior + bound.decoder + bound.steps.sum(dim=0)
    torch.testing.assert_close(bound.log_likelihood, -total)
    assert bound.decoder_variance == pytest.approx(float(path.sigma(end)) ** 2)
    assert bound.standard_error == pytest.approx(float(np.std(total.numpy(), ddof=1)) / math.sqrt(len(x0)))


def test_a_chain_may_end_on_data_or_just_before_it(make_generator):
    """A last time without noise is the decoder's own step, and adds no term."""
    x0, times = normal((3, 2), make_generator(0)), torch.tensor([0.9, 0.5, 0.1, 0.0], dtype=torch.float64)
    to_data = variational_bound(wavy, VP, x0, times, generator=make_generator(1))
    before = variational_bound(wavy, VP, x0, times[:-1], generator=make_generator(1))
    assert torch.equal(to_data.log_likelihood, before.log_likelihood) and len(before.steps) == 2
    single = variational_bound(wavy, VP, x0, times[2:], generator=make_generator(1))  # a prior and a decoder
    assert single.steps.shape == (0, 3)
    assert torch.equal(single.log_likelihood, -(single.prior + single.decoder))


def test_the_decoder_may_have_any_stated_variance(make_generator):
    x0, times = normal((4, 2), make_generator(0)), falling(3)
    bound = variational_bound(wavy, VP, x0, times, generator=make_generator(1), decoder_variance=0.3)
    usual = variational_bound(wavy, VP, x0, times, generator=make_generator(1))
    v = usual.decoder_variance
    mistakes = 2 * v * (usual.decoder - math.log(2 * math.pi * v))
    torch.testing.assert_close(bound.decoder, mistakes / 0.6 + math.log(2 * math.pi * 0.3))
    assert bound.decoder_variance == 0.3 and torch.equal(bound.steps, usual.steps)


def test_single_precision_gives_the_same_bound(make_generator):
    """Close numbers are never subtracted: 1,000 steps in float32 lose nothing that matters."""
    mixture = three_gaussians()
    x0, _ = mixture.sample(200, make_generator(0))
    denoise, times = mixture_denoiser(mixture, VP), falling(200)
    noise = [normal((200, 2), make_generator(1, k)) for k in range(200)]

    def bound(dtype):
        """With the same noise in both precisions: the denoiser puts its own in the place of what was drawn."""
        draws = iter(noise)

        def on_given_noise(x_t, t):
            return denoise(VP.perturb(x0.to(dtype), t, next(draws).to(dtype)), t)

        return variational_bound(on_given_noise, VP, x0.to(dtype), times, generator=make_generator(2))

    torch.testing.assert_close(
        bound(torch.float32).log_likelihood, bound(torch.float64).log_likelihood, rtol=0, atol=2e-3
    )


# --- the bound of one Gaussian, in closed form -----------------------------------------------------------------------


def gaussian_gap(path, times, std, variance):
    """log p less the bound in nats, averaged over data and noise, in plain numbers (notebook 07, section 4).

    Var[x0 | x_t] = U is all that the terms need, and -E[log p] is the entropy.
    """
    alpha, sigma = (f(times).numpy()[::-1] for f in (path.alpha, path.sigma))
    alpha, sigma = alpha[sigma > 0], sigma[sigma > 0]
    unknown = std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2)
    snr = alpha**2 / sigma**2
    ratio = {"beta": (sigma[:-1] / sigma[1:]) ** 2, "tilde": np.ones(len(snr) - 1)}[variance]  # sigma tilde^2 / chosen
    steps = 0.5 * (ratio - 1 - np.log(ratio)) + 0.5 * ratio * (snr[:-1] - snr[1:]) * unknown[1:]
    decoder = 0.5 * (np.log(2 * np.pi * sigma[0] ** 2) + unknown[0] / sigma[0] ** 2)
    total = alpha[-1] ** 2 + sigma[-1] ** 2
    prior = 0.5 * ((sigma[-1] ** 2 + alpha[-1] ** 2 * std**2) / total - 1 - np.log(sigma[-1] ** 2 / total))
    return steps.sum() + decoder + prior - 0.5 * np.log(2 * np.pi * np.e * std**2)


def mean_gap(path, times, std, variance):
    """The same gap from the module, without Monte Carlo: one x0 of square std^2, and a denoiser whose mistake has the
    square that the exact one has on average, at every t."""
    x0 = torch.full((1, 1), std, dtype=torch.float64)

    def typical(x_t, t):
        return x0 - (std**2 * path.sigma(t) ** 2 / (path.alpha(t) ** 2 * std**2 + path.sigma(t) ** 2)).sqrt()

    unused = torch.Generator()
    bound = variational_bound(typical, path, x0, times, generator=unused, variance=VARIANCES[variance])
    return -0.5 * math.log(2 * math.pi * math.e * std**2) - float(bound.log_likelihood)


def log_snr_times(n, t0=1e-5):
    """Times evenly spread in log-SNR along vp_linear, from 1 down to t0: log alpha = -4.975 t^2 - 0.05 t, inverted."""
    ends = VP.log_snr(torch.tensor([1.0, t0], dtype=torch.float64))
    log_alpha = 0.5 * nn.functional.logsigmoid(torch.linspace(*ends.tolist(), n + 1, dtype=torch.float64))
    return ((0.05**2 - 4 * 4.975 * log_alpha).sqrt() - 0.05) / (2 * 4.975)


@every_path
@pytest.mark.parametrize("variance", VARIANCES)
def test_the_gap_of_one_gaussian_is_its_closed_form(path, variance):
    times = falling(20, 0.95, path.t_min)
    assert mean_gap(path, times, 0.3, variance) == pytest.approx(gaussian_gap(path, times, 0.3, variance), abs=1e-9)


@pytest.mark.parametrize(
    ("grid", "variance", "at_1000"),
    [(falling, "beta", 0.01962), (log_snr_times, "tilde", 0.04935)],
    ids=["beta, even in t", "beta tilde, even in log-SNR"],
)
def test_the_gap_closes_as_one_over_the_steps(grid, variance, at_1000):
    """Twice the steps, half the gap, over four sizes (and three more in closed form); s = 0.1, one dimension."""
    sizes = (125, 250, 500, 1000)
    gaps = [mean_gap(VP, grid(n), 0.1, variance) for n in sizes]
    finer = [gaussian_gap(VP, grid(n), 0.1, variance) for n in (2000, 4000, 8000)]  # the same in closed form
    for n, gap in zip(sizes, gaps, strict=True):
        assert gap == pytest.approx(gaussian_gap(VP, grid(n), 0.1, variance), rel=1e-5)
    assert gaps[3] == pytest.approx(at_1000, rel=1e-3)
    for coarse, fine in itertools.pairwise(gaps + finer):
        assert 1.9 < coarse / fine < 2.1


def test_the_usual_variance_on_the_usual_grid_leaves_gamma_halves():
    """DDPM's beta tilde, even in t: never below Euler's gamma / 2, and there in the limit, for every s."""
    sizes, limit = (1000, 10_000, 30_000), np.euler_gamma / 2
    gaps = [gaussian_gap(VP, falling(n), 0.1, "tilde") for n in sizes]
    assert gaps == pytest.approx([0.378, 0.308, 0.297], abs=1e-3)
    assert mean_gap(VP, falling(1000), 0.1, "tilde") == pytest.approx(gaps[0], rel=1e-6)
    for std in (0.1, 0.2, 0.5):
        far, near = (gaussian_gap(VP, falling(n), std, "tilde") - limit for n in (10**5, 10**6))
        assert 0 < near < 1e-3 and far / near > 7


@every_variance
def test_sampled_terms_agree_with_the_closed_form(variance, make_generator):
    """The whole bound and its standard error, with an exact denoiser: 7 standard errors, false alarms below 1e-11."""
    n, std, times = 20_000, 0.3, falling(20)
    data = one_gaussian(std)
    x0, _ = data.sample(n, make_generator(0))
    bound = variational_bound(mixture_denoiser(data, VP), VP, x0, times, generator=make_generator(1), variance=variance)
    name = "beta" if variance is forward_variance else "tilde"
    gaps = exact_log_prob(data, x0) - bound.log_likelihood  # log p itself has a spread that the gap does not
    expected = gaussian_gap(VP, times, std, name)
    assert abs(float(gaps.mean()) - expected) < 7 * float(gaps.std()) / math.sqrt(n)
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2)
    assert abs(float(bound.log_likelihood.mean()) + entropy + expected) < 7 * bound.standard_error
    assert bound.standard_error < 0.02


# --- the bound of mixtures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [VP, cosine(), ddpm_linear()], ids=["vp_linear", "cosine", "ddpm_linear"])
@every_variance
def test_the_bound_lies_below_the_log_likelihood_and_a_wrong_denoiser_lowers_it(path, variance, make_generator):
    """By at least 7 standard errors of the difference: false alarms below 1e-11."""
    mixture, n = eight_gaussians(0.2).to(torch.float64), 4_000
    x0, _ = mixture.sample(n, make_generator(0))
    exact = mixture_denoiser(mixture, path)

    def bound(denoise):
        times = falling(20)
        return variational_bound(
            denoise, path, x0, times, generator=make_generator(1), variance=variance
        ).log_likelihood

    def clearly_below(low, high):
        gap = high - low
        return float(gap.mean()) > 7 * float(gap.std()) / math.sqrt(n)

    best = bound(exact)
    assert clearly_below(best, exact_log_prob(mixture, x0))
    assert clearly_below(bound(lambda x_t, t: 0.9 * exact(x_t, t)), best)
    wider = mixture_denoiser(eight_gaussians(0.4).to(torch.float64), path)
    assert clearly_below(bound(wider), best)


def test_the_bound_of_images_lies_below(make_generator):
    """By 7 standard errors, and by less than 0.2 nats for each of its 64 numbers: 20 steps with beta leave 0.13."""
    mixture = random_mixture(3, (1, 8, 8), make_generator(0)).standardised()
    x0, _ = mixture.sample(200, make_generator(1))
    bound = variational_bound(mixture_denoiser(mixture, VP), VP, x0, falling(20), generator=make_generator(2))
    gap = exact_log_prob(mixture, x0) - bound.log_likelihood
    assert 7 * float(gap.std()) / math.sqrt(200) < float(gap.mean()) < 64 * 0.2


# --- the velocity and its divergence ---------------------------------------------------------------------------------


@every_path
@every_shape
def test_velocity_and_divergence_are_those_of_the_probability_flow(path, shape, make_generator):
    """f x - g^2 score / 2 (SDE, equation 13), and the trace of its Jacobian by central differences."""
    mixture, t = random_mixture(3, shape[1:], make_generator(0)), number(0.4505)
    denoise, x = mixture_denoiser(mixture, path), normal(shape, make_generator(1))
    drift, diffusion = path.drift_and_diffusion(t)

    def flow(x):
        return drift * x - 0.5 * diffusion * score(mixture, path, x, t)

    velocity, divergence = velocity_and_divergence(denoise, path, x, t)
    torch.testing.assert_close(velocity, flow(x), rtol=1e-9, atol=1e-9)
    expected, h = torch.zeros(shape[0], dtype=torch.float64), 1e-5
    for i in range(math.prod(shape[1:])):
        step = torch.zeros(math.prod(shape[1:]), dtype=torch.float64)
        step[i] = h
        step = step.reshape(shape[1:])
        expected += ((flow(x + step) - flow(x - step)).flatten(1)[:, i]) / (2 * h)
    assert divergence.shape == (1, shape[0])
    torch.testing.assert_close(divergence[0], expected, rtol=1e-6, atol=1e-6)


def test_the_divergence_is_that_of_jacrev_for_a_network(make_generator):
    net = initialised(MLP, make_generator(0)).double()
    denoise, x, t = from_network(net, VP, "v"), normal((5, 2), make_generator(1)), number(0.3)

    def alone(x):
        return velocity_and_divergence(denoise, VP, x[None], t)[0][0]

    jacobians = torch.stack([torch.autograd.functional.jacobian(velocity_of(denoise, t), z) for z in x])
    _, divergence = velocity_and_divergence(denoise, VP, x, t)
    torch.testing.assert_close(divergence[0], jacobians.diagonal(dim1=1, dim2=2).sum(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.stack([alone(z) for z in x]), velocity_and_divergence(denoise, VP, x, t)[0])


def velocity_of(denoise, t):
    """The velocity at one point, written out: alpha' x0 + sigma' eps."""
    alpha_rate, sigma_rate = VP.rates(t)

    def velocity(z):
        x0 = denoise(z[None], t)[0]
        return alpha_rate * x0 + sigma_rate * (z - VP.alpha(t) * x0) / VP.sigma(t)

    return velocity


def test_all_sign_vectors_together_give_the_exact_trace(make_generator):
    """Hutchinson's mean over every probe in {-1, 1}^3 is the trace, with nothing left to chance."""
    denoise = mixture_denoiser(random_mixture(3, (3,), make_generator(0)), VP)
    x, t = normal((6, 3), make_generator(1)), number(0.4)
    signs = torch.cartesian_prod(*3 * [torch.tensor([-1.0, 1.0], dtype=torch.float64)])
    velocity, estimates = velocity_and_divergence(denoise, VP, x, t, signs[:, None].expand(8, 6, 3))
    exact_velocity, divergence = velocity_and_divergence(denoise, VP, x, t)
    assert estimates.shape == (8, 6)
    torch.testing.assert_close(estimates.mean(dim=0), divergence[0], rtol=1e-12, atol=1e-12)
    assert torch.equal(velocity, exact_velocity)


@pytest.mark.parametrize("draw", [rademacher_probe, normal_probe])
def test_random_probes_have_the_identity_as_their_covariance(draw, make_generator):
    """7 standard errors for each of 10 entries, over 50,000 probes: false alarms below 1e-10."""
    probes = draw(torch.empty(50_000, 4, dtype=torch.float64), make_generator(0))
    assert probes.dtype == torch.float64
    for i in range(4):
        for j in range(i + 1):
            products = probes[:, i] * probes[:, j]
            assert abs(float(products.mean()) - (i == j)) <= 7 * float(products.std()) / math.sqrt(50_000)
    assert abs(float(probes.mean())) < 7 / math.sqrt(200_000)
    assert (draw is rademacher_probe) == bool((probes.abs() == 1).all())
    assert draw(torch.empty(3, 1, 8, 8), make_generator(0)).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("draw", [rademacher_probe, normal_probe])
def test_the_mean_of_many_probes_is_the_divergence(draw, make_generator):
    """At 3 images, 7 standard errors each: false alarms below 1e-10."""
    denoise = mixture_denoiser(random_mixture(3, (1, 8, 8), make_generator(0)), VP)
    x, t = normal((3, 1, 8, 8), make_generator(1)), number(0.4)
    _, exact = velocity_and_divergence(denoise, VP, x, t)
    g = make_generator(2)
    _, found = velocity_and_divergence(denoise, VP, x, t, torch.stack([draw(x, g) for _ in range(400)]))
    assert ((found.mean(0) - exact[0]).abs() < 7 * found.std(0) / math.sqrt(400)).all()


# --- log-likelihood by the ODE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [three_gaussians, eight_gaussians])
def test_the_ode_knows_the_density_of_a_mixture(make, make_generator):
    """Mean absolute error below 0.001 nat over 1,000 points; 2e-5 to 1e-4 is usual."""
    mixture = make().to(torch.float64)
    x, _ = mixture.sample(1_000, make_generator(0))
    found = ode_log_likelihood(mixture_denoiser(mixture, VP), VP, x)
    errors = (found.value - exact_log_prob(mixture, x)).abs()
    assert float(errors.mean()) < 1e-3
    assert found.value.shape == (1_000,) and found.value.dtype == torch.float64
    assert torch.equal(found.standard_error, torch.zeros(1_000).double())


@pytest.mark.parametrize("name", ["cosine", "flow", "ve"])
def test_the_ode_needs_no_path_in_particular(name, make_generator):
    """Also where alpha(1) = 0, which the drift f = alpha' / alpha would not survive, and where t_min > 0."""
    mixture, path = three_gaussians().to(torch.float64), PATHS[name]
    x, _ = mixture.sample(200, make_generator(0))
    found = ode_log_likelihood(mixture_denoiser(mixture, path), path, x)
    assert float((found.value - exact_log_prob(mixture, x)).abs().mean()) < 1e-3


@every_shape
@pytest.mark.parametrize("probes", [0, 2])
def test_a_gaussian_is_stretched_as_a_whole(shape, probes, make_generator):
    """x_1 = x sd_1 / sd_t0, and log p_t0 in closed form, for each sample. The Jacobian is a multiple of the identity,
    so that signs measure its trace without any error."""
    std, t0, d = 0.3, 1e-3, math.prod(shape[1:])
    x = std * normal(shape, make_generator(0))
    options = {"t0": t0, "to_data": False, "tolerance": 1e-7, "probes": probes, "generator": make_generator(1)}
    found = ode_log_likelihood(gaussian_denoiser(VP, std), VP, x, **options)
    sd = [float((VP.alpha(t) * std) ** 2 + VP.sigma(t) ** 2) ** 0.5 for t in (number(t0), number(1.0))]
    torch.testing.assert_close(found.latent, x * sd[1] / sd[0], rtol=0, atol=1e-5)
    # under the prior N(0, I) at t = 1, and back by the factor sd_1 / sd_t0
    expected = gaussian_log_prob(x * sd[1] / sd[0], 1.0) + d * math.log(sd[1] / sd[0])
    torch.testing.assert_close(found.value, expected, rtol=0, atol=1e-5 * d)
    assert found.standard_error.abs().max() < 1e-9 * d


def test_the_noise_that_is_left_at_t0(make_generator):
    """The custom of taking x for x_t0 errs as sigma^2, the step from clean data as sigma^4: slopes of the logarithm of
    the error, for one Gaussian, on a path that ends in pure noise. `to_data=False` is exact for what it says."""
    std, path, custom, step, noise = 0.2, vp_linear(0.1, 40.0), [], [], []
    x = std * normal((50, 2), make_generator(0))
    denoise, truth = gaussian_denoiser(path, std), gaussian_log_prob(x, std)
    for t0 in (1e-3, 3e-3):
        alpha, sigma = float(path.alpha(number(t0))), float(path.sigma(number(t0)))
        noisy = ode_log_likelihood(denoise, path, x, t0=t0, to_data=False, tolerance=1e-7).value
        expected = gaussian_log_prob(x, math.hypot(alpha * std, sigma))
        torch.testing.assert_close(noisy, expected, rtol=0, atol=1e-5)
        clean = ode_log_likelihood(denoise, path, x, t0=t0, tolerance=1e-7).value
        custom.append(math.log((noisy - truth).abs().mean()))
        step.append(math.log((clean - truth).abs().mean()))
        noise.append(math.log(sigma**2))
    assert np.diff(custom) / np.diff(noise) == pytest.approx([1], abs=0.1)
    assert np.diff(step) / np.diff(noise) == pytest.approx([2], abs=0.15)
    assert step[0] < custom[0] - 3


@pytest.mark.parametrize("draw", [rademacher_probe, normal_probe])
def test_hutchinson_stays_within_its_stated_error(draw, make_generator):
    """100 images of 64 numbers, 8 probes each. The mean of all within 7 of its standard errors, which are themselves
    right to a factor 2: false alarms below 1e-10."""
    mixture = random_mixture(3, (1, 8, 8), make_generator(0)).standardised()
    x, _ = mixture.sample(100, make_generator(1))
    found = ode_log_likelihood(
        mixture_denoiser(mixture, VP), VP, x, probes=8, generator=make_generator(2), draw_probe=draw, tolerance=1e-4
    )
    error = found.value - exact_log_prob(mixture, x)
    assert abs(float(error.mean())) < 7 * float(found.standard_error.square().sum().sqrt()) / 100
    assert 0.5 < float(error.square().mean().sqrt() / found.standard_error.square().mean().sqrt()) < 2


def test_a_single_probe_says_nothing_of_its_error(make_generator):
    mixture = three_gaussians().to(torch.float64)
    x, _ = mixture.sample(5, make_generator(0))
    found = ode_log_likelihood(mixture_denoiser(mixture, VP), VP, x, probes=1, generator=make_generator(1))
    assert found.standard_error.isnan().all() and found.value.isfinite().all()


def test_chunks_are_systems_of_their_own(make_generator):
    """Each controls its own steps, and draws its own probes from the one generator."""
    x = normal((5, 2), make_generator(0))
    for probes in (0, 2):
        g, options = make_generator(1), {"probes": probes, "tolerance": 1e-2, "t0": 0.1}
        whole = ode_log_likelihood(wavy, VP, x, chunk=3, generator=make_generator(1), **options)
        parts = [ode_log_likelihood(wavy, VP, part, generator=g, **options) for part in x.split(3)]
        for field in ("value", "standard_error", "latent"):
            assert torch.equal(getattr(whole, field), torch.cat([getattr(part, field) for part in parts]))
        assert whole.evaluations == sum(part.evaluations for part in parts)


class Counting:
    """A denoiser that counts what it is asked, and in which dtype."""

    def __init__(self, denoise):
        self.denoise, self.calls, self.dtypes = denoise, 0, set()

    def __call__(self, x_t, t):
        self.calls += 1
        self.dtypes.add(x_t.dtype)
        return self.denoise(x_t, t)


@pytest.mark.parametrize("to_data", [True, False])
def test_evaluations_are_what_the_denoiser_was_asked(to_data, make_generator):
    denoise = Counting(lambda x_t, t: 0.5 * x_t)
    x = normal((5, 2), make_generator(0)).float()
    found = ode_log_likelihood(denoise, VP, x, chunk=2, to_data=to_data, t0=0.1)
    assert found.evaluations == denoise.calls > 20
    assert denoise.dtypes == {torch.float32} and found.value.dtype == torch.float64


class GaussianNetwork(nn.Module):
    """The exact v of data from N(0, std^2) along a path that preserves variance, from log-SNR alone."""

    def __init__(self, std):
        super().__init__()
        self.std = nn.Parameter(torch.tensor(std))

    def forward(self, x, log_snr):
        alpha_squared = torch.sigmoid(log_snr).reshape(-1, *[1] * (x.ndim - 1))
        product = (alpha_squared * (1 - alpha_squared)).sqrt()
        return product * (1 - self.std**2) * x / (alpha_squared * self.std**2 + 1 - alpha_squared)


@every_shape
@pytest.mark.parametrize("path", [VP, cosine()], ids=["vp_linear", "cosine"])
def test_a_learned_denoiser_fits_as_well(path, shape, make_generator):
    """In float32, through `from_network`: the network below is right, and so is its likelihood. No gradient is kept."""
    std, d = 0.5, math.prod(shape[1:])
    net = GaussianNetwork(std)
    x = std * torch.randn(shape, generator=make_generator(0))
    found = ode_log_likelihood(from_network(net, path, "v"), path, x)
    torch.testing.assert_close(found.value, gaussian_log_prob(x, std), rtol=0, atol=1e-3 * d)
    assert not found.value.requires_grad and net.std.grad is None


def test_a_network_trained_on_a_table_is_asked_along_a_smooth_path(make_generator):
    """Networks know log-SNR, not t, so that one trained along DDPM's table fits vp_linear. Along the table itself,
    whose rates jump at its knots, the solver stumbles."""
    net, x = GaussianNetwork(0.1).double(), 0.1 * normal((50, 2), make_generator(0))
    truth = gaussian_log_prob(x, 0.1)
    smooth, jumping = (
        float((ode_log_likelihood(from_network(net, path, "v"), path, x, tolerance=1e-4).value - truth).abs().mean())
        for path in (VP, ddpm_linear())
    )
    assert smooth < 1e-3 < jumping


@pytest.mark.parametrize("probes", [0, 2])
def test_a_u_net_has_a_likelihood(probes, make_generator):
    net = initialised(lambda: UNet(widths=(16,), blocks=1), make_generator(0)).eval()
    x = torch.rand(2, 1, 4, 4, generator=make_generator(1)) * 2 - 1
    denoise = from_network(net, VP, "v")
    found = ode_log_likelihood(denoise, VP, x, probes=probes, generator=make_generator(2), tolerance=1e-3)
    assert found.value.isfinite().all() and found.latent.shape == x.shape


@pytest.mark.parametrize(("show_after", "shown"), [(1e9, False), (0, True)])
def test_a_bar_appears_when_the_work_is_long(show_after, shown, make_generator, capsys, monkeypatch):
    monkeypatch.setattr(likelihood, "SHOW_AFTER", show_after)
    monkeypatch.setattr(bounds, "SHOW_AFTER", show_after)
    ode_log_likelihood(wavy, VP, normal((5, 2), make_generator(0)), t0=0.5, chunk=2, tolerance=0.1)
    variational_bound(wavy, VP, X, falling(5), generator=make_generator(1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("5/5" in captured.err and "4/4" in captured.err) if shown else captured.err == ""


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [256, 17, 2])
def test_dequantised_pixels_fill_the_gaps(levels, make_generator):
    """Each within half a gap of its level, and evenly: by the DKW bound, false alarms below 1e-9."""
    k = torch.randint(0, levels, (200, 1, 8, 8), generator=make_generator(0))
    x = k.float() * (2 / (levels - 1)) - 1  # as data.to_images
    noisy = dequantised(x, make_generator(1), levels)
    assert noisy.dtype == torch.float32 and noisy.shape == x.shape
    offset = ((noisy.double() + 1) * (levels - 1) / 2 - k).flatten()
    assert offset.abs().max() < 0.5 + 1e-4
    assert farthest_from_cdf(offset, lambda z: (z + 0.5).clip(0, 1)) < dkw_bound(len(offset))


@pytest.mark.parametrize(("levels", "bits"), [(256, 8), (16, 4), (2, 1), (17, math.log2(17))])
def test_knowing_nothing_costs_all_bits(levels, bits):
    """A density spread evenly over all levels, in any number of dimensions."""
    width = 2 + 2 / (levels - 1)  # of all intervals together
    for d in (1, 784):
        found = bits_per_dim(torch.full((3,), -d * math.log(width), dtype=torch.float64), d, levels)
        torch.testing.assert_close(found, torch.full((3,), float(bits), dtype=torch.float64), rtol=1e-13, atol=0)


def test_the_bits_of_a_gaussian_by_quadrature():
    """A level costs -log2 of the mass of its interval, by the normal distribution function. Dequantised bits are a mean
    over the interval, here by Gauss-Legendre. They are never less (Jensen), and more by half the variance of the
    logarithm over the interval, which a slope x / s^2 makes (gap x / s^2)^2 / 24 nats."""
    std, levels, k = 0.3, 256, np.arange(40, 216)
    gap = 2 / (levels - 1)
    x = gap * k - 1
    exact = -np.log2(norm.cdf(x + gap / 2, scale=std) - norm.cdf(x - gap / 2, scale=std))
    nodes, weights = np.polynomial.legendre.leggauss(8)
    inside = torch.from_numpy(x[:, None] + gap / 2 * nodes)
    values = bits_per_dim(Normal(number(0.0), number(std)).log_prob(inside).flatten(), 1, levels).reshape(inside.shape)
    found = values.numpy() @ weights / 2
    assert (found >= exact).all()
    np.testing.assert_allclose(found - exact, (gap * x / std**2) ** 2 / (24 * math.log(2)), atol=1e-9, rtol=1e-4)


def test_bits_of_images_by_the_ode(make_generator):
    """Dequantised images of 17 levels under a Gaussian model: the ODE's bits are those of the exact density."""
    k = torch.randint(0, 17, (10, 1, 4, 4), generator=make_generator(0))
    x = dequantised(k.double() / 8 - 1, make_generator(1), levels=17)
    found = ode_log_likelihood(gaussian_denoiser(VP, 0.7), VP, x)
    expected = -gaussian_log_prob(x, 0.7) / 16 / math.log(2) + math.log2(8)
    torch.testing.assert_close(bits_per_dim(found.value, 16, levels=17), expected, rtol=0, atol=1e-3)


# --- refusals --------------------------------------------------------------------------------------------------------

X, TIMES = torch.ones(3, 2), torch.linspace(1, 0, 6)
STEEP = GaussianPath(alpha=lambda t: (1 - t).sqrt(), sigma=torch.sqrt)
LATE = GaussianPath(torch.cos, torch.sin, t_min=0.1)
CLEAN = GaussianPath(torch.ones_like, torch.zeros_like)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"times": TIMES.flip(0)}, ValueError, "times must fall strictly"),
        ({"times": torch.arange(5, -1, -1)}, TypeError, "times must be a floating-point tensor"),
        ({"times": 2 * TIMES}, ValueError, r"times must lie in \[0.0, 1\], but run from 2.0"),
        ({"path": LATE}, ValueError, r"times must lie in \[0.1, 1\]"),
        ({"path": CLEAN}, ValueError, "times must hold a time with noise, sigma > 0"),
        ({"x0": X * math.nan}, ValueError, "x0 must be finite, but 6 of its 6 values"),
        ({"x0": X.long()}, TypeError, r"x0 must be a floating-point tensor of shape \(B, \*D\)"),
        ({"x0": X[0]}, TypeError, r"x0 must be a floating-point tensor"),
        ({"x0": X[:0]}, ValueError, r"x0 must hold at least one sample, but is a float32 tensor of shape \(0, 2\)"),
        ({"variance": lambda *_: 0.0}, ValueError, "variance of the step from t = 1 must be positive .* is 0.0"),
        ({"variance": lambda *_: math.nan}, ValueError, "variance of the step .* but is nan"),
        ({"decoder_variance": -1.0}, ValueError, "variance of the decoder must be positive and finite, but is -1.0"),
        ({"decoder_variance": math.inf}, ValueError, "variance of the decoder must be positive and finite"),
        ({"generator": None}, TypeError, "generator must be a torch.Generator"),
    ],
)
def test_a_bound_that_means_nothing_is_refused(changed, error, words, make_generator):
    asked = Counting(wavy)
    given = {"path": VP, "x0": X, "times": TIMES, "generator": make_generator(0), **changed}
    with pytest.raises(error, match=words):
        variational_bound(asked, given.pop("path"), given.pop("x0"), given.pop("times"), **given)
    assert asked.calls == 0


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"x": X * math.inf}, ValueError, "x must be finite"),
        ({"x": X[:0]}, ValueError, "x must hold at least one sample"),
        ({"x": X[0]}, TypeError, r"x must be a floating-point tensor of shape \(B, \*D\)"),
        ({"x": X.long()}, TypeError, r"x must be a floating-point tensor"),
        ({"path": STEEP}, ValueError, r"finite rates on \[t0, 1\] = \[1e-05, 1\], but alpha' is not at t = 1;"),
        ({"t0": 0.0}, ValueError, r"finite rates on \[t0, 1\] = \[0.0, 1\], but sigma' is not at t = 0;"),
        ({"path": CLEAN}, ValueError, "but 1 / sigma is not at t = 1e-05"),
        ({"path": LATE, "t0": 0.05}, ValueError, r"t0 must lie in \[0.1, 1\), but is 0.05"),
        ({"t0": 1.0}, ValueError, r"t0 must lie in \[0.0, 1\), but is 1.0"),
        ({"t0": math.nan}, ValueError, "t0 must lie in"),
        ({"probes": -1}, ValueError, "probes must be a whole number >= 0, but is -1"),
        ({"probes": 1.5}, ValueError, "probes must be a whole number >= 0, but is 1.5"),
        ({"probes": True}, ValueError, "probes must be a whole number >= 0, but is True"),
        ({"probes": 2}, TypeError, "probes = 2 draws, so generator must be a torch.Generator, but is None"),
        ({"chunk": 0}, ValueError, "chunk must be a whole number >= 1, but is 0"),
        ({"tolerance": 0.0}, ValueError, "tolerance must lie in"),
        ({"tolerance": math.nan}, ValueError, "tolerance must lie in"),
    ],
)
def test_a_likelihood_that_nobody_can_compute_is_refused(changed, error, words):
    asked = Counting(wavy)
    given = {"path": VP, "x": X, **changed}
    with pytest.raises(error, match=words):
        ode_log_likelihood(asked, given.pop("path"), given.pop("x"), **given)
    assert asked.calls == 0


def test_eps_where_alpha_is_0_is_refused_by_name(make_generator):
    """cosine ends at alpha = 0: its rates are finite, and v works there, but eps says nothing about x0."""
    net = initialised(MLP, make_generator(0))
    assert ode_log_likelihood(from_network(net, cosine(), "v"), cosine(), X, tolerance=1e-2).value.isfinite().all()
    with pytest.raises(ValueError, match="a prediction of eps does not determine x0 and eps at t = "):
        ode_log_likelihood(from_network(net, cosine(), "eps"), cosine(), X)


def test_a_broken_denoiser_is_named_where_it_breaks():
    with pytest.raises(FloatingPointError, match="the denoiser or its derivative is NaN or infinite at t = "):
        ode_log_likelihood(lambda x_t, t: x_t * torch.where(t > 0.5, math.nan, 0.5), VP, X)
    with pytest.raises(FloatingPointError, match="the solver gave up at t = 0"):
        ode_log_likelihood(lambda x_t, t: -100 * x_t**3, VP, X, t0=0.1, tolerance=1e-3)  # x is infinite soon after


@pytest.mark.parametrize(
    ("x", "levels", "error", "words"),
    [
        (X * 0.3, 256, ValueError, "x must lie on the 256 levels -1, -0.992157, ..., 1"),
        (X * 3, 256, ValueError, "x must lie on the 256 levels"),
        (X * math.nan, 256, ValueError, "x must be finite"),
        (X.long(), 256, TypeError, "x must be a floating-point tensor"),
        (X, 1, ValueError, "levels must be a whole number >= 2, but is 1"),
        (X, 256.0, ValueError, "levels must be a whole number >= 2, but is 256.0"),
    ],
)
def test_pixels_that_are_no_levels_are_refused(x, levels, error, words, make_generator):
    with pytest.raises(error, match=words):
        dequantised(x, make_generator(0), levels)


def test_bits_of_nothing_are_refused():
    with pytest.raises(TypeError, match="log_likelihood must be a floating-point tensor"):
        bits_per_dim(-3.0, 2)
    for d in (0, 2.0):
        with pytest.raises(ValueError, match="d must be the number of values in a sample"):
            bits_per_dim(torch.zeros(3), d)
    with pytest.raises(ValueError, match="levels must be a whole number >= 2"):
        bits_per_dim(torch.zeros(3), 2, levels=0)
