"""The truths themselves, against other truths: torch.distributions, quadrature, automatic differentiation, Bayes."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import simpson, solve_ivp
from scipy.stats import multivariate_normal, norm
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from minidiff import exact
from minidiff.exact import GaussianMixture
from minidiff.paths import GaussianPath
from tests.cases import (
    PATHS,
    assert_close,
    dkw_bound,
    every_path,
    farthest_from_cdf,
    inner_times,
    line_cdf,
    normal,
    number,
    random_mixture,
)

COSINE, VE, VP = PATHS["cosine"], PATHS["ve"], PATHS["vp_linear"]
SHAPES = {"1": (1,), "2": (2,), "64": (1, 8, 8)}
every_dimension = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
WITHOUT_VE = {name: path for name, path in PATHS.items() if path is not VE}
to_clean_data = pytest.mark.parametrize("path", WITHOUT_VE.values(), ids=WITHOUT_VE)


@pytest.fixture
def case(make_generator):
    """A function: path, event shape -> a mixture, five x_t that lie where its noisy data lie, and their times."""

    def make(path, shape):
        mixture = random_mixture(3, shape, make_generator(0))
        t = inner_times(5, make_generator(1))
        x0, _ = mixture.sample(5, make_generator(2))
        return mixture, path.perturb(x0, t, normal((5, *shape), make_generator(3))), t

    return make


def noisy_distribution(mixture, alpha, sigma):
    """p_t by PyTorch's own distributions, over flat points."""
    d = mixture.covariances.shape[1]
    covariances = alpha**2 * mixture.covariances + sigma**2 * torch.eye(d, dtype=torch.float64)
    parts = MultivariateNormal(alpha * mixture.means.flatten(1), covariances)
    return MixtureSameFamily(Categorical(mixture.weights), parts)


# --- log p_t and its gradient ----------------------------------------------------------------------------------------


@every_path
@every_dimension
def test_log_prob_responsibilities_and_score_agree_with_pytorchs_distributions(path, shape, case):
    mixture, x_t, t = case(path, shape)
    log_prob = exact.log_prob(mixture, path, x_t, t)
    weights = exact.responsibilities(mixture, path, x_t, t)
    score = exact.score(mixture, path, x_t, t)
    for i in range(len(x_t)):
        x = x_t[i].flatten().clone().requires_grad_()
        noisy = noisy_distribution(mixture, path.alpha(t[i]), path.sigma(t[i]))
        assert_close(log_prob[i], noisy.log_prob(x).detach(), 1e-8)
        joint = mixture.weights.log() + noisy.component_distribution.log_prob(x).detach()
        assert_close(weights[i], torch.exp(joint - noisy.log_prob(x).detach()), 1e-8)
        (gradient,) = torch.autograd.grad(noisy.log_prob(x), x)
        assert_close(score[i].flatten(), gradient, 1e-8)


@every_path
@every_dimension
def test_score_is_the_gradient_of_log_prob(path, shape, case):
    mixture, x_t, t = case(path, shape)
    x_t.requires_grad_()
    (gradient,) = torch.autograd.grad(exact.log_prob(mixture, path, x_t, t).sum(), x_t)
    assert_close(exact.score(mixture, path, x_t, t), gradient, 1e-8)


@every_path
def test_log_prob_is_data_smeared_by_noise_and_integrates_to_1(path, make_generator):
    """p_t(x) = int p_0(x0) N(x; alpha x0, sigma^2) dx0, on a grid in one dimension."""
    mixture, t = random_mixture(3, (1,), make_generator(0)), number(0.4)
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    x0 = np.linspace(-14, 14, 8001)
    p0 = torch.exp(noisy_distribution(mixture, 1, 0).log_prob(torch.from_numpy(x0)[:, None])).numpy()
    x = np.linspace(-12 * alpha - 8 * sigma, 12 * alpha + 8 * sigma, 801)
    smeared = simpson(p0 * norm.pdf(x[:, None], alpha * x0, sigma), x=x0)
    p = exact.log_prob(mixture, path, torch.from_numpy(x)[:, None], t).exp().numpy()
    np.testing.assert_allclose(p, smeared, atol=1e-8)
    assert simpson(p, x=x) == pytest.approx(1, abs=1e-8)


# --- the way back ----------------------------------------------------------------------------------------------------


def alpha_and_sigma(path, t):
    return float(path.alpha(t)), float(path.sigma(t))


