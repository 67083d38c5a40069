"""The samplers against diffusers' schedulers, exact recursions, and the truth at the end of the chain."""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from minidiff.denoisers import from_network
from minidiff.exact import GaussianMixture, mixture_denoiser
from minidiff.paths import GaussianPath
from minidiff.samplers import (
    State,
    ancestral,
    ancestral_step,
    annealed_langevin,
    churned,
    ddim,
    ddim_step,
    dpmpp_2m,
    dpmpp_2m_step,
    euler,
    euler_maruyama,
    euler_maruyama_step,
    euler_step,
    forward_variance,
    heun,
    heun_step,
    langevin,
    langevin_step,
    last,
    posterior_variance,
    predict,
    predictor_corrector,
    predictor_corrector_step,
    shake,
)
from minidiff.schedules import cosine, ddpm_linear, edm, karras_times, rectified_flow, ve, vp_linear
from tests.cases import (
    PATHS,
    dkw_bound,
    every_path,
    every_shape,
    farthest_from_cdf,
    line_cdf,
    normal,
    number,
    random_mixture,
)

DDPM, COSINE, VP = ddpm_linear(), cosine(), vp_linear()
SETTINGS = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False)


def exact_denoiser(shape, path, generator):
    return mixture_denoiser(random_mixture(3, shape, generator), path)


def eps_of(denoise, path, x, t):
    """What a network that predicts eps would answer."""
    return (x - path.alpha(t) * denoise(x, t)) / path.sigma(t)


def falling(n, start=1.0, end=0.0):
    return torch.linspace(start, end, n + 1, dtype=torch.float64)


# --- against diffusers -----------------------------------------------------------------------------------------------


@every_shape
@pytest.mark.parametrize(
    ("variance", "theirs"), [(posterior_variance, "fixed_small"), (forward_variance, "fixed_large")]
)
def test_ancestral_steps_equal_those_of_diffusers(shape, variance, theirs, make_generator):
    scheduler = DDPMScheduler(**SETTINGS, variance_type=theirs)
    denoise, x = exact_denoiser(shape[1:], DDPM, make_generator(0)), normal(shape, make_generator(1))
    for k in (1000, 700, 300, 50, 2, 1):  # their timestep i is our k = i + 1
        t, s = number(k / 1000), number((k - 1) / 1000)
        ours = ancestral_step(denoise, DDPM, x, t, s, generator=make_generator(2, k), variance=variance)
        step = scheduler.step(eps_of(denoise, DDPM, x, t), k - 1, x, generator=make_generator(2, k))
        torch.testing.assert_close(ours.x, step.prev_sample, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.x0_hat, step.pred_original_sample, rtol=1e-3, atol=1e-3)


@every_shape
@pytest.mark.parametrize(("eta", "tolerance"), [(0.0, 5e-5), (0.5, 2e-4), (1.0, 5e-4)])
def test_a_whole_ddim_run_equals_that_of_diffusers(shape, eta, tolerance, make_generator):
    scheduler = DDIMScheduler(**SETTINGS, set_alpha_to_one=True)
    scheduler.set_timesteps(50)
    times = torch.cat([(scheduler.timesteps + 1) / 1000, torch.zeros(1)]).double()
    denoise = exact_denoiser(shape[1:], DDPM, make_generator(0))
    theirs, x = (normal(shape, make_generator(1)) for _ in range(2))
    g = make_generator(2)
    states = ddim(denoise, DDPM, x, times, eta=eta, generator=make_generator(2))
    for i, t, state in zip(scheduler.timesteps, times[:-1], states, strict=True):
        theirs = scheduler.step(eps_of(denoise, DDPM, theirs, t), i, theirs, eta=eta, generator=g).prev_sample
        torch.testing.assert_close(state.x, theirs, rtol=tolerance, atol=tolerance)


# --- against each other, and against formulas ------------------------------------------------------------------------


