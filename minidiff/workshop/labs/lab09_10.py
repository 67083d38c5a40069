"""Lab 09-10, SDEs and ODEs, and fast samplers: after notebooks 09 and 10."""

import math

import torch
from torch.distributions import MultivariateNormal

from minidiff.checks.records import RNG, Case, Exercise, Wrong
from minidiff.checks.views import UNSEEN, moments_of, normal
from minidiff.workshop.labs.hidden import between, double, normals
from minidiff.workshop.labs.records import Lab, Plot, Problem, Variant

__all__ = ["LAB"]

DOUBLE = torch.float64
POINTS = 250  # in the public case


# stir: a step back with any amount of noise, from f, g² and the score, or from two noise levels and x0_hat


def stirred_step(x, score, f, g2, c, dt, g):
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x - f * x * dt + (1 + c**2) / 2 * g2 * score * dt + c * math.sqrt(g2 * dt) * z


def stirred_step_as_two_motions(x, score, f, g2, c, dt, g):
    carried = x - (f * x - 0.5 * g2 * score) * dt
    h = 0.5 * c**2 * g2 * dt  # a step of Langevin dynamics on top
    return carried + h * score + torch.empty_like(x).normal_(0, math.sqrt(2 * h), generator=g)


def stirred_step_truth(x, score, f, g2, c, dt, g):  # one draw, with the ODE's velocity and what must hold the noise
    velocity, balance = f * x - g2 / 2 * score, score * g2 / 2 * c * c
    return torch.normal(x + dt * (balance - velocity), torch.full_like(x, c * (g2 * dt) ** 0.5), generator=g)


def stirred_step_cases(g):
    n = 100
    x = double(6.0, -9.0) + 2 * normals(g, n, 2)
    f, g2 = between(g, -3.0, -2.0), between(g, 4.0, 6.0)
    return (
        Case(
            (torch.full((POINTS, 1), 3.0), torch.full((POINTS, 1), -4.0), -1.0, 2.0, 0.5, 0.1, RNG),
            f"x = 3 and score -4 ({POINTS} times), f = -1, g2 = 2, c = 0.5 and dt = 0.1",
        ),
        Case(
            (x, double(5.0, 8.0) + normals(g, n, 2), f, g2, between(g, 1.4, 1.8), 0.05, RNG),
            "hidden points in the plane",
        ),
    )


STIRRED_STEP = Exercise(
    id="lab09-10.stir.rates",
    name="stirred_step",
    stub='''
def stirred_step(x, score, f, g2, c, dt, g):
    """One Euler-Maruyama step back in time with the stochasticity c, by dt > 0. x, score: (n, d). Returns (n, d)."""
    ...  # your code
''',
    solution=stirred_step,
    alternative=stirred_step_as_two_motions,
    why=(
        "This is equation (3) of notebook 09 with dt falling. Noise of strength c g needs c² g² / 2 times the score "
        "to\n"
        "hold it, on top of what the ODE does."
    ),
    truth=stirred_step_truth,
    cases=stirred_step_cases,
    view=lambda out, x, score, f, g2, c, dt: moments_of(out, x - (f * x - (1 + c**2) / 2 * g2 * score) * dt, x),
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "the sign of dt",
            lambda x, score, f, g2, c, dt, g: (
                x + (f * x - (1 + c**2) / 2 * g2 * score) * dt + c * math.sqrt(g2 * dt) * normal(x, g)
            ),
            "Your points move forward in time. Time falls here, and dt is only the length of the step.",
            "yifan123/flow_grpo#32, hustvl/LightningDiT#89",
        ),
        Wrong(
            "the pull of c = 1",
            lambda x, score, f, g2, c, dt, g: x - (f * x - g2 * score) * dt + c * math.sqrt(g2 * dt) * normal(x, g),
            "Your score has the factor of the reverse SDE with c = 1. With less noise, less of a pull is needed to "
            "hold it.",
            "the catalogue: score not scaled with c",
        ),
        Wrong(
            "c for its square",
            lambda x, score, f, g2, c, dt, g: (
                x - (f * x - (1 + c) / 2 * g2 * score) * dt + c * math.sqrt(g2 * dt) * normal(x, g)
            ),
            "You let the pull grow with c. It has to balance the variance of the noise, which is proportional to "
            "another power of c.",
            "the catalogue: c for c²",
        ),
        Wrong(
            "noise without c",
            lambda x, score, f, g2, c, dt, g: (
                x - (f * x - (1 + c**2) / 2 * g2 * score) * dt + math.sqrt(g2 * dt) * normal(x, g)
            ),
            "Your noise has the strength g, whatever c is. c says how strong it is in units of g.",
            UNSEEN,
        ),
        Wrong(
            "dt without a root",
            lambda x, score, f, g2, c, dt, g: (
                x - (f * x - (1 + c**2) / 2 * g2 * score) * dt + c * math.sqrt(g2) * dt * normal(x, g)
            ),
            "You multiply the noise by dt. It is the variance of noise that grows in proportion to time.",
            "the catalogue: |dt| without root",
        ),
        Wrong(
            "one noise for all points",
            lambda x, score, f, g2, c, dt, g: (
                x - (f * x - (1 + c**2) / 2 * g2 * score) * dt + c * math.sqrt(g2 * dt) * normal(x[:1], g)
            ),
            "All points of a call get the same noise. Draw noise of the shape of x.",
            "jolibrain/joliGEN#527",
        ),
    ),
)


def stirred_step_by_levels(x, x0_hat, sigma_t, sigma_s, c, g):
    score, variance = (x0_hat - x) / sigma_t**2, sigma_t**2 - sigma_s**2  # the variance is g² |dt|
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x + (1 + c**2) / 2 * variance * score + c * math.sqrt(variance) * z


def stirred_step_by_shares(x, x0_hat, sigma_t, sigma_s, c, g):
    share = (1 - (sigma_s / sigma_t) ** 2) * (1 + c * c) / 2  # of the way to x0_hat
    fresh = torch.empty_like(x).normal_(generator=g).mul_(c * (sigma_t**2 - sigma_s**2) ** 0.5)
    return torch.lerp(x, x0_hat, share) + fresh


def stirred_step_by_levels_truth(x, x0_hat, sigma_t, sigma_s, c, g):  # by the rates of sigma², which falls evenly
    g2, dt = (sigma_t + sigma_s) * (sigma_t - sigma_s), 1.0
    eps_hat = (x - x0_hat) / sigma_t
    flow = -0.5 * g2 / sigma_t * eps_hat * dt
    pull = flow * c**2
    return torch.normal(x + flow + pull, torch.full_like(x, c * math.sqrt(g2 * dt)), generator=g)


def stirred_step_by_levels_cases(g):
    n = 100
    x = double(8.0, -12.0) + 2 * normals(g, n, 2)
    sigma_t = between(g, 2.0, 3.0)
    return (
        Case(
            (torch.full((POINTS, 1), 5.0), torch.full((POINTS, 1), -1.0), 2.0, 1.6, 0.5, RNG),
            f"x = 5 and x0_hat = -1 ({POINTS} times), from sigma = 2 to 1.6 with c = 0.5",
        ),
        Case(
            (x, double(-3.0, 4.0) + normals(g, n, 2), sigma_t, 0.8 * sigma_t, between(g, 1.4, 1.8), RNG),
            "hidden points in the plane",
        ),
    )


def stirred_mean_by_levels(x, x0_hat, sigma_t, sigma_s, c):
    return x + (1 + c**2) / 2 * (1 - sigma_s**2 / sigma_t**2) * (x0_hat - x)


