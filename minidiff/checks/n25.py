"""The exercises of notebook 25, functions: 25.1 to 25.3 in its flow, 25.4 to 25.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from minidiff import exact, schedules
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Functions"


# 25.1 chain_covariance


def chain_covariance(path, times):
    s, t = torch.minimum(times[:, None], times), torch.maximum(times[:, None], times)
    return path.alpha(t) / path.alpha(s) * path.sigma(s) ** 2


def chain_covariance_by_signal_and_noise(path, times):
    ratio = (
        path.sigma(times) ** 2 / path.alpha(times) ** 2
    )  # the noise of x_t / alpha_t grows as a Brownian motion does
    alpha = path.alpha(times)
    return alpha[:, None] * alpha * torch.minimum(ratio[:, None], ratio)


def chain_covariance_truth(path, times):
    """Step by step: each x_t is a factor times the one before, plus noise of its own."""
    found = (path.sigma(times[0]) ** 2).reshape(1, 1)
    for before, now in itertools.pairwise(times):
        factor, fresh = path.transition(now, before)
        row = factor * found[-1:]
        corner = factor**2 * found[-1:, -1:] + fresh
        found = torch.cat([torch.cat([found, row.T], 1), torch.cat([row, corner], 1)])
    return found


def chain_covariance_cases(g):
    middle, late = uniform(g, 0.35, 0.5), uniform(g, 0.65, 0.8)
    return (
        Case((schedules.cosine(), doubles(0.2, 0.6)), "the path `cosine` and the times 0.2 and 0.6"),
        Case(
            (schedules.rectified_flow(), doubles(0.25, middle, late)),
            f"the path `rectified_flow` and the times 0.25, {middle} and {late}",
        ),
    )


def with_parts(combine):
    """A covariance from alpha and sigma at the earlier time s and the later time t: combine(a_s, s_s, a_t, s_t)."""

    def answer(path, times):
        s, t = torch.minimum(times[:, None], times), torch.maximum(times[:, None], times)
        return combine(path.alpha(s), path.sigma(s), path.alpha(t), path.sigma(t))

    return answer


def only_above(path, times):
    return torch.triu(chain_covariance(path, times))


def as_correlation(path, times):
    found = chain_covariance(path, times)
    return found / (path.sigma(times)[:, None] * path.sigma(times))


CHAIN_COVARIANCE = Exercise(
    id="25.1",
    name="chain_covariance",
    stub='''
def chain_covariance(path, times):
    """Cov(x_s, x_t | x0) for all pairs of times, (T, T), where x is one number that goes along the noising chain.

    path: a GaussianPath, with path.alpha(t) and path.sigma(t). times: (T,), rising, all above 0.
    """
    ...  # your code
''',
    solution=chain_covariance,
    alternative=chain_covariance_by_signal_and_noise,
    why=(
        "From s to a later t the chain does x_t = (alpha_t / alpha_s) x_s + fresh noise. The fresh noise is "
        "independent\n"
        "of x_s, so only the first part has a covariance with x_s: the factor times the variance of x_s."
    ),
    truth=chain_covariance_truth,
    cases=chain_covariance_cases,
    hints=(
        "Take s < t. Notebook 05 writes x_t as a factor times x_s plus fresh noise. What is the factor?",
        "The fresh noise knows nothing of x_s. So the covariance is the factor times Var(x_s | x0) = sigma_s².",
        "`torch.minimum(times[:, None], times)` is a matrix of the earlier time of each pair.",
    ),
    wrong=(
        Wrong(
            "fully correlated",
            with_parts(lambda a_s, s_s, a_t, s_t: s_s * s_t),
            "You multiply the two standard deviations, as if x_t used the same noise as x_s. The chain adds fresh "
            "noise "
            "in between.",
            UNSEEN,
        ),
        Wrong(
            "the factor inverted",
            with_parts(lambda a_s, s_s, a_t, s_t: a_s / a_t * s_s**2),
            "Your factor is alpha_s / alpha_t, which is above 1. From s to t the chain shrinks: alpha_t / alpha_s.",
            UNSEEN,
        ),
        Wrong(
            "the later variance",
            with_parts(lambda a_s, s_s, a_t, s_t: a_t / a_s * s_t**2),
            "You take the variance at the later time. Only the noise that is in x_s already is shared by both.",
            UNSEEN,
        ),
        Wrong(
            "independent noise at each time",
            lambda path, times: torch.diag(path.sigma(times) ** 2),
            "You have a diagonal matrix, as if each x_t were drawn anew from x0. Along the chain x_t is made from x_s.",
            "the jump of notebook 05, drawn once for each time",
        ),
        Wrong(
            "no factor",
            with_parts(lambda a_s, s_s, a_t, s_t: s_s**2),
            "That is a Brownian motion, which keeps all its past. The chain shrinks x_s by alpha_t / alpha_s on the "
            "way.",
            UNSEEN,
        ),
        Wrong(
            "not given x0",
            with_parts(lambda a_s, s_s, a_t, s_t: a_s * a_t + a_t / a_s * s_s**2),
            "You count the variance of the data as well. Here x0 is given, so only the noise varies.",
            UNSEEN,
        ),
        Wrong(
            "the correlation",
            as_correlation,
            "You return the correlation, with ones on the diagonal. The covariance has sigma² there.",
            UNSEEN,
        ),
        Wrong(
            "the factor squared",
            with_parts(lambda a_s, s_s, a_t, s_t: (a_t / a_s) ** 2 * s_s**2),
            "The factor is squared in the variance of x_t. In a covariance with x_s it comes once.",
            UNSEEN,
        ),
        Wrong(
            "a standard deviation",
            with_parts(lambda a_s, s_s, a_t, s_t: a_t / a_s * s_s),
            "You have sigma_s where its square should be.",
            UNSEEN,
        ),
        Wrong(
            "the signal only",
            with_parts(lambda a_s, s_s, a_t, s_t: a_s * a_t),
            "alpha_s alpha_t is the covariance of the two signals, if x0 varies. Here x0 is given.",
            UNSEEN,
        ),
        Wrong(
            "one triangle",
            only_above,
            "Your matrix has zeros below the diagonal. A covariance is symmetric.",
            UNSEEN,
        ),
        Wrong(
            "the fresh noise",
            with_parts(lambda a_s, s_s, a_t, s_t: s_t**2 - (a_t / a_s) ** 2 * s_s**2),
            "That is the variance of the fresh noise between s and t, the part of x_t that x_s knows nothing about.",
            UNSEEN,
        ),
    ),
)


# 25.2 denoise_gp


def denoise_gp(f_t, K, C, alpha, sigma):
    noisy = alpha**2 * K + sigma**2 * C
    return alpha * f_t @ torch.linalg.solve(noisy, K)


def denoise_gp_with_precisions(f_t, K, C, alpha, sigma):
    information = torch.linalg.inv(K) + alpha**2 / sigma**2 * torch.linalg.inv(C)
    pull = alpha / sigma**2 * torch.linalg.solve(C, f_t.T)
    return torch.linalg.solve(information, pull).T


def denoise_gp_truth(f_t, K, C, alpha, sigma):
    """Bayes' rule for one function after the other, where the noise has been made white."""
    to_white = torch.linalg.inv(torch.linalg.cholesky(C))
    prior = exact.GaussianMixture(torch.ones(1, dtype=K.dtype), torch.zeros(1, len(K), dtype=K.dtype), K[None])
    return torch.stack([exact.posterior(prior, alpha * to_white, to_white @ f, sigma).mean() for f in f_t])


