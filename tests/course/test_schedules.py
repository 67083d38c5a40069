"""The known paths against their papers' tables, quadrature, arbitrary precision, and diffusers' tables."""

import math

import mpmath
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler, EulerDiscreteScheduler
from scipy.integrate import quad

from minidiff.paths import GaussianPath
from minidiff.schedules import (
    cosine,
    ddpm_betas,
    ddpm_linear,
    edm,
    karras_times,
    log_snr_times,
    rectified_flow,
    tabulated,
    time_at_log_snr,
    ve,
    vp_linear,
)
from tests.cases import assert_close, number

OURS = {"ddpm_linear": ddpm_linear(), "cosine": cosine(), "vp_linear": vp_linear()}
every_schedule = pytest.mark.parametrize("path", OURS.values(), ids=OURS)
# Paths that do not preserve variance
OTHERS = {"ve": ve(), "edm": edm(), "rectified_flow": rectified_flow()}
every_other = pytest.mark.parametrize("path", OTHERS.values(), ids=OTHERS)
every_path = pytest.mark.parametrize("path", (OURS | OTHERS).values(), ids=OURS | OTHERS)


def knots(T):
    return torch.arange(1, T + 1, dtype=torch.float64) / T


def longdouble_table(T):
    """beta_k and alpha_bar_0 = 1, ..., alpha_bar_T in NumPy's longest floating-point type."""
    betas = np.linspace(np.longdouble(1e-4), np.longdouble(0.02), T)
    return betas, np.concatenate([[np.longdouble(1)], np.cumprod(1 - betas)])


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 2, 50, 1000])
def test_ddpm_linear_is_the_product_of_one_minus_beta(T):
    _, alpha_bar = longdouble_table(T)
    path = ddpm_linear(T)
    np.testing.assert_allclose(path.alpha(knots(T)).numpy() ** 2, alpha_bar[1:].astype(float), rtol=1e-13)
    np.testing.assert_allclose(path.sigma(knots(T)).numpy() ** 2, (1 - alpha_bar[1:]).astype(float), rtol=1e-13)
    assert path.alpha(number(0.0)) == 1 and path.sigma(number(0.0)) == 0


@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
def test_tables_equal_those_of_diffusers(schedule):
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule=schedule)
    path = tabulated(theirs.betas)
    torch.testing.assert_close(path.alpha(knots(1000)) ** 2, theirs.alphas_cumprod.double(), rtol=2e-5, atol=1e-9)
    if schedule == "linear":
        torch.testing.assert_close(ddpm_betas(1000), theirs.betas.double(), rtol=1e-6, atol=0)
        ours = ddpm_linear(1000).alpha(knots(1000)) ** 2
    else:  # their last beta is capped at 0.999
        ours = cosine().alpha(knots(1000)) ** 2
    torch.testing.assert_close(ours[:-1], theirs.alphas_cumprod[:-1].double(), rtol=2e-3, atol=1e-6)


def test_transition_and_posterior_between_knots_are_ddpms_equation_7():
    T = 1000
    betas, alpha_bar = longdouble_table(T)
    path, k = ddpm_linear(T), np.arange(2, T + 1)
    t, s = torch.from_numpy(k / T), torch.from_numpy((k - 1) / T)

    factor, variance = path.transition(t, s)
    np.testing.assert_allclose(factor, np.sqrt(1 - betas[1:]).astype(float), rtol=0, atol=1e-12)
    np.testing.assert_allclose(variance, betas[1:].astype(float), rtol=0, atol=1e-12)

    one, zero = torch.ones(T - 1, 1, dtype=torch.float64), torch.zeros(T - 1, 1, dtype=torch.float64)
    of_xt, variance = path.posterior(one, zero, t, s)
    of_x0, _ = path.posterior(zero, one, t, s)
    rest = 1 - alpha_bar
    np.testing.assert_allclose(of_x0[:, 0], (np.sqrt(alpha_bar[1:-1]) * betas[1:] / rest[2:]).astype(float), atol=1e-12)
    np.testing.assert_allclose(of_xt[:, 0], (np.sqrt(1 - betas[1:]) * rest[1:-1] / rest[2:]).astype(float), atol=1e-12)
    np.testing.assert_allclose(variance, (rest[1:-1] / rest[2:] * betas[1:]).astype(float), rtol=0, atol=1e-12)


def test_log_alpha_bar_is_linear_between_knots():
    path, left, right = ddpm_linear(10), number(0.3), number(0.4)
    for share in (0.0, 0.25, 0.5, 0.9, 1.0):
        between = path.alpha(left + share * (right - left)).log()
        torch.testing.assert_close(between, (1 - share) * path.alpha(left).log() + share * path.alpha(right).log())


