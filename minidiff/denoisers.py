"""E[x0 | x_t], from a network or from anything else. It is what the parts of this package exchange. Notebook 07.

A denoiser is any function of x_t, (B, *D), and t, () or (B,), that returns an estimate of x0, (B, *D). The exact
ones live in `exact`; a sampler cannot tell them apart. Guidance and clipping are wrappers, so that no sampler has
a flag for them. All of them are records with a `__call__`, so that another process can be handed one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from minidiff._tensors import check_xt, expand
from minidiff.paths import GaussianPath
from minidiff.targets import Prediction, Target, coefficients, network_output, solve

__all__ = ["Denoiser", "classifier_guided", "clipped", "from_network", "guided", "predict"]


class Denoiser(Protocol):
    """E[x0 | x_t], exact or learned."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class from_network:
    """Turn a network that predicts `kind` along `path` into a denoiser. Taught in notebook 07."""

    net: nn.Module
    path: GaussianPath
    kind: Target
    y: Any = None

    def __post_init__(self):
        coefficients(self.kind, self.path, torch.tensor(0.5))  # an unknown kind fails here, not in mid-sampling

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        out = network_output(self.net, self.kind, self.path, x_t, t, self.y)
        return solve(self.kind, self.path, out, x_t, t).x0


def predict(denoise: Denoiser, path: GaussianPath, x: Tensor, t: Tensor) -> Prediction:
    """x0_hat = E[x0 | x_t] and the eps_hat that is left: x = alpha x0_hat + sigma eps_hat. Each (B, *D). Notebook 07.

    x: (B, *D) at time t, () or (B,), where sigma > 0. The score is -eps_hat / sigma (DDPM, section 3.2).
    """
    check_xt(x, t)
    x0_hat = denoise(x, t)
    return Prediction(x0_hat, (x - expand(path.alpha(t), x) * x0_hat) / expand(path.sigma(t), x))


@dataclass(frozen=True, eq=False)
class clipped:
    """Keep every estimate of x0 within the range of the data, for images in [-1, 1]. Taught in notebook 12.

    Never use it for points in the plane: their range is not [-1, 1], and clipping ruins them silently.
    """

    denoise: Denoiser
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"low must be below high, but low = {self.low} and high = {self.high}")

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.denoise(x_t, t).clamp(self.low, self.high)


@dataclass(frozen=True, eq=False)
class guided:
    """Classifier-free guidance, Ho & Salimans 2022, arXiv 2207.12598, equation 6, written for x0. Notebook 14.

    w = 0 is unconditional, w = 1 plain conditional, w > 1 pushes further. (Their own w is ours minus 1.)
    """

    conditional: Denoiser
    unconditional: Denoiser
    w: float

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        base = self.unconditional(x_t, t)
        return base + self.w * (self.conditional(x_t, t) - base)


@dataclass(frozen=True, eq=False)
class classifier_guided:
    """Steer any denoiser by the gradient of log p(y | x_t). Notebooks 14 and 15.

    log_prob: what is observed, as a function of x_t, (B, *D), and t, () or (B,) -> (B,): the answer of a classifier of
    noisy data (Song et al. 2021, arXiv 2011.13456, equation 14; Dhariwal & Nichol 2021, arXiv 2105.05233, section
    4.1), or the likelihood of a measurement. Bayes' rule adds w times its gradient to the score. The score is (alpha
    x0_hat - x_t) / sigma^2, so x0_hat moves by w sigma^2 / alpha times the gradient. With the exact log_prob, w = 1 is
    exact; w = 0 is `denoise`.

    Raises ValueError where alpha = 0: there x_t knows nothing of y, and the quotient is 0 / 0.
    """

    denoise: Denoiser
    path: GaussianPath
    log_prob: Callable[[Tensor, Tensor], Tensor]
    w: float = 1.0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha = self.path.alpha(t)
        if not bool((alpha > 0).all()):
            raise ValueError("guidance by a gradient needs alpha > 0; start the sampler a little below t = 1")
        gradient = torch.func.grad(lambda x: self.log_prob(x, t).sum())(x_t)
        return self.denoise(x_t, t) + expand(self.w * self.path.sigma(t) ** 2 / alpha, x_t) * gradient
