"""The paths that people use, each with its source, and times to walk down them. Taught in notebooks 05 and 08 to 10.

Every path of this module ends in noise at t = 1 and in the data themselves at t = 0, so that
`torch.linspace(1, 0, N + 1)` is a walk of N steps on any of them. Better spaced walks are at the end of the module.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239, section 4; Nichol & Dhariwal 2021, arXiv 2102.09672, equation 17;
Song et al. 2021 (SDE), arXiv 2011.13456, equations 30 to 33; Karras et al. 2022 (EDM), arXiv 2206.00364, equation 5;
Liu, Gong & Liu 2023 (rectified flow), arXiv 2209.03003, equation 1; Lu et al. 2022 (DPM-Solver), arXiv 2206.00927,
section 3.3.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minidiff._tensors import check_time, check_whole, describe, in_double, like
from minidiff.paths import GaussianPath

__all__ = [
    "cosine",
    "ddpm_betas",
    "ddpm_linear",
    "edm",
    "karras_times",
    "log_snr_times",
    "rectified_flow",
    "tabulated",
    "time_at_log_snr",
    "ve",
    "vp_linear",
]

# Halving [0, 1] this often leaves less than one rounding error of any time that matters.
BISECTIONS = 80


def ddpm_betas(T: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> Tensor:
    """The variances that DDPM adds at its T steps (DDPM, section 4). Returns (T,) in float64, beta_1 first."""
    check_whole("T", T)
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
    log_alpha_bar = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-in_double(betas)).cumsum(0)])
    return _preserving(_in_table, 0.5 * log_alpha_bar)


def _in_table(log_alphas: Tensor, t: Tensor) -> Tensor:
    """Linear between the entries of a table, (T + 1,), at t = k / T."""
    table, steps = like(log_alphas, t), len(log_alphas) - 1
    k = (t.detach() * steps).floor().long().clamp(0, steps - 1)
    return table.take(k) + (table.take(k + 1) - table.take(k)) * (t * steps - k)


def ddpm_linear(T: int = 1000) -> GaussianPath:
    """DDPM's path: beta rises linearly from 1e-4 to 0.02 over T steps (DDPM, section 4). Pair it with eps, x0 or v.

    The two ends belong to T = 1000. With T = 50 they leave 78 % of the signal standing: notebook 05 shows it.
    """
    return tabulated(ddpm_betas(T))


def cosine(offset: float = 0.008) -> GaussianPath:
    """The cosine path, alpha_bar = cos^2 (Nichol & Dhariwal 2021, equation 17). Pair it with v, x0 or velocity.

    alpha(1) is exactly 0, where eps says nothing about x0: `targets.solve` refuses eps there.
    """
    return _path(_cosine_alpha, _cosine_sigma, offset)


def _cosine_alpha(offset: float, t: Tensor) -> Tensor:
    # cos(angle) as the sine of what is left to pi / 2: exactly 0 at t = 1, in any precision, with the right rate
    return torch.sin((1 - t) / (1 + offset) * (math.pi / 2)) / _cosine_start(offset)


def _cosine_sigma(offset: float, t: Tensor) -> Tensor:
    # 1 - cos^2(b) / cos^2(a) = sin(b - a) sin(b + a) / cos^2(a): no cancellation near t = 0
    rise = t / (1 + offset) * (math.pi / 2)  # b - a, not by subtraction
    both = _cosine_angle(offset, t) + _cosine_angle(offset, torch.zeros_like(t))
    return (torch.sin(rise) * torch.sin(both)).clamp(min=0).sqrt() / _cosine_start(offset)


def _cosine_angle(offset: float, t: Tensor) -> Tensor:
    return (t + offset) / (1 + offset) * (math.pi / 2)


def _cosine_start(offset: float) -> float:
    return math.cos(offset / (1 + offset) * math.pi / 2)


def vp_linear(beta_min: float = 0.1, beta_max: float = 20.0) -> GaussianPath:
    """DDPM in continuous time: beta(t) rises linearly (SDE, equations 32 and 33). The path for SDE and ODE lessons.

    sigma(t) behaves like sqrt(t) near 0, so its rate is infinite at t = 0: ask for rates at t > 0 only.
    """
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"betas must obey 0 < beta_min <= beta_max, but are {beta_min} and {beta_max}")
    return _preserving(_linear_log_alpha, beta_min, beta_max)


def _linear_log_alpha(beta_min: float, beta_max: float, t: Tensor) -> Tensor:
    return -0.25 * t**2 * (beta_max - beta_min) - 0.5 * t * beta_min


def ve(sigma_min: float = 0.01, sigma_max: float = 50.0) -> GaussianPath:
    """The path of score networks (NCSN): x_t = x0 + sigma eps, log sigma even in t (SDE, equations 30 and 31).

    At t = 0 lie the data themselves: sigma jumps from sigma_min to 0 there (SDE, appendix C), so ask for rates at
    t > 0 only. sigma_max should exceed the largest distance between two data points. Notebook 08.
    """
    _check_sigmas(sigma_min, sigma_max)
    return _path(_one, _exploding, _geometric_sigma, sigma_min, sigma_max)


def _geometric_sigma(sigma_min: float, sigma_max: float, t: Tensor) -> Tensor:
    return sigma_min * (sigma_max / sigma_min) ** t


def edm(sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> GaussianPath:
    """x_t = x0 + sigma eps with sigma^(1 / rho) even in t: even times are Karras' steps (EDM, equation 5). Notebook 10.

    As on `ve`, sigma jumps from sigma_min to 0 at t = 0, where the data lie: ask for rates at t > 0 only.
    """
    _check_sigmas(sigma_min, sigma_max)
    _check_rho(rho)
    return _path(_one, _exploding, _power_sigma, sigma_min ** (1 / rho), sigma_max ** (1 / rho), rho)


def _power_sigma(low: float, high: float, rho: float, t: Tensor) -> Tensor:
    return (low + t * (high - low)) ** rho


def rectified_flow() -> GaussianPath:
    """The straight path x_t = (1 - t) x0 + t eps (Liu et al., equation 1, with time reversed). Pair it with velocity.

    alpha(1) is exactly 0, as on `cosine`. Its own notebook is 16.
    """
    return _path(_rest, _itself)


def _rest(t: Tensor) -> Tensor:
    return 1 - t


def _itself(t: Tensor) -> Tensor:
    return 1 * t


def time_at_log_snr(path: GaussianPath, log_snr: Tensor) -> Tensor:
    """The time at which a path has this log-SNR, by bisection: the inverse of `path.log_snr`. Notebook 10.

    Any shape; returns the same shape in float64 on the CPU. Beyond what the path reaches it returns the path's end.
    """
    log_snr = in_double(log_snr)
    low, high = torch.full_like(log_snr, path.t_min), torch.ones_like(log_snr)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_clean = path.log_snr(middle) > log_snr
        low, high = torch.where(too_clean, middle, low), torch.where(too_clean, high, middle)
    return high


def log_snr_times(path: GaussianPath, n: int, t_end: float, t_start: float = 1.0) -> Tensor:
    """n steps from t_start down to t_end, even in log-SNR (Lu et al. 2022, section 3.3). Notebook 10.

    Returns (n + 1,), float64 on the CPU, falling. To end on clean data, append 0.
    """
    check_whole("n", n)
    if not path.t_min <= t_end < t_start <= 1:
        raise ValueError(f"times must obey {path.t_min} <= t_end < t_start <= 1, but are {t_end} and {t_start}")
    ends = torch.tensor([t_start, t_end], dtype=torch.float64)
    first, last = path.log_snr(ends).tolist()
    if not math.isfinite(first) or not math.isfinite(last):
        raise ValueError(
            f"log-SNR must be finite at t_start and t_end, but is {first} at {t_start} and {last} at {t_end}"
        )
    times = time_at_log_snr(path, torch.linspace(first, last, n + 1, dtype=torch.float64))
    times[0], times[-1] = ends
    return times


def karras_times(
    path: GaussianPath, n: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> Tensor:
    """Karras' n steps on any path: (sigma / alpha)^(1 / rho) even, and a last step to 0 (EDM, equation 5). Notebook 10.

    Where the path has less noise than sigma_max, the steps start from its end, t = 1. Returns (n + 1,), float64
    on the CPU, falling. Raises ValueError for a path that does not reach down to sigma_min, or not to clean data.
    """
    check_whole("n", n)
    _check_sigmas(sigma_min, sigma_max)
    _check_rho(rho)
    ends = torch.tensor([path.t_min, 1.0], dtype=torch.float64)
    cleanest, noisiest = (path.sigma(ends) / path.alpha(ends)).tolist()
    if cleanest > 0 or noisiest <= sigma_min:
        raise ValueError(
            f"sigma / alpha of the path must run from 0 to above {sigma_min}, but runs from {cleanest} to {noisiest}"
        )
    powers = torch.linspace(min(sigma_max, noisiest) ** (1 / rho), sigma_min ** (1 / rho), n, dtype=torch.float64)
    times = time_at_log_snr(path, -2 * rho * torch.log(powers))
    return torch.cat([times, times.new_zeros(1)])


# A path of its formulas. Each formula is a function of (*settings, t), and `_path` binds the settings: so another
# process, which is handed a path by pickling, finds the functions by their names.

Formula = Callable[..., Tensor]


def _path(alpha: Formula, sigma: Formula, *settings) -> GaussianPath:
    return GaussianPath(alpha=partial(_at, alpha, settings), sigma=partial(_at, sigma, settings))


def _preserving(log_alpha: Formula, *settings) -> GaussianPath:
    """The path of a formula for log alpha that preserves variance: alpha^2 + sigma^2 = 1."""
    return _path(_exponential, _sigma_of, log_alpha, *settings)


def _at(formula: Formula, settings: tuple, t: Tensor) -> Tensor:
    check_time(t, look=False)
    return formula(*settings, t)


def _exponential(log_alpha: Formula, *settings_and_t) -> Tensor:
    return log_alpha(*settings_and_t).exp()


def _sigma_of(log_alpha: Formula, *settings_and_t) -> Tensor:
    return sigma_from_log_alpha(log_alpha(*settings_and_t))


def _exploding(sigma: Formula, *settings_and_t) -> Tensor:
    """No noise at t = 0, where the data lie, whatever the formula for sigma says there."""
    t = settings_and_t[-1]
    return torch.where(t > 0, sigma(*settings_and_t), torch.zeros_like(t))


def _one(*settings_and_t) -> Tensor:
    return torch.ones_like(settings_and_t[-1])


# Checks at the door


def _check_sigmas(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"sigmas must obey 0 < sigma_min < sigma_max, but are {sigma_min} and {sigma_max}")


def _check_rho(rho: float) -> None:
    if not 0 < rho < math.inf:
        raise ValueError(f"rho must be positive, but is {rho}")


def sigma_from_log_alpha(log_alpha: Tensor) -> Tensor:
    """sqrt(1 - alpha^2), which stays exact where alpha is close to 1."""
    return torch.sqrt(-torch.expm1(2 * log_alpha))