@pytest.mark.parametrize(("T", "signal"), [(50, 0.777), (1000, 0.00635)])
def test_how_much_of_the_signal_still_stands_at_the_end(T, signal):
    assert float(ddpm_linear(T).alpha(number(1.0))) == pytest.approx(signal, rel=1e-3)


# --- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.008, 0.02])
def test_cosine_is_its_formula(offset):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    f = [math.cos((float(u) + offset) / (1 + offset) * math.pi / 2) ** 2 for u in t]
    torch.testing.assert_close(cosine(offset).alpha(t) ** 2, torch.tensor(f, dtype=torch.float64) / f[0])


def test_cosine_ends_in_pure_noise():
    one = torch.tensor(1.0)
    assert cosine().alpha(one) == 0 and cosine().sigma(one) == pytest.approx(1)
    assert cosine().alpha(one.double()) < 1e-16


@pytest.mark.parametrize(("low", "high"), [(0.1, 20.0), (0.5, 0.5), (1.0, 8.0)])
def test_vp_linear_is_the_integral_of_beta(low, high):
    for t in (1e-3, 0.1, 0.5, 1.0):
        integral, _ = quad(lambda u: low + u * (high - low), 0, t)
        path = vp_linear(low, high)
        assert float(path.alpha(number(t))) == pytest.approx(math.exp(-integral / 2), rel=1e-12)
        assert float(path.sigma(number(t))) == pytest.approx(math.sqrt(-math.expm1(-integral)), rel=1e-12)


def test_vp_linear_is_the_limit_of_ddpms_table():
    """T steps of beta / T: the two differ by O(1 / T)."""
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64)
    error = [
        (tabulated(torch.linspace(0.1 / T, 20 / T, T, dtype=torch.float64)).alpha(t) - vp_linear().alpha(t)).abs().max()
        for T in (1000, 2000, 4000)
    ]
    assert error[0] < 0.01
    assert 1.9 < error[0] / error[1] < 2.1 and 1.9 < error[1] / error[2] < 2.1


@pytest.mark.parametrize(("low", "high"), [(0.01, 50.0), (0.002, 348.0), (0.5, 2.0)])
def test_ve_is_geometric(low, high):
    """SDE, equation 31: the standard deviation at t is low (high / low)^t; NCSN's levels are even times."""
    levels = np.geomspace(low, high, 11)
    times = torch.linspace(0, 1, 11, dtype=torch.float64)
    np.testing.assert_allclose(ve(low, high).sigma(times)[1:], levels[1:], rtol=1e-12)
    assert float(ve(low, high).sigma(number(1e-12))) == pytest.approx(low, rel=1e-9)


def test_ve_is_the_sde_of_equation_30():
    """dx = low (high / low)^t sqrt(2 log(high / low)) dw, without drift."""
    t = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    drift, g2 = ve(0.01, 50.0).drift_and_diffusion(t)
    assert torch.equal(drift, torch.zeros_like(t))
    torch.testing.assert_close(g2.sqrt(), 0.01 * 5000**t * math.sqrt(2 * math.log(5000)), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("low", "high", "rho", "n"), [(0.002, 80.0, 7.0, 18), (0.02, 10.0, 3.0, 5), (0.1, 1.0, 1.0, 4)]
)
def test_even_times_on_edm_are_the_steps_of_equation_5(low, high, rho, n):
    steps = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    even = 1 - torch.arange(n, dtype=torch.float64) / (n - 1)
    even[-1] = 1e-15  # at 0 itself lie the data
    np.testing.assert_allclose(edm(low, high, rho).sigma(even), steps, rtol=1e-10)


@pytest.mark.parametrize("n", [2, 18, 79])
def test_karras_times_on_edm_are_those_of_diffusers(n):
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_schedule="karras", rho=7.0)
    scheduler.set_timesteps(n)
    ours = edm().sigma(karras_times(edm(), n))
    torch.testing.assert_close(ours, scheduler.sigmas.double(), rtol=2e-6, atol=0)