def bayes_on_a_grid(mixture, x_t, at_t, at_s, grid):
    """q(x_s | x_t) on grid points, (N, d), without its normaliser, from p_s(x_s) N(x_t; factor x_s, variance I).

    at_t, at_s: alpha and sigma.
    """
    factor, identity = at_t[0] / at_s[0], np.eye(grid.shape[1])
    variance = at_t[1] ** 2 - factor**2 * at_s[1] ** 2
    before = sum(
        float(w)
        * multivariate_normal.pdf(grid, at_s[0] * m.numpy(), at_s[0] ** 2 * c.numpy() + at_s[1] ** 2 * identity)
        for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    )
    return before * np.exp(-((x_t.numpy() - factor * grid) ** 2).sum(1) / (2 * variance))


def kernel_density(kernel, i, grid):
    """The density of row i of a reverse kernel on grid points, (N, d)."""
    covariances = torch.einsum("kij,kj,klj->kil", kernel.vectors, kernel.variances[i], kernel.vectors).numpy()
    parts = zip(kernel.weights[i], kernel.means[i].numpy(), covariances, strict=True)
    return sum(float(w) * multivariate_normal.pdf(grid, m, c) for w, m, c in parts)


@every_path
@pytest.mark.parametrize("s", [0.2, None], ids=["to s", "to data"])
def test_reverse_kernel_is_bayes_rule_on_a_line(path, s, make_generator):
    mixture, t = random_mixture(3, (1,), make_generator(0)), number(0.5)
    x_t = path.perturb(mixture.means, t, normal((3, 1), make_generator(1)))
    kernel = exact.reverse_kernel(mixture, path, x_t, t, number(s or path.t_min), to_data=s is None)
    at_s = alpha_and_sigma(path, number(s)) if s else (1.0, 0.0)
    grid = np.linspace(-16, 16, 16_001)
    for i in range(3):
        p = bayes_on_a_grid(mixture, x_t[i], alpha_and_sigma(path, t), at_s, grid[:, None])
        p /= simpson(p, x=grid)
        np.testing.assert_allclose(kernel_density(kernel, i, grid[:, None]), p, atol=1e-8)
        mean = simpson(grid * p, x=grid)
        assert float(kernel.mean()[i]) == pytest.approx(mean, abs=1e-8)
        assert float(kernel.covariance()[i]) == pytest.approx(simpson((grid - mean) ** 2 * p, x=grid), abs=1e-8)
        if s is None:
            assert float(exact.posterior_mean(mixture, path, x_t, t)[i]) == pytest.approx(mean, abs=1e-8)


@pytest.mark.parametrize("path", [COSINE, VP, VE], ids=["cosine", "vp_linear", "ve"])
def test_reverse_kernel_is_bayes_rule_on_the_plane(path, make_generator):
    mixture, t, s = random_mixture(2, (2,), make_generator(0)), number(0.5), number(0.2)
    x_t = path.perturb(mixture.means[:1], t, normal((1, 2), make_generator(1)))
    kernel = exact.reverse_kernel(mixture, path, x_t, t, s)
    side = np.linspace(-9, 9, 601)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    p = bayes_on_a_grid(mixture, x_t[0], alpha_and_sigma(path, t), alpha_and_sigma(path, s), grid)
    p /= p.sum() * (side[1] - side[0]) ** 2
    np.testing.assert_allclose(kernel_density(kernel, 0, grid), p, atol=1e-8)
    mean = grid.T @ p / p.sum()
    np.testing.assert_allclose(kernel.mean()[0], mean, atol=1e-8)
    np.testing.assert_allclose(
        kernel.covariance()[0], (grid - mean).T @ ((grid - mean) * p[:, None]) / p.sum(), atol=1e-8
    )


