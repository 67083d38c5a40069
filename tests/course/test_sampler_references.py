"""The samplers against diffusers, on the same noise and the same model, in float32, and against their papers.

Where a test here needs a particular path or grid, the reason is a difference by design, and its docstring says which.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from minidiff.exact import mixture_denoiser
from minidiff.paths import GaussianPath
from minidiff.samplers import (
    along_the_ode,
    annealed_langevin,
    ddim,
    ddim_step,
    dpmpp_2m,
    dpmpp_2m_step,
    euler,
    euler_maruyama_step,
    euler_step,
    heun,
    heun_step,
    langevin_step,
    last,
    predict,
    predictor_corrector_step,
)
from minidiff.schedules import cosine, ddpm_linear, edm, karras_times, rectified_flow, ve, vp_linear
from tests.cases import every_shape, normal, number, random_mixture

DDPM = ddpm_linear()
SETTINGS = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
# DDPM's path, seen in sigma / alpha, the variable in which diffusers' Euler and Heun step
SCALED = GaussianPath(alpha=torch.ones_like, sigma=lambda t: DDPM.sigma(t) / DDPM.alpha(t))
EVERY = {
    "ddpm_linear": DDPM,
    "cosine": cosine(),
    "vp_linear": vp_linear(),
    "ve": ve(),
    "edm": edm(),
    "flow": rectified_flow(),
}
every_path = pytest.mark.parametrize("path", EVERY.values(), ids=EVERY)
CLOSED = {name: path for name, path in EVERY.items() if path is not DDPM}  # a table has one-sided rates at its knots
every_closed_path = pytest.mark.parametrize("path", CLOSED.values(), ids=CLOSED)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Case:
    """A mixture, its exact denoiser on a path, and starting noise, in float32."""

    def __init__(self, shape, path, make_generator):
        mixture = random_mixture(3, shape[1:], make_generator(0)).to(torch.float32)
        self.denoise, self.path = mixture_denoiser(mixture, path), path
        self.start = torch.randn(shape, generator=make_generator(1))

    def eps(self, x, t):
        """What a network that predicts eps would answer at x_t."""
        return predict(self.denoise, self.path, x, t).eps


def times_of(timesteps):
    """diffusers' timestep i is our k = i + 1; the end is clean data."""
    return torch.cat([(timesteps.double() + 1) / 1000, torch.zeros(1, dtype=torch.float64)])


