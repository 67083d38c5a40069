"""The Ornstein-Uhlenbeck process: a walker in a bowl, exact at every time. Taught in notebook 04.

Sources: Gardiner 2004, Handbook of Stochastic Methods, section 4.4.6.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from minidiff._tensors import check_number, describe, in_double, like, noise_like
from minidiff.physics._checks import check_walkers, checked_stiffness

__all__ = ["OrnsteinUhlenbeck"]


@dataclass(frozen=True, eq=False)
class OrnsteinUhlenbeck:
    """dx = -mobility K (x - mean) dt + sqrt(2 mobility temperature) dw, exactly (Gardiner, section 4.4.6). Notebook 04.

    The overdamped walker in `harmonic(stiffness, mean)`. mean: (d,). stiffness: a number, or a symmetric positive
    definite matrix K, (d, d). Everything is computed in the eigenbasis of K, in float64 on the CPU.
    """

    mean: Tensor
    stiffness: float | Tensor
    temperature: float
    mobility: float = 1.0

    def __post_init__(self):
        matrix = checked_stiffness(self.stiffness)
        if not isinstance(self.mean, Tensor) or self.mean.ndim != 1 or not self.mean.is_floating_point():
            raise TypeError(f"mean must be a floating-point tensor of shape (d,), but is {describe(self.mean)}")
        if matrix.ndim and len(matrix) != len(self.mean):
            raise ValueError(f"stiffness must have shape (d, d), d = {len(self.mean)}, but is {describe(matrix)}")
        check_number("temperature", self.temperature, zero=True)
        check_number("mobility", self.mobility)

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, (d,), and eigenvectors in columns, (d, d), of the stiffness."""
        matrix = checked_stiffness(self.stiffness)
        return torch.linalg.eigh(matrix if matrix.ndim else matrix * torch.eye(len(self.mean), dtype=torch.float64))

    def transition(self, t: float) -> tuple[Tensor, Tensor]:
        """The matrix A and the noise's covariance, (d, d) each, of x(t) = mean + A (x(0) - mean) + noise."""
        check_number("t", t, zero=True)
        values, vectors = self.spectrum
        variances = -torch.expm1(-2 * self.mobility * t * values) * self.temperature / values
        return (vectors * torch.exp(-self.mobility * t * values)) @ vectors.T, (vectors * variances) @ vectors.T

    def moments(self, mean0: Tensor, covariance0: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Mean, (d,), and covariance, (d, d), at time t of any start with these moments: Gaussian or not."""
        decay, noise = self.transition(t)
        mean = in_double(self.mean)
        if mean0.shape != mean.shape or covariance0.shape != decay.shape:
            raise ValueError(
                f"mean0 and covariance0 must have shapes {tuple(mean.shape)} and {tuple(decay.shape)}, "
                f"but are {describe(mean0)} and {describe(covariance0)}"
            )
        return mean + decay @ (in_double(mean0) - mean), decay @ in_double(covariance0) @ decay.T + noise

    def equilibrium(self) -> tuple[Tensor, Tensor]:
        """Mean, (d,), and covariance, temperature times the inverse of K, (d, d), after a long time."""
        values, vectors = self.spectrum
        return in_double(self.mean), (vectors * (self.temperature / values)) @ vectors.T

    def sample(self, x0: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """Draw x(t) for walkers at x0, (B, d), in one exact jump. Returns (B, d)."""
        check_walkers(x0, generator=generator, name="x0")
        if x0.shape[1] != len(self.mean):
            raise ValueError(f"x0 must have shape (B, {len(self.mean)}), but is {describe(x0)}")
        decay, noise = self.transition(t)
        values, vectors = torch.linalg.eigh(noise)  # a root of the covariance, which may be singular (t = 0)
        root = vectors * values.clamp(min=0).sqrt()
        mean = like(self.mean, x0)
        return mean + (x0 - mean) @ like(decay, x0).T + noise_like(x0, generator) @ like(root, x0).T
