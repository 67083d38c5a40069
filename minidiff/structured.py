"""The truth for data of thousands of numbers: mixtures of Gaussians whose covariances have a structure.

`exact.GaussianMixture` holds a full matrix for each component, which is too much for a sound of 2,048 samples. Two
structures make everything cheap again. A covariance of *low rank*, plus a little white noise, needs a few directions
only: data that are a matrix times a short random vector. A *stationary* covariance on a circle, which depends on the
distance of two places alone, is diagonal in Fourier's basis: there the exact denoiser of a component is Wiener's
filter, a gain for each frequency. Both know E[x0 | x_t], which component a noisy signal came from, and the exact
distribution of what is missing. All means are 0. Taught in notebook 23.

Sources: Bishop 2006, Pattern Recognition and Machine Learning, chapter 12 (a covariance of low rank plus white
noise) and equations 2.94 to 2.97 (conditionals by the precision matrix); Gray 2006, Toeplitz and circulant matrices:
a review; Wiener 1949, Extrapolation, interpolation, and smoothing of stationary time series.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from minidiff._tensors import check_number, check_whole, check_xt, describe, like, noise_like, per_sample
from minidiff.denoisers import Denoiser
from minidiff.paths import GaussianPath

__all__ = ["Filled", "LowRankMixture", "StationaryMixture"]


@dataclass(frozen=True, eq=False)
class Filled:
    """Signals, (B, N), whose gap is filled, the known values as they were; component: (B,), drawn or likeliest."""

    x: Tensor
    component: Tensor


def _check_weights(weights: Tensor) -> None:
    if weights.ndim != 1 or not bool((weights > 0).all()) or abs(float(weights.sum()) - 1) > 1e-6:
        raise ValueError(f"weights must be positive and sum to 1, but are {describe(weights)}")


def _check_signals(x: Tensor, n: int, t: Tensor | None = None) -> None:
    check_xt(x, torch.tensor(0.5) if t is None else t, "x_t")
    if x.shape[1:] != (n,):
        raise ValueError(f"x_t must hold signals of {n} numbers, (B, {n}), but is {describe(x)}")


def _check_known(known: Tensor, n: int) -> None:
    if not isinstance(known, Tensor) or known.dtype != torch.bool or known.shape != (n,):
        raise ValueError(f"known must be a bool tensor of shape ({n},), but is {describe(known)}")
    if bool(known.all()) or not bool(known.any()):
        raise ValueError("known must leave a gap and something beside it, but is the same everywhere")


def _draw(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Components, (n,), of probabilities (K,) or, one draw for each row, (n, K)."""
    drawn = torch.multinomial(weights.to(generator.device), n if weights.ndim == 1 else 1, True, generator=generator)
    return drawn.flatten().to(weights.device)