STIRRED_STEP_BY_LEVELS = Exercise(
    id="lab09-10.stir.levels",
    name="stirred_step_by_levels",
    stub='''
def stirred_step_by_levels(x, x0_hat, sigma_t, sigma_s, c, g):
    """One step from sigma_t to sigma_s, on the VE path, with the stochasticity c. x, x0_hat: (n, d). Returns (n, d)."""
    ...  # your code
''',
    solution=stirred_step_by_levels,
    alternative=stirred_step_by_shares,
    why=(
        "On the VE path f = 0 and g² |dt| is the variance that the step takes away, sigma_t² - sigma_s². The score is\n"
        "(x0_hat - x) / sigma_t². This is equation (3) of notebook 09."
    ),
    truth=stirred_step_by_levels_truth,
    cases=stirred_step_by_levels_cases,
    view=lambda out, x, x0_hat, sigma_t, sigma_s, c: moments_of(
        out, stirred_mean_by_levels(x, x0_hat, sigma_t, sigma_s, c), x
    ),
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "downhill",
            lambda x, x0_hat, sigma_t, sigma_s, c, g: (
                x
                + (1 + c**2) / 2 * (1 - sigma_s**2 / sigma_t**2) * (x - x0_hat)
                + c * math.sqrt(sigma_t**2 - sigma_s**2) * normal(x, g)
            ),
            "Your points move away from the estimate. On the way back they go uphill, towards the data.",
            "yifan123/flow_grpo#32, hustvl/LightningDiT#89",
        ),
        Wrong(
            "the pull of c = 1",
            lambda x, x0_hat, sigma_t, sigma_s, c, g: (
                x + (1 - sigma_s**2 / sigma_t**2) * (x0_hat - x) + c * math.sqrt(sigma_t**2 - sigma_s**2) * normal(x, g)
            ),
            "Your score has the factor of the reverse SDE with c = 1. With less noise, less of a pull is needed to "
            "hold it.",
            "the catalogue: score not scaled with c",
        ),
        Wrong(
            "c for its square",
            lambda x, x0_hat, sigma_t, sigma_s, c, g: (
                x
                + (1 + c) / 2 * (1 - sigma_s**2 / sigma_t**2) * (x0_hat - x)
                + c * math.sqrt(sigma_t**2 - sigma_s**2) * normal(x, g)
            ),
            "You let the pull grow with c. It has to balance the variance of the noise, which is proportional to "
            "another power of c.",
            "the catalogue: c for c²",
        ),
        Wrong(
            "noise without c",
            lambda x, x0_hat, sigma_t, sigma_s, c, g: (
                x
                + (1 + c**2) / 2 * (1 - sigma_s**2 / sigma_t**2) * (x0_hat - x)
                + math.sqrt(sigma_t**2 - sigma_s**2) * normal(x, g)
            ),
            "Your noise has the strength g, whatever c is. c says how strong it is in units of g.",
            UNSEEN,
        ),
        Wrong(
            "the square of the difference",
            lambda x, x0_hat, sigma_t, sigma_s, c, g: (
                x
                + (1 + c**2) / 2 * (sigma_t - sigma_s) ** 2 / sigma_t**2 * (x0_hat - x)
                + c * (sigma_t - sigma_s) * normal(x, g)
            ),
            "You square the difference of the two sigmas. Variances are what adds up, and standard deviations are not.",
            UNSEEN,
        ),
        Wrong(
            "a variance for its root",
            lambda x, x0_hat, sigma_t, sigma_s, c, g: (
                x
                + (1 + c**2) / 2 * (1 - sigma_s**2 / sigma_t**2) * (x0_hat - x)
                + c * (sigma_t**2 - sigma_s**2) * normal(x, g)
            ),
            "You multiply the noise by the time of the step. It is the variance of noise that grows in proportion to "
            "time.",
            "the catalogue: |dt| without root",
        ),
        Wrong(
            "the score over sigma",
            lambda x, x0_hat, sigma_t, sigma_s, c, g: (
                x
                + (1 + c**2) / 2 * (sigma_t**2 - sigma_s**2) / sigma_t * (x0_hat - x)
                + c * math.sqrt(sigma_t**2 - sigma_s**2) * normal(x, g)
            ),
            "Your score is the estimated noise, with its sign turned. By Tweedie's formula there is one more sigma in "
            "the denominator.",
            "yang-song/score_sde_pytorch#26",
        ),
    ),
)

STIR = Problem(
    name="stir",
    points=3,
    variants=(
        Variant(
            STIRRED_STEP,
            "A crowd has gone through the forward process $dx = f x\\,dt + g\\,dw$, and an SDE is to bring it back in "
            "time, so that at each time $t$ it has the density $p_t$ again. The noise of this SDE has the strength "
            "$c\\,g$, with any stochasticity $c > 0$. Write one Euler–Maruyama step of it, with everything evaluated "
            "at the start of the step. `x` holds the points at time $t$, and `score` the values of $\\nabla\\ln p_t$ "
            "there, both of shape (n, d). `f` and `g2` are the numbers $f$ and $g^2$ at time $t$, and the positive "
            "number `dt` is by how much time falls. Draw the noise from `g`, which here is the generator and not the "
            "strength $g$. Return the points at the earlier time, (n, d).",
            "notebook 09, section 3",
        ),
        Variant(
            STIRRED_STEP_BY_LEVELS,
            "A crowd has gone along the path $x_t = x_0 + \\sigma\\varepsilon$, and an SDE is to bring it back, so "
            "that at each noise level it has the density of the forward process $dx = g\\,dw$ again. The noise of this "
            "SDE has the strength $c\\,g$, with any stochasticity $c > 0$. Write one Euler–Maruyama step of it from "
            "the level `sigma_t` down to `sigma_s`. Take the step in the clock in which $\\sigma^2$ is the time, so "
            "that the strength $g$ is 1, with the score at the start of the step. `sigma_t`, `sigma_s` and `c` are "
            "numbers. `x` holds the points at `sigma_t`, and `x0_hat` the exact estimates $\\mathbb E[x_0 \\mid x]$ "
            "there, both of shape (n, d). Draw the noise from `g`, which here is the generator. Return the points at "
            "`sigma_s`, (n, d).",
            "notebook 09, sections 2 and 3",
        ),
    ),
)


# width: what a wrong factor, or wrong noise, does to normal data


def simpson(values):
    """The integral from 0 to 1 of values on an even grid with both ends, an odd number of them."""
    weights = torch.ones_like(values)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    return float((weights * values).sum()) / (3 * (len(values) - 1))


def rates_on_a_path(alpha, sigma, parts=4000):
    """f, g² and alpha², sigma² on an even grid of t, on the path that goes straight from (1, 0) to (alpha, sigma)."""
    t = torch.linspace(0, 1, parts + 1, dtype=DOUBLE)
    a, b = 1 - (1 - alpha) * t, sigma * t
    f = (alpha - 1) / a
    return f, 2 * b * (sigma - f * b), a**2, b**2


def width_with_factor(k, s0, alpha, sigma):
    end = math.sqrt(alpha**2 * s0**2 + sigma**2)  # of the noise
    return end * (s0 / end) ** k * (1 / alpha) ** (1 - k)


def width_with_factor_by_logarithms(k, s0, alpha, sigma):
    log_end = math.log(alpha**2 * s0**2 + sigma**2) / 2
    return math.exp((1 - k) * (log_end - math.log(alpha)) + k * math.log(s0))


def width_with_factor_truth(k, s0, alpha, sigma):  # the rate of ln x along one path, integrated by Simpson's rule
    f, g2, a2, b2 = rates_on_a_path(alpha, sigma)
    rate = f + k * g2 / (2 * (a2 * s0**2 + b2))
    return math.sqrt(alpha**2 * s0**2 + sigma**2) * math.exp(-simpson(rate))


def width_cases(g):
    return (
        Case((1.5, 0.5, 0.4, 1.2), "the factor 1.5, s0 = 0.5, alpha = 0.4 and sigma = 1.2"),
        Case((between(g, 0.3, 0.7), between(g, 1.3, 2.0), between(g, 0.2, 0.3), between(g, 0.7, 0.9)), "a hidden path"),
        Case((between(g, 2.2, 2.8), between(g, 0.3, 0.6), between(g, 0.2, 0.3), between(g, 1.5, 2.5)), "another path"),
    )


