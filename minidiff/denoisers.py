"""E[x0 | x_t], from a network or from anything else. It is what the parts of this package exchange. Notebook 07.

A denoiser is any function of x_t, (B, *D), and t, () or (B,), that returns an estimate of x0, (B, *D). The exact
ones live in `exact`; a sampler cannot tell them apart. Guidance and clipping are wrappers, so that no sampler has
a flag for them.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from minidiff._tensors import expand
from minidiff.paths import GaussianPath
from minidiff.targets import Target, coefficients, network_output, solve

__all__ = ["Denoiser", "classifier_guided", "clipped", "from_network", "guided"]


class Denoiser(Protocol):
    """E[x0 | x_t], exact or learned."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor: ...


def from_network(net: nn.Module, path: GaussianPath, kind: Target, y=None) -> Denoiser:
    """Turn a network that predicts `kind` along `path` into a denoiser. Taught in notebook 07."""
    coefficients(kind, path, torch.tensor(0.5))  # an unknown kind fails here, not in the middle of sampling

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return solve(kind, path, network_output(net, kind, path, x_t, t, y), x_t, t).x0

    return denoise


def clipped(denoise: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """Keep every estimate of x0 within the range of the data, for images in [-1, 1]. Taught in notebook 12.

    Never use it for points in the plane: their range is not [-1, 1], and clipping ruins them silently.
    """
    if not low < high:
        raise ValueError(f"low must be below high, but low = {low} and high = {high}")
    return lambda x_t, t: denoise(x_t, t).clamp(low, high)


def guided(conditional: Denoiser, unconditional: Denoiser, w: float) -> Denoiser:
    """Classifier-free guidance, Ho & Salimans 2022, arXiv 2207.12598, equation 6, written for x0. Notebook 14.

    w = 0 is unconditional, w = 1 plain conditional, w > 1 pushes further. (Their own w is ours minus 1.)
    """

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        base = unconditional(x_t, t)
        return base + w * (conditional(x_t, t) - base)

    return denoise


def classifier_guided(
    denoise: Denoiser, path: GaussianPath, log_prob: Callable[[Tensor, Tensor], Tensor], w: float = 1.0
) -> Denoiser:
    """Steer any denoiser by the gradient of log p(y | x_t). Notebooks 14 and 15.

    log_prob: what is observed, as a function of x_t, (B, *D), and t, () or (B,) -> (B,): the answer of a classifier of
    noisy data (Song et al. 2021, arXiv 2011.13456, equation 14; Dhariwal & Nichol 2021, arXiv 2105.05233, section
    4.1), or the likelihood of a measurement. Bayes' rule adds w times its gradient to the score. The score is (alpha
    x0_hat - x_t) / sigma^2, so x0_hat moves by w sigma^2 / alpha times the gradient. With the exact log_prob, w = 1 is
    exact; w = 0 is `denoise`.

    Raises ValueError where alpha = 0: there x_t knows nothing of y, and the quotient is 0 / 0.
    """

    def guided_denoise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha = path.alpha(t)
        if not bool((alpha > 0).all()):
            raise ValueError("guidance by a gradient needs alpha > 0; start the sampler a little below t = 1")
        gradient = torch.func.grad(lambda x: log_prob(x, t).sum())(x_t)
        return denoise(x_t, t) + expand(w * path.sigma(t) ** 2 / alpha, x_t) * gradient

    return guided_denoise
