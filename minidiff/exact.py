"""The truth: score, log-density, E[x0 | x_t] and the exact way back, for Gaussian mixtures and for finite data
sets; on a line also the ODE's exact solution.

Noise turns a Gaussian mixture into a Gaussian mixture, so that everything a diffusion model has to learn is known
in closed form, in any dimension, at any t. In the eigenbasis of each covariance all of it is elementwise. For a
finite data set the ideal denoiser is known too: it is a weighted mean of the data, and it only memorises. Taught
in notebook 06.

Sources: Bishop 2006, Pattern Recognition and Machine Learning, equations 2.113 to 2.117 (linear Gaussian models);
Efron 2011, Tweedie's formula and selection bias, equation 1.4; Karras et al. 2022 (EDM), arXiv 2206.00364,
appendix B.3.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from minidiff._tensors import check_whole, check_xt, describe, in_double, like, noise_like, per_sample
from minidiff.denoisers import Denoiser
from minidiff.paths import GaussianPath

__all__ = [
    "GaussianMixture",
    "ReverseKernel",
    "cdf",
    "consistency_on_a_line",
    "finite_denoiser",
    "line_flow",
    "log_prob",
    "mixture_denoiser",
    "posterior",
    "posterior_mean",
    "quantile",
    "responsibilities",
    "reverse_kernel",
    "score",
]

WEIGHTS_SUM_TOLERANCE = 1e-6
NODES, PLACES, REACH = 41, 2001, 5.0  # of a Gauss-Hermite rule; of a table, between -REACH and REACH
BISECTIONS = 64  # from an interval around a quantile to the last bit of float64


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of K Gaussians with full covariances over points of shape (*D), d = prod(D) numbers each.

    weights: (K,), positive, summing to 1. means: (K, *D). covariances: (K, d, d), symmetric positive definite.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __post_init__(self):
        components, d = len(self.weights), self.means[0].numel()
        if self.weights.ndim != 1 or self.means.ndim < 2 or len(self.means) != components:
            raise ValueError(
                f"means must have shape ({components}, *D) to go with weights, but are {describe(self.means)}"
            )
        if self.covariances.shape != (components, d, d):
            raise ValueError(f"covariances must have shape {(components, d, d)}, but are {describe(self.covariances)}")
        if not bool((self.weights > 0).all()) or abs(float(self.weights.sum()) - 1) > WEIGHTS_SUM_TOLERANCE:
            raise ValueError(f"weights must be positive and sum to 1, but are {self.weights.tolist()}")
        if not torch.allclose(self.covariances, self.covariances.mT) or not bool((self.spectrum[0] > 0).all()):
            raise ValueError("covariances must be symmetric and positive definite")

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, (K, d), and eigenvectors in columns, (K, d, d), of the covariances."""
        values, vectors = torch.linalg.eigh(self.covariances.cpu())  # there everywhere: not every device has it
        return values.to(self.covariances.device), vectors.to(self.covariances.device)

    def to(self, dtype: torch.dtype) -> "GaussianMixture":
        """The same mixture in another floating-point type."""
        return self.like(torch.empty((), dtype=dtype, device=self.means.device))

    def like(self, x: Tensor) -> "GaussianMixture":
        """The same mixture in the dtype and on the device of x. It is made once for each, and kept."""
        if x.dtype == self.means.dtype and x.device == self.means.device:
            return self
        if (x.dtype, x.device) not in self._elsewhere:
            parts = (like(part, x) for part in (self.weights, self.means, self.covariances))
            self._elsewhere[x.dtype, x.device] = GaussianMixture(*parts)
        return self._elsewhere[x.dtype, x.device]

    @cached_property
    def _elsewhere(self) -> dict[tuple[torch.dtype, torch.device], "GaussianMixture"]:
        return {}

    def mean(self) -> Tensor:
        """The mean of the whole mixture, (*D)."""
        return torch.einsum("k,k...->...", self.weights, self.means)

    def covariance(self) -> Tensor:
        """The covariance of the whole mixture, (d, d)."""
        offsets = (self.means - self.mean()).flatten(1)
        return torch.einsum("k,kij->ij", self.weights, self.covariances + offsets[:, :, None] * offsets[:, None, :])

    def standardised(self) -> "GaussianMixture":
        """The same mixture, shifted and scaled so that every coordinate has mean 0 and variance 1, exactly."""
        scale = self.covariance().diagonal().sqrt()
        means = (self.means - self.mean()) / scale.reshape(self.means.shape[1:])
        return GaussianMixture(self.weights, means, self.covariances / scale[:, None] / scale[None, :])

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n points, (n, *D), and the component of each, (n,)."""
        check_whole("n", n)
        component = torch.multinomial(self.weights.to(generator.device), n, replacement=True, generator=generator)
        component = component.to(self.means.device)
        values, vectors = self.spectrum
        noise = noise_like(self.means.new_empty(n, values.shape[1]), generator)
        offsets = torch.einsum("nij,nj->ni", vectors[component], values[component].sqrt() * noise)
        return self.means[component] + offsets.reshape(n, *self.means.shape[1:]), component


def log_prob(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    """log p_t(x_t), the density of noisy data, in nats. x_t: (B, *D); t: () or (B,). Returns (B,). Notebook 06."""
    return torch.logsumexp(_joint_log_prob(mixture, path, x_t, t), dim=1)


def responsibilities(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    """p(component | x_t): which component did a noisy point come from? Returns (B, K), rows sum to 1.

    Notebook 06.
    """
    return torch.softmax(_joint_log_prob(mixture, path, x_t, t), dim=1)


def score(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    """grad log p_t(x_t), each component's pull weighted by its responsibility. Returns (B, *D).

    Notebooks 06 and 08.
    """
    alpha, sigma = _coefficients(path, x_t, t)
    values, vectors = mixture.like(x_t).spectrum
    pull = -_whitened(mixture, alpha, x_t) / (alpha**2 * values + sigma**2)  # (B, K, d), in each eigenbasis
    weighted = responsibilities(mixture, path, x_t, t)[:, :, None] * pull
    return torch.einsum("kij,bkj->bi", vectors, weighted).reshape(x_t.shape)


def posterior_mean(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    """E[x0 | x_t], what every diffusion model learns (Bishop, equation 2.116). Returns (B, *D). Notebook 06."""
    return reverse_kernel(mixture, path, x_t, t, torch.zeros_like(t), to_data=True).mean()


def mixture_denoiser(mixture: GaussianMixture, path: GaussianPath) -> Denoiser:
    """The exact E[x0 | x_t] as a denoiser, which fits wherever a trained network does. Notebook 06."""
    return partial(posterior_mean, mixture, path)


@dataclass(frozen=True, eq=False)
class ReverseKernel:
    """q(x_s | x_t) of a mixture: for each x_t again a Gaussian mixture over points of shape (*D). Notebook 06.

    weights: (B, K). means: (B, K, *D). variances: (B, K, d) along the columns of vectors: (K, d, d).
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    vectors: Tensor

    def mean(self) -> Tensor:
        """E[x_s | x_t], (B, *D)."""
        return torch.einsum("bk,bk...->b...", self.weights, self.means)

    def covariance(self) -> Tensor:
        """Cov[x_s | x_t], (B, d, d)."""
        offsets = (self.means - self.mean()[:, None]).flatten(2)
        within = torch.einsum("kij,bkj,klj->bkil", self.vectors, self.variances, self.vectors)
        return torch.einsum("bk,bkij->bij", self.weights, within + offsets[..., :, None] * offsets[..., None, :])

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw one x_s for each x_t, (B, *D)."""
        picked = torch.multinomial(self.weights.to(generator.device), 1, generator=generator)[:, 0].to(
            self.means.device
        )
        rows = torch.arange(len(picked), device=self.means.device)
        noise = noise_like(self.variances[:, 0], generator)
        offsets = torch.einsum("bij,bj->bi", self.vectors[picked], self.variances[rows, picked].sqrt() * noise)
        return self.means[rows, picked] + offsets.reshape(len(picked), *self.means.shape[2:])


def reverse_kernel(
    mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor, s: Tensor, *, to_data: bool = False
) -> ReverseKernel:
    """The exact q(x_s | x_t), s < t, for data from a mixture (Bishop, equation 2.116, in each component).

    Taught in notebook 06.

    x_t: (B, *D). t, s: () or (B,). `to_data=True` gives p(x0 | x_t) whatever s is: on a path that begins at
    t_min > 0 no s reaches clean data.
    """
    check_xt(x_t, s, look=False)
    mixture = mixture.like(x_t)
    alpha, sigma = _coefficients(path, x_t, t)
    alpha_s, sigma_s = _coefficients(path, x_t, s)
    if to_data:
        alpha_s, sigma_s = torch.ones_like(alpha_s), torch.zeros_like(sigma_s)
    values, vectors = mixture.spectrum
    before = alpha_s**2 * values + sigma_s**2  # Var[x_s], (B, K, d)
    factor = alpha / alpha_s
    gain = factor * before / (alpha**2 * values + sigma**2)
    # Var[x_s | x_t] as a product of non-negative numbers: no difference of close ones
    added = (sigma**2 - factor**2 * sigma_s**2).clamp(min=0)
    variances = before * added / (alpha**2 * values + sigma**2)
    offsets = torch.einsum("kij,bkj->bki", vectors, gain * _whitened(mixture, alpha, x_t))
    means = alpha_s * mixture.means.flatten(1) + offsets
    weights = responsibilities(mixture, path, x_t, t)
    return ReverseKernel(weights, means.reshape(*means.shape[:2], *x_t.shape[1:]), variances, vectors)


def posterior(mixture: GaussianMixture, matrix: Tensor, y: Tensor, std: float) -> GaussianMixture:
    """The density of x0 once y = matrix x0 + std z is known, z ~ N(0, I): again a mixture (Bishop, equation 2.116).

    matrix: (m, d). y: (m,). std > 0: a measurement without noise leaves no density; take a small one. Every inverse
    problem of notebook 15 is held against this. `mixture_denoiser` of it is the exact conditional denoiser.
    """
    d, m = mixture.means[0].numel(), len(y)
    if matrix.shape != (m, d) or y.ndim != 1:
        raise ValueError(f"matrix must have shape (len(y), {d}), but is {describe(matrix)}, and y is {describe(y)}")
    if not 0 < std < math.inf:
        raise ValueError(f"std must be positive and finite, but is {std}")
    covariances, means = mixture.covariances, mixture.means.flatten(1)
    matrix, y = like(matrix, means), like(y, means)
    seen = matrix @ covariances @ matrix.mT + std**2 * torch.eye(m, dtype=y.dtype, device=y.device)  # Cov[y], (K, m, m)
    gain = torch.linalg.solve(seen, matrix @ covariances).mT  # (K, d, m)
    surprise = y - means @ matrix.mT  # (K, m)
    log_weights = torch.log(mixture.weights) + torch.distributions.MultivariateNormal(
        torch.zeros_like(surprise), seen
    ).log_prob(surprise)
    left = torch.eye(d, dtype=y.dtype, device=y.device) - gain @ matrix
    # Joseph's form: a sum of two positive parts, which rounding cannot make negative
    new_covariances = left @ covariances @ left.mT + std**2 * gain @ gain.mT
    new_means = means + torch.einsum("kdm,km->kd", gain, surprise)
    # a component that is ruled out beyond what numbers can say keeps the smallest weight they can
    weights = torch.softmax(log_weights, dim=0).clamp(min=torch.finfo(y.dtype).tiny)
    return GaussianMixture(
        weights / weights.sum(),
        new_means.reshape(mixture.means.shape),
        (new_covariances + new_covariances.mT) / 2,
    )


def cdf(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    """F_t(x) = P(x_t <= x) of a mixture on a line. x_t: (B, 1); t: () or (B,). Returns (B,). Notebook 16."""
    means, stds, weights = _on_a_line(mixture, path, x_t, t)
    return (weights * _normal_cdf((x_t - means) / stds)).sum(1)


def quantile(mixture: GaussianMixture, path: GaussianPath, p: Tensor, t: Tensor) -> Tensor:
    """The x with F_t(x) = p, for a mixture on a line, by bisection. p: (B,), in (0, 1). Returns (B, 1). Notebook 16."""
    if p.ndim != 1 or not bool(((p > 0) & (p < 1)).all()):
        raise ValueError(f"p must be a row of numbers above 0 and below 1, but is {describe(p)}")
    means, stds, weights = _on_a_line(mixture, path, p[:, None], t)
    ends = means + stds * torch.special.ndtri(p)[:, None]  # the quantile lies between those of the components
    low, high = ends.amin(1, keepdim=True), ends.amax(1, keepdim=True)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_low = (weights * _normal_cdf((middle - means) / stds)).sum(1, keepdim=True) < p[:, None]
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return (low + high) / 2


def line_flow(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Where the ODE takes x_t from t to s, for a mixture on a line: F_s^-1(F_t(x_t)), without a solver. Notebook 16.

    Points on a line cannot overtake one another, so each keeps its quantile. x_t: (B, 1); t, s: (). Returns (B, 1).
    Computed in float64. Points above the median are mirrored first, since 1 - p has no digits left for them.
    """
    x = in_double(x_t)
    mirrored = GaussianMixture(mixture.weights, -mixture.means, mixture.covariances)
    p, above = (cdf(m, path, sign * x, t) for m, sign in ((mixture, 1), (mirrored, -1)))
    tiny = torch.finfo(p.dtype).tiny
    from_left, from_right = (
        quantile(m, path, share.clamp(tiny, 0.5), s) for m, share in ((mixture, p), (mirrored, above))
    )
    return like(torch.where((p < 0.5)[:, None], from_left, -from_right), x_t)