WIDTH_WITH_FACTOR = Exercise(
    id="lab09-10.width.factor",
    name="width_with_factor",
    stub='''
def width_with_factor(k, s0, alpha, sigma):
    """The standard deviation at t = 0 of walkers whose ODE has k times the score. The data are N(0, s0²) on the line.

    alpha, sigma: of the path at t = 1, where the walkers start with the density of the noisy data.
    """
    ...  # your code
''',
    solution=width_with_factor,
    alternative=width_with_factor_by_logarithms,
    why=(
        "With V = alpha² s0² + sigma² the score is -x / V, and g² / V = (ln V)' - 2 (ln alpha)'. So ln x moves by\n"
        "(k / 2) ln V + (1 - k) ln alpha: for k = 1 only V is left, for k = 2 this is mistake A."
    ),
    truth=width_with_factor_truth,
    cases=width_cases,
    hints=(),
    wrong=(
        Wrong(
            "right all the same",
            lambda k, s0, alpha, sigma: s0,
            "This is the standard deviation of the data, which the right ODE would give. With k times the score the "
            "walkers end elsewhere.",
            UNSEEN,
        ),
        Wrong(
            "mistake A",
            lambda k, s0, alpha, sigma: alpha * s0**2 / math.sqrt(alpha**2 * s0**2 + sigma**2),
            "This is mistake A of the notebook, with the factor 2, whatever k is.",
            "notebook 09, section 6",
        ),
        Wrong(
            "the drift is forgotten",
            lambda k, s0, alpha, sigma: (
                math.sqrt(alpha**2 * s0**2 + sigma**2) * (s0**2 / (alpha**2 * s0**2 + sigma**2)) ** (k / 2)
            ),
            "Your result does not contain the path's alpha. The drift f x is in V' as well, and only for k = 1 do the "
            "two cancel.",
            UNSEEN,
        ),
        Wrong(
            "alpha upside down",
            lambda k, s0, alpha, sigma: (
                math.sqrt(alpha**2 * s0**2 + sigma**2)
                * (s0**2 / (alpha**2 * s0**2 + sigma**2)) ** (k / 2)
                * alpha ** (1 - k)
            ),
            "The power of alpha is upside down. Without any score, k = 0, the walkers follow f alone, and back in time "
            "they must grow by 1 / alpha.",
            UNSEEN,
        ),
        Wrong(
            "a start of variance 1",
            lambda k, s0, alpha, sigma: (s0**2 / (alpha**2 * s0**2 + sigma**2)) ** (k / 2) * (1 / alpha) ** (1 - k),
            "You start from standard normal noise. Here the walkers start with the variance of the noisy data at t = "
            "1, which is not 1.",
            UNSEEN,
        ),
        Wrong(
            "k for its half",
            lambda k, s0, alpha, sigma: (
                math.sqrt(alpha**2 * s0**2 + sigma**2)
                * (s0**2 / (alpha**2 * s0**2 + sigma**2)) ** k
                * (1 / alpha) ** (1 - k)
            ),
            "The exponent of V is twice what it should be. Check with k = 1, where the walkers must end at s0.",
            "the catalogue: 1/2 missing",
        ),
    ),
)


def width_with_noise(c, s0, alpha, sigma):
    end = alpha**2 * s0**2 + sigma**2  # the variance of the noise
    return s0 * math.sqrt(1 + c**2 * math.log(end / (alpha * s0) ** 2))


def width_with_noise_by_snr(c, s0, alpha, sigma):
    return math.sqrt(s0**2 + (c * s0) ** 2 * math.log1p((sigma / (alpha * s0)) ** 2))


def width_with_noise_truth(c, s0, alpha, sigma):
    # the noise of each moment, times what the flow makes of it until t = 0, added up by Simpson's rule
    _, g2, a2, b2 = rates_on_a_path(alpha, sigma)
    shrunk = s0**2 / (a2 * s0**2 + b2)  # the ODE carries a variance V at t to s0² at 0
    return math.sqrt(float(shrunk[-1] * (a2[-1] * s0**2 + b2[-1])) + c * c * simpson(g2 * shrunk))


def width_with_noise_cases(g):
    return (
        Case((0.6, 0.5, 0.4, 1.2), "c = 0.6, s0 = 0.5, alpha = 0.4 and sigma = 1.2"),
        Case((between(g, 1.3, 1.8), between(g, 1.3, 2.0), between(g, 0.2, 0.3), between(g, 0.7, 0.9)), "a hidden path"),
    )


WIDTH_WITH_NOISE = Exercise(
    id="lab09-10.width.noise",
    name="width_with_noise",
    stub='''
def width_with_noise(c, s0, alpha, sigma):
    """The standard deviation at t = 0 of walkers of the ODE with noise c g. The data are N(0, s0²) on the line.

    alpha, sigma: of the path at t = 1, where the walkers start with the density of the noisy data.
    """
    ...  # your code
''',
    solution=width_with_noise,
    alternative=width_with_noise_by_snr,
    why=(
        "With V = alpha² s0² + sigma² and the variance of the walkers written as V u, -u' = c² g² / V, and g² / V is\n"
        "minus the slope of ln(alpha² / V). For c = 1 this is mistake B, on a path that need not preserve the variance."
    ),
    truth=width_with_noise_truth,
    cases=width_with_noise_cases,
    hints=(),
    wrong=(
        Wrong(
            "c for its square",
            lambda c, s0, alpha, sigma: (
                s0 * math.sqrt(1 + c * math.log((alpha**2 * s0**2 + sigma**2) / (alpha * s0) ** 2))
            ),
            "You multiply what the noise adds by c. Variances add up, so another power of c belongs there.",
            "the catalogue: c for c²",
        ),
        Wrong(
            "mistake B",
            lambda c, s0, alpha, sigma: s0 * math.sqrt(1 + math.log((alpha**2 * s0**2 + sigma**2) / (alpha * s0) ** 2)),
            "This is mistake B of the notebook, with noise of the strength g, whatever c is.",
            "notebook 09, section 6",
        ),
        Wrong(
            "a start of variance 1",
            lambda c, s0, alpha, sigma: s0 * math.sqrt(1 - 2 * c**2 * math.log(alpha * s0)),
            "You take the variance at t = 1 for 1, as on the path of the notebook. Here it is another one.",
            "notebook 09, section 6",
        ),
        Wrong(
            "a variance",
            lambda c, s0, alpha, sigma: (
                s0**2 * (1 + c**2 * math.log((alpha**2 * s0**2 + sigma**2) / (alpha * s0) ** 2))
            ),
            "This is a variance. The standard deviation is asked for.",
            UNSEEN,
        ),
        Wrong(
            "in units of the data",
            lambda c, s0, alpha, sigma: math.sqrt(
                1 + c**2 * math.log((alpha**2 * s0**2 + sigma**2) / (alpha * s0) ** 2)
            ),
            "This says how many times too wide the walkers are. How wide they are is asked for.",
            UNSEEN,
        ),
        Wrong(
            "noise that never shrinks",
            lambda c, s0, alpha, sigma: math.sqrt(
                s0**2 + c**2 * math.log((alpha**2 * s0**2 + sigma**2) / (alpha * s0) ** 2)
            ),
            "You add the variance of the noise as it came in. Noise that comes early is carried on by the flow like "
            "everything else, which changes its size.",
            UNSEEN,
        ),
    ),
)

