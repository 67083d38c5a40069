"""Integrals over the plane as sums over the cells of a square. The exact truth beside every bound of notebook 26."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff._tensors import check_generator, check_number, check_whole

__all__ = ["draw_from_grid", "log_integral", "square"]

AT_ONCE = 40_000  # cells


def square(edge: float, cells: int) -> tuple[Tensor, float]:
    """Middles of cells x cells equal squares that fill [-edge, edge]^2, (cells^2, 2), and log of the area of one."""
    check_number("edge", edge)
    check_whole("cells", cells)
    side = 2 * edge / cells
    middles = -edge + side * (torch.arange(cells) + 0.5)
    return torch.cartesian_prod(middles, middles), 2 * math.log(side)


@torch.no_grad()
def log_integral(log_density: Callable[[Tensor], Tensor], edge: float = 4.0, cells: int = 400) -> float:
    """log of the integral of exp(log_density) over [-edge, edge]^2. log_density: (B, 2) -> (B,). Notebook 26.

    It is 0 for a normalised density that lies within the square, and log Z for an energy model.
    """
    middles, log_area = square(edge, cells)
    return float(torch.logsumexp(_on(log_density, middles), 0)) + log_area


@torch.no_grad()
def draw_from_grid(
    log_density: Callable[[Tensor], Tensor],
    n: int,
    generator: torch.Generator,
    edge: float = 4.0,
    cells: int = 400,
) -> Tensor:
    """n draws from a density in the plane, known up to a factor: a cell, then a point in it, (n, 2). Notebook 26.

    It needs no Markov chain, and is possible in a few dimensions only.
    """
    check_whole("n", n)
    check_generator(generator)
    middles, log_area = square(edge, cells)
    cell = torch.multinomial(torch.softmax(_on(log_density, middles), 0), n, replacement=True, generator=generator)
    return middles[cell] + math.exp(log_area / 2) * (torch.rand(n, 2, generator=generator) - 0.5)


def _on(log_density: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    return torch.cat([log_density(part).double() for part in points.split(AT_ONCE)])
