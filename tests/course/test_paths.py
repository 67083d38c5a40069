"""GaussianPath: jumps, transitions, posteriors and rates of change, against grids, limits and finite differences."""

import itertools
import math
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.integrate import simpson
from scipy.stats import norm

from minidiff import _tensors
from minidiff._tensors import nan_outside
from minidiff.paths import GaussianPath
from minidiff.schedules import cosine, ddpm_linear, edm, rectified_flow, ve, vp_linear
from tests.cases import PATHS, assert_close, every_path, every_shape, inner_times, normal, number

COSINE, FLOW, VE = PATHS["cosine"], PATHS["flow"], PATHS["ve"]
falling_times = st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3, unique=True).map(
    lambda times: [number(t) for t in sorted(times, reverse=True)]
)


def posterior_coefficients(path, t, s):
    """Of x_t and of x0 in the mean, and the variance."""
    one, zero = torch.ones(1, 1, dtype=t.dtype), torch.zeros(1, 1, dtype=t.dtype)
    of_xt, variance = path.posterior(one, zero, t, s)
    return of_xt, path.posterior(zero, one, t, s)[0], variance


# --- one jump --------------------------------------------------------------------------------------------------------


@every_path
@every_shape
def test_perturb_is_the_formula_for_each_number(path, shape, make_generator):
    g = make_generator(0)
    x0, eps, t = normal(shape, g), normal(shape, g), inner_times(shape[0], g)
    x_t = path.perturb(x0, t, eps)
    for i in range(shape[0]):
        alpha, sigma = float(path.alpha(t)[i]), float(path.sigma(t)[i])
        for place in np.ndindex(*shape[1:]):
            assert float(x_t[i][place]) == pytest.approx(alpha * float(x0[i][place]) + sigma * float(eps[i][place]))
    assert_close(path.perturb(x0, t[0], eps), path.perturb(x0, t[0].repeat(shape[0]), eps), 0)


@every_path
def test_coefficients_fall_and_rise_within_the_path(path):
    t = torch.linspace(path.t_min, 1, 501, dtype=torch.float64)
    assert (path.alpha(t).diff() < 0).all() or path is VE
    assert (path.sigma(t).diff() > 0).all()
    assert_close(path.log_snr(t[1:-1]), torch.log(path.alpha(t[1:-1]) ** 2 / path.sigma(t[1:-1]) ** 2))


def test_prior_has_the_variance_of_noisy_data(make_generator):
    plain = torch.randn(3, 1, 8, 8, generator=make_generator(0))
    for path, std in ((COSINE, 1), (vp_linear(), 1), (PATHS["ddpm_linear"], 1), (FLOW, 1), (VE, math.hypot(1, 80))):
        drawn = path.prior((3, 1, 8, 8), make_generator(0))
        assert drawn.dtype == torch.float32
        torch.testing.assert_close(drawn, std * plain)


# --- q(x_t | x_s) ----------------------------------------------------------------------------------------------------


@every_path
@settings(max_examples=30)
@given(times=falling_times)
def test_stepping_from_r_to_s_to_t_equals_stepping_from_r_to_t(path, times):
    t, s, r = times
    (factor_ts, variance_ts), (factor_sr, variance_sr) = path.transition(t, s), path.transition(s, r)
    factor, variance = path.transition(t, r)
    assert_close(factor_ts * factor_sr, factor)
    assert_close(variance_ts + factor_ts**2 * variance_sr, variance, 1e-11)
    assert_close(factor_ts * path.alpha(s), path.alpha(t))
    assert_close(variance_ts + factor_ts**2 * path.sigma(s) ** 2, path.sigma(t) ** 2)
    assert variance > -1e-15


@every_path
def test_a_chain_of_many_steps_equals_one_jump(path):
    times = torch.linspace(path.t_min, 0.99, 101, dtype=torch.float64)
    signal, variance = path.alpha(times[0]), path.sigma(times[0]) ** 2
    for s, t in itertools.pairwise(times):
        factor, added = path.transition(t, s)
        signal, variance = factor * signal, factor**2 * variance + added
    assert_close(signal, path.alpha(times[-1]))
    assert_close(variance, path.sigma(times[-1]) ** 2)


# --- q(x_s | x_t, x0) ------------------------------------------------------------------------------------------------