def test_rectified_flow_is_a_straight_line():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    path = rectified_flow()
    assert torch.equal(path.alpha(t), 1 - t) and torch.equal(path.sigma(t), t)
    assert path.alpha(torch.tensor(1.0)) == 0 and path.sigma(torch.tensor(1.0)) == 1
    alpha_rate, sigma_rate = path.rates(t)
    assert torch.equal(alpha_rate, -torch.ones_like(t)) and torch.equal(sigma_rate, torch.ones_like(t))


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_path_leads_from_the_data_to_noise(path, dtype):
    t = torch.linspace(0, 1, 1001, dtype=dtype)
    alpha, sigma = path.alpha(t), path.sigma(t)
    assert path.t_min == 0 and abs(float(alpha[0]) - 1) < 1e-7 and float(sigma[0]) == 0
    assert alpha.dtype == sigma.dtype == dtype and alpha.shape == sigma.shape == t.shape
    assert bool((alpha[1:] <= alpha[:-1]).all()) and bool((sigma[1:] >= sigma[:-1]).all())
    assert bool((path.log_snr(t)[1:] < path.log_snr(t)[:-1]).all())
    assert float(alpha[-1]) < 0.01 * float(sigma[-1]) or float(sigma[-1]) >= 50
    assert path.alpha(t[500]).shape == path.sigma(t[500]).shape == ()


@every_path
def test_the_prior_has_the_variance_of_unit_data_at_t_1(path, make_generator):
    """n s^2 / variance is chi-squared: 7 standard deviations at n = 40,000, false alarms below 1e-11 each."""
    x = path.prior((20_000, 2), make_generator(0))
    end = number(1.0)
    variance = float(path.alpha(end) ** 2 + path.sigma(end) ** 2)
    assert abs(float((x.double() ** 2).mean()) / variance - 1) < 7 * math.sqrt(2 / 40_000)
    scale = {"ve": math.sqrt(1 + 50**2), "edm": math.sqrt(1 + 80**2)}
    named = next(name for name, other in (OURS | OTHERS).items() if other is path)
    assert math.sqrt(variance) == pytest.approx(scale.get(named, 1.0), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rates_of_cosine_are_right_up_to_the_end(dtype):
    """alpha' = -(pi / 2) / 1.008 / start at t = 1, also in float32, where a cosine of pi / 2 is not quite 0."""
    start = math.cos(0.008 / 1.008 * math.pi / 2)
    alpha_rate, sigma_rate = cosine().rates(torch.tensor(1.0, dtype=dtype))
    assert float(alpha_rate) == pytest.approx(-math.pi / 2 / 1.008 / start, rel=1e-6)
    assert abs(float(sigma_rate)) < 1e-6


# --- times -----------------------------------------------------------------------------------------------------------


@every_path
def test_a_time_is_found_from_its_log_snr(path):
    t = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
    torch.testing.assert_close(time_at_log_snr(path, path.log_snr(t)), t, rtol=0, atol=1e-12)
    grid = t.reshape(10, 50).float()
    assert time_at_log_snr(path, path.log_snr(grid)).shape == (10, 50)
    ends = time_at_log_snr(path, torch.tensor([-math.inf, -1e6, 1e6, math.inf]))
    assert ends.tolist()[:2] == [1, 1] and float(ends[2:].max()) < 1e-12


@every_path
def test_log_snr_times_are_even_in_log_snr(path):
    start = 1.0 if float(path.alpha(number(1.0))) > 0 else 0.999
    times = log_snr_times(path, 40, 1e-3, start)
    assert times.shape == (41,) and times.dtype == torch.float64
    assert times[0] == start and times[-1] == 1e-3
    steps = path.log_snr(times).diff()
    torch.testing.assert_close(steps, steps.mean().expand(40), rtol=1e-9, atol=0)
    assert float(steps[0]) > 0.1


@every_path
@pytest.mark.parametrize("n", [1, 2, 25])
def test_karras_times_are_equation_5_in_sigma_over_alpha(path, n):
    times = karras_times(path, n, sigma_min=0.05, sigma_max=20.0, rho=5.0)
    assert times.shape == (n + 1,) and times[-1] == 0
    ratio = (path.sigma(times) / path.alpha(times))[:-1]
    roots = np.linspace(20**0.2, 0.05**0.2, n)
    np.testing.assert_allclose(ratio, roots**5, rtol=1e-9)


def test_karras_times_start_at_the_end_of_a_path_with_less_noise():
    path = ve(0.01, 30.0)
    assert float(karras_times(path, 10)[0]) == pytest.approx(1, abs=1e-12)
    assert float(path.sigma(karras_times(path, 10)[0])) == pytest.approx(30, rel=1e-9)
    assert float(karras_times(ve(0.01, 90.0), 10)[0]) < 1


def test_karras_times_on_ddpms_table_are_those_of_diffusers():
    """Their sigmas are stepped in float32, and end at the table's own smallest and largest sigma / alpha."""
    scheduler = EulerDiscreteScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", use_karras_sigmas=True
    )
    scheduler.set_timesteps(20)
    path, ends = ddpm_linear(), torch.tensor([1.0, 1e-3], dtype=torch.float64)
    high, low = (path.sigma(ends) / path.alpha(ends)).tolist()
    times = karras_times(path, 20, sigma_min=low, sigma_max=high)
    torch.testing.assert_close(path.sigma(times) / path.alpha(times), scheduler.sigmas.double(), rtol=1e-4, atol=0)