WIDTH = Problem(
    name="width",
    points=4,
    variants=(
        Variant(
            WIDTH_WITH_FACTOR,
            "The data are $\\mathcal N(0, s_0^2)$ on the line, and the path has $\\alpha = 1$ and $\\sigma = 0$ at $t "
            "= 0$, and then some drift $f$ and strength $g$ that you need not know. Somebody multiplies the exact "
            "score of the probability-flow ODE by a number $k$, $dx = [f x - \\tfrac k2 g^2\\,\\nabla\\ln "
            "p_t(x)]\\,dt$, and follows it in infinitely small steps from $t = 1$ to 0. The walkers start with the "
            "density $p_1$ of the noisy data. Which standard deviation do they have at $t = 0$? It is the same for "
            "every path with the given end: the numbers `alpha` and `sigma` are those of the path at $t = 1$, both "
            "positive, and $\\alpha^2 + \\sigma^2$ need not be 1. `s0` is the standard deviation $s_0$. Return one "
            "number.",
            "notebook 09, section 6",
        ),
        Variant(
            WIDTH_WITH_NOISE,
            "The data are $\\mathcal N(0, s_0^2)$ on the line, and the path has $\\alpha = 1$ and $\\sigma = 0$ at $t "
            "= 0$, and then some drift $f$ and strength $g$ that you need not know. Somebody keeps the drift of the "
            "probability-flow ODE but adds noise, $dx = [f x - \\tfrac12 g^2\\,\\nabla\\ln p_t(x)]\\,dt + c\\,g\\,dw$ "
            "with a number $c$ and the exact score, and follows it in infinitely small steps from $t = 1$ to 0. The "
            "walkers start with the density $p_1$ of the noisy data. Which standard deviation do they have at $t = 0$? "
            "It is the same for every path with the given end: the numbers `alpha` and `sigma` are those of the path "
            "at $t = 1$, both positive, and $\\alpha^2 + \\sigma^2$ need not be 1. `s0` is the standard deviation "
            "$s_0$. Return one number.",
            "notebook 09, section 6",
        ),
    ),
)


# density: the change of variables along a linear flow, from the data to the noise, or from the noise to the data


def log_density_of_flow(x, A, T):
    z = x @ torch.linalg.matrix_exp(T * A).T
    log_noise = -0.5 * (z**2).sum(dim=1) - 0.5 * x.shape[1] * math.log(2 * math.pi)
    return log_noise + T * torch.trace(A)


def log_density_of_flow_by_determinant(x, A, T):
    matrix = torch.matrix_exp(A * T)
    z = torch.stack([matrix @ point for point in x])
    return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=1) + torch.linalg.slogdet(matrix)[1]


def law_of_flow(A, T):
    """The normal density at t = 0 that the flow carries to a standard normal one at t = T."""
    back = torch.linalg.matrix_power(torch.matrix_exp(-T * A / 8), 8)
    return MultivariateNormal(torch.zeros(len(A), dtype=A.dtype), back @ back.T)


def log_density_of_flow_truth(x, A, T):
    return law_of_flow(A, T).log_prob(x)


def linear_flow(g):
    """A matrix that turns, shears and stretches, and a time."""
    return 0.5 * normals(g, 3, 3) + torch.diag(double(0.9, 0.4, 0.7)), between(g, 0.5, 0.8)


def log_density_of_flow_cases(g):
    plain = torch.tensor([[0.5, 1.0], [0.0, 0.8]], dtype=DOUBLE)
    A, T = linear_flow(g)
    return (
        Case((double(1.0, -0.5)[None], plain, 0.5), "x = (1, -0.5), A = [[0.5, 1], [0, 0.8]] and T = 0.5"),
        Case((normals(g, 5, 3), A, T), "hidden points with three coordinates"),
    )


LOG_DENSITY_OF_FLOW = Exercise(
    id="lab09-10.density.data",
    name="log_density_of_flow",
    stub='''
def log_density_of_flow(x, A, T):
    """ln p(x) at t = 0, where dx/dt = A x carries p to N(0, I) at t = T. x: (n, d). A: (d, d). Returns (n,)."""
    ...  # your code
''',
    solution=log_density_of_flow,
    alternative=log_density_of_flow_by_determinant,
    why=(
        "The flow carries x to exp(T A) x, where the density is known. Its divergence is tr A everywhere, so the\n"
        "integral in equation (5) of notebook 09 is T tr A, the logarithm of the determinant of exp(T A)."
    ),
    truth=log_density_of_flow_truth,
    cases=log_density_of_flow_cases,
    hints=(),
    wrong=(
        Wrong(
            "the sign of the divergence",
            lambda x, A, T: (
                -0.5 * (x @ torch.matrix_exp(T * A).T).square().sum(dim=1)
                - 0.5 * x.shape[1] * math.log(2 * math.pi)
                - T * torch.trace(A)
            ),
            "The sign of the divergence is wrong. Where the flow spreads the points on their way to the noise, they "
            "were denser before.",
            UNSEEN,
        ),
        Wrong(
            "no divergence",
            lambda x, A, T: (
                -0.5 * (x @ torch.matrix_exp(T * A).T).square().sum(dim=1) - 0.5 * x.shape[1] * math.log(2 * math.pi)
            ),
            "You look up the density of the noise, and forget that the flow stretches the space on the way.",
            UNSEEN,
        ),
        Wrong(
            "not multiplied by the time",
            lambda x, A, T: (
                -0.5 * (x @ torch.matrix_exp(T * A).T).square().sum(dim=1)
                - 0.5 * x.shape[1] * math.log(2 * math.pi)
                + torch.trace(A)
            ),
            "You add the divergence once. It is integrated over the time of the flow.",
            UNSEEN,
        ),
        Wrong(
            "the flow backwards",
            lambda x, A, T: (
                -0.5 * (x @ torch.matrix_exp(-T * A).T).square().sum(dim=1)
                - 0.5 * x.shape[1] * math.log(2 * math.pi)
                + T * torch.trace(A)
            ),
            "You follow the flow backwards. It carries the data at t = 0 to the noise at t = T.",
            UNSEEN,
        ),
        Wrong(
            "rows and columns",
            lambda x, A, T: (
                -0.5 * (x @ torch.matrix_exp(T * A)).square().sum(dim=1)
                - 0.5 * x.shape[1] * math.log(2 * math.pi)
                + T * torch.trace(A)
            ),
            "Your points are multiplied by the transposed matrix. Each point is a row of x, but A acts on columns.",
            UNSEEN,
        ),
        Wrong(
            "the exponential of each element",
            lambda x, A, T: (
                -0.5 * (x @ torch.exp(T * A).T).square().sum(dim=1)
                - 0.5 * x.shape[1] * math.log(2 * math.pi)
                + T * torch.trace(A)
            ),
            "You take the exponential of each element of T A. The solution of a linear ODE is the exponential of the "
            "matrix, the sum of its powers over factorials.",
            UNSEEN,
        ),
    ),
)


def sample_with_density(z, A, T):
    x = z @ torch.linalg.matrix_exp(-T * A).T
    log_noise = -0.5 * (z**2).sum(dim=1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
    return x, log_noise + T * torch.trace(A)


def sample_with_density_by_determinant(z, A, T):
    back = torch.inverse(torch.matrix_exp(A * T))
    x = torch.stack([back @ latent for latent in z])
    return x, torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=1) - torch.linalg.slogdet(back)[1]


def sample_with_density_truth(z, A, T):
    x = torch.linalg.solve(torch.linalg.matrix_power(torch.matrix_exp(T * A / 8), 8), z.T).T
    return x, law_of_flow(A, T).log_prob(x)


def sample_with_density_cases(g):
    plain = torch.tensor([[0.5, 1.0], [0.0, 0.8]], dtype=DOUBLE)
    A, T = linear_flow(g)
    return (
        Case((double(1.0, -0.5)[None], plain, 0.5), "z = (1, -0.5), A = [[0.5, 1], [0, 0.8]] and T = 0.5"),
        Case((normals(g, 5, 3), A, T), "hidden noise with three coordinates"),
    )


def sample_forwards(z, A, T):
    x = z @ torch.matrix_exp(T * A).T
    return x, -0.5 * (z**2).sum(dim=1) - 0.5 * z.shape[1] * math.log(2 * math.pi) + T * torch.trace(A)


def sample_with_the_other_sign(z, A, T):
    x = z @ torch.matrix_exp(-T * A).T
    return x, -0.5 * (z**2).sum(dim=1) - 0.5 * z.shape[1] * math.log(2 * math.pi) - T * torch.trace(A)


def sample_with_the_density_of_noise(z, A, T):
    x = z @ torch.matrix_exp(-T * A).T
    return x, -0.5 * (z**2).sum(dim=1) - 0.5 * z.shape[1] * math.log(2 * math.pi)