@pytest.mark.parametrize("path", [COSINE, VP, VE], ids=["cosine", "vp_linear", "ve"])
def test_reverse_steps_from_t_to_s_to_r_equal_one_from_t_to_r(path, make_generator):
    """int q(x_r | x_s) q(x_s | x_t) dx_s = q(x_r | x_t), though the kernels are no Gaussians."""
    mixture, t, s, r = random_mixture(3, (1,), make_generator(0)), number(0.6), number(0.4), number(0.15)
    x_t = path.perturb(mixture.means[:1], t, normal((1, 1), make_generator(1)))
    x_s, x_r = np.linspace(-16, 16, 4001)[:, None], np.linspace(-6, 6, 101)[:, None]
    first = kernel_density(exact.reverse_kernel(mixture, path, x_t, t, s), 0, x_s)
    seconds = exact.reverse_kernel(mixture, path, torch.from_numpy(x_s), s, r)
    second = (
        norm.pdf(x_r[:, :, None], seconds.means[..., 0], seconds.variances[..., 0].sqrt()) * seconds.weights.numpy()
    ).sum(-1)
    both = simpson(second * first, x=x_s[:, 0])
    direct = kernel_density(exact.reverse_kernel(mixture, path, x_t, t, r), 0, x_r)
    np.testing.assert_allclose(both, direct, atol=1e-7)


@every_path
@every_dimension
def test_posterior_mean_is_tweedies_formula(path, shape, case):
    mixture, x_t, t = case(path, shape)
    alpha, sigma = (f(t).reshape(-1, *[1] * len(shape)) for f in (path.alpha, path.sigma))
    x_t.requires_grad_()
    (score,) = torch.autograd.grad(exact.log_prob(mixture, path, x_t, t).sum(), x_t)
    assert_close(exact.posterior_mean(mixture, path, x_t, t), (x_t + sigma**2 * score) / alpha, 1e-8)


@every_path
@every_dimension
def test_posterior_covariance_is_the_slope_of_the_posterior_mean(path, shape, case):
    """Cov[x0 | x_t] = sigma^2 / alpha dE[x0 | x_t] / dx_t. It also shows that vmap and jacrev pass through."""
    mixture, x_t, t = case(path, shape)

    def mean(x, time):
        return exact.posterior_mean(mixture, path, x.reshape(1, *shape), time)[0].flatten()

    slopes = torch.func.vmap(torch.func.jacrev(mean))(x_t.flatten(1), t)
    kernel = exact.reverse_kernel(mixture, path, x_t, t, torch.zeros_like(t), to_data=True)
    assert_close(kernel.covariance(), (path.sigma(t) ** 2 / path.alpha(t))[:, None, None] * slopes, 1e-8)


@to_clean_data
@every_dimension
def test_to_data_is_the_kernel_at_time_0(path, shape, case):
    mixture, x_t, t = case(path, shape)
    kernels = [exact.reverse_kernel(mixture, path, x_t, t, torch.zeros_like(t), to_data=flag) for flag in (True, False)]
    for field in ("weights", "means", "variances"):
        assert_close(getattr(kernels[0], field), getattr(kernels[1], field), 1e-12)
    assert_close(kernels[0].mean(), exact.posterior_mean(mixture, path, x_t, t), 1e-12)


def test_both_ends_of_time(make_generator):
    """At t = 0 a point is itself; at pure noise it says nothing."""
    mixture = random_mixture(3, (2,), make_generator(0))
    x = normal((4, 2), make_generator(1))
    assert_close(exact.posterior_mean(mixture, COSINE, x, number(0.0)), x, 1e-8)
    assert_close(exact.log_prob(mixture, COSINE, x, number(0.0)), noisy_distribution(mixture, 1, 0).log_prob(x), 1e-8)
    assert_close(exact.posterior_mean(mixture, COSINE, x, number(1.0)), mixture.mean().expand(4, 2), 1e-8)
    assert_close(exact.responsibilities(mixture, COSINE, x, number(1.0)), mixture.weights.expand(4, 3), 1e-8)


# --- samples ---------------------------------------------------------------------------------------------------------


@every_dimension
def test_samples_of_a_mixture_obey_it_on_every_line(shape, make_generator):
    """Along 5 lines, by the DKW bound; counts of components within 7 standard deviations: false alarms below 1e-9."""
    n, d = 20_000, math.prod(shape)
    mixture = random_mixture(3, shape, make_generator(0))
    x, component = mixture.sample(n, make_generator(1))
    assert x.shape == (n, *shape) and component.shape == (n,) and x.dtype == torch.float64
    counts = torch.bincount(component, minlength=3)
    spread = (n * mixture.weights * (1 - mixture.weights)).sqrt()
    assert ((counts - n * mixture.weights).abs() < 7 * spread).all()
    for line in normal((5, d), make_generator(2)):
        cdf = line_cdf(line, mixture.weights, mixture.means.flatten(1), mixture.covariances)
        assert farthest_from_cdf(x.flatten(1) @ line, cdf) < dkw_bound(n)
    for k in range(3):  # the component that comes with a sample is the one that it was drawn from
        own = x[component == k].flatten(1)
        cdf = line_cdf(line, torch.ones(1), mixture.means[[k]].flatten(1), mixture.covariances[[k]])
        assert farthest_from_cdf(own @ line, cdf) < dkw_bound(len(own))


