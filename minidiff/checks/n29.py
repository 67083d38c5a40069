"""The exercises of notebook 29, bounds and likelihood: 29.1 to 29.3 in its flow, 29.4 to 29.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from minidiff import data, exact, likelihood, samplers, schedules
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, means

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Bounds and likelihood"


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# 29.1 trace_estimate


def trace_estimate(f, x, probes):
    _, pull = torch.func.vjp(f, x)
    return torch.stack([(pull(r)[0] * r).sum(dim=1) for r in probes]).mean(dim=0)


def trace_estimate_forwards(f, x, probes):
    total = 0
    for r in probes:
        _, pushed = torch.func.jvp(f, (x,), (r,))
        total = total + torch.einsum("bi,bi->b", r, pushed)
    return total / len(probes)


def jacobians(f: Callable, x: Tensor) -> Tensor:
    """The Jacobian of each row, (B, d, d)."""
    return torch.stack([torch.autograd.functional.jacobian(lambda y: f(y[None])[0], row) for row in x])


def trace_truth(f, x, probes):
    return torch.einsum("pbi,bij,pbj->b", probes, jacobians(f, x), probes) / len(probes)


def bent(x: Tensor) -> Tensor:
    """A fixed function of each row, whose Jacobian is not symmetric and differs from row to row."""
    scale = 1 + torch.arange(x.shape[1], dtype=x.dtype)
    return torch.tanh(0.7 * x + 0.4 * x.roll(1, dims=1)) * scale + 0.3 * x**2 + 0.5


def turned(x: Tensor) -> Tensor:
    """A linear function of the plane with the trace 5 and the off-diagonal entries 1 and 3."""
    return x @ torch.tensor([[2.0, 3.0], [1.0, 3.0]], dtype=x.dtype)


def trace_cases(g):
    signs = torch.stack([double(1.0, 1.0)[None], double(1.0, -1.0)[None], double(1.0, 1.0)[None]])
    x = 0.5 * torch.randn(4, 3, generator=g, dtype=torch.float64)
    probes = torch.randn(5, 4, 3, generator=g, dtype=torch.float64)
    return (
        Case((turned, double(0.5, -1.0)[None], signs), "one point, the Jacobian [[2, 1], [3, 3]] and three probes"),
        Case((bent, x, probes), "four points in three dimensions and five normal probes"),
    )


def trace_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of products: formula(r^T J, probes, x), with the first two of shape (P, B, d)."""

    def answer(f, x, probes):
        _, pull = torch.func.vjp(f, x)
        return formula(torch.stack([pull(r)[0] for r in probes]), probes, x)

    return Wrong(name, answer, message, seen)


def exact_trace(f, x, probes):
    return torch.einsum("bii->b", jacobians(f, x))


def value_for_jacobian(f, x, probes):
    return (f(x) * probes).sum(dim=2).mean(dim=0)


def difference_of_values(f, x, probes):
    return ((f(x + probes) - f(x)) * probes).sum(dim=2).mean(dim=0)


