"""Data that are functions: Gaussian processes, noise that survives a finer grid, and how to judge a band of samples.

A function f on n points is a row of n numbers, so the whole package works on it: `x_t = alpha f + sigma eps`. What is
new is that n may change. White noise, independent at each point, is another noise on every grid; noise drawn from a
Gaussian process is not. No sampler has to know of it: with L L^T the covariance of the noise, u = L^-1 f is a point
whose noise is white (`Whitening`). Taught in notebook 25.

Grids: `line(n)`, both ends included, and `circle(n)`, whose end is its beginning. Frequencies belong to the circle.

Sources: Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, equations 2.23 and 2.24, 4.9, 4.17 and
4.31; Pidstrigach et al. 2023, arXiv 2302.10130, and Lim et al. 2023, arXiv 2302.07400 (noise of a Gaussian
process); Chen 2023, arXiv 2301.10972, and Hoogeboom et al. 2023, arXiv 2301.11093, section 3.1 (noise and the size of
an image); Gneiting & Raftery 2007, equation 21 (CRPS).
"""

import math
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from minidiff._tensors import check_number, check_whole, check_xt, describe, in_double, like, per_sample
from minidiff.denoisers import Denoiser
from minidiff.exact import GaussianMixture
from minidiff.inverse import LinearMeasurement
from minidiff.paths import GaussianPath

__all__ = [
    "Telegraph",
    "Whitening",
    "band_limited",
    "chain_covariance",
    "circle",
    "coverage",
    "crps",
    "exponential",
    "exponential_on_circle",
    "gaussian_process",
    "line",
    "log_snr_shift",
    "low_pass",
    "matern",
    "resample",
    "squared_exponential",
    "squared_exponential_on_circle",
]

JITTER = 1e-6  # of a kernel, times the number of points: what float32 leaves of the smallest eigenvalues


# Grids and kernels


def line(n: int) -> Tensor:
    """n points of [0, 1] with both ends, (n,), float64."""
    check_whole("n", n, least=2)
    return torch.linspace(0, 1, n, dtype=torch.float64)


def circle(n: int) -> Tensor:
    """n points k / n of a circle of length 1, (n,), float64. Point n would be point 0."""
    check_whole("n", n, least=2)
    return torch.arange(n, dtype=torch.float64) / n


def squared_exponential(x: Tensor, length: float) -> Tensor:
    """exp(-d^2 / (2 length^2)): smooth functions (RBF; Rasmussen & Williams, equation 4.9). Places (n,) -> (n, n)."""
    return torch.exp(-0.5 * (_distances(x, length) / length) ** 2)


def matern(x: Tensor, length: float) -> Tensor:
    """(1 + r) exp(-r), r = sqrt(3) d / length: Matern with nu = 3/2, functions with one derivative (4.17)."""
    r = math.sqrt(3) * _distances(x, length) / length
    return (1 + r) * torch.exp(-r)


def exponential(x: Tensor, length: float) -> Tensor:
    """exp(-d / length): the Ornstein-Uhlenbeck process, continuous functions without derivative (section 4.2.1)."""
    return torch.exp(-_distances(x, length) / length)


def squared_exponential_on_circle(x: Tensor, length: float) -> Tensor:
    """exp(-2 sin^2(pi d) / length^2): smooth functions of period 1 (4.31)."""
    return torch.exp(-2 * torch.sin(math.pi * _distances(x, length)) ** 2 / length**2)


def exponential_on_circle(x: Tensor, length: float) -> Tensor:
    """cosh((d - 1/2) / length) / cosh(1 / (2 length)): the Ornstein-Uhlenbeck process wrapped around the circle."""
    return torch.cosh((_distances(x, length) % 1 - 0.5) / length) / math.cosh(0.5 / length)


def _distances(x: Tensor, length: float) -> Tensor:
    check_number("length", length)
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim != 1:
        raise TypeError(f"x must be places, a floating-point tensor of shape (n,), but is {describe(x)}")
    return (x[:, None] - x).abs()


def gaussian_process(*kernels: Tensor, weights: Tensor | None = None, jitter: float | None = None) -> GaussianMixture:
    """Functions of mean 0 from one kernel, or each from one of several (equally often without `weights`). Notebook 25.

    kernels: covariances of the values on a grid, (n, n). jitter: what is added to the variance of each value, so that
    rounding leaves no eigenvalue below 0; None is n 1e-6, which single precision needs for smooth functions.
    """
    if not kernels:
        raise ValueError("gaussian_process needs at least one kernel")
    covariances = torch.stack(kernels)
    n = covariances.shape[-1]
    covariances = covariances + (JITTER * n if jitter is None else jitter) * torch.eye(n).to(covariances)
    if weights is None:
        weights = torch.full((len(kernels),), 1 / len(kernels))
    return GaussianMixture(like(weights, covariances), covariances.new_zeros(len(kernels), n), covariances)


