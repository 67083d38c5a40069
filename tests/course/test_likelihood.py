"""The ODE's log-likelihood against the exact density; its divergence; bits."""

import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.distributions import Normal

from minidiff import likelihood
from minidiff._tensors import noise_like
from minidiff.data import eight_gaussians, three_gaussians
from minidiff.denoisers import from_network
from minidiff.exact import mixture_denoiser, score
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
from minidiff.schedules import cosine, ddpm_linear, vp_linear
from tests.cases import (
    PATHS,
    Counting,
    assert_close,
    dkw_bound,
    every_path,
    every_shape,
    exact_log_prob,
    farthest_from_cdf,
    halved,
    normal,
    number,
    random_mixture,
    wavy,
)

VP = vp_linear()


def gaussian_denoiser(path, std):
    """E[x0 | x_t] of N(0, std^2 I), written out."""

    def denoise(x_t, t):
        alpha, sigma = path.alpha(t).to(x_t), path.sigma(t).to(x_t)
        return alpha * std**2 / (alpha**2 * std**2 + sigma**2) * x_t

    return denoise


def gaussian_log_prob(x, std):
    """log N(x; 0, std^2 I), (B,), in float64."""
    return Normal(number(0.0), number(std)).log_prob(x.double()).flatten(1).sum(1)


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
    ode_log_likelihood(wavy, VP, normal((5, 2), make_generator(0)), t0=0.5, chunk=2, tolerance=0.1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "5/5" in captured.err if shown else captured.err == ""


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

X = torch.ones(3, 2)
STEEP = GaussianPath(alpha=lambda t: (1 - t).sqrt(), sigma=torch.sqrt)
LATE = GaussianPath(torch.cos, torch.sin, t_min=0.1)
CLEAN = GaussianPath(torch.ones_like, torch.zeros_like)


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
        with pytest.raises(ValueError, match="d must be a whole number >= 1"):
            bits_per_dim(torch.zeros(3), d)
    with pytest.raises(ValueError, match="levels must be a whole number >= 2"):
        bits_per_dim(torch.zeros(3), 2, levels=0)


# --- the small print: defaults, the ends of ranges, precision, words --------------------------------------------------


def test_pixels_have_256_levels_unless_said_otherwise(make_generator):
    x = torch.tensor([[-1.0, 1.0, 1 / 255]], dtype=torch.float64)
    assert_close(dequantised(x, make_generator(0)), dequantised(x, make_generator(0), 256), 0)
    assert float(bits_per_dim(torch.tensor([-math.log(2 + 2 / 255)]), 1)) == pytest.approx(8)


def test_pixels_beyond_the_last_level_are_refused(make_generator):
    for beyond in (1 + 2 / 255, -1 - 2 / 255, 1.8 + 0.2 / 255):
        x = torch.full((1, 2), round((beyond + 1) * 127.5) / 127.5 - 1)
        with pytest.raises(ValueError, match="x must lie on the 256 levels"):
            dequantised(x, make_generator(0))


def test_dequantisation_is_uniform_in_the_precision_of_the_pixels(make_generator):
    x = torch.full((5, 3), 1 / 255, dtype=torch.float64)
    u = torch.rand(x.shape, generator=make_generator(0), dtype=torch.float64)
    assert_close(dequantised(x, make_generator(0)), x + 2 / 255 * (u - 0.5), 1e-15)


def test_noise_is_drawn_where_the_generator_lives(make_generator):
    """With another default device, to stand for a machine that has one."""
    x, pixels = torch.zeros(4, 2), torch.full((4, 2), 1 / 255)
    with torch.device("meta"):
        for drawn in (noise_like(x, make_generator(0)), rademacher_probe(x, make_generator(0))):
            assert drawn.device.type == "cpu"
        assert dequantised(pixels, make_generator(0)).device.type == "cpu"


def test_with_probes_the_exact_divergence_is_never_taken(make_generator, monkeypatch):
    """It would cost one backward pass for each dimension, on the first stretch from clean data too."""
    taken, really = [], likelihood._value_and_trace

    def spied(f, x, probes):
        taken.append(probes)
        return really(f, x, probes)

    monkeypatch.setattr(likelihood, "_value_and_trace", spied)
    x = normal((3, 2), make_generator(0))
    ode_log_likelihood(halved, VP, x, probes=2, generator=make_generator(1), tolerance=1e-2)
    assert len(taken) > 3 and all(probes is not None and probes.shape == (2, 3, 2) for probes in taken)


def test_the_bar_says_what_it_counts(make_generator, capsys, monkeypatch):
    monkeypatch.setattr(likelihood, "SHOW_AFTER", 0)
    ode_log_likelihood(halved, VP, normal((2, 2), make_generator(0)), tolerance=1e-2)
    assert re.search(r"\blog-likelihood: .*\bpoint(/s|\])", capsys.readouterr().err.replace("\r", "\n"))


def test_an_error_about_bits_says_what_was_given():
    with pytest.raises(TypeError, match=r"^log_likelihood must be .* but is float -3.0$"):
        bits_per_dim(-3.0, 2)