def rough_and_smooth(x, smooth, rough):
    gaps = (x[:, None] - x).abs()
    return torch.exp(-0.5 * (gaps / smooth) ** 2) + 0.01 * torch.eye(len(x)).to(x), torch.exp(-gaps / rough)


def denoise_gp_cases(g):
    K, C = doubles(1.0, 0.8, 0.8, 2.0).reshape(2, 2), doubles(1.0, 0.3, 0.3, 1.0).reshape(2, 2)
    n = 5
    x = torch.linspace(0, 1, n, dtype=torch.float64)
    smooth, rough = rough_and_smooth(x, uniform(g, 0.2, 0.3), uniform(g, 0.3, 0.5))
    smooth = smooth * torch.linspace(0.7, 1.5, n)[:, None] * torch.linspace(0.7, 1.5, n)
    angle = uniform(g, 0.5, 0.9)
    alpha, sigma = math.cos(angle), math.sin(angle)
    return (
        Case(
            (doubles(1.0, -0.5)[None], K, C, 0.8, 0.6), "two points, K = [[1, 0.8], [0.8, 2]], alpha = 0.8, sigma = 0.6"
        ),
        Case(
            (normals(g, 3, n), smooth, C_of(rough), alpha, sigma), f"three functions on {n} points, sigma = {sigma:.3f}"
        ),
    )


def C_of(rough: Tensor) -> Tensor:
    """A noise that is stronger at one end, so that it commutes with nothing."""
    strength = torch.linspace(1.2, 0.8, len(rough), dtype=rough.dtype)
    return strength[:, None] * rough * strength


def gain(numerator, denominator, last=lambda f_t, found, alpha, sigma: found):
    """f_t @ denominator^-1 @ numerator, each a function of (K, C, alpha, sigma)."""

    def answer(f_t, K, C, alpha, sigma):
        filtered = f_t @ torch.linalg.solve(denominator(K, C, alpha, sigma), numerator(K, C, alpha, sigma))
        return last(f_t, filtered, alpha, sigma)

    return answer


def right_top(K, C, alpha, sigma):
    return alpha * K


