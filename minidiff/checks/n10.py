"""The exercises of notebook 10, fast samplers: 10.1 to 10.3 in its flow, 10.4 to 10.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from minidiff import data, exact, generator, metrics, samplers, schedules
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, moments_of, normal, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Fast samplers"
POINTS = 250  # in the plainest random case


def double(value: float) -> Tensor:
    """One number in double precision, of shape ()."""
    return torch.tensor(value, dtype=torch.float64)


def half(x, t):
    """A denoiser that is as good as any for a check."""
    return 0.4 + (0.9 - 0.5 * t) * x + 0.1 * torch.sin(x)


def split(path, x, x0_hat, t):
    """The noise that is in x, if x0_hat is the data in it."""
    return (x - path.alpha(t) * x0_hat) / path.sigma(t)


def one_step_cases(g):
    linear, flow = schedules.vp_linear(), schedules.rectified_flow()
    t, column = uniform(g, 0.5, 0.8), doubles(1.0, 2.0)[:, None]
    return (
        Case((half, linear, column, double(0.5), double(0.3)), "x = 1 and 2 on `vp_linear`, t = 0.5 and s = 0.3"),
        Case(
            (half, flow, normals(g, 5, 2), double(t), double(0.2)),
            f"five points on `rectified_flow`, t = {t} and s = 0.2",
        ),
        Case((half, linear, column, double(0.1), double(0.0)), "x = 1 and 2 on `vp_linear`, t = 0.1 and s = 0"),
    )


# 10.1 ddim_step


def ddim_step(denoise, path, x, t, s):
    x0_hat = denoise(x, t)
    eps_hat = (x - path.alpha(t) * x0_hat) / path.sigma(t)
    return path.alpha(s) * x0_hat + path.sigma(s) * eps_hat


def ddim_step_in_u(denoise, path, x, t, s):
    u_t, u_s = path.sigma(t) / path.alpha(t), path.sigma(s) / path.alpha(s)
    scaled = x / path.alpha(t)
    slope = (scaled - denoise(x, t)) / u_t  # Euler's step along equation (2)
    return path.alpha(s) * (scaled + (u_s - u_t) * slope)


def ddim_truth(denoise, path, x, t, s):  # a straight line between x and its estimate, seen from sigma = 0
    kept = path.sigma(s) / path.sigma(t)
    return kept * x + (path.alpha(s) - kept * path.alpha(t)) * denoise(x, t)


def with_weights(of_x0, of_eps):
    """An answer in which the weights are exchanged: each is a function of (path, t, s)."""

    def answer(denoise, path, x, t, s):
        x0_hat = denoise(x, t)
        return of_x0(path, t, s) * x0_hat + of_eps(path, t, s) * split(path, x, x0_hat, t)

    return answer


def without_root(denoise, path, x, t, s):
    x0_hat = denoise(x, t)
    eps_hat = (x - path.alpha(t) ** 2 * x0_hat) / path.sigma(t) ** 2
    return path.alpha(s) ** 2 * x0_hat + path.sigma(s) ** 2 * eps_hat


def on_the_sphere_only(denoise, path, x, t, s):
    x0_hat, at, bt = denoise(x, t), path.alpha(t), path.alpha(s)
    return bt * x0_hat + torch.sqrt(1 - bt**2) * (x - at * x0_hat) / torch.sqrt(1 - at**2)


def euler_in_t(denoise, path, x, t, s):
    x0_hat = denoise(x, t)
    alpha_rate, sigma_rate = path.rates(t)
    return x + (s - t) * (alpha_rate * x0_hat + sigma_rate * split(path, x, x0_hat, t))


def last_is_not_clean(denoise, path, x, t, s):
    return ddim_truth(denoise, path, x, t, s.clamp(min=0.001))


def as_noise(denoise, path, x, t, s):
    eps_hat = denoise(x, t)
    return path.alpha(s) * (x - path.sigma(t) * eps_hat) / path.alpha(t) + path.sigma(s) * eps_hat


def noise_with_alpha_s(denoise, path, x, t, s):
    x0_hat = denoise(x, t)
    return path.alpha(s) * x0_hat + path.sigma(s) * (x - path.alpha(s) * x0_hat) / path.sigma(t)


DDIM_STEP = Exercise(
    id="10.1",
    name="ddim_step",
    stub='''
def ddim_step(denoise, path, x, t, s):
    """One step of DDIM without noise, from time t down to s: x at s, of the shape of x, (B, d). s may be 0.

    denoise(x, t) estimates x0. path.alpha(t) and path.sigma(t) are numbers.
    """
    ...  # your code
''',
    solution=ddim_step,
    alternative=ddim_step_in_u,
    why=(
        "The denoiser estimates the data in x, and what is left of x is the noise in it. The step mixes both again, "
        "in\n"
        "the proportions of the lower noise level. At s = 0 the weight of the noise is 0, so the step ends on x0_hat."
    ),
    truth=ddim_truth,
    cases=one_step_cases,
    hints=(
        "First evaluate the denoiser, at x and t. Equation (3) needs one more thing: the noise that is in x.",
        "x = alpha_t x0_hat + sigma_t eps_hat. Solve it for eps_hat.",
        "Now mix x0_hat and eps_hat again, with alpha and sigma at s.",
    ),
    wrong=(
        Wrong(
            "only the estimate",
            lambda denoise, path, x, t, s: denoise(x, t),
            "You return x0_hat: a jump to the end, whatever s is. A step keeps some of the noise, sigma_s eps_hat.",
            "notebook 00: steps are needed because the estimate is an average",
        ),
        Wrong(
            "nothing moves",
            with_weights(lambda path, t, s: path.alpha(t), lambda path, t, s: path.sigma(t)),
            "You mix with alpha and sigma at t, so x comes out as it went in. The new weights are those at s.",
            UNSEEN,
        ),
        Wrong(
            "alpha_bar without its root",
            without_root,
            "You square alpha and sigma. In the DDIM paper alpha_t stands for our alpha squared, and there a root is "
            "taken. `path.alpha` and `path.sigma` are those roots.",
            "mathpluscode/ImgX-DiffSeg#4",
        ),
        Wrong(
            "one step of the table",
            lambda denoise, path, x, t, s: ddim_truth(denoise, path, x, t, t - 0.001),
            "You go from t to t - 1/1000, one step of DDPM's table, whatever s is. The step should end at s.",
            "Kitsunetic/SDF-Diffusion#5",
        ),
        Wrong(
            "the last step is not clean",
            last_is_not_clean,
            "At s = 0 you take the weights of the first noisy step of a table. There alpha must be 1 and sigma 0, or "
            "all samples keep a little noise.",
            "Stability-AI/stablediffusion#345, lllyasviel/ControlNet#587",
        ),
        Wrong(
            "evaluated at s",
            lambda denoise, path, x, t, s: (
                path.alpha(s) * denoise(x, s) + path.sigma(s) * split(path, x, denoise(x, s), t)
            ),
            "You evaluate the denoiser at s. But x still has the noise of t, so the denoiser must be told t.",
            UNSEEN,
        ),
        Wrong(
            "the mean of ancestral sampling",
            lambda denoise, path, x, t, s: path.posterior(x, denoise(x, t), t, s)[0],
            "This is the mean of the ancestral step. It keeps less of the old noise, because fresh noise follows. "
            "DDIM adds none, so it keeps sigma_s eps_hat.",
            "notebook 06, section 10",
        ),
        Wrong(
            "Euler's method in t",
            euler_in_t,
            "This is Euler's method in t. It depends on the clock of the path. DDIM steps in alpha and sigma "
            "themselves: put their differences in place of the rates times s - t.",
            "notebook 10, section 2",
        ),
        Wrong(
            "the sign of the noise",
            with_weights(lambda path, t, s: path.alpha(s), lambda path, t, s: -path.sigma(s)),
            "The noise has the wrong sign in your result. The step keeps the noise that is in x, only with a smaller "
            "weight.",
            f"{UNSEEN}: the score has this sign",
        ),
        Wrong(
            "x0_hat taken for the noise",
            as_noise,
            "You take what the denoiser returns for the noise. Many networks predict noise, but `denoise` returns the "
            "estimate of the data.",
            UNSEEN,
        ),
        Wrong(
            "the noise read off with alpha_s",
            noise_with_alpha_s,
            "You subtract alpha_s x0_hat from x to find the noise. In x the data have the weight alpha_t.",
            UNSEEN,
        ),
        Wrong(
            "only where the variance is 1",
            on_the_sphere_only,
            "You take sqrt(1 - alpha²) for sigma. That holds on `vp_linear`, but not on every path: take `path.sigma`.",
            f"{UNSEEN}: the paper's form",
        ),
        Wrong(
            "x in place of its estimate",
            lambda denoise, path, x, t, s: path.alpha(s) * x + path.sigma(s) * split(path, x, denoise(x, t), t),
            "You multiply x itself by alpha_s. The weight alpha_s belongs to the estimate of the data, x0_hat.",
            UNSEEN,
        ),
        Wrong(
            "the noise keeps its size",
            with_weights(lambda path, t, s: path.alpha(s), lambda path, t, s: path.sigma(t)),
            "You change the weight of the data but not that of the noise. At s the noise has the weight sigma_s.",
            UNSEEN,
        ),
    ),
)


# 10.2 karras_levels


def karras_levels(n, u_max, u_min, rho):
    powers = torch.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n, dtype=torch.float64)
    return torch.cat([powers**rho, torch.zeros(1, dtype=torch.float64)])


def karras_levels_in_letters(n, u_max, u_min, rho):
    i = torch.arange(n + 1, dtype=torch.float64)
    high, low = u_max ** (1 / rho), u_min ** (1 / rho)
    levels = (high + i / (n - 1) * (low - high)).clamp(min=0) ** rho
    return torch.where(i < n, levels, torch.zeros_like(levels))


def karras_truth(n, u_max, u_min, rho):
    steps = n - 1
    found = [(((steps - i) * u_max ** (1 / rho) + i * u_min ** (1 / rho)) / steps) ** rho for i in range(n)]
    return torch.tensor([*found, 0.0], dtype=torch.float64)


def level_cases(g):
    u_max, rho = uniform(g, 20, 60), uniform(g, 2, 4)
    return (
        Case((5, 80.0, 0.002, 7.0), "n = 5, u from 80 to 0.002, and rho = 7"),
        Case((9, u_max, 0.01, rho), f"n = 9, u from {u_max} to 0.01, and rho = {rho}"),
    )


def with_zero(levels):
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


KARRAS_LEVELS = Exercise(
    id="10.2",
    name="karras_levels",
    stub='''
def karras_levels(n, u_max, u_min, rho):
    """The levels of n steps: n of them from u_max down to u_min, evenly spread in u^(1/rho), and then 0. (n + 1,)

    In double precision: `dtype=torch.float64`.
    """
    ...  # your code
''',
    solution=karras_levels,
    alternative=karras_levels_in_letters,
    why=(
        "Spread the levels evenly on another scale, u^(1/rho), and come back with the power rho. n levels have n - 1\n"
        "gaps, and the step from u_min to 0 is the n-th."
    ),
    truth=karras_truth,
    cases=level_cases,
    hints=(
        "Change the scale first: which numbers are evenly spread?",
        "`torch.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n, dtype=torch.float64)` has both ends in it.",
        "Return to u with the power rho, and append one 0 with `torch.cat`.",
    ),
    wrong=(
        Wrong(
            "rho upside down",
            lambda n, u_max, u_min, rho: karras_truth(n, u_max, u_min, 1 / rho),
            "Your rho is upside down: the levels are even in u^rho, and crowd near u_max. Even in u^(1/rho) crowds "
            "them where the noise is small.",
            UNSEEN,
        ),
        Wrong(
            "even in u",
            lambda n, u_max, u_min, rho: karras_truth(n, u_max, u_min, 1.0),
            "Your levels are even in u itself, so nearly all of them have far more noise than data. Spread u^(1/rho).",
            UNSEEN,
        ),
        Wrong(
            "even in ln u",
            lambda n, u_max, u_min, rho: with_zero(
                torch.logspace(math.log10(u_max), math.log10(u_min), n, dtype=torch.float64)
            ),
            "Your levels are even in ln u. That is a good grid too, but it is the limit of a very large rho.",
            UNSEEN,
        ),
        Wrong(
            "no 0 at the end",
            lambda n, u_max, u_min, rho: karras_truth(n, u_max, u_min, rho)[:-1],
            "The 0 at the end is missing, so the samples keep noise of the size u_min.",
            UNSEEN,
        ),
        Wrong(
            "one gap too many",
            lambda n, u_max, u_min, rho: with_zero(karras_truth(n + 1, u_max, u_min, rho)[:-2]),
            "You divide by n. Then the smallest level lies above u_min, and the last step to 0 is too long. n levels "
            "have n - 1 gaps.",
            "lucidrains/rectified-flow-pytorch#14",
        ),
        Wrong(
            "one level too many",
            lambda n, u_max, u_min, rho: karras_truth(n + 1, u_max, u_min, rho),
            "You make n + 1 levels and then 0, which are n + 1 steps. A budget of n steps has n levels before the 0.",
            UNSEEN,
        ),
        Wrong(
            "even down to 0",
            lambda n, u_max, u_min, rho: torch.linspace(u_max ** (1 / rho), 0.0, n + 1, dtype=torch.float64) ** rho,
            "You spread u^(1/rho) evenly down to 0 and leave u_min out. The n-th level must be u_min.",
            UNSEEN,
        ),
        Wrong(
            "rising",
            lambda n, u_max, u_min, rho: karras_truth(n, u_max, u_min, rho).flip(0),
            "Your levels rise. A sampler starts from noise, so the first one is u_max and the last one 0.",
            UNSEEN,
        ),
        Wrong(
            "a smallest level of its own",
            lambda n, u_max, u_min, rho: karras_truth(n, u_max, 0.02, rho),
            "Your smallest level is 0.02 whatever u_min is. Some models use that number. Take the argument.",
            "Stability-AI/generative-models#114",
        ),
        Wrong(
            "not raised to the power again",
            lambda n, u_max, u_min, rho: with_zero(
                torch.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n, dtype=torch.float64)
            ),
            "You return u^(1/rho). Raise it to the power rho to get u.",
            UNSEEN,
        ),
    ),
)


# 10.3 heun_step


def heun_step(denoise, path, x, t, s):
    dalpha, dsigma = path.alpha(s) - path.alpha(t), path.sigma(s) - path.sigma(t)
    first = samplers.predict(denoise, path, x, t)
    move = first.x0 * dalpha + first.eps * dsigma
    if path.sigma(s) == 0:
        return x + move
    second = samplers.predict(denoise, path, x + move, s)
    return x + (move + second.x0 * dalpha + second.eps * dsigma) / 2


def heun_step_of_means(denoise, path, x, t, s):
    x0_hat, eps_hat = samplers.predict(denoise, path, x, t)
    if path.sigma(s) > 0:
        euler = path.alpha(s) * x0_hat + path.sigma(s) * eps_hat
        x0_end, eps_end = samplers.predict(denoise, path, euler, s)
        x0_hat, eps_hat = (x0_hat + x0_end) / 2, (eps_hat + eps_end) / 2
    return x + (path.alpha(s) - path.alpha(t)) * x0_hat + (path.sigma(s) - path.sigma(t)) * eps_hat


def heun_truth(denoise, path, x, t, s):  # half of where the estimates at the start lead, and half of those at the end
    guess = denoise(x, t)
    there = ddim_truth(denoise, path, x, t, s)
    if float(path.sigma(s)) == 0.0:
        return there
    end = denoise(there, s)
    slope = (there - path.alpha(s) * end) / path.sigma(s)
    with_end = x + end * (path.alpha(s) - path.alpha(t)) + (path.sigma(s) - path.sigma(t)) * slope
    return there / 2 + with_end / 2 + 0 * guess


def heun_with(second, combine=lambda x, m1, m2: x + (m1 + m2) / 2, corrects_last=False):
    """Heun's step with parts exchanged: second(denoise, path, x, m1, t, s) -> the estimates at the end."""

    def answer(denoise, path, x, t, s):
        dalpha, dsigma = path.alpha(s) - path.alpha(t), path.sigma(s) - path.sigma(t)
        x0_hat = denoise(x, t)
        m1 = x0_hat * dalpha + split(path, x, x0_hat, t) * dsigma
        if path.sigma(s) == 0 and not corrects_last:
            return x + m1
        x0_end, eps_end = second(denoise, path, x, m1, t, s)
        return combine(x, m1, x0_end * dalpha + eps_end * dsigma)

    return answer