@every_dimension
def test_samples_of_a_reverse_kernel_obey_it_on_every_line(shape, make_generator):
    """n draws for one x_t, along 5 lines, by the DKW bound: false alarms below 1e-9."""
    n, d, t, s = 20_000, math.prod(shape), number(0.5), number(0.2)
    mixture = random_mixture(3, shape, make_generator(0))
    x_t = VP.perturb(mixture.means.mean(0, keepdim=True), t, 0.3 * normal((1, *shape), make_generator(1)))
    kernel = exact.reverse_kernel(mixture, VP, x_t.expand(n, *shape), t, s)
    x_s = kernel.sample(make_generator(2))
    assert x_s.shape == (n, *shape)
    covariances = torch.einsum("kij,kj,klj->kil", kernel.vectors, kernel.variances[0], kernel.vectors)
    for line in normal((5, d), make_generator(3)):
        cdf = line_cdf(line, kernel.weights[0], kernel.means[0].flatten(1), covariances)
        assert farthest_from_cdf(x_s.flatten(1) @ line, cdf) < dkw_bound(n)


def test_four_steps_with_the_exact_kernel_return_the_data(make_generator):
    """Along 5 lines, by the DKW bound: false alarms below 1e-9. Four Gaussian steps fail the same bound."""
    n, mixture = 20_000, random_mixture(3, (2,), make_generator(0))
    # at t = 1 of vp_linear alpha = 0.0066: the start is exact to far below the bound
    times = torch.linspace(1, 0, 5, dtype=torch.float64)
    x = gaussian = VP.prior((n, 2), make_generator(1)).double()
    for step, (t, s) in enumerate(itertools.pairwise(times)):
        x = exact.reverse_kernel(mixture, VP, x, t, s).sample(make_generator(2, step))
        mean, variance = VP.posterior(gaussian, exact.posterior_mean(mixture, VP, gaussian, t), t, s)
        gaussian = mean + variance.sqrt() * normal((n, 2), make_generator(3, step))
    lines = normal((5, 2), make_generator(4))
    cdfs = [line_cdf(line, mixture.weights, mixture.means, mixture.covariances) for line in lines]
    assert all(farthest_from_cdf(x @ line, cdf) < dkw_bound(n) for line, cdf in zip(lines, cdfs, strict=True))
    assert any(farthest_from_cdf(gaussian @ line, cdf) > dkw_bound(n) for line, cdf in zip(lines, cdfs, strict=True))


# --- batches, shapes, types ------------------------------------------------------------------------------------------


@every_dimension
def test_each_sample_has_its_own_time_and_no_neighbours(shape, case):
    mixture, x_t, t = case(VP, shape)
    for f in (exact.log_prob, exact.score, exact.posterior_mean, exact.responsibilities):
        together = f(mixture, VP, x_t, t)
        for i in range(len(t)):
            assert_close(f(mixture, VP, x_t[i : i + 1], t[i])[0], together[i], 1e-12)
            assert_close(f(mixture, VP, x_t, t[i])[i], together[i], 1e-12)


def test_an_image_is_a_row_of_64_numbers(case, make_generator):
    image, x_t, t = case(VP, (1, 8, 8))
    row = GaussianMixture(image.weights, image.means.flatten(1), image.covariances)
    assert_close(exact.log_prob(image, VP, x_t, t), exact.log_prob(row, VP, x_t.flatten(1), t), 0)
    for f in (exact.score, exact.posterior_mean):
        assert_close(f(image, VP, x_t, t).flatten(1), f(row, VP, x_t.flatten(1), t), 0)
    assert_close(image.sample(3, make_generator(9))[0].flatten(1), row.sample(3, make_generator(9))[0], 0)


