"""x0, eps, score, v and velocity are one thing. This is the only place that converts between them. Notebook 07.

Every target that a network may learn is `a x0 + b eps`, with a and b depending on t alone:

    kind      a          b           source
    x0        1          0           Ho et al. 2020 (DDPM), arXiv 2006.11239, section 3.2
    eps       0          1           DDPM, equation 14
    score     0          -1 / sigma  Song & Ermon 2019, arXiv 1907.05600, equation 5
    v         -sigma     alpha       Salimans & Ho 2022, arXiv 2202.00512, section 4
    velocity  alpha'     sigma'      Lipman et al. 2023, arXiv 2210.02747, section 4: dx_t / dt

With `x_t = alpha x0 + sigma eps`, two linear equations give x0 and eps back from any of them.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from minidiff._tensors import check_time, check_xt, expand, like, nan_outside, network_dtype_hint, per_sample
from minidiff.paths import GaussianPath

__all__ = ["Prediction", "Target", "coefficients", "network_input", "network_output", "solve", "target"]

Target = Literal["x0", "eps", "score", "v", "velocity"]

# Below this sine of the angle between the two equations, float32 has nothing left to say about x0 or eps.
SMALLEST_SINE = 1e-6
# log-SNR beyond this means "clean" or "pure noise"; it keeps a network's input finite at the two ends.
LARGEST_LOG_SNR = 20.0


class Prediction(NamedTuple):
    """What any prediction says about the two unknowns. x0, eps: (B, *D)."""

    x0: Tensor
    eps: Tensor


def coefficients(kind: Target, path: GaussianPath, t: Tensor) -> tuple[Tensor, Tensor]:
    """a and b of the table above, each in the shape of t. Raises ValueError for an unknown kind."""
    check_time(t, look=False)
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    match kind:
        case "x0":
            return one, zero
        case "eps":
            return zero, one
        case "score":
            return zero, -1 / path.sigma(t)
        case "v":
            return -path.sigma(t), path.alpha(t)
        case "velocity":
            return path.rates(t)
    raise ValueError(f"kind must be one of {', '.join(get_args(Target))}, but is {kind!r}")


def target(kind: Target, path: GaussianPath, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """What a network of this kind should answer: a x0 + b eps. x0, eps: (B, *D); t: () or (B,)."""
    a, b = coefficients(kind, path, t)
    return expand(a, x0) * x0 + expand(b, x0) * eps


def solve(kind: Target, path: GaussianPath, out: Tensor, x_t: Tensor, t: Tensor) -> Prediction:
    """Recover x0 and eps from any prediction: solves `alpha x0 + sigma eps = x_t` and `a x0 + b eps = out`.

    out, x_t: (B, *D); t: () or (B,). Raises ValueError where the two equations say the same thing (eps where
    alpha = 0, x0 where sigma = 0): no answer exists there. The check reads t alone, so `vmap` over x is fine.
    """
    check_xt(x_t, t, "x_t")
    if out.shape != x_t.shape:
        raise ValueError(f"out must have the shape of x_t, {tuple(x_t.shape)}, but has {tuple(out.shape)}")
    alpha, sigma = path.alpha(t), path.sigma(t)
    a, b = coefficients(kind, path, t)
    determinant = alpha * b - sigma * a
    sine = determinant.abs() / (torch.hypot(alpha, sigma) * torch.hypot(a, b))
    if not bool((sine > SMALLEST_SINE).all()):
        where = float(t.flatten()[sine.argmin()])
        raise ValueError(
            f"a prediction of {kind} does not determine x0 and eps at t = {where:.6g} "
            f"(alpha = {float(alpha.min()):.3g}, sigma = {float(sigma.min()):.3g}); "
            "keep away from that end, or predict v or velocity"
        )
    x0 = expand(b / determinant, x_t) * x_t - expand(sigma / determinant, x_t) * out
    eps = expand(alpha / determinant, x_t) * out - expand(a / determinant, x_t) * x_t
    return Prediction(x0, eps)


def network_input(path: GaussianPath, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What every network of noisy data sees: x_t at unit scale, (B, *D), and the log-SNR, (B,), within +-20."""
    scale = 1 / torch.hypot(path.alpha(t), path.sigma(t))
    log_snr = path.log_snr(t).clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR)
    return expand(scale, x_t) * x_t, like(per_sample(log_snr, x_t), x_t)


def network_output(net: nn.Module, kind: Target, path: GaussianPath, x_t: Tensor, t: Tensor, y=None) -> Tensor:
    """Ask a network for its target, with everything that enters and leaves it at unit scale. Returns (B, *D).

    The network sees `x_t / sqrt(alpha^2 + sigma^2)` and the log-SNR, (B,); what it returns is multiplied by
    `sqrt(a^2 + b^2)`, the target's own scale for data of unit variance. For v this is exactly the skip connection
    of Karras et al. 2022 (EDM), arXiv 2206.00364, table 1, at sigma_data = 1. So DDPM's unit variance and a noise
    of 80 are the same code, in training and in sampling. `y` is whatever the network understands: it passes
    through unopened.
    """
    check_xt(x_t, t, "x_t")
    a, b = coefficients(kind, path, t)
    x_in, log_snr = network_input(path, x_t, t)
    try:
        out = net(x_in, log_snr) if y is None else net(x_in, log_snr, y)
    except RuntimeError as error:
        if hint := network_dtype_hint(net, x_in):
            raise TypeError(hint) from error
        raise
    return nan_outside(expand(torch.hypot(a, b), x_t) * out, t)