def at_the_end(denoise, path, x, m1, t, s):
    x0_end = denoise(x + m1, s)
    return x0_end, split(path, x + m1, x0_end, s)


def with_the_first_sigma(denoise, path, x, m1, t, s):
    x0_end = denoise(x + m1, s)
    return x0_end, split(path, x + m1, x0_end, t)


def told_t(denoise, path, x, m1, t, s):
    x0_end = denoise(x + m1, t)
    return x0_end, split(path, x + m1, x0_end, s)


def old_x(denoise, path, x, m1, t, s):
    x0_end = denoise(x, s)
    return x0_end, split(path, x, x0_end, s)


def only_data_averaged(denoise, path, x, m1, t, s):
    return denoise(x + m1, s), split(path, x, denoise(x, t), t)


def midpoint(denoise, path, x, t, s):
    if path.sigma(s) == 0:
        return ddim_truth(denoise, path, x, t, s)
    middle = (t + s) / 2
    there = ddim_truth(denoise, path, x, t, middle)
    x0_hat = denoise(there, middle)
    eps_hat = split(path, there, x0_hat, middle)
    return x + x0_hat * (path.alpha(s) - path.alpha(t)) + eps_hat * (path.sigma(s) - path.sigma(t))


def heun_in_u(denoise, path, x, t, s):
    if path.sigma(s) == 0:
        return ddim_truth(denoise, path, x, t, s)
    u_t, u_s = (path.sigma(r) / path.alpha(r) for r in (t, s))
    scaled = x / path.alpha(t)
    d = (scaled - denoise(x, t)) / u_t
    there = scaled + (u_s - u_t) * d
    d_end = (there - denoise(path.alpha(s) * there, s)) / u_s
    return path.alpha(s) * (scaled + (u_s - u_t) * (d + d_end) / 2)


