"""The exercises of notebook 06, exact reversal: 6.1 to 6.6 in its flow, 6.7 to 6.11 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import functools
import math
from itertools import pairwise

import torch
from torch import Tensor

from minidiff import data, exact, generator, schedules
from minidiff.checks.records import RNG, Case, Exercise, Question, Wrong, WrongValue
from minidiff.checks.views import doubles, normals
from minidiff.paths import GaussianPath

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Exact reversal"
POINTS = 250  # in the plainest random case


def double(value: float) -> Tensor:
    """One number in double precision, of shape ()."""
    return torch.tensor(value, dtype=torch.float64)


# 6.1 fill_table


def fill_table(x0, x_t, edges):
    where = torch.bucketize(x_t, edges[1:-1])  # 0, 1, ...: the inner edges decide
    total = torch.bincount(where, weights=x0, minlength=len(edges) - 1)
    count = torch.bincount(where, minlength=len(edges) - 1)
    return total / count.clamp(min=1)


def fill_table_with_a_grid(x0, x_t, edges):
    above = (x_t[:, None] >= edges[1:-1]).sum(dim=1)  # how many inner edges lie below each point
    member = (above[:, None] == torch.arange(len(edges) - 1)).to(x0.dtype)
    return (member.T @ x0) / member.sum(dim=0).clamp(min=1)


def table_truth(x0, x_t, edges):  # bin by bin, with a list of what fell into it
    inner, found = edges.tolist()[1:-1], [[] for _ in edges[1:]]
    for came_from, landed in zip(x0.tolist(), x_t.tolist(), strict=True):
        found[sum(edge <= landed for edge in inner)].append(came_from)
    return torch.tensor([math.fsum(bin) / len(bin) if bin else 0.0 for bin in found], dtype=torch.float64)


def table_cases(g):
    plain = (doubles(-1.0, -2.0, 1.0, 2.0, 4.0), doubles(-1.5, -0.5, -0.8, 0.5, 1.5), doubles(-2, 0, 2))
    x0 = 1 + normals(g, 80)
    x_t = torch.cat([0.5 * x0[:-4] + 0.5 * normals(g, 76), doubles(-3.4, 3.6, 4.8, -3.9)])
    edges = torch.cat([torch.linspace(-3.0, 2.0, 9, dtype=torch.float64), doubles(2.9, 2.95, 3.0)])
    return (
        Case(plain, "x0 = -1, -2, 1, 2, 4 that landed at x_t = -1.5, -0.5, -0.8, 0.5, 1.5, and edges = -2, 0, 2"),
        Case((x0, x_t, edges), "80 pairs, four of them outside the edges, and 11 bins, one of them empty"),
    )


def binned(x, edges):
    return torch.bucketize(x, edges[1:-1])


def mean_by(where, values, bins, empty=1):
    count = torch.bincount(where, minlength=bins)
    return torch.bincount(where, weights=values, minlength=bins) / count.clamp(min=empty)


def one_too_far(x0, x_t, edges):
    return mean_by(torch.bucketize(x_t, edges).clamp(max=len(edges) - 1), x0, len(edges))[: len(edges) - 1]


def medians(x0, x_t, edges):
    where = binned(x_t, edges)
    parts = [x0[where == i] for i in range(len(edges) - 1)]
    return torch.stack([part.median() if len(part) else part.sum() for part in parts])


def without_outsiders(x0, x_t, edges):
    inside = (x_t >= edges[0]) & (x_t < edges[-1])
    return mean_by(binned(x_t[inside], edges), x0[inside], len(edges) - 1)


FILL_TABLE = Exercise(
    id="6.1",
    name="fill_table",
    stub='''
def fill_table(x0, x_t, edges):
    """The mean of x0 in each bin of x_t, (K,). x0, x_t: (N,); edges: (K + 1,), rising.

    What lies outside the edges counts in the first or in the last bin. An empty bin holds 0.
    """
    ...  # your code
''',
    solution=fill_table,
    alternative=fill_table_with_a_grid,
    why=(
        "The pairs are sorted by where they landed, and what is averaged is where they came from. K bins have K + 1\n"
        "edges, and the K - 1 inner ones say in which bin a point lies. A bin without points has no mean: divide "
        "by at\n"
        "least 1, and it holds 0."
    ),
    truth=table_truth,
    cases=table_cases,
    hints=(
        "First find the number of the bin for each x_t: `torch.bucketize` compares with edges. Which edges decide?",
        "The mean in a bin is the sum of its x0, divided by how many there are: `torch.bincount` gives both.",
        "`torch.bincount(where, weights=x0, minlength=K)` is the sum. What do you divide by where nothing fell?",
    ),
    wrong=(
        Wrong(
            "an empty bin is NaN",
            lambda x0, x_t, edges: mean_by(binned(x_t, edges), x0, len(edges) - 1, empty=0),
            "You divide by the number of points also where there are none. That is 0 / 0, so an empty bin holds NaN, "
            "and a sampler that looks there once is lost.",
            "catalogue of the course, 06 E3",
        ),
        Wrong(
            "one bin too far",
            one_too_far,
            "Your table is shifted by one bin. `torch.bucketize(x_t, edges)` counts all edges below x_t, also the "
            "first one. The inner edges, edges[1:-1], give bin numbers from 0.",
            "off by one",
        ),
        Wrong(
            "one bin too many",
            lambda x0, x_t, edges: mean_by(torch.bucketize(x_t, edges), x0, len(edges) + 1),
            "You get more bins than there are. K + 1 edges make K bins; what lies outside counts in the first or in "
            "the last one.",
            "off by one",
        ),
        Wrong(
            "sorted by x0",
            lambda x0, x_t, edges: mean_by(binned(x0, edges), x0, len(edges) - 1),
            "You sort the pairs by x0. A sampler knows x_t and not x0, so the bins are those of x_t.",
            "not seen in public yet",
        ),
        Wrong(
            "the mean of x_t",
            lambda x0, x_t, edges: mean_by(binned(x_t, edges), x_t, len(edges) - 1),
            "You average x_t in each bin, which says only where the bin lies. Average x0: where the points came from.",
            "not seen in public yet",
        ),
        Wrong(
            "the sum",
            lambda x0, x_t, edges: torch.bincount(binned(x_t, edges), weights=x0, minlength=len(edges) - 1),
            "You return the sum of x0 in each bin. Divide it by the number of points in the bin.",
            "not seen in public yet",
        ),
        Wrong(
            "divided by all points",
            lambda x0, x_t, edges: torch.bincount(binned(x_t, edges), weights=x0, minlength=len(edges) - 1) / len(x0),
            "You divide by the number of all points. A mean given x_t is taken among the points of that bin only.",
            "not seen in public yet",
        ),
        Wrong(
            "the mean of the noise",
            lambda x0, x_t, edges: mean_by(binned(x_t, edges), x_t - x0, len(edges) - 1),
            "You average x_t - x0, which is how far the noise has carried the points. The table says where they began.",
            "not seen in public yet: the noise is what DDPM's network predicts",
        ),
        Wrong(
            "the median",
            medians,
            "You take the median. What least squares finds, and what the step back needs, is the mean.",
            "not seen in public yet",
        ),
        Wrong(
            "outsiders left out",
            without_outsiders,
            "You leave out what lies outside the edges. These points count in the first or in the last bin.",
            "not seen in public yet: torch.histogram does so",
        ),
        Wrong(
            "smoothed by 1",
            lambda x0, x_t, edges: (
                torch.bincount(binned(x_t, edges), weights=x0, minlength=len(edges) - 1)
                / (torch.bincount(binned(x_t, edges), minlength=len(edges) - 1) + 1)
            ),
            "You divide by the number of points plus 1. That saves the empty bins, but it pulls all others towards 0. "
            "Divide by at least 1 instead.",
            "udlbook/udlbook, notebook 18.2",
        ),
    ),
)


# 6.2 best_bins


def best_bins():
    g, t, path = generator(6, 20), torch.tensor(0.2, dtype=torch.float64), schedules.vp_linear()
    mixture = exact.GaussianMixture(
        torch.tensor([0.3, 0.7]).double(),
        torch.tensor([[-1.5], [0.8]]).double(),
        torch.tensor([[[0.04]], [[0.16]]]).double(),
    ).standardised()
    fresh = path.perturb(mixture.sample(20_000, g)[0], t, torch.randn(20_000, 1, generator=g).double())
    truth = exact.posterior_mean(mixture, path, fresh, t)[:, 0]
    errors = {}
    for bins in range(4, 61, 4):
        inner, squares = torch.linspace(-3, 3, bins + 1).double()[1:-1], []
        for _ in range(50):  # fifty tables, each learned from 200 pairs of its own
            x0 = mixture.sample(200, g)[0]
            x_t = path.perturb(x0, t, torch.randn(200, 1, generator=g).double())
            where = torch.bucketize(x_t[:, 0].contiguous(), inner)
            count = torch.bincount(where, minlength=bins).clamp(min=1)
            table = torch.bincount(where, weights=x0[:, 0], minlength=bins) / count
            squares.append(((table[torch.bucketize(fresh[:, 0].contiguous(), inner)] - truth) ** 2).mean())
        errors[bins] = float(torch.stack(squares).mean().sqrt())
    return min(errors, key=errors.get)


BEST_BINS = Question(
    id="6.2",
    name="best_bins",
    stub="best_bins = None  # the number of bins with the smallest error, for 200 pairs at t = 0.2",
    right=(9, 24),
    solution=best_bins,
    why=(
        "Two errors add up. A wide bin returns one mean for places whose means differ: lost detail, which falls with\n"
        "the number of bins. A narrow bin averages few points: roughness, which grows with it. With 200 pairs the sum\n"
        "is smallest at about 14 bins, and flat around it. With 50,000 pairs roughness is small, and 100 bins are fine."
    ),
    hints=(
        "Call `table_error(bins, 200, generator(6, 2))` for 4, 8, 16, ... bins. What happens to the error?",
        "The error falls at first, and grows later. Look for the lowest place.",
        "The error is flat around the lowest place: anything from 9 to 24 bins counts as right.",
    ),
    wrong=(
        WrongValue(
            "the more, the better",
            (100, 100_000),
            "So many bins leave one or two pairs in each. If you measured the error on the pairs that the table was "
            "learned from, it falls to 0 with more bins, because the table then repeats them. Measure on fresh pairs.",
            "catalogue of the course, 06 E3: trained on the test",
        ),
        WrongValue(
            "no empty bin",
            (5, 8.99),
            "With so few bins none is empty, but each is so wide that the means in it differ. If larger tables gave "
            "you NaN, their empty bins did that: an empty bin holds 0.",
            "catalogue of the course, 06 E3: an empty bin gives NaN",
        ),
        WrongValue(
            "much too coarse",
            (1, 4.99),
            "Such a table has lost the detail: one mean stands for places whose means differ a lot. Try more bins.",
            "not seen in public yet",
        ),
        WrongValue(
            "a little too fine",
            (25, 99.99),
            "With 200 pairs so many bins hold a few points each, and the table is rough. A rule such as one bin for "
            "every three or five pairs gives too many. Try fewer.",
            "not seen in public yet",
        ),
    ),
)


# 6.3 step_given_x0


def step_given_x0(path, x_t, x0, t, s):
    factor, variance = path.transition(t, s)
    of_xt = factor * path.sigma(s) ** 2 / path.sigma(t) ** 2
    of_x0 = path.alpha(s) * variance / path.sigma(t) ** 2
    return of_xt * x_t + of_x0 * x0, variance * path.sigma(s) ** 2 / path.sigma(t) ** 2


def step_given_x0_by_the_lemma(path, x_t, x0, t, s):
    factor, noise = path.transition(t, s)
    m, v = path.alpha(s) * x0, path.sigma(s) ** 2  # what is known of x_s before x_t is seen
    gain = factor * v / (factor**2 * v + noise)
    return m + gain * (x_t - factor * m), (1 - gain * factor) * v


def given_truth(path, x_t, x0, t, s):  # from the joint Gaussian of x_s and x_t, with its covariance
    shrink = path.alpha(t) / path.alpha(s)
    covariance = shrink * path.sigma(s) ** 2
    slope = covariance / path.sigma(t) ** 2
    return path.alpha(s) * x0 + slope * (x_t - path.alpha(t) * x0), path.sigma(s) ** 2 - slope * covariance


def given_cases(g):
    linear, cosine = schedules.vp_linear(), schedules.cosine()
    t = 0.5 + round(0.3 * float(torch.rand((), generator=g)), 3)
    x_t, x0 = 3 + normals(g, 5, 2), 2 * normals(g, 5, 2) - 4
    return (
        Case((linear, doubles(1.0), doubles(2.0), double(0.5), double(0.3)), "x_t = 1, x0 = 2, t = 0.5 and s = 0.3"),
        Case((cosine, x_t, x0, double(t), double(0.2)), f"five points on the cosine path, t = {t:.3f} and s = 0.2"),
        Case((linear, doubles(1.0), doubles(2.0), double(0.1), double(0.0)), "x_t = 1, x0 = 2, t = 0.1 and s = 0"),
    )


def given(of_xt=None, of_x0=None, variance=None):
    """An answer in which one part is exchanged: each is a function of (f, w, alpha_t, sigma_t, alpha_s, sigma_s)."""

    def answer(path, x_t, x0, t, s):
        f, w = path.transition(t, s)
        letters = f, w, path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s)
        right = (
            lambda f, w, a_t, s_t, a_s, s_s: f * s_s**2 / s_t**2,
            lambda f, w, a_t, s_t, a_s, s_s: a_s * w / s_t**2,
            lambda f, w, a_t, s_t, a_s, s_s: s_s**2 * w / s_t**2,
        )
        one, two, three = (
            (mine or plain)(*letters) for mine, plain in zip((of_xt, of_x0, variance), right, strict=True)
        )
        return one * x_t + two * x0, three

    return answer


def by_precisions(path, x_t, x0, t, s):
    f, w = path.transition(t, s)
    variance = 1 / (f**2 / w + 1 / path.sigma(s) ** 2)
    return variance * (f * x_t / w + path.alpha(s) * x0 / path.sigma(s) ** 2), variance


def deterministic(path, x_t, x0, t, s):
    eps = (x_t - path.alpha(t) * x0) / path.sigma(t)
    return path.alpha(s) * x0 + path.sigma(s) * eps, path.posterior_variance(t, s)


STEP_GIVEN_X0 = Exercise(
    id="6.3",
    name="step_given_x0",
    stub='''
def step_given_x0(path, x_t, x0, t, s):
    """Mean and variance of x_s, given x_t and x0, for s < t. s may be 0.

    path.alpha(t), path.sigma(t) and path.transition(t, s) give numbers; the last one returns factor and variance.
    """
    ...  # your code
''',
    solution=step_given_x0,
    alternative=step_given_x0_by_the_lemma,
    why=(
        "x0 tells that x_s is about alpha_s x0, and x_t tells that x_s is about x_t divided by the factor of the "
        "step.\n"
        "The mean weighs the two by how precise they are, and the variance is smaller than that of either. At s = 0\n"
        "nothing is uncertain: the mean is x0 and the variance 0."
    ),
    truth=given_truth,
    cases=given_cases,
    parts=("the mean", "the variance"),
    hints=(
        "The boxed formula has two coefficients and a variance. All three are divided by one and the same number.",
        "`factor, variance = path.transition(t, s)` gives alpha_{t|s} and sigma_{t|s}², the square already.",
        "Test yourself at s = 0, where sigma_s = 0: the mean must be x0 and the variance 0.",
    ),
    wrong=(
        Wrong(
            "no denominator",
            given(
                lambda f, w, a_t, s_t, a_s, s_s: f * s_s**2,
                lambda f, w, a_t, s_t, a_s, s_s: a_s * w,
                lambda f, w, a_t, s_t, a_s, s_s: s_s**2 * w,
            ),
            "The denominator sigma_t² is missing, everywhere. DDPM writes it 1 - alpha_bar_t.",
            "varun-ml/diffusion-models-tutorial#1",
        ),
        Wrong(
            "no denominator in the mean",
            given(lambda f, w, a_t, s_t, a_s, s_s: f * s_s**2, lambda f, w, a_t, s_t, a_s, s_s: a_s * w),
            "In your mean the denominator sigma_t² is missing. DDPM writes it 1 - alpha_bar_t.",
            "varun-ml/diffusion-models-tutorial#1",
        ),
        Wrong(
            "sigma at t and at s exchanged",
            given(
                lambda f, w, a_t, s_t, a_s, s_s: f * s_t**2 / s_s**2,
                lambda f, w, a_t, s_t, a_s, s_s: a_s * w / s_s**2,
                lambda f, w, a_t, s_t, a_s, s_s: s_t**2 * w / s_s**2,
            ),
            "You exchanged sigma_t and sigma_s (in DDPM's letters, alpha_bar at t and at the step before). The later "
            "time, t, stands in the denominator. At s = 0 yours divides by 0.",
            "lucidrains/denoising-diffusion-pytorch#81",
        ),
        Wrong(
            "the logarithm of the variance",
            given(variance=lambda f, w, a_t, s_t, a_s, s_s: torch.log((s_s**2 * w / s_t**2).clamp(min=1e-20))),
            "You return the logarithm of the variance. Some libraries keep that; here the variance itself is wanted.",
            "huggingface/diffusers#14571",
        ),
        Wrong(
            "the variance of the forward step",
            given(variance=lambda f, w, a_t, s_t, a_s, s_s: w),
            "Your variance is that of the forward step. Knowing x0 makes x_s more certain: multiply by "
            "sigma_s² / sigma_t².",
            "not seen in public yet",
        ),
        Wrong(
            "the standard deviation",
            given(variance=lambda f, w, a_t, s_t, a_s, s_s: (s_s**2 * w / s_t**2).sqrt()),
            "You return the standard deviation. The variance is wanted here, so leave out the root.",
            "not seen in public yet",
        ),
        Wrong(
            "standard deviations",
            given(
                lambda f, w, a_t, s_t, a_s, s_s: f * s_s / s_t,
                lambda f, w, a_t, s_t, a_s, s_s: a_s * w**0.5 / s_t,
                lambda f, w, a_t, s_t, a_s, s_s: s_s * w**0.5 / s_t,
            ),
            "You use standard deviations where the formula has variances. `path.sigma` is a standard deviation, so "
            "square it; `path.transition` returns a variance, which is a square already.",
            "not seen in public yet",
        ),
        Wrong(
            "the variance of the step squared",
            given(
                of_x0=lambda f, w, a_t, s_t, a_s, s_s: a_s * w**2 / s_t**2,
                variance=lambda f, w, a_t, s_t, a_s, s_s: s_s**2 * w**2 / s_t**2,
            ),
            "You square the variance of the step. `path.transition` returns sigma_{t|s}², the square already.",
            "not seen in public yet",
        ),
        Wrong(
            "sigma_s and sigma_t not squared",
            given(
                lambda f, w, a_t, s_t, a_s, s_s: f * s_s / s_t,
                lambda f, w, a_t, s_t, a_s, s_s: a_s * w / s_t,
                lambda f, w, a_t, s_t, a_s, s_s: s_s * w / s_t,
            ),
            "You forgot to square sigma_s and sigma_t: `path.sigma` returns a standard deviation, and the formula has "
            "variances.",
            "not seen in public yet",
        ),
        Wrong(
            "coefficients exchanged",
            given(
                lambda f, w, a_t, s_t, a_s, s_s: a_s * w / s_t**2, lambda f, w, a_t, s_t, a_s, s_s: f * s_s**2 / s_t**2
            ),
            "The coefficients of x_t and x0 are exchanged. At s = 0 the mean must be x0.",
            "not seen in public yet",
        ),
        Wrong(
            "alpha_s missing",
            given(of_x0=lambda f, w, a_t, s_t, a_s, s_s: w / s_t**2),
            "Before x0 the factor alpha_s is missing: the jump from x0 to s ends around alpha_s x0, not around x0.",
            "not seen in public yet",
        ),
        Wrong(
            "alpha_t for the factor of the step",
            given(of_xt=lambda f, w, a_t, s_t, a_s, s_s: a_t * s_s**2 / s_t**2),
            "You multiply x_t by alpha_t, the factor of the whole way from the data. The step from s to t has the "
            "factor alpha_t / alpha_s.",
            "ermongroup/ddim#44",
        ),
        Wrong(
            "alpha squared",
            given(of_x0=lambda f, w, a_t, s_t, a_s, s_s: a_s**2 * w / s_t**2),
            "You multiply x0 by alpha_s², which is alpha_bar_s. Its root, alpha_s, belongs there.",
            "labmlai/annotated_deep_learning_paper_implementations#152",
        ),
        Wrong(
            "a difference of the path's variances",
            lambda path, x_t, x0, t, s: given(
                of_x0=lambda f, w, a_t, s_t, a_s, s_s: a_s * (s_t**2 - s_s**2) / s_t**2,
                variance=lambda f, w, a_t, s_t, a_s, s_s: s_s**2 * (s_t**2 - s_s**2) / s_t**2,
            )(path, x_t, x0, t, s),
            "You take sigma_t² - sigma_s² for the variance of the step. The noise of s was shrunk on the way, so it "
            "counts with the squared factor: `path.transition` returns the right number.",
            "not seen in public yet",
        ),
        Wrong(
            "the mean of DDIM",
            deterministic,
            "You keep the noise that is in x_t, scaled to sigma_s. That is the step of DDIM, which adds no noise. "
            "Where noise is added afterwards, less of the old noise is kept.",
            "notebook 10",
        ),
        Wrong(
            "divided by sigma_s",
            by_precisions,
            "Your formula adds precisions, which is right for s > 0. But at s = 0 it divides by sigma_s² = 0, and the "
            "last step of every chain ends there. Multiply numerator and denominator by sigma_s².",
            "not seen in public yet: the proof's own form",
        ),
    ),
)


# 6.4 walk_back


def walk_back(denoise, path, x, times, g):
    for t, s in pairwise(times):
        mean, variance = path.posterior(x, denoise(x, t), t, s)
        x = mean + variance.sqrt() * torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x


def walk_back_by_index(denoise, path, x, times, g):
    for i in range(len(times) - 1):
        x0_hat = denoise(x, times[i])
        mean, variance = path.posterior(x, x0_hat, times[i], times[i + 1])
        x = torch.normal(mean, variance.sqrt().expand_as(mean), generator=g)
    return x


def half(x, t):
    """A denoiser that is as good as any for a check: it is linear in x."""
    return 0.4 + (0.9 - 0.5 * t) * x


CHEAP = GaussianPath(lambda t: torch.sqrt(1 - 0.99 * t), lambda t: torch.sqrt(0.99 * t))  # variance 1, and quick


def steps_of(path, times):
    """(t, the coefficients of x_t and x0, the variance) of every step, as plain numbers."""
    for t, s in pairwise(times.tolist()):
        at = {u: (float(path.alpha(double(u))), float(path.sigma(double(u)))) for u in (t, s)}
        (alpha_t, sigma_t), (alpha_s, sigma_s) = at[t], at[s]
        slope = alpha_t / alpha_s * sigma_s**2 / sigma_t**2
        yield t, slope, alpha_s - slope * alpha_t, sigma_s**2 * (1 - (alpha_t * sigma_s / alpha_s / sigma_t) ** 2)


def without_noise(denoise, path, x, times):
    """Where a linear denoiser leads to on average."""
    for t, of_xt, of_x0, _ in steps_of(path, times):
        x = of_xt * x + of_x0 * denoise(x, t)
    return x


def walk_truth(denoise, path, x, times, g):  # a linear denoiser makes a Gaussian, with a mean and a variance
    spread = 0.0
    for t, of_xt, of_x0, added in steps_of(path, times):
        spread = (of_xt + of_x0 * (0.9 - 0.5 * t)) ** 2 * spread + added
    return torch.normal(without_noise(denoise, path, x, times), torch.full_like(x, math.sqrt(spread)), generator=g)


def walk_cases(g):
    first = 0.86 + round(0.1 * float(torch.rand((), generator=g)), 3)
    ones, cloud = torch.ones(POINTS, 1, dtype=torch.float64), 3 + 2 * normals(g, 200, 2)
    return (
        Case(
            (half, CHEAP, ones, doubles(1.0, 0.6, 0.3, 0.0), RNG), f"x = 1 ({POINTS} times) and times = 1, 0.6, 0.3, 0"
        ),
        Case(
            (half, CHEAP, cloud, doubles(first, 0.8, 0.1, 0.0), RNG),
            f"200 points around (3, 3) and times = {first:.3f}, 0.8, 0.1, 0",
        ),
    )


def walk_numbers(out, denoise, path, x, times):
    rest = out - without_noise(denoise, path, x, times)
    numbers = {
        "the mean of the result": out,
        "the mean of the result times x": out * x,
        "the variance around the mean": rest**2,
        "the fourth moment around the mean": rest**4,
        "the variance within one call": rest.var(dim=1),
    }
    if x.shape[1] > 1:
        numbers["the mean product of what is random on both axes"] = rest[..., :1] * rest[..., 1:]
    return {name: value.flatten(1).mean(dim=1) for name, value in numbers.items()}


def walked(step, times=lambda times: times):
    """A walk with another step: step(path, x, x0_hat, t, s, z) -> the next x."""

    def answer(denoise, path, x, all_times, g):
        for t, s in pairwise(times(all_times)):
            x = step(path, x, denoise(x, t), t, s, normals(g, *x.shape))
        return x

    return answer


@functools.lru_cache(maxsize=100)
def parts_of(path, t, s):
    """The coefficients of x_t and x0 and the variance of a step, kept: the wrong answers need them again and again."""
    t, s = double(t), double(s)
    factor, variance = path.transition(t, s)
    share = path.sigma(s) ** 2 / path.sigma(t) ** 2
    return factor * share, path.alpha(s) * variance / path.sigma(t) ** 2, share * variance


def mean_of(path, x, x0_hat, t, s):
    of_xt, of_x0, _ = parts_of(path, float(t), float(s))
    return of_xt * x + of_x0 * x0_hat


def variance_of(path, t, s):
    return parts_of(path, float(t), float(s))[2]


def right_step(path, x, x0_hat, t, s, z):
    return mean_of(path, x, x0_hat, t, s) + variance_of(path, t, s).sqrt() * z


def forward_noise(path, x, x0_hat, t, s, z, last=True):
    noise = path.transition(t, s)[1].sqrt() * z if last or s > 0 else 0
    return mean_of(path, x, x0_hat, t, s) + noise


def one_noise(denoise, path, x, times, g):
    z = normals(g, *x.shape)
    for t, s in pairwise(times):
        x = right_step(path, x, denoise(x, t), t, s, z)
    return x


def evaluated_at_s(denoise, path, x, times, g):
    for t, s in pairwise(times):
        x = right_step(path, x, denoise(x, s), t, s, normals(g, *x.shape))
    return x


def never_updated(denoise, path, x, times, g):
    for t, s in pairwise(times):
        out = right_step(path, x, denoise(x, t), t, s, normals(g, *x.shape))
    return out


def estimated_once(denoise, path, x, times, g):
    x0_hat = denoise(x, times[0])
    for t, s in pairwise(times):
        x = right_step(path, x, x0_hat, t, s, normals(g, *x.shape))
    return x


WALK_BACK = Exercise(
    id="6.4",
    name="walk_back",
    stub='''
def walk_back(denoise, path, x, times, g):
    """Samples of data, of the shape and dtype of x. x: noise at times[0]; times: falling, the last one is 0.

    denoise(x, t) estimates x0; path.posterior(x_t, x0, t, s) returns mean and variance of x_s. Noise comes from g.
    """
    ...  # your code
''',
    solution=walk_back,
    alternative=walk_back_by_index,
    why=(
        "T + 1 times have T pairs of neighbours, and each pair is one step from t down to s. A step evaluates the\n"
        "denoiser at t, where x is, and draws around the mean with the standard deviation: the root of the variance.\n"
        "At s = 0 the variance is 0, so the last step needs no special case."
    ),
    truth=walk_truth,
    cases=walk_cases,
    view=walk_numbers,
    calls=60,
    hints=(
        "`itertools.pairwise(times)` gives the pairs (t, s) one after another.",
        "In each step: estimate x0 from x at t, ask the path for mean and variance, draw x_s, and call it x.",
        "`path.posterior` returns a variance. What do you multiply standard normal noise by?",
    ),
    wrong=(
        Wrong(
            "variance for standard deviation",
            walked(lambda path, x, x0_hat, t, s, z: mean_of(path, x, x0_hat, t, s) + variance_of(path, t, s) * z),
            "You multiply the noise by the variance. A factor before noise is a standard deviation: take the root.",
            "Y-debug-sys/Diffusion-TS#135, NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "no noise",
            walked(lambda path, x, x0_hat, t, s, z: mean_of(path, x, x0_hat, t, s) + 0 * z),
            "You go to the mean and add no noise. Then points that start alike end alike, and the variety is lost: "
            "section 10 shows what becomes of it.",
            "notebook 06, section 10",
        ),
        Wrong(
            "noise in the last step",
            walked(forward_noise),
            "You add noise with the variance of the forward step, in the last step too, so the samples are noisy at "
            "t = 0. With the variance of `path.posterior` the last step adds nothing by itself.",
            "TeaPearce/Conditional_Diffusion_MNIST#10",
        ),
        Wrong(
            "the variance of the forward step",
            walked(lambda *args: forward_noise(*args, last=False)),
            "You add noise with the variance of the forward step. DDPM allows this choice, and exercise 6.7 compares "
            "the two. Here the variance of `path.posterior` is wanted.",
            "DDPM, section 3.2",
        ),
        Wrong(
            "one step short",
            walked(right_step, lambda times: times[:-1]),
            "You stop one step early: the last pair of times is missing. T + 1 times have T steps.",
            "off by one",
        ),
        Wrong(
            "the first step left out",
            walked(right_step, lambda times: times[1:]),
            "You leave out the first step: x belongs to times[0], and your walk begins at times[1].",
            "off by one",
        ),
        Wrong(
            "times rising",
            walked(right_step, lambda times: times.flip(0)),
            "You walk through the times from small to large. They fall already, as the reverse process needs: "
            "from noise, "
            "times[0], to data.",
            "not seen in public yet: reversed() once too often",
        ),
        Wrong(
            "evaluated at s",
            evaluated_at_s,
            "You evaluate the denoiser at s, where the step ends. x is still at t, so the noise in it is that of t.",
            "not seen in public yet",
        ),
        Wrong(
            "x never updated",
            never_updated,
            "Every step of yours starts from the first x, because x is not replaced inside the loop.",
            "not seen in public yet",
        ),
        Wrong(
            "x0 estimated once",
            estimated_once,
            "You estimate x0 once, before the loop. The estimate gets better as the noise gets less: make a new one in "
            "every step.",
            "not seen in public yet",
        ),
        Wrong(
            "the same noise in every step",
            one_noise,
            "You draw the noise once and use it in every step. Every step needs fresh noise.",
            "not seen in public yet",
        ),
        Wrong(
            "noise added to the estimate",
            walked(lambda path, x, x0_hat, t, s, z: path.alpha(s) * x0_hat + path.sigma(s) * z),
            "You jump forward again from the estimate of x0, with fresh noise. Then x_s forgets x_t. The step back "
            "keeps a part of x_t: `path.posterior` knows how much.",
            "not seen in public yet: one jump too many",
        ),
        Wrong(
            "one noise for all points",
            walked(lambda path, x, x0_hat, t, s, z: right_step(path, x, x0_hat, t, s, z[:1])),
            "All points get the same noise. Draw noise of the shape of x.",
            "jolibrain/joliGEN#527",
        ),
        Wrong(
            "uniform noise",
            walked(lambda path, x, x0_hat, t, s, z: right_step(path, x, x0_hat, t, s, torch.special.ndtr(z))),
            "Your noise is uniform from 0 to 1, as `torch.rand` draws it. The normal distribution is `torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
    ),
)


# 6.5 posterior_mean


def posterior_mean(x_t, alpha, sigma, weights, means, variances):
    spread = alpha**2 * variances + sigma**2  # Var[x_t] in each component
    away = x_t[:, None] - alpha * means
    density = weights * torch.exp(-(away**2) / (2 * spread)) / torch.sqrt(2 * math.pi * spread)
    responsibilities = density / density.sum(dim=1, keepdim=True)
    return (responsibilities * (means + alpha * variances / spread * away)).sum(dim=1)


def posterior_mean_by_logarithms(x_t, alpha, sigma, weights, means, variances):
    component = torch.distributions.Normal(alpha * means, torch.sqrt(alpha**2 * variances + sigma**2))
    r = torch.softmax(torch.log(weights) + component.log_prob(x_t[:, None]), dim=1)
    within = (sigma**2 * means + alpha * variances * x_t[:, None]) / (alpha**2 * variances + sigma**2)
    return torch.einsum("bk,bk->b", r, within)


def mean_truth(x_t, alpha, sigma, weights, means, variances):  # Bayes' rule on a fine grid of x0, without a formula
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    prior = torch.zeros_like(grid)
    for share, centre, size in zip(weights.tolist(), means.tolist(), variances.tolist(), strict=True):
        prior += share / math.sqrt(size) * torch.exp(-((grid - centre) ** 2) / size / 2)
    belief = prior * torch.exp(-((x_t[:, None] - alpha * grid) ** 2) / sigma**2 / 2)
    return (belief @ grid) / belief.sum(dim=1)


def mean_cases(g):
    x_t = torch.linspace(-2, 2, 9, dtype=torch.float64) + 0.1 * normals(g, 9)
    alpha = 0.5 + round(0.2 * float(torch.rand((), generator=g)), 3)
    sigma = 0.6 + round(0.1 * float(torch.rand((), generator=g)), 3)  # alpha² + sigma² need not be 1
    unequal = doubles(0.5, 0.2, 0.3), doubles(-2.5, 0.5, 3.0), doubles(0.09, 1.2, 0.5)
    return (
        Case(
            (doubles(1.0), 0.8, 0.6, doubles(1.0), doubles(2.0), doubles(0.25)),
            "x_t = 1, alpha = 0.8, sigma = 0.6 and one component of mean 2 and variance 0.25",
        ),
        Case(
            (doubles(0.2), 0.8, 0.6, doubles(0.3, 0.7), doubles(-1.0, 1.0), doubles(0.25, 0.04)),
            "x_t = 0.2, alpha = 0.8, sigma = 0.6, weights 0.3 and 0.7, means -1 and 1, variances 0.25 and 0.04",
        ),
        Case((x_t, alpha, sigma, *unequal), "nine places and three components"),
    )


def estimate(weigh=None, within=None, whole=None):
    """An answer with one part exchanged: weigh(log_weights, log_density), within(away, ...) or the last line."""

    def answer(x_t, alpha, sigma, weights, means, variances):
        spread, away = alpha**2 * variances + sigma**2, x_t[:, None] - alpha * means
        if weigh is None:
            r = torch.softmax(torch.log(weights) - away**2 / (2 * spread) - torch.log(spread) / 2, dim=1)
        else:
            r = weigh(x_t[:, None], alpha, sigma, weights, means, variances)
        inner = means + alpha * variances / spread * away
        if within is not None:
            inner = within(x_t[:, None], alpha, sigma, means, variances)
        return (whole or (lambda r, inner: (r * inner).sum(dim=1)))(r, inner)

    return answer


def densities(centre, spread, squared=True):
    """Responsibilities with other centres and variances: both functions of alpha, sigma and the component."""

    def weigh(x, alpha, sigma, weights, means, variances):
        size = spread(alpha, sigma, variances)
        away = x - centre(alpha, means)
        return torch.softmax(torch.log(weights) - away**2 / (2 * size) - torch.log(size) / 2, dim=1)

    return weigh


def full(alpha, sigma, variances):
    return alpha**2 * variances + sigma**2


def without_the_factor(x, alpha, sigma, weights, means, variances):
    away = x - alpha * means
    return torch.softmax(torch.log(weights) - away**2 / (2 * full(alpha, sigma, variances)), dim=1)


def without_weights(x, alpha, sigma, weights, means, variances):
    return densities(lambda alpha, means: alpha * means, full)(
        x, alpha, sigma, torch.ones_like(weights), means, variances
    )


POSTERIOR_MEAN = Exercise(
    id="6.5",
    name="posterior_mean",
    stub='''
def posterior_mean(x_t, alpha, sigma, weights, means, variances):
    """E[x0 | x_t] of a mixture on the line, (B,). x_t: (B,); alpha, sigma: numbers at t; the rest: (K,)."""
    ...  # your code
''',
    solution=posterior_mean,
    alternative=posterior_mean_by_logarithms,
    why=(
        "Within one component the lemma gives the mean of x0: the centre of the component, corrected towards x_t. The\n"
        "responsibilities say how probable each component is at x_t, and the mean over all is weighted by them. The\n"
        "density of x_t in a component has the centre alpha mu and the variance alpha² v + sigma²."
    ),
    truth=mean_truth,
    cases=mean_cases,
    hints=(
        "First one component: put s = 0, so alpha_s = 1 and sigma_s = 0, into the lemma, with m = mu and its variance.",
        "Then the responsibilities: weight times normal density, divided by the sum over the components.",
        "`x_t[:, None]` has shape (B, 1) and the parameters (K,), so that all is (B, K). Over which dimension do "
        "you sum?",
    ),
    wrong=(
        Wrong(
            "weights for responsibilities",
            estimate(weigh=lambda x, alpha, sigma, weights, means, variances: weights + 0 * x),
            "You weigh the components by their weights, wherever x_t is. Where the point landed tells which component "
            "it came from: take the responsibilities.",
            "not seen in public yet",
        ),
        Wrong(
            "sigma² missing",
            estimate(weigh=densities(lambda alpha, means: alpha * means, lambda alpha, sigma, v: alpha**2 * v)),
            "In the responsibilities sigma² is missing: a noisy component has the variance alpha² v + sigma².",
            "catalogue of the course, 06 N2",
        ),
        Wrong(
            "alpha missing before the means",
            estimate(weigh=densities(lambda alpha, means: means, full)),
            "In the responsibilities alpha is missing before the means: noise moves a component to alpha mu.",
            "catalogue of the course, 06 N2",
        ),
        Wrong(
            "alpha for alpha²",
            estimate(weigh=densities(lambda alpha, means: alpha * means, lambda alpha, sigma, v: alpha * v + sigma**2)),
            "In the responsibilities you multiply the variances by alpha. A factor multiplies a variance by its "
            "square.",
            "not seen in public yet",
        ),
        Wrong(
            "the factor before the exponential",
            estimate(weigh=without_the_factor),
            "Your densities lack the factor 1 / sqrt(2 pi variance). It differs from component to component, so "
            "it does "
            "not cancel: narrow components are higher.",
            "not seen in public yet",
        ),
        Wrong(
            "the weights left out",
            estimate(weigh=without_weights),
            "Your responsibilities lack the weights of the components: a rare component is less probable.",
            "not seen in public yet",
        ),
        Wrong(
            "not normalised",
            estimate(
                weigh=lambda x, alpha, sigma, weights, means, variances: (
                    weights
                    * torch.exp(-((x - alpha * means) ** 2) / (2 * full(alpha, sigma, variances)))
                    / torch.sqrt(2 * math.pi * full(alpha, sigma, variances))
                )
            ),
            "Your responsibilities do not add up to 1. Divide weight times density by the sum over all components, "
            "also if there is only one.",
            "not seen in public yet",
        ),
        Wrong(
            "the centres",
            estimate(within=lambda x, alpha, sigma, means, variances: means + 0 * x),
            "You average the centres of the components. That is right for points without width. Within a "
            "component, x_t "
            "tells more: use the mean of the lemma.",
            "not seen in public yet",
        ),
        Wrong(
            "x_t divided by alpha",
            lambda x_t, alpha, sigma, weights, means, variances: x_t / alpha,
            "You divide x_t by alpha, as if there were no noise. Where noise is large, the components say more "
            "than x_t.",
            "not seen in public yet",
        ),
        Wrong(
            "the most responsible component alone",
            estimate(whole=lambda r, inner: inner.gather(1, r.argmax(dim=1, keepdim=True))[:, 0]),
            "You take the most responsible component alone. The mean is over all of them, weighted by their "
            "responsibilities.",
            "not seen in public yet",
        ),
        Wrong(
            "alpha times the mean",
            lambda x_t, alpha, sigma, weights, means, variances: (
                alpha * estimate()(x_t, alpha, sigma, weights, means, variances)
            ),
            "Your result is alpha times too small: that is the mean of the data's part of x_t. Return the mean of x0.",
            "not seen in public yet",
        ),
        Wrong(
            "the gain without alpha",
            estimate(
                within=lambda x, alpha, sigma, means, variances: (
                    means + variances / full(alpha, sigma, variances) * (x - alpha * means)
                )
            ),
            "In the mean within a component alpha is missing before its variance: the covariance of x0 and x_t is "
            "alpha v.",
            "not seen in public yet",
        ),
        Wrong(
            "a sign",
            estimate(
                within=lambda x, alpha, sigma, means, variances: (
                    means - alpha * variances / full(alpha, sigma, variances) * (x - alpha * means)
                )
            ),
            "The correction within a component has the wrong sign: x0 lies on the same side of the centre as x_t.",
            "acids-ircam/diffusion_models#7",
        ),
    ),
)


# 6.6 tweedie


def tweedie(x_t, score, alpha, sigma):
    return (x_t + sigma**2 * score) / alpha


def tweedie_by_the_noise(x_t, score, alpha, sigma):
    eps = -sigma * score  # the mean of the noise, given x_t
    return (x_t - sigma * eps) / alpha


def tweedie_truth(x_t, score, alpha, sigma):
    step = score * (sigma * sigma)
    return torch.add(x_t, step).div(alpha)


def tweedie_cases(g):
    alpha = 0.7 + round(0.1 * float(torch.rand((), generator=g)), 3)
    return (
        Case((doubles(1.0), doubles(-2.0), 0.8, 0.6), "x_t = 1, score = -2, alpha = 0.8 and sigma = 0.6"),
        Case((normals(g, 4, 2), 3 * normals(g, 4, 2), alpha, 0.4), f"four points, alpha = {alpha:.3f} and sigma = 0.4"),
    )


TWEEDIE = Exercise(
    id="6.6",
    name="tweedie",
    stub='''
def tweedie(x_t, score, alpha, sigma):
    """E[x0 | x_t] from the score at x_t, of the shape of x_t. alpha, sigma: numbers at t."""
    ...  # your code
''',
    solution=tweedie,
    alternative=tweedie_by_the_noise,
    why=(
        "The score is -(x_t - alpha E[x0 | x_t]) / sigma², so x_t + sigma² score is alpha E[x0 | x_t]. The score "
        "points\n"
        "uphill, towards the data, and to denoise is to go that way."
    ),
    truth=tweedie_truth,
    cases=tweedie_cases,
    hints=(
        "Start from score = -(x_t - alpha E) / sigma² and solve for E.",
        "Multiply both sides by -sigma² first. What is left to do?",
        "Check the sign with a point to the right of the only blob: the score is negative there, and E is smaller.",
    ),
    wrong=(
        Wrong(
            "sigma for sigma²",
            lambda x_t, score, alpha, sigma: (x_t + sigma * score) / alpha,
            "You multiply the score by sigma. The density of the noise has sigma² below the line, so sigma² belongs "
            "here.",
            "catalogue of the course, 06 N3",
        ),
        Wrong(
            "minus",
            lambda x_t, score, alpha, sigma: (x_t - sigma**2 * score) / alpha,
            "Your sign leads downhill, away from the data. The score points to where the density grows, and that "
            "is the "
            "way to go.",
            "acids-ircam/diffusion_models#7",
        ),
        Wrong(
            "the score taken for the noise",
            lambda x_t, score, alpha, sigma: (x_t - sigma * score) / alpha,
            "You use the score as if it were the noise. The noise is -sigma times the score: sign and factor differ.",
            "not seen in public yet: score and eps confused",
        ),
        Wrong(
            "alpha missing",
            lambda x_t, score, alpha, sigma: x_t + sigma**2 * score,
            "The division by alpha is missing: x_t + sigma² score is the mean of alpha x0.",
            "not seen in public yet",
        ),
        Wrong(
            "alpha multiplied",
            lambda x_t, score, alpha, sigma: alpha * (x_t + sigma**2 * score),
            "You multiply by alpha. x_t was shrunk by alpha, and this has to be undone: divide.",
            "not seen in public yet",
        ),
        Wrong(
            "a bracket missing",
            lambda x_t, score, alpha, sigma: x_t + sigma**2 * score / alpha,
            "Only the second part is divided by alpha: put a bracket around the sum.",
            "not seen in public yet",
        ),
        Wrong(
            "a bracket missing at the end",
            lambda x_t, score, alpha, sigma: x_t / alpha + sigma**2 * score,
            "Only x_t is divided by alpha: put a bracket around the sum.",
            "not seen in public yet",
        ),
        Wrong(
            "alpha squared",
            lambda x_t, score, alpha, sigma: (x_t + sigma**2 * score) / alpha**2,
            "You divide by alpha², which is alpha_bar. x_t contains alpha x0, so divide by alpha.",
            "labmlai/annotated_deep_learning_paper_implementations#152",
        ),
        Wrong(
            "1 - alpha for sigma²",
            lambda x_t, score, alpha, sigma: (x_t + (1 - alpha) * score) / alpha,
            "You multiply the score by 1 - alpha. The variance of the noise is sigma², or 1 - alpha².",
            "not seen in public yet: alpha and alpha_bar confused",
        ),
        Wrong(
            "half of it",
            lambda x_t, score, alpha, sigma: (x_t + sigma**2 / 2 * score) / alpha,
            "You go half of the way. Half of the score appears in the way back without noise (notebook 09); the "
            "mean of "
            "x0 needs all of it.",
            "notebook 09",
        ),
    ),
)


# 6.7 compare_variances


def compare_variances(path, v0, counts):
    rows = []
    for T in counts:
        times = torch.linspace(1, 0, T + 1, dtype=torch.float64)
        t, s = times[:-1], times[1:]
        factor, forward = path.transition(t, s)
        kept = factor * path.sigma(s) ** 2 / path.sigma(t) ** 2
        estimate = path.alpha(t) * v0 / (path.alpha(t) ** 2 * v0 + path.sigma(t) ** 2)  # E[x0 | x_t] / x_t
        c = kept + path.alpha(s) * forward / path.sigma(t) ** 2 * estimate
        widths = []
        for added in (path.posterior_variance(t, s), torch.where(s > 0, forward, torch.zeros_like(forward))):
            v = 1.0
            for slope, extra in zip(c.tolist(), added.tolist(), strict=True):
                v = slope**2 * v + extra
            widths.append(math.sqrt(v / v0))
        rows.append([float(T), *widths])
    return torch.tensor(rows, dtype=torch.float64)


def compare_variances_with_the_package(path, v0, counts):
    from minidiff import samplers

    def denoise(x, t):
        return path.alpha(t) * v0 / (path.alpha(t) ** 2 * v0 + path.sigma(t) ** 2) * x

    rows = torch.zeros(len(counts), 3, dtype=torch.float64)
    for row, T in enumerate(counts):
        v = torch.ones(2, dtype=torch.float64)
        walk = torch.linspace(1, 0, T + 1, dtype=torch.float64)
        for t, s in pairwise(walk):
            one = torch.ones(1, 1, dtype=torch.float64)
            slope = path.posterior(one, denoise(one, t), t, s)[0][0, 0]
            both = samplers.posterior_variance(path, t, s), samplers.forward_variance(path, t, s)
            v = slope**2 * v + torch.stack(both)
        rows[row] = torch.tensor([T, *(v / v0).sqrt().tolist()], dtype=torch.float64)
    return rows


def widths_like(path, v0, counts, *, root=True, share=True, start=1.0, noisy_end=False, off=1, exchanged=False, once=2):
    """The table with its parts exchangeable, by the other form of the mean: the estimate, and a part of the noise."""
    rows = []
    for T in counts:
        u = torch.linspace(1, 0, T + off, dtype=torch.float64)
        alpha, var = path.alpha(u), path.sigma(u) ** 2
        left = (alpha[:-1] / alpha[1:]) ** 2
        forward = var[:-1] - left * var[1:]
        back = forward * var[1:] / var[:-1]
        shrink = alpha[:-1] * v0 / (alpha[:-1] ** 2 * v0 + var[:-1])
        eps = torch.sqrt((var[1:] - back).clamp(min=0) / var[:-1]) * (1 - alpha[:-1] * shrink)
        if not noisy_end:
            forward = torch.cat([forward[:-1], torch.zeros(1, dtype=torch.float64)])
        both = []
        for extra in (back, forward):
            size = start
            for c, more in zip((alpha[1:] * shrink + eps).tolist(), extra.tolist(), strict=True):
                size = abs(c) ** once * size + more
            both.append(size / (v0 if share else 1))
        both = [value**0.5 if root else value for value in both]
        rows.append([float(T), *(both[::-1] if exchanged else both)])
    return torch.tensor(rows, dtype=torch.float64)


def widths_variant(*, root=True, share=True, noisy_end=False, off=1, exchanged=False, once=2):
    parts = {"root": root, "share": share, "noisy_end": noisy_end, "off": off, "exchanged": exchanged, "once": once}
    return lambda path, v0, counts: widths_like(path, v0, counts, **parts)


COMPARE_VARIANCES = Exercise(
    id="6.7",
    name="compare_variances",
    stub='''
def compare_variances(path, v0, counts):
    """A row for each number of steps T in counts, (len(counts), 3), float64, for data from N(0, v0).

    T, the width with the posterior variance, and the width with the forward variance (which is 0 in the last step).
    Both widths as a fraction of the true one, sqrt(v0).
    """
    ...  # your code
''',
    solution=compare_variances,
    alternative=compare_variances_with_the_package,
    why=(
        "The posterior variance leaves out what is uncertain about x0. It is right for data at a single point, "
        "and every\n"
        "wider blob comes out too narrow. T times the missing fraction grows slowly, like a logarithm. The "
        "forward variance\n"
        "is right for data from N(0, 1). With enough steps it makes narrower blobs too wide and wider ones too "
        "narrow, by a\n"
        "fraction that falls as 1 / T, without a logarithm."
    ),
    truth=widths_variant(),
    cases=lambda g: (
        Case((schedules.vp_linear(), 0.01, (4,)), "v0 = 0.01 and T = 4"),
        Case((schedules.vp_linear(), 0.5, (1, 8, 40)), "v0 = 0.5 and T = 1, 8, 40"),
        Case((schedules.cosine(), 0.04, (16,)), "v0 = 0.04 and T = 16 on the cosine path"),
    ),
    hints=(
        "`width_by_recursion` of section 7 gives the first column. What changes for the second?",
        "The variance obeys v_s = c² v_t + what the step adds. Only the last part differs between the two.",
        "`samplers.forward_variance(path, t, s)` is the other variance, and it is 0 in the last step already.",
    ),
    wrong=(
        Wrong(
            "columns exchanged",
            widths_variant(exchanged=True),
            "The last two columns are exchanged: first the posterior variance, then the forward one. (The second is "
            "the larger width.)",
            "jhbastek/PhysicsInformedDiffusionModels#4, KimRass/DDPM#1",
        ),
        Wrong(
            "the variance",
            widths_variant(root=False),
            "You return fractions of the variance. A width is a standard deviation: take the root.",
            "catalogue of the course, 06 E1",
        ),
        Wrong(
            "not divided by the true width",
            widths_variant(share=False),
            "You return the widths themselves. Divide them by the true width, sqrt(v0).",
            "not seen in public yet",
        ),
        Wrong(
            "the walk starts at the data",
            lambda path, v0, counts: widths_like(path, v0, counts, start=v0),
            "You start the recursion from v0. The reverse process starts from noise, whose variance is 1.",
            "not seen in public yet",
        ),
        Wrong(
            "noise in the last step",
            widths_variant(noisy_end=True),
            "With the forward variance you add noise in the last step too. It ends at s = 0, where nothing is added.",
            "TeaPearce/Conditional_Diffusion_MNIST#10",
        ),
        Wrong(
            "T times",
            widths_variant(off=0),
            "You make one step too few: T steps have T + 1 times, so `torch.linspace(1, 0, T + 1)`.",
            "off by one",
        ),
        Wrong(
            "the factor not squared",
            widths_variant(once=1),
            "You multiply the variance by the factor of x. A factor multiplies a variance by its square.",
            "not seen in public yet",
        ),
        Wrong(
            "v0 taken for the width",
            lambda path, v0, counts: widths_like(path, v0**2, counts),
            "You square v0, as if it were a width. It is the variance of the data already.",
            "not seen in public yet",
        ),
    ),
)


# 6.8 better_gaussian_step


def better_gaussian_step(mixture, path, x_t, t, s, g):
    kernel = exact.reverse_kernel(mixture, path, x_t, t, s)
    factor = torch.linalg.cholesky(kernel.covariance())  # factor @ factor.T is the covariance
    z = torch.randn(x_t.shape, generator=g, dtype=x_t.dtype)
    return kernel.mean() + torch.einsum("bij,bj->bi", factor, z)


def better_gaussian_step_by_eigenvalues(mixture, path, x_t, t, s, g):
    kernel = exact.reverse_kernel(mixture, path, x_t, t, s)
    values, vectors = torch.linalg.eigh(kernel.covariance())
    along = values.clamp(min=0).sqrt() * torch.randn(x_t.shape, generator=g, dtype=x_t.dtype)
    return kernel.mean() + (vectors @ along[:, :, None])[:, :, 0]


def better_truth(mixture, path, x_t, t, s, g):  # first one coordinate, then the other given the first
    true = exact.reverse_kernel(mixture, path, x_t, t, s)
    (a, b), (_, c) = true.covariance().permute(1, 2, 0)
    z1, z2 = torch.empty(2, len(x_t), dtype=x_t.dtype).normal_(generator=g)
    first, second = a.sqrt() * z1, b / a.sqrt() * z1 + (c - b**2 / a).sqrt() * z2
    return true.mean() + torch.stack([first, second], dim=1)


PAIR = exact.GaussianMixture(
    doubles(0.4, 0.6),
    torch.stack([doubles(0.8, 0.2), doubles(2.9, 1.7)]),
    torch.stack([torch.stack([doubles(0.5, 0.2), doubles(0.2, 0.2)]), torch.stack([doubles(0.1, 0), doubles(0, 0.3)])]),
)


def better_cases(g):
    t = 0.55 + round(0.1 * float(torch.rand((), generator=g)), 3)
    places = doubles(0.5, 0.3).expand(POINTS, 2), doubles(-0.2, 0.1).expand(POINTS, 2)
    says = f"x_t = (0.5, 0.3) and (-0.2, 0.1), {POINTS} times each, t = {t:.3f} and s = 0.2"
    return (Case((PAIR, schedules.vp_linear(), torch.cat(places), double(t), double(0.2), RNG), says),)


@functools.lru_cache(maxsize=20)
def _kernel(mixture, path, places, t, s, to_data):
    x_t = torch.frombuffer(bytearray(places), dtype=torch.float64).reshape(-1, 2)
    kernel = exact.reverse_kernel(mixture, path, x_t, double(t), double(s), to_data=to_data)
    return kernel, kernel.mean(), kernel.covariance()


def kept_kernel(mixture, path, x_t, t, s, to_data=False):
    """The true step, its mean and its covariance: the wrong answers need the same ones again and again."""
    return _kernel(mixture, path, x_t.numpy().tobytes(), float(t), float(s), to_data)


def better_numbers(out, mixture, path, x_t, t, s):
    rest = out - kept_kernel(mixture, path, x_t, t, s)[1]
    x, y = rest[..., 0], rest[..., 1]
    numbers = {
        "the mean of the first coordinate": out[..., 0],
        "the mean of the second coordinate": out[..., 1],
        "the mean of the first coordinate times that of x_t": out[..., 0] * x_t[:, 0],
        "the variance of the first coordinate": x**2,
        "the variance of the second coordinate": y**2,
        "the covariance of the coordinates": x * y,
        "the fourth moment of the first coordinate": x**4,
        "the fourth moment of the second coordinate": y**4,
        "the third moment of the sum of the coordinates": (x + y) ** 3,
        "the variance of the first coordinate within one call": x.var(dim=1),
    }
    return {name: value.reshape(len(out), -1).mean(dim=1) for name, value in numbers.items()}


def drawn(root=torch.linalg.cholesky, mean=None, to_data=False):
    """An answer with another root of the covariance, or another mean."""

    def answer(mixture, path, x_t, t, s, g):
        _, centre, covariance = kept_kernel(mixture, path, x_t, t, s, to_data)
        centre = centre if mean is None else mean(mixture, path, x_t, t)
        return centre + torch.einsum("bij,bj->bi", root(covariance), normals(g, *x_t.shape))

    return answer


def within_only(mixture, path, x_t, t, s, g):
    kernel, centre, _ = kept_kernel(mixture, path, x_t, t, s)
    inner = torch.einsum("kij,bkj,klj->bkil", kernel.vectors, kernel.variances, kernel.vectors)
    root = torch.linalg.cholesky(torch.einsum("bk,bkij->bij", kernel.weights, inner))
    return centre + torch.einsum("bij,bj->bi", root, normals(g, *x_t.shape))


def usual_step(mixture, path, x_t, t, s, g):
    mean, variance = path.posterior(x_t, kept_kernel(mixture, path, x_t, t, 0.0, True)[1], t, s)
    return mean + variance.sqrt() * normals(g, *x_t.shape)


def same_on_both(mixture, path, x_t, t, s, g):
    _, centre, covariance = kept_kernel(mixture, path, x_t, t, s)
    return centre + covariance.diagonal(dim1=1, dim2=2).sqrt() * normals(g, len(x_t), 1)


def same_for_all(mixture, path, x_t, t, s, g):
    _, centre, covariance = kept_kernel(mixture, path, x_t, t, s)
    return centre + torch.linalg.cholesky(covariance) @ normals(g, 2)


BETTER_STEP = Exercise(
    id="6.8",
    name="better_gaussian_step",
    stub='''
def better_gaussian_step(mixture, path, x_t, t, s, g):
    """Draw x_s, (B, 2), from the Gaussian that has the mean and the covariance of q(x_s | x_t).

    `exact.reverse_kernel(mixture, path, x_t, t, s)` knows both: its methods mean() and covariance().
    """
    ...  # your code
''',
    solution=better_gaussian_step,
    alternative=better_gaussian_step_by_eigenvalues,
    why=(
        "If F F^T is the covariance C, then F z has the covariance F E[z z^T] F^T = C. Cholesky's factor is such "
        "an F,\n"
        "and so are the eigenvectors times the roots of the eigenvalues. The step has the right mean and the right\n"
        "covariance, and reaches the floor in fewer steps. What no Gaussian can do is to have two peaks: in two steps\n"
        "the corners of the triangle are still joined."
    ),
    truth=better_truth,
    cases=better_cases,
    view=better_numbers,
    calls=60,
    hints=(
        "You need a matrix F with F F^T = C, the covariance. Then mean + F z is what you want. Which F do you know?",
        "`torch.linalg.cholesky` takes a whole batch (B, 2, 2) and gives such an F for each.",
        "F z for a batch is `torch.einsum('bij,bj->bi', F, z)`. Mind the order of the indices.",
    ),
    wrong=(
        Wrong(
            "the factor transposed",
            drawn(lambda covariance: torch.linalg.cholesky(covariance).mT),
            "Your factor is transposed: F^T z has the covariance F^T F, which is another matrix than F F^T.",
            "catalogue of the course, 06 E2",
        ),
        Wrong(
            "the diagonal only",
            drawn(lambda covariance: torch.diag_embed(covariance.diagonal(dim1=1, dim2=2).sqrt())),
            "You use the variances of the two axes only. Their covariance is part of the step, too.",
            "catalogue of the course, 06 E2",
        ),
        Wrong(
            "no root",
            drawn(lambda covariance: covariance),
            "You multiply the noise by the covariance itself, or by eigenvalues without their roots. Then the "
            "covariance of the result is its square.",
            "catalogue of the course, 06 E2",
        ),
        Wrong(
            "the distribution of x0",
            drawn(to_data=True),
            "You draw from the distribution of x0 given x_t. Draw x_s instead: leave out to_data.",
            "catalogue of the course, 06 E2",
        ),
        Wrong(
            "the usual step",
            usual_step,
            "That is DDPM's step: its mean is right, and its variance is the posterior variance alone. What is "
            "uncertain "
            "about x0 is missing.",
            "notebook 06, section 5",
        ),
        Wrong(
            "the variance within the components",
            within_only,
            "You average the covariances of the components. The centres of the components differ as well, and that "
            "adds to the covariance: kernel.covariance() has both parts.",
            "not seen in public yet",
        ),
        Wrong(
            "the true step itself",
            lambda mixture, path, x_t, t, s, g: kept_kernel(mixture, path, x_t, t, s)[0].sample(g),
            "You draw from the true step, which is a mixture. Mean and covariance are right, but this exercise wants "
            "the Gaussian that has them.",
            "not seen in public yet",
        ),
        Wrong(
            "the mean of x0",
            drawn(mean=lambda mixture, path, x_t, t: kept_kernel(mixture, path, x_t, t, 0.0, True)[1]),
            "You draw around the mean of x0. Take the mean of x_s: kernel.mean().",
            "not seen in public yet",
        ),
        Wrong(
            "one noise for both axes",
            same_on_both,
            "Each point gets one number as noise, used on both axes. Draw noise of the shape of x_t.",
            "broadcasting of (B, 1)",
        ),
        Wrong(
            "one noise for all points",
            same_for_all,
            "All points get the same noise. Draw noise of the shape of x_t.",
            "jolibrain/joliGEN#527",
        ),
    ),
)


# 6.9 mixture_score


def mixture_score(x, alpha, sigma, weights, means, covariances):
    spread = alpha**2 * covariances + sigma**2 * torch.eye(2, dtype=x.dtype)
    away = x[:, None] - alpha * means  # (B, K, 2)
    pull = -torch.linalg.solve(spread, away[..., None])[..., 0]
    log_density = (away * pull).sum(dim=2) / 2 - torch.logdet(spread) / 2
    responsibilities = torch.softmax(torch.log(weights) + log_density, dim=1)
    return (responsibilities[..., None] * pull).sum(dim=1)


def mixture_score_by_autograd(x, alpha, sigma, weights, means, covariances):
    x = x.clone().requires_grad_()
    noisy = torch.distributions.MultivariateNormal(
        alpha * means, alpha**2 * covariances + sigma**2 * torch.eye(2, dtype=x.dtype)
    )
    log_p = torch.logsumexp(torch.log(weights) + noisy.log_prob(x[:, None]), dim=1)
    return torch.autograd.grad(log_p.sum(), x)[0]


def score_truth(x, alpha, sigma, weights, means, covariances):  # Tweedie's formula, solved for the score
    mixture = exact.GaussianMixture(weights, means, covariances)
    there = GaussianPath(lambda t: alpha + 0 * t, lambda t: sigma + 0 * t)
    return (alpha * exact.posterior_mean(mixture, there, x, double(0.5)) - x) / sigma**2


def score_cases(g):
    parts = doubles(0.4, 0.6), PAIR.means, PAIR.covariances
    alpha = 0.7 + round(0.1 * float(torch.rand((), generator=g)), 3)
    one = doubles(1.0), doubles(1.0, -1.0)[None], torch.eye(2, dtype=torch.float64)[None] / 4
    far = torch.stack([doubles(70.0, -20.0), doubles(-90.0, 30.0)])
    return (
        Case(
            (doubles(2.0, 0.5)[None], 0.8, 0.6, *one), "x = (2, 0.5), alpha = 0.8, sigma = 0.6 and one round component"
        ),
        Case(
            (normals(g, 6, 2), alpha, 0.5, *parts), f"six points, alpha = {alpha:.3f}, sigma = 0.5 and two components"
        ),
        Case((far, 0.8, 0.6, *parts), "points as far out as (70, -20), and two components"),
    )


def scored(centre=None, spread=None, sign=1.0, naive=False, weigh=True, whole=None):
    """An answer with parts exchanged."""

    def answer(x, alpha, sigma, weights, means, covariances):
        one = torch.eye(2, dtype=x.dtype)
        size = alpha**2 * covariances + sigma**2 * one
        size = size if spread is None else spread(alpha, sigma, covariances, one)
        away = x[:, None] - (alpha * means if centre is None else centre(alpha, means))
        pull = -torch.linalg.solve(size, away[..., None])[..., 0]
        logs = torch.log(weights) + (away * pull).sum(dim=2) / 2 - torch.logdet(size) / 2
        if naive:
            density = torch.exp(logs)
            return (density[..., None] * pull).sum(dim=1) / density.sum(dim=1, keepdim=True)
        r = torch.softmax(logs, dim=1) if weigh else weights + 0 * logs
        if whole is not None:
            return whole(r, pull, logs)
        return sign * (r[..., None] * pull).sum(dim=1)

    return answer


MIXTURE_SCORE = Exercise(
    id="6.9",
    name="mixture_score",
    stub='''
def mixture_score(x, alpha, sigma, weights, means, covariances):
    """The gradient of ln p_t at x, (B, 2), for a mixture in the plane. x: (B, 2), also far out.

    alpha, sigma: numbers at t. weights: (K,); means: (K, 2); covariances: (K, 2, 2), all of the data.
    """
    ...  # your code
''',
    solution=mixture_score,
    alternative=mixture_score_by_autograd,
    why=(
        "Every component pulls with -(alpha² C + sigma² I)^-1 (x - alpha mu), and each pull counts as much as the\n"
        "component is responsible for the point. Far out every density is 0 in floating point, and 0 / 0 is NaN. A\n"
        "softmax of logarithms subtracts the largest one first, and has no such trouble."
    ),
    truth=score_truth,
    cases=score_cases,
    hints=(
        "Section 9 has the formula: a sum of pulls, weighted by responsibilities.",
        "The pull is `-torch.linalg.solve(spread, away)`, with spread = alpha² C + sigma² I for each component.",
        "Take logarithms of weight times density, and `torch.softmax` over the components. Densities far out are 0.",
    ),
    wrong=(
        Wrong(
            "the sign",
            scored(sign=-1.0),
            "Your arrows point away from the data. The score points to where the density grows.",
            "acids-ircam/diffusion_models#7",
        ),
        Wrong(
            "sigma² missing",
            scored(spread=lambda alpha, sigma, c, one: alpha**2 * c),
            "The noise is missing: a noisy component has the covariance alpha² C + sigma² I.",
            "catalogue of the course, 06 N2",
        ),
        Wrong(
            "sigma for sigma²",
            scored(spread=lambda alpha, sigma, c, one: alpha**2 * c + sigma * one),
            "You add sigma to the covariance. A covariance holds variances, so add sigma².",
            "not seen in public yet",
        ),
        Wrong(
            "alpha missing before the means",
            scored(centre=lambda alpha, means: means),
            "alpha is missing before the means: noise moves a component to alpha mu.",
            "catalogue of the course, 06 N2",
        ),
        Wrong(
            "alpha missing before the covariances",
            scored(spread=lambda alpha, sigma, c, one: c + sigma**2 * one),
            "alpha² is missing before the covariances: shrinking by alpha multiplies a covariance by alpha².",
            "not seen in public yet",
        ),
        Wrong(
            "alpha for alpha²",
            scored(spread=lambda alpha, sigma, c, one: alpha * c + sigma**2 * one),
            "You multiply the covariances by alpha. A factor multiplies a covariance by its square.",
            "not seen in public yet",
        ),
        Wrong(
            "underflow",
            scored(naive=True),
            "Your formula is right, but far from all components every density underflows to 0, and 0 / 0 is NaN. Take "
            "the softmax of logarithms instead.",
            "rust-ml/linfa#443",
        ),
        Wrong(
            "plus for times",
            scored(whole=lambda r, pull, logs: (r[..., None] + pull).sum(dim=1)),
            "You add responsibility and pull. Each pull is multiplied by its responsibility.",
            "JavierAntoran/Bayesian-Neural-Networks#15",
        ),
        Wrong(
            "weights for responsibilities",
            scored(weigh=False),
            "You weigh the pulls by the weights of the components, wherever x is. Far from a component it has no say: "
            "take the responsibilities.",
            "not seen in public yet",
        ),
        Wrong(
            "the sum of all pulls",
            scored(whole=lambda r, pull, logs: pull.sum(dim=1)),
            "You add up the pulls of all components in full. That is the score of a product of densities. Weigh "
            "them by "
            "the responsibilities.",
            "not seen in public yet",
        ),
        Wrong(
            "the covariance not inverted",
            lambda x, alpha, sigma, weights, means, covariances: scored(
                whole=lambda r, pull, logs: (
                    -r[..., None]
                    * torch.einsum(
                        "kij,bkj->bki",
                        alpha**2 * covariances + sigma**2 * torch.eye(2, dtype=x.dtype),
                        x[:, None] - alpha * means,
                    )
                ).sum(dim=1)
            )(x, alpha, sigma, weights, means, covariances),
            "You multiply by the covariance. The pull of a narrow component is stronger: multiply by the inverse.",
            "not seen in public yet",
        ),
    ),
)


# 6.10 widened


def widened(points, h):
    n, d = points.shape
    weights = torch.full((n,), 1 / n, dtype=points.dtype)
    covariances = h**2 * torch.eye(d, dtype=points.dtype).expand(n, d, d)
    return weights, points, covariances


def widened_by_ones(points, h):
    weights = torch.ones_like(points[:, 0]) / len(points)
    return weights, points.clone(), torch.diag_embed(torch.full_like(points, h) ** 2)


def widened_truth(points, h):
    n = len(points)
    round_one = [[h * h, 0.0], [0.0, h * h]]
    return torch.tensor([1.0 / n] * n).to(points), 1.0 * points, torch.tensor([round_one] * n).to(points)


def wide(weights=None, centres=None, covariances=None):
    """The three parts with one of them exchanged."""

    def answer(points, h):
        n, one = len(points), torch.eye(2, dtype=points.dtype)
        return (
            torch.full((n,), 1 / n, dtype=points.dtype) if weights is None else weights(points),
            points + 0.0 if centres is None else centres(points, h),
            (h**2 * one).repeat(n, 1, 1) if covariances is None else covariances(n, h, one),
        )

    return answer


WIDENED = Exercise(
    id="6.10",
    name="widened",
    stub='''
def widened(points, h):
    """Weights (N,), means (N, 2), covariances (N, 2, 2) of a mixture with a round Gaussian around each point.

    points: (N, 2). h: the standard deviation of the Gaussians. All in the dtype of the points.
    """
    ...  # your code
''',
    solution=widened,
    alternative=widened_by_ones,
    why=(
        "Every point gets the same weight, 1 / N, its own place as the centre, and the covariance h² I. For h = "
        "0 this\n"
        "is the data set itself, and the model copies. With h of about 0.15, a little more than the distance between\n"
        "neighbours, the samples lie about as far from the training set as unseen data do. With a very large h "
        "they fill\n"
        "the plane between and around the moons, where no data are. Statisticians call this a kernel density "
        "estimate,\n"
        "and h its bandwidth."
    ),
    truth=widened_truth,
    cases=lambda g: (
        Case((torch.stack([doubles(1.0, 2.0), doubles(-3.0, 0.5)]), 0.5), "points (1, 2) and (-3, 0.5), and h = 0.5"),
        Case((torch.randn(5, 2, generator=g) + 1, 0.2), "five points in float32, and h = 0.2"),
    ),
    parts=("the weights", "the means", "the covariances"),
    hints=(
        "How many components are there, and how probable is each?",
        "A covariance holds variances. What is the variance of a Gaussian of standard deviation h?",
        "There is one covariance for each point: `torch.eye(2).expand(N, 2, 2)`, times a number.",
    ),
    wrong=(
        Wrong(
            "h for h²",
            wide(covariances=lambda n, h, one: (h * one).repeat(n, 1, 1)),
            "You put h on the diagonal. A covariance holds variances, and the variance is h².",
            "catalogue of the course, 06 E4",
        ),
        Wrong(
            "weights of 1",
            wide(weights=lambda points: torch.ones(len(points), dtype=points.dtype)),
            "All your weights are 1, so they add up to N. The weights of a mixture add up to 1.",
            "catalogue of the course, 06 E4",
        ),
        Wrong(
            "one covariance",
            wide(covariances=lambda n, h, one: h**2 * one),
            "You return one covariance. Each of the N components has its own, so the shape is (N, 2, 2).",
            "catalogue of the course, 06 E4",
        ),
        Wrong(
            "weights by distance",
            wide(weights=lambda points: torch.softmax(-(points**2).sum(dim=1), dim=0)),
            "Your weights depend on where a point lies. Every training point counts alike: 1 / N.",
            "not seen in public yet",
        ),
        Wrong(
            "ones everywhere",
            wide(covariances=lambda n, h, one: (h**2 * torch.ones_like(one)).repeat(n, 1, 1)),
            "Your covariances have h² everywhere. Then both axes move together; a round Gaussian has h² times the "
            "identity.",
            "not seen in public yet",
        ),
        Wrong(
            "the covariance of all points added",
            lambda points, h: wide(covariances=lambda n, h, one: (h**2 * one + points.T.cov()).repeat(n, 1, 1))(
                points, h
            ),
            "Your covariances contain that of the whole data set. Around each point only the width h counts.",
            "not seen in public yet",
        ),
        Wrong(
            "1 / h²",
            wide(covariances=lambda n, h, one: (one / h**2).repeat(n, 1, 1)),
            "You put 1 / h² on the diagonal. That is the precision; a covariance is its inverse.",
            "not seen in public yet",
        ),
        Wrong(
            "divided among the points",
            wide(covariances=lambda n, h, one: (h**2 / n * one).repeat(n, 1, 1)),
            "You divide the covariances by N. Only the weights are divided among the points.",
            "not seen in public yet",
        ),
        Wrong(
            "means scaled",
            wide(centres=lambda points, h: h * points),
            "You multiply the points by h. The centres are the points themselves.",
            "not seen in public yet",
        ),
    ),
)


# 6.11 decision


def decision():
    path, mixture, g = schedules.vp_linear(), data.eight_gaussians(), generator(6, 21)
    x0 = mixture.sample(4000, g)[0]
    eps = torch.randn(x0.shape, generator=g)
    for t in torch.linspace(0.3, 0.0, 601)[
        :-1
    ]:  # from noise to data; forward points are distributed as those on the way back
        r = exact.responsibilities(mixture, path, path.perturb(x0, t, eps), t).max(dim=1).values
        if r.median() > 0.9:
            return float(t)
    return None


DECISION = Question(
    id="6.11",
    name="decision",
    stub="decision = None  # the time t, from 0 to 1, at which half of the points have decided",
    right=(0.1, 0.115),
    solution=decision,
    why=(
        "Half of the points have decided at t of about 0.107. There sigma / alpha is about a third of the distance\n"
        "between neighbouring centres. The rule of thumb, half of that distance, gives 0.155: the noise is then as\n"
        "large as the way to the border between two blobs, and the choice is only beginning."
    ),
    hints=(
        "`exact.responsibilities` gives (B, 8). Which number of each row tells how sure a point is?",
        "Walk back, and at each t take the largest responsibility of each point. Where does its median pass 0.9?",
        "The answer lies between 0.05 and 0.15. Use enough times there, for example 400 steps in all.",
    ),
    wrong=(
        WrongValue(
            "the mean",
            (0.083, 0.097),
            "That is where the *mean* of the largest responsibilities passes 0.9. Half of the points is the median: a "
            "few undecided points pull the mean down.",
            "catalogue of the course, 06 E5",
        ),
        WrongValue(
            "half of the distance",
            (0.145, 0.166),
            "That is where sigma / alpha is half of the distance between neighbouring centres: the rule of thumb, and "
            "not the measurement. Compare the two.",
            "not seen in public yet",
        ),
        WrongValue(
            "sigma without alpha",
            (0.172, 0.19),
            "That is where sigma alone is half of the distance. The centres shrink by alpha on the way, so compare "
            "sigma / alpha; and the measurement comes from the responsibilities.",
            "catalogue of the course, 06 E5",
        ),
        WrongValue(
            "the whole distance",
            (0.26, 0.285),
            "That is where sigma / alpha is the whole distance between neighbouring centres. The border lies at "
            "half of "
            "it; and the measurement comes from the responsibilities.",
            "catalogue of the course, 06 E5",
        ),
        WrongValue(
            "time upside down",
            (0.88, 0.905),
            "You count from noise to data. In this course t = 0 is the data and t = 1 the noise: yours is 1 - t.",
            "not seen in public yet",
        ),
        WrongValue(
            "a step for a time",
            (1.01, 100_000),
            "That is a number of steps. Divide it by the number of all steps, and count from the data.",
            "not seen in public yet",
        ),
    ),
)

EXERCISES = (
    *(FILL_TABLE, BEST_BINS, STEP_GIVEN_X0, WALK_BACK, POSTERIOR_MEAN, TWEEDIE),
    *(COMPARE_VARIANCES, BETTER_STEP, MIXTURE_SCORE, WIDENED, DECISION),
)
