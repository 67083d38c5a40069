"""Lab 06, exact reversal: after notebook 06."""

import math
from itertools import pairwise

import torch

from minidiff.checks.records import Case, Exercise, Wrong
from minidiff.checks.views import UNSEEN
from minidiff.workshop.labs.hidden import between, double, normals
from minidiff.workshop.labs.records import Lab, Plot, Problem, Variant

__all__ = ["LAB"]


# bridge: a time between two others at which x is known


def bridge(x_r, x_t, alpha_r, alpha_s, alpha_t):
    first, second = alpha_s / alpha_r, alpha_t / alpha_s
    v, w = 1 - first**2, 1 - second**2
    return (w * first * x_r + second * v * x_t) / (second**2 * v + w), v * w / (second**2 * v + w)


def bridge_by_gain(x_r, x_t, alpha_r, alpha_s, alpha_t):
    v, whole = 1 - (alpha_s / alpha_r) ** 2, 1 - (alpha_t / alpha_r) ** 2
    gain = alpha_t / alpha_s * v / whole
    return alpha_s / alpha_r * x_r + gain * (x_t - alpha_t / alpha_r * x_r), v - gain**2 * whole


def by_bayes(guess, guess_variance, factor, variance, x_t):
    """Mean and variance of x_s by Bayes' rule on a grid: x_s ~ N(guess, ...), and x_t = factor x_s + noise."""
    grid = torch.linspace(-15, 15, 6001, dtype=torch.float64)
    logarithm = -((grid - guess[:, None]) ** 2) / guess_variance - (x_t[:, None] - factor * grid) ** 2 / variance
    belief = torch.softmax(logarithm / 2, dim=1)
    mean = belief @ grid
    return mean, float(belief[0] @ (grid - mean[0]) ** 2)


def bridge_truth(x_r, x_t, alpha_r, alpha_s, alpha_t):
    before, after = alpha_s / alpha_r, alpha_t / alpha_s
    return by_bayes(before * x_r, 1 - before * before, after, 1 - after * after, x_t)


def bridge_cases(g):
    alphas = between(g, 0.85, 0.95), between(g, 0.6, 0.75), between(g, 0.3, 0.45)
    return (
        Case(
            (double(2.0), double(-1.0), 0.9, 0.7, 0.4),
            "x_r = 2, x_t = -1, alpha_r = 0.9, alpha_s = 0.7 and alpha_t = 0.4",
        ),
        Case((2 * normals(g, 6), 1 + normals(g, 6), *alphas), "hidden pairs of points and hidden times"),
    )


def bridge_from_data(x_r, x_t, alpha_r, alpha_s, alpha_t):
    m, v = alpha_s * x_r, 1 - alpha_s**2
    factor, w = alpha_t / alpha_s, 1 - (alpha_t / alpha_s) ** 2
    return (w * m + factor * v * x_t) / (factor**2 * v + w), v * w / (factor**2 * v + w)


def bridge_without_a_factor(x_r, x_t, alpha_r, alpha_s, alpha_t):
    m, v = alpha_s / alpha_r * x_r, 1 - (alpha_s / alpha_r) ** 2
    w = 1 - (alpha_t / alpha_s) ** 2
    return (w * m + v * x_t) / (v + w), v * w / (v + w)


def bridge_of_spreads(x_r, x_t, alpha_r, alpha_s, alpha_t):
    m, v = alpha_s / alpha_r * x_r, 1 - (alpha_s / alpha_r) ** 2
    factor, w = alpha_t / alpha_s, 1 - (alpha_t / alpha_s) ** 2
    return (w * m + factor * v * x_t) / (factor**2 * v + w), math.sqrt(v * w / (factor**2 * v + w))


def bridge_with_weights_exchanged(x_r, x_t, alpha_r, alpha_s, alpha_t):
    m, v = alpha_s / alpha_r * x_r, 1 - (alpha_s / alpha_r) ** 2
    factor, w = alpha_t / alpha_s, 1 - (alpha_t / alpha_s) ** 2
    return (factor**2 * v * m + w * x_t / factor) / (factor**2 * v + w), v * w / (factor**2 * v + w)


def bridge_with_whole_noise(x_r, x_t, alpha_r, alpha_s, alpha_t):
    m, v = alpha_s / alpha_r * x_r, 1 - (alpha_s / alpha_r) ** 2
    factor, w = alpha_t / alpha_s, 1 - alpha_t**2
    return (w * m + factor * v * x_t) / (factor**2 * v + w), v * w / (factor**2 * v + w)


BRIDGE_OF_ALPHAS = Exercise(
    id="lab06.bridge.shrinking",
    name="bridge",
    stub='''
def bridge(x_r, x_t, alpha_r, alpha_s, alpha_t):
    """Mean (n,) and variance (a number) of x_s, given x_r and x_t, (n,) each, for r < s < t. The alphas are numbers."""
    ...  # your code
''',
    solution=bridge,
    alternative=bridge_by_gain,
    why="The lemma with m = alpha_{s|r} x_r and v = 1 - alpha_{s|r}²: where x_r is known, x_0 plays no further part.",
    truth=bridge_truth,
    cases=bridge_cases,
    parts=("the mean", "the variance"),
    hints=(),
    wrong=(
        Wrong(
            "x_r taken for data",
            bridge_from_data,
            "You treat x_r as if it were x_0: your guess before x_t is seen is alpha_s x_r. But x_r has been shrunk "
            "already, and has noise.",
            UNSEEN,
        ),
        Wrong(
            "x_t not asked",
            lambda x_r, x_t, alpha_r, alpha_s, alpha_t: (alpha_s / alpha_r * x_r, 1 - (alpha_s / alpha_r) ** 2),
            "You return the step from r to s alone. x_t lies behind s, and it tells where x_s was.",
            UNSEEN,
        ),
        Wrong(
            "x_t taken for a plain measurement",
            bridge_without_a_factor,
            "You take x_t for x_s plus noise. On this path it is x_s times a factor, plus noise, and the factor counts "
            "in the mean and in the variance.",
            UNSEEN,
        ),
        Wrong(
            "weights exchanged",
            bridge_with_weights_exchanged,
            "Your two weights in the mean are exchanged. What is known more precisely has to count more.",
            UNSEEN,
        ),
        Wrong(
            "the noise since the data",
            bridge_with_whole_noise,
            "Your measurement x_t has the noise of the whole way, 1 - alpha_t². Between s and t only a part of it "
            "came.",
            "ermongroup/ddim#44",
        ),
        Wrong(
            "the standard deviation",
            bridge_of_spreads,
            "Your second number is the standard deviation. The variance is wanted, without a root.",
            UNSEEN,
        ),
    ),
)


def bridge_of_growth(x_r, x_t, sigma_r, sigma_s, sigma_t):
    v, w = sigma_s**2 - sigma_r**2, sigma_t**2 - sigma_s**2
    return (w * x_r + v * x_t) / (v + w), v * w / (v + w)


def bridge_of_growth_by_precisions(x_r, x_t, sigma_r, sigma_s, sigma_t):
    first = 1 / (sigma_s**2 - sigma_r**2)
    second = 1 / (sigma_t**2 - sigma_s**2)
    return x_r + second / (first + second) * (x_t - x_r), 1 / (first + second)


def bridge_of_growth_truth(x_r, x_t, sigma_r, sigma_s, sigma_t):
    squares = sigma_r * sigma_r, sigma_s * sigma_s, sigma_t * sigma_t
    return by_bayes(x_r, squares[1] - squares[0], 1.0, squares[2] - squares[1], x_t)


def bridge_of_growth_cases(g):
    sigmas = between(g, 0.3, 0.5), between(g, 0.9, 1.2), between(g, 1.8, 2.2)
    return (
        Case(
            (double(2.0), double(-1.0), 0.5, 0.8, 2.0),
            "x_r = 2, x_t = -1, sigma_r = 0.5, sigma_s = 0.8 and sigma_t = 2",
        ),
        Case((2 * normals(g, 6), 1 + normals(g, 6), *sigmas), "hidden pairs of points and hidden times"),
    )


def growth_from_data(x_r, x_t, sigma_r, sigma_s, sigma_t):
    v, w = sigma_s**2, sigma_t**2 - sigma_s**2
    return (w * x_r + v * x_t) / (v + w), v * w / (v + w)


def growth_of_spreads(x_r, x_t, sigma_r, sigma_s, sigma_t):
    v, w = (sigma_s - sigma_r) ** 2, (sigma_t - sigma_s) ** 2
    return (w * x_r + v * x_t) / (v + w), v * w / (v + w)