TRACE_ESTIMATE = Exercise(
    id="29.1",
    name="trace_estimate",
    stub='''
def trace_estimate(f, x, probes):
    """Hutchinson's estimate of the trace of df/dx, (B,): the mean over all probes. x: (B, d); probes: (P, B, d)."""
    ...  # your code
''',
    solution=trace_estimate,
    alternative=trace_estimate_forwards,
    why=(
        "One backward pass gives r^T J for all rows at once, since each row of f(x) depends on its own row of x only.\n"
        "The product with r, summed over the coordinates, is r^T J r, and its mean over the probes estimates the trace."
    ),
    truth=trace_truth,
    cases=trace_cases,
    hints=(
        "First `_, pull = torch.func.vjp(f, x)`, once. Then go through the probes with `for r in probes`.",
        "For one probe, `(pull(r)[0] * r).sum(dim=1)` is r^T J r for each row.",
        "Stack the P estimates and take their mean over the probes, dim=0.",
    ),
    wrong=(
        trace_wrong(
            "a sum over the probes",
            lambda rj, r, x: (rj * r).sum(dim=(0, 2)),
            "You add the estimates of all probes up. Each of them estimates the whole trace, so take their mean.",
            "bayesflow-org/bayesflow#772",
        ),
        trace_wrong(
            "a mean over the coordinates",
            lambda rj, r, x: (rj * r).mean(dim=(0, 2)),
            "You take the mean over the coordinates. The trace is a sum over them; only the probes are averaged.",
        ),
        trace_wrong(
            "not multiplied by the probe again",
            lambda rj, r, x: rj.sum(dim=2).mean(dim=0),
            "You add up the entries of r^T J. It still has to be multiplied by r, entry by entry, before the sum.",
        ),
        trace_wrong(
            "multiplied by x",
            lambda rj, r, x: (rj * x).sum(dim=2).mean(dim=0),
            "You multiply r^T J by x. Both factors of r^T J r are the same probe.",
        ),
        Wrong(
            "one probe for the batch",
            lambda f, x, probes: trace_truth(f, x, probes[:, :1].expand_as(probes)),
            "You use the probes of the first point for all points. Then the errors of all points go the same way, and "
            "their mean over the batch does not become better.",
            "the catalogue: one probe for the batch",
        ),
        trace_wrong(
            "the first probe only",
            lambda rj, r, x: (rj * r)[0].sum(dim=1),
            "You use the first probe only. Use all of them, and take the mean.",
        ),
        Wrong(
            "the exact trace",
            exact_trace,
            "You return the exact trace, with one backward pass for each coordinate. That is what the probes are there "
            "to avoid. Asked for is the estimate that these probes give.",
            UNSEEN,
        ),
        Wrong(
            "the function for its Jacobian",
            value_for_jacobian,
            "You multiply the value of f by the probe. Asked for is the Jacobian of f between two probes.",
            UNSEEN,
        ),
        trace_wrong(
            "divided by the length of the probe",
            lambda rj, r, x: ((rj * r).sum(dim=2) / r.square().sum(dim=2)).mean(dim=0),
            "You divide by the squared length of the probe. That is a mean eigenvalue and not a trace: the entries of "
            "a probe have variance 1 already.",
        ),
        trace_wrong(
            "the squared length of r^T J",
            lambda rj, r, x: rj.square().sum(dim=2).mean(dim=0),
            "You square r^T J. That estimates the sum of the squares of all entries of J, and not its trace.",
        ),
    ),
)


# 29.2 dequantise


def dequantise(x, levels, g):
    gap = 2 / (levels - 1)
    return x + gap * (torch.rand(x.shape, generator=g, dtype=x.dtype) - 0.5)


def dequantise_in_place(x, levels, g):
    half = 1 / (levels - 1)
    return x + torch.empty_like(x).uniform_(-half, half, generator=g)


def dequantise_truth(x, levels, g):
    return likelihood.dequantised(x, g, levels)


def dequantise_cases(g):
    picture = double(-1.0, 0.0, 1.0, 0.0)[None].expand(40, 4).contiguous()
    many = 2 * torch.randint(0, 5, (30, 3), generator=g).double() / 4 - 1
    return (
        Case((picture, 3, RNG), "40 pictures with the pixels -1, 0, 1 and 0 and 3 levels"),
        Case((many, 5, RNG), "30 pictures of three pixels with 5 levels"),
    )


def dequantise_view(out, x, levels):
    noise = (out - x) * (levels - 1)  # in units of half a gap: uniform from -1 to 1
    return means(
        {
            "the mean of (out - x) / half a gap": noise,
            "the mean square of (out - x) / half a gap": noise**2,
            "the mean fourth power of (out - x) / half a gap": noise**4,
            "the mean product of the noises of two pixels": noise[:, :, 0] * noise[:, :, 1],
            "the mean product of the noises of two pictures": noise[:, 0] * noise[:, 1],
        }
    )


