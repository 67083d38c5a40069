"""What the modules of physics refuse at the door."""

from collections.abc import Callable

import torch
from torch import Tensor

from minidiff._tensors import check_finite, check_generator, check_number, check_whole, describe, in_double, like

__all__ = ["check_walkers", "checked_mass", "checked_stiffness", "energies_of"]


def check_walkers(
    x: Tensor, v: Tensor | None = None, *, generator: torch.Generator, steps: int = 1, name: str = "x"
) -> None:
    """Refuse what no loop over walkers can start from."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim != 2 or not x.numel():
        raise TypeError(f"{name} must be a floating-point tensor of shape (B, d), but is {describe(x)}")
    check_finite(x, name)
    if v is not None:
        check_finite(v, "v")
        if v.shape != x.shape or v.dtype != x.dtype:
            raise ValueError(f"v must have the shape and dtype of x, {describe(x)}, but is {describe(v)}")
    check_whole("steps", steps)
    check_generator(generator)


def checked_stiffness(stiffness: float | Tensor) -> Tensor:
    """A stiffness as a float64 tensor on the CPU, () or (d, d)."""
    if not isinstance(stiffness, Tensor) or not stiffness.ndim:
        check_number("stiffness", stiffness)
        return in_double(stiffness)
    matrix = in_double(stiffness)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"stiffness must be a number or a matrix of shape (d, d), but is {describe(stiffness)}")
    if not torch.allclose(matrix, matrix.T) or not bool((torch.linalg.eigvalsh(matrix) > 0).all()):
        raise ValueError(f"stiffness must be symmetric and positive definite, but is {matrix.tolist()}")
    return matrix


def checked_mass(mass: float | Tensor, v: Tensor) -> Tensor:
    """Masses in the dtype of v, in a shape that multiplies v without enlarging it."""
    masses = like(torch.as_tensor(mass), v)
    try:
        fits = torch.broadcast_shapes(masses.shape, v.shape) == v.shape
    except RuntimeError:
        fits = False
    if not fits or not bool(((masses > 0) & masses.isfinite()).all()):
        raise ValueError(f"mass must be finite, > 0 and multiply v, {describe(v)}, but is {describe(mass)}")
    return masses


def energies_of(potential: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The energies of points, (N,), in float64 on the CPU, after a check."""
    energies = potential(points)
    check_finite(energies, "what potential returns")
    if energies.shape != points.shape[:1]:
        raise ValueError(
            f"potential must return energies of shape {tuple(points.shape[:1])}, but returned {describe(energies)}"
        )
    return in_double(energies.detach())