def right_bottom(K, C, alpha, sigma):
    return alpha**2 * K + sigma**2 * C


def each_point_alone(f_t, K, C, alpha, sigma):
    k, c = K.diagonal(), C.diagonal()
    return alpha * k / (alpha**2 * k + sigma**2 * c) * f_t


DENOISE_GP = Exercise(
    id="25.2",
    name="denoise_gp",
    stub='''
def denoise_gp(f_t, K, C, alpha, sigma):
    """E[f | f_t] for functions f from a Gaussian process of mean 0, (B, n).

    f_t = alpha f + sigma g, (B, n). K: covariance of the values of f, (n, n). C: covariance of the noise g, (n, n).
    alpha, sigma: numbers.
    """
    ...  # your code
''',
    solution=denoise_gp,
    alternative=denoise_gp_with_precisions,
    why=(
        "f and f_t are jointly normal with mean 0. So E[f | f_t] = Cov(f, f_t) Cov(f_t)^-1 f_t, with Cov(f, f_t) = "
        "alpha K\n"
        "and Cov(f_t) = alpha² K + sigma² C. Rows of f_t are functions, so the matrices stand on their right."
    ),
    truth=denoise_gp_truth,
    cases=denoise_gp_cases,
    hints=(
        "f and f_t are jointly normal, so the conditional mean is linear: Cov(f, f_t) Cov(f_t)^-1 f_t.",
        "Cov(f, f_t) is alpha K. What is Cov(f_t), if signal and noise are independent?",
        "Each row of f_t is a function. For a column it is alpha K S^-1 f; for rows it is f S^-1 K alpha.",
    ),
    wrong=(
        Wrong(
            "alpha forgotten",
            gain(lambda K, C, alpha, sigma: K, lambda K, C, alpha, sigma: K + sigma**2 * C),
            "That is regression for f + sigma g. Here the signal is shrunk by alpha as well.",
            UNSEEN,
        ),
        Wrong(
            "white noise",
            gain(right_top, lambda K, C, alpha, sigma: alpha**2 * K + sigma**2 * torch.eye(len(K)).to(K)),
            "You treat the noise as white, with the unit matrix for C. The noise of neighbouring points is correlated.",
            UNSEEN,
        ),
        Wrong(
            "the shrunk signal",
            gain(lambda K, C, alpha, sigma: alpha**2 * K, right_bottom),
            "You return alpha times the answer: the signal as it is within f_t. Divide by alpha once.",
            UNSEEN,
        ),
        Wrong(
            "no alpha in front",
            gain(lambda K, C, alpha, sigma: K, right_bottom),
            "Cov(f, f_t) is alpha K. You have K alone, so the answer is too large by 1 / alpha.",
            UNSEEN,
        ),
        Wrong(
            "sigma not squared",
            gain(right_top, lambda K, C, alpha, sigma: alpha**2 * K + sigma * C),
            "The covariance of sigma g is sigma² C.",
            UNSEEN,
        ),
        Wrong(
            "alpha not squared",
            gain(right_top, lambda K, C, alpha, sigma: alpha * K + sigma**2 * C),
            "The covariance of alpha f is alpha² K.",
            UNSEEN,
        ),
        Wrong(
            "the noise",
            gain(right_top, right_bottom, lambda f_t, found, alpha, sigma: (f_t - alpha * found) / sigma),
            "You return the noise that is left, the estimate of g. Asked for is the function f.",
            UNSEEN,
        ),
        Wrong(
            "scaled, but the noise is not",
            gain(lambda K, C, alpha, sigma: K / alpha, lambda K, C, alpha, sigma: K + sigma**2 * C),
            "You divide f_t by alpha, which is a good start. Then the noise becomes sigma / alpha times g, too.",
            UNSEEN,
        ),
        Wrong(
            "the matrices in the other order",
            lambda f_t, K, C, alpha, sigma: f_t @ (alpha * K) @ torch.linalg.inv(right_bottom(K, C, alpha, sigma)),
            "For a column the answer is alpha K S^-1 f_t. Your rows meet the two matrices in the wrong order.",
            UNSEEN,
        ),
        Wrong(
            "K and C exchanged",
            gain(lambda K, C, alpha, sigma: alpha * C, lambda K, C, alpha, sigma: alpha**2 * C + sigma**2 * K),
            "You took C for the data and K for the noise.",
            UNSEEN,
        ),
        Wrong(
            "the covariance times the data",
            lambda f_t, K, C, alpha, sigma: (
                f_t @ torch.linalg.inv(torch.linalg.inv(K) + alpha**2 / sigma**2 * torch.linalg.inv(C))
            ),
            "You multiply the posterior covariance with f_t itself. It belongs with (alpha / sigma²) C^-1 f_t.",
            UNSEEN,
        ),
        Wrong(
            "each point alone",
            each_point_alone,
            "You denoise every point by itself, with variances only. Neighbours tell a lot about it.",
            UNSEEN,
        ),
    ),
)