def dequantise_wrong(name: str, noise: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer with another noise: noise(shape, gap, generator)."""

    def answer(x, levels, g):
        return x + noise(x.shape, 2 / (levels - 1), g)

    return Wrong(name, answer, message, seen)


def uniform(shape, g):
    return torch.rand(shape, generator=g, dtype=torch.float64)


DEQUANTISE = Exercise(
    id="29.2",
    name="dequantise",
    stub='''
def dequantise(x, levels, g):
    """x, pixels on `levels` levels from -1 to 1, each spread evenly over its interval. Draws from g. Shape of x."""
    ...  # your code
''',
    solution=dequantise,
    alternative=dequantise_in_place,
    why=(
        "From -1 to 1 there are levels - 1 gaps, so each is 2 / (levels - 1) wide. Uniform noise from minus half a\n"
        "gap to half a gap, its own for each pixel, fills the line without a hole and without an overlap."
    ),
    truth=dequantise_truth,
    cases=dequantise_cases,
    view=dequantise_view,
    hints=(
        "How far apart are two neighbouring levels, if there are `levels` of them from -1 to 1?",
        "`torch.rand(x.shape, generator=g, dtype=x.dtype)` is uniform from 0 to 1. Its mean is not 0.",
        "Subtract 0.5, multiply by the gap 2 / (levels - 1), and add it to x.",
    ),
    wrong=(
        dequantise_wrong(
            "not centred",
            lambda shape, gap, g: gap * uniform(shape, g),
            "Your noise runs from 0 to a whole gap, so all pixels become brighter by half a gap on average. Here a "
            "level lies in the middle of its interval.",
        ),
        dequantise_wrong(
            "from 0 to 1 / levels",
            lambda shape, gap, g: uniform(shape, g) / (2 / gap + 1),
            "Your noise runs from 0 to 1 / levels, which is right for pixels n / levels in [0, 1]. Here the intervals "
            "are 2 / (levels - 1) wide, and each level lies in the middle of its interval.",
        ),
        dequantise_wrong(
            "2 / levels",
            lambda shape, gap, g: 2 / (2 / gap + 1) * (uniform(shape, g) - 0.5),
            "Your intervals are 2 / levels wide, so holes are left between them. From -1 to 1 there are levels - 1 "
            "gaps.",
        ),
        dequantise_wrong(
            "1 / (levels - 1)",
            lambda shape, gap, g: gap / 2 * (uniform(shape, g) - 0.5),
            "Your intervals are half as wide as the gaps. Pixels from -1 to 1 have the range 2, not 1.",
        ),
        dequantise_wrong(
            "intervals of width 1",
            lambda shape, gap, g: uniform(shape, g) - 0.5,
            "Your noise has the width 1, which is right for pixels that count levels, 0, 1, 2 and so on. Here the gap "
            "is 2 / (levels - 1).",
        ),
        dequantise_wrong(
            "twice as wide",
            lambda shape, gap, g: gap * (2 * uniform(shape, g) - 1),
            "Your noise reaches a whole gap to each side, so neighbouring intervals overlap.",
        ),
        dequantise_wrong(
            "Gaussian noise",
            lambda shape, gap, g: gap / math.sqrt(12) * torch.randn(shape, generator=g, dtype=torch.float64),
            "Your noise is Gaussian, with the right variance. It reaches into the neighbouring intervals, and then the "
            "density does not bound the probability of a level.",
        ),
        dequantise_wrong(
            "one noise for a picture",
            lambda shape, gap, g: gap * (uniform((shape[0], 1), g) - 0.5),
            "All pixels of a picture get the same noise. Each pixel has to fill its own interval.",
        ),
        dequantise_wrong(
            "one noise for all pictures",
            lambda shape, gap, g: gap * (uniform((1, *shape[1:]), g) - 0.5),
            "All pictures get the same noise. Each of them needs its own.",
        ),
        dequantise_wrong(
            "two noises added",
            lambda shape, gap, g: gap * (uniform(shape, g) + uniform(shape, g) - 1),
            "Your noise is a sum or difference of two uniform numbers. It is not even, and it reaches into the "
            "neighbouring intervals.",
        ),
        dequantise_wrong(
            "signs",
            lambda shape, gap, g: gap / 2 * (2 * torch.randint(0, 2, shape, generator=g) - 1).double(),
            "Your noise is always half a gap, up or down. It has to be even over the whole interval.",
        ),
    ),
)


# 29.3 bits_per_dim


def bits_per_dim(log_p, d, levels):
    gap = 2 / (levels - 1)
    return -(log_p / d + math.log(gap)) / math.log(2)


def bits_per_dim_in_base_two(log_p, d, levels):
    return math.log2((levels - 1) / 2) - log_p / (d * math.log(2))


def bits_truth(log_p, d, levels):
    return likelihood.bits_per_dim(log_p, d, levels)


def bits_cases(g):
    log_p = 40 * torch.randn(4, generator=g, dtype=torch.float64) - 100
    return (
        Case((double(-10.0), 2, 17), "log_p = -10, d = 2 and 17 levels"),
        Case((log_p, 64, 17), "four pictures of 64 pixels with 17 levels"),
        Case((log_p + 1500, 784, 256), "four pictures of 784 pixels with 256 levels"),
    )


def bits_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer: formula(log_p, d, levels)."""
    return Wrong(name, formula, message, seen)


LN2 = math.log(2)

BITS_PER_DIM = Exercise(
    id="29.3",
    name="bits_per_dim",
    stub='''
def bits_per_dim(log_p, d, levels):
    """Bits per dimension, (B,), of dequantised pictures of d pixels in [-1, 1]. log_p: (B,), densities in nats."""
    ...  # your code
''',
    solution=bits_per_dim,
    alternative=bits_per_dim_in_base_two,
    why=(
        "The density times the volume of a cube, with sides 2 / (levels - 1), is the probability of a picture. Its\n"
        "logarithm is divided by d for one pixel and by ln 2 for bits. Fewer bits are better, hence the minus."
    ),
    truth=bits_truth,
    cases=bits_cases,
    hints=(
        "Equation (6) has it all. What is the distance of two neighbouring levels for pixels in [-1, 1]?",
        "The distance is 2 / (levels - 1). Its logarithm is added for each pixel, so it is not divided by d.",
        "`-(log_p / d + math.log(2 / (levels - 1))) / math.log(2)`.",
    ),
    wrong=(
        bits_wrong(
            "the width is missing",
            lambda log_p, d, levels: -log_p / (d * LN2),
            "The width of a level is missing, so this is the logarithm of a density and not of a probability. It can "
            "be negative.",
            "yang-song/score_sde_pytorch#51",
        ),
        bits_wrong(
            "pixels in [0, 1]",
            lambda log_p, d, levels: -log_p / (d * LN2) + math.log2(levels),
            "You add log2(levels), the 8 of 256 levels. That belongs to pixels from 0 to 1 in intervals of 1 / levels. "
            "Here the intervals are 2 / (levels - 1) wide.",
            "yang-song/score_sde_pytorch#51",
        ),
        bits_wrong(
            "2 / levels",
            lambda log_p, d, levels: -log_p / (d * LN2) + math.log2(levels / 2),
            "You take 2 / levels for the width, which gives the 7 of 256 levels. There are levels - 1 gaps from -1 to "
            "1.",
            "yang-song/score_sde_pytorch#51",
        ),
        bits_wrong(
            "1 / (levels - 1)",
            lambda log_p, d, levels: -log_p / (d * LN2) + math.log2(levels - 1),
            "You take 1 / (levels - 1) for the width. From -1 to 1 the range is 2, so each gap is twice that.",
        ),
        bits_wrong(
            "the width twice",
            lambda log_p, d, levels: -log_p / (d * LN2) + 2 * math.log2((levels - 1) / 2),
            "The width of a level enters twice, as if the entropy of the dequantising noise still had to be added. "
            "Once is enough.",
            "vislearn/IB-INN#3, Kim-Dongjun/Soft-Truncation#2",
        ),
        bits_wrong(
            "the sign of the width",
            lambda log_p, d, levels: -log_p / (d * LN2) - math.log2((levels - 1) / 2),
            "The width enters with the wrong sign: the density is multiplied by it, and not divided.",
        ),
        bits_wrong(
            "the width once for the picture",
            lambda log_p, d, levels: -(log_p + math.log(2 / (levels - 1))) / (d * LN2),
            "You count the width once for the whole picture. The cube has d sides, so it counts once for each pixel.",
        ),
        bits_wrong(
            "nats",
            lambda log_p, d, levels: -(log_p / d + math.log(2 / (levels - 1))),
            "These are nats. Divide by ln 2 to get bits.",
        ),
        bits_wrong(
            "only the density in bits",
            lambda log_p, d, levels: -log_p / (d * LN2) + math.log((levels - 1) / 2),
            "You divide the density's part by ln 2 and leave the width in nats. Both go to base 2.",
        ),
        bits_wrong(
            "bits of the whole picture",
            lambda log_p, d, levels: -(log_p + d * math.log(2 / (levels - 1))) / LN2,
            "These are the bits of the whole picture. Divide by d for one pixel.",
        ),
        bits_wrong(
            "the sign",
            lambda log_p, d, levels: (log_p / d + math.log(2 / (levels - 1))) / LN2,
            "The sign is turned around: a more probable picture needs fewer bits.",
        ),
        bits_wrong(
            "multiplied by ln 2",
            lambda log_p, d, levels: -(log_p / d + math.log(2 / (levels - 1))) * LN2,
            "You multiply by ln 2. One bit is ln 2 nats, so nats are divided by it.",
        ),
    ),
)


# 29.4 parabola


def parabola(lam, answers, at):
    a, b, c = lam
    return (
        answers[0] * (at - b) * (at - c) / ((a - b) * (a - c))
        + answers[1] * (at - a) * (at - c) / ((b - a) * (b - c))
        + answers[2] * (at - a) * (at - b) / ((c - a) * (c - b))
    )


def parabola_by_differences(lam, answers, at):
    first = (answers[1] - answers[0]) / (lam[1] - lam[0])
    second = (answers[2] - answers[1]) / (lam[2] - lam[1])
    bend = (second - first) / (lam[2] - lam[0])
    return answers[0] + (at - lam[0]) * first + (at - lam[0]) * (at - lam[1]) * bend


def parabola_truth(lam, answers, at):
    fitted = np.polyfit(lam.numpy(), answers.flatten(1).numpy(), 2)
    value = sum(fitted[k] * float(at) ** (2 - k) for k in range(3))
    return torch.from_numpy(value).reshape(answers[0].shape)


def parabola_cases(g):
    lam = double(0.0, 1.0, 3.0)
    squares = (lam**2)[:, None, None]
    random = torch.randn(3, 4, 2, generator=g, dtype=torch.float64)
    places = torch.cumsum(0.5 + torch.rand(3, generator=g, dtype=torch.float64), dim=0) - 2
    return (
        Case((lam, squares, 4.0), "the answers 0, 1 and 9 at lam = 0, 1 and 3, and at = 4"),
        Case((places, random, float(places[2]) + 0.4), "three random answers in uneven steps"),
    )


def line_through_the_last_two(lam, answers, at):
    return answers[2] + (at - lam[2]) / (lam[2] - lam[1]) * (answers[2] - answers[1])


def fitted_line(lam, answers, at):
    mean, offset = answers.mean(dim=0), lam - lam.mean()
    slope = torch.einsum("i,i...->...", offset, answers) / offset.square().sum()
    return mean + slope * (at - lam.mean())


def even_steps(lam, answers, at):
    return parabola_by_differences(double(0.0, 1.0, 2.0), answers, 2 + (at - lam[2]) / (lam[2] - lam[1]))


def next_step(lam, answers, at):
    return 3 * answers[2] - 3 * answers[1] + answers[0]


PARABOLA = Exercise(
    id="29.4",
    name="parabola",
    stub='''
def parabola(lam, answers, at):
    """The value at `at`, (B, d), of the parabola through (lam[i], answers[i]). lam: (3,); answers: (3, B, d)"""
    ...  # your code
''',
    solution=parabola,
    alternative=parabola_by_differences,
    why=(
        "Lagrange's form: each answer times a product that is 1 at its own place and 0 at the other two. In 2M, with\n"
        "`at` in the middle of the step, the order stays 2: this neglects how the weight exp(lam / 2) grows within\n"
        "the step, an error of order h^3 a step. Order 3 needs the parabola under the integral (section 9). It also\n"
        "needs a better first step than DDIM's, unless that step is made where the prediction hardly changes."
    ),
    truth=parabola_truth,
    cases=parabola_cases,
    hints=(
        "Look for three weights, one for each answer, that depend on lam and `at` only.",
        "The weight of answers[0] must be 0 at lam[1] and at lam[2], and 1 at lam[0]. A product of two factors does "
        "the first.",
        "It is (at - lam[1]) (at - lam[2]) / ((lam[0] - lam[1]) (lam[0] - lam[2])), and likewise for the others.",
    ),
    wrong=(
        Wrong(
            "a line through the last two",
            line_through_the_last_two,
            "You draw a straight line through the last two answers, as 2M does. A parabola uses all three.",
            "the catalogue: line",
        ),
        Wrong(
            "the best line",
            fitted_line,
            "You fit a straight line to the three answers. A parabola goes through all of them.",
            UNSEEN,
        ),
        Wrong(
            "even steps",
            even_steps,
            "You treat the steps as equally long. They need not be, so use the differences of lam.",
            UNSEEN,
        ),
        Wrong(
            "the next step, whatever `at` is",
            next_step,
            "You return 3 a_2 - 3 a_1 + a_0, the parabola one even step further. It has to be evaluated at `at`.",
            UNSEEN,
        ),
        Wrong(
            "answers in the other order",
            lambda lam, answers, at: parabola_by_differences(lam, answers.flip(0), at),
            "The answers are paired with lam in the opposite order: answers[0] belongs to lam[0].",
            UNSEEN,
        ),
        Wrong(
            "the bend is halved",
            lambda lam, answers, at: (
                0.5 * parabola_by_differences(lam, answers, at)
                + 0.5 * (answers[0] + (at - lam[0]) * (answers[1] - answers[0]) / (lam[1] - lam[0]))
            ),
            "The quadratic term has half its size: the second difference is divided by two once too often, as if it "
            "were a second derivative.",
            UNSEEN,
        ),
        Wrong(
            "the mean",
            lambda lam, answers, at: answers.mean(dim=0),
            "You return the mean of the three answers. Then nothing is extrapolated.",
            UNSEEN,
        ),
        Wrong(
            "the last answer",
            lambda lam, answers, at: answers[2].clone(),
            "You return the last answer without any extrapolation, as DDIM does.",
            UNSEEN,
        ),
        Wrong(
            "`at` counted from the last place",
            lambda lam, answers, at: parabola_by_differences(lam, answers, lam[2] + at),
            "You add `at` to the last lam. But `at` is itself a log-SNR, not a distance from the last one.",
            UNSEEN,
        ),
    ),
)


# 29.5 half_way


def half_way(denoise, path, x, t):
    here = x / path.alpha(t)
    return (here + denoise(x, t)) / 2


def half_way_by_the_score(denoise, path, x, t):
    alpha, sigma = path.alpha(t), path.sigma(t)
    score = (alpha * denoise(x, t) - x) / sigma**2
    return x / alpha + 0.5 * (sigma**2 / alpha) * score


def half_way_truth(denoise, path, x, t):
    x0_hat, eps_hat = samplers.predict(denoise, path, x, t)
    return x0_hat + path.sigma(t) / path.alpha(t) * eps_hat / 2


def half_way_cases(g):
    path = schedules.vp_linear()
    wide = exact.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 0.25)).to(torch.float64)
    t, late = torch.tensor(0.05, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)
    x = 1 + torch.randn(5, 2, generator=g, dtype=torch.float64)
    three = data.three_gaussians().to(torch.float64)
    return (
        Case((exact.mixture_denoiser(wide, path), path, double(1.0)[None], t), "x = 1 at t = 0.05, data N(0, 0.25)"),
        Case((exact.mixture_denoiser(three, path), path, x, late), "five points at t = 0.2, three Gaussians"),
    )