def test_a_denoiser_answers_in_the_type_it_is_asked(case):
    mixture, x_t, t = case(VP, (2,))
    single = mixture.to(torch.float32)
    assert single.to(torch.float32) is single
    denoise = exact.mixture_denoiser(single, VP)
    assert denoise(x_t.float(), t.float()).dtype == torch.float32
    assert_close(denoise(x_t.float(), t.float()).double(), exact.posterior_mean(mixture, VP, x_t, t), 1e-4)
    assert_close(denoise(x_t, t), exact.posterior_mean(single.to(torch.float64), VP, x_t, t), 0)
    assert_close(exact.mixture_denoiser(mixture, VP)(x_t, t[0]), exact.posterior_mean(mixture, VP, x_t, t[0]), 0)


# --- the mixture itself ----------------------------------------------------------------------------------------------


@every_dimension
def test_moments_of_a_mixture_are_those_of_its_samples_in_the_limit(shape, make_generator):
    mixture = random_mixture(3, shape, make_generator(0))
    d = math.prod(shape)
    mean, second = torch.zeros(d).double(), torch.zeros(d, d).double()
    for w, m, c in zip(mixture.weights, mixture.means.flatten(1), mixture.covariances, strict=True):
        mean, second = mean + w * m, second + w * (c + torch.outer(m, m))
    assert mixture.mean().shape == shape
    assert_close(mixture.mean().flatten(), mean, 1e-12)
    assert_close(mixture.covariance(), second - torch.outer(mean, mean), 1e-12)


@every_dimension
def test_a_standardised_mixture_is_the_same_one_shifted_and_scaled(shape, make_generator):
    mixture = random_mixture(3, shape, make_generator(0))
    standard = mixture.standardised()
    assert_close(standard.mean(), torch.zeros(shape).double(), 1e-12)
    assert_close(standard.covariance().diagonal(), torch.ones(math.prod(shape)).double(), 1e-12)
    x, scale = normal((4, *shape), make_generator(1)), mixture.covariance().diagonal().sqrt()
    moved = mixture.mean() + scale.reshape(shape) * x
    density = noisy_distribution(mixture, 1, 0).log_prob(moved.flatten(1)) + scale.log().sum()
    assert_close(exact.log_prob(standard, COSINE, x, number(0.0)), density, 1e-8)


W, M, C = torch.tensor([0.5, 0.5]), torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2)


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "words"),
    [
        (W, torch.zeros(3, 2), C, r"means must have shape \(2, \*D\) to go with weights"),
        (W, torch.zeros(2), torch.ones(2, 1, 1), r"means must have shape \(2, \*D\) to go with weights"),
        (W[None].repeat(2, 1), M, C, r"means must have shape \(2, \*D\) to go with weights"),
        (W, M, torch.ones(2, 2), r"covariances must have shape \(2, 2, 2\)"),
        (W, torch.zeros(2, 1, 2, 2), C, r"covariances must have shape \(2, 4, 4\)"),
        (torch.tensor([0.5, 0.6]), M, C, r"weights must be positive and sum to 1, but are \[0\.5, 0\.60"),
        (torch.tensor([1.5, -0.5]), M, C, "weights must be positive and sum to 1"),
        (torch.tensor([1.0, 0.0]), M, C, "weights must be positive and sum to 1"),
        (torch.tensor([0.5, math.nan]), M, C, "weights must be positive and sum to 1"),
        (W, M, C + torch.tensor([[0.0, 0.5], [0.0, 0.0]]), "covariances must be symmetric and positive definite"),
        (W, M, C - 1.0, "covariances must be symmetric and positive definite"),
        (W, M, C * 0.0, "covariances must be symmetric and positive definite"),
        (W, M, C * math.nan, "covariances must be symmetric and positive definite"),
    ],
)
def test_parameters_that_make_no_mixture_are_refused(weights, means, covariances, words):
    with pytest.raises(ValueError, match=words):
        GaussianMixture(weights, means, covariances)


def test_points_that_do_not_fit_are_refused(case, make_generator):
    mixture, x_t, t = case(VP, (2,))
    for f in (exact.log_prob, exact.score, exact.posterior_mean, exact.responsibilities):
        with pytest.raises(
            ValueError, match=r"x_t must have shape \(B, \*\(2,\)\), but is a float64 tensor of shape \(5, 1\)"
        ):
            f(mixture, VP, x_t[:, :1], t)
        with pytest.raises(TypeError, match=r"t must be a floating-point tensor.*divide a step index k"):
            f(mixture, VP, x_t, torch.tensor(500))
        with pytest.raises(ValueError, match=r"t must have shape \(\) or \(5,\)"):
            f(mixture, VP, x_t, t[:3])
    with pytest.raises(ValueError, match=r"t must have shape \(\) or \(5,\)"):
        exact.reverse_kernel(mixture, VP, x_t, t, t[:3] / 2)
    for n in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"n must be a whole number >= 1, but is {n!r}"):
            mixture.sample(n, make_generator(0))


