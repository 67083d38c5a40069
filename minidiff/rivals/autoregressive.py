"""An autoregressive model of points: p(x) = p(x_1) p(x_2 | x_1) ..., each a mixture of Gaussians. Notebook 26.

The networks return the three rows of a mixture: logits of the weights, means and ln of the standard deviations.

Sources: Bishop 1994, Mixture density networks; Uria, Murray & Larochelle 2013 (RNADE), arXiv 1306.0186, section 3.
"""

import torch
from torch import Tensor, nn

from minidiff._tensors import check_generator, check_network_input, check_whole, noise_like
from minidiff.rivals.layers import LOG_ROOT, dense

__all__ = ["MixtureAutoregression", "mixture_log_prob"]

SPAN = (-5.0, 2.0)  # of ln(standard deviation): without a lower end, one component could fall upon one point
REACH = 1.5  # where the first coordinate's components start, evenly


def mixture_log_prob(logits: Tensor, means: Tensor, log_stds: Tensor, x: Tensor) -> Tensor:
    """log sum_k w_k N(x; m_k, s_k^2), where w = softmax(logits) and s = exp(log_stds). Notebook 26.

    logits, means, log_stds: (B, K). x: (B,). Returns (B,).
    """
    heights = -log_stds - LOG_ROOT - 0.5 * ((x[:, None] - means) * (-log_stds).exp()).square()
    return torch.logsumexp(torch.log_softmax(logits, dim=1) + heights, dim=1)


class MixtureAutoregression(nn.Module):
    """Points, (B, dimension), one coordinate after the other, each from `components` Gaussians.

    backwards: the last coordinate comes first. Which order is easier depends on the data.
    """

    def __init__(self, dimension: int = 2, components: int = 10, width: int = 64, *, backwards: bool = False):
        super().__init__()
        check_whole("dimension", dimension)
        check_whole("components", components)
        self.dimension, self.backwards = dimension, backwards
        zeros = torch.zeros(components)
        self.first = nn.Parameter(torch.cat([zeros, torch.linspace(-REACH, REACH, components), zeros - REACH]))
        self.nets = nn.ModuleList(dense(i, 3 * components, width) for i in range(1, dimension))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly: a sum over the coordinates. (B, d) -> (B,)."""
        check_network_input(x, ("B", self.dimension), self.first)
        x = x.flip(1) if self.backwards else x
        parts = [mixture_log_prob(*self._mixture(x[:, :i]), x[:, i]) for i in range(self.dimension)]
        return torch.stack(parts).sum(dim=0)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n points, (n, d): a pass for each coordinate."""
        check_whole("n", n)
        check_generator(generator)
        x = self.first.new_empty(n, 0)
        for _ in range(self.dimension):
            logits, means, log_stds = self._mixture(x)
            k = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)
            mean, std = means.gather(1, k), log_stds.gather(1, k).exp()
            x = torch.cat([x, mean + std * noise_like(mean, generator)], dim=1)
        return x.flip(1) if self.backwards else x

    def _mixture(self, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the next coordinate, given those before it, (B, i): logits, means and ln(stds), (B, K) each."""
        i = before.shape[1]
        out = self.nets[i - 1](before) if i else self.first.expand(len(before), -1)
        logits, means, log_stds = out.chunk(3, dim=1)
        return logits, means, log_stds.clamp(*SPAN)