@every_path
@every_shape
def test_ddim_with_eta_1_is_the_ancestral_sampler(path, shape, make_generator):
    denoise, x = exact_denoiser(shape[1:], path, make_generator(0)), normal(shape, make_generator(1))
    times = falling(10, 0.99, path.t_min)
    pairs = zip(
        ancestral(denoise, path, x, times, generator=make_generator(2)),
        ddim(denoise, path, x, times, eta=1.0, generator=make_generator(2)),
        strict=True,
    )
    for ours, other in pairs:
        for a, b in zip(ours, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@every_path
def test_an_ancestral_step_is_the_posterior_given_the_estimate(path, make_generator):
    x, x0_hat = normal((4, 2), make_generator(0)), normal((4, 2), make_generator(1))
    t, s = number(0.7), number(0.3)
    state = ancestral_step(lambda *_: x0_hat, path, x, t, s, generator=make_generator(2))
    mean, variance = path.posterior(x, x0_hat, t, s)
    noise = torch.randn(4, 2, generator=make_generator(2), dtype=torch.float64)
    torch.testing.assert_close(state.x, mean + variance.sqrt() * noise)
    assert state.t == s and state.x0_hat is x0_hat
    assert posterior_variance(path, t, s) == pytest.approx(float(variance))
    assert forward_variance(path, t, s) == pytest.approx(float(path.transition(t, s)[1]))


@every_path
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_ddim_step_is_equation_12(path, eta, make_generator):
    x, x0_hat = normal((4, 2), make_generator(0)), normal((4, 2), make_generator(1))
    t, s = number(0.7), number(0.3)
    state = ddim_step(lambda *_: x0_hat, path, x, t, s, eta=eta, generator=make_generator(2))
    a_t, s_t, a_s, s_s = (float(f(u)) for u in (t, s) for f in (path.alpha, path.sigma))
    spread = eta * s_s / s_t * math.sqrt(s_t**2 - (a_t / a_s * s_s) ** 2)
    noise = torch.randn(4, 2, generator=make_generator(2), dtype=torch.float64)
    eps_hat = (x - a_t * x0_hat) / s_t
    torch.testing.assert_close(state.x, a_s * x0_hat + math.sqrt(s_s**2 - spread**2) * eps_hat + spread * noise)


@every_path
def test_ddim_keeps_x0_and_eps_when_both_are_known(path, make_generator):
    """For data at a single point the conditional mean is constant, and any number of steps is exact."""
    x0, eps = normal((4, 2), make_generator(0)), normal((4, 2), make_generator(1))
    times = falling(3, 0.9, path.t_min)
    for state in ddim(lambda *_: x0, path, path.perturb(x0, times[0], eps), times):
        torch.testing.assert_close(state.x, path.perturb(x0, state.t, eps))


# --- a Gaussian: what a whole chain does to its variance is known exactly --------------------------------------------


def gaussian_gain(path, t, std):
    """E[x0 | x_t] = gain x_t for data from N(0, std^2)."""
    return float(path.alpha(t)) * std**2 / float(path.alpha(t) ** 2 * std**2 + path.sigma(t) ** 2)


def variance_after(path, times, std, variance):
    """Var[x] after each step, in plain numbers: the posterior's mean is linear in x_t, and its noise is added."""
    found = float(path.alpha(times[0]) ** 2 + path.sigma(times[0]) ** 2)
    for t, s in itertools.pairwise(times):
        a_t, s_t, a_s, s_s = (float(f(u)) for u in (t, s) for f in (path.alpha, path.sigma))
        step = s_t**2 - (a_t / a_s) ** 2 * s_s**2
        slope = (a_t / a_s * s_s**2 + a_s * step * gaussian_gain(path, t, std)) / s_t**2
        found = slope**2 * found + (step * s_s**2 / s_t**2 if variance == "small" else step * (s_s > 0))
        yield found


@pytest.mark.parametrize("path", [DDPM, VP], ids=["ddpm_linear", "vp_linear"])
@pytest.mark.parametrize(("name", "variance"), [("small", posterior_variance), ("large", forward_variance)])
def test_the_variance_of_a_gaussian_follows_the_exact_recursion(path, name, variance, make_generator):
    """(n - 1) s^2 / variance is chi-squared: 7 standard deviations at n = 20,000, false alarms below 1e-9 in all."""
    n, std, times = 20_000, 0.3, falling(50)
    data = GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), std**2)).to(torch.float64)
    x = normal((n, 1), make_generator(0))
    states = ancestral(mixture_denoiser(data, path), path, x, times, generator=make_generator(1), variance=variance)
    for state, expected in zip(states, variance_after(path, times, std, name), strict=True):
        assert abs(float(state.x.var()) / expected - 1) < 7 * math.sqrt(2 / n)
    assert abs(expected / std**2 - 1) > 0.05  # 50 Gaussian steps are visibly wrong, and the recursion knows by how much