def consistency_on_a_line(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, times: Tensor) -> Tensor:
    """What consistency training at these times converges to, for a mixture on a line, by quadrature. Notebook 20.

    times: (N + 1,), falling to 0. x_t: (B, 1) at times[0]. Returns f(x_t), (B, 1). Each f is a mean of the one before,
    f_t(x) = E[f_s(x_s) | x_t = x] with x_s of the same pair (x0, eps), and f_0(x) = x (Song et al. 2023, arXiv
    2303.01469, algorithm 3). Computed in float64; the table between is right to about 1e-4.
    """
    nodes, shares = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(NODES))
    places = torch.linspace(-REACH, REACH, PLACES, dtype=torch.float64)[:, None]
    table = places[:, 0]
    for s, t in itertools.pairwise(in_double(times).flip(0)):
        given = reverse_kernel(mixture, path, places, t, torch.zeros_like(t), to_data=True)  # p(x0 | x_t)
        x0 = given.means + given.variances.sqrt() * nodes  # (PLACES, K, NODES)
        x_s = path.alpha(s) * x0 + path.sigma(s) * (places[:, None] - path.alpha(t) * x0) / path.sigma(t)
        table = ((_looked_up(table, x_s) @ (shares / shares.sum())) * given.weights).sum(1)
    return like(_looked_up(table, in_double(x_t)), x_t)


