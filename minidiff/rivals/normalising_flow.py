"""A normalising flow of affine couplings (RealNVP). Taught in notebook 26.

A coupling leaves half of the numbers, a, as they are, and moves the others by what a network reads in a:

    b -> b exp(s(a)) + shift(a)

Its Jacobian is triangular, so its log-determinant is the sum of s, and it is undone without a solver.

Source: Dinh, Sohl-Dickstein & Bengio 2017, arXiv 1605.08803, equations 4 to 8.
"""

import torch
from torch import Tensor, nn

from minidiff._tensors import check_network_input, check_whole, noise_like
from minidiff.rivals.layers import dense, standard_log_prob

__all__ = ["Coupling", "Flow"]

STEEPEST = 2.0  # of s: no coupling stretches by more than e^2, which keeps training from running away


class Coupling(nn.Module):
    """One affine coupling of points, (B, dimension), towards the latent. flip: the second half stays, not the first.

    It begins as the identity: the last layer starts at 0.
    """

    def __init__(self, dimension: int = 2, width: int = 64, *, flip: bool = False):
        super().__init__()
        check_whole("dimension", dimension, least=2)
        self.dimension, self.flip = dimension, flip
        first = dimension // 2
        kept, moved = (dimension - first, first) if flip else (first, dimension - first)
        self.net = dense(kept, 2 * moved, width, layers=2)
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x, (B, d) -> z, (B, d), and log |det dz/dx|, (B,)."""
        kept, moved = self._halves(x)
        s, shift = self._read(kept)
        return self._whole(kept, moved * s.exp() + shift), s.sum(dim=1)

    def inverse(self, z: Tensor) -> Tensor:
        """Back, exactly: (B, d) -> (B, d)."""
        kept, moved = self._halves(z)
        s, shift = self._read(kept)
        return self._whole(kept, (moved - shift) * (-s).exp())

    def _read(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        s, shift = self.net(kept).chunk(2, dim=1)
        return STEEPEST * torch.tanh(s / STEEPEST), shift

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.tensor_split((self.dimension // 2,), dim=1)
        return (second, first) if self.flip else (first, second)

    def _whole(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.flip else [kept, moved], dim=1)


class Flow(nn.Module):
    """Couplings one after the other, each moving the half that the last one kept. Points are (B, dimension)."""

    def __init__(self, dimension: int = 2, couplings: int = 8, width: int = 64):
        super().__init__()
        check_whole("couplings", couplings)
        self.dimension = dimension
        self.couplings = nn.ModuleList(Coupling(dimension, width, flip=i % 2 == 1) for i in range(couplings))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """To the latent: z, (B, d), and log |det dz/dx|, (B,)."""
        check_network_input(x, ("B", self.dimension), self.couplings[0].net[0].weight)
        log_det = 0.0
        for coupling in self.couplings:
            x, more = coupling(x)
            log_det = log_det + more
        return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """From the latent to the data, (B, d) -> (B, d)."""
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) by the change of variables: log N(z; 0, I) + log |det dz/dx|. (B, d) -> (B,). Notebook 26."""
        z, log_det = self(x)
        return standard_log_prob(z) + log_det

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n points, (n, d): one pass for each."""
        check_whole("n", n)
        weight = self.couplings[0].net[0].weight
        return self.inverse(noise_like(weight.new_empty(n, self.dimension), generator))
