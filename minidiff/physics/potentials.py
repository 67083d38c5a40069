"""Landscapes and their forces. Taught in notebook 02.

A potential is a plain function of positions, (B, d) -> (B,), an energy for each walker.

Sources: Mueller & Brown 1979, doi 10.1007/BF00547608.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from minidiff._tensors import check_number, describe, in_double, like
from minidiff.physics._checks import checked_stiffness

__all__ = ["Potential", "double_well", "force", "harmonic", "mueller_brown", "ring"]

Potential = Callable[[Tensor], Tensor]  # (B, d) -> (B,), an energy

# Mueller & Brown 1979, doi 10.1007/BF00547608, footnote 7: A, a, b, c, x0, y0 of the four terms
MUELLER_BROWN = torch.tensor(
    [
        [-200.0, -1.0, 0.0, -10.0, 1.0, 0.0],
        [-100.0, -1.0, 0.0, -10.0, 0.0, 0.5],
        [-170.0, -6.5, 11.0, -6.5, -0.5, 1.5],
        [15.0, 0.7, 0.6, 0.7, -1.0, 1.0],
    ],
    dtype=torch.float64,
)


def harmonic(stiffness: float | Tensor, centre: float | Tensor = 0.0) -> Potential:
    """A spring to `centre`: 1/2 (x - centre) . K (x - centre). Notebook 02.

    stiffness: the number K, or a symmetric positive definite matrix, (d, d). centre: a number or (d,).
    """
    matrix, centre = checked_stiffness(stiffness), in_double(centre)

    def potential(x: Tensor) -> Tensor:
        if centre.shape not in ((), x.shape[1:]):
            raise ValueError(f"centre must be a number or (d,) to go with {describe(x)}, but is {describe(centre)}")
        offset, k = x - like(centre, x), like(matrix, x)
        return 0.5 * (offset * (offset @ k if k.ndim else k * offset)).sum(dim=1)

    return potential


def double_well(barrier: float = 1.0, stiffness: float = 1.0) -> Potential:
    """Two wells at x_0 = -1 and +1 under a barrier; in other directions a spring. Notebook 02.

    The energy is barrier (x_0^2 - 1)^2 + 1/2 stiffness |other coordinates|^2.
    """
    check_number("barrier", barrier)
    check_number("stiffness", stiffness)

    def potential(x: Tensor) -> Tensor:
        return barrier * (x[:, 0] ** 2 - 1) ** 2 + 0.5 * stiffness * (x[:, 1:] ** 2).sum(dim=1)

    return potential


def ring(radius: float = 1.0, stiffness: float = 1.0) -> Potential:
    """A valley around the origin: 1/2 stiffness (|x| - radius)^2. Notebook 02."""
    check_number("radius", radius)
    check_number("stiffness", stiffness)
    return lambda x: 0.5 * stiffness * (torch.linalg.vector_norm(x, dim=1) - radius) ** 2


def mueller_brown(scale: float = 1.0) -> Potential:
    """Three wells on a bent path (Mueller & Brown 1979), a test of path finders, times `scale`. Notebook 02.

    x: (B, 2). At scale 1 the energies run from -147 at the deepest minimum to -41 at the higher saddle.
    """
    check_number("scale", scale)

    def potential(x: Tensor) -> Tensor:
        if x.shape[1] != 2:
            raise ValueError(f"x must have shape (B, 2), but is {describe(x)}")
        height, a, b, c, x0, y0 = like(MUELLER_BROWN, x).T
        dx, dy = x[:, :1] - x0, x[:, 1:2] - y0
        return scale * (height * torch.exp(a * dx**2 + b * dx * dy + c * dy**2)).sum(dim=1)

    return potential


def force(potential: Potential, x: Tensor) -> Tensor:
    """Minus the gradient of a potential, by automatic differentiation, also where gradients are switched off.

    x: (B, d). Returns (B, d), detached. Raises ValueError where the potential does not give one energy a walker.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        energy = potential(x)
        if not isinstance(energy, Tensor) or energy.shape != x.shape[:1]:
            raise ValueError(
                f"potential must return energies of shape {tuple(x.shape[:1])}, but returned {describe(energy)}"
            )
        if not energy.requires_grad:
            raise ValueError("potential must be made of x by differentiable operations, but does not depend on it")
        (gradient,) = torch.autograd.grad(energy.sum(), x)
    return -gradient