# --- precision -------------------------------------------------------------------------------------------------------


@every_schedule
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-15)])
def test_variance_is_preserved(path, dtype, tolerance):
    t = torch.linspace(0, 1, 2001, dtype=dtype)
    assert path.alpha(t).dtype == path.sigma(t).dtype == dtype
    torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t), rtol=0, atol=tolerance)


@every_schedule
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_sigma_keeps_its_digits_near_t_0(path, dtype, tolerance):
    """1 - alpha^2, subtracted, would have none left at t = 1e-8: so it is compared with 50 digits."""
    for power in range(-8, -1):
        t = torch.tensor(10.0**power, dtype=dtype)
        assert float(path.sigma(t)) == pytest.approx(float(sigma_in_50_digits(path, float(t))), rel=tolerance)


def sigma_in_50_digits(path, t):
    with mpmath.workdps(50):
        t = mpmath.mpf(t)
        if path is OURS["cosine"]:
            angles = [(u + mpmath.mpf(0.008)) / (1 + mpmath.mpf(0.008)) * mpmath.pi / 2 for u in (t, 0)]
            return mpmath.sqrt(1 - (mpmath.cos(angles[0]) / mpmath.cos(angles[1])) ** 2)
        if path is OURS["vp_linear"]:
            return mpmath.sqrt(1 - mpmath.exp(-t * mpmath.mpf(0.1) - t**2 * mpmath.mpf(19.9) / 2))
        betas = [mpmath.mpf(1e-4) + k * mpmath.mpf(0.0199) / 999 for k in range(50)]
        whole, part = int(t * 1000), t * 1000 - int(t * 1000)
        log_alpha_bar = sum(mpmath.log(1 - beta) for beta in betas[:whole]) + part * mpmath.log(1 - betas[whole])
        return mpmath.sqrt(1 - mpmath.exp(log_alpha_bar))


@every_schedule
def test_float32_agrees_with_float64(path):
    t = torch.linspace(0, 1, 1001)
    for coefficient in (path.alpha, path.sigma):
        torch.testing.assert_close(coefficient(t).double(), coefficient(t.double()), rtol=1e-4, atol=1e-6)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [0, -1, 10.0, "10"])
def test_a_table_needs_a_whole_number_of_steps(T):
    with pytest.raises(ValueError, match=f"T must be a whole number >= 1, but is {T!r}"):
        ddpm_linear(T)


@pytest.mark.parametrize("ends", [(0, 0.02), (0.02, 1e-4), (1e-4, 1.0), (math.nan, 0.02)])
def test_betas_must_rise_within_0_and_1(ends):
    with pytest.raises(ValueError, match=f"0 < beta_first <= beta_last < 1, but are {ends[0]} and {ends[1]}"):
        ddpm_betas(10, *ends)


@pytest.mark.parametrize(
    "betas", [[0.1, 0.2], torch.tensor([1, 2]), torch.full((2, 2), 0.1), torch.tensor(0.1), torch.empty(0)]
)
def test_a_table_must_be_a_row_of_numbers(betas):
    with pytest.raises(TypeError, match=r"betas must be a floating-point tensor of shape \(T,\), but is"):
        tabulated(betas)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, math.nan])
def test_every_beta_of_a_table_must_lie_within_0_and_1(beta):
    with pytest.raises(ValueError, match="betas must lie strictly between 0 and 1"):
        tabulated(torch.tensor([0.1, beta]))


@pytest.mark.parametrize("ends", [(0.0, 20.0), (-1.0, 20.0), (2.0, 1.0), (math.nan, 1.0)])
def test_beta_must_not_fall_along_vp_linear(ends):
    with pytest.raises(ValueError, match=f"0 < beta_min <= beta_max, but are {ends[0]} and {ends[1]}"):
        vp_linear(*ends)


@pytest.mark.parametrize("ends", [(0.0, 50.0), (-1.0, 50.0), (2.0, 1.0), (1.0, 1.0), (math.nan, 1.0), (0.1, math.inf)])
def test_sigmas_must_rise(ends):
    for make in (ve, edm, lambda low, high: karras_times(vp_linear(), 5, sigma_min=low, sigma_max=high)):
        with pytest.raises(ValueError, match=f"0 < sigma_min < sigma_max, but are {ends[0]} and {ends[1]}"):
            make(*ends)