def test_ddim_scales_a_gaussian_by_the_exact_product(make_generator):
    std, times, x = 0.3, falling(20), normal((5, 2), make_generator(0))
    data = GaussianMixture(torch.ones(1), torch.zeros(1, 2), std**2 * torch.eye(2)[None]).to(torch.float64)
    factor = 1.0
    for t, s in itertools.pairwise(times):
        a_t, s_t, a_s, s_s = (float(f(u)) for u in (t, s) for f in (VP.alpha, VP.sigma))
        gain = gaussian_gain(VP, t, std)
        factor *= a_s * gain + s_s * (1 - a_t * gain) / s_t
    torch.testing.assert_close(last(ddim(mixture_denoiser(data, VP), VP, x, times)), factor * x, rtol=1e-6, atol=1e-9)


# --- the end of the chain --------------------------------------------------------------------------------------------


def lines_off(x, mixture, generator):
    """On how many of 5 lines samples are farther from a mixture than chance allows (DKW, 1e-10 each)."""
    return sum(
        farthest_from_cdf(x @ line, line_cdf(line, mixture.weights, mixture.means, mixture.covariances))
        > dkw_bound(len(x))
        for line in normal((5, 2), generator)
    )


@pytest.mark.parametrize("path", [DDPM, COSINE, VP], ids=["ddpm_linear", "cosine", "vp_linear"])
def test_an_exact_denoiser_returns_the_data(path, make_generator):
    """Along 5 lines, by the DKW bound: false alarms below 1e-8. Three steps fail the same bound."""
    mixture = random_mixture(3, (2,), make_generator(0))
    denoise, x = mixture_denoiser(mixture, path), path.prior((4_000, 2), make_generator(1)).double()
    for sampler in (ancestral, ddim):
        samples = last(sampler(denoise, path, x, falling(150), generator=make_generator(2)))
        assert lines_off(samples, mixture, make_generator(3)) == 0
    rough = last(ancestral(denoise, path, x, falling(3), generator=make_generator(2)))
    assert lines_off(rough, mixture, make_generator(3)) > 0


# Every sampler, as a function of (denoise, path, x, times, generator)
LOOPS = {
    "ancestral": lambda d, p, x, t, g: ancestral(d, p, x, t, generator=g),
    "ancestral, large": lambda d, p, x, t, g: ancestral(d, p, x, t, generator=g, variance=forward_variance),
    "ddim": lambda d, p, x, t, g: ddim(d, p, x, t),
    "ddim, eta 1": lambda d, p, x, t, g: ddim(d, p, x, t, eta=1.0, generator=g),
    "euler": lambda d, p, x, t, g: euler(d, p, x, t),
    "heun": lambda d, p, x, t, g: heun(d, p, x, t),
    "heun, churn": lambda d, p, x, t, g: heun(d, p, x, t, churn=1.0, generator=g),
    "dpmpp_2m": lambda d, p, x, t, g: dpmpp_2m(d, p, x, t),
    "dpmpp_2m, eta 1": lambda d, p, x, t, g: dpmpp_2m(d, p, x, t, eta=1.0, generator=g),
    "euler_maruyama": lambda d, p, x, t, g: euler_maruyama(d, p, x, t, generator=g),
    "euler_maruyama, 0": lambda d, p, x, t, g: euler_maruyama(d, p, x, t, stochasticity=0.0),
    "annealed_langevin": lambda d, p, x, t, g: annealed_langevin(d, p, x, t, steps=3, generator=g),
    "predictor_corrector": lambda d, p, x, t, g: predictor_corrector(d, p, x, t, generator=g),
}
DRAW_NOTHING = {"ddim", "euler", "heun", "dpmpp_2m", "euler_maruyama, 0"}
ASKED_IN_A_STEP = {"heun": 2, "heun, churn": 2, "annealed_langevin": 3, "predictor_corrector": 2}  # the others once
every_loop = pytest.mark.parametrize("name", LOOPS)
ALL_PATHS = {**PATHS, "ve": ve(), "edm": edm(), "flow": rectified_flow()}
all_paths = pytest.mark.parametrize("path", ALL_PATHS.values(), ids=ALL_PATHS)


@all_paths
@every_loop
@pytest.mark.parametrize("start", [0.9, 1.0])
def test_the_last_step_ends_on_the_estimate_itself(path, name, start, make_generator):
    """On every path, from t = 1 on, also where alpha(1) = 0."""
    denoise, x = exact_denoiser((2,), path, make_generator(0)), normal((4, 2), make_generator(1))
    *_, state = LOOPS[name](denoise, path, x, falling(5, start), make_generator(2))
    torch.testing.assert_close(state.x, state.x0_hat, rtol=0, atol=1e-14)
    assert bool(torch.isfinite(state.x).all())


