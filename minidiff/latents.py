"""Diffusion in a latent space: what an autoencoder keeps, which holes it leaves, and when a latent is decided.

A variational autoencoder (VAE) gives each x, d numbers, a normal distribution q(z | x) over latents z, k numbers, and
decodes z to a mean x' with a standard deviation `std` around it. Its two costs are the rate, the mean KL divergence of
q(z | x) from N(0, I), and the distortion, the mean of |x - x'|^2:

    ELBO = -rate - distortion / (2 std^2) - d/2 ln(2 pi std^2)

For linear maps everything is known: the best one is probabilistic PCA. Taught in notebook 17.

Sources: Kingma & Welling 2014, arXiv 1312.6114, section 2.3 and appendix B; Tipping & Bishop 1999, J. R. Stat. Soc. B
61, section 3; Lucas et al. 2019, arXiv 1911.02469, section 4; Hoffman & Johnson 2016, ELBO surgery; Rombach et al.
2022, arXiv 2112.10752, section 3; Shoemake 1985 (slerp); Raya & Ambrogioni 2023, arXiv 2305.19693; Biroli et al. 2024,
arXiv 2402.18491.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff._tensors import check_number, check_samples, check_whole, describe, in_double, noise_like
from minidiff.exact import GaussianMixture, log_prob
from minidiff.paths import GaussianPath
from minidiff.schedules import rectified_flow, time_at_log_snr
from minidiff.training import Batch, Draws, Objective

__all__ = [
    "Costs",
    "LinearVAE",
    "RateParts",
    "Units",
    "aggregate",
    "autoencoder_objective",
    "clone_agreement",
    "clone_time",
    "costs",
    "decoded",
    "density_split",
    "drift_split",
    "encoded",
    "in_the_hole",
    "linear_vae",
    "rate",
    "rate_parts",
    "slerp",
    "units_of",
]

AT_ONCE = 500  # images
GRID, REACH = 8001, 12.0  # of a quadrature: places, and standard deviations to each side
BISECTIONS = 60
PARALLEL = 1e-6  # radians: below it, slerp is a straight line


# The autoencoder, and its loss


def rate(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, I), in nats. (B, k) each -> (B,). Notebook 17."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(dim=1)


def autoencoder_objective(latent: int, std: float) -> Objective:
    """A loss for `train`: (|x - x'|^2 + 2 std^2 rate) / d for d numbers in x, (B,), with one latent drawn for each x.

    That is minus the ELBO, times 2 std^2 / d and without its constant: the units in which a network that predicts 0
    for data of unit variance has a loss of 1. The network has `encode`, x -> mean and ln(variance) of `latent` numbers,
    and `decode`. std: of the decoder. Notebook 17.
    """
    check_whole("latent", latent)
    check_number("std", std)

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        return Draws(batch.x0, eps=noise_like(batch.x0.new_empty(len(batch.x0), latent), generator))

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        mean, log_variance = net.encode(draws.x0)
        z = mean + (log_variance / 2).exp() * draws.eps
        error = (draws.x0 - net.decode(z)).square().flatten(1).mean(dim=1)
        return error + 2 * std**2 * rate(mean, log_variance) / draws.x0[0].numel()

    return Objective(draw, loss)


@torch.no_grad()
def encoded(net: nn.Module, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A latent for each x, (N, k): one draw from q(z | x), or its mean without a generator. Notebook 17."""
    parts = []
    for part in x.split(AT_ONCE):
        mean, log_variance = net.encode(part)
        parts.append(mean if generator is None else mean + (log_variance / 2).exp() * noise_like(mean, generator))
    return torch.cat(parts)


@torch.no_grad()
def decoded(net: nn.Module, z: Tensor) -> Tensor:
    """The mean image of each latent, (N, *D). Notebook 17."""
    return torch.cat([net.decode(part) for part in z.split(AT_ONCE)])


# The linear VAE, of which everything is known


class Costs(NamedTuple):
    """Rate in nats, distortion as a sum over the numbers of x, and the ELBO in nats, each a mean over the data."""

    rate: float
    distortion: float
    elbo: float


@dataclass(frozen=True, eq=False)
class LinearVAE:
    """q(z | x) = N(encoder (x - mean), diag(variances)) and x' = mean + decoder z.

    encoder: (k, d). decoder: (d, k). mean: (d,). variances: (k,). std: of the decoder.
    """

    encoder: Tensor
    decoder: Tensor
    mean: Tensor
    variances: Tensor
    std: float

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and ln(variance) of q(z | x), (B, k) each."""
        return (x - self.mean) @ self.encoder.T, self.variances.log().expand(len(x), -1)

    def decode(self, z: Tensor) -> Tensor:
        """(B, k) -> (B, d)."""
        return self.mean + z @ self.decoder.T

    @property
    def active(self) -> int:
        """How many latents know anything about x: those whose variance is below 0.95."""
        return int((self.variances < 0.95).sum())


def linear_vae(mean: Tensor, covariance: Tensor, latent: int, std: float) -> LinearVAE:
    """The linear VAE with the largest ELBO for data of this mean, (d,), and covariance, (d, d). Notebook 17.

    Latent i belongs to the principal axis with the i-th largest eigenvalue. Where that lies above std^2, the posterior
    variance is std^2 / eigenvalue; where it lies below, latent and decoder ignore each other (Lucas et al., section 4).
    """
    check_number("std", std)
    check_whole("latent", latent, most=len(mean))
    values, vectors = torch.linalg.eigh(covariance)
    values, axes = values.flip(0)[:latent], vectors.flip(1)[:, :latent]
    length = (values - std**2).clamp(min=0).sqrt()
    return LinearVAE(
        (length / values)[:, None] * axes.T, axes * length, mean, (std**2 / values).clamp(max=1), float(std)
    )


def costs(vae: LinearVAE, covariance: Tensor) -> Costs:
    """Rate, distortion and ELBO of any linear VAE, exactly, for data of its mean and this covariance. Notebook 17."""
    encoder, decoder, variances, covariance = map(in_double, (vae.encoder, vae.decoder, vae.variances, covariance))
    d = len(decoder)
    spread = (encoder @ covariance @ encoder.T).trace()
    rate_ = 0.5 * float(spread + (variances - 1 - variances.log()).sum())
    left = torch.eye(d, dtype=torch.float64) - decoder @ encoder
    distortion = float((left @ covariance @ left.T).trace() + decoder.square().sum(dim=0) @ variances)
    constant = d / 2 * math.log(2 * math.pi * vae.std**2)
    return Costs(rate_, distortion, -rate_ - distortion / (2 * vae.std**2) - constant)


def aggregate(mixture: GaussianMixture, vae: LinearVAE) -> GaussianMixture:
    """q(z), the distribution of the latents of all data, for data from a mixture: again a mixture. Notebook 17."""
    encoder = vae.encoder.to(mixture.means)
    means = (mixture.means - vae.mean.to(mixture.means)) @ encoder.T
    covariances = encoder @ mixture.covariances @ encoder.T + vae.variances.to(mixture.means).diag()
    return GaussianMixture(mixture.weights, means, (covariances + covariances.mT) / 2)


# What the rate is made of, and the holes


class RateParts(NamedTuple):
    """rate = information + hole, in nats (Hoffman & Johnson): I(x; z), and KL of q(z) from N(0, 1)."""

    rate: float
    information: float
    hole: float


def rate_parts(latents: GaussianMixture, variance: float) -> RateParts:
    """The rate of a VAE with one latent, and its two parts by quadrature, each computed apart. Notebook 17.

    latents: q(z), on a line. variance: of q(z | x), the same for all x.
    """
    check_number("variance", variance)
    z, step, q, _ = _on_a_grid(latents)
    log_q = torch.log(q.clamp(min=torch.finfo(q.dtype).tiny))
    log_p = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    entropy = -float((q * log_q).sum() * step)
    square = float((q * z**2).sum() * step)  # of the means of q(z | x), and their variance
    return RateParts(
        0.5 * (square - 1 - math.log(variance)),
        entropy - 0.5 * math.log(2 * math.pi * math.e * variance),
        float((q * (log_q - log_p)).sum() * step),
    )


def in_the_hole(latents: GaussianMixture, factor: float = 3.0) -> float:
    """The share of the prior N(0, 1) that lies where it is more than `factor` times as dense as q(z). Notebook 17."""
    _, step, q, p = _on_a_grid(latents)
    return float(p[p > factor * q].sum() * step)


def _on_a_grid(latents: GaussianMixture) -> tuple[Tensor, float, Tensor, Tensor]:
    """Places on a line, (GRID,), their distance, and there the densities of q(z) and of N(0, 1)."""
    if latents.means.shape[1:] != (1,):
        raise ValueError(f"latents must lie on a line, D = (1,), but have means that are {describe(latents.means)}")
    latents = latents.to(torch.float64)
    spread = max(1.0, float(latents.covariances.max()) ** 0.5)
    reach = REACH * spread + float(latents.means.abs().max())
    z = torch.linspace(-reach, reach, GRID, dtype=torch.float64)
    q = log_prob(latents, rectified_flow(), z[:, None], z.new_zeros(())).exp()
    return z, 2 * reach / (GRID - 1), q, torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


# The scale of a latent


class Units(NamedTuple):
    """Latents with mean 0 and standard deviation 1: shift, (k,), and spread, (), of what an encoder returns."""

    shift: Tensor
    spread: Tensor

    def to(self, z: Tensor) -> Tensor:
        """From the encoder to the diffusion model."""
        return (z - self.shift) / self.spread

    def back(self, z: Tensor) -> Tensor:
        """From the diffusion model to the decoder."""
        return z * self.spread + self.shift


def units_of(z: Tensor) -> Units:
    """A shift for each number of the latents z, (N, *D), and one scale for all of them (Rombach et al., D.1)."""
    check_samples(z, "z")
    shift = z.mean(dim=0)
    return Units(shift, (z - shift).square().mean().sqrt())


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The point at `share` of the arc from a to b, row by row (Shoemake 1985). (B, *D) each. Notebook 17.

    The mean of two independent noises has half their variance, so no noise looks like it. A point on the arc has all
    of it. Lengths go evenly from |a| to |b|.
    """
    if a.shape != b.shape:
        raise ValueError(f"b must have the shape of a, {tuple(a.shape)}, but is {describe(b)}")
    rows = [-1, *[1] * (a.ndim - 1)]
    lengths = [x.flatten(1).norm(dim=1) for x in (a, b)]
    directions = [x / length.reshape(rows) for x, length in zip((a, b), lengths, strict=True)]
    cosine = (directions[0] * directions[1]).flatten(1).sum(dim=1).clamp(-1, 1)
    angle = torch.acos(cosine)
    straight = torch.sin(angle) < PARALLEL
    sine = torch.sin(angle).masked_fill(straight, 1.0)
    parts = [
        torch.where(straight, torch.full_like(angle, part), torch.sin(part * angle) / sine)
        for part in (1 - share, share)
    ]
    length = (1 - share) * lengths[0] + share * lengths[1]
    return length.reshape(rows) * (parts[0].reshape(rows) * directions[0] + parts[1].reshape(rows) * directions[1])


# When it is decided: two modes at -mean and mean, each with the standard deviation std


def density_split(path: GaussianPath, mean: float, std: float) -> float:
    """The time at which the density of x_t stops having two peaks: alpha^2 mean^2 = alpha^2 std^2 + sigma^2."""
    _check_modes(mean, std)
    return _time(path, -math.log(mean**2 - std**2))


def drift_split(path: GaussianPath, mean: float, std: float) -> float:
    """The time from which the drift of the reverse SDE pushes points away from the middle (Raya & Ambrogioni).

    For a path with alpha^2 + sigma^2 = 1. With variance G of a noisy mode it is 1/2 - 1/G + alpha^2 mean^2 / G^2 = 0.
    """
    _check_modes(mean, std)
    rest = 1 - std**2  # G = 1 - rest alpha^2, so that rest^2 alpha^4 + 2 mean^2 alpha^2 = 1
    signal = 1 / (mean**2 + math.hypot(mean**2, rest))
    return _time(path, math.log(signal / (1 - signal)))


def clone_agreement(path: GaussianPath, mean: float, std: float, t: float) -> float:
    """How often two walks from one x_t end in the same mode, by quadrature (Biroli et al.). Notebook 17.

    With r the probability of one mode given x_t, that is the mean of r^2 + (1 - r)^2. In d dimensions, with modes at
    +-m (1, ..., 1), mean is sqrt(d) m: only the direction between the modes counts.
    """
    check_number("mean", mean)
    check_number("std", std)
    time = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = path.alpha(time), path.sigma(time)
    centre, spread = alpha * mean, torch.hypot(alpha * std, sigma)
    u = torch.linspace(-REACH, REACH, GRID, dtype=torch.float64)
    density = torch.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
    r = torch.sigmoid(2 * centre * (centre + spread * u) / spread**2)  # by symmetry, points of one mode are enough
    return float((density * (r**2 + (1 - r) ** 2)).sum() * (u[1] - u[0]))


def clone_time(path: GaussianPath, mean: float, std: float, share: float = 0.75) -> float:
    """The time at which two walks from one x_t end in the same mode with probability `share`. Notebook 17."""
    if not 0.5 < share < 1:
        raise ValueError(f"share must lie between 0.5, chance, and 1, but is {share}")
    low, high = path.t_min, 1.0
    if clone_agreement(path, mean, std, high) > share or clone_agreement(path, mean, std, low) < share:
        raise ValueError(f"share must be reached between t = {low} and 1, but {share} is not")
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if clone_agreement(path, mean, std, middle) > share else (low, middle)
    return (low + high) / 2


def _check_modes(mean: float, std: float) -> None:
    check_number("std", std)
    if not mean > std:
        raise ValueError(f"mean must be larger than std = {std}, so that there are two peaks, but is {mean}")


def _time(path: GaussianPath, log_snr: float) -> float:
    return float(time_at_log_snr(path, torch.tensor(log_snr, dtype=torch.float64)))