def sample_looked_up_at_x(z, A, T):
    x = z @ torch.matrix_exp(-T * A).T
    return x, -0.5 * (x**2).sum(dim=1) - 0.5 * z.shape[1] * math.log(2 * math.pi) + T * torch.trace(A)


def sample_with_rows_for_columns(z, A, T):
    x = z @ torch.matrix_exp(-T * A)
    return x, -0.5 * (z**2).sum(dim=1) - 0.5 * z.shape[1] * math.log(2 * math.pi) + T * torch.trace(A)


def sample_with_one_constant(z, A, T):
    x = z @ torch.matrix_exp(-T * A).T
    return x, -0.5 * (z**2).sum(dim=1) - 0.5 * math.log(2 * math.pi) + T * torch.trace(A)


SAMPLE_WITH_DENSITY = Exercise(
    id="lab09-10.density.noise",
    name="sample_with_density",
    stub='''
def sample_with_density(z, A, T):
    """Where dx/dt = A x brings noise z (n, d) from t = T back to t = 0, (n, d), and ln p at t = 0 there, (n,)."""
    ...  # your code
''',
    solution=sample_with_density,
    alternative=sample_with_density_by_determinant,
    why=(
        "Back in time the flow is exp(-T A). Its divergence is tr A everywhere, so by equation (5) of notebook 09 the\n"
        "density at x is that of the noise at z, times the determinant of exp(T A)."
    ),
    truth=sample_with_density_truth,
    cases=sample_with_density_cases,
    parts=("x", "ln p"),
    hints=(),
    wrong=(
        Wrong(
            "the flow forwards",
            sample_forwards,
            "You follow the flow forwards. The noise sits at t = T, and you are to go back to t = 0.",
            UNSEEN,
        ),
        Wrong(
            "the sign of the divergence",
            sample_with_the_other_sign,
            "The sign of the divergence is wrong. Where the flow spreads the points on their way to the noise, they "
            "were denser before.",
            UNSEEN,
        ),
        Wrong(
            "no divergence",
            sample_with_the_density_of_noise,
            "You return the density of the noise. On the way back the flow changes the distances of the points, and "
            "with them the density.",
            UNSEEN,
        ),
        Wrong(
            "the density of noise at x",
            sample_looked_up_at_x,
            "You look up the normal density at x. The density at t = T is normal, so it is z that belongs there.",
            UNSEEN,
        ),
        Wrong(
            "rows and columns",
            sample_with_rows_for_columns,
            "Your points are multiplied by the transposed matrix. Each point is a row of z, but A acts on columns.",
            UNSEEN,
        ),
        Wrong(
            "one axis in the constant",
            sample_with_one_constant,
            "The constant of the normal density is that of one axis. Each of the d axes brings its own.",
            "ericjang/draw#2",
        ),
    ),
)

DENSITY = Problem(
    name="density",
    points=4,
    variants=(
        Variant(
            LOG_DENSITY_OF_FLOW,
            "Suppose the velocity of an ODE is linear and does not change with time: $dx/dt = Ax$, where a point $x$ "
            "is "
            "a column. From $t = 0$ to $t = T$ it carries the data to noise, and at $t = T$ the density is $\\mathcal "
            "N(0, I)$. What is $\\ln p_0(x)$, the logarithm of the density of the data in nats? `x`, of shape (n, d), "
            "holds one point in each row. `A` has the shape (d, d), is not symmetric, and `T` is a positive number. "
            "Compute it exactly, and make no steps in time: `torch.linalg.matrix_exp` is the exponential of a matrix. "
            "Return (n,).",
            "notebook 09, section 7",
        ),
        Variant(
            SAMPLE_WITH_DENSITY,
            "Suppose the velocity of an ODE is linear and does not change with time: $dx/dt = Ax$, where a point $x$ "
            "is "
            "a column. From $t = 0$ to $t = T$ it carries the data to noise, and at $t = T$ the density is $\\mathcal "
            "N(0, I)$. Follow it back from given noise to the data. `z`, of shape (n, d), holds one point at $t = T$ "
            "in "
            "each row. `A` has the shape (d, d), is not symmetric, and `T` is a positive number. Compute it exactly, "
            "and make no steps in time: `torch.linalg.matrix_exp` is the exponential of a matrix. Return two tensors: "
            "the points at $t = 0$, (n, d), and $\\ln p_0$, the logarithm of the density of the data in nats, at these "
            "points, (n,).",
            "notebook 09, section 7",
        ),
    ),
)


# step: two more methods of order 2, in steps of u, on a path that preserves the variance


def tanh_denoiser(x, u):
    """What some denoiser takes for x0, at points x (B, d) of the path and the level u. Returns (B, d)."""
    return torch.tanh((1.5 * x + 0.5 * x.flip(1)) / (0.4 + u))


def step_by_table(denoise, x, u, w, node, weights):
    """A step of a method with two slopes: at the start, and at a share `node` of the step. It works in x / alpha."""

    def slope(y, level):
        hypotenuse = math.hypot(1, level)
        return (y - denoise(y / hypotenuse, level)) / level

    y, length = math.hypot(1, u) * x, w - u
    k1 = slope(y, u)
    k2 = slope(y + node * length * k1, u + node * length)
    return (y + length * (weights[0] * k1 + weights[1] * k2)) / math.hypot(1, w)


def midpoint_step(denoise, x, u, w):
    m = math.sqrt(u * w)
    y = x * math.sqrt(1 + u**2)  # in units of the signal
    half = y + (m - u) * (y - denoise(x, u)) / u
    slope = (half - denoise(half / math.sqrt(1 + m**2), m)) / m
    return (y + (w - u) * slope) / math.sqrt(1 + w**2)


def midpoint_step_by_estimates(denoise, x, u, w):
    alpha_t, alpha_m, alpha_s = ((1 + level**2) ** -0.5 for level in (u, (u * w) ** 0.5, w))
    x0_hat = denoise(x, u)
    eps_hat = (x - alpha_t * x0_hat) / (alpha_t * u)
    middle = alpha_m * (x0_hat + (u * w) ** 0.5 * eps_hat)  # a step of DDIM
    eps_middle = (middle / alpha_m - denoise(middle, (u * w) ** 0.5)) / (u * w) ** 0.5
    return alpha_s * (x / alpha_t + (w - u) * eps_middle)


def midpoint_step_truth(denoise, x, u, w):
    return step_by_table(denoise, x, u, w, (math.sqrt(u * w) - u) / (w - u), (0.0, 1.0))


def step_cases(g):
    u = between(g, 1.2, 2.0)
    return (
        Case((tanh_denoiser, double(1.0, -0.5)[None], 1.5, 0.6), "tanh_denoiser, x = (1, -0.5), u = 1.5 and w = 0.6"),
        Case((tanh_denoiser, normals(g, 5, 3), u, between(g, 0.3, 0.5)), "hidden points with three coordinates"),
    )


def midpoint_without_scaling(denoise, x, u, w):
    m = math.sqrt(u * w)
    y = x * math.sqrt(1 + u**2)
    half = y + (m - u) * (y - denoise(x, u)) / u
    slope = (half - denoise(half, m)) / m
    return (y + (w - u) * slope) / math.sqrt(1 + w**2)


def midpoint_with_the_first_level(denoise, x, u, w):
    m = math.sqrt(u * w)
    y = x * math.sqrt(1 + u**2)
    half = y + (m - u) * (y - denoise(x, u)) / u
    slope = (half - denoise(half / math.sqrt(1 + m**2), m)) / u
    return (y + (w - u) * slope) / math.sqrt(1 + w**2)


def midpoint_from_the_middle(denoise, x, u, w):
    m = math.sqrt(u * w)
    y = x * math.sqrt(1 + u**2)
    half = y + (m - u) * (y - denoise(x, u)) / u
    slope = (half - denoise(half / math.sqrt(1 + m**2), m)) / m
    return (half + (w - u) * slope) / math.sqrt(1 + w**2)