@pytest.mark.parametrize("rho", [0.0, -7.0, math.nan, math.inf])
def test_rho_must_be_positive(rho):
    for make in (lambda rho: edm(rho=rho), lambda rho: karras_times(edm(), 5, rho=rho)):
        with pytest.raises(ValueError, match=f"rho must be positive, but is {rho}"):
            make(rho)


@pytest.mark.parametrize("n", [0, -1, 10.0, True])
def test_a_walk_needs_a_whole_number_of_steps(n):
    for make in (lambda n: karras_times(edm(), n), lambda n: log_snr_times(vp_linear(), n, 1e-3)):
        with pytest.raises(ValueError, match=f"n must be a whole number >= 1, but is {n!r}"):
            make(n)


@pytest.mark.parametrize("ends", [(-0.1, 1.0), (0.5, 0.5), (0.6, 0.5), (0.1, 1.1), (math.nan, 1.0)])
def test_log_snr_times_stay_on_the_path(ends):
    with pytest.raises(ValueError, match=r"times must obey 0.0 <= t_end < t_start <= 1, but are"):
        log_snr_times(vp_linear(), 5, *ends)
    late = GaussianPath(torch.cos, torch.sin, t_min=0.1)
    with pytest.raises(ValueError, match=r"times must obey 0.1 <= t_end < t_start <= 1, but are 0.05 and 1.0"):
        log_snr_times(late, 5, 0.05)


def test_log_snr_must_be_finite_where_times_are_even_in_it():
    with pytest.raises(ValueError, match=r"log-SNR must be finite at t_start and t_end, but is .* and inf at 0.0"):
        log_snr_times(vp_linear(), 5, 0.0)
    for path in (cosine(), rectified_flow()):
        with pytest.raises(ValueError, match=r"log-SNR must be finite .* is -inf at 1.0 and"):
            log_snr_times(path, 5, 0.001)


def test_karras_times_need_a_path_from_clean_data_to_enough_noise():
    late = GaussianPath(torch.cos, torch.sin, t_min=0.1)
    with pytest.raises(
        ValueError, match=r"sigma / alpha of the path must run from 0 to above 0.002, but runs from 0.1003"
    ):
        karras_times(late, 5)
    with pytest.raises(ValueError, match=r"must run from 0 to above 2.0, but runs from 0.0 to 1.55"):
        karras_times(GaussianPath(torch.cos, torch.sin), 5, sigma_min=2.0)


# --- the small print: defaults, the ends of ranges, precision, words --------------------------------------------------


def test_the_numbers_of_the_papers_are_the_defaults():
    one, half = number(1.0), number(0.5)
    assert_close(ddpm_betas(), torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    assert_close(ve().sigma(torch.stack([half, one])), torch.tensor([0.5**0.5, 50.0], dtype=torch.float64))
    middle = ((0.002 ** (1 / 7) + 80 ** (1 / 7)) / 2) ** 7
    assert_close(edm().sigma(torch.stack([half, one])), torch.tensor([middle, 80.0], dtype=torch.float64))
    levels = (80 ** (1 / 7) + torch.linspace(0, 1, 5, dtype=torch.float64) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    wide = ve(0.001, 100.0)
    assert_close(wide.sigma(karras_times(wide, 5)[:-1]), levels, 1e-9)


def test_betas_may_all_be_equal():
    assert_close(ddpm_betas(3, 0.01, 0.01), torch.full((3,), 0.01, dtype=torch.float64))


def test_karras_steps_need_room():
    unit = GaussianPath(torch.ones_like, lambda t: 1 * t)
    with pytest.raises(ValueError, match=r"must run from 0 to above 1.0, but runs from 0.0 to 1.0"):
        karras_times(unit, 5, sigma_min=1.0)


def test_karras_steps_start_at_the_very_end_of_a_path():
    for path in (vp_linear(), ve(), GaussianPath(lambda t: 1 - 0.9 * t, lambda t: t / 3)):
        assert float(karras_times(path, 5, sigma_max=1e4)[0]) == pytest.approx(1, abs=1e-12)


def test_an_error_about_betas_says_what_was_given():
    with pytest.raises(TypeError, match=r"^betas must be .* but is list \[0.1\]$"):
        tabulated([0.1])
    with pytest.raises(ValueError, match=r"^betas must lie strictly between 0 and 1$"):
        tabulated(torch.tensor([2.0]))