@all_paths
@every_loop
def test_a_denoiser_is_never_asked_at_clean_data(path, name, make_generator):
    """Where sigma = 0 a network that predicts x0 cannot tell eps, and the score is infinite."""
    denoise = Counting()
    list(LOOPS[name](denoise, path, normal((4, 2), make_generator(0)), falling(5), make_generator(1)))
    assert min(float(path.sigma(t)) for t in denoise.times) > 0
    assert max(float(t) for t in denoise.times) <= 1


@all_paths
@every_loop
@every_shape
def test_a_learned_denoiser_fits_wherever_an_exact_one_does(path, name, shape, make_generator):
    """An untrained network that predicts v, from t = 1 to 0, in float32: nothing but finite numbers."""
    net = UntrainedNetwork()
    denoise = from_network(net, path, "v")
    states = list(
        LOOPS[name](denoise, path, path.prior(shape, make_generator(0)), torch.linspace(1, 0, 5), make_generator(1))
    )
    assert len(states) == 4
    assert all(state.x.shape == state.x0_hat.shape == shape and state.x.dtype == torch.float32 for state in states)
    assert all(bool(torch.isfinite(state.x).all()) for state in states)


class UntrainedNetwork(torch.nn.Module):
    """Something smooth, bounded, and not linear, for points and for images."""

    def forward(self, x, log_snr):
        return torch.tanh(x + 0.1 * log_snr.reshape(-1, *[1] * (x.ndim - 1)))


# --- loops -----------------------------------------------------------------------------------------------------------


class Counting:
    """A denoiser that keeps the times it was asked at."""

    def __init__(self, answer=0.5):
        self.times, self.answer = [], answer

    def __call__(self, x_t, t):
        self.times.append(t)
        return self.answer * x_t


def run(name, denoise, x, times, generator):
    return LOOPS[name](denoise, COSINE, x, times, generator)


@every_loop
@every_shape
def test_a_loop_yields_one_state_for_each_step_and_leaves_x_alone(name, shape, make_generator):
    denoise, times = Counting(), torch.tensor([0.9, 0.5, 0.2, 0.0])  # a start below 1 is allowed
    x = torch.randn(shape, generator=make_generator(0))
    kept = x.clone()
    states = list(run(name, denoise, x, times, make_generator(1)))
    assert all(isinstance(state, State) for state in states)
    assert [float(state.t) for state in states] == times[1:].tolist()
    assert all(state.x.shape == state.x0_hat.shape == shape for state in states)
    assert states[-1].x.dtype == torch.float32
    assert torch.equal(x, kept)


@every_loop
def test_a_loop_asks_its_denoiser_as_often_as_it_says(name, make_generator):
    """At the start of every step, and heun, langevin and the corrector again at its end, unless sigma = 0 there."""
    denoise, times = Counting(), torch.tensor([0.9, 0.5, 0.2, 0.0])
    list(run(name, denoise, torch.ones(2, 2), times, make_generator(1)))
    asked = [float(t) for t in denoise.times]
    each = ASKED_IN_A_STEP.get(name, 1)
    assert len(asked) == 2 * each + 1
    if name == "annealed_langevin":
        assert asked == pytest.approx(3 * [0.5] + 3 * [0.2] + [0.2])
    elif name == "heun, churn":
        assert asked[0::2] > times[:-1].tolist() and asked[1::2] == pytest.approx([0.5, 0.2])
    elif each == 2:
        assert asked == pytest.approx([0.9, 0.5, 0.5, 0.2, 0.2])
    else:
        assert asked == pytest.approx([0.9, 0.5, 0.2])


@pytest.mark.parametrize(
    ("loop", "step"),
    [
        (ancestral, ancestral_step),
        (lambda *given, generator: ddim(*given, eta=0.7, generator=generator), None),
        (euler_maruyama, euler_maruyama_step),
        (predictor_corrector, predictor_corrector_step),
    ],
)
def test_a_loop_is_its_step_repeated(loop, step, make_generator):
    step = step or (lambda *given, generator: ddim_step(*given, eta=0.7, generator=generator))
    denoise, x, times = Counting(), normal((4, 2), make_generator(0)), falling(4)
    g = make_generator(1)
    for (t, s), state in zip(
        itertools.pairwise(times), loop(denoise, COSINE, x, times, generator=make_generator(1)), strict=True
    ):
        x = step(denoise, COSINE, x, t, s, generator=g).x
        assert torch.equal(state.x, x)


