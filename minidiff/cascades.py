"""Pictures from coarse to fine: spectra, octaves, cascades and the noise between their stages. Notebook 21.

A **Gaussian field** is a periodic picture whose Fourier coefficients are independent normal numbers. All of it is
exact: its denoiser is a Wiener filter, its sampler a recursion for each frequency, and a cascade of two stages a
product of matrices. Pictures are (B, 1, n, n). Frequencies are whole numbers of waves across the picture, in the order
of `torch.fft`.

Sources: Wiener 1949 (the filter); Ho et al. 2021 (cascades), arXiv 2106.15282, section 3.3 (noise augmentation);
Saharia et al. 2021 (SR3), arXiv 2104.07636, section 2; Guth et al. 2022, arXiv 2208.05003 (octaves that are
normalised have a condition number that does not grow).
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_whole, expand, noise_like
from minidiff.denoisers import Denoiser, from_network
from minidiff.paths import GaussianPath
from minidiff.samplers import ancestral, last, posterior_variance
from minidiff.schedules import cosine
from minidiff.targets import Target
from minidiff.training import Batch, Draws, Objective, Weight, denoising_loss, spread_times

__all__ = [
    "augmented",
    "coarse_beside",
    "disagreement",
    "draw_field",
    "enlarged",
    "field_covariance",
    "field_denoiser",
    "halved",
    "halving",
    "kl",
    "level_covariance",
    "octaves",
    "power",
    "power_law",
    "ring_means",
    "sampled_by_octaves",
    "sampled_spectrum",
    "upsampled",
    "upsampling_objective",
    "waves",
]

PATH, KIND = cosine(), "x0"  # of the shipped models
MOST_NOISE = 0.5  # on a coarse picture in training: its standard deviation
NOT_TOLD = 0.1  # the share of training pictures whose coarse picture is withheld

# Spectra


def waves(n: int) -> Tensor:
    """|k| of every frequency of an n x n picture, in waves across the picture, (n, n)."""
    check_whole("n", n)
    k = torch.fft.fftfreq(n, dtype=torch.float64) * n
    return (k[:, None] ** 2 + k**2).sqrt()


def power_law(n: int, exponent: float = 2.5, largest: float = 1.5) -> Tensor:
    """The spectrum (k^2 + largest^2)^(-exponent / 2), (n, n), scaled so that a pixel has variance 1."""
    spectrum = (waves(n) ** 2 + largest**2) ** (-exponent / 2)
    return spectrum / spectrum.mean()


def power(x: Tensor) -> Tensor:
    """The mean of |X_k|^2 / n^2 over pictures x, (B, 1, n, n): (n, n). Its mean over k is a pixel's mean square."""
    n = x.shape[-1]
    return torch.fft.fft2(x[:, 0]).abs().square().mean(dim=0) / n**2


