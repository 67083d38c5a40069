"""The Fokker-Planck equation on a grid. Taught in notebooks 01 and 04.

A `Grid` holds densities as float64 tensors in the shape `grid.cells`.

Sources: Scharfetter & Gummel 1969, doi 10.1109/T-ED.1969.16566 (fluxes between cells).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are used: they take a third of a second
import torch
from torch import Tensor

from minidiff._tensors import check_finite, check_number, check_whole, describe, in_double
from minidiff.physics._checks import energies_of
from minidiff.physics.potentials import Potential

__all__ = ["Grid", "boltzmann", "evolve", "fokker_planck_operator"]


@dataclass(frozen=True)
class Grid:
    """A box cut into equal cells, in one or two dimensions. bounds: (low, high) of each axis; cells: their numbers.

    `Grid(((-3, 3), (-2, 2)), (60, 40))`. A density on it is a float64 tensor in the shape `cells`, constant in a cell.
    """

    bounds: tuple[tuple[float, float], ...]
    cells: tuple[int, ...]

    def __post_init__(self):
        if np.shape(self.cells) not in ((1,), (2,)) or np.shape(self.bounds) != (len(self.cells), 2):
            raise ValueError(
                "bounds must be a pair (low, high) and cells a number for each of 1 or 2 axes, such as ((-3, 3),) and "
                f"(60,), but are {self.bounds} and {self.cells}"
            )
        for (low, high), n in zip(self.bounds, self.cells, strict=True):
            if not -math.inf < low < high < math.inf:
                raise ValueError(f"bounds must be (low, high), low < high, on each axis, but are {self.bounds}")
            check_whole("each number of cells", n, 2)

    @property
    def widths(self) -> tuple[float, ...]:
        """The width of a cell along each axis."""
        return tuple((high - low) / n for (low, high), n in zip(self.bounds, self.cells, strict=True))

    @property
    def volume(self) -> float:
        """The length or area of a cell: a density p holds the mass p.sum() * volume."""
        return math.prod(self.widths)

    @property
    def edges(self) -> tuple[Tensor, ...]:
        """The walls of the cells along each axis, (n + 1,)."""
        return tuple(
            torch.linspace(low, high, n + 1, dtype=torch.float64)
            for (low, high), n in zip(self.bounds, self.cells, strict=True)
        )

    @property
    def centres(self) -> tuple[Tensor, ...]:
        """The middles of the cells along each axis, (n,)."""
        return tuple((edges[1:] + edges[:-1]) / 2 for edges in self.edges)

    @property
    def points(self) -> Tensor:
        """The centres of all cells, (number of cells, d), in the order of a flattened density."""
        return torch.stack(torch.meshgrid(*self.centres, indexing="ij"), dim=-1).reshape(-1, len(self.cells))


def boltzmann(potential: Potential, grid: Grid, temperature: float, *, nodes: int = 1) -> Tensor:
    """The equilibrium exp(-U / temperature), normalised on the grid, in the shape `grid.cells`. Notebook 02.

    nodes = 1 takes U at the centres: exactly what `fokker_planck_operator` leaves alone. More nodes average over each
    cell by Gauss-Legendre quadrature with so many points an axis: what a histogram of exact samples tends to.
    """
    check_number("temperature", temperature)
    check_whole("nodes", nodes)
    places, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(nodes))
    shifts = [places * width / 2 for width in grid.widths]
    shifts = torch.stack(torch.meshgrid(*shifts, indexing="ij"), dim=-1).reshape(-1, len(grid.cells))
    weights = torch.stack(torch.meshgrid(*[weights / 2] * len(grid.cells), indexing="ij")).prod(dim=0).flatten()
    energies = torch.stack([energies_of(potential, grid.points + shift) for shift in shifts], dim=1)
    logs = torch.logsumexp(weights.log() - energies / temperature, dim=1)
    return (torch.softmax(logs, dim=0) / grid.volume).reshape(grid.cells)


def fokker_planck_operator(
    potential: Potential, grid: Grid, *, temperature: float, mobility: float = 1.0
) -> "scipy.sparse.csc_matrix":
    """The matrix L of dp/dt = L p for the density of `overdamped_langevin`, between walls. Notebook 04.

    p is a flattened density. Walkers hop between neighbouring cells at the rates of Scharfetter & Gummel 1969,
    mobility temperature / width^2 times z / (e^z - 1), z the rise of U / temperature. So columns sum to 0 (mass
    stays), what is off the diagonal is >= 0 (densities stay positive), and `boltzmann(potential, grid, temperature)`
    stands still, in detailed balance. The error falls with the square of the width.
    """
    check_number("temperature", temperature)
    check_number("mobility", mobility)
    energy = energies_of(potential, grid.points).numpy().reshape(grid.cells) / temperature
    index = np.arange(energy.size).reshape(grid.cells)
    rows, columns, rates = [], [], []
    for axis, width in enumerate(grid.widths):
        n = grid.cells[axis]
        left, right = (np.take(index, range(*ends), axis=axis).ravel() for ends in ((0, n - 1), (1, n)))
        rise = energy.ravel()[right] - energy.ravel()[left]
        for start, end, z in ((left, right, rise), (right, left, -rise)):
            rate = mobility * temperature / width**2 / scipy.special.exprel(z)  # exprel(z) = (e^z - 1) / z
            rows += [end, start]
            columns += [start, start]
            rates += [rate, -rate]
    entries = np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns))
    return scipy.sparse.coo_matrix(entries, shape=(energy.size, energy.size)).tocsc()


def evolve(
    operator: "scipy.sparse.spmatrix", p: Tensor, dt: float, steps: int, *, implicitness: float = 1.0
) -> Iterator[Tensor]:
    """Solve dp/dt = L p in steps of dt, factorised once. Yields `steps` densities in the shape of p. Notebook 04.

    implicitness 1 is backward Euler: first order in dt, mass kept, positive at every dt. 1/2 is Crank-Nicolson: second
    order, but positive for sure only while dt times the fastest rate out of a cell, -L_ii, is below 2.
    """
    check_number("dt", dt)
    check_whole("steps", steps)
    if not 0.5 <= implicitness <= 1:
        raise ValueError(f"implicitness must lie in [0.5, 1], but is {implicitness}")
    check_finite(p, "p")
    if p.numel() != operator.shape[0] or bool((p < 0).any()):
        raise ValueError(f"p must hold {operator.shape[0]} densities >= 0, one a cell, but is {describe(p)}")
    from scipy.sparse.linalg import splu

    one = scipy.sparse.identity(operator.shape[0], format="csc")
    # columns are diagonally dominant: the diagonal is a safe pivot, and the order may suit the pattern alone
    solver = splu(
        (one - implicitness * dt * operator).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
    )
    explicit = (one + (1 - implicitness) * dt * operator).tocsr()
    flat = in_double(p.detach()).flatten().numpy()
    for _ in range(steps):
        flat = solver.solve(explicit @ flat if implicitness < 1 else flat)
        yield torch.from_numpy(flat).reshape(p.shape)