@pytest.mark.parametrize("name", [name for name in LOOPS if name != "annealed_langevin"])
def test_a_loop_does_no_work_that_nobody_asked_for(name, make_generator):
    denoise = Counting()
    states = run(name, denoise, torch.ones(2, 2), torch.linspace(1, 0, 101), make_generator(0))
    assert len(list(itertools.islice(states, 3))) == 3
    assert len(denoise.times) == 3 * ASKED_IN_A_STEP.get(name, 1)


@every_loop
def test_the_caller_keeps_its_gradients_while_it_iterates(name, make_generator):
    inside = []

    def denoise(x_t, t):
        inside.append(torch.is_grad_enabled())
        with torch.enable_grad():  # as posterior sampling does
            leaf = x_t.detach().requires_grad_()
            (gradient,) = torch.autograd.grad((leaf**2).sum(), leaf)
        return 0.25 * gradient

    x = torch.ones(2, 2, requires_grad=True)
    for state in run(name, denoise, x, torch.linspace(1, 0, 6), make_generator(0)):
        assert torch.is_grad_enabled()
        assert not state.x.requires_grad
    assert len(inside) >= 5 and not any(inside)


@every_loop
def test_gradients_stay_on_after_an_early_stop(name, make_generator):
    states = run(name, Counting(), torch.ones(2, 2), torch.linspace(1, 0, 6), make_generator(0))
    next(states)
    states.close()
    assert torch.is_grad_enabled()


STEPS = {
    "ancestral": lambda d, p, x, t, s, g: ancestral_step(d, p, x, t, s, generator=g),
    "ddim": lambda d, p, x, t, s, g: ddim_step(d, p, x, t, s),
    "euler": lambda d, p, x, t, s, g: euler_step(d, p, x, t, s),
    "heun": lambda d, p, x, t, s, g: heun_step(d, p, x, t, s),
    "dpmpp_2m": lambda d, p, x, t, s, g: dpmpp_2m_step(d, p, x, t, s, previous=(t + 0.1, torch.zeros_like(x))),
    "euler_maruyama": lambda d, p, x, t, s, g: euler_maruyama_step(d, p, x, t, s, generator=g),
    "langevin": lambda d, p, x, t, s, g: langevin_step(d, p, x, t, step=0.1, generator=g),
    "predictor_corrector": lambda d, p, x, t, s, g: predictor_corrector_step(d, p, x, t, s, generator=g),
}
every_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


@every_step
def test_single_steps_let_gradients_through(step, make_generator):
    x = torch.ones(2, 2, requires_grad=True)
    state = step(Counting(), COSINE, x, torch.tensor(0.5), torch.tensor(0.4), make_generator(0))
    (gradient,) = torch.autograd.grad(state.x.sum(), x)
    assert bool((gradient != 0).all())


@every_step
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_keeps_the_dtype_of_x_whatever_that_of_the_times(step, dtype, make_generator):
    x = torch.ones(2, 2, dtype=dtype)
    for times in (torch.tensor([0.5, 0.4]), torch.tensor([0.5, 0.4], dtype=torch.float64)):
        state = step(Counting(), COSINE, x, *times, make_generator(0))
        assert state.x.dtype == state.x0_hat.dtype == dtype


@every_loop
def test_the_same_seed_gives_the_same_samples(name, make_generator):
    x, times = normal((4, 2), make_generator(0)), falling(5, 1, 0.1)
    first, again = (last(run(name, Counting(), x, times, make_generator(1))) for _ in range(2))
    other = last(run(name, Counting(), x, times, make_generator(2)))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in DRAW_NOTHING)


def test_last_is_the_end_of_the_loop():
    states = [State(torch.tensor(t), torch.full((1, 2), t), torch.zeros(1, 2)) for t in (0.5, 0.2)]
    assert torch.equal(last(iter(states)), states[-1].x)
    with pytest.raises(ValueError, match="states must hold at least one state, but is empty"):
        last([])


# --- refusals --------------------------------------------------------------------------------------------------------

X, TIMES, LATE = torch.ones(3, 2), torch.linspace(1, 0, 6), GaussianPath(torch.cos, torch.sin, t_min=0.1)