# --- finite data -----------------------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)], ids=["points", "images"])
def test_finite_denoiser_is_a_softmax_over_the_data(path, shape, make_generator):
    data, x_t, t = (
        normal((7, *shape), make_generator(0)),
        normal((5, *shape), make_generator(1)),
        inner_times(5, make_generator(2)),
    )
    answer = exact.finite_denoiser(data, path)(x_t, t)
    for i in range(5):
        alpha, sigma = float(path.alpha(t[i])), float(path.sigma(t[i]))
        logits = np.array([-float(((x_t[i] - alpha * point) ** 2).sum()) / (2 * sigma**2) for point in data])
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        assert_close(answer[i], sum(w * point for w, point in zip(weights, data, strict=True)), 1e-9)


def test_finite_denoiser_is_the_limit_of_narrow_mixtures(make_generator):
    data, x_t, t = (
        normal((6, 2), make_generator(0)),
        normal((5, 2), make_generator(1)),
        inner_times(5, make_generator(2)),
    )
    narrow = GaussianMixture(torch.full((6,), 1 / 6).double(), data, 1e-12 * torch.eye(2).double().repeat(6, 1, 1))
    assert_close(exact.finite_denoiser(data, VP)(x_t, t), exact.posterior_mean(narrow, VP, x_t, t), 1e-6)


def test_finite_denoiser_does_not_depend_on_chunks_or_neighbours(make_generator):
    data, x_t, t = (
        normal((9, 1, 2, 2), make_generator(0)),
        normal((7, 1, 2, 2), make_generator(1)),
        inner_times(7, make_generator(2)),
    )
    whole = exact.finite_denoiser(data, VP)(x_t, t)
    for chunk in (1, 3, 7):
        assert_close(exact.finite_denoiser(data, VP, chunk=chunk)(x_t, t), whole, 1e-12)
    assert_close(exact.finite_denoiser(data, VP, chunk=2)(x_t, t[3])[3], whole[3], 1e-12)


def test_finite_denoiser_returns_what_it_has_seen(make_generator):
    data = torch.randn(50, 1, 8, 8, generator=make_generator(0))
    noisy = VP.perturb(data[:8], torch.tensor(0.02), torch.randn(8, 1, 8, 8, generator=make_generator(1)))
    answer = exact.finite_denoiser(data, VP)(noisy, torch.tensor(0.02))
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, data[:8])


def test_finite_denoiser_refuses_what_is_no_data():
    with pytest.raises(TypeError, match=r"data must be a floating-point tensor of shape \(B, \*D\)"):
        exact.finite_denoiser(torch.zeros(5), VP)
    with pytest.raises(TypeError, match=r"data must be a floating-point tensor.*uint8"):
        exact.finite_denoiser(torch.zeros(5, 2, dtype=torch.uint8), VP)


# --- the small print: defaults, the ends of ranges, precision, words --------------------------------------------------


def test_a_single_point_may_be_drawn(make_generator):
    x, component = random_mixture(2, (2,), make_generator(0)).sample(1, make_generator(1))
    assert x.shape == (1, 2) and component.shape == (1,)


def test_stored_data_meet_noisy_data_of_another_precision(make_generator):
    data, x = torch.randn(7, 2, generator=make_generator(0)), normal((3, 2), make_generator(1))
    single, double = (exact.finite_denoiser(d, COSINE)(x, number(0.5)) for d in (data, data.double()))
    assert single.dtype == torch.float64
    assert_close(single, double, 1e-12)


def test_an_error_about_a_mixture_says_what_was_given():
    ones = torch.ones(1)
    with pytest.raises(ValueError, match=r"^means must have .*, but are a float32 tensor of shape \(2, 2\)$"):
        GaussianMixture(ones, torch.zeros(2, 2), torch.eye(2)[None])
    with pytest.raises(ValueError, match=r"^covariances must have .*, but are a float32 tensor of shape \(1, 3, 3\)$"):
        GaussianMixture(ones, torch.zeros(1, 2), torch.eye(3)[None])
    with pytest.raises(ValueError, match=r"^covariances must be symmetric and positive definite$"):
        GaussianMixture(ones, torch.zeros(1, 2), -torch.eye(2)[None])


