"""The exercises of notebook 09, SDEs and ODEs: 9.1 and 9.2 in its flow, 9.3 to 9.7 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from minidiff import data, exact, samplers, schedules
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, flat, moments_of, normal
from minidiff.paths import GaussianPath

__all__ = ["EXERCISES", "TITLE"]

TITLE = "SDEs and ODEs"
DOUBLE = torch.float64
VP, VE, COSINE, FLOW = schedules.vp_linear(), schedules.ve(), schedules.cosine(), schedules.rectified_flow()


# What the truth and the wrong answers need of a path again and again, computed once


@lru_cache(maxsize=100)
def _rates(path: GaussianPath, time: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    t = torch.tensor(time, dtype=dtype)
    falling = -torch.func.jvp(path.log_snr, (t,), (torch.ones_like(t),))[1]
    return *path.drift_and_diffusion(t), path.sigma(t) ** 2 * falling


def rates(path: GaussianPath, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """f and g² by the package, and g² once more, from the log-SNR."""
    return _rates(path, float(t), t.dtype)


@lru_cache(maxsize=100)
def _clock(path: GaussianPath, log_snr: tuple[float, ...]) -> Tensor:
    return schedules.time_at_log_snr(path, torch.tensor(log_snr, dtype=DOUBLE))


def clock(path: GaussianPath, log_snr: Tensor) -> Tensor:
    """The times at which a path has these log-SNRs."""
    return _clock(path, tuple(log_snr.tolist()))


@lru_cache(maxsize=100)
def _coefficients(path: GaussianPath, t: float, s: float, dtype: torch.dtype) -> tuple[float, ...]:
    pair = torch.tensor([t, s], dtype=dtype)
    return *path.alpha(pair).tolist(), *path.sigma(pair).tolist(), float(path.transition(*pair)[1])


def coefficients(path: GaussianPath, t: Tensor, s: Tensor) -> tuple[float, ...]:
    """alpha at t and s, sigma at t and s, and the variance that the path adds from s to t."""
    return _coefficients(path, float(t), float(s), t.dtype)


def narrow_score(x, t):
    """The score of a normal distribution of variance 1/2."""
    return -2 * x


def drifting_score(x, t):
    """A score whose centre and width change with time, so that it matters at which time it is taken."""
    centre = torch.linspace(1.0, -2.0, x.shape[1], dtype=x.dtype)
    return (centre * (1 - t) - x) / (0.3 + t**2)


# 9.1 ode_drift


def ode_drift(score, path, x, t):
    f, g2 = path.drift_and_diffusion(t)
    return f * x - 0.5 * g2 * score(x, t)


def ode_drift_from_rates(score, path, x, t):
    alpha_rate, sigma_rate = path.rates(t)
    alpha, sigma = path.alpha(t), path.sigma(t)
    eps_hat = -sigma * score(x, t)
    x0_hat = (x - sigma * eps_hat) / alpha
    return alpha_rate * x0_hat + sigma_rate * eps_hat


def ode_drift_truth(score, path, x, t):  # from the log-SNR: x / alpha moves by half the change of its noise variance
    log_alpha_rate = torch.func.jvp(lambda u: path.alpha(u).log(), (t,), (torch.ones_like(t),))[1]
    return x * log_alpha_rate - score(x, t) * rates(path, t)[2] / 2


def ode_cases(g):
    x = 1 + torch.randn(5, 3, generator=g, dtype=DOUBLE)
    t = 0.3 + 0.4 * torch.rand((), generator=g, dtype=DOUBLE)
    return (
        Case(
            (narrow_score, VP, torch.tensor([[1.0], [-2.0]]), torch.tensor(0.5)),
            "score(x, t) = -2 x on vp_linear(), x = 1 and -2, t = 0.5",
        ),
        Case(
            (drifting_score, FLOW, x, t),
            f"a score that changes with time on rectified_flow(), five points in float64, t = {float(t):.3f}",
        ),
    )


def velocity_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer: formula(f, g2, x, score)."""

    def answer(score, path: GaussianPath, x, t):
        return formula(*path.drift_and_diffusion(t), x, score(x, t))

    return Wrong(name, answer, message, seen)