HEUN_STEP = Exercise(
    id="10.3",
    name="heun_step",
    stub='''
def heun_step(denoise, path, x, t, s):
    """One step of Heun's method along dx = x0_hat dalpha + eps_hat dsigma, from t down to s. (B, d)

    `samplers.predict(denoise, path, x, t)` returns x0_hat and eps_hat. Where path.sigma(s) is 0: Euler's step alone.
    """
    ...  # your code
''',
    solution=heun_step,
    alternative=heun_step_of_means,
    why=(
        "Euler's step is a first guess of where the step ends. The estimates are made again there, at the new x and\n"
        "the new time. Then the step is made once more, from the old x, with the mean of both moves. At sigma = 0 the\n"
        "noise cannot be computed, so Euler's step is used alone."
    ),
    truth=heun_truth,
    cases=one_step_cases,
    hints=(
        "The first move is x0_hat (alpha_s - alpha_t) + eps_hat (sigma_s - sigma_t), with the estimates at x and t.",
        "Where does that move lead? Make the estimates again there. Which time does the denoiser have to be told?",
        "The result is the old x plus half the sum of both moves. Test yourself at s = 0: nothing may divide by 0.",
    ),
    wrong=(
        Wrong(
            "the first sigma in the second slope",
            heun_with(with_the_first_sigma),
            "In the second estimate of the noise you divide by sigma_t and use alpha_t. The point is at s now, so its "
            "noise is read off with alpha and sigma at s.",
            "huggingface/diffusers#1512",
        ),
        Wrong(
            "the mean is missing",
            heun_with(at_the_end, lambda x, m1, m2: x + m1 + m2),
            "You add both moves, and so go twice as far. Take their mean.",
            "huggingface/diffusers#1481",
        ),
        Wrong(
            "corrects at sigma 0",
            heun_with(at_the_end, corrects_last=True),
            "At s = 0 you estimate the noise and divide by sigma = 0. On the last step Euler's step stands alone.",
            UNSEEN,
        ),
        Wrong(
            "only the end counts",
            heun_with(at_the_end, lambda x, m1, m2: x + m2),
            "You make the step with the estimates at the end alone. That is of order 1 again. Take the mean of both.",
            UNSEEN,
        ),
        Wrong(
            "starts from where Euler ended",
            heun_with(at_the_end, lambda x, m1, m2: x + m1 + (m1 + m2) / 2),
            "You add the mean move to the point where Euler's step ended. Heun's step begins at the old x.",
            UNSEEN,
        ),
        Wrong(
            "the second evaluation is told t",
            heun_with(told_t),
            "You evaluate the denoiser at the new point, but tell it the old time t. The new point has the noise of s.",
            UNSEEN,
        ),
        Wrong(
            "the old x at the new time",
            heun_with(old_x),
            "You make the second estimate at the old x. It belongs to the point where Euler's step ends.",
            UNSEEN,
        ),
        Wrong(
            "only Euler's step",
            ddim_truth,
            "This is Euler's step, of order 1. Heun's method evaluates once more, where it ends.",
            UNSEEN,
        ),
        Wrong(
            "only x0_hat is averaged",
            heun_with(only_data_averaged),
            "You take the mean of the two x0_hat, but keep the first eps_hat. Average both estimates.",
            UNSEEN,
        ),
        Wrong(
            "the midpoint method",
            midpoint,
            "This is the midpoint method: a half step, and a whole step with the estimates found there. It is of "
            "order 2 as well, but Heun's method evaluates at the end and takes the mean.",
            "DPM-Solver-2 does so",
        ),
        Wrong(
            "steps in sigma / alpha",
            heun_in_u,
            "This is Heun's method for x / alpha in steps of sigma / alpha, as EDM has it. It is of order 2 too. Here "
            "the step is asked for in alpha and sigma, which also works where alpha is 0 (there u is infinite).",
            "crowsonkb/k-diffusion and diffusers do so",
        ),
    ),
)


