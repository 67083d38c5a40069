"""A density up to a factor, p(x) ~ exp(-E(x)), learned by telling data from noise. Taught in notebook 26.

For a classifier that sees as many draws of noise as of data, the best log-odds at x are log p(x) - log q(x), where q is
the density of the noise. So a classifier is a density model, and no Markov chain is needed to train it.

Source: Gutmann & Hyvarinen 2010, Proceedings of AISTATS 9, section 2 (noise-contrastive estimation).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from minidiff._tensors import check_network_input, check_number, noise_like
from minidiff.rivals.layers import dense, standard_log_prob
from minidiff.training import Batch, Draws, Objective

__all__ = ["EnergyModel", "noise_contrastive_objective"]


class EnergyModel(nn.Module):
    """log p(x) + log Z = log q(x) + net(x), where q is N(0, std^2 I). Points are (B, dimension).

    Z would be 1 for a perfect net. It is not known otherwise: `log_integral` computes it in the plane.
    """

    def __init__(self, dimension: int = 2, width: int = 64, *, std: float = 1.3):
        super().__init__()
        check_number("std", std)
        self.dimension, self.std = dimension, std
        self.net = dense(dimension, 1, width)

    def log_odds(self, x: Tensor) -> Tensor:
        """Of data against noise, (B, d) -> (B,)."""
        check_network_input(x, ("B", self.dimension), self.net[0].weight)
        return self.net(x)[:, 0]

    def log_density(self, x: Tensor) -> Tensor:
        """-E(x) = log p(x) + log Z, (B, d) -> (B,)."""
        return self.log_odds(x) + standard_log_prob(x / self.std) - self.dimension * math.log(self.std)

    def score(self, x: Tensor) -> Tensor:
        """The gradient of log p, for which Z does not matter, (B, d) -> (B, d)."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_density(x).sum(), x)
        return slope


def noise_contrastive_objective(std: float = 1.3) -> Objective:
    """Logistic regression of data against as many draws from N(0, std^2 I), (B,): a loss for `train`. Notebook 26."""
    check_number("std", std)

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        return Draws(batch.x0, eps=noise_like(batch.x0, generator))

    def loss(net: EnergyModel, draws: Draws) -> Tensor:
        return softplus(-net.log_odds(draws.x0)) + softplus(net.log_odds(std * draws.eps))

    return Objective(draw, loss)