ODE_DRIFT = Exercise(
    id="9.1",
    name="ode_drift",
    stub='''
def ode_drift(score, path, x, t):
    """The velocity dx/dt of the probability-flow ODE at points x (B, d) and one time t (). Returns (B, d)."""
    ...  # your code
''',
    solution=ode_drift,
    alternative=ode_drift_from_rates,
    why=(
        "This is equation (2). In the Fokker-Planck equation, noise of strength g acts like the velocity -g² / 2\n"
        "times the score, and the ODE puts that velocity in its place. The second way is the package's,\n"
        "alpha' x0 + sigma' eps."
    ),
    truth=ode_drift_truth,
    cases=ode_cases,
    hints=(
        "`path.drift_and_diffusion(t)` returns two numbers: f, and the *square* of g.",
        "The velocity has two parts: what the forward drift does, and what replaces the noise.",
        "Equation (2): f x minus half of g² times the score.",
    ),
    wrong=(
        velocity_wrong(
            "the half is missing",
            lambda f, g2, x, s: f * x - g2 * s,
            "The factor 1/2 is missing. g² times the score belongs to the reverse SDE, which adds noise as well. "
            "Without noise this is mistake A: the samples collapse.",
            "the catalogue: 1/2 missing",
        ),
        velocity_wrong(
            "plus the score",
            lambda f, g2, x, s: f * x + 0.5 * g2 * s,
            "The sign of the score is wrong. Forward in time noise spreads the points, so this part of the velocity "
            "points *down* the slope of ln p.",
            "the catalogue: sign",
        ),
        velocity_wrong(
            "the direction of the way back",
            lambda f, g2, x, s: 0.5 * g2 * s - f * x,
            "Your velocity has the opposite sign. dx/dt is asked for, with t rising. On the way back it is dt that is "
            "negative, and not the velocity that changes.",
        ),
        velocity_wrong(
            "g for its square",
            lambda f, g2, x, s: f * x - 0.5 * g2.sqrt() * s,
            "You use g where g² belongs. `drift_and_diffusion` returns g² already, so take no root.",
        ),
        velocity_wrong(
            "squared twice",
            lambda f, g2, x, s: f * x - 0.5 * g2**2 * s,
            "You square what is a square already: `drift_and_diffusion` returns g² and not g.",
        ),
        velocity_wrong(
            "x is missing",
            lambda f, g2, x, s: f - 0.5 * g2 * s,
            "You add f alone. The drift of the forward process is f times x.",
        ),
        velocity_wrong(
            "no drift",
            lambda f, g2, x, s: -0.5 * g2 * s,
            "The forward drift f x is missing. Only on the VE path is it 0.",
        ),
        velocity_wrong(
            "no score",
            lambda f, g2, x, s: f * x,
            "There is no score in your velocity. Following the forward drift alone, the points only shrink, and no "
            "noise is replaced.",
        ),
        velocity_wrong(
            "half of everything",
            lambda f, g2, x, s: 0.5 * (f * x - g2 * s),
            "You halve the drift f x as well. Only the part with the score has the factor 1/2.",
        ),
        velocity_wrong(
            "f halved, the score not",
            lambda f, g2, x, s: 0.5 * f * x - g2 * s,
            "You halve f x and not the score. On the VP path f is -beta / 2 already. The half belongs to the score.",
        ),
        Wrong(
            "the score taken for noise",
            lambda score, path, x, t: (
                path.drift_and_diffusion(t)[0] * x + path.drift_and_diffusion(t)[1] / (2 * path.sigma(t)) * score(x, t)
            ),
            "You treat the score as predicted noise, and divide by sigma. `score` returns the score itself.",
            "notebook 08",
        ),
    ),
)


# 9.2 reverse_step


def reverse_step(score, path, x, t, s, g):
    f, g2 = path.drift_and_diffusion(t)
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x + (f * x - g2 * score(x, t)) * (s - t) + (g2 * (t - s)).sqrt() * z


def reverse_step_as_two_motions(score, path, x, t, s, g):
    f, g2 = path.drift_and_diffusion(t)
    flow = (f * x - 0.5 * g2 * score(x, t)) * (s - t)
    h = 0.5 * g2 * (t - s)  # a step of Langevin dynamics on top
    kick = torch.empty_like(x).normal_(generator=g).mul_((2 * h).sqrt())
    return x + flow + h * score(x, t) + kick


def reverse_step_truth(score, path, x, t, s, g):  # one draw from its normal distribution, with g² from the log-SNR
    log_alpha_rate, _, g_squared = rates(path, t)
    falls = t - s
    variance = falls * g_squared
    centre = x * (1 - falls * log_alpha_rate) + variance * score(x, t)
    return torch.normal(centre, variance.sqrt().expand(x.shape), generator=g)


def reverse_cases(g):
    x = torch.tensor([1.0, 3.0], dtype=DOUBLE) + torch.randn(200, 2, generator=g, dtype=DOUBLE)
    s = round(0.44 + 0.04 * float(torch.rand((), generator=g)), 3)
    return (
        Case(
            (narrow_score, VP, torch.ones(500, 1), torch.tensor(0.5), torch.tensor(0.48), RNG),
            "score(x, t) = -2 x on vp_linear(), x = 1 (500 times), from t = 0.5 to s = 0.48",
        ),
        Case(
            (
                drifting_score,
                COSINE,
                x,
                torch.tensor(0.6, dtype=DOUBLE),
                torch.tensor(s, dtype=DOUBLE),
                RNG,
            ),
            f"a score that changes with time on cosine(), 200 points in float64, from t = 0.6 to s = {s}",
        ),
    )


def reverse_numbers(out, score, path, x, t, s):
    f, g2 = path.drift_and_diffusion(t)
    return moments_of(out, x + (f * x - g2 * score(x, t)) * (s - t), x)


def stepped(
    drift: Callable = lambda f, g2, x, s: f * x - g2 * s,
    kick: Callable = lambda g2, size: (g2 * size).sqrt(),
    noise: Callable = normal,
    at: Callable = lambda t, s: t,
    sign: float = -1.0,
) -> Callable:
    """A step with its parts exchangeable: drift(f, g2, x, score), kick(g2, |dt|), and the time where they are taken."""

    def answer(score, path: GaussianPath, x, t, s, g):
        f, g2, _ = rates(path, at(t, s))
        return x + sign * drift(f, g2, x, score(x, at(t, s))) * (t - s) + kick(g2, t - s) * noise(x, g)

    return answer