@every_path
@every_shape
def test_posterior_is_bayes_rule_on_a_grid(path, shape, make_generator):
    g = make_generator(0)
    x0, x_t = normal(shape, g), normal(shape, g)
    t = 0.5 + 0.4 * torch.rand(shape[0], generator=g, dtype=torch.float64)
    s = t - 0.3
    mean, variance = path.posterior(x_t, x0, t, s)
    assert mean.shape == shape and variance.shape == t.shape
    for i, place in [(i, place) for i in range(shape[0]) for place in np.ndindex(*shape[1:])][::7]:
        a_t, s_t, a_s, s_s = (float(f(u)[i]) for u in (t, s) for f in (path.alpha, path.sigma))
        a, b = float(x0[i][place]), float(x_t[i][place])
        grid = a_s * a + s_s * np.linspace(-12, 12, 20_001)
        given_xs = norm.pdf(b, a_t / a_s * grid, math.sqrt(s_t**2 - (a_t / a_s * s_s) ** 2))
        density = given_xs * norm.pdf(grid, a_s * a, s_s)
        density /= simpson(density, x=grid)
        truth = simpson(grid * density, x=grid)
        assert float(mean[i][place]) == pytest.approx(truth, abs=1e-10)
        assert float(variance[i]) == pytest.approx(simpson((grid - truth) ** 2 * density, x=grid), rel=1e-9)


@every_path
@settings(max_examples=30)
@given(times=falling_times)
def test_posterior_steps_from_t_to_s_to_r_equal_one_from_t_to_r(path, times):
    t, s, r = times
    a, b, variance_ts = posterior_coefficients(path, t, s)
    c, d, variance_sr = posterior_coefficients(path, s, r)
    of_xt, of_x0, variance = posterior_coefficients(path, t, r)
    assert_close(a * c, of_xt, 1e-10)
    assert_close(b * c + d, of_x0, 1e-10)
    assert_close(c**2 * variance_ts + variance_sr, variance.reshape(1, 1), 1e-10)


@every_path
@settings(max_examples=30)
@given(times=falling_times)
def test_posterior_averaged_over_x_t_is_the_marginal_at_s(path, times):
    t, s, _ = times
    of_xt, of_x0, variance = posterior_coefficients(path, t, s)
    assert_close(of_xt * path.alpha(t) + of_x0, path.alpha(s).reshape(1, 1), 1e-10)
    assert_close(of_xt**2 * path.sigma(t) ** 2 + variance, (path.sigma(s) ** 2).reshape(1, 1), 1e-10)


@pytest.mark.parametrize("name", ["ddpm_linear", "cosine", "vp_linear", "flow"])
def test_the_step_to_clean_data_ends_on_x0_without_noise(name, make_generator):
    x_t, x0 = normal((4, 2), make_generator(0)), normal((4, 2), make_generator(1))
    mean, variance = PATHS[name].posterior(x_t, x0, number(0.3), number(0.0))
    assert_close(mean, x0, 1e-14)
    assert variance == 0


def test_a_scalar_time_serves_every_sample(make_generator):
    x_t, x0 = normal((3, 1, 8, 8), make_generator(0)), normal((3, 1, 8, 8), make_generator(1))
    t, s = number(0.7), number(0.4)
    mean, variance = COSINE.posterior(x_t, x0, t, s)
    means, variances = COSINE.posterior(x_t, x0, t.repeat(3), s.repeat(3))
    assert_close(mean, means, 0)
    assert_close(variance.repeat(3), variances, 0)


# --- rates -----------------------------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("scalar", [True, False])
def test_rates_are_finite_differences(path, scalar):
    t, h = torch.linspace(0.0505, 0.9505, 10, dtype=torch.float64), 1e-6  # halfway between knots of the table
    t = t[3] if scalar else t
    alpha_rate, sigma_rate = path.rates(t)
    assert alpha_rate.shape == sigma_rate.shape == t.shape
    assert_close(alpha_rate, (path.alpha(t + h) - path.alpha(t - h)) / (2 * h), 1e-7)
    assert_close(sigma_rate, (path.sigma(t + h) - path.sigma(t - h)) / (2 * h), 1e-7)


def test_rates_in_closed_form(make_generator):
    t = inner_times(20, make_generator(0))
    assert_close(FLOW.rates(t)[0], -torch.ones_like(t))
    assert_close(FLOW.rates(t)[1], torch.ones_like(t))
    assert_close(VE.rates(t)[0], torch.zeros_like(t))
    assert_close(VE.rates(t)[1], math.log(8000) * VE.sigma(t))
    angle, speed = (t + 0.008) / 1.008 * math.pi / 2, math.pi / 2 / 1.008
    assert_close(COSINE.rates(t)[0], -speed * angle.sin() / math.cos(0.008 / 1.008 * math.pi / 2))


def test_drift_and_diffusion_in_closed_form(make_generator):
    t = inner_times(20, make_generator(0))
    drift, squared = vp_linear(0.1, 20).drift_and_diffusion(t)
    beta = 0.1 + 19.9 * t
    assert_close(drift, -beta / 2, 1e-10)
    assert_close(squared, beta, 1e-10)
    drift, squared = FLOW.drift_and_diffusion(t)
    assert_close(drift, -1 / (1 - t), 1e-10)
    assert_close(squared, 2 * t / (1 - t), 1e-10)
    drift, squared = VE.drift_and_diffusion(t)
    assert_close(drift, torch.zeros_like(t))
    assert_close(squared, 2 * math.log(8000) * VE.sigma(t) ** 2, 1e-10)