def ring_means(spectrum: Tensor) -> Tensor:
    """The mean of a spectrum over all frequencies with |k| nearest to 0, 1, ..., n / 2. (n, n) -> (n // 2 + 1,)"""
    n = len(spectrum)
    ring = waves(n).round().long().flatten()
    sums = torch.zeros(int(ring.max()) + 1, dtype=spectrum.dtype).index_add(0, ring, spectrum.flatten())
    return (sums / ring.bincount())[: n // 2 + 1]


def draw_field(spectrum: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n pictures of a Gaussian field, (n, 1, side, side), in float32: white noise, coloured."""
    white = torch.randn(n, *spectrum.shape, generator=generator)
    return torch.fft.ifft2(torch.fft.fft2(white) * spectrum.float().sqrt()).real[:, None]


def field_denoiser(spectrum: Tensor, path: GaussianPath) -> Denoiser:
    """E[x0 | x_t] of a Gaussian field: a Wiener filter, alpha S / (alpha^2 S + sigma^2) for each frequency."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = expand(path.alpha(t), x_t), expand(path.sigma(t), x_t)
        S = spectrum.to(x_t)
        gain = alpha * S / (alpha**2 * S + sigma**2)
        return torch.fft.ifft2(torch.fft.fft2(x_t) * gain).real

    return denoise


# What a sampler makes of a spectrum


def sampled_spectrum(spectrum: Tensor, path: GaussianPath, times: Tensor) -> Tensor:
    """The spectrum of what DDPM's sampler draws with the exact denoiser of a field, in closed form.

    spectrum: any shape; times: (N + 1,), from 1 to 0. A step is x_s = a x_t + noise, with a number a for each
    frequency. So a variance V becomes a^2 V plus that of the noise.
    """
    S, times = spectrum.double(), times.double()
    V = path.alpha(times[0]) ** 2 * S + path.sigma(times[0]) ** 2
    for t, s in itertools.pairwise(times):
        alpha_t, sigma_t, alpha_s, sigma_s = path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s)
        fresh = posterior_variance(path, t, s)
        kept = (sigma_s**2 - fresh).clamp(min=0).sqrt() / sigma_t  # of x_t - alpha_t x0_hat
        gain = alpha_t * S / (alpha_t**2 * S + sigma_t**2)
        V = (kept + (alpha_s - kept * alpha_t) * gain) ** 2 * V + fresh
    return V


def octaves(n: int) -> list[Tensor]:
    """The frequencies of an n x n picture in octaves, |k| < 2, [2, 4), [4, 8), ...: (n, n) booleans, each k in one."""
    k, edges = waves(n), [0.0, 2.0]
    while edges[-1] <= float(k.max()):
        edges.append(2 * edges[-1])
    return [(k >= low) & (k < high) for low, high in itertools.pairwise(edges)]


def sampled_by_octaves(spectrum: Tensor, path: GaussianPath, times: Tensor) -> Tensor:
    """As `sampled_spectrum`, for a cascade: every octave is divided by its own standard deviation, sampled, put back.

    In a Gaussian field the octaves are independent, so each stage is exact by itself (Guth et al. 2022).
    """
    drawn = torch.zeros_like(spectrum)
    for octave in octaves(len(spectrum)):
        scale = spectrum[octave].mean()
        drawn[octave] = scale * sampled_spectrum(spectrum[octave] / scale, path, times)
    return drawn


# A cascade of two stages, as matrices


def field_covariance(spectrum: Tensor) -> Tensor:
    """The covariance matrix of the pixels of a field, row by row: (n^2, n^2)."""
    n = len(spectrum)
    basis = torch.fft.fft2(torch.eye(n * n, dtype=torch.float64).reshape(-1, n, n)).reshape(n * n, n * n) / n
    return (basis.conj().T @ (spectrum.flatten()[:, None] * basis)).real


def halving(n: int) -> Tensor:
    """The matrix of `halved`: means over 2 x 2 pixels, (n^2 / 4, n^2)."""
    return halved(torch.eye(n * n, dtype=torch.float64).reshape(-1, 1, n, n)).flatten(1).T


def level_covariance(
    covariance: Tensor,
    coarsen: Tensor,
    *,
    told: float,
    added: float,
    error: Tensor | None = None,
) -> Tensor:
    """The covariance of what a cascade draws, if its upsampler is exact for coarse pictures with noise `told`.

    covariance: of the fine pictures. coarsen: the matrix that makes coarse pictures. error: what the coarse model adds
    to the true covariance of coarse pictures. added: the noise that is really put on them. Both noises are standard
    deviations; `told` must be above 0.
    """
    gain, rest = _upsampler(covariance, coarsen, told)
    coarse = coarsen @ covariance @ coarsen.T
    given = coarse + added**2 * torch.eye(len(coarse)).to(coarse) + (0 if error is None else error)
    return gain @ given @ gain.T + rest


def disagreement(covariance: Tensor, coarsen: Tensor, s: float) -> float:
    """How far a fine picture's own coarse picture is from the one that it was made from: a share of their variance."""
    gain, rest = _upsampler(covariance, coarsen, s)
    coarse = coarsen @ covariance @ coarsen.T
    again = coarsen @ gain
    off = again - torch.eye(len(coarse)).to(coarse)
    both = off @ coarse @ off.T + s**2 * again @ again.T + coarsen @ rest @ coarsen.T
    return float(both.trace() / coarse.trace())


def _upsampler(covariance: Tensor, coarsen: Tensor, told: float) -> tuple[Tensor, Tensor]:
    """x given its noisy coarse picture c is normal: its mean is gain @ c, its covariance is rest."""
    shared = coarsen @ covariance
    noisy = shared @ coarsen.T + told**2 * torch.eye(len(coarsen)).to(covariance)
    gain = torch.linalg.solve(noisy, shared).T
    return gain, covariance - gain @ shared


def kl(drawn: Tensor, true: Tensor) -> float:
    """KL(N(0, drawn) || N(0, true)) of two covariance matrices."""
    ratio = torch.linalg.solve(true, drawn)
    return 0.5 * float(ratio.trace() - len(true) - torch.linalg.slogdet(ratio).logabsdet)


# Pictures, and the upsampler that a network is


def halved(x: Tensor) -> Tensor:
    """The means over squares of 2 x 2 pixels. (B, C, H, W) -> (B, C, H / 2, W / 2)"""
    return functional.avg_pool2d(x, 2)


def enlarged(x: Tensor) -> Tensor:
    """Every pixel as a square of 2 x 2. (B, C, H, W) -> (B, C, 2 H, 2 W)"""
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def augmented(coarse: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of standard deviation s, () or (B,), on coarse pictures (Ho et al. 2021, section 3.3). Notebook 21."""
    return coarse + expand(s, coarse) * noise_like(coarse, generator)


def coarse_beside(coarse: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
    """What an upsampler is told: coarse pictures with noise s, enlarged, and 1 - s. (B, 1, h, w) -> (B, 2, 2 h, 2 w)"""
    noisy = enlarged(augmented(coarse, s, generator))
    return torch.cat([noisy, expand(1 - s, noisy).expand_as(noisy)], dim=1)


def upsampling_objective(path: GaussianPath, kind: Target, weight: Weight) -> Objective:
    """The loss of an upsampler for `train`: it sees pictures halved, with noise from 0 to `MOST_NOISE`, and is told s.

    A tenth of the pictures is shown no coarse one, as with labels in guidance.
    """

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        n, where = len(batch.x0), generator.device
        t, eps = spread_times(n, path, generator).to(batch.x0), noise_like(batch.x0, generator)
        s = MOST_NOISE * torch.rand(n, generator=generator, device=where).to(batch.x0)
        told = torch.rand(n, generator=generator, device=where).to(batch.x0) >= NOT_TOLD
        y = coarse_beside(halved(batch.x0), s, generator)
        return Draws(batch.x0, t, eps, y * expand(told.to(y), y))

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        missed = denoising_loss(net, path, draws.x0, draws.t, draws.eps, kind=kind, y=draws.y)
        return missed * weight(path, draws.t)

    return Objective(draw, loss)


@torch.no_grad()
def upsampled(net: nn.Module, coarse: Tensor, s: float, *, steps: int, generator: torch.Generator) -> Tensor:
    """The second stage: pictures of twice the side, from coarse ones on which noise s is put. (B, 1, h, w)."""
    known = coarse_beside(coarse, torch.full((len(coarse),), float(s)), generator)
    start = PATH.prior((len(coarse), 1, *known.shape[2:]), generator)
    times = torch.linspace(1, 0, steps + 1)
    return last(ancestral(from_network(net, PATH, KIND, known), PATH, start, times, generator=generator))