def growth_of_sigmas(x_r, x_t, sigma_r, sigma_s, sigma_t):
    v, w = sigma_s - sigma_r, sigma_t - sigma_s
    return (w * x_r + v * x_t) / (v + w), v * w / (v + w)


def growth_with_weights_exchanged(x_r, x_t, sigma_r, sigma_s, sigma_t):
    v, w = sigma_s**2 - sigma_r**2, sigma_t**2 - sigma_s**2
    return (v * x_r + w * x_t) / (v + w), v * w / (v + w)


def growth_with_whole_noise(x_r, x_t, sigma_r, sigma_s, sigma_t):
    v, w = sigma_s**2 - sigma_r**2, sigma_t**2
    return (w * x_r + v * x_t) / (v + w), v * w / (v + w)


def growth_with_a_root(x_r, x_t, sigma_r, sigma_s, sigma_t):
    v, w = sigma_s**2 - sigma_r**2, sigma_t**2 - sigma_s**2
    return (w * x_r + v * x_t) / (v + w), math.sqrt(v * w / (v + w))


BRIDGE_OF_GROWTH = Exercise(
    id="lab06.bridge.growing",
    name="bridge_of_growth",
    stub='''
def bridge_of_growth(x_r, x_t, sigma_r, sigma_s, sigma_t):
    """Mean (n,) and variance (a number) of x_s, given x_r and x_t, (n,) each, for r < s < t. The sigmas are numbers."""
    ...  # your code
''',
    solution=bridge_of_growth,
    alternative=bridge_of_growth_by_precisions,
    why="x_s is x_r plus noise, and x_t is x_s plus noise; each weighs by how little noise lies between.",
    truth=bridge_of_growth_truth,
    cases=bridge_of_growth_cases,
    parts=("the mean", "the variance"),
    hints=(),
    wrong=(
        Wrong(
            "x_r taken for data",
            growth_from_data,
            "You treat x_r as if it were x_0: your guess before x_t is seen has the variance sigma_s². But a part of "
            "that noise is in x_r already.",
            UNSEEN,
        ),
        Wrong(
            "x_t not asked",
            lambda x_r, x_t, sigma_r, sigma_s, sigma_t: (x_r, sigma_s**2 - sigma_r**2),
            "You return the step from r to s alone. x_t lies behind s, and it tells where x_s was.",
            UNSEEN,
        ),
        Wrong(
            "differences of standard deviations",
            growth_of_spreads,
            "You subtract the sigmas and then square. Variances add up from step to step, so subtract their squares.",
            "NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "weights exchanged",
            growth_with_weights_exchanged,
            "Your two weights in the mean are exchanged: the point with less noise in between has to count more.",
            UNSEEN,
        ),
        Wrong(
            "the noise since the data",
            growth_with_whole_noise,
            "Your measurement x_t has the noise of the whole way, sigma_t². Between s and t only a part of it came.",
            UNSEEN,
        ),
        Wrong(
            "the standard deviation",
            growth_with_a_root,
            "Your second number is the standard deviation. The variance is wanted, without a root.",
            UNSEEN,
        ),
        Wrong(
            "sigmas for variances",
            growth_of_sigmas,
            "You weigh by differences of the sigmas. A sigma is a standard deviation, and what adds up from step to "
            "step is the variance.",
            "NeuromatchAcademy/course-content#435",
        ),
    ),
)

BRIDGE = Problem(
    name="bridge",
    points=4,
    variants=(
        Variant(
            BRIDGE_OF_ALPHAS,
            "On a path with $\\alpha^2 + \\sigma^2 = 1$ you know a point at two times: $x_r$ at $r$ and $x_t$ at $t$, "
            "with $0 < r < s < t$. What is known about $x_s$, at the time $s$ between them? It is Gaussian, and does "
            "not depend on the law of the data. Return its mean and its variance, given both $x_r$ and $x_t$. "
            "`alpha_r`, `alpha_s` and `alpha_t` are the factors $\\alpha$ of the data at the three times, so that "
            "$x_s = \\alpha_s x_0 + \\sigma_s \\varepsilon$ and so on, and the three $x$ belong to one run of the "
            "forward process. Entry $i$ of the mean belongs to entry $i$ of $x_r$ and entry $i$ of $x_t$.",
            "notebook 06, section 2",
        ),
        Variant(
            BRIDGE_OF_GROWTH,
            "On the path of idea A of notebook 05 nothing shrinks: $x_t = x_0 + \\sigma_t\\,\\varepsilon$, where "
            "$\\sigma_t$ grows with $t$, and each step adds fresh independent noise. You know a point at two times: "
            "$x_r$ at $r$ and $x_t$ at $t$, with $0 < r < s < t$. What is known about $x_s$, at the time $s$ between "
            "them? It is Gaussian, and does not depend on the law of the data. Return its mean and its variance, "
            "given both $x_r$ and $x_t$. `sigma_r`, `sigma_s` and `sigma_t` are the standard deviations of the noise "
            "since the data at the three times. The three $x$ belong to one run of the forward process, and entry $i$ "
            "of the mean belongs to entry $i$ of $x_r$ and entry $i$ of $x_t$.",
            "notebook 06, section 2",
        ),
    ),
)


# step: one reverse step from an estimate of the noise, or of the score