def chain_covariance(path: GaussianPath, times: Tensor) -> Tensor:
    """Cov(x_s, x_t | x0) of one number along the chain of notebook 05, (T, T): (alpha_t / alpha_s) sigma_s^2, s <= t.

    Given x0, the whole chain is a Gaussian process over t. path.posterior is its regression with one observation.
    """
    earlier, later = torch.minimum(times[:, None], times), torch.maximum(times[:, None], times)
    factor = torch.where(earlier == later, 1.0, path.alpha(later) / path.alpha(earlier))  # at t = 1 alpha may be 0
    return factor * path.sigma(earlier) ** 2


# Noise that is not white


@dataclass(frozen=True, eq=False)
class Whitening:
    """u = L^-1 f, where L L^T is the covariance of the noise, (n, n): noise of f is white noise of u. Notebook 25.

    So every denoiser, sampler and method of the package, which all draw white noise, works on u as it is.
    """

    covariance: Tensor

    @cached_property
    def factor(self) -> Tensor:
        """L, lower triangular, (n, n), in float64."""
        return torch.linalg.cholesky(in_double(self.covariance))

    @cached_property
    def inverse(self) -> Tensor:
        """L^-1, lower triangular, (n, n), in float64."""
        one = torch.eye(len(self.factor), dtype=torch.float64)
        return torch.linalg.solve_triangular(self.factor, one, upper=False)

    def white(self, f: Tensor) -> Tensor:
        """Functions or their noise, (B, n) -> (B, n), as points with white noise."""
        return f @ like(self.inverse, f).T

    def coloured(self, u: Tensor) -> Tensor:
        """Back: L u, (B, n) -> (B, n). White noise becomes noise of this covariance."""
        return u @ like(self.factor, u).T

    def noise(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Noise of this covariance in the form of x0, (B, n): what `denoising_objective(noise=...)` takes."""
        return self.coloured(torch.randn(x0.shape, dtype=x0.dtype, generator=generator, device=generator.device).to(x0))

    def denoiser(self, denoise: Denoiser) -> Denoiser:
        """A denoiser of functions with this noise, as a denoiser of points with white noise."""
        return partial(_in_white, self, denoise)

    def mixture(self, mixture: GaussianMixture) -> GaussianMixture:
        """The distribution of u, if that of f is a mixture."""
        to_white = like(self.inverse, mixture.means)
        covariances = to_white @ mixture.covariances @ to_white.T
        return GaussianMixture(mixture.weights, self.white(mixture.means), (covariances + covariances.mT) / 2)

    def measurement(self, measurement: LinearMeasurement) -> LinearMeasurement:
        """A measurement of f, as one of u."""
        return LinearMeasurement(
            lambda u: measurement.forward(self.coloured(u)),
            lambda y: measurement.adjoint(y) @ like(self.factor, y),
            measurement.shape,
            measurement.std,
        )


def _in_white(whitening: Whitening, denoise: Denoiser, u: Tensor, t: Tensor) -> Tensor:
    return whitening.white(denoise(whitening.coloured(u), t))


def log_snr_shift(path: GaussianPath, n: int, n0: int) -> GaussianPath:
    """The path on which white noise on n points does to each wave what it does on n0 points along `path`. Notebook 25.

    The mean of n independent numbers has the variance 1 / n, so a finer grid needs a log-SNR that is lower by
    ln(n / n0). For images n is the number of pixels (Chen 2023, section 2; Hoogeboom et al. 2023, section 3.1). The
    sum alpha^2 + sigma^2 stays what it is.
    """
    check_whole("n", n)
    check_whole("n0", n0)
    return GaussianPath(partial(_shifted, path, n / n0, path.alpha), partial(_shifted_sigma, path, n / n0), path.t_min)


def _shifted(path: GaussianPath, ratio: float, part, t: Tensor) -> Tensor:
    alpha, sigma = path.alpha(t), path.sigma(t)
    return part(t) * torch.hypot(alpha, sigma) / torch.hypot(alpha, math.sqrt(ratio) * sigma)


def _shifted_sigma(path: GaussianPath, ratio: float, t: Tensor) -> Tensor:
    return math.sqrt(ratio) * _shifted(path, ratio, path.sigma, t)


# Functions on a circle, by their waves


def low_pass(f: Tensor, waves: int) -> Tensor:
    """Functions on a circle, (..., n), without what oscillates more than `waves` times. Notebook 25."""
    check_whole("waves", waves, least=0)
    spectrum = torch.fft.rfft(f)
    kept = torch.arange(spectrum.shape[-1], device=f.device) <= waves
    return torch.fft.irfft(spectrum * kept, f.shape[-1])


@dataclass(frozen=True, eq=False)
class band_limited:
    """Keep the waves of an estimate of x0, (B, n), that a network has learned. Notebook 25.

    For smooth functions: what a network adds beyond its `waves` is error, on a finer grid more than on its own.
    """

    denoise: Denoiser
    waves: int

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return low_pass(self.denoise(x_t, t), self.waves)


def resample(f: Tensor, n: int) -> Tensor:
    """Functions on a circle, (..., n0), on n points: the same waves, as far as n points can hold them. Notebook 25.

    n0 even: the wave of n0 / 2 periods stands for both signs of its frequency, and is shared between them on a finer
    grid; on a coarser grid both add up to one.
    """
    check_whole("n", n, least=2)
    n0 = f.shape[-1]
    spectrum = torch.fft.rfft(f)
    shared = min(n, n0) // 2
    kept = spectrum[..., : shared + 1].clone()
    if min(n, n0) % 2 == 0 and n != n0:
        kept[..., shared] *= 0.5 if n > n0 else 2.0
    longer = torch.cat([kept, kept.new_zeros(*kept.shape[:-1], n // 2 - shared)], dim=-1)
    return torch.fft.irfft(longer, n) * (n / n0)


# A signal that is no Gaussian process


@dataclass(frozen=True)
class Telegraph:
    """A signal on `line(n)` that is 1 or -1, each half the time, and jumps `rate` times a unit on average. Notebook 25.

    Its covariance is exp(-2 rate d), that of `exponential` with length 1 / (2 rate).
    """

    n: int
    rate: float

    def __post_init__(self):
        check_whole("n", self.n, least=2)
        check_number("rate", self.rate)

    @property
    def flip(self) -> float:
        """The probability that two neighbouring values differ."""
        return 0.5 * (1 - math.exp(-2 * self.rate / (self.n - 1)))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw signals, (count, n), float32."""
        check_whole("count", count)
        u = torch.rand(count, self.n, generator=generator)
        changes = torch.where(u < self.flip, -1.0, 1.0)
        changes[:, 0] = torch.where(u[:, 0] < 0.5, -1.0, 1.0)
        return changes.cumprod(dim=1)

    def denoiser(self, path: GaussianPath) -> Denoiser:
        """The exact E[x0 | x_t], by going along the signal forwards and backwards (forward-backward algorithm)."""
        return partial(_telegraph_mean, self.flip, path)


def _telegraph_mean(flip: float, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    check_xt(x_t, t, "x_t")
    alpha, sigma = (per_sample(like(part, x_t), x_t) for part in (path.alpha(t), path.sigma(t)))
    evidence = 2 * (alpha / sigma**2)[:, None] * x_t  # log p(x_t | 1) - log p(x_t | -1), at each point
    # h: log-odds of 1 against -1. One step through the chain makes of tanh(h / 2) the share 1 - 2 flip of it
    onward = partial(_through_chain, 1 - 2 * flip)
    forward, backward = [torch.zeros_like(alpha)], [torch.zeros_like(alpha)]
    for left, right in zip(evidence.T[:-1], evidence.T.flip(0)[:-1], strict=True):
        forward.append(onward(forward[-1] + left))
        backward.append(onward(backward[-1] + right))
    return torch.tanh((torch.stack(forward, 1) + evidence + torch.stack(backward[::-1], 1)) / 2)


def _through_chain(keep: float, h: Tensor) -> Tensor:
    return 2 * torch.atanh(keep * torch.tanh(h / 2))


# How good is a band of samples?


def coverage(samples: Tensor, truth: Tensor, level: float) -> Tensor:
    """How often the middle `level` of the samples at a point holds the true value there. samples: (P, M, n), truth:
    (P, n). Returns (P, n), 1 or 0; its mean is `level` for exact samples, but for about 2 / M. Notebook 25.
    """
    _check_band(samples, truth)
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), but is {level}")
    low, high = (torch.quantile(samples, (1 + sign * level) / 2, dim=1) for sign in (-1, 1))
    return ((truth > low) & (truth < high)).to(samples)


def crps(samples: Tensor, truth: Tensor) -> Tensor:
    """E|f - truth| - E|f - f'| / 2 at each point, f and f' two samples (Gneiting & Raftery 2007, equation 21).

    samples: (P, M, n), M >= 2; truth: (P, n). Returns (P, n). It is smallest, on average, for samples of the true
    distribution: neither too wide nor too narrow. The mean over pairs of *different* samples has no bias. Notebook 25.
    """
    _check_band(samples, truth)
    many = samples.shape[1]
    check_whole("the number of samples", many, least=2)
    ordered = samples.sort(dim=1).values
    # the sum of |f - f'| over pairs: the k-th smallest of M is the larger of k pairs and the smaller of M - 1 - k
    rank = 2 * torch.arange(many).to(samples) - (many - 1)
    spread = 2 * (rank[:, None] * ordered).sum(dim=1) / (many * (many - 1))
    return (samples - truth[:, None]).abs().mean(dim=1) - spread / 2


def _check_band(samples: Tensor, truth: Tensor) -> None:
    if samples.ndim != 3 or truth.shape != samples[:, 0].shape:
        raise ValueError(
            f"samples must have shape (P, M, n) and truth (P, n), but are {describe(samples)} and {describe(truth)}"
        )
