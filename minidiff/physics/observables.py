"""What one measures on walkers and densities. Taught in notebooks 01 to 04.

Sources: Jordan, Kinderlehrer & Otto 1998, doi 10.1137/S0036141096303359, section 2 (free energy).
"""

import math

import torch
from torch import Tensor

from minidiff._tensors import check_finite, check_number, describe, in_double
from minidiff.measurement import Measurement
from minidiff.physics._checks import checked_mass, energies_of
from minidiff.physics.fokker_planck import Grid
from minidiff.physics.potentials import Potential

__all__ = [
    "entropy",
    "free_energy",
    "histogram",
    "kinetic_temperature",
    "kl_divergence",
    "kl_to_density",
    "mean_squared_displacement",
]

FLOOR_DRAWS = 8  # exact samples behind the floor of kl_to_density


def mean_squared_displacement(x: Tensor, x0: Tensor) -> float:
    """The mean over walkers of |x - x0|^2: 2 d D t for Brownian motion. x, x0: (B, d). Notebook 01."""
    if x.shape != x0.shape or x.ndim != 2:
        raise ValueError(f"x and x0 must both have shape (B, d), but are {describe(x)} and {describe(x0)}")
    return float((in_double(x - x0) ** 2).sum(dim=1).mean())


def kinetic_temperature(v: Tensor, mass: float | Tensor = 1.0) -> float:
    """The mean of mass v_i^2 over walkers and directions: twice the kinetic energy per degree of freedom. Notebook 03.

    v: (B, d). mass: a number, or a tensor that multiplies v. All B d degrees of freedom count; the motion of the
    centre of mass is not removed, since the walkers do not know of each other.
    """
    return float((in_double(checked_mass(mass, v)) * in_double(v) ** 2).mean())


def histogram(x: Tensor, grid: Grid) -> Tensor:
    """The density of samples, (B, d), in the cells of a grid: counts / (B volume), in the shape `grid.cells`.

    Samples outside count in B and in no cell, so that the mass says how many are inside.
    """
    return (counts_in_cells(x, grid).double() / (len(x) * grid.volume)).reshape(grid.cells)


def entropy(p: Tensor, grid: Grid) -> float:
    """-int p ln p of a density on a grid, in nats. Notebook 04.

    Of `histogram(x, grid)` it is the plug-in estimate, which lies (occupied cells - 1) / 2B too low on average, to
    leading order in 1 / B (Miller 1955).
    """
    p = checked_density(p, grid, "p")
    return -float(torch.xlogy(p, p).sum()) * grid.volume


def kl_divergence(p: Tensor, q: Tensor, grid: Grid) -> float:
    """KL(p || q) = int p ln (p / q) of two densities on a grid, in nats; infinite where q misses p. Notebook 04."""
    p, q = checked_density(p, grid, "p"), checked_density(q, grid, "q")
    return float((torch.xlogy(p, p) - torch.xlogy(p, q)).sum()) * grid.volume


def kl_to_density(x: Tensor, q: Tensor, grid: Grid, *, generator: torch.Generator) -> Measurement:
    """KL(histogram of samples || q), in nats, over its floor: the same of exact samples of q. Notebook 02.

    x: (B, d), all of them on the grid. q: a density in the shape `grid.cells` of mass 1, best an average over each
    cell (`boltzmann(..., nodes=4)`). The floor is the mean over 8 exact samples of size B, about (cells - 1) / 2B.
    """
    q = checked_density(q, grid, "q")
    if abs(float(q.sum()) * grid.volume - 1) > 1e-6:
        raise ValueError(f"q must have mass 1 on the grid, but has {float(q.sum()) * grid.volume:.6g}")
    outside = len(x) - int(counts_in_cells(x, grid).sum())
    if outside:
        raise ValueError(f"x must lie on the grid, but {outside} of {len(x)} samples lie outside: widen its bounds")
    flat, floors = q.flatten(), []
    for _ in range(FLOOR_DRAWS):
        drawn = torch.multinomial(flat.to(generator.device), len(x), replacement=True, generator=generator).cpu()
        exact = torch.bincount(drawn, minlength=len(flat)).double() / (len(x) * grid.volume)
        floors.append(kl_divergence(exact.reshape(grid.cells), q, grid))
    return Measurement(kl_divergence(histogram(x, grid), q, grid), sum(floors) / FLOOR_DRAWS, len(x), len(x))


def free_energy(p: Tensor, potential: Potential, grid: Grid, temperature: float) -> float:
    """Energy minus temperature times entropy of a density on a grid (Jordan, Kinderlehrer & Otto, section 2).

    It only falls along `evolve`, to -T ln of the normaliser; what is left to fall is T KL(p || equilibrium).
    Notebook 04.
    """
    check_number("temperature", temperature, zero=True)
    p = checked_density(p, grid, "p")
    energy = float((p.flatten() * energies_of(potential, grid.points)).sum()) * grid.volume
    return energy - temperature * entropy(p, grid)


def counts_in_cells(x: Tensor, grid: Grid) -> Tensor:
    """How many samples lie in each cell, flat; those outside lie in none."""
    check_finite(x, "x")
    if x.ndim != 2 or x.shape[1] != len(grid.cells) or not len(x):
        raise ValueError(f"x must have shape (B, {len(grid.cells)}) to go with the grid, but is {describe(x)}")
    x, flat = in_double(x.detach()), torch.zeros(len(x), dtype=torch.long)
    inside = torch.ones(len(x), dtype=torch.bool)
    for axis, edges in enumerate(grid.edges):
        cell = torch.searchsorted(edges, x[:, axis].contiguous(), right=True) - 1
        inside &= (cell >= 0) & (cell < grid.cells[axis])
        flat = flat * grid.cells[axis] + cell
    return torch.bincount(flat[inside], minlength=math.prod(grid.cells))


def checked_density(p: Tensor, grid: Grid, name: str) -> Tensor:
    """A density in float64 on the CPU, after a check."""
    check_finite(p, name)
    if tuple(p.shape) != tuple(grid.cells) or bool((p < 0).any()):
        raise ValueError(f"{name} must be a density >= 0 in the shape {grid.cells}, but is {describe(p)}")
    return in_double(p)