def step_from_noise(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    x0 = (x_t - sigma_t * eps) / alpha_t
    mean = (factor * sigma_s**2 * x_t + alpha_s * variance * x0) / sigma_t**2
    return mean, sigma_s**2 * variance / sigma_t**2


def step_from_noise_at_once(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    added = sigma_t**2 - (alpha_t * sigma_s / alpha_s) ** 2
    return alpha_s / alpha_t * (x_t - added / sigma_t * eps), added * (sigma_s / sigma_t) ** 2


def by_regression(x_t, x0, alpha_t, sigma_t, alpha_s, sigma_s):
    """The step, if x0 is known, from the covariance of x_s and x_t."""
    covariance = alpha_t / alpha_s * sigma_s**2
    slope = covariance / sigma_t**2
    return alpha_s * x0 + slope * (x_t - alpha_t * x0), sigma_s**2 - slope * covariance


def step_from_noise_truth(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    return by_regression(x_t, x_t / alpha_t - sigma_t / alpha_t * eps, alpha_t, sigma_t, alpha_s, sigma_s)


def step_cases(word):
    """The cases of both variants: `word` is what the second argument is called."""

    def cases(g):
        later = between(g, 0.5, 0.6), between(g, 0.7, 0.8)
        earlier = between(g, 0.8, 0.9), between(g, 0.35, 0.45)
        return (
            Case(
                (double(1.0), double(-0.5), 0.6, 0.9, 0.9, 0.5),
                f"x_t = 1, {word} = -0.5, alpha_t = 0.6, sigma_t = 0.9, alpha_s = 0.9 and sigma_s = 0.5",
            ),
            Case((2 + normals(g, 5, 2), normals(g, 5, 2), *later, *earlier), "hidden points and a hidden step"),
        )

    return cases


def noise_with_forward_variance(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    return (x_t - variance / sigma_t * eps) / factor, variance


def noise_kept(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    variance = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    x0 = (x_t - sigma_t * eps) / alpha_t
    return alpha_s * x0 + sigma_s * eps, sigma_s**2 * variance / sigma_t**2


def noise_with_a_difference(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - sigma_s**2
    x0 = (x_t - sigma_t * eps) / alpha_t
    mean = (factor * sigma_s**2 * x_t + alpha_s * variance * x0) / sigma_t**2
    return mean, sigma_s**2 * variance / sigma_t**2


def noise_for_score(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    return (x_t + variance * eps) / factor, sigma_s**2 * variance / sigma_t**2


def noise_taken_in_full(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    return (x_t - math.sqrt(variance) * eps) / factor, sigma_s**2 * variance / sigma_t**2


def noise_without_sigma(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    x0 = (x_t - eps) / alpha_t
    mean = (factor * sigma_s**2 * x_t + alpha_s * variance * x0) / sigma_t**2
    return mean, sigma_s**2 * variance / sigma_t**2


def noise_of_unit_paths(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = 1 - factor**2
    x0 = (x_t - sigma_t * eps) / alpha_t
    mean = (factor * sigma_s**2 * x_t + alpha_s * variance * x0) / sigma_t**2
    return mean, sigma_s**2 * variance / sigma_t**2


STEP_FROM_NOISE = Exercise(
    id="lab06.step.noise",
    name="step_from_noise",
    stub='''
def step_from_noise(x_t, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    """Mean (of the shape of x_t) and variance (a number) of the loop's step from t to s, from an estimate eps."""
    ...  # your code
''',
    solution=step_from_noise,
    alternative=step_from_noise_at_once,
    why="The estimate of the noise says what x0 is, and the rest is the step with x0 known.",
    truth=step_from_noise_truth,
    cases=step_cases("eps"),
    parts=("the mean", "the variance"),
    hints=(),
    wrong=(
        Wrong(
            "the variance of the forward step",
            noise_with_forward_variance,
            "Your variance is that of the forward step. DDPM allows it, but the loop of notebook 06 takes the smaller "
            "one, that of x_s where x_t and x_0 are known.",
            "DDPM, section 3.2",
        ),
        Wrong(
            "the old noise kept",
            noise_kept,
            "Your mean keeps all of the noise, scaled to sigma_s. That is a step without fresh noise; where noise is "
            "added afterwards, less of the old one is kept.",
            "notebook 10",
        ),
        Wrong(
            "a difference of the path's variances",
            noise_with_a_difference,
            "You take sigma_t² - sigma_s² for the variance of the forward step. But that step has also shrunk the "
            "noise of s.",
            UNSEEN,
        ),
        Wrong(
            "the noise taken for the score",
            noise_for_score,
            "You use eps as if it were the score. The score points against the noise, and it is larger by 1 / sigma_t.",
            "acids-ircam/diffusion_models#7",
        ),
        Wrong(
            "the noise of the step in full",
            noise_taken_in_full,
            "You subtract eps as if all of it had come in the last step. It is the noise of the whole way, and the "
            "last step has only a share in it.",
            UNSEEN,
        ),
        Wrong(
            "1 - factor²",
            noise_of_unit_paths,
            "You take 1 - alpha_{t|s}² for the variance of the forward step. That needs alpha² + sigma² = 1, and here "
            "the path need not keep it.",
            "notebook 05, section 10",
        ),
        Wrong(
            "eps without its sigma",
            noise_without_sigma,
            "You subtract eps from x_t as it is. It estimates a noise of variance 1, and in x_t that noise is "
            "multiplied by sigma_t.",
            UNSEEN,
        ),
    ),
)


def step_from_score(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    x0 = (x_t + sigma_t**2 * score) / alpha_t
    mean = (factor * sigma_s**2 * x_t + alpha_s * variance * x0) / sigma_t**2
    return mean, sigma_s**2 * variance / sigma_t**2


def step_from_score_at_once(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    added = sigma_t**2 - (alpha_t * sigma_s / alpha_s) ** 2
    return alpha_s / alpha_t * (x_t + added * score), added * (sigma_s / sigma_t) ** 2


def step_from_score_truth(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    return by_regression(x_t, x_t / alpha_t + sigma_t**2 / alpha_t * score, alpha_t, sigma_t, alpha_s, sigma_s)


def score_with_forward_variance(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    return (x_t + variance * score) / factor, variance


def score_downhill(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    return (x_t - variance * score) / factor, sigma_s**2 * variance / sigma_t**2


def score_with_a_difference(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - sigma_s**2
    x0 = (x_t + sigma_t**2 * score) / alpha_t
    mean = (factor * sigma_s**2 * x_t + alpha_s * variance * x0) / sigma_t**2
    return mean, sigma_s**2 * variance / sigma_t**2


def score_for_noise(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    return (x_t + variance / sigma_t * score) / factor, sigma_s**2 * variance / sigma_t**2


def half_the_score(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = sigma_t**2 - factor**2 * sigma_s**2
    return (x_t + variance / 2 * score) / factor, sigma_s**2 * variance / sigma_t**2


def score_of_unit_paths(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    factor = alpha_t / alpha_s
    variance = 1 - factor**2
    x0 = (x_t + sigma_t**2 * score) / alpha_t
    mean = (factor * sigma_s**2 * x_t + alpha_s * variance * x0) / sigma_t**2
    return mean, sigma_s**2 * variance / sigma_t**2


STEP_FROM_SCORE = Exercise(
    id="lab06.step.score",
    name="step_from_score",
    stub='''
def step_from_score(x_t, score, alpha_t, sigma_t, alpha_s, sigma_s):
    """Mean (of the shape of x_t) and variance (a number) of the loop's step from t to s, from the score at x_t."""
    ...  # your code
''',
    solution=step_from_score,
    alternative=step_from_score_at_once,
    why="Tweedie's formula says what x0 is on average, and the rest is the step with x0 known.",
    truth=step_from_score_truth,
    cases=step_cases("score"),
    parts=("the mean", "the variance"),
    hints=(),
    wrong=(
        Wrong(
            "the variance of the forward step",
            score_with_forward_variance,
            "Your variance is that of the forward step. DDPM allows it, but the loop of notebook 06 takes the smaller "
            "one, that of x_s where x_t and x_0 are known.",
            "DDPM, section 3.2",
        ),
        Wrong(
            "downhill",
            score_downhill,
            "Your sign leads away from the data. The score points to where the density grows, and that is the way "
            "back.",
            "acids-ircam/diffusion_models#7",
        ),
        Wrong(
            "a difference of the path's variances",
            score_with_a_difference,
            "You take sigma_t² - sigma_s² for the variance of the forward step. But that step has also shrunk the "
            "noise of s.",
            UNSEEN,
        ),
        Wrong(
            "sigma for sigma²",
            score_for_noise,
            "You multiply the score by sigma_t, as if it were noise. Tweedie's formula has sigma_t² there.",
            "catalogue of the course, 06 N3",
        ),
        Wrong(
            "half of the score",
            half_the_score,
            "You take half of the score. That belongs to a way back without fresh noise, and the loop adds some.",
            "notebook 09",
        ),
        Wrong(
            "1 - factor²",
            score_of_unit_paths,
            "You take 1 - alpha_{t|s}² for the variance of the forward step. That needs alpha² + sigma² = 1, and here "
            "the path need not keep it.",
            "notebook 05, section 10",
        ),
    ),
)

STEP = Problem(
    name="step",
    points=3,
    variants=(
        Variant(
            STEP_FROM_NOISE,
            "Many networks estimate the noise and not the data. You are given $x_t = \\alpha_t x_0 + \\sigma_t "
            "\\varepsilon$ and an estimate `eps` of $\\mathbb E[\\varepsilon \\mid x_t]$, of the same shape. Return "
            "the mean $\\tilde\\mu$ and the variance $\\tilde\\sigma^2$ of the Gaussian step that the loop of "
            "notebook 06 takes from $t$ to an earlier time $s > 0$, where the estimate is treated as if it were the "
            "truth. $\\alpha$ (of the data) and $\\sigma$ (a standard deviation) at both times are numbers, and "
            "$\\alpha^2 + \\sigma^2$ need not be 1.",
            "notebook 06, sections 2 and 3",
        ),
        Variant(
            STEP_FROM_SCORE,
            "Some networks estimate the score and not the data. You are given $x_t = \\alpha_t x_0 + \\sigma_t "
            "\\varepsilon$ and the score $\\nabla \\ln p_t(x_t)$, of the same shape. Return the mean $\\tilde\\mu$ "
            "and the variance $\\tilde\\sigma^2$ of the Gaussian step that the loop of notebook 06 takes from $t$ to "
            "an earlier time $s > 0$, where $\\mathbb E[x_0 \\mid x_t]$ is treated as if it were $x_0$. $\\alpha$ (of "
            "the data) and $\\sigma$ (a standard deviation) at both times are numbers, and $\\alpha^2 + \\sigma^2$ "
            "need not be 1.",
            "notebook 06, sections 2 and 9",
        ),
    ),
)


# denoise: the exact denoiser of a training set, under another noise


def denoise_laplace(x_t, alpha, b, points):
    distances = torch.cdist(x_t, alpha * points, p=1)
    return torch.softmax(-distances / b, dim=1) @ points


def denoise_laplace_in_steps(x_t, alpha, b, points):
    exponents = -(x_t.unsqueeze(1) - alpha * points).abs().sum(dim=2) / b
    odds = torch.exp(exponents - exponents.max(dim=1, keepdim=True).values)
    return torch.einsum("bn,nd->bd", odds / odds.sum(dim=1, keepdim=True), points)


def weighed(x_t, points, log_density):
    """The mean of the points, weighed by a density of each, one x_t after another."""
    rows = []
    for x in x_t:
        logs = [float(log_density(x, point)) for point in points]
        odds = [math.exp(value - max(logs)) for value in logs]
        rows.append(sum(share * point for share, point in zip(odds, points, strict=True)) / math.fsum(odds))
    return torch.stack(rows)


def denoise_laplace_truth(x_t, alpha, b, points):
    return weighed(x_t, points, lambda x, x0: torch.distributions.Laplace(alpha * x0, b).log_prob(x).sum())


def training_set(g, n):
    return 1.5 * normals(g, n, 2)


def denoise_laplace_cases(g):
    plain = double(1.0, 0.0), double(-1.0, 2.0), double(0.0, -1.0)
    far = 1000.0 * double(1.0, -2.0)[None] + normals(g, 3, 2)
    points = training_set(g, 6)
    return (
        Case(
            (double(0.3, 0.4)[None], 0.8, 0.5, torch.stack(plain)),
            "x_t = (0.3, 0.4), alpha = 0.8, b = 0.5 and the points (1, 0), (-1, 2) and (0, -1)",
        ),
        Case((normals(g, 8, 2), between(g, 0.6, 0.7), between(g, 0.6, 0.8), points), "a hidden training set"),
        Case((far, between(g, 0.6, 0.7), between(g, 0.6, 0.8), points), "places far from all points"),
    )


DENOISE_LAPLACE = Exercise(
    id="lab06.denoise.laplace",
    name="denoise_laplace",
    stub='''
def denoise_laplace(x_t, alpha, b, points):
    """E[x0 | x_t], (B, 2), for a training set, points (N, 2), and Laplace noise of scale b.

    x_t: (B, 2), also far out.
    """
    ...  # your code
''',
    solution=denoise_laplace,
    alternative=denoise_laplace_in_steps,
    why="Only the logarithm of the density changes: minus the sum of the distances along the axes, over b.",
    truth=denoise_laplace_truth,
    cases=denoise_laplace_cases,
    hints=(),
    wrong=(
        Wrong(
            "the softmax of Gaussian noise",
            lambda x_t, alpha, b, points: (
                torch.softmax(-(torch.cdist(x_t, alpha * points) ** 2) / (2 * b**2), dim=1) @ points
            ),
            "Your responsibilities are those of Gaussian noise. The density of this noise falls with the distance and "
            "not with its square.",
            "notebook 06, section 11",
        ),
        Wrong(
            "the straight distance",
            lambda x_t, alpha, b, points: torch.softmax(-torch.cdist(x_t, alpha * points) / b, dim=1) @ points,
            "You take the straight distance. The axes are independent, so their densities multiply, and what adds up "
            "is the distance along each axis.",
            UNSEEN,
        ),
        Wrong(
            "alpha missing",
            lambda x_t, alpha, b, points: torch.softmax(-torch.cdist(x_t, points, p=1) / b, dim=1) @ points,
            "You compare x_t with the points themselves. The noise sits around alpha times a point.",
            "catalogue of the course, 06 N2",
        ),
        Wrong(
            "alpha times the mean",
            lambda x_t, alpha, b, points: (
                torch.softmax(-torch.cdist(x_t, alpha * points, p=1) / b, dim=1) @ (alpha * points)
            ),
            "Your result is alpha times too small: it is the mean of alpha x0. Average the points themselves.",
            UNSEEN,
        ),
        Wrong(
            "b squared",
            lambda x_t, alpha, b, points: (
                torch.softmax(-torch.cdist(x_t, alpha * points, p=1) / (2 * b**2), dim=1) @ points
            ),
            "You divide by 2 b², as for Gaussian noise. Look at the density again: b stands there without a square.",
            UNSEEN,
        ),
        Wrong(
            "0 / 0 far out",
            lambda x_t, alpha, b, points: (
                torch.exp(-torch.cdist(x_t, alpha * points, p=1) / b)
                @ points
                / torch.exp(-torch.cdist(x_t, alpha * points, p=1) / b).sum(dim=1, keepdim=True)
            ),
            "Your formula is right, but far from all points every exponential is 0 in the computer, and the result is "
            "0 / 0. Only differences of the exponents matter.",
            "rust-ml/linfa#443",
        ),
    ),
)


def denoise_by_axis(x_t, alpha, sigmas, points):
    away = (x_t[:, None] - alpha * points) / sigmas
    return torch.softmax(-(away**2).sum(dim=2) / 2, dim=1) @ points


def denoise_by_axis_with_distances(x_t, alpha, sigmas, points):
    squares = torch.cdist(x_t / sigmas, alpha * points / sigmas, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    nearest = squares.min(dim=1, keepdim=True).values
    odds = torch.exp((nearest - squares) / 2)
    return odds @ points / odds.sum(dim=1, keepdim=True)


def denoise_by_axis_truth(x_t, alpha, sigmas, points):
    return weighed(x_t, points, lambda x, x0: torch.distributions.Normal(alpha * x0, sigmas).log_prob(x).sum())


def denoise_by_axis_cases(g):
    plain = double(1.0, 0.0), double(-1.0, 2.0), double(0.0, -1.0)
    far = 1000.0 * double(1.0, -2.0)[None] + normals(g, 3, 2)
    points = training_set(g, 6)
    sigmas = double(between(g, 0.5, 0.6), between(g, 1.0, 1.2))
    return (
        Case(
            (double(0.3, 0.4)[None], 0.8, double(0.6, 1.2), torch.stack(plain)),
            "x_t = (0.3, 0.4), alpha = 0.8, sigmas = (0.6, 1.2) and the points (1, 0), (-1, 2) and (0, -1)",
        ),
        Case((normals(g, 8, 2), between(g, 0.6, 0.7), sigmas, points), "a hidden training set"),
        Case((far, between(g, 0.6, 0.7), sigmas, points), "places far from all points"),
    )


def axes_without_alpha(x_t, alpha, sigmas, points):
    away = (x_t[:, None] - points) / sigmas
    return torch.softmax(-(away**2).sum(dim=2) / 2, dim=1) @ points


def axes_with_one_sigma(x_t, alpha, sigmas, points):
    squares = ((x_t[:, None] - alpha * points) ** 2).sum(dim=2)
    return torch.softmax(-squares / (2 * (sigmas**2).mean()), dim=1) @ points


def axes_with_variances(x_t, alpha, sigmas, points):
    squares = (x_t[:, None] - alpha * points) ** 2 / sigmas
    return torch.softmax(-squares.sum(dim=2) / 2, dim=1) @ points


def axes_with_fourth_powers(x_t, alpha, sigmas, points):
    away = (x_t[:, None] - alpha * points) / sigmas**2
    return torch.softmax(-(away**2).sum(dim=2) / 2, dim=1) @ points


def alpha_times_the_mean(x_t, alpha, sigmas, points):
    away = (x_t[:, None] - alpha * points) / sigmas
    return torch.softmax(-(away**2).sum(dim=2) / 2, dim=1) @ (alpha * points)


def axes_without_half(x_t, alpha, sigmas, points):
    away = (x_t[:, None] - alpha * points) / sigmas
    return torch.softmax(-(away**2).sum(dim=2), dim=1) @ points


def axes_on_their_own(x_t, alpha, sigmas, points):
    away = (x_t[:, None] - alpha * points) / sigmas
    return (torch.softmax(-(away**2) / 2, dim=1) * points).sum(dim=1)


def axes_underflow(x_t, alpha, sigmas, points):
    away = (x_t[:, None] - alpha * points) / sigmas
    odds = torch.exp(-(away**2).sum(dim=2) / 2)
    return odds @ points / odds.sum(dim=1, keepdim=True)


DENOISE_BY_AXIS = Exercise(
    id="lab06.denoise.axes",
    name="denoise_by_axis",
    stub='''
def denoise_by_axis(x_t, alpha, sigmas, points):
    """E[x0 | x_t], (B, 2), for a training set, points (N, 2), and noise of standard deviations sigmas (2,).

    x_t: (B, 2), also far out.
    """
    ...  # your code
''',
    solution=denoise_by_axis,
    alternative=denoise_by_axis_with_distances,
    why="Divide each axis by its own sigma first; then it is the softmax of section 11 with sigma = 1.",
    truth=denoise_by_axis_truth,
    cases=denoise_by_axis_cases,
    hints=(),
    wrong=(
        Wrong(
            "alpha missing",
            axes_without_alpha,
            "You compare x_t with the points themselves. The noise sits around alpha times a point.",
            "catalogue of the course, 06 N2",
        ),
        Wrong(
            "one sigma for both axes",
            axes_with_one_sigma,
            "You use the mean variance on both axes. Along the axis with less noise a distance says more.",
            UNSEEN,
        ),
        Wrong(
            "sigma for sigma²",
            axes_with_variances,
            "You divide the squares by sigma. The exponent of a Gaussian has its variance below the line.",
            "NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "the half missing",
            axes_without_half,
            "You have left out the 1/2 in the exponent, so your responsibilities are those of smaller noise.",
            UNSEEN,
        ),
        Wrong(
            "each axis on its own",
            axes_on_their_own,
            "You take a softmax for each axis. A point has one responsibility, and both axes decide it together.",
            UNSEEN,
        ),
        Wrong(
            "0 / 0 far out",
            axes_underflow,
            "Your formula is right, but far from all points every exponential is 0 in the computer, and the result is "
            "0 / 0. Only differences of the exponents matter.",
            "rust-ml/linfa#443",
        ),
        Wrong(
            "sigma squared before the square",
            axes_with_fourth_powers,
            "You divide by sigma² and square afterwards, so sigma stands there in its fourth power.",
            UNSEEN,
        ),
        Wrong(
            "alpha times the mean",
            alpha_times_the_mean,
            "Your result is alpha times too small: it is the mean of alpha x0. Average the points themselves.",
            UNSEEN,
        ),
    ),
)

DENOISE = Problem(
    name="denoise",
    points=3,
    variants=(
        Variant(
            DENOISE_LAPLACE,
            "The noise is not Gaussian here: $x_t = \\alpha\\, x_0 + n$, where $n$ is independent of $x_0$ and its "
            "two coordinates $n_1$ and $n_2$ are independent, each with Laplace's density $\\frac{1}{2b}\\, e^{-|n_i| "
            "/ b}$. $x_0$ is one of the $N$ rows of `points`, each with the probability $1/N$. $\\alpha$ and $b$ are "
            "numbers. Return $\\mathbb E[x_0 \\mid x_t]$ for each row of `x_t`. The result has to be finite and right "
            "for places far from all points too.",
            "notebook 06, section 11",
        ),
        Variant(
            DENOISE_BY_AXIS,
            "The noise is not the same on both axes: $x_t = \\alpha\\, x_0 + n$, where $n$ is Gaussian with mean 0 and "
            "independent of $x_0$, and its two coordinates are independent with the standard deviations `sigmas[0]` "
            "and `sigmas[1]`. $x_0$ is one of the $N$ rows of `points`, each with the probability $1/N$. $\\alpha$ is "
            "a number. Return $\\mathbb E[x_0 \\mid x_t]$ for each row of `x_t`. The result has to be finite and right "
            "for places far from all points too.",
            "notebook 06, section 11",
        ),
    ),
)


# spread: what is not known about x0 where x_t is known


def posterior_variance(x_t, alpha, sigma, weights, means, variances):
    total = alpha**2 * variances + sigma**2
    away = x_t[:, None] - alpha * means
    r = torch.softmax(torch.log(weights) - away**2 / (2 * total) - torch.log(total) / 2, dim=1)
    centres = means + alpha * variances / total * away
    mean = (r * centres).sum(dim=1, keepdim=True)
    return (r * (variances * sigma**2 / total + (centres - mean) ** 2)).sum(dim=1)


def posterior_variance_by_moments(x_t, alpha, sigma, weights, means, variances):
    component = torch.distributions.Normal(alpha * means, torch.sqrt(alpha**2 * variances + sigma**2))
    density = weights * component.log_prob(x_t[:, None]).exp()
    r = density / density.sum(dim=1, keepdim=True)
    within = 1 / (1 / variances + alpha**2 / sigma**2)
    centres = within * (means / variances + alpha * x_t[:, None] / sigma**2)
    return (r * (within + centres**2)).sum(dim=1) - (r * centres).sum(dim=1) ** 2


def posterior_variance_truth(x_t, alpha, sigma, weights, means, variances):  # Bayes' rule on a grid of x0
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    prior = torch.zeros_like(grid)
    for share, centre, size in zip(weights.tolist(), means.tolist(), variances.tolist(), strict=True):
        prior += share / math.sqrt(size) * torch.exp(-((grid - centre) ** 2) / size / 2)
    belief = prior * torch.exp(-((x_t[:, None] - alpha * grid) ** 2) / sigma**2 / 2)
    belief = belief / belief.sum(dim=1, keepdim=True)
    return (belief * (grid - (belief @ grid)[:, None]) ** 2).sum(dim=1)


def posterior_variance_cases(g):
    mixture = double(0.5, 0.2, 0.3), double(-2.0, 0.5, 2.5), double(0.2, 1.2, 0.5)
    places = torch.linspace(-2, 2, 9, dtype=torch.float64) + 0.1 * normals(g, 9)
    return (
        Case(
            (double(0.2), 0.8, 0.6, double(0.3, 0.7), double(-1.0, 1.0), double(0.25, 0.1)),
            "x_t = 0.2, alpha = 0.8, sigma = 0.6, weights 0.3 and 0.7, means -1 and 1, variances 0.25 and 0.1",
        ),
        Case((places, between(g, 0.5, 0.7), between(g, 0.65, 0.75), *mixture), "hidden places and three components"),
    )


def within_alone(x_t, alpha, sigma, weights, means, variances):
    total = alpha**2 * variances + sigma**2
    away = x_t[:, None] - alpha * means
    r = torch.softmax(torch.log(weights) - away**2 / (2 * total) - torch.log(total) / 2, dim=1)
    return (r * variances * sigma**2 / total).sum(dim=1)


def between_alone(x_t, alpha, sigma, weights, means, variances):
    total = alpha**2 * variances + sigma**2
    away = x_t[:, None] - alpha * means
    r = torch.softmax(torch.log(weights) - away**2 / (2 * total) - torch.log(total) / 2, dim=1)
    centres = means + alpha * variances / total * away
    mean = (r * centres).sum(dim=1, keepdim=True)
    return (r * (centres - mean) ** 2).sum(dim=1)


def widths_of_the_data(x_t, alpha, sigma, weights, means, variances):
    total = alpha**2 * variances + sigma**2
    away = x_t[:, None] - alpha * means
    r = torch.softmax(torch.log(weights) - away**2 / (2 * total) - torch.log(total) / 2, dim=1)
    centres = means + alpha * variances / total * away
    mean = (r * centres).sum(dim=1, keepdim=True)
    return (r * (variances + (centres - mean) ** 2)).sum(dim=1)


def centres_of_the_data(x_t, alpha, sigma, weights, means, variances):
    total = alpha**2 * variances + sigma**2
    away = x_t[:, None] - alpha * means
    r = torch.softmax(torch.log(weights) - away**2 / (2 * total) - torch.log(total) / 2, dim=1)
    mean = (r * means).sum(dim=1, keepdim=True)
    return (r * (variances * sigma**2 / total + (means - mean) ** 2)).sum(dim=1)


def weights_of_the_data(x_t, alpha, sigma, weights, means, variances):
    total = alpha**2 * variances + sigma**2
    centres = means + alpha * variances / total * (x_t[:, None] - alpha * means)
    mean = (weights * centres).sum(dim=1, keepdim=True)
    return (weights * (variances * sigma**2 / total + (centres - mean) ** 2)).sum(dim=1)


def responsibilities_without_widths(x_t, alpha, sigma, weights, means, variances):
    total = alpha**2 * variances + sigma**2
    away = x_t[:, None] - alpha * means
    r = torch.softmax(torch.log(weights) - away**2 / (2 * total), dim=1)
    centres = means + alpha * variances / total * away
    mean = (r * centres).sum(dim=1, keepdim=True)
    return (r * (variances * sigma**2 / total + (centres - mean) ** 2)).sum(dim=1)


def mean_of_squares(x_t, alpha, sigma, weights, means, variances):
    total = alpha**2 * variances + sigma**2
    away = x_t[:, None] - alpha * means
    r = torch.softmax(torch.log(weights) - away**2 / (2 * total) - torch.log(total) / 2, dim=1)
    centres = means + alpha * variances / total * away
    return (r * (variances * sigma**2 / total + centres**2)).sum(dim=1)


POSTERIOR_VARIANCE = Exercise(
    id="lab06.spread.mixture",
    name="posterior_variance",
    stub='''
def posterior_variance(x_t, alpha, sigma, weights, means, variances):
    """Var[x0 | x_t] of a mixture on the line, (B,). x_t: (B,); alpha, sigma: numbers at t; the rest: (K,)."""
    ...  # your code
''',
    solution=posterior_variance,
    alternative=posterior_variance_by_moments,
    why="The mean of the variances within the components, plus that of their means, all by responsibility.",
    truth=posterior_variance_truth,
    cases=posterior_variance_cases,
    hints=(),
    wrong=(
        Wrong(
            "within the components alone",
            within_alone,
            "You average the variances within the components. That x_t does not tell which component it came from "
            "makes x0 uncertain too.",
            UNSEEN,
        ),
        Wrong(
            "between the components alone",
            between_alone,
            "Your variance is that of the components' means. Within a component x0 is not certain either.",
            UNSEEN,
        ),
        Wrong(
            "variances of the data",
            widths_of_the_data,
            "Within a component you take the variance of the data. But x_t is known, and it makes x0 more certain.",
            UNSEEN,
        ),
        Wrong(
            "means of the data",
            centres_of_the_data,
            "Your spread between the components is that of their means before x_t is seen. x_t moves the mean of x0 "
            "within each component.",
            UNSEEN,
        ),
        Wrong(
            "weights for responsibilities",
            weights_of_the_data,
            "You weigh the components by their weights, wherever x_t is. Where it landed tells which component it came "
            "from.",
            UNSEEN,
        ),
        Wrong(
            "the mean of the squares",
            mean_of_squares,
            "You return E[x0² | x_t]. A variance is measured around the mean.",
            UNSEEN,
        ),
        Wrong(
            "exponentials for densities",
            responsibilities_without_widths,
            "Your responsibilities use the exponentials alone. A density also has its width below the line, and the "
            "components are not equally wide.",
            UNSEEN,
        ),
    ),
)


def set_covariance(x_t, alpha, sigma, points, weights):
    squares = torch.cdist(x_t, alpha * points) ** 2
    r = torch.softmax(torch.log(weights) - squares / (2 * sigma**2), dim=1)
    away = points - (r @ points)[:, None]
    return torch.einsum("bn,bni,bnj->bij", r, away, away)


def set_covariance_by_moments(x_t, alpha, sigma, points, weights):
    away = (x_t[:, None] - alpha * points) / sigma
    r = weights * torch.exp(-(away**2).sum(dim=2) / 2)
    r = r / r.sum(dim=1, keepdim=True)
    mean = r @ points
    second = (r[:, :, None] * points).transpose(1, 2) @ points
    return second - mean[:, :, None] * mean[:, None, :]


def set_covariance_truth(x_t, alpha, sigma, points, weights):  # from the curvature of ln p_t, by differentiation
    def log_density(x):
        noisy = torch.distributions.Normal(alpha * points, sigma)
        return torch.logsumexp(weights.log() + noisy.log_prob(x).sum(dim=1), dim=0)

    curvature = torch.stack([torch.autograd.functional.hessian(log_density, x) for x in x_t])
    return (sigma / alpha) ** 2 * (torch.eye(2, dtype=x_t.dtype) + sigma**2 * curvature)


def set_covariance_cases(g):
    plain = torch.stack([double(1.0, 0.0), double(-1.0, 2.0), double(0.0, -1.0)])
    weights = torch.softmax(normals(g, 6), dim=0)
    return (
        Case(
            (double(0.3, 0.4)[None], 0.8, 0.9, plain, double(0.5, 0.2, 0.3)),
            "x_t = (0.3, 0.4), alpha = 0.8, sigma = 0.9 and the points (1, 0), (-1, 2), (0, -1) with the weights "
            "0.5, 0.2, 0.3",
        ),
        Case(
            (normals(g, 5, 2), between(g, 0.6, 0.7), between(g, 0.65, 0.8), training_set(g, 6), weights),
            "hidden places and a hidden set of points with unequal weights",
        ),
    )


def covariance_without_weights(x_t, alpha, sigma, points, weights):
    r = torch.softmax(-(torch.cdist(x_t, alpha * points) ** 2) / (2 * sigma**2), dim=1)
    away = points - (r @ points)[:, None]
    return torch.einsum("bn,bni,bnj->bij", r, away, away)


def covariance_around_zero(x_t, alpha, sigma, points, weights):
    squares = torch.cdist(x_t, alpha * points) ** 2
    r = torch.softmax(torch.log(weights) - squares / (2 * sigma**2), dim=1)
    return torch.einsum("bn,ni,nj->bij", r, points, points)


def covariance_around_all(x_t, alpha, sigma, points, weights):
    squares = torch.cdist(x_t, alpha * points) ** 2
    r = torch.softmax(torch.log(weights) - squares / (2 * sigma**2), dim=1)
    away = points - weights @ points
    return torch.einsum("bn,ni,nj->bij", r, away, away)


def covariance_without_alpha(x_t, alpha, sigma, points, weights):
    squares = torch.cdist(x_t, points) ** 2
    r = torch.softmax(torch.log(weights) - squares / (2 * sigma**2), dim=1)
    away = points - (r @ points)[:, None]
    return torch.einsum("bn,bni,bnj->bij", r, away, away)


def covariance_of_axes(x_t, alpha, sigma, points, weights):
    squares = torch.cdist(x_t, alpha * points) ** 2
    r = torch.softmax(torch.log(weights) - squares / (2 * sigma**2), dim=1)
    away = points - (r @ points)[:, None]
    return torch.diag_embed((r[:, :, None] * away**2).sum(dim=1))


def covariance_of_the_set(x_t, alpha, sigma, points, weights):
    squares = torch.cdist(x_t, alpha * points) ** 2
    r = torch.softmax(torch.log(weights) - squares / (2 * sigma**2), dim=1)
    away = points - (r @ points)[:, None]
    return torch.einsum("n,bni,bnj->bij", weights, away, away)


SET_COVARIANCE = Exercise(
    id="lab06.spread.points",
    name="set_covariance",
    stub='''
def set_covariance(x_t, alpha, sigma, points, weights):
    """Cov[x0 | x_t], (B, 2, 2), where x0 is one of the points (N, 2), with the probabilities weights (N,).

    x_t: (B, 2). alpha, sigma: numbers at t.
    """
    ...  # your code
''',
    solution=set_covariance,
    alternative=set_covariance_by_moments,
    why="The responsibilities are the law of x0, given x_t, so its covariance is theirs, around its own mean.",
    truth=set_covariance_truth,
    cases=set_covariance_cases,
    hints=(),
    wrong=(
        Wrong(
            "the weights left out",
            covariance_without_weights,
            "Your responsibilities lack the weights of the points. A rare point is less probable, wherever x_t is.",
            UNSEEN,
        ),
        Wrong(
            "around 0",
            covariance_around_zero,
            "You return the mean of the products. A covariance is measured around the mean.",
            UNSEEN,
        ),
        Wrong(
            "around the mean of all data",
            covariance_around_all,
            "You measure around the mean of all points. Once x_t is known, the mean of x0 is another one.",
            UNSEEN,
        ),
        Wrong(
            "alpha missing",
            covariance_without_alpha,
            "You compare x_t with the points themselves. The noise sits around alpha times a point.",
            "catalogue of the course, 06 N2",
        ),
        Wrong(
            "the diagonal alone",
            covariance_of_axes,
            "You return the variances of the axes, and 0 beside them. The axes of x0 are correlated if the responsible "
            "points lie on a slope.",
            "catalogue of the course, 06 E2",
        ),
        Wrong(
            "weights for responsibilities",
            covariance_of_the_set,
            "Your mean uses responsibilities, but your covariance weighs the points by their weights. Both belong to "
            "the law of x0, given x_t.",
            UNSEEN,
        ),
    ),
)

SPREAD = Problem(
    name="spread",
    points=4,
    variants=(
        Variant(
            POSTERIOR_VARIANCE,
            "The true step back is wider than that of the loop, because $x_0$ is not certain where $x_t$ is known. "
            "How uncertain is it? The data on the line are a mixture: component $i$ has the weight $\\pi_i$, the mean "
            "$\\mu_i$ and the variance $v_i$ (`weights`, `means` and `variances`), and "
            "$x_t = \\alpha x_0 + \\sigma\\varepsilon$ with standard normal $\\varepsilon$; $\\sigma$ is a standard "
            "deviation, and $\\alpha^2 + \\sigma^2$ need not be 1. Return the variance $\\operatorname{Var}[x_0 \\mid "
            "x_t]$ at each entry of `x_t`.",
            "notebook 06, sections 4 and 5",
        ),
        Variant(
            SET_COVARIANCE,
            "The true step back is wider than that of the loop, because $x_0$ is not certain where $x_t$ is known. "
            "How uncertain is it? The data are $N$ points in the plane, and point $i$, row $i$ of `points`, has the "
            "probability `weights[i]`; these add up to 1. $x_t = \\alpha x_0 + \\sigma\\varepsilon$ with standard "
            "normal $\\varepsilon$ in the plane; $\\sigma$ is a standard deviation, and $\\alpha^2 + \\sigma^2$ need "
            "not be 1. Return the covariance matrix $\\operatorname{Cov}[x_0 \\mid x_t]$ for each row of `x_t`.",
            "notebook 06, sections 5 and 11",
        ),
    ),
)


# width: the variance that a changed loop ends with, without sampling


def tempered_variance(alphas, v0, r):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        step = 1 - (t / s) ** 2
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = (t / s * (1 - s**2) + s * step * estimate) / (1 - t**2)
        u = c**2 * u + r**2 * (1 - s**2) * step / (1 - t**2)
    return u


def coefficients(alphas, v0):
    """For all steps: the denoiser's factor, and the variance of the loop's noise, (T,) each."""
    t, s = alphas[:-1], alphas[1:]
    return t * v0 / (t**2 * v0 + 1 - t**2), (1 - s**2) * (1 - t**2 / s**2) / (1 - t**2)


def tempered_variance_at_once(alphas, v0, r):
    t, s = alphas[:-1], alphas[1:]
    estimate, noise = coefficients(alphas, v0)
    c = s * estimate + torch.sqrt(1 - s**2 - noise) * (1 - t * estimate) / torch.sqrt(1 - t**2)
    onward = torch.cat([c.flip(0).cumprod(0).flip(0), torch.ones(1, dtype=alphas.dtype)])
    return onward[0] ** 2 + (onward[1:] ** 2 * r**2 * noise).sum()


def variance_of_last(slopes, noises):
    """The variance of the last entry of the Gaussian vector x_T, ..., x_0: x = slope times the one before + noise."""
    size = len(slopes) + 1
    solve = torch.linalg.inv(torch.eye(size).double() - torch.diag(double(*slopes), -1))
    return (solve @ torch.diag(double(1.0, *noises)) @ solve.T)[-1, -1]


def precise_factor(alpha, v0):
    """The denoiser of N(0, v0), from precisions."""
    precision = alpha**2 / (1 - alpha**2)
    return precision / alpha / (1 / v0 + precision)


def tempered_variance_truth(alphas, v0, r):
    slopes, noises = [], []
    for t, s in pairwise(alphas.tolist()):
        at = t, math.sqrt(1 - t * t), s, math.sqrt(1 - s * s)
        slope, noise = by_regression(1.0, precise_factor(t, v0), *at)
        slopes.append(slope)
        noises.append(r * r * noise)
    return variance_of_last(slopes, noises)


def width_cases(word, low, high):
    """The cases of both variants: `word` is what the last argument is called."""

    def cases(g):
        alphas = torch.cat([torch.cumsum(0.08 + 0.12 * torch.rand(5, generator=g).double(), dim=0), double(1.0)])
        return (
            Case((double(0.1, 0.6, 0.8, 1.0), 0.3, 0.7), f"alphas = (0.1, 0.6, 0.8, 1), v0 = 0.3 and {word} = 0.7"),
            Case((alphas, between(g, 0.4, 0.8), between(g, low, high)), "a hidden walk"),
        )

    return cases


def tempered_by_r(alphas, v0, r):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        step = 1 - (t / s) ** 2
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = (t / s * (1 - s**2) + s * step * estimate) / (1 - t**2)
        u = c**2 * u + r * (1 - s**2) * step / (1 - t**2)
    return u


def tempered_with_c(alphas, v0, r):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        step = 1 - (t / s) ** 2
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = (t / s * (1 - s**2) + s * step * estimate) / (1 - t**2)
        u = c * u + r**2 * (1 - s**2) * step / (1 - t**2)
    return u


def tempered_with_forward_noise(alphas, v0, r):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        step = 1 - (t / s) ** 2
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = (t / s * (1 - s**2) + s * step * estimate) / (1 - t**2)
        u = c**2 * u + r**2 * step
    return u


def tempered_from_nothing(alphas, v0, r):
    u = 0.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        step = 1 - (t / s) ** 2
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = (t / s * (1 - s**2) + s * step * estimate) / (1 - t**2)
        u = c**2 * u + r**2 * (1 - s**2) * step / (1 - t**2)
    return u


def tempered_altogether(alphas, v0, r):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        step = 1 - (t / s) ** 2
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = (t / s * (1 - s**2) + s * step * estimate) / (1 - t**2)
        u = r**2 * (c**2 * u + (1 - s**2) * step / (1 - t**2))
    return u


def tempered_with_data_not_shrunk(alphas, v0, r):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        step = 1 - (t / s) ** 2
        estimate = t * v0 / (v0 + 1 - t**2)
        c = (t / s * (1 - s**2) + s * step * estimate) / (1 - t**2)
        u = c**2 * u + r**2 * (1 - s**2) * step / (1 - t**2)
    return u


def tempered_without_noise_in_data(alphas, v0, r):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        step = 1 - (t / s) ** 2
        c = (t / s * (1 - s**2) + s * step / t) / (1 - t**2)
        u = c**2 * u + r**2 * (1 - s**2) * step / (1 - t**2)
    return u


TEMPERED_VARIANCE = Exercise(
    id="lab06.width.tempered",
    name="tempered_variance",
    stub='''
def tempered_variance(alphas, v0, r):
    """The variance of the samples at t = 0, a number, if the loop's fresh noise is multiplied by r.

    alphas: (T + 1,), from noise to data, the last one is 1. The data are N(0, v0), and sigma² = 1 - alpha².
    """
    ...  # your code
''',
    solution=tempered_variance,
    alternative=tempered_variance_at_once,
    why="Each step is x_s = c x_t + r sigma z with a number c, so the variance becomes c² u + r² sigma².",
    truth=tempered_variance_truth,
    cases=width_cases("r", 0.5, 0.8),
    hints=(),
    wrong=(
        Wrong(
            "r for r²",
            tempered_by_r,
            "You multiply the variance of the noise by r. A factor before noise multiplies its variance by r².",
            UNSEEN,
        ),
        Wrong(
            "c for c²",
            tempered_with_c,
            "You multiply the variance by c. A factor multiplies a variance by its square.",
            "ermongroup/CSDI#9",
        ),
        Wrong(
            "the variance of the forward step",
            tempered_with_forward_noise,
            "Your fresh noise has the variance of the forward step. The loop's is smaller, and in the last step it is "
            "0.",
            "TeaPearce/Conditional_Diffusion_MNIST#10",
        ),
        Wrong(
            "the start forgotten",
            tempered_from_nothing,
            "You start with the variance 0. The walk starts from noise of variance 1, and a part of it is left after "
            "so few steps.",
            UNSEEN,
        ),
        Wrong(
            "all of the step multiplied",
            tempered_altogether,
            "You multiply the whole step by r. Only the fresh noise is multiplied; the mean of the step stays.",
            UNSEEN,
        ),
        Wrong(
            "x_t divided by alpha",
            tempered_without_noise_in_data,
            "Your denoiser returns x_t / alpha_t, as if there were no noise in x_t. The exact one is nearer to the "
            "mean of the data.",
            UNSEEN,
        ),
        Wrong(
            "the variance of x_t",
            tempered_with_data_not_shrunk,
            "Your denoiser takes v0 + sigma_t² for the variance of x_t. The data in x_t are multiplied by alpha_t.",
            UNSEEN,
        ),
    ),
)


def variance_with_eta(alphas, v0, eta):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        fresh = eta**2 * (1 - s**2) * (1 - (t / s) ** 2) / (1 - t**2)
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = s * estimate + math.sqrt(1 - s**2 - fresh) * (1 - t * estimate) / math.sqrt(1 - t**2)
        u = c**2 * u + fresh
    return u


def variance_with_eta_at_once(alphas, v0, eta):
    t, s = alphas[:-1], alphas[1:]
    estimate, noise = coefficients(alphas, v0)
    c = s * estimate + torch.sqrt((1 - s**2 - eta**2 * noise) / (1 - t**2)) * (1 - t * estimate)
    after = torch.cat([c.flip(0).cumprod(0).flip(0)[1:], torch.ones(1, dtype=alphas.dtype)])
    return c.prod() ** 2 + (after**2 * eta**2 * noise).sum()


def variance_with_eta_truth(alphas, v0, eta):
    slopes, noises = [], []
    for t, s in pairwise(alphas.tolist()):
        at = t, math.sqrt(1 - t * t), s, math.sqrt(1 - s * s)
        _, noise = by_regression(1.0, 0.0, *at)
        x0 = precise_factor(t, v0)
        eps = (1 - t * x0) / at[1]
        slopes.append(s * x0 + (at[3] ** 2 - eta * eta * noise) ** 0.5 * eps)
        noises.append(eta * eta * noise)
    return variance_of_last(slopes, noises)


def eta_for_its_square(alphas, v0, eta):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        fresh = eta * (1 - s**2) * (1 - (t / s) ** 2) / (1 - t**2)
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = s * estimate + math.sqrt(1 - s**2 - fresh) * (1 - t * estimate) / math.sqrt(1 - t**2)
        u = c**2 * u + fresh
    return u


def eta_beside_all_noise(alphas, v0, eta):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        fresh = eta**2 * (1 - s**2) * (1 - (t / s) ** 2) / (1 - t**2)
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = s * estimate + math.sqrt(1 - s**2) * (1 - t * estimate) / math.sqrt(1 - t**2)
        u = c**2 * u + fresh
    return u


def eta_with_c(alphas, v0, eta):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        fresh = eta**2 * (1 - s**2) * (1 - (t / s) ** 2) / (1 - t**2)
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = s * estimate + math.sqrt(1 - s**2 - fresh) * (1 - t * estimate) / math.sqrt(1 - t**2)
        u = c * u + fresh
    return u


def eta_from_nothing(alphas, v0, eta):
    u = 0.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        fresh = eta**2 * (1 - s**2) * (1 - (t / s) ** 2) / (1 - t**2)
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = s * estimate + math.sqrt(1 - s**2 - fresh) * (1 - t * estimate) / math.sqrt(1 - t**2)
        u = c**2 * u + fresh
    return u


def eta_of_independent_parts(alphas, v0, eta):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        fresh = eta**2 * (1 - s**2) * (1 - (t / s) ** 2) / (1 - t**2)
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        u = ((s * estimate) ** 2 + (1 - s**2 - fresh) * (1 - t * estimate) ** 2 / (1 - t**2)) * u + fresh
    return u


def eta_with_data_not_shrunk(alphas, v0, eta):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        fresh = eta**2 * (1 - s**2) * (1 - (t / s) ** 2) / (1 - t**2)
        estimate = t * v0 / (v0 + 1 - t**2)
        c = s * estimate + math.sqrt(1 - s**2 - fresh) * (1 - t * estimate) / math.sqrt(1 - t**2)
        u = c**2 * u + fresh
    return u


def eta_with_x_t_for_noise(alphas, v0, eta):
    u = 1.0
    for t, s in zip(alphas[:-1].tolist(), alphas[1:].tolist(), strict=True):
        fresh = eta**2 * (1 - s**2) * (1 - (t / s) ** 2) / (1 - t**2)
        estimate = t * v0 / (t**2 * v0 + 1 - t**2)
        c = s * estimate + math.sqrt(1 - s**2 - fresh)
        u = c**2 * u + fresh
    return u


VARIANCE_WITH_ETA = Exercise(
    id="lab06.width.eta",
    name="variance_with_eta",
    stub='''
def variance_with_eta(alphas, v0, eta):
    """The variance of the samples at t = 0, a number, if the steps have a share eta of the loop's fresh noise.

    alphas: (T + 1,), from noise to data, the last one is 1. The data are N(0, v0), and sigma² = 1 - alpha².
    """
    ...  # your code
''',
    solution=variance_with_eta,
    alternative=variance_with_eta_at_once,
    why="Both estimates are numbers times x_t, so x_s = c x_t + noise, and the variance becomes c² u + noise.",
    truth=variance_with_eta_truth,
    cases=width_cases("eta", 0.5, 0.8),
    hints=(),
    wrong=(
        Wrong(
            "eta for eta²",
            eta_for_its_square,
            "You multiply the variance of the noise by eta. A factor before noise multiplies its variance by its "
            "square, in both places.",
            UNSEEN,
        ),
        Wrong(
            "c for c²",
            eta_with_c,
            "You multiply the variance by c. A factor multiplies a variance by its square.",
            "ermongroup/CSDI#9",
        ),
        Wrong(
            "all of the old noise",
            eta_beside_all_noise,
            "You keep the old noise at its full size and add fresh noise. The fresh noise replaces a part of the old.",
            UNSEEN,
        ),
        Wrong(
            "the start forgotten",
            eta_from_nothing,
            "You start with the variance 0. The walk starts from noise of variance 1, and a part of it is left after "
            "so few steps.",
            UNSEEN,
        ),
        Wrong(
            "estimates taken for independent",
            eta_of_independent_parts,
            "You add the variances of the two estimates. Both are made from one x_t, so they are not independent: add "
            "their factors first.",
            UNSEEN,
        ),
        Wrong(
            "x_t taken for noise",
            eta_with_x_t_for_noise,
            "You use x_t for the estimate of the noise. Subtract the estimated data from x_t first, and divide by "
            "sigma_t.",
            UNSEEN,
        ),
        Wrong(
            "the variance of x_t",
            eta_with_data_not_shrunk,
            "Your denoiser takes v0 + sigma_t² for the variance of x_t. The data in x_t are multiplied by alpha_t.",
            UNSEEN,
        ),
    ),
)

WIDTH = Problem(
    name="width",
    points=4,
    variants=(
        Variant(
            TEMPERED_VARIANCE,
            "Some people multiply the fresh noise of the loop by a number $r < 1$ to get cleaner samples: "
            "$x_s = \\tilde\\mu(x_t, \\hat x_0) + r\\,\\tilde\\sigma z$. What does this do to the width? The data on "
            "the line are $\\mathcal N(0, v_0)$, where $v_0$ is a variance, and $\\hat x_0 = \\mathbb E[x_0 \\mid "
            "x_t]$ is exact. The path keeps $\\alpha^2 + \\sigma^2 = 1$, and `alphas` holds $\\alpha$ at the $T + 1$ "
            "times of the walk, rising from noise to data; the last one is 1. At `alphas[0]` the points are $\\mathcal "
            "N(0, 1)$. Return the variance of the samples at the end, computed and not sampled.",
            "notebook 06, section 7",
        ),
        Variant(
            VARIANCE_WITH_ETA,
            "Between the step without fresh noise and the loop's step lies a family with a number $\\eta$ from 0 to 1: "
            "$x_s = \\alpha_s\\hat x_0 + \\sqrt{\\sigma_s^2 - \\eta^2\\tilde\\sigma^2}\\;\\hat\\varepsilon + "
            "\\eta\\,\\tilde\\sigma z$ with $\\hat\\varepsilon = (x_t - \\alpha_t\\hat x_0)/\\sigma_t$. What does "
            "$\\eta$ do to the width? The data on the line are $\\mathcal N(0, v_0)$, where $v_0$ is a variance, and "
            "$\\hat x_0 = \\mathbb E[x_0 \\mid x_t]$ is exact. The path keeps $\\alpha^2 + \\sigma^2 = 1$, and "
            "`alphas` holds $\\alpha$ at the $T + 1$ times of the walk, rising from noise to data; the last one is 1. "
            "At `alphas[0]` the points are $\\mathcal N(0, 1)$. Return the variance of the samples at the end, "
            "computed and not sampled.",
            "notebook 06, sections 3 and 7",
        ),
    ),
)

PLOT = Plot(
    prompt=(
        "The data are two points on the line, -1 with the probability 0.2 and 1 with the probability 0.8. Over $x_t$ "
        "from -1.5 to 1.5, draw the mean $\\mathbb E[x_0 \\mid x_t]$ in one panel and the variance "
        "$\\operatorname{Var}[x_0 \\mid x_t]$ in another one, each at two noise levels: $\\alpha = 0.8$ with $\\sigma "
        "= 0.6$, and $\\alpha = 0.954$ with $\\sigma = 0.3$. Then explain in about six sentences: at which $x_t$ "
        "is the variance largest, and why is that not at 0? How do the height and the width of its peak change from "
        "the larger noise to the smaller one, and why? Suppose the loop of notebook 06 stands at the peak and takes "
        "one step, all the way to $t = 0$: what does it return, how often does that value occur in the data, and what "
        "would the true step return?"
    ),
    rubric=(
        (
            1,
            "Two panels with named axes and two noise levels each; the mean rises from -1 to 1, steeper for smaller "
            "noise, and the variance is a single peak between 0 and 1.",
        ),
        (
            2,
            "The variance is largest where both points are equally probable, given x_t, which is near -0.31 for "
            "sigma = 0.6 and near -0.07 for sigma = 0.3. It is left of 0, because x_t has to lie nearer to the rarer "
            "point to make up for its smaller weight. One point for the reason, one for the places.",
        ),
        (
            1,
            "The height is 1 at both levels, because the two responsibilities are 1/2 there whatever the noise is. The "
            "peak becomes narrower, about as sigma² / alpha: its full width at half height is about 0.79 and 0.17, "
            "because with less noise fewer places are in doubt.",
        ),
        (
            1,
            "The loop returns the mean, which is 0 at the peak and never occurs in the data, since its last step adds "
            "no noise. The true step returns -1 or 1, each in half of the cases.",
        ),
    ),
)

LAB = Lab(
    number="06",
    title="Exact reversal",
    after=("06",),
    problems=(BRIDGE, STEP, DENOISE, SPREAD, WIDTH),
    plot=PLOT,
)