# 25.3 resample


def resample(f, n):
    spectrum = torch.fft.rfft(f)
    spectrum[..., -1] /= 2
    return torch.fft.irfft(spectrum, n) * n / f.shape[-1]


def resample_with_all_frequencies(f, n):
    n0 = f.shape[-1]
    c = torch.fft.fft(f) / n0
    half = n0 // 2
    zeros = c.new_zeros(*c.shape[:-1], n - n0 - 1)
    edge = c[..., half : half + 1] / 2
    return n * torch.fft.ifft(torch.cat([c[..., :half], edge, zeros, edge, c[..., half + 1 :]], -1)).real


def resample_truth(f, n):
    """The sum over the waves, written out."""
    points = f.shape[-1]
    k = torch.arange(-(points // 2), points // 2 + 1, dtype=torch.float64)
    share = torch.where(k.abs() == points // 2, 0.5, 1.0)
    old, new = torch.arange(points).double() / points, torch.arange(n).double() / n
    kernel = (share[:, None, None] * torch.cos(2 * math.pi * k[:, None, None] * (new[:, None] - old))).sum(0) / points
    return f @ kernel.T.to(f)


def resample_cases(g):
    return (
        Case((doubles(1.0, 2.0, 0.0, 3.0)[None], 8), "f = (1, 2, 0, 3) and n = 8"),
        Case((normals(g, 2, 6), 15), "two functions on 6 points, and n = 15"),
        Case((normals(g, 3, 8), 24), "three functions on 8 points, and n = 24"),
    )


def scaled_by(factor):
    return lambda f, n: resample(f, n) * factor(n / f.shape[-1])


def on_the_line(f, n, circular):
    """Linear interpolation, around the circle or between the first and the last point."""
    n0 = f.shape[-1]
    values = torch.cat([f, f[..., :1]], dim=-1)
    place = torch.arange(n).double() * n0 / n if circular else torch.linspace(0, n0 - 1, n, dtype=torch.float64)
    left = place.floor().long().clamp(max=n0 - 1)
    share = (place - left).to(f)
    return (1 - share) * values[..., left] + share * values[..., left + 1]


def padded_in_x(f, n):
    return torch.cat([f, f.new_zeros(*f.shape[:-1], n - f.shape[-1])], dim=-1)


def without_last(f, n):
    spectrum = torch.fft.rfft(f)
    spectrum[..., -1] = 0
    return torch.fft.irfft(spectrum, n) * n / f.shape[-1]


def nearest(f, n):
    return f[..., torch.arange(n) * f.shape[-1] // n]


def padded_full_spectrum(f, n):
    spectrum = torch.fft.fft(f)
    longer = torch.cat([spectrum, spectrum.new_zeros(*f.shape[:-1], n - f.shape[-1])], dim=-1)
    return torch.fft.ifft(longer).real * n / f.shape[-1]


RESAMPLE = Exercise(
    id="25.3",
    name="resample",
    stub='''
def resample(f, n):
    """Functions on a circle, from n0 points k / n0 to n > n0 points k / n, as sums of the same waves. Returns (B, n).

    f: (B, n0), n0 even. The wave with n0 / 2 periods belongs half to the frequency n0 / 2 and half to -n0 / 2.
    """
    ...  # your code
''',
    solution=resample,
    alternative=resample_with_all_frequencies,
    why=(
        "rfft sums over the n0 points and irfft divides by n, so the waves need the factor n / n0. The last entry of "
        "rfft\n"
        "stands for both frequencies n0 / 2 and -n0 / 2. On the finer grid irfft adds the second one by itself, so "
        "each\n"
        "gets a half."
    ),
    truth=resample_truth,
    cases=resample_cases,
    hints=(
        "`torch.fft.rfft(f)` has the n0 / 2 + 1 waves of f. `torch.fft.irfft(waves, n)` makes n points of them.",
        "rfft is a sum over n0 points, and irfft divides by n. Which factor is missing?",
        "On the coarse grid the last wave is there once. On the finer grid irfft counts it for both signs: halve it.",
    ),
    wrong=(
        Wrong(
            "no factor n / n0",
            scaled_by(lambda ratio: 1 / ratio),
            "Your values are too small by n0 / n. rfft is a sum over n0 points, and irfft divides by n.",
            UNSEEN,
        ),
        Wrong(
            "the last wave twice",
            lambda f, n: torch.fft.irfft(torch.fft.rfft(f), n) * n / f.shape[-1],
            "The wave with n0 / 2 periods comes out twice as large as it should. On the finer grid irfft counts it for "
            "both signs of its frequency.",
            "scipy.signal.resample halves it for this reason",
        ),
        Wrong(
            "neither factor nor half",
            lambda f, n: torch.fft.irfft(torch.fft.rfft(f), n),
            "Two things are missing: the factor n / n0, since irfft divides by n, and the half of the last wave.",
            UNSEEN,
        ),
        Wrong(
            "zeros appended in x",
            padded_in_x,
            "You append zeros to the values. Zeros belong behind the waves, after rfft: they are the waves that f "
            "has not.",
            UNSEEN,
        ),
        Wrong(
            "the factor inverted",
            scaled_by(lambda ratio: 1 / ratio**2),
            "You multiply by n0 / n. The values must become larger, by n / n0.",
            UNSEEN,
        ),
        Wrong(
            "the root of the factor",
            scaled_by(lambda ratio: 1 / math.sqrt(ratio)),
            "You have sqrt(n / n0), as with norm='ortho' on both sides. Values, and not energies, must stay: n / n0.",
            UNSEEN,
        ),
        Wrong(
            "the last wave dropped",
            without_last,
            "The wave with n0 / 2 periods is gone. It is part of f, and should come at its full height.",
            UNSEEN,
        ),
        Wrong(
            "straight lines",
            lambda f, n: on_the_line(f, n, True),
            "You interpolate along straight lines. That adds waves that f has not, and makes corners.",
            "torch.nn.functional.interpolate(mode='linear') does something like it",
        ),
        Wrong(
            "straight lines from end to end",
            lambda f, n: on_the_line(f, n, False),
            "You stretch the grid from the first to the last point. On a circle the last point is not the end: after "
            "it "
            "comes the first one again.",
            "torch.nn.functional.interpolate(align_corners=True)",
        ),
        Wrong(
            "steps",
            nearest,
            "You repeat values, which makes steps. The waves of f are smooth between the points.",
            "torch.nn.functional.interpolate(mode='nearest')",
        ),
        Wrong(
            "zeros behind the negative frequencies",
            padded_full_spectrum,
            "You append zeros to the whole spectrum of fft. Its second half holds the negative frequencies, so the "
            "zeros "
            "belong in the middle. With rfft there are no negative ones.",
            UNSEEN,
        ),
    ),
)


# 25.4 coverage


def coverage(samples, truth, known, level):
    low = torch.quantile(samples, (1 - level) / 2, dim=1)
    high = torch.quantile(samples, (1 + level) / 2, dim=1)
    inside = (low < truth) & (truth < high)
    return inside[:, ~known].double().mean()


def coverage_by_rank(samples, truth, known, level):
    below = (samples < truth[:, None]).double().mean(dim=1)[:, ~known]  # where the truth stands among the samples
    return ((below - 0.5).abs() < level / 2).double().mean()


def coverage_truth(samples, truth, known, level):
    """Point by point, with NumPy."""
    hits, tried = 0, 0
    for band, value in zip(samples.numpy(), truth.numpy(), strict=True):
        for j in np.flatnonzero(~known.numpy()):
            ends = np.percentile(band[:, j], [50 * (1 - level), 50 * (1 + level)])
            hits, tried = hits + int(ends[0] < value[j] < ends[1]), tried + 1
    return torch.tensor(hits / tried, dtype=torch.float64)


def skewed(g, *shape):
    """Numbers from two normals of different widths, which no symmetric band fits."""
    wide = torch.rand(*shape, generator=g) < 0.3
    return torch.where(wide, 2.5 + 1.2 * normals(g, *shape), 0.4 * normals(g, *shape))


def coverage_cases(g):
    """101 samples: the quantiles asked for are samples themselves, so that every definition of a quantile agrees."""
    known = torch.tensor([False, True, False, False, True, False, False])
    cases = []
    for level, functions in ((0.9, 60), (0.8, 90)):
        samples = skewed(g, functions, 101, 7) + torch.linspace(0, 4, 7)
        truth = 1.2 * skewed(g, functions, 7) + torch.linspace(0, 4, 7) + 0.15
        samples[:, :, known] = truth[:, None, known] + 0.05 * normals(g, functions, 101, 2)
        cases.append(
            Case(
                (samples, truth, known, level),
                f"{functions} functions on 7 points of which 2 are known, 101 samples each, level {level}",
            )
        )
    return tuple(cases)


def z_of(level):
    return math.sqrt(2) * float(torch.special.erfinv(torch.tensor(level, dtype=torch.float64)))


def share_within(low, high, which=lambda known: ~known):
    """The share of points in [low, high], each a function of (samples, level)."""

    def answer(samples, truth, known, level):
        inside = (truth > low(samples, level)) & (truth < high(samples, level))
        return inside[:, which(known)].double().mean()

    return answer


def at(share):
    return lambda samples, level: torch.quantile(samples, share(level), dim=1)


def around_mean(width, sign):
    return lambda samples, level: samples.mean(1) + sign * width(level, samples.shape[1]) * samples.std(1)


def one_band(share):
    return lambda samples, level: torch.quantile(samples.flatten(1), share(level), dim=1)[:, None]


def whole_functions(samples, truth, known, level):
    low, high = at(lambda p: (1 - p) / 2)(samples, level), at(lambda p: (1 + p) / 2)(samples, level)
    return ((low < truth) & (truth < high))[:, ~known].all(dim=1).double().mean()


def lower(level):
    return (1 - level) / 2


def upper(level):
    return (1 + level) / 2


COVERAGE = Exercise(
    id="25.4",
    name="coverage",
    stub='''
def coverage(samples, truth, known, level):
    """How often the middle `level` of the samples at a point holds the true value. A tensor (), between 0 and 1.

    samples: (P, M, n), M samples for each of P functions. truth: (P, n). known: (n,), bool, True where a value was
    measured: these points do not count. level: such as 0.9.
    """
    ...  # your code
''',
    solution=coverage,
    alternative=coverage_by_rank,
    why=(
        "The middle of the samples at a point lies between two of their quantiles. No shape is assumed, so it is "
        "right\n"
        "for a mixture, too. Points that were measured say little about the points in between, so they do not count."
    ),
    truth=coverage_truth,
    cases=coverage_cases,
    hints=(
        "The middle 90 % leaves 5 % below and 5 % above.",
        "`torch.quantile(samples, q, dim=1)` goes over the samples, and keeps function and point.",
        "Use only the points that are not known: `[:, ~known]`.",
    ),
    wrong=(
        Wrong(
            "mean and standard deviation",
            share_within(around_mean(lambda level, m: z_of(level), -1), around_mean(lambda level, m: z_of(level), 1)),
            "You take the mean plus and minus some standard deviations. That holds the level for normal samples only.",
            "the band of a Gaussian process",
        ),
        Wrong(
            "one band for all points",
            share_within(one_band(lower), one_band(upper)),
            "You take quantiles over all points at once. The band belongs to each point by itself.",
            UNSEEN,
        ),
        Wrong(
            "measured points count",
            share_within(at(lower), at(upper), lambda known: torch.ones_like(known)),
            "You count the points that were measured. They say little about the points in between.",
            UNSEEN,
        ),
        Wrong(
            "only measured points count",
            share_within(at(lower), at(upper), lambda known: known),
            "You count the known points only. Negate the mask: `~known`.",
            UNSEEN,
        ),
        Wrong(
            "one side",
            share_within(lambda samples, level: -math.inf, at(lambda level: level)),
            "You cut at the top only, at the quantile `level`. The middle leaves half of the rest at each side.",
            UNSEEN,
        ),
        Wrong(
            "the rest on each side",
            share_within(at(lambda level: 1 - level), at(lambda level: level)),
            "You leave 1 - level on each side, so only 2 level - 1 is in the middle. Leave half of it on each side.",
            UNSEEN,
        ),
        Wrong(
            "whole functions",
            whole_functions,
            "You ask whether a whole function lies inside its band. Asked for is the share of points.",
            UNSEEN,
        ),
        Wrong(
            "all samples",
            share_within(lambda samples, level: samples.amin(1), lambda samples, level: samples.amax(1)),
            "Your band reaches from the smallest to the largest sample, whatever the level is.",
            UNSEEN,
        ),
        Wrong(
            "one standard deviation",
            share_within(around_mean(lambda level, m: 1.0, -1), around_mean(lambda level, m: 1.0, 1)),
            "You take one standard deviation, whatever the level is, and whatever the shape.",
            UNSEEN,
        ),
        Wrong(
            "the error of the mean",
            share_within(
                around_mean(lambda level, m: z_of(level) / math.sqrt(m), -1),
                around_mean(lambda level, m: z_of(level) / math.sqrt(m), 1),
            ),
            "Your band is that of the mean of the samples. It shrinks as there are more of them, but the function does "
            "not become better known.",
            UNSEEN,
        ),
        Wrong(
            "outside",
            lambda samples, truth, known, level: 1 - coverage(samples, truth, known, level),
            "You count the points outside.",
            UNSEEN,
        ),
        Wrong(
            "where the truth stands",
            lambda samples, truth, known, level: (samples < truth[:, None])[:, :, ~known].double().mean(),
            "You return the share of samples below the truth. Ask whether this share lies in the middle.",
            UNSEEN,
        ),
    ),
)


# 25.5 crps


def crps(samples, truth):
    M = len(samples)
    error = (samples - truth).abs().mean(dim=0)
    spread = (samples[:, None] - samples).abs().sum(dim=(0, 1)) / (M * (M - 1))
    return error - spread / 2


def crps_from_order(samples, truth):
    M = len(samples)
    rank = 2 * torch.arange(M).to(samples)[:, None] - (M - 1)
    mean_gap = 2 * (rank * samples.sort(dim=0).values).sum(dim=0) / (M * (M - 1))
    return torch.mean(torch.abs(samples - truth), dim=0) - 0.5 * mean_gap


def crps_truth(samples, truth):
    """Every pair by itself."""
    found = []
    for column, value in zip(samples.T.tolist(), truth.tolist(), strict=True):
        gaps = [abs(a - b) for a, b in itertools.combinations(column, 2)]
        found.append(math.fsum(abs(a - value) for a in column) / len(column) - math.fsum(gaps) / len(gaps) / 2)
    return torch.tensor(found, dtype=samples.dtype)


def crps_cases(g):
    return (
        Case((doubles(0.0, 1.0, 4.0)[:, None], doubles(2.0)), "the samples 0, 1 and 4, and the truth 2"),
        Case((normals(g, 6, 4) ** 3, normals(g, 4)), "six samples at four points"),
    )


def with_spread(share=0.5, pairs=lambda m: m * (m - 1)):
    """error - share * spread, with another number of pairs."""

    def answer(samples, truth):
        gaps = (samples[:, None] - samples).abs().sum((0, 1)) / pairs(len(samples))
        return (samples - truth).abs().mean(0) - share * gaps

    return answer


def crps_of_squares(samples, truth):
    m = len(samples)
    gaps = ((samples[:, None] - samples) ** 2).sum((0, 1)) / (m * (m - 1))
    return ((samples - truth) ** 2).mean(0) - gaps / 2


def crps_with_neighbours(samples, truth):
    return (samples - truth).abs().mean(0) - (samples[1:] - samples[:-1]).abs().mean(0) / 2


CRPS = Exercise(
    id="25.5",
    name="crps",
    stub='''
def crps(samples, truth):
    """E|f - truth| - E|f - f'| / 2 at each point, (n,): f and f' are two different samples, all pairs alike.

    samples: (M, n), M >= 2. truth: (n,).
    """
    ...  # your code
''',
    solution=crps,
    alternative=crps_from_order,
    why=(
        "The first mean is over M samples. The second is over the M (M - 1) ordered pairs of different samples: a "
        "pair of\n"
        "a sample with itself has the distance 0 and says nothing."
    ),
    truth=crps_truth,
    cases=crps_cases,
    hints=(
        "The first term is the mean distance of the samples from the truth, for each point by itself.",
        "`samples[:, None] - samples` holds all pairs, (M, M, n), also those of a sample with itself, which are 0.",
        "Divide the sum over all pairs by M (M - 1), and take half of it.",
    ),
    wrong=(
        Wrong(
            "no half",
            with_spread(share=1.0),
            "You subtract the whole mean distance of two samples. Then wide samples look too good: take half of it.",
            UNSEEN,
        ),
        Wrong(
            "pairs with themselves",
            with_spread(pairs=lambda m: m * m),
            "You divide by M². Of the M² pairs M are a sample with itself, at distance 0, so your spread is too small.",
            "the estimator of many libraries, which has this bias",
        ),
        Wrong(
            "each pair once, divided as if twice",
            with_spread(share=0.25),
            "You sum over each pair once, and divide by M (M - 1), which counts each pair twice.",
            UNSEEN,
        ),
        Wrong(
            "without the spread",
            with_spread(share=0.0),
            "That is the mean distance from the truth. It prefers samples that are all at one place: the second term "
            "is "
            "missing.",
            UNSEEN,
        ),
        Wrong(
            "the distance of the mean",
            lambda samples, truth: (samples.mean(0) - truth).abs(),
            "You compare the mean of the samples with the truth. Then it does not matter how wide they are.",
            UNSEEN,
        ),
        Wrong(
            "squares",
            crps_of_squares,
            "You square the distances. What is left is the square error of the mean, and the width of the samples "
            "drops "
            "out.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            with_spread(share=-0.5),
            "You add the spread. A wide band is then punished twice.",
            UNSEEN,
        ),
        Wrong(
            "neighbours only",
            crps_with_neighbours,
            "You compare each sample with the next one only. All pairs count alike.",
            UNSEEN,
        ),
        Wrong(
            "the distance of the median",
            lambda samples, truth: (torch.quantile(samples, 0.5, dim=0) - truth).abs(),
            "You compare the median of the samples with the truth. Then it does not matter how wide they are: they may "
            "be all over the place.",
            UNSEEN,
        ),
    ),
)


# 25.6 shift


def shift():
    pixels, more_pixels = 64**2, 256**2
    return math.log(more_pixels / pixels)


SHIFT = Question(
    id="25.6",
    name="shift",
    stub="shift = None  # how much lower the log-SNR should be for images of 256 x 256 than for 64 x 64, at each time",
    right=(2.76, 2.79),
    solution=shift,
    why=(
        "The mean of white noise over the 16 small pixels in one large pixel has a variance that is 16 times "
        "smaller. So\n"
        "the log-SNR must be lower by ln 16, about 2.77, to hide what was hidden before."
    ),
    hints=(
        "How many pixels of the finer image lie in one pixel of the coarse image?",
        "What is the variance of the mean of so many independent numbers?",
        "The log-SNR is ln(alpha² / sigma²). By how much must it fall, if sigma² has to grow by that factor?",
    ),
    wrong=(
        WrongValue(
            "the side, not the pixels",
            (1.37, 1.4),
            "That is ln 4, for the side of the image. An image has 16 times as many pixels.",
            "papers that write 2 ln(256 / 64) mean the same as ln 16",
        ),
        WrongValue(
            "the sign", (-2.79, -2.76), "The question is how much lower it is, so the number is positive.", UNSEEN
        ),
        WrongValue(
            "no logarithm", (15.9, 16.1), "16 is the factor of the variance. The log-SNR is its logarithm.", UNSEEN
        ),
        WrongValue(
            "half of it is a square",
            (5.5, 5.6),
            "You count the square twice: ln 16 is the shift of alpha² / sigma² already.",
            UNSEEN,
        ),
        WrongValue(
            "another base",
            (1.19, 1.21),
            "That is the logarithm to base 10. The log-SNR of this course is a natural logarithm.",
            UNSEEN,
        ),
        WrongValue(
            "base 2, or the ratio of the sides",
            (3.95, 4.05),
            "4 is the ratio of the sides, and the logarithm of 16 to base 2. Take the natural logarithm of 16.",
            UNSEEN,
        ),
        WrongValue(
            "no shift",
            (-0.05, 0.05),
            "Without a shift the fine image is still visible at times when the coarse one was hidden.",
            UNSEEN,
        ),
        WrongValue(
            "the ratio of all values",
            (11.0, 11.2),
            "That is the logarithm of the number of pixels itself. Compare the two images.",
            UNSEEN,
        ),
    ),
)


# 25.7 on paper, 25.8 open

EXACT_GUIDANCE = Explanation(
    id="25.7",
    name="exact guidance",
    task="Show that ΠGDM is exact at every time, if the data are a Gaussian process and the noise has its covariance.",
    model=(
        "Let K be the covariance of the data, L L^T = K, and u = L^-1 f. Then u has the covariance L^-1 K L^-T = I, "
        "and "
        "its noise is white. So u_t = alpha u + sigma z, and each number of u is denoised by itself: given u_t it is "
        "normal with mean alpha u_t / (alpha² + sigma²) and variance sigma² / (alpha² + sigma²), and the numbers are "
        "independent. That is just the spread that ΠGDM assumes. So y = A L u + noise is normal given u_t, with mean "
        "A L u_hat and covariance spread A L L^T A^T + std² I, which is what its likelihood says. Bayes' rule with the "
        "exact likelihood gives the exact score. With any other noise the covariance of u is not I, and the spread "
        "differs from direction to direction."
    ),
    look_for=(
        "In white coordinates the data are N(0, I).",
        "The conditional variance of u given u_t is sigma² / (alpha² + sigma²) for each number, and nothing is "
        "correlated.",
        "The likelihood of y given u_t is then normal with exactly the assumed covariance.",
    ),
    hints=(
        "Write u = L^-1 f. What is its covariance?",
        "What is the distribution of u given u_t, if u is N(0, I)?",
        "Compare it with the spread that `inverse.unit_spread` assumes.",
    ),
)

WIDE_BAND = Explanation(
    id="25.8",
    name="a band that is right too often",
    task="A colleague reports that the 90 % band of a method holds the truth in 93 % of all points: is the method "
    "good?",
    model=(
        "Coverage alone does not say. A band that is everywhere much too wide holds the truth too often, and a method "
        "may be too wide at some points and too narrow at others, so that the mean comes out right. One number over "
        "all "
        "functions may also be the mean of 80 % for rough and 98 % for smooth functions, as with a single Gaussian "
        "process. Ask for the width beside it, for the coverage within groups, and for a proper score such as the "
        "CRPS, "
        "which is smallest for the true distribution only. Where the exact posterior is known, compare with it: the "
        "ratio of the standard deviations, or the Wasserstein distance. As for the OU noise of section 5: a length of "
        "0.02 is about one step of the grid, so the noise is nearly white, and its curve comes near that of white "
        "noise. With a length of 2, ΠGDM takes values that are far apart as more strongly correlated than they are: "
        "the curve ends higher than with 0.2, but far below that of white noise."
    ),
    look_for=(
        "A band can be too wide and cover well.",
        "An average over functions or points can hide errors of both signs.",
        "A proper score, the width, or the exact posterior is needed as well.",
    ),
    hints=(
        "Which trivial method covers everything?",
        "What was the coverage of the single Gaussian process on rough and on smooth functions?",
        "Which score cannot be improved by making the band wider?",
    ),
)

EXERCISES = (
    *(CHAIN_COVARIANCE, DENOISE_GP, RESAMPLE),
    *(COVERAGE, CRPS, SHIFT, EXACT_GUIDANCE, WIDE_BAND),
)
