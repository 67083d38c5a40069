"""The samplers against diffusers' schedulers, exact recursions, and the truth at the end of the chain."""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from minidiff.exact import GaussianMixture, mixture_denoiser
from minidiff.paths import GaussianPath
from minidiff.samplers import (
    State,
    ancestral,
    ancestral_step,
    ddim,
    ddim_step,
    forward_variance,
    last,
    posterior_variance,
)
from minidiff.schedules import cosine, ddpm_linear, vp_linear
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


@pytest.mark.parametrize("name", ["ddpm_linear", "cosine", "vp_linear", "flow"])
@pytest.mark.parametrize("eta", [None, 0.0, 1.0], ids=["ancestral", "ddim", "ddim eta 1"])
def test_the_last_step_ends_on_the_estimate_itself(name, eta, make_generator):
    path = PATHS[name]
    denoise, x = exact_denoiser((2,), path, make_generator(0)), normal((4, 2), make_generator(1))
    for variance in (posterior_variance, forward_variance):
        options = {"variance": variance} if eta is None else {"eta": eta}
        sampler = ancestral if eta is None else ddim
        *_, state = sampler(denoise, path, x, falling(5, 0.9), generator=make_generator(2), **options)
        torch.testing.assert_close(state.x, state.x0_hat, rtol=0, atol=1e-14)


# --- loops -----------------------------------------------------------------------------------------------------------


class Counting:
    """A denoiser that keeps the times it was asked at."""

    def __init__(self, answer=0.5):
        self.times, self.answer = [], answer

    def __call__(self, x_t, t):
        self.times.append(t)
        return self.answer * x_t


def run(sampler, denoise, x, times, generator):
    options = {} if sampler is ddim else {"generator": generator}
    return sampler(denoise, COSINE, x, times, **options)


every_sampler = pytest.mark.parametrize("sampler", [ancestral, ddim])


@every_sampler
@every_shape
def test_a_loop_yields_one_state_for_each_step_and_leaves_x_alone(sampler, shape, make_generator):
    denoise, times = Counting(), torch.tensor([0.9, 0.5, 0.2, 0.0])  # a start below 1 is allowed
    x = torch.randn(shape, generator=make_generator(0))
    kept = x.clone()
    states = list(run(sampler, denoise, x, times, make_generator(1)))
    assert all(isinstance(state, State) for state in states)
    assert [float(state.t) for state in states] == times[1:].tolist()
    assert [float(t) for t in denoise.times] == times[:-1].tolist()
    assert all(state.x.shape == state.x0_hat.shape == shape for state in states)
    assert states[-1].x.dtype == torch.float32
    assert torch.equal(x, kept)


@every_sampler
def test_a_loop_is_its_step_repeated(sampler, make_generator):
    step = {ancestral: ancestral_step, ddim: ddim_step}[sampler]
    denoise, x, times = Counting(), normal((4, 2), make_generator(0)), falling(4)
    g = make_generator(1)
    for (t, s), state in zip(
        itertools.pairwise(times), run(sampler, denoise, x, times, make_generator(1)), strict=True
    ):
        x = step(denoise, COSINE, x, t, s, generator=g).x
        assert torch.equal(state.x, x)


@every_sampler
def test_a_loop_does_no_work_that_nobody_asked_for(sampler, make_generator):
    denoise = Counting()
    states = run(sampler, denoise, torch.ones(2, 2), torch.linspace(1, 0, 101), make_generator(0))
    assert len(list(itertools.islice(states, 3))) == len(denoise.times) == 3


@every_sampler
def test_the_caller_keeps_its_gradients_while_it_iterates(sampler, make_generator):
    inside = []

    def denoise(x_t, t):
        inside.append(torch.is_grad_enabled())
        with torch.enable_grad():  # as posterior sampling does
            leaf = x_t.detach().requires_grad_()
            (gradient,) = torch.autograd.grad((leaf**2).sum(), leaf)
        return 0.25 * gradient

    x = torch.ones(2, 2, requires_grad=True)
    for state in run(sampler, denoise, x, torch.linspace(1, 0, 6), make_generator(0)):
        assert torch.is_grad_enabled()
        assert not state.x.requires_grad
    assert inside == 5 * [False]


@every_sampler
def test_gradients_stay_on_after_an_early_stop(sampler, make_generator):
    states = run(sampler, Counting(), torch.ones(2, 2), torch.linspace(1, 0, 6), make_generator(0))
    next(states)
    states.close()
    assert torch.is_grad_enabled()


def test_single_steps_let_gradients_through(make_generator):
    x = torch.ones(2, 2, requires_grad=True)
    for step in (ancestral_step, ddim_step):
        state = step(Counting(), COSINE, x, torch.tensor(0.5), torch.tensor(0.4), generator=make_generator(0))
        assert state.x.requires_grad


@every_sampler
def test_the_same_seed_gives_the_same_samples(sampler, make_generator):
    x, times = normal((4, 2), make_generator(0)), falling(5)
    first, again = (last(run(sampler, Counting(), x, times, make_generator(1))) for _ in range(2))
    other = last(run(sampler, Counting(), x, times, make_generator(2)))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (sampler is ddim)  # which draws nothing


def test_last_is_the_end_of_the_loop():
    states = [State(torch.tensor(t), torch.full((1, 2), t), torch.zeros(1, 2)) for t in (0.5, 0.2)]
    assert torch.equal(last(iter(states)), states[-1].x)
    with pytest.raises(ValueError, match="states must hold at least one state, but is empty"):
        last([])


# --- refusals --------------------------------------------------------------------------------------------------------

X, TIMES, LATE = torch.ones(3, 2), torch.linspace(1, 0, 6), GaussianPath(torch.cos, torch.sin, t_min=0.1)


@every_sampler
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
def test_a_loop_refuses_what_it_cannot_walk(sampler, path, x, times, error, words, make_generator):
    denoise = Counting()
    with pytest.raises(error, match=words):
        next(sampler(denoise, path, x, times, generator=make_generator(0)))
    assert denoise.times == []


@pytest.mark.parametrize("eta", [-0.1, 1.5, math.nan])
def test_eta_must_lie_between_0_and_1(eta, make_generator):
    with pytest.raises(ValueError, match=rf"eta must lie in \[0, 1\], but is {eta}"):
        next(ddim(Counting(), COSINE, X, TIMES, eta=eta, generator=make_generator(0)))


def test_noise_needs_a_generator():
    with pytest.raises(ValueError, match=r"eta = 0.5 draws noise, so generator must be given"):
        next(ddim(Counting(), COSINE, X, TIMES, eta=0.5))
    with pytest.raises(TypeError, match="generator"):
        next(ancestral(Counting(), COSINE, X, TIMES))
    for bad in (None, 0):
        with pytest.raises(TypeError, match=rf"generator must be a torch.Generator .*, but is {bad}"):
            next(ancestral(Counting(), COSINE, X, TIMES, generator=bad))


@pytest.mark.parametrize("step", [ancestral_step, ddim_step])
def test_a_step_refuses_an_integer_time(step, make_generator):
    with pytest.raises(TypeError, match=r"t must be a floating-point tensor .* divide a step index k"):
        step(Counting(), COSINE, X, torch.tensor(500), torch.tensor(499), generator=make_generator(0))
    with pytest.raises(ValueError, match=r"t must have shape \(\) or \(3,\)"):
        step(Counting(), COSINE, X, torch.full((2,), 0.5), torch.tensor(0.4), generator=make_generator(0))
