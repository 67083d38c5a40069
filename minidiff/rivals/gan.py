"""A generator and a critic that are trained against each other. Taught in notebook 26.

The generator turns noise into points, the critic gives each point a number that is high for real ones. Both are trained
by one loss: what is generated reaches the critic's part without a gradient, and the generator's part sees a critic
whose weights stand still. There is no likelihood, and the size of the loss says nothing about the samples.

Sources: Goodfellow et al. 2014, arXiv 1406.2661, section 3 (the generator's loss is the non-saturating one); Huang et
al. 2024 (R3GAN), arXiv 2501.05441, section 2 (relativistic loss with both penalties); Mescheder, Geiger & Nowozin 2018,
arXiv 1801.04406, section 4 (the penalties R1 and R2).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from minidiff._tensors import check_number, check_whole, noise_like
from minidiff.rivals.layers import dense
from minidiff.training import Batch, Draws, Objective

__all__ = ["Players", "adversarial_objective"]


class Players(nn.Module):
    """A generator, noise (B, noise) -> points (B, dimension), and a critic, points -> (B,)."""

    def __init__(self, dimension: int = 2, noise: int = 2, width: int = 96):
        super().__init__()
        check_whole("noise", noise)
        self.noise = noise
        self.generator = dense(noise, dimension, width, layers=2)
        self.judge = dense(dimension, 1, width, layers=2)

    def critic(self, x: Tensor) -> Tensor:
        """How real points look, (B, d) -> (B,)."""
        return self.judge(x)[:, 0]

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n points, (n, d): one pass for each."""
        check_whole("n", n)
        weight = self.generator[0].weight
        return self.generator(noise_like(weight.new_empty(n, self.noise), generator))


def adversarial_objective(noise: int = 2, *, paired: bool = True, penalty: float = 0.2) -> Objective:
    """The losses of both players, added, (B,): a loss for `train`. Notebook 26.

    paired: each real point is compared with a generated one (relativistic; Huang et al., section 2); otherwise each
    is judged by itself (Goodfellow et al.). penalty: half of it times the square of the critic's slope, at real points
    (R1), and, if paired, at generated ones as well (R2).
    """
    check_whole("noise", noise)
    check_number("penalty", penalty, zero=True)

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        return Draws(batch.x0, eps=noise_like(batch.x0.new_empty(len(batch.x0), noise), generator))

    def loss(net: Players, draws: Draws) -> Tensor:
        made = net.generator(draws.eps)
        real, fake = draws.x0.clone().requires_grad_(penalty > 0), made.detach().requires_grad_(penalty > 0 and paired)
        of_real, of_fake = net.critic(real), net.critic(fake)
        still = {name: value.detach() for name, value in net.judge.named_parameters()}
        of_made = torch.func.functional_call(net.judge, still, (made,))[:, 0]
        if paired:
            both = softplus(of_fake - of_real) + softplus(of_real.detach() - of_made)
        else:
            both = softplus(-of_real) + softplus(of_fake) + softplus(-of_made)
        for x, value in ((real, of_real), (fake, of_fake)):
            if x.requires_grad:
                (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
                both = both + penalty / 2 * slope.square().sum(dim=1)
        return both

    return Objective(draw, loss)