# 10.4 adams_bashforth


def adams_bashforth(denoise, path, x, times):
    u, memory = path.sigma(times) / path.alpha(times), None
    for i in range(len(times) - 1):
        eps_hat = (x - path.alpha(times[i]) * denoise(x, times[i])) / path.sigma(times[i])
        slope, h = eps_hat, u[i + 1] - u[i]
        if memory is not None:
            slope = eps_hat + h / (2 * (u[i] - u[i - 1])) * (eps_hat - memory)
        x = path.alpha(times[i + 1]) * (x / path.alpha(times[i]) + h * slope)
        memory = eps_hat
    return x


def adams_bashforth_from_lists(denoise, path, x, times):
    z, seen = x / path.alpha(times[0]), []
    for t, s in pairwise(times):
        u_t, u_s = path.sigma(t) / path.alpha(t), path.sigma(s) / path.alpha(s)
        seen.append((u_t, (z - denoise(path.alpha(t) * z, t)) / u_t))
        ratio = (u_s - u_t) / (u_t - seen[-2][0]) if len(seen) > 1 else torch.zeros_like(u_t)
        before = seen[-2][1] if len(seen) > 1 else seen[-1][1]
        z = z + (u_s - u_t) * ((1 + ratio / 2) * seen[-1][1] - ratio / 2 * before)
    return path.alpha(times[-1]) * z


