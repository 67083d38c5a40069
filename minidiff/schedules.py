"""The paths that people use, each with its source. Taught in notebook 05.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239, section 4; Nichol & Dhariwal 2021, arXiv 2102.09672, equation 17;
Song et al. 2021 (SDE), arXiv 2011.13456, equations 32 and 33.
"""

import math

import torch
from torch import Tensor

from minidiff._tensors import describe
from minidiff.paths import GaussianPath

__all__ = ["cosine", "ddpm_betas", "ddpm_linear", "tabulated", "vp_linear"]


def ddpm_betas(T: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> Tensor:
    """The variances that DDPM adds at its T steps (DDPM, section 4). Returns (T,) in float64, beta_1 first."""
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"T must be a number of steps >= 1, but is {T!r}")
    if not 0 < beta_first <= beta_last < 1:
        raise ValueError(f"betas must obey 0 < beta_first <= beta_last < 1, but are {beta_first} and {beta_last}")
    return torch.linspace(beta_first, beta_last, T, dtype=torch.float64)


def tabulated(betas: Tensor) -> GaussianPath:
    """The path of any table of betas: `log alpha_bar` at t = k / T is the sum of log(1 - beta), linear in between.

    betas: (T,), each in (0, 1), beta_1 first. Step k of the table happens between t = (k - 1) / T and k / T.
    """
    if not isinstance(betas, Tensor) or not betas.is_floating_point() or betas.ndim != 1 or len(betas) < 1:
        raise TypeError(f"betas must be a floating-point tensor of shape (T,), but is {describe(betas)}")
    if not bool(((betas > 0) & (betas < 1)).all()):
        raise ValueError("betas must lie strictly between 0 and 1")
    steps = len(betas)
    log_alpha_bar = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-betas.double().cpu()).cumsum(0)])

    def log_alpha(t: Tensor) -> Tensor:
        table = (0.5 * log_alpha_bar).to(t)
        k = (t.detach() * steps).floor().long().clamp(0, steps - 1)
        return table[k] + (table[k + 1] - table[k]) * (t * steps - k)

    return GaussianPath(alpha=lambda t: log_alpha(t).exp(), sigma=lambda t: sigma_from_log_alpha(log_alpha(t)))


def ddpm_linear(T: int = 1000) -> GaussianPath:
    """DDPM's path: beta rises linearly from 1e-4 to 0.02 over T steps (DDPM, section 4). Pair it with eps, x0 or v.

    The two ends belong to T = 1000. With T = 50 they leave 78 % of the signal standing: notebook 05 shows it.
    """
    return tabulated(ddpm_betas(T))


def cosine(offset: float = 0.008) -> GaussianPath:
    """The cosine path, alpha_bar = cos^2 (Nichol & Dhariwal 2021, equation 17). Pair it with v, x0 or velocity.

    alpha(1) is exactly 0, where eps says nothing about x0: `targets.solve` refuses eps there.
    """

    def angle(t: Tensor) -> Tensor:
        return (t + offset) / (1 + offset) * (math.pi / 2)

    start = math.cos(offset / (1 + offset) * math.pi / 2)

    def sigma(t: Tensor) -> Tensor:
        # 1 - cos^2(b) / cos^2(a) = sin(b - a) sin(b + a) / cos^2(a): no cancellation near t = 0
        rise = t / (1 + offset) * (math.pi / 2)  # b - a, not by subtraction
        return (torch.sin(rise) * torch.sin(angle(t) + angle(torch.zeros_like(t)))).clamp(min=0).sqrt() / start

    return GaussianPath(alpha=lambda t: (torch.cos(angle(t)) / start).clamp(min=0), sigma=sigma)


def vp_linear(beta_min: float = 0.1, beta_max: float = 20.0) -> GaussianPath:
    """DDPM in continuous time: beta(t) rises linearly (SDE, equations 32 and 33). The path for SDE and ODE lessons.

    sigma(t) behaves like sqrt(t) near 0, so its rate is infinite at t = 0: ask for rates at t > 0 only.
    """
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"betas must obey 0 < beta_min <= beta_max, but are {beta_min} and {beta_max}")

    def log_alpha(t: Tensor) -> Tensor:
        return -0.25 * t**2 * (beta_max - beta_min) - 0.5 * t * beta_min

    return GaussianPath(alpha=lambda t: log_alpha(t).exp(), sigma=lambda t: sigma_from_log_alpha(log_alpha(t)))


def sigma_from_log_alpha(log_alpha: Tensor) -> Tensor:
    """sqrt(1 - alpha^2), which stays exact where alpha is close to 1."""
    return torch.sqrt(-torch.expm1(2 * log_alpha))
