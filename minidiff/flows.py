"""Flows between noise and data: which noise is paired with which data, and what a flow costs. Taught in notebook 16.

Flow matching learns the velocity of `x_t = (1 - t) x0 + t x1` from pairs (x0, x1), x0 data and x1 noise. A coupling
says how the pairs are made. It leaves both marginals as they are, and changes the way between them. Time runs as in
the whole package, from t = 0 (data) to 1 (noise); most papers on flows run it the other way.

On the straight path the squares of the velocities are a budget, the books of a flow (Liu 2022, arXiv 2209.14577):

    E|x1 - x0|^2 = L + S + C

the cost of the coupling is the loss that no network can avoid, the straightness S of the flow (0 if every point keeps
its velocity) and the cost C of what the flow carries where.

Sources: Lipman et al. 2023 (flow matching), arXiv 2210.02747, section 3; Liu, Gong & Liu 2023 (rectified flow), arXiv
2209.03003, section 2; Tong et al. 2024 (minibatch optimal transport), arXiv 2302.00482, section 3.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

import minidiff
from minidiff._tensors import check_whole, check_xt, in_double, noise_like, squares
from minidiff.denoisers import Denoiser, predict
from minidiff.paths import GaussianPath
from minidiff.schedules import rectified_flow
from minidiff.targets import target
from minidiff.training import Batch, Draws, Objective, denoising_loss, spread_times

__all__ = [
    "Books",
    "Coupling",
    "Flow",
    "Pairs",
    "Velocity",
    "books",
    "coupled_batches",
    "flow",
    "flow_matching_objective",
]
__all__ += ["independent", "minibatch_optimal", "stored", "velocity_of"]

STRAIGHT = rectified_flow()


class Pairs(NamedTuple):
    """Data x0 and noise x1, row by row. Each (B, *D)."""

    x0: Tensor
    x1: Tensor


class Flow(NamedTuple):
    """What a flow made of x1: the x0 where each ends, (B, *D), and the mean over time of |velocity|^2, (B,)."""

    x0: Tensor
    energy: Tensor


class Books(NamedTuple):
    """coupling = loss + straightness + transport, each a mean over points and a sum over the numbers of a point."""

    coupling: float
    loss: float
    straightness: float
    transport: float


Coupling = Callable[[int, torch.Generator], Pairs]  # draws n pairs
Velocity = Callable[[Tensor, Tensor], Tensor]  # x, (B, *D), and t, () or (B,) -> dx/dt, (B, *D)

# Which noise goes with which data


def independent(draw: Callable[[int, torch.Generator], Tensor]) -> Coupling:
    """Data from `draw(n, generator)`, and normal noise that knows nothing of them. Notebook 16."""

    def couple(n: int, generator: torch.Generator) -> Pairs:
        x0 = draw(n, generator)
        return Pairs(x0, noise_like(x0, generator))

    return couple


def minibatch_optimal(pairs: Pairs, block: int) -> Pairs:
    """Pair anew within each block of rows, at the least sum of |x1 - x0|^2 (Tong et al., section 3). Notebook 16.

    x1 stays, and x0 is permuted: each point is used exactly once, so both marginals stay as they are. Time grows with
    the third power of `block`, about 2 ms for 128. The last block may be smaller.
    """
    check_whole("block", block)
    _check_pairs(pairs)
    found = []
    for x0, x1 in zip(pairs.x0.split(block), pairs.x1.split(block), strict=True):
        costs = torch.cdist(in_double(x1.flatten(1)), in_double(x0.flatten(1))) ** 2
        found.append(x0[torch.from_numpy(linear_sum_assignment(costs.numpy())[1]).to(x0.device)])
    return Pairs(torch.cat(found), pairs.x1)


def stored(pairs: Pairs) -> Coupling:
    """Rows of pairs that were made before, such as what a flow ends on with what it began with. Notebook 16.

    With such pairs training is reflow (Liu, Gong & Liu, section 2): noise is coupled to what the last flow made of it.
    """
    _check_pairs(pairs)

    def couple(n: int, generator: torch.Generator) -> Pairs:
        rows = torch.randint(len(pairs.x0), (n,), generator=generator, device=generator.device).to(pairs.x0.device)
        return Pairs(pairs.x0[rows], pairs.x1[rows])

    return couple


def coupled_batches(couple: Coupling, *, batch_size: int, steps: int, seed: int, start: int = 0) -> Iterator[Batch]:
    """Batches start to steps - 1 for `train`, with x1 in the place of y. Batch i is a function of (seed, i) alone."""
    for i in range(start, steps):
        yield Batch(*couple(batch_size, minidiff.generator(seed, i)))


# The loss


def flow_matching_objective(path: GaussianPath, at_source: float = 1 / 8) -> Objective:
    """A loss for `train`: the square error of the velocity on given pairs (Lipman et al., section 3). Notebook 16.

    Batches hold the pairs, as `coupled_batches` makes them. at_source: the share of each batch at t = 1 exactly. A
    sampler with few steps needs the velocity there most, and times that are drawn at random never come that near.
    """
    if not 0 <= at_source <= 1:
        raise ValueError(f"at_source must lie in [0, 1], but is {at_source}")

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        t = spread_times(len(batch.x0), path, generator).to(batch.x0)
        before = (at_source * torch.arange(len(t) + 1)).floor()  # evenly among the rows, as the times are
        return Draws(batch.x0, t.masked_fill((before.diff() > 0).to(t.device), 1.0), batch.y)

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        return denoising_loss(net, path, draws.x0, draws.t, draws.eps, kind="velocity")

    return Objective(draw, loss)


# The flow, and its books


def velocity_of(denoise: Denoiser, path: GaussianPath) -> Velocity:
    """dx/dt along the ODE at a denoiser's estimates: E[dx_t/dt | x_t] for the exact one (Lipman et al., section 3)."""
    return partial(_velocity, denoise, path)