def bashforth_truth(denoise, path, x, times):  # the integral of the straight line through two slopes
    levels = [float(path.sigma(t) / path.alpha(t)) for t in times]
    scaled, slopes = x / float(path.alpha(times[0])), []
    for i, (now, then) in enumerate(pairwise(levels)):
        shrunk = float(path.alpha(times[i]))
        slopes.append((scaled - denoise(shrunk * scaled, times[i])) / now)
        tilt = (slopes[-1] - slopes[-2]) / (now - levels[i - 1]) if i else 0.0
        scaled = scaled + slopes[-1] * (then - now) + tilt * (then - now) ** 2 / 2
    return float(path.alpha(times[-1])) * scaled


def bashforth_cases(g):
    linear, flow = schedules.vp_linear(), schedules.rectified_flow()
    t = uniform(g, 0.75, 0.9)
    return (
        Case((half, linear, doubles(1.0, 2.0)[:, None], doubles(0.5, 0.3)), "x = 1 and 2, and times = 0.5, 0.3"),
        Case(
            (half, linear, doubles(1.0, 2.0)[:, None], doubles(0.5, 0.3, 0.2)), "x = 1 and 2, and times = 0.5, 0.3, 0.2"
        ),
        Case(
            (half, flow, normals(g, 5, 2), doubles(t, 0.6, 0.4, 0.1, 0.0)),
            f"five points on `rectified_flow`, and times = {t}, 0.6, 0.4, 0.1, 0",
        ),
    )


def remembering(share, keeps=lambda eps, slope: eps, start=lambda eps: eps, back=True):
    """A walk with a memory and its parts exchanged. share(u, times, path, i): what the difference is multiplied by."""

    def answer(denoise, path, x, times):
        u, memory = path.sigma(times) / path.alpha(times), None
        z = x / path.alpha(times[0])
        for i in range(len(times) - 1):
            eps = (z - denoise(path.alpha(times[i]) * z, times[i])) / u[i]
            if memory is None:
                memory = start(eps)
            slope = eps + share(u, times, path, i) * (eps - memory)
            z, memory = z + (u[i + 1] - u[i]) * slope, keeps(eps, slope)
        return path.alpha(times[-1]) * z if back else z

    return answer


def right_share(u, times, path, i):
    return (u[i + 1] - u[i]) / (2 * (u[i] - u[i - 1])) if i else 0.0


def upside_down(u, times, path, i):
    return (u[i] - u[i - 1]) / (2 * (u[i + 1] - u[i])) if i else 0.0


def in_log_snr(u, times, path, i):
    lam = path.log_snr(times)
    return (lam[i + 1] - lam[i]) / (2 * (lam[i] - lam[i - 1])) if i and u[i + 1] > 0 else 0.0


def in_time(u, times, path, i):
    return (times[i + 1] - times[i]) / (2 * (times[i] - times[i - 1])) if i else 0.0


