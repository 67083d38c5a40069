"""The variational bound against its definition, term by term, against its closed form, and below the exact density."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from minidiff import bounds
from minidiff.bounds import variational_bound
from minidiff.data import eight_gaussians, three_gaussians
from minidiff.exact import mixture_denoiser
from minidiff.paths import GaussianPath
from minidiff.samplers import forward_variance, posterior_variance
from minidiff.schedules import cosine, ddpm_linear, vp_linear
from tests.cases import (
    Counting,
    every_path,
    every_shape,
    exact_log_prob,
    falling,
    halved,
    normal,
    one_gaussian,
    random_mixture,
    wavy,
)

VP = vp_linear()
VARIANCES = {"tilde": posterior_variance, "beta": forward_variance}
every_variance = pytest.mark.parametrize("variance", VARIANCES.values(), ids=VARIANCES)


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


@pytest.mark.parametrize(("show_after", "shown"), [(1e9, False), (0, True)])
def test_a_bar_appears_when_the_bound_takes_long(show_after, shown, make_generator, capsys, monkeypatch):
    monkeypatch.setattr(bounds, "SHOW_AFTER", show_after)
    variational_bound(wavy, VP, X, falling(5), generator=make_generator(1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "4/4" in captured.err if shown else captured.err == ""


# --- refusals --------------------------------------------------------------------------------------------------------

X, TIMES = torch.ones(3, 2), torch.linspace(1, 0, 6)
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


# --- the small print: defaults, the ends of ranges, precision, words --------------------------------------------------


def test_a_bound_without_steps_is_in_double_precision_too(make_generator):
    x0 = torch.randn(4, 2, generator=make_generator(0))
    bound = variational_bound(halved, cosine(), x0, torch.tensor([0.5, 0.0]), generator=make_generator(1))
    assert bound.steps.shape == (0, 4) and bound.steps.dtype == torch.float64


def test_the_bar_says_what_it_counts(make_generator, capsys, monkeypatch):
    monkeypatch.setattr(bounds, "SHOW_AFTER", 0)
    times = torch.tensor([0.9, 0.5, 0.2, 0.0]).double()
    variational_bound(halved, cosine(), normal((2, 2), make_generator(0)), times, generator=make_generator(1))
    assert re.search(r"\bbound: .*\bstep(/s|\])", capsys.readouterr().err.replace("\r", "\n"))