def midpoint_half_way(denoise, x, u, w):
    m = (u + w) / 2
    y = x * math.sqrt(1 + u**2)
    half = y + (m - u) * (y - denoise(x, u)) / u
    slope = (half - denoise(half / math.sqrt(1 + m**2), m)) / m
    return (y + (w - u) * slope) / math.sqrt(1 + w**2)


def midpoint_in_units_of_the_signal(denoise, x, u, w):
    m = math.sqrt(u * w)
    y = x * math.sqrt(1 + u**2)
    half = y + (m - u) * (y - denoise(x, u)) / u
    slope = (half - denoise(half / math.sqrt(1 + m**2), m)) / m
    return y + (w - u) * slope


def midpoint_told_the_start(denoise, x, u, w):
    m = math.sqrt(u * w)
    y = x * math.sqrt(1 + u**2)
    half = y + (m - u) * (y - denoise(x, u)) / u
    slope = (half - denoise(half / math.sqrt(1 + m**2), u)) / m
    return (y + (w - u) * slope) / math.sqrt(1 + w**2)


MIDPOINT_STEP = Exercise(
    id="lab09-10.step.midpoint",
    name="midpoint_step",
    stub='''
def midpoint_step(denoise, x, u, w):
    """One step of the midpoint method from the level u to w, where alpha² + sigma² = 1. x: (B, d). Returns (B, d)."""
    ...  # your code
''',
    solution=midpoint_step,
    alternative=midpoint_step_by_estimates,
    why=(
        "x / alpha is x times sqrt(1 + u²). The first slope only leads to the middle, and the slope there serves for "
        "the\n"
        "whole step, which starts from the start. The denoiser wants points of the path, so the middle is scaled back."
    ),
    truth=midpoint_step_truth,
    cases=step_cases,
    hints=(),
    wrong=(
        Wrong(
            "the middle is not scaled",
            midpoint_without_scaling,
            "In the middle you hand the denoiser a point in units of the signal. It expects a point of the path, as it "
            "gets it at the start.",
            "deepinv/deepinv#736",
        ),
        Wrong(
            "the first level in the second slope",
            midpoint_with_the_first_level,
            "Your second slope is divided by the level of the start. The noise was estimated in the middle, where the "
            "level is another one.",
            "huggingface/diffusers#1512",
        ),
        Wrong(
            "on from the middle",
            midpoint_from_the_middle,
            "You go on from the middle with a whole step. The middle only shows the slope; the step is made from the "
            "start.",
            UNSEEN,
        ),
        Wrong(
            "the middle in u",
            midpoint_half_way,
            "Your middle is the mean of the two levels. The prompt asks for their geometric mean, the middle in ln u.",
            UNSEEN,
        ),
        Wrong(
            "not scaled back",
            midpoint_in_units_of_the_signal,
            "You return the point in units of the signal. It has to be a point of the path again, at the new level.",
            UNSEEN,
        ),
        Wrong(
            "the denoiser is told the start",
            midpoint_told_the_start,
            "In the middle you tell the denoiser the level of the start. It cannot see how noisy the point is.",
            UNSEEN,
        ),
    ),
)


def ralston_step(denoise, x, u, w):
    m = u + 2 / 3 * (w - u)
    y = x * math.sqrt(1 + u**2)  # in units of the signal
    first = (y - denoise(x, u)) / u
    there = y + (m - u) * first
    second = (there - denoise(there / math.sqrt(1 + m**2), m)) / m
    return (y + (w - u) * (first + 3 * second) / 4) / math.sqrt(1 + w**2)


def ralston_step_by_estimates(denoise, x, u, w):
    m = (u + 2 * w) / 3
    alpha_t, alpha_m, alpha_s = ((1 + level**2) ** -0.5 for level in (u, m, w))
    x0_hat = denoise(x, u)
    eps_hat = (x - alpha_t * x0_hat) / (alpha_t * u)
    there = alpha_m * (x0_hat + m * eps_hat)  # a step of DDIM
    eps_there = (there / alpha_m - denoise(there, m)) / m
    return alpha_s * (x / alpha_t + (w - u) * (0.25 * eps_hat + 0.75 * eps_there))


def ralston_step_truth(denoise, x, u, w):
    return step_by_table(denoise, x, u, w, 2 / 3, (1 / 4, 3 / 4))


def ralston_without_scaling(denoise, x, u, w):
    m = u + 2 / 3 * (w - u)
    y = x * math.sqrt(1 + u**2)
    first = (y - denoise(x, u)) / u
    there = y + (m - u) * first
    second = (there - denoise(there, m)) / m
    return (y + (w - u) * (first + 3 * second) / 4) / math.sqrt(1 + w**2)


def ralston_with_the_first_level(denoise, x, u, w):
    m = u + 2 / 3 * (w - u)
    y = x * math.sqrt(1 + u**2)
    first = (y - denoise(x, u)) / u
    there = y + (m - u) * first
    second = (there - denoise(there / math.sqrt(1 + m**2), m)) / u
    return (y + (w - u) * (first + 3 * second) / 4) / math.sqrt(1 + w**2)


def ralston_from_there(denoise, x, u, w):
    m = u + 2 / 3 * (w - u)
    y = x * math.sqrt(1 + u**2)
    first = (y - denoise(x, u)) / u
    there = y + (m - u) * first
    second = (there - denoise(there / math.sqrt(1 + m**2), m)) / m
    return (there + (w - u) * (first + 3 * second) / 4) / math.sqrt(1 + w**2)


def ralston_with_weights_exchanged(denoise, x, u, w):
    m = u + 2 / 3 * (w - u)
    y = x * math.sqrt(1 + u**2)
    first = (y - denoise(x, u)) / u
    there = y + (m - u) * first
    second = (there - denoise(there / math.sqrt(1 + m**2), m)) / m
    return (y + (w - u) * (3 * first + second) / 4) / math.sqrt(1 + w**2)


def ralston_in_units_of_the_signal(denoise, x, u, w):
    m = u + 2 / 3 * (w - u)
    y = x * math.sqrt(1 + u**2)
    first = (y - denoise(x, u)) / u
    there = y + (m - u) * first
    second = (there - denoise(there / math.sqrt(1 + m**2), m)) / m
    return y + (w - u) * (first + 3 * second) / 4


def ralston_told_the_start(denoise, x, u, w):
    m = u + 2 / 3 * (w - u)
    y = x * math.sqrt(1 + u**2)
    first = (y - denoise(x, u)) / u
    there = y + (m - u) * first
    second = (there - denoise(there / math.sqrt(1 + m**2), u)) / m
    return (y + (w - u) * (first + 3 * second) / 4) / math.sqrt(1 + w**2)


RALSTON_STEP = Exercise(
    id="lab09-10.step.ralston",
    name="ralston_step",
    stub='''
def ralston_step(denoise, x, u, w):
    """One step of Ralston's method from the level u down to w, where alpha² + sigma² = 1. x: (B, d). Returns (B, d)."""
    ...  # your code
''',
    solution=ralston_step,
    alternative=ralston_step_by_estimates,
    why=(
        "x / alpha is x times sqrt(1 + u²). The first slope leads to two thirds of the step, and the step itself "
        "starts\n"
        "from the start, with the mean of both slopes. The denoiser wants points of the path, so the point in between\n"
        "is scaled back."
    ),
    truth=ralston_step_truth,
    cases=step_cases,
    hints=(),
    wrong=(
        Wrong(
            "the point in between is not scaled",
            ralston_without_scaling,
            "At two thirds of the step you hand the denoiser a point in units of the signal. It expects a point of the "
            "path, as it gets it at the start.",
            "deepinv/deepinv#736",
        ),
        Wrong(
            "the first level in the second slope",
            ralston_with_the_first_level,
            "Your second slope is divided by the level of the start. The noise was estimated further on, where the "
            "level is another one.",
            "huggingface/diffusers#1512",
        ),
        Wrong(
            "on from the point in between",
            ralston_from_there,
            "You go on from the point in between with a whole step. That point only shows the slope; the step is made "
            "from the start.",
            UNSEEN,
        ),
        Wrong(
            "the weights exchanged",
            ralston_with_weights_exchanged,
            "The weights of your two slopes are exchanged. Their mean should be the slope near the middle of the step, "
            "so the later one counts more.",
            UNSEEN,
        ),
        Wrong(
            "not scaled back",
            ralston_in_units_of_the_signal,
            "You return the point in units of the signal. It has to be a point of the path again, at the new level.",
            UNSEEN,
        ),
        Wrong(
            "the denoiser is told the start",
            ralston_told_the_start,
            "At two thirds of the step you tell the denoiser the level of the start. It cannot see how noisy the point "
            "is.",
            UNSEEN,
        ),
    ),
)