ADAMS_BASHFORTH = Exercise(
    id="10.4",
    name="adams_bashforth",
    stub='''
def adams_bashforth(denoise, path, x, times):
    """x at times[-1], of the shape of x, (B, d). x: at times[0]; times: (N + 1,), falling. The first step is Euler's.

    In units of the signal, x / alpha, and in steps of u = sigma / alpha. One evaluation of denoise(x, t) a step.
    """
    ...  # your code
''',
    solution=adams_bashforth,
    alternative=adams_bashforth_from_lists,
    why=(
        "A straight line in u through the last two eps_hat extrapolates the slope, and this line is integrated over\n"
        "the step. Its mean over the step lies half a step ahead, which is the factor 1/2. The first step has nothing\n"
        "to remember. The memory keeps the estimate itself, not the extrapolated one."
    ),
    truth=bashforth_truth,
    cases=bashforth_cases,
    hints=(
        "Write DDIM first, in the variables x / alpha and u: x / alpha grows by (u_s - u_t) eps_hat.",
        "Keep eps_hat and u of the step before. From the second step on, add the difference of the two eps_hat times "
        "the step ahead over twice the step behind.",
        "Check the ratio with equal steps: the slope is then 3/2 of the new estimate minus 1/2 of the old one.",
    ),
    wrong=(
        Wrong(
            "the ratio upside down",
            remembering(upside_down),
            "Your ratio of steps is upside down. The size of the new step belongs in the numerator, because the line "
            "is "
            "drawn on over the new step.",
            "crowsonkb/k-diffusion#56",
        ),
        Wrong(
            "remembers the new one",
            remembering(lambda u, times, path, i: 0.0),
            "Your result is DDIM's: the memory adds nothing. If you store the new estimate before you use the old one, "
            "the difference is always 0.",
            UNSEEN,
        ),
        Wrong(
            "no first step",
            remembering(lambda u, times, path, i: right_share(u, times, path, i) if i else 0.5, start=torch.zeros_like),
            "Your memory begins with 0, so the first step extrapolates from an estimate that nobody made. The first "
            "step is Euler's.",
            UNSEEN,
        ),
        Wrong(
            "equal steps",
            remembering(lambda u, times, path, i: 0.5 if i else 0.0),
            "You take 3/2 and -1/2, which is right where all steps in u are equal. Here they are not: the half is "
            "multiplied by the new step over the old one.",
            f"{UNSEEN}: the textbook's form",
        ),
        Wrong(
            "the half is missing",
            remembering(lambda u, times, path, i: 2 * right_share(u, times, path, i)),
            "You extrapolate to the end of the step. The mean slope of the step is the slope at its middle, half as "
            "far "
            "ahead.",
            UNSEEN,
        ),
        Wrong(
            "the sign of the difference",
            remembering(lambda u, times, path, i: -right_share(u, times, path, i)),
            "You draw the line backwards, towards the old estimate. It must go on in the direction in which the "
            "estimates changed: the new one minus the old one.",
            UNSEEN,
        ),
        Wrong(
            "the ratio in log-SNR",
            remembering(in_log_snr),
            "Your ratio is that of steps in the log-SNR, as in 2M. This method steps in u, so its line is straight "
            "in u.",
            UNSEEN,
        ),
        Wrong(
            "the ratio in t",
            remembering(in_time),
            "Your ratio is that of steps in t. Time only sets the pace: take the steps in u.",
            UNSEEN,
        ),
        Wrong(
            "remembers the extrapolated slope",
            remembering(right_share, keeps=lambda eps, slope: slope),
            "You store the extrapolated slope. Then the next step extrapolates from an extrapolation. Store eps_hat "
            "as the denoiser gave it.",
            UNSEEN,
        ),
        Wrong(
            "still divided by alpha",
            remembering(right_share, back=False),
            "You return x / alpha. Multiply by alpha at the last time.",
            UNSEEN,
        ),
    ),
)


# 10.5 timesteps


def timesteps(n, T):
    return torch.linspace(T, 0, n + 1, dtype=torch.float64).round().long()


def timesteps_one_by_one(n, T):
    return torch.tensor([round(T * (n - i) / n) for i in range(n + 1)])