@every_loop
@pytest.mark.parametrize(
    ("path", "x", "times", "error", "words"),
    [
        (COSINE, X, torch.arange(5, -1, -1), TypeError, r"times must be a floating-point tensor of shape \(N \+ 1,\)"),
        (COSINE, X, [1.0, 0.0], TypeError, r"times must be a floating-point tensor of shape .* but is list"),
        (COSINE, X, torch.ones(1), TypeError, r"times must be a floating-point tensor .* of shape \(1,\)$"),
        (COSINE, X, torch.ones(3, 2), TypeError, r"times must be a floating-point tensor .* of shape \(3, 2\)$"),
        (COSINE, X, TIMES.flip(0), ValueError, "times must fall strictly from noise to data, such as torch.linspace"),
        (COSINE, X, torch.tensor([1.0, 0.5, 0.5, 0.0]), ValueError, "times must fall strictly"),
        (COSINE, X, torch.tensor([1.0, math.nan, 0.0]), ValueError, "times must fall strictly"),
        (COSINE, X, torch.tensor([1000.0, 500.0, 0.0]), ValueError, r"times must lie in \[0.0, 1\], but run from 1000"),
        (COSINE, X, torch.tensor([1.0, 0.0, -0.1]), ValueError, r"times must lie in \[0.0, 1\], .* 1.0 to -0.1"),
        (LATE, X, TIMES, ValueError, r"times must lie in \[0.1, 1\], but run from 1.0 to 0.0"),
        (COSINE, X * math.nan, TIMES, ValueError, "x must be finite, but 6 of its 6 values are NaN or infinite"),
        (COSINE, X / torch.tensor([1.0, 0.0]), TIMES, ValueError, "x must be finite, but 3 of its 6 values"),
        (COSINE, X[0], TIMES, TypeError, r"x must be a floating-point tensor of shape \(B, \*D\), but is a float32"),
        (COSINE, X.long(), TIMES, TypeError, r"x must be a floating-point tensor .* int64 tensor of shape \(3, 2\)"),
        (COSINE, X.numpy(), TIMES, TypeError, r"x must be a floating-point tensor"),
    ],
)
def test_a_loop_refuses_what_it_cannot_walk(name, path, x, times, error, words, make_generator):
    denoise = Counting()
    with pytest.raises(error, match=words):
        next(LOOPS[name](denoise, path, x, times, make_generator(0)))
    assert denoise.times == []


@pytest.mark.parametrize("sampler", [ddim, dpmpp_2m])
@pytest.mark.parametrize("eta", [-0.1, 1.5, math.nan])
def test_eta_must_lie_between_0_and_1(eta, sampler, make_generator):
    with pytest.raises(ValueError, match=rf"eta must lie in \[0, 1\], but is {eta}"):
        next(sampler(Counting(), COSINE, X, TIMES, eta=eta, generator=make_generator(0)))


def test_noise_needs_a_generator():
    for sampler in (ddim, dpmpp_2m):
        with pytest.raises(ValueError, match=r"eta = 0.5 draws noise, so generator must be given"):
            next(sampler(Counting(), COSINE, X, TIMES, eta=0.5))
    with pytest.raises(TypeError, match="generator"):
        next(ancestral(Counting(), COSINE, X, TIMES))
    for bad in (None, 0):
        with pytest.raises(TypeError, match=rf"generator must be a torch.Generator .*, but is {bad}"):
            next(ancestral(Counting(), COSINE, X, TIMES, generator=bad))

    for loop in (euler_maruyama, annealed_langevin, predictor_corrector):
        with pytest.raises(TypeError, match=r"generator must be a torch.Generator .*, but is 0"):
            next(loop(Counting(), COSINE, X, TIMES, generator=0))
    with pytest.raises(ValueError, match=r"stochasticity = 1.0 draws noise, so generator must be given"):
        next(euler_maruyama(Counting(), COSINE, X, TIMES))
    with pytest.raises(ValueError, match=r"churn = 2.0 draws noise, so generator must be given"):
        next(heun(Counting(), COSINE, X, TIMES, churn=2.0))


def refused(call, words):
    denoise = Counting()
    with pytest.raises(ValueError, match=words):
        next(call(denoise))
    assert denoise.times == []


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_amounts_of_noise_must_be_numbers_from_0_on(value, make_generator):
    g = make_generator(0)
    words = rf"must lie in \[0, inf\), but is {value}"
    refused(lambda d: euler_maruyama(d, COSINE, X, TIMES, stochasticity=value, generator=g), f"stochasticity {words}")
    refused(lambda d: heun(d, COSINE, X, TIMES, churn=value, generator=g), f"churn {words}")
    refused(lambda d: heun(d, COSINE, X, TIMES, churn=1.0, churn_noise=value, generator=g), f"churn_noise {words}")
    refused(lambda d: predictor_corrector(d, COSINE, X, TIMES, snr=value, generator=g), f"snr {words}")