ABOUT_THE_STEP = (
    "`x`, of shape (B, d), holds points of a path $x = \\alpha x_0 + \\sigma\\varepsilon$ with $\\alpha^2 + \\sigma^2 "
    "= "
    "1$ and $\\alpha > 0$, at the level $u = \\sigma/\\alpha$. Bring them down to the level `w`, $0 < w < u$, by one "
    "step of "
)
ABOUT_THE_DENOISER = (
    " `denoise(x, u)` estimates $x_0$ from points *of the path* at the level $u$. Call it twice. The levels are plain "
    "numbers. Return points of the path at the level $w$, (B, d). For your own tests you can pass `tanh_denoiser`, "
    "from the first cell with code, as `denoise`."
)

STEP = Problem(
    name="step",
    points=4,
    variants=(
        Variant(
            MIDPOINT_STEP,
            ABOUT_THE_STEP
            + "the midpoint method for the ODE $d\\bar x/du = \\hat\\varepsilon$ of $\\bar x = x/\\alpha$: "
            "go to the level $m = \\sqrt{u\\,w}$ with the slope of the start, find the slope there, and make the whole "
            "step from the start with that second slope alone." + ABOUT_THE_DENOISER,
            "notebook 10, sections 2 and 6",
            given=(tanh_denoiser,),
        ),
        Variant(
            RALSTON_STEP,
            ABOUT_THE_STEP + "Ralston's method for the ODE $d\\bar x/du = \\hat\\varepsilon$ of $\\bar x = x/\\alpha$: "
            "go two thirds of the way, to the level $m = u + \\tfrac23(w - u)$, with the slope of the start, find the "
            "slope there, and make the whole step from the start with $\\tfrac14$ of the first slope plus $\\tfrac34$ "
            "of the second one." + ABOUT_THE_DENOISER,
            "notebook 10, sections 2 and 6",
            given=(tanh_denoiser,),
        ),
    ),
)


# grid: levels, and the times at which a path has them