def timesteps_truth(n, T):
    return torch.tensor([(2 * T * left + n) // (2 * n) for left in range(n, -1, -1)])


def timestep_cases(g):
    n = (13, 17, 23)[int(torch.randint(3, (), generator=g))]
    return (
        Case((10, 1000), "n = 10 and T = 1000"),
        Case((7, 1000), "n = 7 and T = 1000"),
        Case((n, 400), f"n = {n} and T = 400"),
    )


TIMESTEPS = Exercise(
    id="10.5",
    name="timesteps",
    stub='''
def timesteps(n, T):
    """Which steps k of a table of T steps n even steps go through: from T down to 0, whole numbers, (n + 1,).

    Each is rounded to the nearest whole number. A tensor of dtype torch.long.
    """
    ...  # your code
''',
    solution=timesteps,
    alternative=timesteps_one_by_one,
    why=(
        "n steps have n + 1 ends. The first is T, where x is pure noise, and the last is 0, the data. Round only at "
        "the\n"
        "end, so that no error adds up."
    ),
    truth=timesteps_truth,
    cases=timestep_cases,
    hints=(
        "How many numbers do n steps need? Count fence posts, not gaps.",
        "`torch.linspace(T, 0, n + 1)` is even and has both ends in it.",
        "The network was trained on whole k: `.round().long()`.",
    ),
    wrong=(
        Wrong(
            "n numbers",
            lambda n, T: torch.linspace(T, 0, n, dtype=torch.float64).round().long(),
            "You return n numbers. They are the ends of n - 1 steps, so one step is missing and the others are too "
            "long.",
            "lucidrains/rectified-flow-pytorch#14",
        ),
        Wrong(
            "a whole stride",
            lambda n, T: torch.cat([torch.arange(n) * (T // n), torch.tensor([n * (T // n)])]).flip(0),
            "You use a whole stride, T // n. If T is no multiple of n, the first step is below T, where x still has "
            "some data in it, but you start from pure noise.",
            "the spacing `leading` of diffusers; Lin et al. 2023, arXiv 2305.08891",
        ),
        Wrong(
            "the first step is left out",
            lambda n, T: torch.cat([(torch.arange(n).flip(0) * (T / n)).round().long(), torch.zeros(1).long()]),
            "You start one stride below T and end with 0 twice. The start, T, belongs to the n + 1 numbers.",
            "the spacing `leading` of diffusers; Lin et al. 2023, arXiv 2305.08891",
        ),
        Wrong(
            "cut off",
            lambda n, T: torch.tensor([T * left // n for left in range(n, -1, -1)]),
            "You cut off the digits after the point. Round to the nearest whole number.",
            f"{UNSEEN}: `.long()` cuts off",
        ),
        Wrong(
            "rising",
            lambda n, T: timesteps_truth(n, T).flip(0),
            "Your steps rise. A sampler goes from noise, k = T, down to the data, k = 0.",
            UNSEEN,
        ),
        Wrong(
            "counted as in diffusers",
            lambda n, T: torch.linspace(T - 1, 0, n + 1, dtype=torch.float64).round().long(),
            "You count from T - 1. Libraries count their timesteps from 0; in this course k = 0 is the data and k = T "
            "the noise.",
            "diffusers: timestep = k - 1",
        ),
        Wrong(
            "the data are left out",
            lambda n, T: torch.linspace(T, 1, n + 1, dtype=torch.float64).round().long(),
            "You end at k = 1, where some noise is left. The last step goes to k = 0.",
            "Stability-AI/stablediffusion#345",
        ),
    ),
)


# 10.6 churn


def churn(x, u, strength, n, g):
    gamma = min(strength / n, math.sqrt(2) - 1)
    raised = (1 + gamma) * u
    return x + math.sqrt(raised**2 - u**2) * torch.randn(x.shape, generator=g, dtype=x.dtype)


def churn_by_variance(x, u, strength, n, g):
    factor = 1 + min(strength / n, 2**0.5 - 1)
    variance = u**2 * (factor**2 - 1)
    return x + variance**0.5 * torch.randn(x.shape, generator=g, dtype=x.dtype)


def churn_truth(x, u, strength, n, g):
    gamma = strength / n if strength < (math.sqrt(2) - 1) * n else math.sqrt(2) - 1
    return torch.normal(x, u * math.sqrt(gamma * (2 + gamma)), generator=g)


def churn_cases(g):
    u, cloud = uniform(g, 0.6, 0.9), 3 + 2 * normals(g, 200, 2)
    return (
        Case(
            (torch.ones(POINTS, 1, dtype=torch.float64), 2.0, 10.0, 50, RNG),
            f"x = 1 ({POINTS} times), u = 2, strength 10 and n = 50",
        ),
        Case((cloud, u, 40.0, 80, RNG), f"200 points around (3, 3), u = {u}, strength 40 and n = 80"),
    )


def churn_numbers(out, x, u, strength, n):
    return moments_of(out, x, x)


LARGEST = math.sqrt(2) - 1


def churned(spread, gamma=lambda strength, n: min(strength / n, LARGEST), shrink=lambda gamma: 1.0, noise=normal):
    """Churn with parts exchanged: spread(u, gamma) is what the noise is multiplied by."""

    def answer(x, u, strength, n, g):
        found = gamma(strength, n)
        return shrink(found) * x + spread(u, found) * noise(x, g)

    return answer


def right_spread(u, gamma):
    return u * math.sqrt((1 + gamma) ** 2 - 1)


CHURN = Exercise(
    id="10.6",
    name="churn",
    stub='''
def churn(x, u, strength, n, g):
    """x, (B, d), with its noise raised from u to (1 + gamma) u, on a path with alpha = 1. Noise comes from g.

    gamma is strength / n, but at most sqrt(2) - 1. x is a tensor; u, strength and n are plain numbers.
    """
    ...  # your code
''',
    solution=churn,
    alternative=churn_by_variance,
    why=(
        "Variances of independent noises add up. To get from u² to (1 + gamma)² u², their difference is added, and\n"
        "its root stands before z. The cap lets one step at most double the variance."
    ),
    truth=churn_truth,
    cases=churn_cases,
    view=churn_numbers,
    calls=250,
    hints=(
        "Begin with gamma: `min` of two numbers.",
        "There is noise of variance u² in x already. How much variance has to be added to get ((1 + gamma) u)²?",
        "Multiply standard normal noise by the root of that variance.",
    ),
    wrong=(
        Wrong(
            "max for min",
            churned(right_spread, gamma=lambda strength, n: max(strength / n, LARGEST)),
            "You take the larger of the two numbers. The cap says that gamma is at most sqrt(2) - 1: take the smaller.",
            "Comfy-Org/ComfyUI#13820",
        ),
        Wrong(
            "no cap",
            churned(right_spread, gamma=lambda strength, n: strength / n),
            "You forgot the cap: gamma is at most sqrt(2) - 1.",
            UNSEEN,
        ),
        Wrong(
            "always the cap",
            churned(right_spread, gamma=lambda strength, n: LARGEST),
            "Your gamma is always sqrt(2) - 1, its largest value. Divide the strength by n before you compare: each "
            "of the n steps gets its part.",
            UNSEEN,
        ),
        Wrong(
            "the whole new noise on top",
            churned(lambda u, gamma: (1 + gamma) * u),
            "You add noise of the whole new size. There is noise in x already: add only what is missing, the root of "
            "the difference of the variances.",
            UNSEEN,
        ),
        Wrong(
            "the difference of the standard deviations",
            churned(lambda u, gamma: gamma * u),
            "You multiply the noise by the difference of the standard deviations. Variances add up, not standard "
            "deviations: take the root of the difference of the squares.",
            UNSEEN,
        ),
        Wrong(
            "variance for standard deviation",
            churned(lambda u, gamma: u**2 * ((1 + gamma) ** 2 - 1)),
            "You multiply the noise by the missing variance. A factor before noise is a standard deviation: take the "
            "root.",
            "NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "x grows too",
            churned(right_spread, shrink=lambda gamma: 1 + gamma),
            "You multiply x by 1 + gamma. That would stretch the data in it too. Only noise is added.",
            UNSEEN,
        ),
        Wrong(
            "x shrinks",
            churned(right_spread, shrink=lambda gamma: 1 / (1 + gamma)),
            "You shrink x. On a path with alpha = 1 the weight of the data stays 1, and only noise is added.",
            f"{UNSEEN}: right for variance-preserving paths",
        ),
        Wrong(
            "uniform noise",
            churned(right_spread, noise=lambda x, g: torch.rand(x.shape, generator=g, dtype=x.dtype)),
            "Your noise is uniform on [0, 1): `torch.rand` for `torch.randn`.",
            "notebook 07, section 3",
        ),
        Wrong(
            "one noise for all points",
            churned(right_spread, noise=lambda x, g: normal(x[:1], g)),
            "All points of a call get the same noise. Draw noise of the shape of x.",
            UNSEEN,
        ),
    ),
)


# 10.7 where_to_churn


def where_to_churn():
    mixture, path = data.three_gaussians(), schedules.vp_linear()
    believed = exact.GaussianMixture(mixture.weights.flip(0), mixture.means, mixture.covariances)
    right, wrong = (exact.mixture_denoiser(density, path) for density in (mixture, believed))

    def faulty(x, t):
        return wrong(x, t) if path.log_snr(t) < 0 else right(x, t)  # wrong where u > 1

    start = path.prior((2000, 2), generator(10, 70))
    times = torch.cat([schedules.log_snr_times(path, 59, 1e-3), torch.zeros(1)])
    left = {}
    for name, between in (("below", (0.0, 1.0)), ("above", (1.0, math.inf))):
        walk = samplers.heun(faulty, path, start, times, churn=40.0, churn_between=between, generator=generator(10, 71))
        weights = metrics.mode_weights(samplers.last(walk), mixture, generator=generator(10, 72)).weights
        left[name] = float(weights[0])  # 0.5 would be right
    return max(left, key=left.get)


WHERE_TO_CHURN = Question(
    id="10.7",
    name="where_to_churn",
    stub='where_to_churn = None  # where churn brings the weights closer: "below" u = 1, "above" it, or "both alike"',
    right="below",
    solution=where_to_churn,
    why=(
        "Below u = 1 this denoiser is right. Going up and down there moves the points towards the right\n"
        "weights. Above, it is wrong, and the same motion settles them in the wrong weights that it believes in."
    ),
    choices=("below", "above", "both alike"),
    hints=(
        "What does a little noise and a way back with the ODE do where the denoiser is exact?",
        "And where the denoiser is wrong? Towards which density does the same motion carry the points?",
        "Run `samplers.heun(faulty, path, noise, spaced(60), churn=40.0, churn_between=(0.0, 1.0), "
        "generator=generator(10, 12))`, and then with (1.0, math.inf). Compare the weights.",
    ),
    wrong=(
        WrongValue(
            "where the fault is",
            "above",
            "There the denoiser is wrong, and churn follows the denoiser: it settles the points in the wrong weights. "
            "Churn mends what went wrong at higher noise, and only where the denoiser is right.",
            UNSEEN,
        ),
        WrongValue(
            "it is the same noise",
            "both alike",
            "The amount of noise is not what counts. After each kick the points follow the denoiser at that level, and "
            "the two ranges differ in whether it is right. Run both.",
            UNSEEN,
        ),
    ),
)


# 10.8 on paper

ONE_STEP = Explanation(
    id="10.8",
    name="one step",
    task="What are the samples of DDIM with a single step, from t = 1 to 0, and when would that be right?",
    model=(
        "The step ends on x0_hat = E[x0 | x_1]. At t = 1 the point x_1 is almost pure noise and tells hardly anything "
        "about x0, so every sample lies close to the mean of the data. Euler's method keeps x0_hat for the whole step, "
        "so it is exact only if x0_hat does not change along the path. That holds for data at a single point."
    ),
    look_for=(
        "The result is the posterior mean at t = 1.",
        "At t = 1 the posterior mean is nearly the mean of the data, whatever the start.",
        "The step is exact if x0_hat stays the same along the path, and data at one point have this property.",
    ),
    hints=(
        "Put s = 0 into equation (3).",
        "How much information about the data is left in a point of almost pure noise?",
        "What does a step of Euler's method assume about x0_hat? For which data is it true?",
    ),
)

EXERCISES = (
    *(DDIM_STEP, KARRAS_LEVELS, HEUN_STEP),
    *(ADAMS_BASHFORTH, TIMESTEPS, CHURN, WHERE_TO_CHURN, ONE_STEP),
)