def half_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the right parts: formula(x, x0_hat, eps_hat, alpha, sigma)."""

    def answer(denoise, path, x, t):
        x0_hat, eps_hat = samplers.predict(denoise, path, x, t)
        return formula(x, x0_hat, eps_hat, path.alpha(t), path.sigma(t))

    return Wrong(name, answer, message, seen)


HALF_WAY = Exercise(
    id="29.5",
    name="half_way",
    stub='''
def half_way(denoise, path, x, t):
    """The last step of the ODE, from x at a small time t to the data: half of the way to x0_hat. Shape of x."""
    ...  # your code
''',
    solution=half_way,
    alternative=half_way_by_the_score,
    why=(
        "x / alpha and x0_hat are both in units of the data, so their mean is half of the way. The distance of each\n"
        "point from the end of its ODE falls by a large factor. All the way, the samples become a little too narrow,\n"
        "and this matters less the smaller u is. So the samples come closer to the data only where this last step\n"
        "was their main error."
    ),
    truth=half_way_truth,
    cases=half_way_cases,
    hints=(
        "At time t, x is alpha times a data point plus noise. What has to be done to compare it with x0_hat?",
        "Start from x / alpha, `x / path.alpha(t)`, and go towards `denoise(x, t)`.",
        "Half of the way between two points is their mean.",
    ),
    wrong=(
        half_wrong(
            "all the way",
            lambda x, x0, eps, a, s: x0,
            "You go all the way to x0_hat, as every sampler does. The ODE goes half as far.",
        ),
        half_wrong(
            "not divided by alpha",
            lambda x, x0, eps, a, s: (x + x0) / 2,
            "You take the middle of x and x0_hat. x has to be divided by alpha first, to be in units of the data.",
        ),
        half_wrong(
            "still multiplied by alpha",
            lambda x, x0, eps, a, s: (x + a * x0) / 2,
            "Your result is alpha times what it should be: it stays in units of x_t, and the data have alpha = 1.",
        ),
        half_wrong(
            "no step",
            lambda x, x0, eps, a, s: x / a,
            "You only divide by alpha, and leave all the noise in.",
        ),
        half_wrong(
            "the wrong way",
            lambda x, x0, eps, a, s: x / a + (x / a - x0) / 2,
            "You go away from x0_hat: a sign is turned around.",
        ),
        half_wrong(
            "half of x0_hat",
            lambda x, x0, eps, a, s: x / a + x0 / 2,
            "You add half of x0_hat. Add half of the difference between x0_hat and x / alpha.",
        ),
        half_wrong(
            "half of the noise level",
            lambda x, x0, eps, a, s: torch.sqrt(a**2 + 0.75 * s**2) * x0 + s / 2 * eps,
            "You make a DDIM step to half the noise level, with the alpha that belongs there. The end of this step is "
            "data, so x0_hat enters with the factor 1, and the noise is divided by alpha.",
        ),
        half_wrong(
            "sigma for sigma over alpha",
            lambda x, x0, eps, a, s: x0 + s / 2 * eps,
            "Half of the noise is left, but in units of x_t: it has to be divided by alpha too.",
        ),
        half_wrong(
            "u for u squared",
            lambda x, x0, eps, a, s: x / a - 0.5 * eps,
            "You multiply the score by sigma and not by its square, so that the step is far too long. The step is half "
            "of sigma / alpha times eps.",
        ),
    ),
)


# 29.6 closest


def whose_variance_is_closest():
    path, s0 = schedules.vp_linear(), 0.01
    times, errors = schedules.log_snr_times(path, 20, 1e-3), {}
    right = path.alpha(times) ** 2 * s0**2 + path.sigma(times) ** 2
    for name in ("posterior", "forward", "Euler-Maruyama"):
        variance = right[0]
        for t, s in itertools.pairwise(times):
            alpha, sigma, (factor, w) = path.alpha(t), path.sigma(t), path.transition(t, s)
            k = alpha * s0**2 / (alpha**2 * s0**2 + sigma**2)  # E[x0 | x_t] = k x_t
            if name == "Euler-Maruyama":
                slope = 1 + k * (path.alpha(s) - alpha)
                slope += (1 - alpha * k) / sigma * (path.sigma(s) - sigma - w / (2 * sigma))
            else:
                slope = factor * path.sigma(s) ** 2 / sigma**2 + path.alpha(s) * w / sigma**2 * k
            added = samplers.posterior_variance(path, t, s) if name == "posterior" else w
            variance = slope**2 * variance + added
        errors[name] = abs(float(variance / right[-1] - 1))
    return min(errors, key=errors.get)


CLOSEST = Question(
    id="29.6",
    name="closest",
    stub=(
        "closest = None  # whose variance comes closest for N(0, 0.01^2), N = 20: "
        '"posterior", "forward" or "Euler-Maruyama"'
    ),
    right="posterior",
    solution=whose_variance_is_closest,
    why=(
        "For data at a single point the posterior's variance is exact, and down to sigma = 0.01 data of this width\n"
        "are nearly a point. It ends 19 % too narrow, while w ends 110 % and Euler-Maruyama 67 % too wide. For\n"
        "N(0, 1) it is w that is exact (notebook 07)."
    ),
    wrong=(
        WrongValue(
            "forward",
            "forward",
            "The forward variance is exact for data N(0, 1). For data that are nearly a point it adds noise that "
            "should not be there.",
            UNSEEN,
        ),
        WrongValue(
            "Euler-Maruyama",
            "Euler-Maruyama",
            "Euler-Maruyama adds the same noise as the forward variance, w. For data that are nearly a point that is "
            "too much at 20 steps.",
            UNSEEN,
        ),
    ),
    hints=(
        "For which data is the posterior's variance exact, and for which is w? Notebook 07 has both.",
        "Every step multiplies x by a number and adds independent noise, so only the variance has to be followed.",
        "Is data of width 0.01 more like a single point or more like N(0, 1), under noise of sigma >= 0.01?",
    ),
    choices=("posterior", "forward", "Euler-Maruyama"),
)


# 29.7 ode_kl


def kl_of_the_ode():
    integral, factor = 10.05, 0.9  # of beta over the path; of the score
    # dx/dt = -beta x / 2 - beta / 2 * (-factor x): downwards x grows by exp((1 - factor) * integral / 2)
    variance = math.exp((1 - factor) * integral)
    return 0.5 * (1 / variance - 1 + math.log(variance))  # KL(N(0, 1) || N(0, variance))


ODE_KL = Question(
    id="29.7",
    name="ode_kl",
    stub="ode_kl = None  # KL(p || density of the ODE) in nats, for a score that is 0.9 times the exact one",
    right=(0.183, 0.188),
    solution=kl_of_the_ode,
    why=(
        "The exact score is -x. With 0.9 of it the ODE is dx/dt = -0.05 beta x, and on the way down the variance\n"
        "grows to exp(1.005) = 2.73, so the KL is 0.186 nats. The right side of (4) is 0.5 * 0.01 * 10.05 = 0.050,\n"
        "less than a third of that. The SDE forgets: its variance ends at 1 / (2 * 0.9 - 1) = 1.25, and its KL is\n"
        "0.012, below 0.050 as the theorem says."
    ),
    wrong=(
        WrongValue(
            "the right side of the theorem",
            (0.049, 0.0515),
            "That is the right side of (4). It bounds the KL of the SDE, and the ODE's is another number.",
            UNSEEN,
        ),
        WrongValue(
            "the SDE's",
            (0.0108, 0.0122),
            "That is the KL of the SDE's density. The ODE has no noise that would forget its errors.",
            UNSEEN,
        ),
        WrongValue(
            "p and the model exchanged",
            (0.36, 0.367),
            "That is KL(model || p). Asked for is KL(p || model), which is what a likelihood measures. (It is also "
            "what a score 1.1 times too large gives.)",
            UNSEEN,
        ),
        WrongValue(
            "no half in the ODE",
            (0.565, 0.58),
            "In the ODE the score stands with half of g². With all of it the variance grows twice as fast.",
            UNSEEN,
        ),
        WrongValue(
            "a standard deviation for a variance",
            (0.0525, 0.0552),
            "You took the factor by which x grows, exp(0.5025), for the variance. The variance grows by its square.",
            UNSEEN,
        ),
        WrongValue(
            "no half in the KL",
            (0.368, 0.375),
            "A factor 1/2 is missing in the KL of two Gaussians.",
            UNSEEN,
        ),
    ),
    hints=(
        "The exact score of N(0, 1) is -x at all times. Write the ODE, dx/dt = f x - g² / 2 * score, with f = "
        "-beta / 2, g² = beta and 0.9 times that score.",
        "The ODE is dx/dt = -0.05 beta x. So from t = 1 down to 0 x grows by exp(0.05 * 10.05), and the variance by "
        "the square of that.",
        "KL(N(0, 1) || N(0, V)) is (1 / V - 1 + ln V) / 2, by equation (1) of notebook 07.",
    ),
)


# 29.8 and 29.9 in words

MIXTURES = Explanation(
    id="29.8",
    name="mixtures in the bound",
    task="Explain why for a mixture the gap is not 0 with the best variance at a finite T, and why it closes as T "
    "grows.",
    model=(
        "The true step back q(x_s | x_t) of a mixture is itself a mixture: one Gaussian for each component, with the "
        "probabilities that x_t came from it as weights. The model's step is a single Gaussian, and its variance is "
        "the same for all x_t. The best one matches the mean and, on average, the variance, but the KL from a mixture "
        "to a Gaussian of the same mean and variance is above 0, and a variance that depends on x_t is missed too. "
        "So every step costs something. As the steps shrink, the components of q(x_s | x_t) lie ever closer together "
        "compared with their width: their means differ by a number of order w and their widths are of order the root "
        "of w. The step becomes Gaussian, with variance w up to higher orders. Its excess cost is of order h squared, "
        "and there are about 1/h steps, so the sum goes to 0."
    ),
    look_for=(
        "The true step back is a mixture (not Gaussian), and a Gaussian cannot match it.",
        "Its variance depends on x_t, while the model's does not.",
        "For small steps the distance of the components is of order w, and their width of order the root of w.",
        "The cost of a step falls faster than the number of steps grows.",
    ),
    hints=(
        "Write down q(x_s | x_t) for a mixture of two Gaussians. Notebook 06 has it: a mixture again.",
        "Two Gaussians of width sqrt(w) at a distance of order w: can you tell them apart when w is small?",
        "How does the cost of a step depend on h, and how many steps are there?",
    ),
)

DECODER = Explanation(
    id="29.9",
    name="a better decoder",
    task="Give the counted decoder more to see than x0_hat, and say how many bits it saves and how you know that.",
    model=(
        "Split the pixels into groups, such as border and centre, or by how often they are black, and count a table "
        "of (cell of x0_hat, level) for each group. The table is fitted to training digits only and evaluated on "
        "unseen ones, so overfitting shows as more bits: with too many groups most cells are empty and only the "
        "smoothing number is left. Report the difference to the plain table with the standard error of the paired "
        "differences over the digits. Neighbours help more than the position does, because x0_hat already knows the "
        "position. The predictions of neighbouring pixels may be used, since they are functions of x_t; the levels of "
        "neighbouring pixels may not, unless the pixels are coded in an order and each table sees only what was coded "
        "before."
    ),
    look_for=(
        "The tables are counted on training digits and evaluated on unseen ones.",
        "The decoder uses x_t (or predictions made from it) only, so the sum over levels is 1 and the bound holds.",
        "The saving is reported with its error, on the same digits and the same noise.",
    ),
    hints=(
        "What may a decoder see? It is p(n | x_t): everything that can be computed from x_t.",
        "How many training pixels fall into each cell of your tables? Empty cells cost bits on unseen digits.",
        "Use the same unseen digits and the same noise for both decoders, and look at the differences.",
    ),
)

EXERCISES = (
    *(TRACE_ESTIMATE, DEQUANTISE, BITS_PER_DIM, PARABOLA, HALF_WAY),
    *(CLOSEST, ODE_KL, MIXTURES, DECODER),
)
