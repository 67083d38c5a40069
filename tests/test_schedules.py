"""The known paths against their papers' tables, quadrature, arbitrary precision, and diffusers' tables."""

import math

import mpmath
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from scipy.integrate import quad

from minidiff.schedules import cosine, ddpm_betas, ddpm_linear, tabulated, vp_linear
from tests.cases import number

OURS = {"ddpm_linear": ddpm_linear(), "cosine": cosine(), "vp_linear": vp_linear()}
every_schedule = pytest.mark.parametrize("path", OURS.values(), ids=OURS)


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
    with pytest.raises(ValueError, match=f"T must be a number of steps >= 1, but is {T!r}"):
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