# --- on a line -------------------------------------------------------------------------------------------------------


@every_path
def test_cdf_and_quantile_are_those_of_scipy_and_undo_one_another(path, make_generator):
    mixture, p = random_mixture(3, (1,), make_generator(0)), torch.linspace(1e-9, 1 - 1e-9, 41, dtype=torch.float64)
    for t in inner_times(3, make_generator(1)):
        x = exact.quantile(mixture, path, p, t)
        stds = (path.alpha(t) ** 2 * mixture.covariances[:, 0, 0] + path.sigma(t) ** 2).sqrt()
        theirs = norm.cdf((x.numpy() - (path.alpha(t) * mixture.means[:, 0]).numpy()) / stds.numpy())
        assert_close(exact.cdf(mixture, path, x, t), torch.from_numpy(theirs @ mixture.weights.numpy()), 1e-12)
        assert x.shape == (41, 1)
        assert_close(exact.cdf(mixture, path, x, t), p, 1e-12)
    each = exact.cdf(mixture, path, x[:3], inner_times(3, make_generator(1)))  # a time for each point
    assert each.shape == (3,)
    assert_close(each[2], exact.cdf(mixture, path, x[2:3], t)[0])


@to_clean_data
def test_line_flow_is_the_solution_of_the_ode(path, make_generator):
    """Against SciPy's solver of order 8, in ln(sigma / alpha), where all paths have the same ODE."""
    mixture, x = random_mixture(2, (1,), make_generator(0)), normal((5, 1), make_generator(1))
    t, s = number(0.9), number(0.3)
    denoise = exact.mixture_denoiser(mixture, GaussianPath(alpha=torch.ones_like, sigma=torch.exp))

    def slope(level, scaled):
        scaled = torch.from_numpy(scaled)[:, None]
        return (scaled - denoise(scaled, torch.tensor(level, dtype=torch.float64)))[:, 0].numpy()

    span = [-float(path.log_snr(time)) / 2 for time in (t, s)]
    found = solve_ivp(slope, span, (x / path.alpha(t))[:, 0].numpy(), "DOP853", rtol=1e-11, atol=1e-11)
    expected = path.alpha(s) * torch.from_numpy(found.y[:, -1:])
    assert_close(exact.line_flow(mixture, path, x, t, s), expected, 1e-8)


@every_path
def test_line_flow_scales_a_gaussian_and_can_go_back(path, make_generator):
    parts = torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 0.3**2, dtype=torch.float64)
    one = GaussianMixture(parts[0].double(), parts[1].double(), parts[2])
    x, t, s = torch.tensor([[-30.0], [-2.0], [0.0], [1.5], [30.0]], dtype=torch.float64), number(0.8), number(0.2)
    before, after = ((path.alpha(time) ** 2 * 0.3**2 + path.sigma(time) ** 2).sqrt() for time in (t, s))
    x = x * before  # as far out as 30 standard deviations, on both sides
    there = exact.line_flow(one, path, x, t, s)
    assert_close(there, x / before * after, 1e-10)
    assert_close(exact.line_flow(one, path, there, s, t), x, 1e-10)
    mixture = random_mixture(3, (1,), make_generator(0))
    middle = exact.line_flow(mixture, path, x, t, number(0.5))
    direct = exact.line_flow(mixture, path, x, t, s)
    assert_close(exact.line_flow(mixture, path, middle, number(0.5), s), direct, 1e-8)
    assert bool((direct.diff(dim=0) > 0).all())  # no point overtakes another
    assert exact.line_flow(mixture, path, x.float(), t, s).dtype == torch.float32


def test_what_lies_on_no_line_is_refused(make_generator):
    line, plane = random_mixture(2, (1,), make_generator(0)), random_mixture(2, (2,), make_generator(0))
    for mixture, x in ((plane, torch.zeros(3, 2)), (line, torch.zeros(3, 2)), (plane, torch.zeros(3, 1))):
        with pytest.raises(ValueError, match="must lie on a line"):
            exact.cdf(mixture, COSINE, x.double(), number(0.5))
    for p in ([0.0, 0.5], [0.5, 1.0], [[0.5]]):
        with pytest.raises(ValueError, match="p must be a row of numbers above 0 and below 1"):
            exact.quantile(line, COSINE, torch.tensor(p, dtype=torch.float64), number(0.5))