def _coefficients(path: GaussianPath, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    t = per_sample(t, x_t)
    return tuple(like(part(t), x_t)[:, None, None] for part in (path.alpha, path.sigma))


def _chosen(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    return weights.argmax(dim=1) if generator is None else _draw(weights, len(weights), generator)


# Low rank


@dataclass(frozen=True, eq=False)
class LowRankMixture:
    """K Gaussians of mean 0 over N numbers, with covariances `bases diag(variances) bases^T + floor I`.

    weights: (K,), positive, summing to 1. bases: (K, N, r), orthonormal columns; a component of smaller rank ends with
    columns of zeros. variances: (K, r), from 0 on. floor: the variance of the white noise that all components share.
    """

    weights: Tensor
    bases: Tensor
    variances: Tensor
    floor: float
    _elsewhere: dict = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        _check_weights(self.weights)
        check_number("floor", self.floor)
        if self.bases.ndim != 3 or len(self.bases) != len(self.weights):
            raise ValueError(f"bases must have shape ({len(self.weights)}, N, r), but are {describe(self.bases)}")
        wanted = self.bases.shape[0], self.bases.shape[2]
        if self.variances.shape != wanted or not bool((self.variances >= 0).all()):
            raise ValueError(
                f"variances must be of shape {wanted} and not negative, but are {describe(self.variances)}"
            )
        products = self.bases.mT @ self.bases
        used = products.diagonal(dim1=1, dim2=2)
        if not torch.allclose(products, torch.diag_embed(used.round().clamp(max=1)), atol=1e-4):
            raise ValueError("the columns of each basis must be orthonormal, or zeros where a component has fewer")

    @classmethod
    def from_matrices(cls, matrices: Sequence[Tensor], floor: float, weights: Tensor | None = None) -> "LowRankMixture":
        """Data that are a matrix, (N, r), times a standard normal vector, one matrix for each component, plus noise."""
        parts = [torch.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
        rank = max(len(values) for _, values, _ in parts)
        bases = torch.stack([torch.nn.functional.pad(u, (0, rank - u.shape[1])) for u, _, _ in parts])
        variances = torch.stack([torch.nn.functional.pad(s**2, (0, rank - len(s))) for _, s, _ in parts])
        weights = bases.new_full((len(parts),), 1 / len(parts)) if weights is None else like(weights, bases)
        return cls(weights, bases, variances, floor)

    @property
    def n(self) -> int:
        """How many numbers a signal has, N."""
        return self.bases.shape[1]

    def only(self, component: int) -> "LowRankMixture":
        """One component as a distribution of its own: what is known once the label is."""
        k = slice(component, component + 1)
        return LowRankMixture(torch.ones_like(self.weights[k]), self.bases[k], self.variances[k], self.floor)

    def scaled(self, factor: float) -> "LowRankMixture":
        """The distribution of factor times the data."""
        return LowRankMixture(self.weights, self.bases, factor**2 * self.variances, factor**2 * self.floor)

    def like(self, x: Tensor) -> "LowRankMixture":
        """The same mixture in the dtype and on the device of x. It is made once for each, and kept."""
        if x.dtype == self.bases.dtype and x.device == self.bases.device:
            return self
        if (x.dtype, x.device) not in self._elsewhere:
            parts = (like(part, x) for part in (self.weights, self.bases, self.variances))
            self._elsewhere[x.dtype, x.device] = LowRankMixture(*parts, self.floor)
        return self._elsewhere[x.dtype, x.device]

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw signals, (count, N), and the component of each, (count,)."""
        check_whole("count", count)
        component = _draw(self.weights, count, generator)
        z = self.variances[component].sqrt() * noise_like(
            self.variances.new_empty(count, self.variances.shape[1]), generator
        )
        x = math.sqrt(self.floor) * noise_like(self.bases.new_empty(count, self.n), generator)
        for k in component.unique().tolist():  # not `bases[component]`: that would be a matrix for each signal
            x[component == k] += z[component == k] @ self.bases[k].T
        return x, component

    def inside(self, x: Tensor) -> Tensor:
        """The share of the energy of each signal, (B, N), that lies in the space of each component, (B, K)."""
        _check_signals(x, self.n)
        bases = self.like(x).bases
        return torch.einsum("knr,bn->bkr", bases, x).square().sum(dim=2) / x.square().sum(dim=1, keepdim=True)

    def log_joint(self, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
        """log p(component) + log p(x_t | component), (B, K), in nats."""
        _check_signals(x_t, self.n, t)
        return self._parts(path, x_t, t)[0]

    def responsibilities(self, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
        """p(component | x_t): which component did a noisy signal come from? (B, K), rows sum to 1."""
        return torch.softmax(self.log_joint(path, x_t, t), dim=1)

    def denoiser(self, path: GaussianPath) -> Denoiser:
        """The exact E[x0 | x_t]."""
        return partial(_low_rank_mean, self, path)

    def _parts(self, path: GaussianPath, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log_joint, (B, K), and for the mean: coordinates and gains in each basis, (B, K, r), and the gain outside."""
        mixture = self.like(x_t)
        alpha, sigma = _coefficients(path, x_t, t)
        inside = torch.einsum("knr,bn->bkr", mixture.bases, x_t)
        within = alpha**2 * (mixture.variances + self.floor) + sigma**2  # Var of each coordinate, (B, K, r)
        outside = alpha**2 * self.floor + sigma**2  # (B, 1, 1)
        rest = x_t.square().sum(dim=1, keepdim=True) - inside.square().sum(dim=2)
        quadratic = (inside.square() / within).sum(dim=2) + rest / outside[..., 0]
        log_det = within.log().sum(dim=2) + (self.n - inside.shape[2]) * outside[..., 0].log()
        log_joint = mixture.weights.log() - 0.5 * (quadratic + log_det + self.n * math.log(2 * math.pi))
        return log_joint, inside, alpha * (mixture.variances + self.floor) / within, alpha * self.floor / outside

    def fill(self, x: Tensor, known: Tensor, generator: torch.Generator | None = None) -> Filled:
        """Replace what is not known of signals, (B, N), by its conditional mean or, with a generator, by an exact draw.

        known: (N,), bool. With r numbers z behind a signal of a component, p(z | known values) is normal (Bishop,
        chapter 12). The mean is over all components; the component of the answer is then the likeliest.
        """
        _check_signals(x, self.n)
        _check_known(known, self.n)
        weights, means, roots = self._given(x[:, known], known)
        component, filled = _chosen(weights, generator), x.clone()
        if generator is None:
            z = weights[:, :, None] * means  # (B, K, r)
            gap = torch.einsum("knr,bkr->bn", self.like(x).bases[:, ~known] * self.like(x).variances.sqrt()[:, None], z)
        else:
            rows = torch.arange(len(x), device=x.device)
            shaken = torch.einsum("bij,bj->bi", roots[component], noise_like(means[:, 0], generator))
            z = self.like(x).variances[component].sqrt() * (means[rows, component] + shaken)
            gap = x.new_empty(len(x), int((~known).sum()))
            for k in component.unique().tolist():
                gap[component == k] = z[component == k] @ self.like(x).bases[k, ~known].T
            gap = gap + math.sqrt(self.floor) * noise_like(gap, generator)
        filled[:, ~known] = gap
        return Filled(filled, component)

    def _given(self, y: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """p(component | y), (B, K), E[z | y, component], (B, K, r), and a root of its covariance, (K, r, r)."""
        mixture = self.like(y)
        seen = mixture.bases[:, known] * mixture.variances.sqrt()[:, None]  # y = seen z + noise of the floor
        precision = seen.mT @ seen / self.floor + torch.eye(seen.shape[2]).to(seen)
        factor = torch.linalg.cholesky(precision)
        pulled = torch.einsum("kmr,bm->bkr", seen, y) / self.floor
        means = torch.cholesky_solve(pulled[..., None], factor.expand(len(y), *factor.shape))[..., 0]
        log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        weights = torch.softmax(mixture.weights.log() + 0.5 * ((means * pulled).sum(dim=2) - log_det), dim=1)
        return weights, means, torch.linalg.inv(factor).mT


def _low_rank_mean(mixture: LowRankMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    _check_signals(x_t, mixture.n, t)
    log_joint, inside, gain, outside = mixture._parts(path, x_t, t)
    extra = torch.softmax(log_joint, dim=1)[..., None] * (gain - outside) * inside
    return torch.einsum("knr,bkr->bn", mixture.like(x_t).bases, extra) + outside[..., 0] * x_t


# Stationary


@dataclass(frozen=True, eq=False)
class StationaryMixture:
    """K stationary Gaussians of mean 0 over N places of a circle, each given by its power at each frequency.

    weights: (K,), positive, summing to 1. spectra: (K, N/2 + 1), positive: the variance of the Fourier coefficients
    `torch.fft.rfft(x, norm="ortho")`, so that white noise of variance 1 has the spectrum 1. N is even.
    """

    weights: Tensor
    spectra: Tensor

    def __post_init__(self):
        _check_weights(self.weights)
        if self.spectra.ndim != 2 or len(self.spectra) != len(self.weights) or not bool((self.spectra > 0).all()):
            raise ValueError(
                f"spectra must be positive, of shape ({len(self.weights)}, N/2 + 1), but are {describe(self.spectra)}"
            )

    @property
    def n(self) -> int:
        """How many numbers a signal has, N."""
        return 2 * (self.spectra.shape[1] - 1)

    def only(self, component: int) -> "StationaryMixture":
        """One component as a distribution of its own: what is known once the label is."""
        k = slice(component, component + 1)
        return StationaryMixture(torch.ones_like(self.weights[k]), self.spectra[k])

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw signals, (count, N), and the component of each, (count,)."""
        check_whole("count", count)
        component = _draw(self.weights, count, generator)
        white = torch.fft.rfft(noise_like(self.spectra.new_empty(count, self.n), generator))
        return torch.fft.irfft(white * self.spectra[component].sqrt(), self.n), component

    def covariance(self) -> Tensor:
        """The covariance matrix of each component, (K, N, N): circulant. For small N."""
        return _circulant(torch.fft.irfft(self.spectra, self.n), torch.arange(self.n))

    def log_joint(self, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
        """log p(component) + log p(x_t | component), (B, K), in nats (Whittle's likelihood, which is exact here)."""
        _check_signals(x_t, self.n, t)
        alpha, sigma = _coefficients(path, x_t, t)
        variances = alpha**2 * like(self.spectra, x_t) + sigma**2  # (B, K, N/2 + 1)
        power = torch.fft.rfft(x_t, norm="ortho").abs().square()[:, None]
        times = like(self._times, x_t)
        quadratic, log_det = (power / variances * times).sum(2), (variances.log() * times).sum(2)
        return like(self.weights, x_t).log() - 0.5 * (quadratic + log_det + self.n * math.log(2 * math.pi))

    def responsibilities(self, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
        """p(component | x_t): which component did a noisy signal come from? (B, K), rows sum to 1."""
        return torch.softmax(self.log_joint(path, x_t, t), dim=1)

    def denoiser(self, path: GaussianPath) -> Denoiser:
        """The exact E[x0 | x_t]: the Wiener filters of all components, each weighted by its responsibility."""
        return partial(_stationary_mean, self, path)

    def error(self, path: GaussianPath, t: Tensor) -> Tensor:
        """The mean square error of Wiener's filter of each component, if the component is known. t: (). (K,)."""
        alpha, sigma = like(path.alpha(t), self.spectra), like(path.sigma(t), self.spectra)
        left = sigma**2 * self.spectra / (alpha**2 * self.spectra + sigma**2)
        return (left * self._times).sum(dim=1) / self.n

    @property
    def _times(self) -> Tensor:
        """How often a frequency counts, (N/2 + 1,): all but the first and the last stand for two."""
        times = torch.full_like(self.spectra[0], 2.0)
        times[0] = times[-1] = 1.0
        return times

    def fill(self, x: Tensor, known: Tensor, generator: torch.Generator | None = None) -> Filled:
        """Replace what is not known of signals, (B, N), by its conditional mean or, with a generator, by an exact draw.

        known: (N,), bool. By the precision matrix, whose block for the gap is small (Bishop, equations 2.94 to 2.97).
        The mean is over all components; the component of the answer is then the likeliest. In float64.
        """
        _check_signals(x, self.n)
        _check_known(known, self.n)
        heard = x.double() * known
        spectra, gap = self.spectra.double(), (~known).nonzero()[:, 0]
        inverse = torch.fft.irfft(1 / spectra, self.n)  # the first row of each precision matrix, (K, N)
        factor = torch.linalg.cholesky(_circulant(inverse, gap))  # (K, G, G)
        pushed = torch.fft.irfft(torch.fft.rfft(heard)[:, None] / spectra, self.n)  # (B, K, N)
        means = -torch.cholesky_solve(pushed[:, :, gap, None], factor.expand(len(x), *factor.shape))[..., 0]
        quadratic = (heard[:, None] * pushed).sum(2) + (means * pushed[:, :, gap]).sum(2)
        log_det = (spectra.log() * self._times.double()).sum(1) + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        weights = torch.softmax(self.weights.double().log() - 0.5 * (quadratic + log_det), dim=1)
        component, filled = _chosen(weights, generator), x.clone()
        if generator is None:
            inserted = torch.einsum("bk,bkg->bg", weights, means)
        else:
            z = noise_like(means[:, 0], generator)[..., None]
            shaken = torch.linalg.solve_triangular(factor.mT[component], z, upper=True)[..., 0]
            inserted = means[torch.arange(len(x)), component] + shaken
        filled[:, gap] = inserted.to(x)
        return Filled(filled, component)


def _circulant(row: Tensor, places: Tensor) -> Tensor:
    """The block of a symmetric circulant matrix, given its first row, (K, N), at some places, (G,): (K, G, G)."""
    return row[:, (places[:, None] - places).abs()]


def _stationary_mean(mixture: StationaryMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    weights = mixture.responsibilities(path, x_t, t)
    alpha, sigma = _coefficients(path, x_t, t)
    spectra = like(mixture.spectra, x_t)
    gains = alpha * spectra / (alpha**2 * spectra + sigma**2)  # (B, K, N/2 + 1)
    gain = (weights[..., None] * gains).sum(dim=1)
    return torch.fft.irfft(torch.fft.rfft(x_t) * gain, mixture.n)