@every_path
def test_drift_and_diffusion_carry_the_moments_along(path):
    """d alpha = f alpha dt and d sigma^2 = (2 f sigma^2 + g^2) dt."""
    t, h = torch.linspace(0.0505, 0.9505, 10, dtype=torch.float64), 1e-6
    drift, squared = path.drift_and_diffusion(t)
    alpha_rate = (path.alpha(t + h) - path.alpha(t - h)) / (2 * h)
    variance_rate = (path.sigma(t + h) ** 2 - path.sigma(t - h) ** 2) / (2 * h)
    assert_close(drift * path.alpha(t), alpha_rate, 1e-7)
    assert_close(2 * drift * path.sigma(t) ** 2 + squared, variance_rate, 1e-7)


# --- refusals --------------------------------------------------------------------------------------------------------

POINTS = torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("x0", "t", "eps", "error", "words"),
    [
        (POINTS, torch.tensor(500), POINTS, TypeError, "t must be a floating-point.*int64.*divide a step index k"),
        (POINTS, 500, POINTS, TypeError, "t must be a floating-point tensor.*int 500; divide a step index k"),
        (POINTS, 0.5, POINTS, TypeError, "t must be a floating-point tensor.*but is float 0.5$"),
        (POINTS, torch.zeros(4, 1), POINTS, ValueError, r"t must have shape \(\) or \(4,\).*\(4, 1\)"),
        (POINTS, torch.zeros(2), POINTS, ValueError, r"t must have shape \(\) or \(4,\).*\(2,\)"),
        (POINTS, torch.zeros(1), POINTS, ValueError, r"t must have shape \(\) or \(4,\).*\(1,\)"),
        (POINTS, torch.zeros(4), torch.zeros(4, 1), ValueError, r"eps must have the shape of x0, \(4, 2\), but has"),
        (POINTS[0], torch.zeros(2), POINTS[0], TypeError, r"x0 must be a floating-point tensor of shape \(B, \*D\)"),
        (POINTS.long(), torch.zeros(4), POINTS, TypeError, "x0 must be a floating-point tensor.*int64"),
        (POINTS.tolist(), torch.zeros(4), POINTS, TypeError, "x0 must be a floating-point tensor.*list"),
    ],
)
def test_perturb_refuses_what_it_cannot_mean(x0, t, eps, error, words):
    with pytest.raises(error, match=words):
        COSINE.perturb(x0, t, eps)


def test_posterior_refuses_what_it_cannot_mean():
    with pytest.raises(TypeError, match=r"t must be a floating-point tensor.*divide a step index"):
        COSINE.posterior(POINTS, POINTS, torch.tensor(3), torch.tensor(2))
    with pytest.raises(TypeError, match="x_t must be a floating-point tensor"):
        COSINE.posterior(POINTS[0], POINTS, torch.tensor(0.3), torch.tensor(0.2))


def test_a_path_is_a_frozen_record():
    with pytest.raises(AttributeError):
        GaussianPath(torch.cos, torch.sin).alpha = torch.sin


# --- the small print: defaults, the ends of ranges, precision, words --------------------------------------------------


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_path_answers_in_the_precision_of_the_question(path, dtype):
    for shape in ((), (3,)):
        t = torch.full(shape, 0.4, dtype=dtype)
        for answer in (path.alpha(t), path.sigma(t), path.log_snr(t)):
            assert answer.dtype == dtype and answer.shape == shape


# --- times that are none ---------------------------------------------------------------------------------------------

OUTSIDE = [
    (
        torch.tensor([0.5, 500.0]),
        r"t must lie in \[0, 1\], but has values from 0.5 to 500; divide a step index k",
    ),
    (torch.tensor(1.01), r"t must lie in \[0, 1\], but is 1.01; divide a step index k by the number of steps T"),
    (torch.tensor([-0.1, 0.5]), r"t must lie in \[0, 1\], but has values from -0.1 to 0.5"),
    (torch.tensor([0.5, math.nan]), r"t must lie in \[0, 1\], but is NaN"),
    (torch.tensor(math.nan).double(), r"t must lie in \[0, 1\], but is NaN"),
]


