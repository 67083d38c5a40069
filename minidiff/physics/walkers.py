"""Walkers: random walks, Brownian motion, Langevin dynamics, and the work done on them. Taught in notebooks 01 to 04.

Sources: Leimkuhler & Matthews 2013, arXiv 1203.5428 (Langevin dynamics and BAOAB); Jarzynski 1997, doi
10.1103/PhysRevLett.78.2690, equation 2.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from minidiff._tensors import check_finite, check_number, describe, in_double, like, noise_like
from minidiff.physics._checks import check_walkers, checked_mass, energies_of
from minidiff.physics.potentials import Potential, force

__all__ = [
    "Driven",
    "PhasePoint",
    "brownian",
    "driven",
    "jarzynski",
    "overdamped_langevin",
    "overdamped_step",
    "random_walk",
    "underdamped_langevin",
]

Parameter = TypeVar("Parameter")


class PhasePoint(NamedTuple):
    """Positions and velocities of the walkers, (B, d) each."""

    x: Tensor
    v: Tensor


class Driven(NamedTuple):
    """Positions, (B, d), and the work done on each walker so far, (B,)."""

    x: Tensor
    work: Tensor


@torch.no_grad()
def random_walk(
    step: Callable[[tuple[int, ...], torch.Generator], Tensor],
    x: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Walkers whose steps are independent, of any one distribution. Yields `steps` positions, (B, d). Notebook 01.

    step: (shape, generator) -> steps of that shape.
    """
    check_walkers(x, steps=steps, generator=generator)
    for _ in range(steps):
        moved = step(tuple(x.shape), generator)
        if not isinstance(moved, Tensor) or moved.shape != x.shape:
            raise ValueError(f"step must return a tensor of shape {tuple(x.shape)}, but returned {describe(moved)}")
        x = x + like(moved, x)
        yield x