@pytest.mark.parametrize("value", [-0.1, math.nan, 1.5])
def test_a_langevin_step_must_lie_between_0_and_1(value, make_generator):
    g, words = make_generator(0), rf"step must lie in \[0, 1\], but is {value}"
    refused(lambda d: annealed_langevin(d, COSINE, X, TIMES, step=value, generator=g), words)
    refused(lambda d: langevin(d, COSINE, X, TIMES[1], steps=3, step=value, generator=g), words)


@pytest.mark.parametrize("value", [0, -1, 2.0, True])
def test_numbers_of_steps_must_be_whole_and_positive(value, make_generator):
    g, words = make_generator(0), f"must be a whole number >= 1, but is {value!r}"
    refused(lambda d: annealed_langevin(d, COSINE, X, TIMES, steps=value, generator=g), f"steps {words}")
    refused(lambda d: langevin(d, COSINE, X, TIMES[1], steps=value, generator=g), f"steps {words}")
    refused(lambda d: predictor_corrector(d, COSINE, X, TIMES, corrections=value, generator=g), f"corrections {words}")


@pytest.mark.parametrize("between", [(2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (0.0, math.nan)])
def test_churn_needs_a_range(between, make_generator):
    g = make_generator(0)
    refused(
        lambda d: heun(d, COSINE, X, TIMES, churn=1.0, churn_between=between, generator=g),
        r"churn_between must be \(low, high\) with 0 <= low <= high, but is",
    )


@pytest.mark.parametrize(
    ("path", "t"),
    [
        (COSINE, torch.tensor(0.0)),
        (COSINE, torch.tensor(1.1)),
        (COSINE, torch.tensor(-0.1)),
        (COSINE, torch.full((3,), 0.5)),
        (COSINE, torch.tensor(math.nan)),
        (LATE, torch.tensor(0.05)),
    ],
)
def test_langevin_needs_one_time_with_noise(path, t, make_generator):
    g = make_generator(0)
    refused(
        lambda d: langevin(d, path, X, t, steps=3, generator=g),
        r"t must be one time in \[0.\d, 1\] with sigma\(t\) > 0",
    )
    with pytest.raises(TypeError, match="divide a step index k"):
        next(langevin(Counting(), path, X, torch.tensor(500), steps=3, generator=g))
    with pytest.raises(ValueError, match="x must be finite"):
        next(langevin(Counting(), path, X * math.nan, torch.tensor(0.5), steps=3, generator=g))


@every_step
def test_a_step_refuses_an_integer_time(step, make_generator):
    with pytest.raises(TypeError, match=r"t must be a floating-point tensor .* divide a step index k"):
        step(Counting(), COSINE, X, torch.tensor(500), torch.tensor(499), make_generator(0))
    with pytest.raises(ValueError, match=r"t must have shape \(\) or \(3,\)"):
        step(Counting(), COSINE, X, torch.full((2,), 0.5), torch.tensor(0.4), make_generator(0))


# --- churn, and the pieces -------------------------------------------------------------------------------------------


@all_paths
@pytest.mark.parametrize("churn", [0.5, 3.0, 1000.0])
def test_churn_raises_sigma_over_alpha_by_the_factor_of_the_paper(path, churn):
    times = torch.linspace(0.9, path.t_min, 11, dtype=torch.float64)
    raised = churned(path, times, churn)
    ratios = [path.sigma(t) / path.alpha(t) for t in (raised, times[:-1])]
    most = float(path.sigma(number(1.0)) / path.alpha(number(1.0)).clamp(min=1e-300))
    expected = ((1 + min(churn / 10, math.sqrt(2) - 1)) * ratios[1]).clamp(max=most)
    torch.testing.assert_close(ratios[0], expected, rtol=1e-9, atol=0)


def test_churn_stays_in_its_range_and_on_the_path():
    path, times = edm(), karras_times(edm(), 18)
    sigma = path.sigma(times[:-1])
    raised = path.sigma(churned(path, times, 4.0, (0.05, 50.0)))
    inside = (sigma >= 0.05) & (sigma <= 50)
    assert 5 < int(inside.sum()) < 15
    torch.testing.assert_close(raised, torch.where(inside, sigma * (1 + 4 / 18), sigma), rtol=1e-9, atol=0)
    for path in (edm(), COSINE, rectified_flow()):
        assert float(churned(path, falling(5), 5.0)[0]) == 1  # the path ends here
    assert churned(edm(), torch.linspace(1, 0, 6), 5.0).dtype == torch.float32


@pytest.mark.parametrize(("path", "t"), [(VP, number(0.1)), (edm(), number(0.5))], ids=["vp_linear", "edm"])
def test_churn_adds_the_noise_of_the_path_itself(path, t, make_generator):
    """Points from p_t, raised to t_hat, are points from p_t_hat: against the DKW bound, false alarms below 1e-9."""
    n, std = 20_000, 0.1
    (higher,) = churned(path, torch.stack([t, t - 0.1]), 1.0)
    spread = [float((path.alpha(u) ** 2 * std**2 + path.sigma(u) ** 2).sqrt()) for u in (t, higher)]
    assert spread[1] > 1.2 * spread[0]
    seen = []

    def denoise(x_t, u):
        seen.append((float(u), x_t))
        return 0 * x_t

    x = spread[0] * normal((n, 1), make_generator(0))
    next(heun(denoise, path, x, torch.stack([t, t - 0.1]), churn=1.0, generator=make_generator(1)))
    u, x_hat = seen[0]
    assert u == float(higher)
    exact = line_cdf(
        number(1.0)[None], torch.ones(1), torch.zeros(1, 1).double(), number(spread[1] ** 2)[None, None, None]
    )
    assert farthest_from_cdf(x_hat[:, 0], exact) < dkw_bound(n)
    assert farthest_from_cdf(x[:, 0], exact) > dkw_bound(n)


@all_paths
def test_predict_splits_x_into_estimate_and_noise(path, make_generator):
    x, x0_hat = normal((3, 2), make_generator(0)), normal((3, 2), make_generator(1))
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)  # one time for each
    x0, eps = predict(lambda *_: x0_hat, path, x, t)
    assert x0 is x0_hat
    torch.testing.assert_close(path.alpha(t)[:, None] * x0 + path.sigma(t)[:, None] * eps, x)


