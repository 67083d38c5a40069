"""Walkers in a landscape: Brownian motion, Langevin dynamics, the Fokker-Planck equation, and what one measures.

Units, once: k_B = 1, so that `temperature` is an energy; `friction` is 1 / time; `mobility` is time / mass, the
inverse of mass times friction; the mass is 1 unless given; `stiffness` is energy / length^2; `diffusion` is
length^2 / time. A potential is a plain function of positions, (B, d) -> (B,), an energy for each walker. A `Grid`
holds densities as float64 tensors in the shape `grid.cells`. Taught in notebooks 01 to 04.

Sources: Leimkuhler & Matthews 2013, arXiv 1203.5428 (Langevin dynamics and BAOAB); Gardiner 2004, Handbook of
Stochastic Methods, section 4.4.6 (Ornstein-Uhlenbeck); Scharfetter & Gummel 1969, doi 10.1109/T-ED.1969.16566
(fluxes between cells); Jordan, Kinderlehrer & Otto 1998, doi 10.1137/S0036141096303359, section 2 (free energy);
Jarzynski 1997, doi 10.1103/PhysRevLett.78.2690, equation 2.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import scipy.special
import torch
from torch import Tensor

from minidiff._tensors import check_finite, describe, noise_like
from minidiff.metrics import Measurement

__all__ = [
    "Driven",
    "Grid",
    "OrnsteinUhlenbeck",
    "PhasePoint",
    "Potential",
    "boltzmann",
    "brownian",
    "double_well",
    "driven",
    "entropy",
    "evolve",
    "fokker_planck_operator",
    "force",
    "free_energy",
    "harmonic",
    "histogram",
    "jarzynski",
    "kinetic_temperature",
    "kl_divergence",
    "kl_to_density",
    "mean_squared_displacement",
    "mueller_brown",
    "overdamped_langevin",
    "overdamped_step",
    "random_walk",
    "ring",
    "underdamped_langevin",
]

Potential = Callable[[Tensor], Tensor]  # (B, d) -> (B,), an energy
Parameter = TypeVar("Parameter")

FLOOR_DRAWS = 8  # exact samples behind the floor of kl_to_density
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


class PhasePoint(NamedTuple):
    """Positions and velocities of the walkers, (B, d) each."""

    x: Tensor
    v: Tensor


class Driven(NamedTuple):
    """Positions, (B, d), and the work done on each walker so far, (B,)."""

    x: Tensor
    work: Tensor


# --- potentials and their forces -------------------------------------------------------------------------------------


def harmonic(stiffness: float | Tensor, centre: float | Tensor = 0.0) -> Potential:
    """A spring to `centre`: 1/2 (x - centre) . K (x - centre). Notebook 02.

    stiffness: the number K, or a symmetric positive definite matrix, (d, d). centre: a number or (d,).
    """
    matrix, centre = _checked_stiffness(stiffness), torch.as_tensor(centre, dtype=torch.float64)

    def potential(x: Tensor) -> Tensor:
        if centre.shape not in ((), x.shape[1:]):
            raise ValueError(f"centre must be a number or (d,) to go with {describe(x)}, but is {describe(centre)}")
        offset, k = x - centre.to(x), matrix.to(x)
        return 0.5 * (offset * (offset @ k if k.ndim else k * offset)).sum(dim=1)

    return potential


def double_well(barrier: float = 1.0, stiffness: float = 1.0) -> Potential:
    """Two wells at x_0 = -1 and +1 under a barrier; in other directions a spring. Notebook 02.

    The energy is barrier (x_0^2 - 1)^2 + 1/2 stiffness |other coordinates|^2.
    """
    _check_number("barrier", barrier)
    _check_number("stiffness", stiffness)

    def potential(x: Tensor) -> Tensor:
        return barrier * (x[:, 0] ** 2 - 1) ** 2 + 0.5 * stiffness * (x[:, 1:] ** 2).sum(dim=1)

    return potential


def ring(radius: float = 1.0, stiffness: float = 1.0) -> Potential:
    """A valley around the origin: 1/2 stiffness (|x| - radius)^2. Notebook 02."""
    _check_number("radius", radius)
    _check_number("stiffness", stiffness)
    return lambda x: 0.5 * stiffness * (torch.linalg.vector_norm(x, dim=1) - radius) ** 2


def mueller_brown(scale: float = 1.0) -> Potential:
    """Three wells on a bent path (Mueller & Brown 1979), a test of path finders, times `scale`. Notebook 02.

    x: (B, 2). At scale 1 the energies run from -147 at the deepest minimum to -41 at the higher saddle.
    """
    _check_number("scale", scale)

    def potential(x: Tensor) -> Tensor:
        if x.shape[1] != 2:
            raise ValueError(f"x must have shape (B, 2), but is {describe(x)}")
        height, a, b, c, x0, y0 = MUELLER_BROWN.to(x).T
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


# --- walkers ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def random_walk(
    step: Callable[[tuple[int, ...], torch.Generator], Tensor],
    x: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Walkers that add an independent step each time, by any law. Yields `steps` positions, (B, d). Notebook 01.

    step: (shape, generator) -> steps of that shape.
    """
    _check_walkers(x, steps=steps, generator=generator)
    for _ in range(steps):
        moved = step(tuple(x.shape), generator)
        if not isinstance(moved, Tensor) or moved.shape != x.shape:
            raise ValueError(f"step must return a tensor of shape {tuple(x.shape)}, but returned {describe(moved)}")
        x = x + moved.to(x)
        yield x