@torch.no_grad()
def brownian(x: Tensor, *, diffusion: float, dt: float, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Brownian motion, dx = sqrt(2 D) dw: a normal step of variance 2 D dt in each direction. Notebook 01.

    Exact at every dt. x: (B, d). Yields `steps` positions, (B, d).
    """
    check_walkers(x, steps=steps, generator=generator)
    check_number("diffusion", diffusion, zero=True)
    check_number("dt", dt)
    for _ in range(steps):
        x = noise_like(x, generator).mul_(math.sqrt(2 * diffusion * dt)).add_(x)
        yield x


def overdamped_step(
    potential: Potential, x: Tensor, *, temperature: float, dt: float, generator: torch.Generator, mobility: float = 1.0
) -> Tensor:
    """One Euler-Maruyama step of `overdamped_langevin`. x: (B, d). Returns (B, d). Notebook 02."""
    noise = noise_like(x, generator).mul_(math.sqrt(2 * mobility * temperature * dt))
    return noise.add_(x).add_(force(potential, x), alpha=mobility * dt)


@torch.no_grad()
def overdamped_langevin(
    potential: Potential,
    x: Tensor,
    *,
    temperature: float,
    dt: float,
    steps: int,
    generator: torch.Generator,
    mobility: float = 1.0,
) -> Iterator[Tensor]:
    """dx = -mobility grad U dt + sqrt(2 mobility temperature) dw (Leimkuhler & Matthews, eq. 2), by Euler-Maruyama.

    Taught in notebook 02. x: (B, d). Yields `steps` positions, (B, d). They settle into exp(-U / temperature) as
    dt -> 0; in a harmonic well the variance comes out too large by 1 / (1 - mobility stiffness dt / 2), and where dt
    exceeds 2 / (mobility stiffness) walkers run away to infinity. At temperature 0 it is gradient descent.
    """
    check_walkers(x, steps=steps, generator=generator)
    check_number("temperature", temperature, zero=True)
    check_number("dt", dt)
    check_number("mobility", mobility)
    for _ in range(steps):
        x = overdamped_step(potential, x, temperature=temperature, dt=dt, generator=generator, mobility=mobility)
        yield x


@torch.no_grad()
def underdamped_langevin(
    potential: Potential,
    x: Tensor,
    v: Tensor,
    *,
    temperature: float,
    friction: float,
    dt: float,
    steps: int,
    generator: torch.Generator,
    mass: float | Tensor = 1.0,
) -> Iterator[PhasePoint]:
    """dx = v dt, m dv = -grad U dt - m friction v dt + sqrt(2 m friction temperature) dw, by BAOAB. Notebook 03.

    Half a kick (B), half a drift (A), friction and noise exactly (O), then A and B again (Leimkuhler & Matthews): one
    force a step; in a harmonic well the density of x is exact at every stable dt. At friction 0 it is velocity Verlet.

    x, v: (B, d). mass: a number, or a tensor that multiplies v, such as (d,) or (B, 1). Yields `steps` PhasePoints.
    """
    check_walkers(x, v, steps=steps, generator=generator)
    check_number("temperature", temperature, zero=True)
    check_number("friction", friction, zero=True)
    check_number("dt", dt)
    mass = checked_mass(mass, v)
    keep = math.exp(-friction * dt)
    kick, spread = 0.5 * dt / mass, torch.sqrt(-math.expm1(-2 * friction * dt) * temperature / mass)
    pull = force(potential, x)
    for _ in range(steps):
        v = v + kick * pull
        x = x + 0.5 * dt * v
        v = keep * v + spread * noise_like(v, generator)
        x = x + 0.5 * dt * v
        pull = force(potential, x)
        v = v + kick * pull
        yield PhasePoint(x, v)


@torch.no_grad()
def driven(
    potential_of: Callable[[Parameter], Potential],
    x: Tensor,
    protocol: Sequence[Parameter],
    relax: Callable[[Tensor, Parameter, torch.Generator], Tensor],
    *,
    generator: torch.Generator,
) -> Iterator[Driven]:
    """Change a potential step by step and measure the work: change it at fixed x, then let the walkers relax.

    Taught in notebook 04. Work is U_new(x) - U_old(x) at each change (Jarzynski 1997). x: (B, d), in equilibrium in
    the first potential. protocol: N + 1 parameters, such as stiffnesses; potential_of makes a potential of one. relax:
    (x, parameter, generator) -> x, the dynamics of one step, such as `overdamped_step` or `OrnsteinUhlenbeck.sample`;
    Jarzynski's equality is exact where it leaves the equilibrium alone. Yields N states; work is float64, on the CPU.
    """
    check_walkers(x, generator=generator)
    protocol = list(protocol)
    if len(protocol) < 2:
        raise ValueError(f"protocol must hold at least 2 parameters, but holds {len(protocol)}")
    work = torch.zeros(len(x), dtype=torch.float64)
    for old, new in itertools.pairwise(protocol):
        work = work + energies_of(potential_of(new), x) - energies_of(potential_of(old), x)
        relaxed = relax(x, new, generator)
        if not isinstance(relaxed, Tensor) or relaxed.shape != x.shape:
            raise ValueError(f"relax must return positions of shape {tuple(x.shape)}, but returned {describe(relaxed)}")
        x = relaxed
        yield Driven(x, work)


def jarzynski(work: Tensor, temperature: float) -> float:
    """The free-energy difference from work: -T ln mean exp(-work / T) (Jarzynski 1997, equation 2). Notebook 04.

    work: (B,), measured from equilibrium starts. Few walkers with little work carry the mean: watch its spread.
    """
    check_finite(work, "work")
    check_number("temperature", temperature)
    if work.ndim != 1 or len(work) < 1:
        raise ValueError(f"work must have shape (B,), one number a walker, but is {describe(work)}")
    return -temperature * float(torch.logsumexp(-in_double(work) / temperature, dim=0) - math.log(len(work)))
