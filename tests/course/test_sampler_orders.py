"""How fast the samplers become exact: orders of convergence, marginals on the way, and the floor at the end."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from minidiff.exact import GaussianMixture, mixture_denoiser
from minidiff.metrics import energy_distance
from minidiff.paths import GaussianPath
from minidiff.samplers import (
    ancestral,
    annealed_langevin,
    ddim,
    dpmpp_2m,
    dpmpp_2m_step,
    euler,
    euler_maruyama,
    euler_maruyama_step,
    heun,
    langevin,
    last,
    predictor_corrector,
)
from minidiff.schedules import cosine, ddpm_linear, edm, karras_times, log_snr_times, rectified_flow, ve, vp_linear
from tests.cases import normal, number

T0 = 1e-3  # where orders are measured: at clean data the last step of every method is DDIM's


def three_modes(scale):
    """Unequal and tilted, each of variance about `scale`; in units in which the whole has variance 1."""
    return GaussianMixture(
        torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64),
        torch.tensor([[-1.0, 1.0], [1.2, 0.6], [0.0, -1.3]], dtype=torch.float64),
        scale * torch.tensor([[[2, 1], [1, 1]], [[1, -0.5], [-0.5, 3]], [[1, 0], [0, 1]]], dtype=torch.float64),
    ).standardised()


NARROW, WIDE = three_modes(0.01), three_modes(0.15)


# --- orders of convergence -------------------------------------------------------------------------------------------


def solution(mixture, x, high, low):
    """Where the ODE takes z = x / alpha while sigma / alpha = exp(u) falls from high to low: dz / du = z - E[x0 | z].

    Runge-Kutta of order 8 (scipy's DOP853), in a variable that none of the samplers steps in, on a path that is none
    of theirs.
    """
    denoise = mixture_denoiser(mixture, GaussianPath(alpha=torch.ones_like, sigma=torch.exp))

    def slope(u, z):
        z = torch.from_numpy(z).reshape(x.shape)
        return (z - denoise(z, number(u))).flatten().numpy()

    found = solve_ivp(slope, (math.log(high), math.log(low)), x.flatten().numpy(), "DOP853", rtol=1e-10, atol=1e-10)
    return torch.from_numpy(found.y[:, -1]).reshape(x.shape)


def fitted_order(steps, errors):
    """The slope of log error against log step size."""
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


GRIDS = {
    "vp_linear, even log-SNR": (vp_linear(), lambda path, n: log_snr_times(path, n, T0)),
    "edm, Karras": (edm(), lambda path, n: torch.linspace(1, T0, n + 1, dtype=torch.float64)),
}
every_grid = pytest.mark.parametrize(("path", "grid"), GRIDS.values(), ids=GRIDS)


@every_grid
def test_deterministic_samplers_have_the_order_that_theory_says(path, grid):
    """From the same noise to t0 = 1e-3, against DOP853: Euler 1, DDIM 1, Heun 2, 2M 2, within 0.15.

    The order is fitted over four grids. Nothing is random: a start that lands between two modes would hide the order of
    Euler's method until the steps are far smaller.
    """
    denoise = mixture_denoiser(WIDE, path)
    angles, radii = torch.arange(8, dtype=torch.float64), torch.linspace(0.6, 2, 8, dtype=torch.float64)
    x = torch.stack([radii * torch.cos(angles), radii * torch.sin(angles)], dim=1)
    x = x * torch.hypot(path.alpha(number(1.0)), path.sigma(number(1.0)))
    ends = grid(path, 1)
    high, low = (path.sigma(ends) / path.alpha(ends)).tolist()
    exact = path.alpha(ends[1]) * solution(WIDE, x / path.alpha(ends[0]), high, low)
    for sampler, order in ((euler, 1), (ddim, 1), (heun, 2), (dpmpp_2m, 2)):
        sizes = (20, 40, 80, 160) if order == 1 else (40, 80, 160, 320)
        errors = [float((last(sampler(denoise, path, x, grid(path, n))) - exact).pow(2).mean().sqrt()) for n in sizes]
        assert abs(fitted_order(sizes, errors) - order) < 0.15, (sampler.__name__, errors)
        assert errors[-1] < (3e-2, 5e-4)[order - 1], (sampler.__name__, errors)


def gaussian(std):
    """E[x0 | x_t] of data from N(0, std^2), written out."""
    return lambda path: lambda x, t: path.alpha(t) * std**2 / (path.alpha(t) ** 2 * std**2 + path.sigma(t) ** 2) * x


def variance_at_the_end(path, times, std, stochasticity, make_generator):
    """Var[x] after a whole walk, exactly. A step is x -> a x + b z; a and b are read off by feeding it 0 and 1."""
    denoise, probe = gaussian(std)(path), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    z = torch.randn(2, 1, generator=make_generator(9), dtype=torch.float64)
    found = float(path.alpha(times[0]) ** 2 * std**2 + path.sigma(times[0]) ** 2)
    for t, s in itertools.pairwise(times):
        x = euler_maruyama_step(denoise, path, probe, t, s, stochasticity=stochasticity, generator=make_generator(9)).x
        b = x[0, 0] / z[0, 0]
        a = x[1, 0] - b * z[1, 0]
        found = float(a**2 * found + b**2)
    return found


@pytest.mark.parametrize("stochasticity", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("path", [vp_linear(), ddpm_linear(), edm()], ids=["vp_linear", "ddpm_linear", "edm"])
def test_euler_maruyama_has_weak_order_1(path, stochasticity, make_generator):
    """The variance of Gaussian data follows an exact recursion, so that no Monte Carlo noise hides the order."""
    std, sizes = 0.3, (40, 80, 160, 320)
    exact = float(path.alpha(number(T0)) ** 2 * std**2 + path.sigma(number(T0)) ** 2)
    errors = []
    for n in sizes:
        found = variance_at_the_end(path, log_snr_times(path, n, T0), std, stochasticity, make_generator)
        errors.append(abs(found / exact - 1))
    assert abs(fitted_order(sizes, errors) - 1) < 0.15, errors
    assert errors[-1] < 0.03


def variance_with_memory(path, times, std, eta, make_generator, *, memory=True):
    """Var[x] after a whole walk of 2M, exactly. A step takes (x, the answer before) linearly to (x, the answer)."""
    denoise = gaussian(std)(path)
    probes = torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=torch.float64)  # nothing, x alone, the answer alone
    z = torch.randn(3, 1, generator=make_generator(9), dtype=torch.float64)[:, 0]
    covariance, before = torch.zeros(2, 2, dtype=torch.float64), None
    covariance[0, 0] = path.alpha(times[0]) ** 2 * std**2 + path.sigma(times[0]) ** 2
    for t, s in itertools.pairwise(times):
        previous = (before, probes[:, 1:]) if memory and before is not None else None
        state = dpmpp_2m_step(
            denoise, path, probes[:, :1], t, s, previous=previous, eta=eta, generator=make_generator(9)
        )
        noise = state.x[0, 0] / z[0]
        to_x = state.x[1:, 0] - noise * z[1:]
        step = torch.stack([to_x, state.x0_hat[1:, 0]])
        covariance = step @ covariance @ step.T
        covariance[0, 0] += noise**2
        before = t
    return float(covariance[0, 0])


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("std", [0.5, 1.5])
def test_2m_with_noise_has_weak_order_2_and_without_its_memory_1(std, eta, make_generator):
    """Again the exact variance of Gaussian data. Without memory it is the sampler of DDIM's eta, thus of DDPM for 1."""
    path, sizes = vp_linear(), (40, 80, 160, 320)
    low = 0.01
    exact = float(path.alpha(number(low)) ** 2 * std**2 + path.sigma(number(low)) ** 2)
    for memory, order in ((False, 1), (True, 2)):
        errors = []
        for n in sizes:
            times = log_snr_times(path, n, low).double()
            found = variance_with_memory(path, times, std, eta, make_generator, memory=memory)
            errors.append(abs(found / exact - 1))
        assert abs(fitted_order(sizes, errors) - order) < 0.15, (memory, errors)
        assert errors[-1] < (3e-2, 5e-4)[order - 1], (memory, errors)


# --- the two-sample floor --------------------------------------------------------------------------------------------


def assert_at_the_floor(samples, real, real_again, make_generator):
    """The energy distance is what two sets of real samples have, up to chance: false alarms below 1e-9 each.

    Under the hypothesis its ratio to its mean is a sum of w_i z_i^2, z_i standard normal, where the w_i sum to 1 and
    are the eigenvalues of the centred distance matrix (Szekely & Rizzo 2013, section 4). They are computed here from
    400 points, and P(ratio > r) <= exp(-a r) prod (1 - 2 a w_i)^(-1/2) for every a < 1 / (2 w_1) (Chernoff).
    """
    found = energy_distance(samples, real, real_again, generator=make_generator(99))
    points = real[:400].double()
    distances = torch.cdist(points, points)
    centred = distances.mean(0) + distances.mean(1)[:, None] - distances.mean() - distances
    w = torch.linalg.eigvalsh(centred).clamp(min=0).numpy()
    w = w / w.sum()
    slopes = np.linspace(0.05, 0.99, 95) / (2 * w.max())
    bound = min((math.log(1e9) - 0.5 * np.log1p(-2 * a * w).sum()) / a for a in slopes)
    mean = (1 / found.samples + 1 / found.real) * float(distances.mean())
    assert found.value < bound * mean, f"energy distance {found.value:.3g}, floor {mean:.3g}, bound {bound:.1f} x floor"
    return found.value / mean


def even(n):
    return torch.linspace(1, 0, n + 1, dtype=torch.float64)


SAMPLERS = {
    "ancestral": (cosine(), even(100), lambda d, p, x, t, g: ancestral(d, p, x, t, generator=g)),
    "ddim": (ddpm_linear(), even(100), lambda d, p, x, t, g: ddim(d, p, x, t)),
    "ddim, eta 1": (ve(), even(100), lambda d, p, x, t, g: ddim(d, p, x, t, eta=1.0, generator=g)),
    "euler": (rectified_flow(), even(100), lambda d, p, x, t, g: euler(d, p, x, t)),
    "heun": (edm(), karras_times(edm(), 24), lambda d, p, x, t, g: heun(d, p, x, t)),
    "heun, from alpha = 0": (cosine(), even(40), lambda d, p, x, t, g: heun(d, p, x, t)),
    "heun, churn": (
        edm(),
        karras_times(edm(), 40),
        lambda d, p, x, t, g: heun(d, p, x, t, churn=15.0, churn_between=(0.01, 20.0), generator=g),
    ),
    "heun, churn, vp": (
        vp_linear(),
        karras_times(vp_linear(), 40),
        lambda d, p, x, t, g: heun(d, p, x, t, churn=15.0, generator=g),
    ),
    "dpmpp_2m": (vp_linear(), karras_times(vp_linear(), 30), lambda d, p, x, t, g: dpmpp_2m(d, p, x, t)),
    "dpmpp_2m, from alpha = 0": (cosine(), even(50), lambda d, p, x, t, g: dpmpp_2m(d, p, x, t)),
    "dpmpp_2m, eta 1": (cosine(), even(50), lambda d, p, x, t, g: dpmpp_2m(d, p, x, t, eta=1.0, generator=g)),
    "euler_maruyama": (
        vp_linear(),
        torch.cat([log_snr_times(vp_linear(), 150, 1e-4), torch.zeros(1)]),
        lambda d, p, x, t, g: euler_maruyama(d, p, x, t, generator=g),
    ),
    "euler_maruyama, from alpha = 0": (
        rectified_flow(),
        even(200),
        lambda d, p, x, t, g: euler_maruyama(d, p, x, t, generator=g),
    ),
    "predictor_corrector": (ve(), even(100), lambda d, p, x, t, g: predictor_corrector(d, p, x, t, generator=g)),
    "annealed_langevin": (
        ve(0.01, 10.0),
        even(25),
        lambda d, p, x, t, g: annealed_langevin(d, p, x, t, steps=20, generator=g),
    ),
}


@pytest.mark.parametrize(("path", "times", "run"), SAMPLERS.values(), ids=SAMPLERS)
def test_every_sampler_ends_at_the_two_sample_floor(path, times, run, make_generator):
    """And after a walk of two steps, none does: the same bound tells the two apart."""
    denoise, x = mixture_denoiser(NARROW, path), path.prior((1_500, 2), make_generator(1)).double()
    real, real_again = (NARROW.sample(1_500, make_generator(2 + i))[0] for i in range(2))
    assert_at_the_floor(last(run(denoise, path, x, times, make_generator(4))), real, real_again, make_generator)
    few = times[[0, len(times) // 4, -1]]
    with pytest.raises(AssertionError, match="energy distance"):
        rough = last(run(denoise, path, x, few, make_generator(4)))
        assert_at_the_floor(rough, real, real_again, make_generator)


@pytest.mark.parametrize("stochasticity", [0.0, 0.5, 1.0, 2.0])
def test_the_sde_at_any_stochasticity_and_the_ode_have_the_same_marginals(stochasticity, make_generator):
    """At three times on the way and at the end, against p_t itself; 400 steps."""
    path, n = vp_linear(), 1_200
    denoise, x = mixture_denoiser(NARROW, path), path.prior((n, 2), make_generator(1)).double()
    times = torch.cat([log_snr_times(path, 399, 1e-4), torch.zeros(1, dtype=torch.float64)])
    states = euler_maruyama(denoise, path, x, times, stochasticity=stochasticity, generator=make_generator(2))
    for i, state in enumerate(states, start=1):
        if i % 100 == 0:
            real, real_again = (
                path.perturb(
                    NARROW.sample(n, make_generator(3 + j, i))[0],
                    state.t,
                    normal((n, 2), make_generator(5 + j, i)),
                )
                for j in range(2)
            )
            assert_at_the_floor(state.x, real, real_again, make_generator)
    assert i == 400


# --- Langevin dynamics, plain and annealed ---------------------------------------------------------------------------


def two_modes(path):
    """E[x0 | x_t] for 0.2 N(-4, 1) + 0.8 N(4, 1) on a line, written out: cheap, and not the package's own."""

    def denoise(x, t):
        a, v = path.alpha(t).to(x), (path.alpha(t) ** 2 + path.sigma(t) ** 2).to(x)
        right = torch.sigmoid(8 * a * x / v + math.log(4))
        centre = 8 * right - 4
        return centre + a / v * (x - a * centre)

    return denoise


def test_annealing_finds_the_weights_of_modes_that_plain_langevin_misses(make_generator):
    """0.2 and 0.8, eight standard deviations apart. Plain Langevin keeps the halves that its start fell into: it misses
    by more than 0.15, and recovers them to 0.02 with annealing (50 levels, 40 steps each, 0.1 sigma^2).

    30,000 points: one standard deviation is 0.0023 and the bias is below 0.008, so false alarms are below 1e-6.
    """
    path, n = ve(0.01, 10.0), 30_000
    denoise = two_modes(path)
    data = GaussianMixture(torch.tensor([0.2, 0.8]), torch.tensor([[-4.0], [4.0]]), torch.ones(2, 1, 1))
    x, t = torch.linspace(-9, 9, 19)[:, None], torch.tensor(0.5)
    torch.testing.assert_close(denoise(x, t), mixture_denoiser(data, path)(x, t), rtol=1e-4, atol=1e-5)

    start = 16 * torch.rand(n, 1, generator=make_generator(0)) - 8
    plain = last(langevin(denoise, path, start, torch.tensor(0.5), steps=1_000, generator=make_generator(1)))
    assert abs(float((plain < 0).float().mean()) - 0.2) > 0.15
    assert abs(float(plain[plain > 0].mean()) - 4) < 0.1  # each mode itself is found: only the weights are wrong

    times = torch.linspace(1, 0, 51)
    annealed = last(
        annealed_langevin(denoise, path, path.prior((n, 1), make_generator(2)), times, generator=make_generator(3))
    )
    assert abs(float((annealed < 0).float().mean()) - 0.2) < 0.02
    assert abs(float(annealed[annealed > 0].mean()) - 4) < 0.1