REVERSE_STEP = Exercise(
    id="9.2",
    name="reverse_step",
    stub='''
def reverse_step(score, path, x, t, s, g):
    """One step of the reverse SDE (c = 1) from x (B, d) at time t down to s < t. t, s: (). Returns (B, d)."""
    ...  # your code
''',
    solution=reverse_step,
    alternative=reverse_step_as_two_motions,
    why=(
        "This is equation (3) with c = 1. dt = s - t is negative, so -g² s dt goes uphill. A variance cannot be\n"
        "negative: the noise has the variance g² |dt|. The second way is the step of the ODE, and on top a step of\n"
        "Langevin dynamics."
    ),
    truth=reverse_step_truth,
    cases=reverse_cases,
    view=reverse_numbers,
    calls=40,  # with many points each: a call differentiates the path, and that is slow
    limit="The check makes one step. Many small ones lead to the data, and on the last one no noise is added.",
    hints=(
        "Put c = 1 into equation (3). What is (1 + c²) / 2?",
        "dt = s - t is negative. The noise has the variance g² |dt|. Which factor stands in front of z?",
        "x + (f x - g² score) (s - t) + sqrt(g² (t - s)) z, where `drift_and_diffusion(t)` returns f and g².",
    ),
    wrong=(
        Wrong(
            "the sign of dt",
            stepped(sign=1.0),
            "You take dt as positive. t falls here, so dt = s - t is negative. With the wrong sign the points run "
            "away from the data, and blow up.",
            "yifan123/flow_grpo#32, hustvl/LightningDiT#89",
        ),
        Wrong(
            "the half of the ODE",
            stepped(drift=lambda f, g2, x, s: f * x - 0.5 * g2 * s),
            "You kept the factor 1/2 of the ODE and add the noise of the SDE. This is mistake B: the samples become "
            "much too wide.",
            "the catalogue: 1/2 kept",
        ),
        Wrong(
            "dt for its root",
            stepped(kick=lambda g2, size: g2.sqrt() * size),
            "You multiply the noise by |dt| and not by its root. The standard deviation of the noise of a step is "
            "g sqrt(|dt|).",
            "the catalogue: dt for its root",
        ),
        Wrong(
            "g² for g",
            stepped(kick=lambda g2, size: g2 * size.sqrt()),
            "You multiply the noise by g². `drift_and_diffusion` returns g², so take its root.",
            UNSEEN,
        ),
        Wrong(
            "the root of a negative number",
            stepped(kick=lambda g2, size: (-g2 * size).sqrt()),
            "You take the root of a negative number, because dt = s - t is negative. The variance of the noise is "
            "g² |dt|, and |dt| = t - s.",
            UNSEEN,
        ),
        Wrong(
            "variance for standard deviation",
            stepped(kick=lambda g2, size: g2 * size),
            "You multiply the noise by its variance, g² |dt|. The factor in front of z is the root of that.",
            "NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "twice the variance",
            stepped(kick=lambda g2, size: (2 * g2 * size).sqrt()),
            "Your noise has the variance 2 g² |dt|. The 2 belongs to Langevin dynamics with a step h, where "
            "h = g² |dt| / 2.",
            "notebook 08, section 1",
        ),
        Wrong(
            "downhill",
            stepped(drift=lambda f, g2, x, s: f * x + g2 * s),
            "The sign of the score is wrong. On the way back the points go uphill: minus g² times the score, times a "
            "negative dt.",
            "acids-ircam/diffusion_models#7",
        ),
        Wrong(
            "the sign of f",
            stepped(drift=lambda f, g2, x, s: -f * x - g2 * s),
            "The forward drift has the wrong sign. Forward, f x shrinks the points on this path, so on the way back "
            "it must make them grow.",
            UNSEEN,
        ),
        Wrong(
            "no drift",
            stepped(drift=lambda f, g2, x, s: -g2 * s),
            "The forward drift f x is missing. Only on the VE path is it 0.",
            UNSEEN,
        ),
        Wrong(
            "a Langevin step only",
            stepped(drift=lambda f, g2, x, s: -0.5 * g2 * s),
            "This is a step of Langevin dynamics. It stirs the points at time t, and does not carry them to s. Add the "
            "step of the ODE.",
            "notebook 08, section 11",
        ),
        Wrong(
            "taken at s",
            stepped(at=lambda t, s: s),
            "You take f, g and the score at s. The points are still at time t, and the score has to be that of their "
            "own time.",
            UNSEEN,
        ),
        Wrong(
            "no noise",
            stepped(kick=lambda g2, size: 0 * size),
            "There is no noise. With the drift of the reverse SDE that is mistake A: the samples collapse to a point.",
            "notebook 06, section 10",
        ),
        Wrong(
            "one noise for all points",
            stepped(noise=lambda x, g: normal(x[:1], g)),
            "All points get the same noise. Draw it in the shape of x.",
            "jolibrain/joliGEN#527",
        ),
        Wrong(
            "uniform noise",
            stepped(noise=flat),
            "Your noise is uniform. Over many small steps that hardly matters, but dw is normal: `torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
    ),
)


# 9.3 both_paths


def both_paths(mixture, first, second, x, log_snr):
    first_times, second_times = (schedules.time_at_log_snr(path, log_snr) for path in (first, second))
    y = x / first.alpha(first_times[0])  # the start in units of the data, the same for both
    ends = []
    for path, times in ((first, first_times), (second, second_times)):
        denoise = exact.mixture_denoiser(mixture, path)
        end = samplers.last(samplers.euler(denoise, path, path.alpha(times[0]) * y, times))
        ends.append(end / path.alpha(times[-1]))
    return tuple(ends)


def both_paths_with_ddim(mixture, first, second, x, log_snr):
    def walk(path, start):
        times = schedules.time_at_log_snr(path, log_snr)
        states = samplers.ddim(exact.mixture_denoiser(mixture, path), path, start, times)  # the same as euler
        return samplers.last(states) / path.alpha(times[-1])

    ratio = torch.sigmoid(log_snr[0]).sqrt()  # alpha of a path that preserves variance
    alphas = [path.alpha(schedules.time_at_log_snr(path, log_snr[:1])) / ratio for path in (first, second)]
    return walk(first, x), walk(second, x * alphas[1] / alphas[0])


def both_paths_truth(mixture, first, second, x, log_snr):  # in units of the data, by the densities alone
    y = x / first.alpha(clock(first, log_snr[:1]))
    noise = torch.exp(-log_snr / 2)
    for now, later in pairwise(noise):
        z = y.clone().requires_grad_()
        covariance = mixture.covariances + now**2 * torch.eye(x.shape[1], dtype=x.dtype)
        parts = torch.distributions.MultivariateNormal(mixture.means, covariance).log_prob(z[:, None])
        log_p = torch.logsumexp(parts + mixture.weights.log(), dim=1)
        (uphill,) = torch.autograd.grad(log_p.sum(), z)
        y = y - uphill * now * (later - now)  # dy = -score sigma dsigma
    return y, y.clone()


def one_bump() -> exact.GaussianMixture:
    """One Gaussian on the line, of mean 1 and variance 1/4."""
    numbers = ([1.0], [[1.0]], [[[0.25]]])
    return exact.GaussianMixture(*(torch.tensor(column, dtype=DOUBLE) for column in numbers))


def both_cases(g):
    x = torch.randn(6, 2, generator=g, dtype=DOUBLE)
    levels = torch.linspace(-3, 3, 4, dtype=DOUBLE)
    return (
        Case(
            (one_bump(), VP, VE, torch.tensor([[1.0], [-2.0]], dtype=DOUBLE), levels),
            "one Gaussian, vp_linear() and ve(), x = 1 and -2, and the log-SNRs -3, -1, 1, 3",
        ),
        Case(
            (data.three_gaussians().to(DOUBLE), COSINE, VP, x, levels[1:] - 0.3),
            "three Gaussians, cosine() and vp_linear(), six points and three log-SNRs",
        ),
    )


def paired(
    start: Callable = lambda x, a, b: x * b / a,
    end: Callable = lambda state, first, last: state.x / last,
    times: Callable = lambda path, other, log_snr: clock(path, log_snr),
    sampler: Callable = samplers.euler,
    denoiser: Callable = lambda path, first: path,
) -> Callable:
    """Both walks with their parts exchangeable. a and b: alpha at the start of the first path and of this one."""

    def answer(mixture, first, second, x, log_snr):
        ends = []
        for path in (first, second):
            moments = times(path, first, log_snr)
            a, b = (p.alpha(times(p, first, log_snr)[0]) for p in (first, path))
            denoise = exact.mixture_denoiser(mixture, denoiser(path, first))
            *_, state = sampler(denoise, path, start(x, a, b), moments)
            ends.append(end(state, path.alpha(moments[0]), path.alpha(moments[-1])))
        return tuple(ends)

    return answer


def evenly_in_time(path, other, log_snr):
    ends = clock(path, log_snr[[0, -1]])
    return torch.linspace(float(ends[0]), float(ends[1]), len(log_snr), dtype=DOUBLE)


BOTH_PATHS = Exercise(
    id="9.3",
    name="both_paths",
    stub='''
def both_paths(mixture, first, second, x, log_snr):
    """The ends of `samplers.euler` on two paths with exact denoisers, each divided by its own alpha: two of (B, d).

    x: (B, d), noise on the first path at log_snr[0]. log_snr: (N,), rising.
    """
    ...  # your code
''',
    solution=both_paths,
    alternative=both_paths_with_ddim,
    why=(
        "With 50 log-SNRs the two ends agree to rounding. A step of euler moves alpha and sigma in\n"
        "x = alpha x0 + sigma eps and keeps the estimates. In units of the data that is y = x0 + (sigma / alpha) eps,\n"
        "and sigma / alpha is exp(-log_snr / 2) on every path. So even the errors of a coarse grid are the same."
    ),
    truth=both_paths_truth,
    cases=both_cases,
    parts=("the end on the first path", "the end on the second path"),
    hints=(
        "For each path you need times, a start, and a denoiser of its own, `exact.mixture_denoiser(mixture, path)`.",
        "x / alpha is the same on both paths. So what is the start on the second path?",
        "`samplers.last(samplers.euler(denoise, path, start, times))`, divided by `path.alpha(times[-1])`.",
    ),
    wrong=(
        Wrong(
            "not divided by alpha",
            paired(end=lambda state, first, last: state.x),
            "You do not divide the ends by alpha. On different paths the same point has different sizes.",
            "the catalogue: not divided by alpha",
        ),
        Wrong(
            "the same times on both paths",
            paired(times=lambda path, other, log_snr: clock(other, log_snr)),
            "You use the times of the first path on the second one too. There the same times have other log-SNRs.",
            "the catalogue: grids differ",
        ),
        Wrong(
            "the same start",
            paired(start=lambda x, a, b: x),
            "Both walks start at x. The start on the second path has to be x times the ratio of the two alphas.",
            UNSEEN,
        ),
        Wrong(
            "the ratio upside down",
            paired(start=lambda x, a, b: x * a / b),
            "The ratio of the alphas at the start is upside down. x / alpha has to be the same on both paths.",
            UNSEEN,
        ),
        Wrong(
            "divided by the first alpha",
            paired(end=lambda state, first, last: state.x / first),
            "You divide the ends by alpha at the start of the walk. Divide by alpha where the walk ends.",
            UNSEEN,
        ),
        Wrong(
            "multiplied by alpha",
            paired(end=lambda state, first, last: state.x * last),
            "You multiply the ends by alpha. A noisy point is alpha x0 + noise, so divide.",
            UNSEEN,
        ),
        Wrong(
            "even in time",
            paired(times=evenly_in_time),
            "Your times are evenly spaced between the right ends. Then the steps on the two paths have different "
            "log-SNRs.",
            UNSEEN,
        ),
        Wrong(
            "half the log-SNR",
            paired(times=lambda path, other, log_snr: clock(path, 2 * log_snr)),
            "Your times have twice the log-SNR. Some papers write lambda for ln(alpha / sigma). In this course it is "
            "ln(alpha² / sigma²).",
            "Lu et al. 2022, section 2",
        ),
        Wrong(
            "one step short",
            paired(times=lambda path, other, log_snr: clock(path, log_snr[:-1])),
            "The last step is missing. N log-SNRs make N - 1 steps.",
            "off by one",
        ),
        Wrong(
            "the estimate of x0",
            paired(end=lambda state, first, last: state.x0_hat),
            "You return the last estimate of x0. The points themselves are asked for.",
            UNSEEN,
        ),
        Wrong(
            "Heun's method",
            paired(sampler=samplers.heun),
            "You used `samplers.heun`. It is more exact, but its steps are not the same on the two paths.",
            UNSEEN,
        ),
        Wrong(
            "one denoiser for both",
            paired(denoiser=lambda path, first: first),
            "You use the denoiser of the first path on both. At the same time the second path has another alpha and "
            "sigma, so it needs a denoiser of its own.",
            UNSEEN,
        ),
    ),
)


# 9.4 varying_noise


def varying_noise(denoise, path, c, x, times, g):
    for t, s in pairwise(times):
        x = samplers.euler_maruyama_step(denoise, path, x, t, s, stochasticity=c(t), generator=g).x
    return x


def varying_noise_by_hand(denoise, path, c, x, times, g):
    for t, s in pairwise(times):
        estimate = samplers.predict(denoise, path, x, t)
        _, variance = path.transition(t, s)
        h = 0.5 * c(t) ** 2 * variance  # the step of Langevin dynamics
        kick = (2 * h).sqrt() * torch.randn(x.shape, generator=g, dtype=x.dtype)
        x = x + samplers.along_the_ode(path, estimate, t, s) - h * estimate.eps / path.sigma(t) + kick
    return x


def varying_truth(denoise, path, c, x, times, g):  # each step draws from its normal distribution
    for k in range(len(times) - 1):
        a, b, p, q, _ = coefficients(path, *times[k : k + 2])
        clean = denoise(x, times[k])
        eps = (x - a * clean) / p
        added = c(times[k]) ** 2 * (p**2 - (a * q / b) ** 2)
        x = torch.normal(b * clean + (q - added / (2 * p)) * eps, math.sqrt(added), generator=g)
    return x


def three_tenths(x_t, t):
    """A denoiser that makes everything linear: x0 is 0.3 x_t."""
    return 0.3 * x_t


HALF_AND_MORE = torch.tensor([0.5, 0.8], dtype=DOUBLE)


def third(x_t, t):
    """The same, with a factor that changes with time and is not one on both axes."""
    return x_t * ((1 - t) * HALF_AND_MORE)


def falling_noise(t):
    return 4 * float(t)


def rising_noise(t):
    return 2 - 2 * float(t)


def varying_cases(g):
    x = torch.tensor([4.0, 6.0], dtype=DOUBLE) + 2 * torch.randn(128, 2, generator=g, dtype=DOUBLE)
    end = round(0.2 + 0.05 * float(torch.rand((), generator=g)), 3)
    return (
        Case(
            (
                three_tenths,
                VP,
                falling_noise,
                torch.full((240, 1), 4.0),
                torch.tensor([0.5, 0.4, 0.3]),
                RNG,
            ),
            "E[x0 | x] = 0.3 x on vp_linear(), c(t) = 4 t, x = 4 (240 times) and the times 0.5, 0.4, 0.3",
        ),
        Case(
            (third, COSINE, rising_noise, x, torch.tensor([0.7, 0.45, end], dtype=DOUBLE), RNG),
            f"a linear denoiser on cosine(), c(t) = 2 - 2 t, 128 points and the times 0.7, 0.45, {end}",
        ),
    )


def varying_numbers(out, denoise, path, c, x, times):
    mean = x
    for t, s in pairwise(times):  # the denoisers are linear, so the mean moves as a point without noise does
        a, b, p, q, variance = coefficients(path, t, s)
        eps = (mean - a * denoise(mean, t)) / p
        mean = b * denoise(mean, t) + (q - c(t) ** 2 * variance / (2 * p)) * eps
    return moments_of(out, mean, x)


def wandered(
    amount: Callable = lambda c, t, s: c(t),
    pull: Callable = lambda c: c**2,
    kick: Callable = lambda c, variance: c * math.sqrt(variance),
    fresh: bool = True,
) -> Callable:
    """The walk with its parts exchangeable: which c, and what pull and kick are made of c and the variance."""

    def answer(denoise, path: GaussianPath, c, x, times, g):
        z = None
        for t, s in pairwise(times):
            a, b, p, q, variance = coefficients(path, t, s)
            size = amount(c, t, s)
            z = normal(x, g) if fresh or z is None else z
            of_eps = (q - pull(size) * variance / (2 * p)) / p  # times p eps = x - a x0
            moved = torch.add(of_eps * x, denoise(x, t), alpha=b - a * of_eps)
            x = moved.add_(z, alpha=kick(size, variance))
        return x

    return answer


def without_carrying_on(denoise, path, c, x, times, g):
    for t, s in pairwise(times):
        end = samplers.euler_maruyama_step(denoise, path, x, t, s, stochasticity=c(t), generator=g).x
    return end


def estimate_at_the_end(denoise, path, c, x, times, g):
    for t, s in pairwise(times):
        state = samplers.euler_maruyama_step(denoise, path, x, t, s, stochasticity=c(t), generator=g)
        x = state.x
    return state.x0_hat


VARYING_NOISE = Exercise(
    id="9.4",
    name="varying_noise",
    stub='''
def varying_noise(denoise, path, c, x, times, g):
    """Walk from x (B, d) down the times (N + 1,), with the stochasticity c(t) in the step that begins at t. (B, d)"""
    ...  # your code
''',
    solution=varying_noise,
    alternative=varying_noise_by_hand,
    why=(
        "Equation (3) holds at each time by itself, so c may change with t, and the densities stay the same. What\n"
        "changes is the memory. For the three Gaussians the correlation of start and end is about 0.66 with\n"
        "c = 0.5 between t = 0.1 and 0.5 and 0 elsewhere, and near 0.5 with c = 0.35 at all times."
    ),
    truth=varying_truth,
    cases=varying_cases,
    view=varying_numbers,
    calls=50,
    hints=(
        "`pairwise(times)` gives the pairs (t, s) of neighbouring times.",
        "`samplers.euler_maruyama_step(...)` returns a state. Its `x` is where the next step begins.",
        "Hand over `stochasticity=c(t)` and `generator=g` in every step.",
    ),
    wrong=(
        Wrong(
            "c for its square",
            wandered(pull=lambda c: c),
            "Your pull of the score grows like c. It has to grow like c², as the variance of the noise does.",
            "the catalogue: c for c²",
        ),
        Wrong(
            "the variance for its root",
            wandered(kick=lambda c, variance: c * variance),
            "You multiply the noise by c times a variance. Take the root of the variance, as with g sqrt(|dt|).",
            "the catalogue: |dt| without root",
        ),
        Wrong(
            "the score is not scaled",
            wandered(pull=lambda c: 1.0),
            "Only your noise depends on c. The pull of the score has to change with it, or the crowd gets too wide or "
            "too narrow.",
            "the catalogue: score not scaled with c",
        ),
        Wrong(
            "noise without a pull",
            wandered(pull=lambda c: 0.0),
            "You add noise to the ODE without the pull of the score that balances it. This is mistake B.",
            UNSEEN,
        ),
        Wrong(
            "c at the end of the step",
            wandered(amount=lambda c, t, s: c(s)),
            "You take c at the end of each step. It is asked for at the beginning, c(t).",
            UNSEEN,
        ),
        Wrong(
            "c squared",
            wandered(amount=lambda c, t, s: c(t) ** 2),
            "You hand over c². `stochasticity` is c itself.",
            UNSEEN,
        ),
        Wrong(
            "the root of c",
            wandered(amount=lambda c, t, s: math.sqrt(c(t))),
            "You hand over the root of c. `stochasticity` is c itself.",
            UNSEEN,
        ),
        Wrong(
            "c is ignored",
            wandered(amount=lambda c, t, s: 1.0),
            "c is not used: all your steps have the stochasticity 1, which is the default.",
            UNSEEN,
        ),
        Wrong(
            "the first c everywhere",
            lambda denoise, path, c, x, times, g: wandered(amount=lambda _c, t, s: c(times[0]))(
                denoise, path, c, x, times, g
            ),
            "You compute c once, at the first time, and use it in all steps. Compute c(t) in every step.",
            UNSEEN,
        ),
        Wrong(
            "time counted from the noise",
            wandered(amount=lambda c, t, s: c(1 - t)),
            "You take c at 1 - t. In this course t = 0 is the data, also on the way back.",
            UNSEEN,
        ),
        Wrong(
            "one noise for all steps",
            wandered(fresh=False),
            "You draw the noise once and use it in every step. Each step needs fresh noise.",
            UNSEEN,
        ),
        Wrong(
            "the last step is missing",
            lambda denoise, path, c, x, times, g: wandered()(denoise, path, c, x, times[:-1], g),
            "The last step is missing. N + 1 times make N steps.",
            "off by one",
        ),
        Wrong(
            "always from the start",
            without_carrying_on,
            "Every step of yours begins at the x that was given. Go on from where the step before ended.",
            UNSEEN,
        ),
        Wrong(
            "the estimate of x0",
            estimate_at_the_end,
            "You return the estimate of x0. The points themselves are asked for, `state.x`.",
            UNSEEN,
        ),
    ),
)


# 9.5 total_probability


def total_probability(log_density, cells, window):
    side = ((torch.arange(cells, dtype=torch.float64) + 0.5) / cells * 2 - 1) * window  # the centres of the cells
    grid = torch.cartesian_prod(side, side)
    return float(log_density(grid).exp().sum()) * (2 * window / cells) ** 2


def total_probability_by_logarithms(log_density, cells, window):
    width = 2 * window / cells
    side = torch.linspace(-window + width / 2, window - width / 2, cells, dtype=torch.float64)
    x, y = torch.meshgrid(side, side, indexing="ij")
    log_p = log_density(torch.stack([x.flatten(), y.flatten()], dim=1))
    return float(torch.logsumexp(log_p, dim=0).exp()) * width * width


def total_truth(log_density, cells, window):  # row by row, and each row as an average over its length
    edges = torch.linspace(-window, window, cells + 1, dtype=DOUBLE)
    middle = (edges[1:] + edges[:-1]) / 2
    rows = [log_density(torch.stack([torch.full_like(middle, y), middle], dim=1)).exp().mean() for y in middle.tolist()]
    return float(torch.stack(rows).mean()) * 4 * window**2


def unit_log_density(x):
    """The standard normal density in the plane."""
    return -0.5 * x.square().sum(dim=1) - math.log(2 * math.pi)


def seven_tenths(x):
    """A tilted normal density around (1, -0.5), times 0.7, so that its integral is 0.7."""
    u, w = (x[:, 0] - 1) / 1.1, (x[:, 1] + 0.5 - 0.4 * (x[:, 0] - 1)) / 0.8
    return -0.5 * (u**2 + w**2) - math.log(2 * math.pi * 1.1 * 0.8 / 0.7)


def total_cases(g):
    cells = 44 + int(torch.randint(0, 9, (), generator=g))
    return (
        Case((unit_log_density, 40, 6.0), "the standard normal density, 40 cells and a window of 6"),
        Case((seven_tenths, cells, 8.0), f"a density whose integral is 0.7, {cells} cells and a window of 8"),
    )


def summed(
    finish: Callable,
    low: float = -1.0,
    high: float = 1.0,
    lattice: Callable = lambda side: torch.cartesian_prod(side, side),
    at_edges: bool = False,
) -> Callable:
    """A sum with its parts exchangeable: finish(log p, width of a cell, window), between low and high windows."""

    def answer(log_density, cells, window):
        width = (high - low) * window / cells
        side = low * window + (torch.arange(cells, dtype=DOUBLE) + 0.5) * width
        if at_edges:
            side = torch.linspace(low * window, high * window, cells, dtype=DOUBLE)
        return float(finish(log_density(lattice(side)), width, window))

    return answer


def by_area(log_p, width, window):
    return log_p.exp().sum() * width**2


TOTAL_PROBABILITY = Exercise(
    id="9.5",
    name="total_probability",
    stub='''
def total_probability(log_density, cells, window):
    """The integral of exp(log_density) over the square from -window to window, by a sum over cells x cells points.

    log_density: from points (N, 2), in float64, to (N,). Returns one number.
    """
    ...  # your code
''',
    solution=total_probability,
    alternative=total_probability_by_logarithms,
    why=(
        "A sum of densities times the area of a cell. The ODE of *any* network is an invertible map. It carries all\n"
        "of the probability of the noise, which is 1, to the data, wherever it puts it. So a wrong network has a\n"
        "wrong density whose integral is still 1."
    ),
    truth=total_truth,
    cases=total_cases,
    hints=(
        "What is the width of a cell, if `cells` of them reach from -window to window? And its area?",
        "Make one side of the grid first. `torch.cartesian_prod(side, side)` gives all pairs, (cells², 2).",
        "Put the points into the middle of the cells. Then add up exp(log_density) and multiply by the area.",
    ),
    wrong=(
        Wrong(
            "the area is missing",
            summed(lambda log_p, width, window: log_p.exp().sum()),
            "You add up the densities and do not multiply by the area of a cell. A density is a probability per area.",
            "the catalogue: area",
        ),
        Wrong(
            "the logarithms added up",
            summed(lambda log_p, width, window: log_p.sum() * width**2),
            "You add up the logarithms. Take exp first: probabilities add up, and their logarithms do not.",
            "the catalogue: log for exp",
        ),
        Wrong(
            "the inner quarter only",
            summed(by_area, low=-0.5, high=0.5),
            "Your grid reaches from -window / 2 to window / 2. Some of the probability lies outside.",
            "the catalogue: small window",
        ),
        Wrong(
            "one quadrant",
            summed(by_area, low=0.0),
            "Your grid begins at 0, so it covers one quadrant only.",
            UNSEEN,
        ),
        Wrong(
            "width for area",
            summed(lambda log_p, width, window: log_p.exp().sum() * width),
            "You multiply by the width of a cell. In the plane it has to be the area, width times width.",
            UNSEEN,
        ),
        Wrong(
            "half the width",
            summed(lambda log_p, width, window: log_p.exp().sum() * (width / 2) ** 2),
            "Your cells have the width window / cells. The grid reaches from -window to window, so they are twice as "
            "wide, and four times as large.",
            UNSEEN,
        ),
        Wrong(
            "the mean density",
            summed(lambda log_p, width, window: log_p.exp().mean()),
            "You return the mean density. Multiply it by the area of the whole square, (2 window)².",
            UNSEEN,
        ),
        Wrong(
            "mean times area of a cell",
            summed(lambda log_p, width, window: log_p.exp().mean() * width**2),
            "You multiply the *mean* density by the area of a cell. The sum goes with the area of a cell, and the mean "
            "with that of the square.",
            UNSEEN,
        ),
        Wrong(
            "one point too few",
            summed(by_area, at_edges=True),
            "Your points reach from edge to edge, so there are cells - 1 gaps between them, and each gap is wider than "
            "2 window / cells. Put the points into the middle of the cells.",
            "off by one",
        ),
        Wrong(
            "the diagonal only",
            summed(by_area, lattice=lambda side: torch.stack([side, side], dim=1)),
            "Your points lie on the diagonal: both coordinates are always equal. Take all pairs.",
            UNSEEN,
        ),
        Wrong(
            "the logarithm of the sum",
            summed(lambda log_p, width, window: torch.logsumexp(log_p, dim=0) + 2 * math.log(width)),
            "You return the logarithm of the integral. The integral itself is asked for.",
            UNSEEN,
        ),
        Wrong(
            "divided by its own sum",
            summed(lambda log_p, width, window: log_p.softmax(dim=0).sum()),
            "You divide by the sum, so the result is 1 whatever the density is. Whether it is 1 was the question.",
            UNSEEN,
        ),
    ),
)


# 9.6 width_c


def width_c():
    steps, variance = 100_000, 1.0
    for k in range(steps, 0, -1):  # f = -beta/2 and the score is -x, so x grows by beta/2 per unit of falling time
        beta = 0.1 + 19.9 * (k - 0.5) / steps
        variance += (beta * variance + beta) / steps  # the drift, and the noise
    return variance**0.5


WIDTH_C = Question(
    id="9.6",
    name="width_c",
    stub="width_c = None  # the standard deviation of the walkers at t = 0",
    right=(195, 235),  # a few hundred steps and 4,000 walkers give some percent less
    solution=width_c,
    why=(
        "With the score -x the drift is (-beta/2 + beta) x = beta x / 2 per unit of falling time: x grows, where it\n"
        "should stay. So the variance obeys -W' = beta W + beta, and W + 1 grows by the factor exp(10.05), the\n"
        "exponential of the integral of beta. It begins as 2, so W(0) = 2 exp(10.05) - 1 and its root is 215."
    ),
    wrong=(
        WrongValue(
            "the right sign by habit",
            (0.9, 1.1),
            "This is the standard deviation with the right sign. In mistake C the drift of (3) is multiplied by |dt| "
            "where dt belongs.",
            "the catalogue: right sign by habit",
        ),
        WrongValue(
            "growth without noise",
            (147, 155),
            "This is exp(5.025), the growth of x by the drift alone. The noise that is added on the way grows too.",
            UNSEEN,
        ),
        WrongValue(
            "the variance",
            (42_000, 47_500),
            "This is the variance. The standard deviation is its root.",
            UNSEEN,
        ),
        WrongValue(
            "the growth of the variance",
            (22_000, 24_000),
            "This is exp(10.05), by which a variance grows without noise. The noise adds as much again, and the "
            "standard deviation is a root.",
            UNSEEN,
        ),
        WrongValue(
            "mistake B",
            (3.2, 3.5),
            "This is mistake B, half of the score. In mistake C the score has its full factor, and the sign of dt is "
            "wrong.",
            "notebook 09, section 6",
        ),
        WrongValue(
            "it shrinks",
            (0.006, 0.007),
            "You let x shrink. The forward drift does that, but the score -x has the larger factor: -g² s = beta x.",
            UNSEEN,
        ),
        WrongValue(
            "the sign of f too",
            (3.9e6, 4.3e6),
            "You turned the sign of f as well, so that both parts make x grow. In mistake C the bracket is that of "
            "(3), and only dt has the wrong sign.",
            UNSEEN,
        ),
        WrongValue(
            "the score turned too",
            (0.56, 0.59),
            "You turned the sign of the score as well, so that both parts pull x to 0. The bracket is that of (3).",
            UNSEEN,
        ),
        WrongValue(
            "the exponent",
            (4.95, 5.1),
            "This is the exponent, half of the integral of beta. x grows exponentially.",
            UNSEEN,
        ),
    ),
    hints=(
        "On this path f = -beta / 2 and g² = beta. What is the bracket for the score -x?",
        "Let W be the variance. Per unit of falling time, what does the drift add to it, and what the noise?",
        "W + 1 grows exponentially. The integral of beta from 0 to 1 is 10.05, and W(1) = 1.",
    ),
)


# 9.7 in words

STRAIGHT = Explanation(
    id="9.7",
    name="the straight path",
    task="Find f and g² of the path alpha = 1 - t, sigma = t, where they are infinite, and whether the velocity is.",
    model=(
        "f = alpha' / alpha = -1 / (1 - t). g² = (sigma²)' - 2 f sigma² = 2 t + 2 t² / (1 - t) = 2 t / (1 - t). Both "
        "are infinite at t = 1, where alpha is 0: no finite drift makes the data vanish in a finite time. The velocity "
        "of the ODE is alpha' x0 + sigma' eps = eps - x0 with the estimates of the denoiser, and this is finite "
        "everywhere. (The infinite parts of f x and of g² times the score cancel.) So on this path the ODE can start "
        "at t = 1, while a step of the SDE there would need infinite noise. The velocity is what flow matching trains "
        "a network on."
    ),
    look_for=(
        "f = -1 / (1 - t) and g² = 2 t / (1 - t), from the two boxes of section 2.",
        "Both are infinite at t = 1, because alpha is 0 there.",
        "The velocity is eps - x0 and stays finite.",
    ),
    hints=(
        "Use the boxes of section 2: f = alpha' / alpha, and g² = (sigma²)' - 2 f sigma².",
        "What becomes of f at t = 1, where alpha is 0?",
        "Section 3 writes the velocity as alpha' x0 + sigma' eps. What are alpha' and sigma' here?",
    ),
)

EXERCISES = (ODE_DRIFT, REVERSE_STEP, BOTH_PATHS, VARYING_NOISE, TOTAL_PROBABILITY, WIDTH_C, STRAIGHT)
