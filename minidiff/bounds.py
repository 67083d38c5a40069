"""A bound on how probable a sample is under a diffusion model, term by term, from its chain. Notebooks 07 and 29.

All costs are in nats per sample: of data in their own units, with d numbers each.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239, equation 5.
"""

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from minidiff._tensors import check_samples, check_times, expand, in_double, noise_like, squares
from minidiff.denoisers import Denoiser
from minidiff.paths import GaussianPath
from minidiff.samplers import Variance, forward_variance

__all__ = ["Bound", "variational_bound"]

SHOW_AFTER = 3  # seconds without a progress bar


class Bound(NamedTuple):
    """The terms of the variational bound, each a cost in nats per sample, in float64 on the CPU.

    prior: (B,), L_T. steps: (N - 1, B), L_{T-1} to L_1, from noise to data. decoder: (B,), L_0. times: (N,), where
    x_t is drawn: for each step, and at the end for the decoder. decoder_variance: that of p(x0 | x_t), without which a
    bound says nothing.
    """

    prior: Tensor
    steps: Tensor
    decoder: Tensor
    times: Tensor
    decoder_variance: float

    @property
    def log_likelihood(self) -> Tensor:
        """Minus the sum of all terms, (B,): on average over the noise at most log p(x0)."""
        return -(self.prior + self.steps.sum(dim=0) + self.decoder)

    @property
    def standard_error(self) -> float:
        """The standard error of `log_likelihood.mean()`, over independent x0 and their noise. NaN for one sample."""
        return float(self.log_likelihood.std()) / math.sqrt(len(self.prior)) if len(self.prior) > 1 else math.nan


@torch.no_grad()
def variational_bound(
    denoise: Denoiser,
    path: GaussianPath,
    x0: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator,
    variance: Variance = forward_variance,
    decoder_variance: float | None = None,
) -> Bound:
    """The variational bound of a DDPM, term by term (DDPM, equation 5). Derived in notebook 07, used in notebook 29.

    x0: (B, *D). times: falling, such as `torch.linspace(1, 0, T + 1)`: the steps of the chain. For each term one noise
    is drawn for each x0. The prior is N(0, (alpha^2 + sigma^2) I) at times[0]. Each step is Gaussian, with the
    posterior's mean at E[x0 | x_t] and with `variance`. The decoder is N(E[x0 | x_t], v I) at the last time t with
    noise: that is times[-2] where sigma(times[-1]) = 0, since the last step then ends on x0 itself, else times[-1].
    v = sigma(t)^2 unless `decoder_variance` is given; in DDPM's table that is beta_1.

    With `forward_variance` (DDPM's beta), or on a grid even in log-SNR, the gap to log p closes as 1/T. With
    `posterior_variance` (beta tilde) on a grid even in t it never does: near t = 0 neighbouring steps keep their
    SNR in the ratio (k + 1) / k, and the gap tends to gamma_Euler / 2 = 0.289 nats per dimension.

    Raises ValueError for NaN in x0, for times that do not fall within [path.t_min, 1], and for a variance that is not
    positive.
    """
    check_times(times, path.t_min)
    check_samples(x0, "x0")
    times = in_double(times)
    noisy = times[path.sigma(times) > 0]
    if len(noisy) == 0:
        raise ValueError(f"times must hold a time with noise, sigma > 0, but are {times}")
    if decoder_variance is None:
        decoder_variance = float(path.sigma(noisy[-1])) ** 2
    v = _checked_variance(decoder_variance, "decoder")
    steps = list(itertools.pairwise(noisy))
    variances = [_checked_variance(variance(path, t, s), f"step from t = {float(t):.6g}") for t, s in steps]
    costs = [x0.new_zeros(0, len(x0), dtype=torch.float64, device="cpu")]
    for (t, s), of_step in zip(tqdm(steps, desc="bound", unit="step", delay=SHOW_AFTER), variances, strict=True):
        costs.append(_step_cost(path, x0, _mistake(denoise, path, x0, t, generator), t, s, of_step)[None])
    decoder = _decoder_cost(_mistake(denoise, path, x0, noisy[-1], generator), v)
    return Bound(_prior_cost(path, x0, noisy[0]), torch.cat(costs), decoder, noisy, v)


def _checked_variance(value: float | Tensor, name: str) -> float:
    """A variance as a plain number. One that is 0 or NaN would make the bound infinite, or nothing at all."""
    value = float(value)
    if not 0 < value < math.inf:
        raise ValueError(f"the variance of the {name} must be positive and finite, but is {value}")
    return value


def _mistake(denoise: Denoiser, path: GaussianPath, x0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
    """x0 - E[x0 | x_t] at one x_t drawn for each x0. (B, *D)."""
    return x0 - denoise(path.perturb(x0, t, noise_like(x0, generator)), t)


def _prior_cost(path: GaussianPath, x0: Tensor, t: Tensor) -> Tensor:
    """L_T = KL(q(x_t | x0) || N(0, (alpha^2 + sigma^2) I)), (B,)."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    total = float(alpha**2 + sigma**2)
    return _gaussian_kl(expand(alpha, x0) * x0, float(sigma) ** 2 / total, total)


def _step_cost(path: GaussianPath, x0: Tensor, mistake: Tensor, t: Tensor, s: Tensor, variance: float) -> Tensor:
    """L_{k-1} = KL(q(x_s | x_t, x0) || p(x_s | x_t)) at one x_t for each x0, (B,)."""
    # the posterior's mean is linear: at the mistake it is the distance of the two means, with no close numbers
    apart, of_posterior = path.posterior(torch.zeros_like(x0), mistake, t, s)
    return _gaussian_kl(apart, float(of_posterior) / variance, variance)


def _decoder_cost(mistake: Tensor, variance: float) -> Tensor:
    """L_0 = -log N(x0; E[x0 | x_t], variance I) at one x_t for each x0, (B,)."""
    return 0.5 * (squares(mistake) / variance + mistake[0].numel() * math.log(2 * math.pi * variance))


def _gaussian_kl(apart: Tensor, ratio: float, variance: float) -> Tensor:
    """KL(N(m + apart, ratio * variance I) || N(m, variance I)) in nats. apart: (B, *D); returns (B,)."""
    excess = ratio - 1  # its log1p, since most ratios are close to 1
    return 0.5 * (apart[0].numel() * (excess - math.log1p(excess)) + squares(apart) / variance)