def _looked_up(table: Tensor, x: Tensor) -> Tensor:
    """The straight line between the two nearest places of a table, and beyond its ends the last one."""
    place = ((x + REACH) / (2 * REACH) * (PLACES - 1)).clamp(0, PLACES - 1.001)
    left = place.floor().long()
    return table[left] + (table[left + 1] - table[left]) * (place - left)


def _normal_cdf(z: Tensor) -> Tensor:
    """P(Z <= z), with all its digits far out on the left, where `torch.special.ndtr` has none."""
    return 0.5 * torch.special.erfc(-z / math.sqrt(2))


def _on_a_line(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means and standard deviations of the noisy components, (B, K) each, and their weights, (K,)."""
    if mixture.means.shape[1:] != (1,) or x_t.shape[1:] != (1,):
        raise ValueError(f"the mixture and x_t must lie on a line, D = (1,), but x_t is {describe(x_t)}")
    alpha, sigma = _coefficients(path, x_t, t)
    mixture = mixture.like(x_t)
    variances = alpha[:, 0] ** 2 * mixture.covariances[:, 0, 0] + sigma[:, 0] ** 2
    return alpha[:, 0] * mixture.means[:, 0], variances.sqrt(), mixture.weights


def finite_denoiser(data: Tensor, path: GaussianPath, *, chunk: int = 1024) -> Denoiser:
    """The ideal denoiser of a finite data set: it can only return what it has seen (EDM, appendix B.3).

    Taught in notebook 06.

    data: (N, *D). E[x0 | x_t] is the mean of the data, weighted by softmax(-|x_t - alpha x_i|^2 / 2 sigma^2).
    Works through the batch in chunks, so that memory stays at chunk x N numbers.
    """
    check_xt(data, torch.tensor(0.5), "data")
    check_whole("chunk", chunk)
    return partial(_weighted_mean, data, path, chunk)


def _weighted_mean(data: Tensor, path: GaussianPath, chunk: int, x_t: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = _coefficients(path, x_t, t)
    points, flat = like(data, x_t).flatten(1), x_t.flatten(1)
    parts = []
    for x, a, s in zip(flat.split(chunk), alpha[:, 0].split(chunk), sigma[:, 0].split(chunk), strict=True):
        # |x - a x_i|^2 without |x|^2, which is the same for every i
        distances = a**2 * (points**2).sum(1) - 2 * a * (x @ points.T)
        parts.append(torch.softmax(-distances / (2 * s**2), dim=1) @ points)
    return torch.cat(parts).reshape(x_t.shape)


def _coefficients(path: GaussianPath, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma for each sample, (B, 1, 1), at whatever times the path knows: what is exact needs no t <= 1."""
    check_xt(x_t, t, "x_t", look=False)
    t = like(per_sample(t, x_t), x_t)
    return path.alpha(t)[:, None, None], path.sigma(t)[:, None, None]


def _whitened(mixture: GaussianMixture, alpha: Tensor, x_t: Tensor) -> Tensor:
    """x_t - alpha mean_k in the eigenbasis of component k, (B, K, d)."""
    mixture = mixture.like(x_t)
    _, vectors = mixture.spectrum
    if x_t.shape[1:] != mixture.means.shape[1:]:
        raise ValueError(f"x_t must have shape (B, *{tuple(mixture.means.shape[1:])}), but is {describe(x_t)}")
    offsets = x_t.flatten(1)[:, None] - alpha * mixture.means.flatten(1)
    return torch.einsum("kij,bki->bkj", vectors, offsets)


def _joint_log_prob(mixture: GaussianMixture, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    """log of weight_k N(x_t; alpha mean_k, alpha^2 cov_k + sigma^2 I), (B, K)."""
    alpha, sigma = _coefficients(path, x_t, t)
    mixture = mixture.like(x_t)
    values, _ = mixture.spectrum
    variances = alpha**2 * values + sigma**2
    squares = (_whitened(mixture, alpha, x_t) ** 2 / variances + torch.log(2 * math.pi * variances)).sum(-1)
    return torch.log(mixture.weights) - 0.5 * squares