@every_path
@pytest.mark.parametrize(("t", "words"), OUTSIDE)
def test_times_outside_0_and_1_are_refused_by_name(path, t, words):
    x = torch.ones(2, 2)
    for call in (
        lambda: path.perturb(x, t, x),
        lambda: path.posterior(x, x, t, torch.tensor(0.1)),
        lambda: path.transition(t, torch.tensor(0.1)),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    for call in (lambda: path.posterior(x, x, torch.tensor(0.5), t), lambda: path.transition(torch.tensor(0.5), t)):
        with pytest.raises(ValueError, match=words.replace("t must", "s must")):
            call()


@every_path
def test_the_ends_are_times_and_so_is_what_rounding_makes_of_them(path):
    x = torch.ones(3, 2)
    for t in (torch.tensor([path.t_min, 0.5, 1.0]), torch.tensor([path.t_min, 0.5, 1 + 5e-7])):
        path.perturb(x, t, x)
    with pytest.raises(ValueError, match="t must lie in"):
        path.perturb(x, torch.tensor([0.2, 0.5, 1 + 3e-6], dtype=torch.float64), x)


SCHEDULES = {
    **{"ddpm_linear": ddpm_linear(), "cosine": cosine(), "vp_linear": vp_linear()},
    **{"ve": ve(), "edm": edm(), "rectified_flow": rectified_flow()},
}
every_schedule = pytest.mark.parametrize("path", SCHEDULES.values(), ids=SCHEDULES)


@every_schedule
@pytest.mark.parametrize(
    ("t", "words"),
    [
        (0.5, r"t must be a floating-point tensor with values in \[0, 1\], but is float 0.5"),
        (500, r"t must be a floating-point tensor .*, but is int 500; divide a step index k by the number of steps T"),
        (torch.tensor([1, 2]), r"t must be .*, but is an int64 tensor of shape \(2,\); divide a step index k"),
    ],
)
def test_a_number_is_no_time_and_the_error_says_so(path, t, words):
    x = torch.ones(2, 2)
    for call in (
        lambda: path.alpha(t),
        lambda: path.sigma(t),
        lambda: path.log_snr(t),
        lambda: path.rates(t),
        lambda: path.drift_and_diffusion(t),
        lambda: path.transition(t, torch.tensor(0.1)),
        lambda: path.perturb(x, t, x),
        lambda: path.posterior(x, x, t, torch.tensor(0.1)),
    ):
        with pytest.raises(TypeError, match=words):
            call()


@every_path
def test_inside_vmap_and_jvp_times_are_not_looked_at(path, make_generator):
    x, t = normal((3, 2), make_generator(0)), inner_times(3, make_generator(1))
    alone = torch.func.vmap(lambda x, t: path.perturb(x[None], t, x[None])[0])(x, t)
    assert_close(alone, path.perturb(x, t, x), 1e-12)
    _, rate = torch.func.jvp(lambda t: path.perturb(x, t, x), (t,), (torch.ones_like(t),))
    alpha, sigma = path.rates(t)
    assert_close(rate, (alpha + sigma)[:, None] * x, 1e-10)
    outside = torch.func.vmap(lambda x, t: path.perturb(x[None], t, x[None])[0])(x, t + torch.tensor([0, 1, 500]))
    assert outside.isnan().any(dim=1).tolist() == [False, True, True] and not outside[0].isnan().any()


@pytest.mark.parametrize("shape", [(5, 2), (5, 1, 4, 4)])
def test_where_times_cannot_be_looked_at_the_result_is_nan(shape, monkeypatch):
    """What a GPU does, through the helper itself: no number passes for one, and the right ones stay as they are."""
    t, x = torch.tensor([0.0, 1.0, 1.5, -0.1, math.nan]), torch.ones(shape)
    assert nan_outside(x, t) is x  # on the CPU the check has raised before
    monkeypatch.setattr(_tensors, "readable", lambda values: False)
    found = nan_outside(x, t)
    assert torch.equal(found[:2], x[:2]) and bool(found[2:].isnan().all())
    assert bool(nan_outside(x, torch.tensor(500.0)).isnan().all()) and torch.equal(nan_outside(x, torch.tensor(0.3)), x)
    for path in SCHEDULES.values():  # on some of which alpha and sigma are finite there
        assert path.perturb(x, t, x).flatten(1).isnan().any(dim=1).tolist() == [False, False, True, True, True]


def test_meta_tensors_have_no_values_to_look_at():
    x, t = torch.empty(3, 2, device="meta"), torch.empty(3, device="meta")
    assert not _tensors.readable(t) and nan_outside(x, t).shape == x.shape


@every_schedule
def test_a_path_can_be_handed_to_another_process(path):
    """By pickling, which `spawn` on Windows and macOS needs."""
    again, t = pickle.loads(pickle.dumps(path)), torch.tensor([0.1, 0.45, 0.999], dtype=torch.float64)
    assert torch.equal(again.alpha(t), path.alpha(t)) and torch.equal(again.sigma(t), path.sigma(t))
    assert again.t_min == path.t_min