def _velocity(denoise: Denoiser, path: GaussianPath, x: Tensor, t: Tensor) -> Tensor:
    return target("velocity", path, *predict(denoise, path, x, t), t)


@torch.no_grad()
def flow(velocity: Velocity, x1: Tensor, steps: int) -> Flow:
    """Follow a velocity from t = 1 to 0 by the midpoint rule, two evaluations a step, none at t = 0. Notebook 16."""
    check_whole("steps", steps)
    check_xt(x1, torch.ones(()), "x1")
    x, energy = x1, torch.zeros(len(x1), dtype=torch.float64)
    times = torch.linspace(1, 0, 2 * steps + 1, dtype=torch.float64)
    for t, middle in zip(times[:-1:2], times[1::2], strict=True):
        half = x - velocity(x, t) / (2 * steps)
        now = velocity(half, middle)
        x, energy = x - now / steps, energy + squares(now) / steps
    return Flow(x, energy)


@torch.no_grad()
def books(velocity: Velocity, pairs: Pairs, *, steps: int, generator: torch.Generator) -> Books:
    """The books of a velocity along the straight path: all four numbers, measured apart. Notebook 16.

    They balance for the velocity E[x1 - x0 | x_t] only, and up to chance: the loss and the coupling are means over
    `pairs`, straightness and transport over the flow of its x1. Each term is a sum over the numbers of a point.
    """
    _check_pairs(pairs)
    x0, x1 = pairs
    t = spread_times(len(x0), STRAIGHT, generator).to(x0)
    missed = x1 - x0 - velocity(STRAIGHT.perturb(x0, t, x1), t)
    end = flow(velocity, x1, steps)
    transport = squares(x1 - end.x0)
    terms = squares(x1 - x0), squares(missed), end.energy - transport, transport
    return Books(*(float(term.mean()) for term in terms))


def _check_pairs(pairs: Pairs) -> None:
    if pairs.x0.shape != pairs.x1.shape or len(pairs.x0) == 0:
        shapes = f"{tuple(pairs.x0.shape)} and {tuple(pairs.x1.shape)}"
        raise ValueError(f"pairs must hold x0 and x1 of one shape, (B, *D) with B >= 1, but have {shapes}")