def assert_near(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


# --- diffusers -------------------------------------------------------------------------------------------------------


@every_shape
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_in_float32(shape, eta, make_generator):
    """Their default clips x0 to [-1, 1], and ends one step before clean data: both are switched off."""
    scheduler = DDIMScheduler(**SETTINGS, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(50)
    case, times = Case(shape, DDPM, make_generator), times_of(scheduler.timesteps)
    theirs, g = case.start, make_generator(2)
    states = ddim(case.denoise, DDPM, case.start, times, eta=eta, generator=make_generator(2))
    for i, t, state in zip(scheduler.timesteps, times[:-1], states, strict=True):
        theirs = scheduler.step(case.eps(theirs, t), i, theirs, eta=eta, generator=g).prev_sample
        assert state.x.dtype == torch.float32
        assert_near(state.x, theirs)


@every_shape
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_euler_in_float32(shape, spacing, make_generator):
    """Theirs walks in x / alpha, ours in x: after each step the two agree up to that factor."""
    scheduler = EulerDiscreteScheduler(**SETTINGS, timestep_spacing=spacing)
    scheduler.set_timesteps(50)
    case, times = Case(shape, DDPM, make_generator), times_of(scheduler.timesteps)
    theirs = case.start / DDPM.alpha(times[0]).float()
    for i, t, state in zip(scheduler.timesteps, times[:-1], euler(case.denoise, DDPM, case.start, times), strict=True):
        answer = case.eps(scheduler.scale_model_input(theirs, i), t)
        theirs = scheduler.step(answer, i, theirs).prev_sample
        assert_near(state.x, theirs * DDPM.alpha(state.t).float())


def heun_of_diffusers(scheduler, case, x, times):
    """All their states; each of our steps is two of theirs, and the last one of both is a single one."""
    for place, i in enumerate(scheduler.timesteps):
        t = times[(place + 1) // 2]
        x = scheduler.step(case.eps(x, t), i, x).prev_sample
        if place % 2 == 1 or place == len(scheduler.timesteps) - 1:
            yield x


@every_shape
@pytest.mark.parametrize("karras", [False, True], ids=["table", "karras"])
def test_heun_in_float32(shape, karras, make_generator):
    """Theirs steps in sigma / alpha: so ours does on DDPM's path seen in that variable, where alpha = 1.

    With Karras' steps, eps is evaluated at the scheduler's own sigma, not at the nearest timestep of a table.
    """
    scheduler = HeunDiscreteScheduler(**SETTINGS, timestep_spacing="trailing", use_karras_sigmas=karras)
    scheduler.set_timesteps(50)
    if karras:
        high, low = (float(sigma) for sigma in (scheduler.sigmas[0], scheduler.sigmas[-2]))
        path = edm(low, high)
        times = karras_times(path, 50, sigma_min=low, sigma_max=high)
    else:
        path, times = SCALED, times_of(torch.cat([scheduler.timesteps[:1], scheduler.timesteps[1::2]]))
    case = Case(shape, path, make_generator)
    start = case.start * scheduler.sigmas[0]
    states = heun(case.denoise, path, start, times)
    for theirs, state in zip(heun_of_diffusers(scheduler, case, start, times), states, strict=True):
        scale = torch.hypot(torch.ones(()), path.sigma(state.t).float())  # 157 at first: so is float32's rounding
        assert_near(state.x / scale, theirs / scale)


def test_heun_differs_from_diffusers_on_a_variance_preserving_path_and_by_how_much(make_generator):
    """Steps in alpha and sigma against steps in sigma / alpha, which the test before showed to be theirs: both are of
    second order, so that the difference falls by four when the steps are halved. At 50 steps it is no rounding."""
    shape, differences = (4, 2), []
    for n in (50, 100):
        scheduler = HeunDiscreteScheduler(**SETTINGS, timestep_spacing="trailing")
        scheduler.set_timesteps(n)
        case = Case(shape, DDPM, make_generator)
        times = times_of(torch.cat([scheduler.timesteps[:1], scheduler.timesteps[1::2]]))[:-1]
        ours = last(heun(case.denoise, DDPM, case.start.double(), times))
        start = (case.start / DDPM.alpha(times[0])).double()
        scaled = last(heun(Case(shape, SCALED, make_generator).denoise, SCALED, start, times))
        differences.append(float((ours - scaled * DDPM.alpha(times[-1])).abs().max()))
    assert 1e-3 < differences[0] < 1e-1
    assert 2.5 < differences[0] / differences[1] < 6


@every_shape
@pytest.mark.parametrize("karras", [False, True], ids=["table", "karras"])
def test_dpmpp_2m_in_float32(shape, karras, make_generator):
    """`solver_type="midpoint"` is the paper's algorithm 2. With Karras' steps, they round the time that they tell the
    network to a whole number, which costs 4e-3: here eps is evaluated at the scheduler's own sigma."""
    scheduler = DPMSolverMultistepScheduler(
        **SETTINGS, algorithm_type="dpmsolver++", solver_type="midpoint", use_karras_sigmas=karras
    )
    scheduler.set_timesteps(50)
    case = Case(shape, DDPM, make_generator)
    if karras:
        low, high = float(scheduler.sigmas[-2]), float(scheduler.sigmas[0])
        times = karras_times(DDPM, 50, sigma_min=low, sigma_max=high)
    else:
        times = times_of(scheduler.timesteps)
    theirs = case.start
    for i, t, state in zip(
        scheduler.timesteps, times[:-1], dpmpp_2m(case.denoise, DDPM, case.start, times), strict=True
    ):
        theirs = scheduler.step(case.eps(theirs, t), i, theirs).prev_sample
        assert_near(state.x, theirs)


@every_shape
def test_dpmpp_2m_with_eta_1_is_their_sde_version_in_float32(shape, make_generator):
    scheduler = DPMSolverMultistepScheduler(**SETTINGS, algorithm_type="sde-dpmsolver++", solver_type="midpoint")
    scheduler.set_timesteps(50)
    case, times = Case(shape, DDPM, make_generator), times_of(scheduler.timesteps)
    theirs, g = case.start, make_generator(2)
    states = dpmpp_2m(case.denoise, DDPM, case.start, times, eta=1.0, generator=make_generator(2))
    for i, t, state in zip(scheduler.timesteps, times[:-1], states, strict=True):
        theirs = scheduler.step(case.eps(theirs, t), i, theirs, generator=g).prev_sample
        assert state.x.dtype == torch.float32
        assert_near(state.x, theirs)


@every_shape
def test_euler_on_karras_path_is_edms(shape, make_generator):
    """EDMEulerScheduler wants the output of EDM's preconditioned network, so x0_hat is put into that form."""
    scheduler = EDMEulerScheduler(sigma_data=0.5)
    scheduler.set_timesteps(30)
    path = edm()
    case, times = Case(shape, path, make_generator), karras_times(edm(), 30)
    theirs = start = case.start * 80
    for i, t, state in zip(scheduler.timesteps, times[:-1], euler(case.denoise, path, start, times), strict=True):
        scheduler.scale_model_input(theirs, i)
        sigma, x0_hat = float(path.sigma(t)), case.denoise(theirs, t)
        skip, out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / math.sqrt(sigma**2 + 0.25)
        theirs = scheduler.step((x0_hat - skip * theirs) / out, i, theirs).prev_sample
        scale = torch.hypot(torch.ones(()), path.sigma(state.t).float())
        assert_near(state.x / scale, theirs / scale)


# --- one method under two names --------------------------------------------------------------------------------------


@every_path
@every_shape
def test_euler_is_ddim(path, shape, make_generator):
    """DDIM, equations 13 and 14; on every path, also from alpha(1) = 0 on."""
    denoise = mixture_denoiser(random_mixture(3, shape[1:], make_generator(0)), path)
    x, times = path.prior(shape, make_generator(1)).double(), torch.linspace(1, 0, 21, dtype=torch.float64)
    for ours, other in zip(euler(denoise, path, x, times), ddim(denoise, path, x, times), strict=True):
        torch.testing.assert_close(ours.x, other.x, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(ours.x0_hat, other.x0_hat, rtol=1e-9, atol=1e-11)


@every_closed_path
def test_the_ode_is_song_s_equation_13(path, make_generator):
    """dx/dt = f x - g^2 score / 2, with f and g^2 from the path's rates by automatic differentiation."""
    denoise = mixture_denoiser(random_mixture(3, (2,), make_generator(0)), path)
    x, t = normal((5, 2), make_generator(1)), number(0.4)
    estimate = predict(denoise, path, x, t)
    drift, g2 = path.drift_and_diffusion(t)
    expected = drift * x + g2 / 2 * estimate.eps / path.sigma(t)
    h = 1e-6
    slope = (along_the_ode(path, estimate, t, t - h) - along_the_ode(path, estimate, t, t + h)) / (-2 * h)
    torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-7)


@every_closed_path
@pytest.mark.parametrize("stochasticity", [0.5, 1.0, 2.0])
def test_a_small_step_of_euler_maruyama_is_the_reverse_sde(path, stochasticity, make_generator):
    """dx = (f x - (1 + c^2) / 2 g^2 score) dt + c g dw: drift and variance over a short time, from the path's rates."""
    denoise = mixture_denoiser(random_mixture(3, (2,), make_generator(0)), path)
    x, t, h = normal((5, 2), make_generator(1)), number(0.4), 1e-6
    noise = torch.randn(5, 2, generator=make_generator(2), dtype=torch.float64)
    f, g2 = path.drift_and_diffusion(t)
    score = -predict(denoise, path, x, t).eps / path.sigma(t)
    expected = x - h * (f * x - (1 + stochasticity**2) / 2 * g2 * score) + stochasticity * (g2 * h).sqrt() * noise
    ours = euler_maruyama_step(denoise, path, x, t, t - h, stochasticity=stochasticity, generator=make_generator(2)).x
    scale = float((stochasticity * (g2 * h).sqrt()).abs())
    torch.testing.assert_close((ours - x) / scale, (expected - x) / scale, rtol=0, atol=2e-4)


@every_shape
def test_heun_on_a_flow_is_the_textbook_method_in_t(shape, make_generator):
    """On the straight path velocity is eps - x0, and steps in alpha and sigma are steps in t."""
    path = rectified_flow()
    denoise = mixture_denoiser(random_mixture(3, shape[1:], make_generator(0)), path)
    x, t, s = normal(shape, make_generator(1)), number(1.0), number(0.8)

    def velocity(x, t):
        x0_hat = denoise(x, t)
        return (x - (1 - t) * x0_hat) / t - x0_hat

    slope = velocity(x, t)
    expected = x + (s - t) * (slope + velocity(x + (s - t) * slope, s)) / 2
    torch.testing.assert_close(heun_step(denoise, path, x, t, s).x, expected, rtol=1e-10, atol=1e-12)


# --- papers, in plain numbers ----------------------------------------------------------------------------------------


def edm_algorithm_2(denoise, x, sigmas, churn, low, high, noise_scale, rng):
    """Karras et al. 2022, algorithm 2, line by line, with S_churn, S_tmin, S_tmax, S_noise; sigma is the time."""
    steps = len(sigmas) - 1
    for i in range(steps):
        gamma = min(churn / steps, math.sqrt(2) - 1) if low <= sigmas[i] <= high else 0.0
        hat = sigmas[i] + gamma * sigmas[i]
        if gamma > 0:
            x = x + math.sqrt(hat**2 - sigmas[i] ** 2) * noise_scale * rng(x.shape)
        slope = (x - denoise(x, hat)) / hat
        following = x + (sigmas[i + 1] - hat) * slope
        if sigmas[i + 1] > 0:
            other = (following - denoise(following, sigmas[i + 1])) / sigmas[i + 1]
            following = x + (sigmas[i + 1] - hat) * (slope / 2 + other / 2)
        x = following
        yield x


@every_shape
@pytest.mark.parametrize(
    ("churn", "between", "noise_scale"),
    [(0.0, (0.0, math.inf), 1.0), (5.0, (0.05, 50.0), 1.003), (100.0, (0.0, 50.0), 1.0)],
)
def test_heun_is_edms_algorithm_2(shape, churn, between, noise_scale, make_generator):
    """At churn = 100 gamma is at its bound. Ours never raises noise above that of t = 1, so S_tmax stays below it."""
    path, g = edm(), make_generator(3)
    denoise = mixture_denoiser(random_mixture(3, shape[1:], make_generator(0)), path)
    times = karras_times(path, 18)
    by_sigma = GaussianPath(alpha=torch.ones_like, sigma=lambda t: 1 * t)  # the same denoiser, asked by its sigma
    theirs = mixture_denoiser(random_mixture(3, shape[1:], make_generator(0)), by_sigma)
    x = 80 * normal(shape, make_generator(1))
    expected = edm_algorithm_2(
        lambda x, sigma: theirs(torch.from_numpy(x), number(sigma)).numpy(),
        x.numpy(),
        path.sigma(times).tolist(),
        churn,
        *between,
        noise_scale,
        lambda shape: normal(shape, g).numpy(),
    )
    states = heun(
        denoise,
        path,
        x,
        times,
        churn=churn,
        churn_between=between,
        churn_noise=noise_scale,
        generator=make_generator(3) if churn else None,
    )
    for state, other in zip(states, expected, strict=True):
        np.testing.assert_allclose(state.x, other, rtol=1e-8, atol=1e-8)


def test_dpmpp_2m_is_algorithm_2(make_generator):
    """Lu et al. 2022, algorithm 2, in their lambda, r, D and e^-h."""
    path, times = vp_linear(), torch.linspace(1, 0.01, 8, dtype=torch.float64)
    denoise = mixture_denoiser(random_mixture(3, (2,), make_generator(0)), path)
    start = x = normal((4, 2), make_generator(1))
    alpha, sigma = path.alpha(times), path.sigma(times)
    lam = alpha.log() - sigma.log()
    before = None
    for i, state in enumerate(dpmpp_2m(denoise, path, start, times), start=1):
        h, answer = lam[i] - lam[i - 1], denoise(x, times[i - 1])
        mixed = answer
        if before is not None:
            r = (lam[i - 1] - lam[i - 2]) / h
            mixed = (1 + 1 / (2 * r)) * answer - 1 / (2 * r) * before
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * (torch.exp(-h) - 1) * mixed
        torch.testing.assert_close(state.x, x, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(state.x0_hat, answer, rtol=1e-10, atol=1e-12)
        before = answer


def test_dpmpp_2m_forgets_a_start_without_signal(make_generator):
    """log-SNR(1) = -infinity on a flow: no straight line leads through it, and the second step is DDIM's too."""
    path, t, s = rectified_flow(), number(0.8), number(0.6)
    denoise = mixture_denoiser(random_mixture(3, (2,), make_generator(0)), path)
    x, before = normal((4, 2), make_generator(1)), (number(1.0), normal((4, 2), make_generator(2)))
    ours = dpmpp_2m_step(denoise, path, x, t, s, previous=before)
    torch.testing.assert_close(ours.x, ddim_step(denoise, path, x, t, s).x)


@every_path
def test_a_langevin_step_is_ncsns_equation_4(path, make_generator):
    """x + alpha_i / 2 score + sqrt(alpha_i) z with alpha_i = 2 step sigma^2."""
    x, x0_hat, t = normal((4, 2), make_generator(0)), normal((4, 2), make_generator(1)), number(0.3)
    noise = torch.randn(4, 2, generator=make_generator(2), dtype=torch.float64)
    score = (path.alpha(t) * x0_hat - x) / path.sigma(t) ** 2
    size = 2 * 0.07 * path.sigma(t) ** 2
    state = langevin_step(lambda *_: x0_hat, path, x, t, step=0.07, generator=make_generator(2))
    torch.testing.assert_close(state.x, x + size / 2 * score + size.sqrt() * noise, rtol=1e-10, atol=1e-10)
    assert state.t == t and state.x0_hat is x0_hat


def test_annealed_langevin_is_ncsns_algorithm_1(make_generator):
    """L levels, K steps each with step sizes proportional to sigma^2; then the last step, to clean data."""
    path, times = ve(0.1, 10.0), torch.tensor([1.0, 0.8, 0.4, 0.0], dtype=torch.float64)
    denoise = mixture_denoiser(random_mixture(3, (2,), make_generator(0)), path)
    x, g = normal((4, 2), make_generator(1)), make_generator(2)
    states = list(annealed_langevin(denoise, path, x, times, steps=3, step=0.05, generator=make_generator(2)))
    smallest = path.sigma(times[2])
    for t, state in zip(times[1:3], states, strict=False):
        sigma = path.sigma(t)
        size = 2 * 0.05 * smallest**2 * (sigma / smallest) ** 2
        for _ in range(3):
            score = (denoise(x, t) - x) / sigma**2
            x = x + size / 2 * score + size.sqrt() * torch.randn(4, 2, generator=g, dtype=torch.float64)
        torch.testing.assert_close(state.x, x, rtol=1e-10, atol=1e-10)
        assert state.t == t
    torch.testing.assert_close(states[2].x, denoise(x, times[2]), rtol=1e-10, atol=1e-10)


@every_shape
def test_the_corrector_is_song_s_algorithm_4(shape, make_generator):
    """e = 2 (r |z| / |g|)^2; x + e g + sqrt(2 e) z, after the predictor's step; norms are means over the batch."""
    path, t, s, g = ve(), number(0.5), number(0.45), make_generator(2)
    x0_hat = normal(shape, make_generator(0))
    x = path.perturb(x0_hat, t, normal(shape, make_generator(1)))
    sigma_t, sigma_s = path.sigma(t), path.sigma(s)
    keep = sigma_s**2 / sigma_t**2
    z = torch.randn(shape, generator=g, dtype=torch.float64)
    expected = keep * x + (1 - keep) * x0_hat + sigma_s * (1 - keep).sqrt() * z  # SDE, appendix F: ancestral for VE
    for _ in range(2):
        score = (x0_hat - expected) / sigma_s**2
        z = torch.randn(shape, generator=g, dtype=torch.float64)
        norms = [sum(float((row**2).sum()) ** 0.5 for row in rows) / len(rows) for rows in (z, score)]
        e = 2 * (0.2 * norms[0] / norms[1]) ** 2
        expected = expected + e * score + math.sqrt(2 * e) * z
    state = predictor_corrector_step(
        lambda *_: x0_hat, path, x, t, s, snr=0.2, corrections=2, generator=make_generator(2)
    )
    torch.testing.assert_close(state.x, expected, rtol=1e-10, atol=1e-10)
    assert state.t == s and state.x0_hat is x0_hat


@every_path
def test_steps_in_plain_numbers(path, make_generator):
    """Euler, Heun and Euler-Maruyama for an estimate that does not depend on t, element by element."""
    x, x0_hat, t, s = normal((4, 2), make_generator(0)), normal((4, 2), make_generator(1)), number(0.7), number(0.3)
    a_t, s_t, a_s, s_s = (float(f(u)) for u in (t, s) for f in (path.alpha, path.sigma))
    eps_hat = (x - a_t * x0_hat) / s_t
    z = torch.randn(4, 2, generator=make_generator(2), dtype=torch.float64)
    exact = a_s * x0_hat + s_s * eps_hat
    for step in (euler_step, heun_step):  # a constant x0_hat keeps eps_hat, and both are exact
        torch.testing.assert_close(step(lambda *_: x0_hat, path, x, t, s).x, exact, rtol=1e-9, atol=1e-9)
    added = s_t**2 - (a_t / a_s * s_s) ** 2
    for c in (0.0, 0.5, 2.0):
        ours = euler_maruyama_step(lambda *_: x0_hat, path, x, t, s, stochasticity=c, generator=make_generator(2)).x
        expected = exact - c**2 * added / (2 * s_t) * eps_hat + c * math.sqrt(added) * z
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_the_estimates_at_both_ends_enter_heuns_step_alike(make_generator):
    path, t, s = vp_linear(), number(0.7), number(0.3)
    x, here, there = (normal((4, 2), make_generator(i)) for i in range(3))
    ours = heun_step(lambda x_t, u: here if u == t else there, path, x, t, s).x
    a_t, s_t, a_s, s_s = (path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s))
    first = (a_s - a_t) * here + (s_s - s_t) * (x - a_t * here) / s_t
    second = (a_s - a_t) * there + (s_s - s_t) * (x + first - a_s * there) / s_s
    torch.testing.assert_close(ours, x + first / 2 + second / 2, rtol=1e-10, atol=1e-12)


def test_times_are_walked_pair_by_pair(make_generator):
    """Every loop of the ODE is its step repeated: the start of a step is the end of the one before."""
    path, times = vp_linear(), torch.linspace(1, 0, 6, dtype=torch.float64)
    denoise = mixture_denoiser(random_mixture(3, (2,), make_generator(0)), path)
    for loop, step in ((euler, euler_step), (heun, heun_step)):
        x = normal((4, 2), make_generator(1))
        for (t, s), state in zip(itertools.pairwise(times), loop(denoise, path, x, times), strict=True):
            x = step(denoise, path, x, t, s).x
            assert torch.equal(state.x, x) and state.t == s