def time_where(sigma_over_alpha, level):
    """By bisection: the time at which a rising function has this value."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigma_over_alpha(middle) < level else (low, middle)
    return (low + high) / 2


def flow_times(n, first, last):
    log_snr = torch.linspace(first, last, n, dtype=torch.float64)
    return torch.cat([1 / (1 + torch.exp(log_snr / 2)), torch.zeros(1, dtype=torch.float64)])


def flow_times_one_by_one(n, first, last):
    times = []
    for i in range(n):
        u = math.exp(-(first + i * (last - first) / (n - 1)) / 2)  # sigma / alpha
        times.append(u / (1 + u))
    return torch.tensor([*times, 0.0], dtype=torch.float64)


def flow_times_truth(n, first, last):
    log_snrs = [((n - 1 - i) * first + i * last) / (n - 1) for i in range(n)]
    times = [time_where(lambda t: 2 * math.log(t / (1 - t)), -log_snr) for log_snr in log_snrs]
    return torch.tensor([*times, 0.0], dtype=DOUBLE)


def flow_times_cases(g):
    n = int(torch.randint(6, 12, (), generator=g))
    return (
        Case((4, -5.0, 4.0), "4 steps, from the log-SNR -5 to 4"),
        Case((n, between(g, -7.0, -4.0), between(g, 5.0, 8.0)), "a hidden number of steps"),
    )


def flow_times_of_a_gap_too_many(n, first, last):
    log_snr = torch.linspace(first, last, n + 1, dtype=torch.float64)[:-1]
    return torch.cat([1 / (1 + torch.exp(log_snr / 2)), torch.zeros(1, dtype=torch.float64)])


def flow_times_even_in_time(n, first, last):
    ends = [1 / (1 + math.exp(log_snr / 2)) for log_snr in (first, last)]
    return torch.cat([torch.linspace(*ends, n, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])


FLOW_TIMES = Exercise(
    id="lab09-10.grid.flow",
    name="flow_times",
    stub='''
def flow_times(n, first, last):
    """n times on alpha = 1 - t, sigma = t, evenly spread in log-SNR from `first` to `last`, and then 0. (n + 1,)

    In double precision: `dtype=torch.float64`.
    """
    ...  # your code
''',
    solution=flow_times,
    alternative=flow_times_one_by_one,
    why="The log-SNR is 2 ln((1 - t) / t), so t = 1 / (1 + exp(log-SNR / 2)). n steps have n + 1 ends.",
    truth=flow_times_truth,
    cases=flow_times_cases,
    hints=(),
    wrong=(
        Wrong(
            "the half is missing",
            lambda n, first, last: torch.cat(
                [
                    1 / (1 + torch.exp(torch.linspace(first, last, n, dtype=torch.float64))),
                    torch.zeros(1, dtype=torch.float64),
                ]
            ),
            "You take the log-SNR for ln(alpha / sigma). In this course it is the logarithm of the *squared* ratio.",
            "Lu et al. 2022, section 2",
        ),
        Wrong(
            "upside down",
            lambda n, first, last: torch.cat(
                [
                    1 / (1 + torch.exp(-torch.linspace(first, last, n, dtype=torch.float64) / 2)),
                    torch.zeros(1, dtype=torch.float64),
                ]
            ),
            "Your times rise. Where the log-SNR is low there is much noise, and t is near 1.",
            UNSEEN,
        ),
        Wrong(
            "a gap too many",
            flow_times_of_a_gap_too_many,
            "Your last time before 0 does not have the log-SNR `last`. n numbers have n - 1 gaps between them.",
            "lucidrains/rectified-flow-pytorch#14",
        ),
        Wrong(
            "even in time",
            flow_times_even_in_time,
            "The ends are right, but in between your times are even in t. They should be even in log-SNR.",
            UNSEEN,
        ),
        Wrong(
            "no 0 at the end",
            lambda n, first, last: 1 / (1 + torch.exp(torch.linspace(first, last, n + 1, dtype=torch.float64) / 2)),
            "Your last time is not 0. The last step goes to the clean data.",
            UNSEEN,
        ),
        Wrong(
            "sigma of another path",
            lambda n, first, last: torch.cat(
                [
                    (1 + torch.exp(torch.linspace(first, last, n, dtype=torch.float64))) ** -0.5,
                    torch.zeros(1, dtype=torch.float64),
                ]
            ),
            "This is sigma on a path with alpha² + sigma² = 1. On this path it is alpha + sigma that is 1.",
            UNSEEN,
        ),
    ),
)


def cosine_times(n, u_max, u_min, rho):
    u = torch.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n, dtype=torch.float64) ** rho
    return torch.cat([torch.atan(u) * 2 / math.pi, torch.zeros(1, dtype=torch.float64)])


def cosine_times_one_by_one(n, u_max, u_min, rho):
    times = []
    for i in range(n):
        root = u_max ** (1 / rho) + i / (n - 1) * (u_min ** (1 / rho) - u_max ** (1 / rho))
        alpha = 1 / math.sqrt(1 + root ** (2 * rho))
        times.append(math.acos(alpha) * 2 / math.pi)
    return torch.tensor([*times, 0.0], dtype=torch.float64)


def cosine_times_truth(n, u_max, u_min, rho):
    ends = [math.exp(math.log(level) / rho) for level in (u_max, u_min)]
    levels = [(((n - 1 - i) * ends[0] + i * ends[1]) / (n - 1)) ** rho for i in range(n)]
    times = [time_where(lambda t: math.sin(math.pi * t / 2) / math.cos(math.pi * t / 2), level) for level in levels]
    return torch.tensor([*times, 0.0], dtype=DOUBLE)


def cosine_times_cases(g):
    n = int(torch.randint(6, 12, (), generator=g))
    return (
        Case((4, 20.0, 0.1, 3.0), "4 steps, from u = 20 to 0.1 with rho = 3"),
        Case((n, between(g, 30, 60), between(g, 0.03, 0.06), between(g, 4, 6)), "a hidden number of steps"),
    )


def cosine_times_of_a_gap_too_many(n, u_max, u_min, rho):
    u = torch.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n + 1, dtype=torch.float64)[:-1] ** rho
    return torch.cat([torch.atan(u) * 2 / math.pi, torch.zeros(1, dtype=torch.float64)])


def cosine_times_rho_upside_down(n, u_max, u_min, rho):
    u = torch.linspace(u_max**rho, u_min**rho, n, dtype=torch.float64) ** (1 / rho)
    return torch.cat([torch.atan(u) * 2 / math.pi, torch.zeros(1, dtype=torch.float64)])


def cosine_times_even_in_time(n, u_max, u_min, rho):
    ends = [math.atan(u) * 2 / math.pi for u in (u_max, u_min)]
    return torch.cat([torch.linspace(*ends, n, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])


def cosine_times_as_angles(n, u_max, u_min, rho):
    u = torch.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n, dtype=torch.float64) ** rho
    return torch.cat([torch.atan(u), torch.zeros(1, dtype=torch.float64)])


def cosine_times_of_the_flow(n, u_max, u_min, rho):
    u = torch.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n, dtype=torch.float64) ** rho
    return torch.cat([u / (1 + u), torch.zeros(1, dtype=torch.float64)])


def cosine_times_without_zero(n, u_max, u_min, rho):
    u = torch.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n + 1, dtype=torch.float64) ** rho
    return torch.atan(u) * 2 / math.pi


COSINE_TIMES = Exercise(
    id="lab09-10.grid.cosine",
    name="cosine_times",
    stub='''
def cosine_times(n, u_max, u_min, rho):
    """n times on alpha = cos(pi t / 2), sigma = sin(pi t / 2), even in u^(1/rho) from u_max to u_min, then 0. (n + 1,)

    In double precision: `dtype=torch.float64`.
    """
    ...  # your code
''',
    solution=cosine_times,
    alternative=cosine_times_one_by_one,
    why="u = sigma / alpha is the tangent of pi t / 2, so t = 2 atan(u) / pi. n steps have n + 1 ends.",
    truth=cosine_times_truth,
    cases=cosine_times_cases,
    hints=(),
    wrong=(
        Wrong(
            "rho upside down",
            cosine_times_rho_upside_down,
            "Your levels are even in u^rho, so that nearly all of them are high. It is a root of u in which they "
            "should "
            "be even.",
            UNSEEN,
        ),
        Wrong(
            "angles for times",
            cosine_times_as_angles,
            "You return angles. On this path t runs from 0 to 1 while the angle runs from 0 to pi / 2.",
            UNSEEN,
        ),
        Wrong(
            "a gap too many",
            cosine_times_of_a_gap_too_many,
            "Your last time before 0 does not have the level u_min. n numbers have n - 1 gaps between them.",
            "lucidrains/rectified-flow-pytorch#14",
        ),
        Wrong(
            "even in time",
            cosine_times_even_in_time,
            "The ends are right, but in between your times are even in t. They should be even in u^(1/rho).",
            UNSEEN,
        ),
        Wrong(
            "no 0 at the end",
            cosine_times_without_zero,
            "Your last time is not 0. The last step goes to the clean data.",
            UNSEEN,
        ),
        Wrong(
            "the time of another path",
            cosine_times_of_the_flow,
            "These are the times of the path alpha = 1 - t, sigma = t. On the path of the prompt alpha + sigma is not "
            "1.",
            UNSEEN,
        ),
    ),
)

GRID = Problem(
    name="grid",
    points=3,
    variants=(
        Variant(
            FLOW_TIMES,
            "A sampler makes $n$ steps on the path $\\alpha = 1 - t$, $\\sigma = t$. Which $n + 1$ times does it "
            "visit? The first $n$ of them should be evenly spread in the log-SNR $\\lambda = "
            "\\ln(\\alpha^2/\\sigma^2)$, from "
            "`first` to `last`, both included, where `first` is lower than `last`. The last one is 0, the clean data. "
            "`n` is a whole number of at least 2. Return all times in falling order, (n + 1,), in double precision.",
            "notebook 10, section 4",
        ),
        Variant(
            COSINE_TIMES,
            "A sampler makes $n$ steps on the path $\\alpha = \\cos(\\pi t/2)$, $\\sigma = \\sin(\\pi t/2)$ with "
            "Karras' levels. Which $n + 1$ times does it visit? The first $n$ levels $u = \\sigma/\\alpha$ should be "
            "evenly "
            "spread "
            "in $u^{1/\\rho}$, from `u_max` to `u_min`, both included. The last level is 0, the clean data. `n` is a "
            "whole number of at least 2. Return the *times* that belong to these levels in falling order, (n + 1,), in "
            "double precision.",
            "notebook 10, section 4",
        ),
    ),
)

LAB = Lab(
    number="09-10",
    title="SDEs and ODEs, and fast samplers",
    after=("09", "10"),
    problems=(STIR, WIDTH, DENSITY, STEP, GRID),
    plot=Plot(
        prompt=(
            "The data are $\\mathcal N(0, 1)$ on the line. Then $\\bar x = x/\\alpha$ obeys $d\\bar x/du = "
            "\\hat\\varepsilon = u\\,\\bar x/(1 + u^2)$, and the exact solution is proportional to $\\sqrt{1 + u^2}$. "
            "Start at $\\bar x = 1$ and $u = 5$ and go down to $u = 0$ by Heun's method in $u$, with Euler's step "
            "alone where a step ends at $u = 0$, as in notebook 10. Draw the absolute error of $\\bar x$ at $u = 0$ "
            "over $N$, from about 10 to 1,000 and on logarithmic axes, for three grids: (a) $u_i = 5\\,(1 - i/N)$; (b) "
            "$u_i = 5\\sqrt{1 - i/N}$; (c) the grid (b) with one more level, $0.001$, before the last one, $0$, so $N "
            "+ 1$ steps. Explain in about six sentences. Which order does each curve come near at the largest $N$? "
            "Why is (b) so much worse than (a), though both end with a step of Euler's method, and why does a single "
            "further step mend it? Support it with a number: compute on paper how large the error of the last step of "
            "(b) is for a large $N$, and compare it with your curve at $N = 1{,}000$."
        ),
        rubric=(
            (
                1,
                "The three curves are right: at N = 1,000 the errors are near 2e-6 for (a), 2e-3 for (b) and 3e-5 for "
                "(c), and for large N the slopes are near -2 for (a), -1 for (b) and almost -2 for (c).",
            ),
            (
                1,
                "The last step of (b) is from 5 / sqrt(N) to 0. Its length shrinks more slowly than 1 / N, so its "
                "error, of second order in its length, shrinks like 1 / N only and dominates. In (a) it is from 5 / N, "
                "and its error shrinks like 1 / N², as the total does.",
            ),
            (
                1,
                "The number: Euler's last step goes twice as far as the ODE, so it is off by u² / 2 times the size of "
                "the score, here 12.5 x / N. With x = 1 / sqrt(26) = 0.196 that is 2.5e-3 at N = 1,000, and 2.4e-3 is "
                "measured.",
            ),
            (
                1,
                "In (c) the long step from 5 / sqrt(N) is made by Heun's method, which looks at both ends and is of a "
                "higher order there. Euler's step alone is left with the length 0.001, and its error of 1e-7 does not "
                "depend on N.",
            ),
        ),
    ),
)