def test_langevin_leaves_a_gaussian_as_it_is_up_to_its_step(make_generator):
    """x -> (1 - step) x + sqrt(2 step) z where p_t = N(0, sigma^2): the variance settles at sigma^2 / (1 - step / 2).

    (n - 1) s^2 / variance is chi-squared: 7 standard deviations at n = 20,000, false alarms below 1e-11.
    """
    path, t, n = vp_linear(), number(0.9), 20_000
    x = last(
        langevin(
            lambda x, t: 0 * x, path, torch.zeros(n, 1).double(), t, steps=60, step=0.3, generator=make_generator(0)
        )
    )
    assert abs(float(x.var() / path.sigma(t) ** 2) * (1 - 0.3 / 2) - 1) < 7 * math.sqrt(2 / n)
    still = shake(path, x, torch.zeros_like(x), t, 0.3)
    torch.testing.assert_close(still, -0.3 * path.sigma(t) * x)


# --- the small print: defaults, the ends of ranges, precision, words --------------------------------------------------


def test_annealed_langevin_takes_40_steps_at_each_level(make_generator):
    asked = Counting()
    times = torch.tensor([1.0, 0.6, 0.3])
    last(annealed_langevin(asked, cosine(), torch.zeros(2, 2), times, generator=make_generator(0)))
    assert len(asked.times) == 80


def test_the_corrector_is_told_what_the_loop_is_told(make_generator):
    x, times, g = normal((4, 2), make_generator(0)), torch.tensor([0.9, 0.5, 0.2]).double(), make_generator(1)
    told = {"snr": 0.3, "corrections": 2}
    states = predictor_corrector(Counting(), cosine(), x, times, **told, generator=make_generator(1))
    for (t, s), state in zip(itertools.pairwise(times), states, strict=True):
        x = predictor_corrector_step(Counting(), cosine(), x, t, s, **told, generator=g).x
        assert torch.equal(state.x, x)


def test_langevin_may_stand_at_both_ends(make_generator):
    for t in (LATE.t_min, 1.0):
        state = next(
            langevin(Counting(), LATE, torch.zeros(2, 2), torch.tensor(t), steps=1, generator=make_generator(0))
        )
        assert bool(torch.isfinite(state.x).all())


def test_churn_may_happen_at_a_single_level(make_generator):
    level = float(edm().sigma(number(0.5)))
    x, times = normal((2, 2), make_generator(0)), torch.tensor([1.0, 0.5, 0.2]).double()
    found = last(
        heun(Counting(), edm(), x, times, churn=1.0, churn_between=(level, level), generator=make_generator(1))
    )
    assert bool(torch.isfinite(found).all())


def test_a_sampler_without_a_step_has_no_samples():
    with pytest.raises(ValueError, match=r"^states must hold at least one state, but is empty$"):
        last(iter(()))