@torch.no_grad()
def brownian(x: Tensor, *, diffusion: float, dt: float, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Brownian motion, dx = sqrt(2 D) dw: a normal step of variance 2 D dt in each direction. Notebook 01.

    Exact at every dt. x: (B, d). Yields `steps` positions, (B, d).
    """
    _check_walkers(x, steps=steps, generator=generator)
    _check_number("diffusion", diffusion, zero=True)
    _check_number("dt", dt)
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
    """dx = -mobility grad U dt + sqrt(2 mobility temperature) dw, by Euler-Maruyama (Leimkuhler & Matthews, eq. 2).

    Taught in notebook 02. x: (B, d). Yields `steps` positions, (B, d). Its law settles into exp(-U / temperature) as
    dt -> 0; in a harmonic well the variance comes out too large by 1 / (1 - mobility stiffness dt / 2), and where dt
    exceeds 2 / (mobility stiffness) walkers run away to infinity. At temperature 0 it is gradient descent.
    """
    _check_walkers(x, steps=steps, generator=generator)
    _check_number("temperature", temperature, zero=True)
    _check_number("dt", dt)
    _check_number("mobility", mobility)
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
    force a step, and in a harmonic well the law of x is exact at every stable dt. At friction 0 it is velocity Verlet.

    x, v: (B, d). mass: a number, or a tensor that multiplies v, such as (d,) or (B, 1). Yields `steps` PhasePoints.
    """
    _check_walkers(x, v, steps=steps, generator=generator)
    _check_number("temperature", temperature, zero=True)
    _check_number("friction", friction, zero=True)
    _check_number("dt", dt)
    mass = _checked_mass(mass, v)
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
    Jarzynski's equality is exact where it leaves the equilibrium alone. Yields N states; work is float64.
    """
    _check_walkers(x, generator=generator)
    protocol = list(protocol)
    if len(protocol) < 2:
        raise ValueError(f"protocol must hold at least 2 parameters, but holds {len(protocol)}")
    work = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for old, new in itertools.pairwise(protocol):
        work = work + _energies(potential_of(new), x) - _energies(potential_of(old), x)
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
    _check_number("temperature", temperature)
    if work.ndim != 1 or len(work) < 1:
        raise ValueError(f"work must have shape (B,), one number a walker, but is {describe(work)}")
    return -temperature * float(torch.logsumexp(-work.double() / temperature, dim=0) - math.log(len(work)))


# --- the Ornstein-Uhlenbeck process ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class OrnsteinUhlenbeck:
    """dx = -mobility K (x - mean) dt + sqrt(2 mobility temperature) dw, exactly (Gardiner, section 4.4.6). Notebook 04.

    The overdamped walker in `harmonic(stiffness, mean)`. mean: (d,). stiffness: a number, or a symmetric positive
    definite matrix K, (d, d). Everything is computed in the eigenbasis of K, in float64.
    """

    mean: Tensor
    stiffness: float | Tensor
    temperature: float
    mobility: float = 1.0

    def __post_init__(self):
        matrix = _checked_stiffness(self.stiffness)
        if not isinstance(self.mean, Tensor) or self.mean.ndim != 1 or not self.mean.is_floating_point():
            raise TypeError(f"mean must be a floating-point tensor of shape (d,), but is {describe(self.mean)}")
        if matrix.ndim and len(matrix) != len(self.mean):
            raise ValueError(f"stiffness must have shape (d, d), d = {len(self.mean)}, but is {describe(matrix)}")
        _check_number("temperature", self.temperature, zero=True)
        _check_number("mobility", self.mobility)

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, (d,), and eigenvectors in columns, (d, d), of the stiffness."""
        matrix = _checked_stiffness(self.stiffness)
        return torch.linalg.eigh(matrix if matrix.ndim else matrix * torch.eye(len(self.mean), dtype=torch.float64))

    def transition(self, t: float) -> tuple[Tensor, Tensor]:
        """The matrix A and the noise's covariance, (d, d) each, of x(t) = mean + A (x(0) - mean) + noise."""
        _check_number("t", t, zero=True)
        values, vectors = self.spectrum
        variances = -torch.expm1(-2 * self.mobility * t * values) * self.temperature / values
        return (vectors * torch.exp(-self.mobility * t * values)) @ vectors.T, (vectors * variances) @ vectors.T

    def moments(self, mean0: Tensor, covariance0: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Mean, (d,), and covariance, (d, d), at time t of any start with these moments: Gaussian or not."""
        decay, noise = self.transition(t)
        mean = self.mean.double()
        if mean0.shape != mean.shape or covariance0.shape != decay.shape:
            raise ValueError(
                f"mean0 and covariance0 must have shapes {tuple(mean.shape)} and {tuple(decay.shape)}, "
                f"but are {describe(mean0)} and {describe(covariance0)}"
            )
        return mean + decay @ (mean0.double() - mean), decay @ covariance0.double() @ decay.T + noise

    def equilibrium(self) -> tuple[Tensor, Tensor]:
        """Mean, (d,), and covariance, temperature times the inverse of K, (d, d), after a long time."""
        values, vectors = self.spectrum
        return self.mean.double(), (vectors * (self.temperature / values)) @ vectors.T

    def sample(self, x0: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """Draw x(t) for walkers at x0, (B, d), in one exact jump. Returns (B, d)."""
        _check_walkers(x0, generator=generator, name="x0")
        if x0.shape[1] != len(self.mean):
            raise ValueError(f"x0 must have shape (B, {len(self.mean)}), but is {describe(x0)}")
        decay, noise = self.transition(t)
        values, vectors = torch.linalg.eigh(noise)  # a root of the covariance, which may be singular (t = 0)
        root = vectors * values.clamp(min=0).sqrt()
        mean = self.mean.to(x0)
        return mean + (x0 - mean) @ decay.to(x0).T + noise_like(x0, generator) @ root.to(x0).T


# --- the Fokker-Planck equation on a grid ----------------------------------------------------------------------------


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
            if not isinstance(n, int) or n < 2:
                raise ValueError(f"cells must be whole numbers >= 2, but are {self.cells}")

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
    _check_number("temperature", temperature)
    if not isinstance(nodes, int) or nodes < 1:
        raise ValueError(f"nodes must be a whole number >= 1, but is {nodes!r}")
    places, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(nodes))
    shifts = [places * width / 2 for width in grid.widths]
    shifts = torch.stack(torch.meshgrid(*shifts, indexing="ij"), dim=-1).reshape(-1, len(grid.cells))
    weights = torch.stack(torch.meshgrid(*[weights / 2] * len(grid.cells), indexing="ij")).prod(dim=0).flatten()
    energies = torch.stack([_energies(potential, grid.points + shift) for shift in shifts], dim=1)
    logs = torch.logsumexp(weights.log() - energies / temperature, dim=1)
    return (torch.softmax(logs, dim=0) / grid.volume).reshape(grid.cells)


def fokker_planck_operator(
    potential: Potential, grid: Grid, *, temperature: float, mobility: float = 1.0
) -> scipy.sparse.csc_matrix:
    """The matrix L of dp/dt = L p for the density of `overdamped_langevin`, between walls. Notebook 04.

    p is a flattened density. Walkers hop between neighbouring cells at the rates of Scharfetter & Gummel 1969,
    mobility temperature / width^2 times z / (e^z - 1), z the rise of U / temperature. So columns sum to 0 (mass
    stays), what is off the diagonal is >= 0 (densities stay positive), and `boltzmann(potential, grid, temperature)`
    stands still, in detailed balance. The error falls with the square of the width.
    """
    _check_number("temperature", temperature)
    _check_number("mobility", mobility)
    energy = _energies(potential, grid.points).numpy().reshape(grid.cells) / temperature
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
    operator: scipy.sparse.spmatrix, p: Tensor, dt: float, steps: int, *, implicitness: float = 1.0
) -> Iterator[Tensor]:
    """Solve dp/dt = L p in steps of dt, factorised once. Yields `steps` densities in the shape of p. Notebook 04.

    implicitness 1 is backward Euler: first order in dt, mass kept, positive at every dt. 1/2 is Crank-Nicolson: second
    order, but positive for sure only while dt times the fastest rate out of a cell, -L_ii, is below 2.
    """
    _check_number("dt", dt)
    _check_count("steps", steps)
    if not 0.5 <= implicitness <= 1:
        raise ValueError(f"implicitness must lie in [0.5, 1], but is {implicitness}")
    check_finite(p, "p")
    if p.numel() != operator.shape[0] or bool((p < 0).any()):
        raise ValueError(f"p must hold {operator.shape[0]} densities >= 0, one a cell, but is {describe(p)}")
    one = scipy.sparse.identity(operator.shape[0], format="csc")
    # columns are diagonally dominant: the diagonal is a safe pivot, and the order may suit the pattern alone
    solver = scipy.sparse.linalg.splu(
        (one - implicitness * dt * operator).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
    )
    explicit = (one + (1 - implicitness) * dt * operator).tocsr()
    flat = p.detach().double().cpu().flatten().numpy()
    for _ in range(steps):
        flat = solver.solve(explicit @ flat if implicitness < 1 else flat)
        yield torch.from_numpy(flat).reshape(p.shape)


# --- observables -----------------------------------------------------------------------------------------------------


def mean_squared_displacement(x: Tensor, x0: Tensor) -> float:
    """The mean over walkers of |x - x0|^2: 2 d D t for Brownian motion. x, x0: (B, d). Notebook 01."""
    if x.shape != x0.shape or x.ndim != 2:
        raise ValueError(f"x and x0 must both have shape (B, d), but are {describe(x)} and {describe(x0)}")
    return float(((x - x0).double() ** 2).sum(dim=1).mean())


def kinetic_temperature(v: Tensor, mass: float | Tensor = 1.0) -> float:
    """The mean of mass v_i^2 over walkers and directions: twice the kinetic energy per degree of freedom. Notebook 03.

    v: (B, d). mass: a number, or a tensor that multiplies v. All B d degrees of freedom count; the motion of the
    centre of mass is not removed, since the walkers do not know of each other.
    """
    return float((_checked_mass(mass, v).double() * v.double() ** 2).mean())


def histogram(x: Tensor, grid: Grid) -> Tensor:
    """The density of samples, (B, d), in the cells of a grid: counts / (B volume), in the shape `grid.cells`.

    Samples outside count in B and in no cell, so that the mass says how many are inside.
    """
    return (_counts(x, grid).double() / (len(x) * grid.volume)).reshape(grid.cells)


def entropy(p: Tensor, grid: Grid) -> float:
    """-int p ln p of a density on a grid, in nats. Notebook 04.

    Of `histogram(x, grid)` it is the plug-in estimate, which lies (occupied cells - 1) / 2B too low on average, to
    leading order in 1 / B (Miller 1955).
    """
    _check_density(p, grid, "p")
    return -float(torch.xlogy(p, p).sum()) * grid.volume


def kl_divergence(p: Tensor, q: Tensor, grid: Grid) -> float:
    """KL(p || q) = int p ln (p / q) of two densities on a grid, in nats; infinite where q misses p. Notebook 04."""
    _check_density(p, grid, "p")
    _check_density(q, grid, "q")
    return float((torch.xlogy(p, p) - torch.xlogy(p, q)).sum()) * grid.volume


def kl_to_density(x: Tensor, q: Tensor, grid: Grid, *, generator: torch.Generator) -> Measurement:
    """KL(histogram of samples || q), in nats, over its floor: the same of exact samples of q. Notebook 02.

    x: (B, d), all of them on the grid. q: a density in the shape `grid.cells` of mass 1, best an average over each
    cell (`boltzmann(..., nodes=4)`). The floor is the mean over 8 exact samples of size B, about (cells - 1) / 2B.
    """
    _check_density(q, grid, "q")
    if abs(float(q.sum()) * grid.volume - 1) > 1e-6:
        raise ValueError(f"q must have mass 1 on the grid, but has {float(q.sum()) * grid.volume:.6g}")
    outside = len(x) - int(_counts(x, grid).sum())
    if outside:
        raise ValueError(f"x must lie on the grid, but {outside} of {len(x)} samples lie outside: widen its bounds")
    flat, floors = q.double().cpu().flatten(), []
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
    _check_number("temperature", temperature, zero=True)
    _check_density(p, grid, "p")
    energy = float((p.flatten() * _energies(potential, grid.points)).sum()) * grid.volume
    return energy - temperature * entropy(p, grid)


# --- checks at the door ----------------------------------------------------------------------------------------------


def _check_number(name: str, value: float, *, zero: bool = False) -> None:
    if not isinstance(value, (int, float, np.number, Tensor)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, but is {describe(value)}")
    if isinstance(value, Tensor) and value.ndim:
        raise TypeError(f"{name} must be a single number, but is {describe(value)}")
    if not (0 < value < math.inf or (zero and value == 0)):
        raise ValueError(f"{name} must be finite and {'>=' if zero else '>'} 0, but is {value}")


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, but is {value!r}")


def _check_walkers(
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
    _check_count("steps", steps)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator (see minidiff.generator), but is {generator!r}")


def _checked_stiffness(stiffness: float | Tensor) -> Tensor:
    """A stiffness as a float64 tensor, () or (d, d)."""
    if not isinstance(stiffness, Tensor) or not stiffness.ndim:
        _check_number("stiffness", stiffness)
        return torch.as_tensor(stiffness, dtype=torch.float64)
    matrix = stiffness.double()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"stiffness must be a number or a matrix of shape (d, d), but is {describe(stiffness)}")
    if not torch.allclose(matrix, matrix.T) or not bool((torch.linalg.eigvalsh(matrix) > 0).all()):
        raise ValueError(f"stiffness must be symmetric and positive definite, but is {matrix.tolist()}")
    return matrix


def _checked_mass(mass: float | Tensor, v: Tensor) -> Tensor:
    """Masses in the dtype of v, in a shape that multiplies v without enlarging it."""
    masses = torch.as_tensor(mass).to(v)
    try:
        fits = torch.broadcast_shapes(masses.shape, v.shape) == v.shape
    except RuntimeError:
        fits = False
    if not fits or not bool(((masses > 0) & masses.isfinite()).all()):
        raise ValueError(f"mass must be finite, > 0 and multiply v, {describe(v)}, but is {describe(mass)}")
    return masses


def _energies(potential: Potential, points: Tensor) -> Tensor:
    """The energies of points, (N,), in float64, after a check."""
    energies = potential(points)
    check_finite(energies, "what potential returns")
    if energies.shape != points.shape[:1]:
        raise ValueError(
            f"potential must return energies of shape {tuple(points.shape[:1])}, but returned {describe(energies)}"
        )
    return energies.detach().double()


def _counts(x: Tensor, grid: Grid) -> Tensor:
    """How many samples lie in each cell, flat; those outside lie in none."""
    check_finite(x, "x")
    if x.ndim != 2 or x.shape[1] != len(grid.cells) or not len(x):
        raise ValueError(f"x must have shape (B, {len(grid.cells)}) to go with the grid, but is {describe(x)}")
    x, flat = x.detach().double().cpu(), torch.zeros(len(x), dtype=torch.long)
    inside = torch.ones(len(x), dtype=torch.bool)
    for axis, edges in enumerate(grid.edges):
        cell = torch.searchsorted(edges, x[:, axis].contiguous(), right=True) - 1
        inside &= (cell >= 0) & (cell < grid.cells[axis])
        flat = flat * grid.cells[axis] + cell
    return torch.bincount(flat[inside], minlength=math.prod(grid.cells))


def _check_density(p: Tensor, grid: Grid, name: str) -> None:
    check_finite(p, name)
    if tuple(p.shape) != tuple(grid.cells) or bool((p < 0).any()):
        raise ValueError(f"{name} must be a density >= 0 in the shape {grid.cells}, but is {describe(p)}")
