"""How data dissolves into noise: `x_t = alpha(t) x0 + sigma(t) eps`, and the exact step back when x0 is known.

Time t runs from 0 (data) to 1 (noise). Part of the literature on flows runs it the other way; this package never
does. A DDPM of T steps is the path whose table is read at t = k / T. Taught in notebooks 05 and 06.

Sources: Ho, Jain & Abbeel 2020 (DDPM), arXiv 2006.11239; Kingma, Salimans, Poole & Ho 2021 (VDM), arXiv 2107.00630,
appendix A; Song et al. 2021 (SDE), arXiv 2011.13456.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from minidiff._tensors import check_time, check_xt, expand, nan_outside, noise_like

__all__ = ["GaussianPath"]


@dataclass(frozen=True)
class GaussianPath:
    """A family of marginals `q(x_t | x0) = N(alpha(t) x0, sigma(t)^2 I)` (DDPM, equation 4). Notebook 05.

    alpha, sigma: functions of times, () or (B,) -> the same shape. alpha falls, sigma grows, both are smooth or
    tabulated. t_min: where the path begins. It is 0 where sigma(0) = 0, and above 0 where the path never reaches
    clean data.
    """

    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]
    t_min: float = 0.0

    def log_snr(self, t: Tensor) -> Tensor:
        """The logarithm of alpha^2 / sigma^2 (VDM, equation 2). Shape of t; infinite where sigma or alpha is 0."""
        check_time(t, look=False)
        return 2 * (torch.log(self.alpha(t)) - torch.log(self.sigma(t)))

    def perturb(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """One jump from data to time t: `alpha(t) x0 + sigma(t) eps` (DDPM, equation 4). Notebook 05.

        x0, eps: (B, *D). t: () or (B,). Returns x_t, (B, *D).
        """
        check_xt(x0, t, "x0")
        if eps.shape != x0.shape:
            raise ValueError(f"eps must have the shape of x0, {tuple(x0.shape)}, but has {tuple(eps.shape)}")
        x_t = expand(self.alpha(t), x0) * x0 + expand(self.sigma(t), x0) * eps
        return nan_outside(x_t, t)

    def transition(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Factor and variance of `q(x_t | x_s)`, s < t (VDM, appendix A). Notebook 05.

        x_t = factor * x_s + sqrt(variance) * eps. For neighbouring steps of a DDPM this is sqrt(1 - beta) and beta.
        """
        check_time(t)
        check_time(s, "s")
        factor = self.alpha(t) / self.alpha(s)
        return factor, self.sigma(t) ** 2 - factor**2 * self.sigma(s) ** 2

    def posterior(self, x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of `q(x_s | x_t, x0)`, s < t (DDPM, equations 6 and 7; VDM, appendix A). Notebook 06.

        x_t, x0: (B, *D). t, s: () or (B,). Returns the mean, (B, *D), and the variance in the shape of t.
        """
        check_xt(x_t, t, "x_t")
        factor, variance = self.transition(t, s)
        of_xt = factor * self.sigma(s) ** 2 / self.sigma(t) ** 2
        of_x0 = self.alpha(s) * variance / self.sigma(t) ** 2
        mean = expand(of_xt, x_t) * x_t + expand(of_x0, x_t) * x0
        return mean, self.posterior_variance(t, s)

    def posterior_variance(self, t: Tensor, s: Tensor) -> Tensor:
        """The variance of `q(x_s | x_t, x0)` alone, s < t, in the shape of t (DDPM, equation 7: beta tilde)."""
        _, variance = self.transition(t, s)
        return variance * self.sigma(s) ** 2 / self.sigma(t) ** 2

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives alpha'(t) and sigma'(t), by automatic differentiation. Shape of t.

        A tabulated path has one-sided derivatives at its knots; take a closed-form path for differential equations.
        """
        check_time(t, look=False)
        one = torch.ones_like(t)
        return torch.func.jvp(self.alpha, (t,), (one,))[1], torch.func.jvp(self.sigma, (t,), (one,))[1]

    def drift_and_diffusion(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """f and g^2 of `dx = f(t) x dt + g(t) dw` with these marginals (SDE, equation 5; VDM, appendix).

        Shape of t.
        """
        alpha_rate, sigma_rate = self.rates(t)
        drift = alpha_rate / self.alpha(t)
        return drift, 2 * self.sigma(t) * (sigma_rate - drift * self.sigma(t))

    def prior(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw starting noise at t = 1: normal, with the variance that data of unit variance would have there.

        That is N(0, I) for every path that preserves variance. Returns float32 of the given shape on the
        generator's device.
        """
        one = torch.ones((), dtype=torch.float64)
        scale = float(torch.hypot(self.alpha(one), self.sigma(one)))
        return scale * noise_like(torch.empty(shape, device=generator.device), generator)
