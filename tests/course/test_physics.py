"""The physics against closed forms, quadrature and matrix exponentials.

A scheme that is linear in x and in its noise is a pair of matrices. They are read off the code by feeding it unit
vectors in place of noise, so that variances, biases and orders of convergence are exact and nothing is sampled.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import expm, solve_discrete_lyapunov
from scipy.stats import norm

from minidiff import physics
from minidiff.physics import (
    Grid,
    OrnsteinUhlenbeck,
    boltzmann,
    brownian,
    double_well,
    driven,
    entropy,
    evolve,
    fokker_planck_operator,
    force,
    free_energy,
    harmonic,
    histogram,
    jarzynski,
    kinetic_temperature,
    kl_divergence,
    kl_to_density,
    mean_squared_displacement,
    mueller_brown,
    overdamped_langevin,
    overdamped_step,
    random_walk,
    ring,
    underdamped_langevin,
)
from tests.cases import assert_close, dkw_bound, farthest_from_cdf, normal

STIFFNESS = torch.tensor([[2.0, 0.7], [0.7, 0.5]], dtype=torch.float64)
POTENTIALS = {
    "spring": harmonic(1.7),
    "matrix": harmonic(STIFFNESS, torch.tensor([0.3, -0.4])),
    "double well": double_well(2.0, 0.6),
    "ring": ring(1.5, 4.0),
    "Mueller-Brown": mueller_brown(0.05),
    "slope": lambda x: x.sum(dim=1),
}
every_potential = pytest.mark.parametrize("potential", POTENTIALS.values(), ids=POTENTIALS)
LINE, PLANE = Grid(((-3.0, 3.0),), (60,)), Grid(((-2.5, 2.5), (-2.0, 3.0)), (20, 30))
every_grid = pytest.mark.parametrize("grid", [LINE, PLANE], ids=["line", "plane"])


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def orders(errors):
    """log2 of the ratios of neighbours: the order of convergence, where each error belongs to half the step."""
    return [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]


def last(states):
    *_, state = states
    return state


# --- potentials and forces -------------------------------------------------------------------------------------------


@every_potential
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-4)])
def test_force_is_minus_the_slope_of_the_potential(potential, dtype, tolerance, make_generator):
    x, h = 0.6 * normal((20, 2), make_generator(0)), 1e-5
    slopes = torch.stack([(potential(x + h * e) - potential(x - h * e)) / (2 * h) for e in torch.eye(2)], dim=1)
    pull = force(potential, x.to(dtype))
    assert pull.dtype == dtype and not pull.requires_grad
    torch.testing.assert_close(pull.double(), -slopes, rtol=tolerance, atol=tolerance * 10)


def test_potentials_have_their_closed_forms(make_generator):
    x = normal((50, 2), make_generator(0))
    a, b = x.T
    assert_close(harmonic(3.0)(x), 1.5 * (a**2 + b**2))
    centre = numbers(1.0, -2.0)
    expected = 0.5 * (2.0 * (a - 1) ** 2 + 1.4 * (a - 1) * (b + 2) + 0.5 * (b + 2) ** 2)
    assert_close(harmonic(STIFFNESS, centre)(x), expected)
    assert_close(harmonic(2.0, 1.0)(x), (a - 1) ** 2 + (b - 1) ** 2)
    assert_close(double_well(3.0, 0.8)(x), 3 * (a**2 - 1) ** 2 + 0.4 * b**2)
    assert_close(double_well(2.5)(x[:, :1]), 2.5 * (a**2 - 1) ** 2)
    assert_close(ring(1.5, 4.0)(x), 2 * (torch.hypot(a, b) - 1.5) ** 2)
    assert float(double_well(3.0)(torch.zeros(1, 2))) == 3 and float(double_well(3.0)(torch.ones(1, 1))) == 0
    assert bool((force(ring(), torch.zeros(1, 2)) == 0).all())  # no direction is downhill: not NaN


@pytest.mark.parametrize(
    ("x", "y", "energy"),  # the stationary points that the literature tabulates
    [
        (-0.558, 1.442, -146.70),
        (0.623, 0.028, -108.17),
        (-0.050, 0.467, -80.77),
        (-0.822, 0.624, -40.66),
        (0.212, 0.293, -72.25),
    ],
)
def test_mueller_brown_has_its_published_stationary_points(x, y, energy):
    point = numbers([x, y])
    assert float(mueller_brown()(point)) == pytest.approx(energy, abs=0.01)
    assert float(mueller_brown(0.1)(point)) == pytest.approx(energy / 10, abs=0.001)
    assert force(mueller_brown(), point).abs().max() < 1.5  # three decimals of a place where slopes are 1000 / length


def test_force_touches_no_gradients(make_generator):
    x = normal((3, 2), make_generator(0)).requires_grad_()
    with torch.no_grad():
        pull = force(harmonic(2.0), x)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled() and x.grad is None and x.requires_grad
    assert_close(pull, -2 * x.detach())


# --- walks and Brownian motion ---------------------------------------------------------------------------------------


def test_a_walk_adds_up_its_steps(make_generator):
    def dice(shape, generator):
        return torch.randint(0, 2, shape, generator=generator) * 2 - 1

    x, g = normal((40, 3), make_generator(0)), make_generator(1)
    steps = torch.stack([dice((40, 3), g) for _ in range(7)])
    walk = torch.stack(list(random_walk(dice, x, steps=7, generator=make_generator(1))))
    assert_close(walk, x + steps.cumsum(dim=0))


def test_brownian_motion_adds_up_normal_steps(make_generator):
    x, g = normal((40, 3), make_generator(0)), make_generator(1)
    steps = torch.stack([normal((40, 3), g) for _ in range(7)])
    states = torch.stack(list(brownian(x, diffusion=0.3, dt=0.2, steps=7, generator=make_generator(1))))
    assert_close(states, x + math.sqrt(2 * 0.3 * 0.2) * steps.cumsum(dim=0))


def test_brownian_motion_spreads_as_the_heat_kernel(make_generator):
    """By the DKW bound, in each direction: false alarms below 1e-9. Mean square by Chebyshev would be weaker."""
    x = last(brownian(torch.zeros(40_000, 2), diffusion=0.5, dt=0.1, steps=20, generator=make_generator(0)))
    for line in x.T:
        assert farthest_from_cdf(line, norm(0, math.sqrt(2 * 0.5 * 2.0)).cdf) < dkw_bound(40_000)
    # 80,000 squared normals of variance 2: relative standard deviation sqrt(2 / 80,000) = 0.005, so 8 of them
    assert mean_squared_displacement(x, torch.zeros(40_000, 2)) == pytest.approx(2 * 2 * 0.5 * 2.0, rel=0.04)


# --- Langevin dynamics as matrices -----------------------------------------------------------------------------------


def linear_maps(monkeypatch, advance, state_size, make_generator):
    """A and B of state -> A state + B noise, for one walker on a line. advance: (state (n, k), generator) -> state."""

    def with_noise(noise):
        monkeypatch.setattr(physics.walkers, "noise_like", lambda x, generator: noise.reshape(x.shape).to(x))

    with_noise(torch.zeros(state_size))
    a = advance(torch.eye(state_size, dtype=torch.float64), make_generator(0)).T
    with_noise(torch.ones(1))
    b = advance(torch.zeros(1, state_size, dtype=torch.float64), make_generator(0)).T
    monkeypatch.undo()
    return a.numpy(), b.numpy()


def overdamped_maps(monkeypatch, make_generator, stiffness, temperature, dt, mobility=1.0):
    def advance(x, generator):
        settings = dict(temperature=temperature, dt=dt, steps=1, generator=generator, mobility=mobility)
        return next(overdamped_langevin(harmonic(stiffness), x, **settings))

    return linear_maps(monkeypatch, advance, 1, make_generator)


def baoab_maps(monkeypatch, make_generator, stiffness, temperature, friction, dt, mass=1.0):
    def advance(state, generator):
        settings = dict(temperature=temperature, friction=friction, dt=dt, steps=1, generator=generator, mass=mass)
        return torch.cat(next(underdamped_langevin(harmonic(stiffness), state[:, :1], state[:, 1:], **settings)), dim=1)

    return linear_maps(monkeypatch, advance, 2, make_generator)


def covariance_after(a, b, start, steps):
    """The covariance of a linear recursion after some steps."""
    for _ in range(steps):
        start = a @ start @ a.T + b @ b.T
    return start


@pytest.mark.parametrize("dt", [0.01, 0.3, 1.2])
def test_euler_maruyama_in_a_harmonic_well_has_its_biased_variance(dt, monkeypatch, make_generator):
    a, b = overdamped_maps(monkeypatch, make_generator, 1.3, 0.7, dt, mobility=0.9)
    assert a[0, 0] == pytest.approx(1 - 0.9 * 1.3 * dt, rel=1e-14)
    assert b[0, 0] == pytest.approx(math.sqrt(2 * 0.9 * 0.7 * dt), rel=1e-14)
    stationary = solve_discrete_lyapunov(a, b @ b.T)[0, 0]
    assert stationary == pytest.approx(0.7 / (1.3 * (1 - 0.9 * 1.3 * dt / 2)), rel=1e-12)


def test_euler_maruyama_converges_at_order_1(monkeypatch, make_generator):
    exact = OrnsteinUhlenbeck(numbers(0.0), 1.3, 0.7, mobility=0.9)
    mean, covariance = exact.moments(numbers(2.0), numbers([0.2]), 1.0)
    errors = []
    for steps in (20, 40, 80, 160, 320):
        a, b = overdamped_maps(monkeypatch, make_generator, 1.3, 0.7, 1.0 / steps, mobility=0.9)
        variance = covariance_after(a, b, np.array([[0.2]]), steps)[0, 0]
        errors.append((abs(2.0 * a[0, 0] ** steps - float(mean)), abs(variance - float(covariance))))
    for series in zip(*errors, strict=True):
        assert orders(series) == pytest.approx([1] * 4, abs=0.08)


def test_overdamped_steps_are_the_formula_in_any_potential(make_generator):
    potential, x = double_well(1.5, 0.5), normal((30, 2), make_generator(0))
    settings = dict(temperature=0.8, dt=0.01, mobility=0.6)
    states = list(overdamped_langevin(potential, x, steps=3, generator=make_generator(1), **settings))
    g, g_step, at, stepped = make_generator(1), make_generator(1), x.clone(), x
    for state in states:
        slope = torch.stack([4 * 1.5 * at[:, 0] * (at[:, 0] ** 2 - 1), 0.5 * at[:, 1]], dim=1)
        at = at - 0.6 * 0.01 * slope + math.sqrt(2 * 0.6 * 0.8 * 0.01) * normal((30, 2), g)
        stepped = overdamped_step(potential, stepped, generator=g_step, **settings)
        assert_close(state, at)
        assert_close(stepped, at)


def test_without_temperature_it_is_gradient_descent_to_the_nearest_bottom(make_generator):
    x = numbers([-0.1, 1.0], [0.2, -2.0], [3.0, 0.0])
    cold = dict(temperature=0.0, dt=0.01, generator=make_generator(0))
    bottom = last(overdamped_langevin(double_well(), x, steps=2000, **cold))
    assert_close(bottom, numbers([-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]), 1e-8)


@pytest.mark.parametrize("friction", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("dt", [0.05, 0.5, 1.1])
def test_baoab_is_exact_in_configuration_in_a_harmonic_well(friction, dt, monkeypatch, make_generator):
    """Leimkuhler & Matthews: positions exact at every dt; velocities too cold by stiffness dt^2 / (4 mass)."""
    stiffness, temperature, mass = 1.3, 0.7, 0.8
    a, b = baoab_maps(monkeypatch, make_generator, stiffness, temperature, friction, dt, mass)
    covariance = solve_discrete_lyapunov(a, b @ b.T)
    cold = 1 - stiffness * dt**2 / (4 * mass)
    np.testing.assert_allclose(covariance, np.diag([temperature / stiffness, temperature / mass * cold]), atol=1e-11)


@pytest.mark.parametrize("friction", [0.0, 0.7, 5.0])
def test_baoab_converges_at_order_2(friction, monkeypatch, make_generator):
    """Against the matrix exponential; the exact covariance by the block matrix of Van Loan."""
    stiffness, temperature, mass, t = 1.3, 0.7, 0.8, 1.0
    drift = np.array([[0, 1], [-stiffness / mass, -friction]])
    noise = np.diag([0, 2 * friction * temperature / mass])
    blocks = expm(np.block([[-drift, noise], [np.zeros((2, 2)), drift.T]]) * t)
    exact_a, start = blocks[2:, 2:].T, np.array([[0.3, 0.1], [0.1, 0.2]])
    exact = exact_a @ start @ exact_a.T + exact_a @ blocks[:2, 2:]
    errors = []
    for steps in (16, 32, 64, 128):
        a, b = baoab_maps(monkeypatch, make_generator, stiffness, temperature, friction, t / steps, mass)
        power = np.linalg.matrix_power(a, steps)
        errors.append((abs(power - exact_a).max(), abs(covariance_after(a, b, start, steps) - exact).max()))
    for series in zip(*errors, strict=True):
        assert orders(series) == pytest.approx([2] * 3, abs=0.1)


def test_without_friction_baoab_keeps_energy_and_runs_backwards(make_generator):
    """From starts well below and well above the barrier: at its height any scheme takes wrong turns."""
    potential, x = double_well(1.0, 0.7), numbers([1.0, 0.5], [-1.0, 0.0], [1.2, -0.3], [0.9, 0.4])
    v = numbers([0.3, -0.2], [0.8, 0.5], [-0.1, 0.9], [2.0, -1.0])
    errors = []
    for dt in (0.04, 0.02, 0.01):
        settings = dict(temperature=1.0, friction=0.0, dt=dt, steps=round(20 / dt), generator=make_generator(2))
        states = list(underdamped_langevin(potential, x, v, **settings))
        energies = torch.stack([potential(s.x) + 0.5 * (s.v**2).sum(dim=1) for s in states])
        errors.append(float((energies - potential(x) - 0.5 * (v**2).sum(dim=1)).abs().max()))
    assert errors[-1] < 1e-2 and orders(errors) == pytest.approx([2, 2], abs=0.15)
    end = states[-1]
    back = last(underdamped_langevin(potential, end.x, -end.v, **settings))
    assert_close(back.x, x, 1e-7)
    assert_close(back.v, -v, 1e-7)


def test_friction_acts_exactly_on_a_free_particle(monkeypatch, make_generator):
    a, b = baoab_maps(monkeypatch, make_generator, 1e-300, 0.7, 2.5, 0.8, mass=3.0)
    assert a[1, 1] == pytest.approx(math.exp(-2.5 * 0.8), rel=1e-14)
    assert b[1, 0] ** 2 == pytest.approx(0.7 / 3 * (1 - math.exp(-2 * 2.5 * 0.8)), rel=1e-13)


def test_baoab_asks_for_one_force_a_step_and_takes_a_mass_for_each_walker_or_direction(make_generator):
    calls = []

    def counted(x):
        calls.append(1)
        return harmonic(1.0)(x)

    x, v = (normal((4, 2), make_generator(i)) for i in (0, 1))
    settings = dict(temperature=0.6, friction=0.9, dt=0.1, steps=5)
    list(underdamped_langevin(counted, x, v, generator=make_generator(2), **settings))
    assert len(calls) == 6  # one to begin with
    heavy = last(underdamped_langevin(harmonic(1.0), x, v, mass=3.0, generator=make_generator(2), **settings))
    light = last(underdamped_langevin(harmonic(1.0), x, v, generator=make_generator(2), **settings))
    axes = last(
        underdamped_langevin(harmonic(1.0), x, v, mass=numbers(3.0, 1.0), generator=make_generator(2), **settings)
    )
    assert_close(axes.x, torch.stack([heavy.x[:, 0], light.x[:, 1]], dim=1))
    own = numbers([3.0], [1.0], [3.0], [1.0])
    each = last(underdamped_langevin(harmonic(1.0), x, v, mass=own, generator=make_generator(2), **settings))
    assert_close(each.v, torch.where(own == 3, heavy.v, light.v))


# --- the Ornstein-Uhlenbeck process ----------------------------------------------------------------------------------

OU = OrnsteinUhlenbeck(numbers(0.5, -1.0), STIFFNESS, temperature=0.7, mobility=1.4)


@pytest.mark.parametrize("t", [0.0, 1e-6, 0.3, 4.0])
def test_transition_is_the_matrix_exponential_and_its_integral(t):
    decay, noise = OU.transition(t)
    k = STIFFNESS.numpy()
    np.testing.assert_allclose(decay, expm(-1.4 * t * k), atol=1e-13)
    for i, j in itertools.product(range(2), repeat=2):

        def rate(s, i=i, j=j):
            return 2 * 1.4 * 0.7 * (expm(-1.4 * s * k) @ expm(-1.4 * s * k).T)[i, j]

        assert float(noise[i, j]) == pytest.approx(quad(rate, 0, t, epsabs=1e-13)[0], rel=1e-10, abs=1e-13)


def test_transitions_compose_and_moments_follow_them():
    (a1, q1), (a2, q2), (a, q) = OU.transition(0.4), OU.transition(0.9), OU.transition(1.3)
    assert_close(a2 @ a1, a)
    assert_close(a2 @ q1 @ a2.T + q2, q)
    mean0, covariance0 = numbers(2.0, 1.0), numbers([0.3, -0.1], [-0.1, 0.6])
    assert_close(OU.moments(*OU.moments(mean0, covariance0, 0.4), 0.9), OU.moments(mean0, covariance0, 1.3))
    assert_close(OU.moments(mean0, covariance0, 0.0), (mean0, covariance0))


def test_moments_solve_their_differential_equations_and_end_in_equilibrium():
    mean0, covariance0 = numbers(2.0, 1.0), numbers([0.3, -0.1], [-0.1, 0.6])
    mean, covariance = OU.equilibrium()
    assert_close(covariance, 0.7 * torch.linalg.inv(STIFFNESS))
    assert_close(OU.moments(mean0, covariance0, 1e4), (mean, covariance), 1e-10)
    assert_close(OU.moments(mean, covariance, 0.8), (mean, covariance))
    h, t = 1e-5, 0.6
    (m0, c0), (m1, c1), (m2, c2) = (OU.moments(mean0, covariance0, s) for s in (t - h, t, t + h))
    assert_close((m2 - m0) / (2 * h), -1.4 * STIFFNESS @ (m1 - OU.mean), 1e-8)
    expected = -1.4 * (STIFFNESS @ c1 + c1 @ STIFFNESS) + 2 * 1.4 * 0.7 * torch.eye(2, dtype=torch.float64)
    assert_close((c2 - c0) / (2 * h), expected, 1e-8)


def test_a_number_is_a_multiple_of_the_identity():
    mean = numbers(0.5, -1.0)
    matrix = OrnsteinUhlenbeck(mean, 1.7 * torch.eye(2), 0.7)
    assert_close(OrnsteinUhlenbeck(mean, 1.7, 0.7).transition(0.8), matrix.transition(0.8), 1e-7)
    assert_close(OrnsteinUhlenbeck(mean, 1.7, 0.7).transition(0.8)[0], math.exp(-1.7 * 0.8) * torch.eye(2).double())


def test_one_jump_has_the_exact_law_on_every_line(make_generator):
    """From one point, along 5 lines, by the DKW bound: false alarms below 1e-9."""
    n, x0 = 20_000, torch.tensor([2.0, 1.0])
    x = OU.sample(x0.expand(n, 2), 0.3, make_generator(0))
    assert x.dtype == torch.float32
    mean, covariance = OU.moments(x0, torch.zeros(2, 2), 0.3)
    for line in normal((5, 2), make_generator(1)):
        exact = norm(float(line @ mean), math.sqrt(float(line @ covariance @ line)))
        assert farthest_from_cdf(x.double() @ line, exact.cdf) < dkw_bound(n)


def test_a_jump_without_noise_and_a_jump_of_no_time(make_generator):
    x0 = normal((5, 2), make_generator(0))
    assert_close(OU.sample(x0, 0.0, make_generator(1)), x0)
    cold = OrnsteinUhlenbeck(OU.mean, STIFFNESS, 0.0)
    assert_close(
        cold.sample(x0, 0.8, make_generator(1)), OU.mean + (x0 - OU.mean) @ torch.from_numpy(expm(-0.8 * STIFFNESS))
    )


# --- densities on a grid ---------------------------------------------------------------------------------------------


def gaussian(grid, mean, covariance):
    """A normal density at the centres of a grid."""
    law = torch.distributions.MultivariateNormal(mean, covariance)
    return law.log_prob(grid.points).exp().reshape(grid.cells)


def test_a_grid_counts_as_numpy_does(make_generator):
    x = 1.2 * normal((5000, 2), make_generator(0))
    edges = [e.numpy() for e in PLANE.edges]
    counts, _ = np.histogramdd(x.numpy(), bins=edges)
    np.testing.assert_allclose(histogram(x, PLANE), counts / (5000 * PLANE.volume), rtol=1e-12)
    assert 0 < counts.sum() < 5000  # some lie outside, and count in the size alone
    assert PLANE.volume == pytest.approx(5 / 20 * 5 / 30) and PLANE.widths == pytest.approx((0.25, 1 / 6))
    centres = np.stack(np.meshgrid(*[(e[1:] + e[:-1]) / 2 for e in edges], indexing="ij"), axis=-1)
    np.testing.assert_allclose(PLANE.points.reshape(20, 30, 2), centres, atol=1e-14)
    alone = histogram(torch.tensor([[-2.4, 2.95]]), PLANE)
    assert float(alone[0, -1]) * PLANE.volume == pytest.approx(1) and int((alone > 0).sum()) == 1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_boltzmann_has_the_moments_of_quadrature(temperature):
    grid = Grid(((-4.0, 4.0),), (800,))
    p = boltzmann(double_well(1.5), grid, temperature)
    assert float(p.sum()) * grid.volume == pytest.approx(1, abs=1e-13)

    def weight(x):
        return math.exp(-1.5 * (x**2 - 1) ** 2 / temperature)

    total = quad(weight, -4, 4, epsabs=1e-12)[0]
    for power in (1, 2, 4):
        exact = quad(lambda x, power=power: x**power * weight(x), -4, 4, epsabs=1e-12)[0] / total
        assert float((grid.centres[0] ** power * p).sum()) * grid.volume == pytest.approx(exact, abs=1e-10)


def test_more_nodes_give_the_mass_of_each_cell():
    grid = Grid(((-2.0, 2.0), (-3.0, 3.0)), (8, 10))
    p = boltzmann(double_well(1.0, 2.0), grid, 0.8, nodes=8)
    masses = []
    for axis, u in enumerate((lambda x: (x**2 - 1) ** 2, lambda y: y**2)):
        cells = itertools.pairwise(grid.edges[axis].tolist())
        masses.append(np.array([quad(lambda x, u=u: math.exp(-u(x) / 0.8), *cell)[0] for cell in cells]))
    exact = np.outer(masses[0] / masses[0].sum(), masses[1] / masses[1].sum())
    np.testing.assert_allclose(p * grid.volume, exact, atol=1e-10)
    assert (
        abs(boltzmann(double_well(1.0, 2.0), grid, 0.8).numpy() * grid.volume - exact).max() > 1e-3
    )  # centres alone differ


# --- the Fokker-Planck operator --------------------------------------------------------------------------------------


@every_grid
@pytest.mark.parametrize("potential", [double_well(2.0), harmonic(300.0), harmonic(1.0, 0.7)], ids=range(3))
def test_the_operator_keeps_mass_stays_positive_and_balances_in_detail(grid, potential):
    operator = fokker_planck_operator(potential, grid, temperature=0.7, mobility=1.3)
    dense = operator.toarray()
    rates = dense - np.diag(np.diag(dense))
    assert (rates >= 0).all() and np.isfinite(dense).all()
    assert abs(dense.sum(axis=0)).max() < 1e-13 * abs(dense).max()
    p = boltzmann(potential, grid, 0.7).flatten().numpy()
    flows = rates * p  # column j: what leaves cell j for i
    np.testing.assert_allclose(flows, flows.T, rtol=1e-12 if potential(grid.points).max() < 100 else 1e-11, atol=1e-290)
    assert abs(operator @ p).max() < 1e-12 * flows.max()
    assert (rates > 0).sum() <= 2 * len(grid.cells) * grid.points.shape[0]


@every_grid
def test_the_rates_are_those_of_the_exact_flux_between_two_centres(grid):
    """The steady flux through a linear piece of potential from one density to the next, solved by quadrature:
    J = mobility T / int_0^h e^(U / T) dx times (p_i e^(U_i / T) - p_j e^(U_j / T)); the wall passes nothing."""
    temperature, mobility, energy = 0.7, 1.3, double_well(1.2)(grid.points).numpy()
    expected = np.zeros((len(energy), len(energy)))
    index = np.arange(len(energy)).reshape(grid.cells)
    for axis, h in enumerate(grid.widths):
        moved = np.moveaxis(index, axis, 0)
        for i, j in zip(moved[:-1].ravel(), moved[1:].ravel(), strict=True):
            for start, end in ((i, j), (j, i)):
                rise = (energy[end] - energy[start]) / temperature
                nodes, weights = np.polynomial.legendre.leggauss(12)
                integral = (weights / 2 * np.exp(rise * (nodes + 1) / 2)).sum() * h
                expected[end, start] += mobility * temperature / integral / h
    expected -= np.diag(expected.sum(axis=0))
    operator = fokker_planck_operator(double_well(1.2), grid, temperature=temperature, mobility=mobility)
    np.testing.assert_allclose(operator.toarray(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("implicitness", [1.0, 0.5])
@every_grid
def test_evolve_is_its_formula_and_keeps_mass(grid, implicitness):
    operator, dt = fokker_planck_operator(double_well(), grid, temperature=0.5), 0.01
    p = gaussian(grid, torch.full((len(grid.cells),), 0.4).double(), 0.2 * torch.eye(len(grid.cells)).double())
    p = p / (p.sum() * grid.volume)
    start = p.clone()
    dense, one = operator.toarray(), np.eye(operator.shape[0])
    by_hand, bound = p.flatten().numpy(), 1e-12 * float(p.max())
    for state in evolve(operator, p, dt, 25, implicitness=implicitness):
        explicit = (one + (1 - implicitness) * dt * dense) @ by_hand
        by_hand = np.linalg.solve(one - implicitness * dt * dense, explicit)
        np.testing.assert_allclose(state.flatten(), by_hand, atol=bound)
        assert state.shape == grid.cells and abs(float(state.sum()) * grid.volume - 1) < 1e-13
    assert torch.equal(p, start)


@every_grid
@pytest.mark.parametrize("dt", [1e-4, 1.0, 1e4])
def test_a_spike_stays_positive_at_every_step(grid, dt):
    p = torch.zeros(grid.cells, dtype=torch.float64)
    p.view(-1)[7] = 1 / grid.volume
    operator = fokker_planck_operator(harmonic(20.0), grid, temperature=0.3)
    rounding = 1e-13 + 1e-16 * dt * abs(operator).max()  # of the columns of 1 - dt L, which sum to 1
    for state in evolve(operator, p, dt, 10):
        assert bool((state >= 0).all()) and abs(float(state.sum()) * grid.volume - 1) < rounding


@pytest.mark.parametrize(("implicitness", "order"), [(1.0, 1), (0.5, 2)])
def test_evolve_converges_in_dt_to_the_matrix_exponential(implicitness, order):
    operator = fokker_planck_operator(double_well(), LINE, temperature=0.8)
    p = gaussian(LINE, numbers(0.4), numbers([0.2]))
    exact = expm(operator.toarray() * 0.5) @ p.numpy()
    errors = []
    for steps in (40, 80, 160, 320):
        end = last(evolve(operator, p, 0.5 / steps, steps, implicitness=implicitness))
        errors.append(abs(end.numpy() - exact).max())
    assert orders(errors) == pytest.approx([order] * 3, abs=0.1)


@pytest.mark.parametrize("d", [1, 2])
def test_the_grid_converges_at_order_2_to_the_exact_gaussian(d):
    """Order 2 in dx at a dt that no longer counts, against the moments of Ornstein-Uhlenbeck."""
    k = STIFFNESS[:d, :d] / STIFFNESS[0, 0] if d == 1 else numbers([1.2, 0.0], [0.0, 0.7])
    process = OrnsteinUhlenbeck(torch.zeros(d).double(), k, temperature=0.6)
    mean0, covariance0, t = torch.full((d,), 0.8).double(), 0.3 * torch.eye(d).double(), 0.4
    errors = []
    for cells in (20, 40, 80):
        grid = Grid(((-5.0, 5.0),) * d, (cells,) * d)
        operator = fokker_planck_operator(harmonic(k), grid, temperature=0.6)
        end = last(evolve(operator, gaussian(grid, mean0, covariance0), t / 80, 80, implicitness=0.5))
        errors.append(float((end - gaussian(grid, *process.moments(mean0, covariance0, t))).abs().max()))
    assert orders(errors) == pytest.approx([2, 2], abs=0.2) and errors[-1] < 2e-3


def test_without_a_potential_it_is_the_heat_equation():
    grid = Grid(((-8.0, 8.0),), (320,))
    operator = fokker_planck_operator(lambda x: torch.zeros(len(x)), grid, temperature=0.5, mobility=2.0)
    row, h = operator.toarray()[100], grid.widths[0]
    np.testing.assert_allclose(row[99:102] * h**2, [1, -2, 1], rtol=1e-12)  # D = mobility temperature = 1
    end = last(evolve(operator, gaussian(grid, numbers(0.0), numbers([0.2])), 0.01, 100, implicitness=0.5))
    assert_close(end, gaussian(grid, numbers(0.0), numbers([2.2])), 2e-4)


# --- observables -----------------------------------------------------------------------------------------------------


def test_displacement_and_kinetic_temperature_are_their_means():
    x, x0 = numbers([1.0, 2.0], [3.0, -1.0]), numbers([0.0, 0.0], [1.0, 1.0])
    assert mean_squared_displacement(x, x0) == pytest.approx((1 + 4 + 4 + 4) / 2)
    assert kinetic_temperature(x) == pytest.approx((1 + 4 + 9 + 1) / 4)
    assert kinetic_temperature(x, 2.0) == pytest.approx(2 * (1 + 4 + 9 + 1) / 4)
    assert kinetic_temperature(x, numbers([1.0], [3.0])) == pytest.approx((1 + 4 + 27 + 3) / 4)
    assert kinetic_temperature(torch.ones(5, 3)) == 1  # a common drift counts


def test_entropy_and_kl_of_gaussians_have_their_closed_forms():
    grid = Grid(((-9.0, 9.0), (-9.0, 9.0)), (180, 180))
    laws = [
        torch.distributions.MultivariateNormal(numbers(0.3, -0.2), numbers([0.8, 0.2], [0.2, 0.5])),
        torch.distributions.MultivariateNormal(numbers(-0.4, 0.1), numbers([1.0, -0.3], [-0.3, 0.9])),
    ]
    p, q = (gaussian(grid, law.mean, law.covariance_matrix) for law in laws)
    assert entropy(p, grid) == pytest.approx(float(laws[0].entropy()), abs=1e-9)
    assert kl_divergence(p, q, grid) == pytest.approx(float(torch.distributions.kl_divergence(*laws)), abs=1e-9)
    assert kl_divergence(q, p, grid) == pytest.approx(float(torch.distributions.kl_divergence(*laws[::-1])), abs=1e-9)
    half = torch.zeros(180, 180, dtype=torch.float64)
    half[:90] = 2 / 18**2
    flat = torch.full_like(half, 1 / 18**2)
    assert kl_divergence(half, flat, grid) == pytest.approx(math.log(2))
    assert kl_divergence(flat, half, grid) == math.inf  # and not NaN where both are 0
    assert entropy(half, grid) == pytest.approx(math.log(18**2 / 2))


def test_free_energy_only_falls_and_what_is_left_is_the_divergence():
    potential, temperature = double_well(1.5), 0.6
    equilibrium = boltzmann(potential, PLANE, temperature)
    least = free_energy(equilibrium, potential, PLANE, temperature)
    total = torch.exp(-potential(PLANE.points) / temperature).sum() * PLANE.volume
    assert least == pytest.approx(-temperature * math.log(float(total)), abs=1e-12)
    p = torch.zeros(PLANE.cells, dtype=torch.float64)
    p[3, 4] = 1 / PLANE.volume
    operator = fokker_planck_operator(potential, PLANE, temperature=temperature)
    values = []
    for state in evolve(operator, p, 0.05, 200):
        values.append(free_energy(state, potential, PLANE, temperature))
        left = temperature * kl_divergence(state, equilibrium, PLANE)
        assert values[-1] - least == pytest.approx(left, abs=1e-11)
    assert all(after < before for before, after in itertools.pairwise(values[:100])) and values[-1] - least < 1e-2


def test_kl_to_density_of_exact_samples_is_its_floor(make_generator):
    """2 B KL is chi-squared with cells - 1 degrees of freedom, mean 59: above 180 or below 6 less than once in 1e13."""
    q, n = boltzmann(double_well(), LINE, 1.0, nodes=4), 20_000
    q = (q + 0.05 / 6) / (q + 0.05 / 6).sum() / LINE.volume  # so that every cell is visited often: chi-squared holds
    drawn = torch.multinomial(q, n, replacement=True, generator=make_generator(0))
    x = LINE.points[drawn] + LINE.volume * (torch.rand(n, 1, generator=make_generator(1)).double() * 0.98 - 0.49)
    measured = kl_to_density(x, q, LINE, generator=make_generator(2))
    assert (measured.samples, measured.real) == (n, n)
    assert 6 / (2 * n) < measured.value < 180 / (2 * n)
    # the mean of 8: standard deviation sqrt(2 * 59 / 8) = 3.8, so 59 +- 35 is 9 of them
    assert measured.floor * 2 * n == pytest.approx(59, abs=35)
    again = kl_to_density(x, q, LINE, generator=make_generator(2))
    assert again == measured
    assert measured.value == pytest.approx(kl_divergence(histogram(x, LINE), q, LINE), rel=1e-12)
    moved = kl_to_density(x.clamp(-2.5, 2.5) + 0.3, q, LINE, generator=make_generator(2))
    assert moved.ratio > 10


# --- work ------------------------------------------------------------------------------------------------------------

TRAP = [float(k) for k in np.linspace(1.0, 4.0, 21)]


def test_work_is_the_energy_at_each_change_at_fixed_positions(make_generator):
    x, seen = normal((6, 2), make_generator(0)).float(), []

    def relax(x, stiffness, generator):
        seen.append(stiffness)
        return 0.9 * x + 0.1

    states = list(driven(harmonic, x, TRAP, relax, generator=make_generator(1)))
    assert len(states) == 20 and seen == TRAP[1:]
    at, work = x, 0
    for state, (old, new) in zip(states, itertools.pairwise(TRAP), strict=True):
        work = work + 0.5 * (new - old) * (at.double() ** 2).sum(dim=1)
        at = 0.9 * at + 0.1
        assert_close(state.work, work, 1e-6)
        assert_close(state.x, at)


def mean_of_exp(transitions, temperature, power=1):
    """E exp(-power W / T) for a stiffening trap, exactly: the Gaussian weight of exp(-power W / T) stays Gaussian.

    transitions: (factor, variance) of the relaxation at each new stiffness.
    """
    mass, variance = 1.0, temperature / TRAP[0]
    for (old, new), (factor, noise) in zip(itertools.pairwise(TRAP), transitions, strict=True):
        shrink = 1 + power * (new - old) * variance / temperature
        mass, variance = mass / math.sqrt(shrink), variance / shrink
        variance = factor**2 * variance + noise
    return mass


def test_exact_relaxation_obeys_jarzynskis_equality_and_euler_steps_nearly():
    temperature, dt = 0.7, 0.1
    exact = [OrnsteinUhlenbeck(numbers(0.0), k, temperature).transition(dt) for k in TRAP[1:]]
    exact = [(float(a), float(q)) for a, q in exact]
    assert mean_of_exp(exact, temperature) == pytest.approx(math.sqrt(TRAP[0] / TRAP[-1]), rel=1e-12)
    euler = [(1 - k * dt, 2 * temperature * dt) for k in TRAP[1:]]
    assert abs(math.log(mean_of_exp(euler, temperature) / math.sqrt(TRAP[0] / TRAP[-1]))) > 0.01


@pytest.mark.parametrize("step", ["exact", "Euler"])
def test_jarzynski_recovers_the_free_energy_of_a_stiffening_trap(step, make_generator):
    """exp(-W / T) lies in [0, 1], since a stiffening trap only takes work. So Hoeffding's inequality, which is the DKW
    bound's formula, holds without any approximation: false alarms below 1e-9. Against 1/2 T ln(k1 / k0) for exact
    steps, against the recursion for Euler's."""
    temperature, dt, n = 0.7, 0.1, 40_000

    def relax(x, k, generator):
        if step == "exact":
            return OrnsteinUhlenbeck(torch.zeros(1), k, temperature).sample(x, dt, generator)
        return overdamped_step(harmonic(k), x, temperature=temperature, dt=dt, generator=generator)

    x = math.sqrt(temperature / TRAP[0]) * normal((n, 1), make_generator(0))
    work = last(driven(harmonic, x, TRAP, relax, generator=make_generator(1))).work
    assert bool((work >= 0).all())
    expected = math.sqrt(TRAP[0] / TRAP[-1])
    if step == "Euler":
        expected = mean_of_exp([(1 - k * dt, 2 * temperature * dt) for k in TRAP[1:]], temperature)
    estimate = jarzynski(work, temperature)
    assert abs(math.exp(-estimate / temperature) - expected) < dkw_bound(n)
    assert float(work.mean()) > estimate  # the second law; by Jensen, for every sample


def test_jarzynski_is_the_mean_of_exponentials_and_never_overflows():
    work = numbers(0.3, 1.2, 2.0, -0.4)
    assert jarzynski(work, 0.7) == pytest.approx(-0.7 * math.log(np.exp(-work.numpy() / 0.7).mean()), rel=1e-13)
    assert jarzynski(work + 5000, 0.7) == pytest.approx(jarzynski(work, 0.7) + 5000, rel=1e-12)
    assert jarzynski(torch.full((9,), 2.5), 0.1) == pytest.approx(2.5, rel=1e-12)


# --- every loop ------------------------------------------------------------------------------------------------------

LOOPS = {
    "walk": lambda x, g: random_walk(lambda shape, g: torch.rand(shape, generator=g), x, steps=3, generator=g),
    "brownian": lambda x, g: brownian(x, diffusion=1.0, dt=0.1, steps=3, generator=g),
    "overdamped": lambda x, g: overdamped_langevin(ring(), x, temperature=1.0, dt=0.1, steps=3, generator=g),
    "underdamped": lambda x, g: underdamped_langevin(
        ring(), x, x, temperature=1.0, friction=1.0, dt=0.1, steps=3, generator=g
    ),
    "driven": lambda x, g: driven(
        harmonic,
        x,
        TRAP[:4],
        lambda x, k, g: OrnsteinUhlenbeck(torch.zeros(2), k, 1.0).sample(x, 0.1, g),
        generator=g,
    ),
}
every_loop = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)


def positions(state):
    return state if isinstance(state, torch.Tensor) else state[0]


@every_loop
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loop_yields_states_that_stay_and_leaves_its_input_and_gradients_alone(loop, dtype, make_generator):
    x = normal((6, 2), make_generator(0)).to(dtype).requires_grad_()  # no history is built, even so
    start, kept, copies = x.detach().clone(), [], []
    for state in loop(x, make_generator(1)):
        assert torch.is_grad_enabled() and not positions(state).requires_grad
        assert positions(state).dtype == dtype and positions(state).shape == x.shape
        kept.append(positions(state))
        copies.append(positions(state).clone())
    assert torch.equal(x, start) and len(kept) == 3
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))
    assert all(bool((a != b).any()) for a, b in itertools.pairwise([x, *kept]))


@every_loop
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(loop, make_generator):
    x = normal((6, 2), make_generator(0))
    one, same, other = (positions(last(loop(x, make_generator(i)))) for i in (1, 1, 2))
    assert torch.equal(one, same) and bool((one != other).all())


@every_loop
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (torch.ones(3), TypeError, r"x must be a floating-point tensor of shape \(B, d\), but is a float32 tensor of"),
        (torch.ones(3, 2).long(), TypeError, r"x must be a floating-point tensor .* int64 tensor of shape \(3, 2\)"),
        (torch.ones(0, 2), TypeError, r"x must be a floating-point tensor of shape \(B, d\)"),
        (np.ones((3, 2)), TypeError, r"x must be a floating-point tensor"),
        (torch.tensor([[0.0, math.nan]]), ValueError, "x must be finite, but 1 of its 2 values are NaN or infinite"),
    ],
)
def test_a_loop_refuses_walkers_that_are_none(loop, x, error, words, make_generator):
    with pytest.raises(error, match=words):
        next(loop(x, make_generator(0)))


@every_loop
@pytest.mark.parametrize("bad", [None, 0])
def test_a_loop_refuses_what_is_no_generator(loop, bad):
    with pytest.raises(TypeError, match=rf"generator must be a torch.Generator .*, but is {bad}"):
        next(loop(torch.ones(3, 2), bad))


X = torch.ones(3, 2)
OVERDAMPED = dict(temperature=1.0, dt=0.1, steps=2)
UNDERDAMPED = dict(temperature=1.0, friction=1.0, dt=0.1, steps=2)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        (dict(dt=0.0), ValueError, "dt must be finite and > 0, but is 0.0"),
        (dict(dt=-0.1), ValueError, "dt must be finite and > 0, but is -0.1"),
        (dict(dt=math.nan), ValueError, "dt must be finite and > 0, but is nan"),
        (dict(dt="fast"), TypeError, "dt must be a number, but is str 'fast'"),
        (dict(dt=torch.ones(2)), TypeError, "dt must be a single number, but is a float32 tensor"),
        (dict(temperature=-1.0), ValueError, "temperature must be finite and >= 0, but is -1.0"),
        (dict(temperature=math.inf), ValueError, "temperature must be finite and >= 0, but is inf"),
        (dict(steps=0), ValueError, "steps must be a whole number >= 1, but is 0"),
        (dict(steps=2.5), ValueError, "steps must be a whole number >= 1, but is 2.5"),
    ],
)
def test_langevin_refuses_numbers_that_mean_nothing(changed, error, words, make_generator):
    with pytest.raises(error, match=words):
        next(overdamped_langevin(harmonic(1.0), X, **OVERDAMPED | changed, generator=make_generator(0)))
    with pytest.raises(error, match=words):
        next(underdamped_langevin(harmonic(1.0), X, X, **UNDERDAMPED | changed, generator=make_generator(0)))


def density(value=1.0, cells=60):
    return torch.full((cells,), value / 6, dtype=torch.float64)


def take(loop):
    return lambda g: next(loop(g))


OPERATOR = fokker_planck_operator(harmonic(1.0), LINE, temperature=1.0)


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda g: harmonic(-1.0), ValueError, "stiffness must be finite and > 0, but is -1.0"),
        (lambda g: harmonic(torch.ones(2, 3)), ValueError, r"stiffness must be a number or a matrix of shape \(d, d\)"),
        (lambda g: harmonic(torch.ones(2, 2)), ValueError, "stiffness must be symmetric and positive definite"),
        (lambda g: harmonic(torch.tensor([[1.0, 0.5], [0.0, 1.0]])), ValueError, "stiffness must be symmetric"),
        (lambda g: harmonic(1.0, torch.ones(2))(X[:, :1]), ValueError, r"centre must be a number or \(d,\) to go with"),
        (lambda g: double_well(0.0), ValueError, "barrier must be finite and > 0, but is 0.0"),
        (lambda g: ring(-2.0), ValueError, "radius must be finite and > 0, but is -2.0"),
        (lambda g: mueller_brown(0.0), ValueError, "scale must be finite and > 0, but is 0.0"),
        (lambda g: mueller_brown()(torch.ones(3, 3)), ValueError, r"x must have shape \(B, 2\)"),
        (lambda g: force(lambda x: x, X), ValueError, r"potential must return energies of shape \(3,\), but returned"),
        (lambda g: force(lambda x: x.sum(), X), ValueError, r"potential must return .* tensor of shape \(\)"),
        (lambda g: force(lambda x: torch.ones(3), X), ValueError, "potential must be made of x by differentiable"),
        (
            take(lambda g: random_walk(lambda shape, g: torch.ones(3, 1), X, steps=1, generator=g)),
            ValueError,
            r"step must return a tensor of shape \(3, 2\), but returned a float32 tensor of shape \(3, 1\)",
        ),
        (
            take(lambda g: brownian(X, diffusion=-1.0, dt=0.1, steps=1, generator=g)),
            ValueError,
            "diffusion must be fin",
        ),
        (take(lambda g: brownian(X, diffusion=1.0, dt=0.0, steps=1, generator=g)), ValueError, "dt must be finite"),
        (
            take(lambda g: overdamped_langevin(ring(), X, **OVERDAMPED, mobility=0.0, generator=g)),
            ValueError,
            "mobility must be finite and > 0, but is 0.0",
        ),
        (
            take(lambda g: underdamped_langevin(ring(), X, X[:, :1], **UNDERDAMPED, generator=g)),
            ValueError,
            r"v must have the shape and dtype of x, a float32 tensor of shape \(3, 2\), but is .* \(3, 1\)",
        ),
        (
            take(lambda g: underdamped_langevin(ring(), X, X / 0, **UNDERDAMPED, generator=g)),
            ValueError,
            "v must be finite",
        ),
        (
            take(lambda g: underdamped_langevin(ring(), X, X, **UNDERDAMPED | dict(friction=-1.0), generator=g)),
            ValueError,
            "friction must be finite and >= 0, but is -1.0",
        ),
        (
            take(lambda g: underdamped_langevin(ring(), X, X, mass=0.0, **UNDERDAMPED, generator=g)),
            ValueError,
            "mass must be finite, > 0 and multiply v, .* but is float 0.0",
        ),
        (
            lambda g: kinetic_temperature(X, torch.ones(3)),
            ValueError,
            r"mass must be .* float32 tensor of shape \(3,\)",
        ),
        (lambda g: kinetic_temperature(X, torch.ones(5, 3, 2)), ValueError, r"mass must be .* shape \(5, 3, 2\)"),
        (
            take(lambda g: driven(harmonic, X, [1.0], lambda x, k, g: x, generator=g)),
            ValueError,
            "protocol must hold at least 2 parameters, but holds 1",
        ),
        (
            take(lambda g: driven(harmonic, X, [1.0, 2.0], lambda x, k, g: x[:1], generator=g)),
            ValueError,
            r"relax must return positions of shape \(3, 2\)",
        ),
        (
            take(lambda g: driven(lambda k: lambda x: x, X, [1.0, 2.0], lambda x, k, g: x, generator=g)),
            ValueError,
            r"potential must return energies of shape \(3,\)",
        ),
        (
            lambda g: jarzynski(X, 1.0),
            ValueError,
            r"work must have shape \(B,\), one number a walker, but is a float32",
        ),
        (lambda g: jarzynski(X[0] / 0, 1.0), ValueError, "work must be finite"),
        (lambda g: jarzynski(X[0], 0.0), ValueError, "temperature must be finite and > 0, but is 0.0"),
        (
            lambda g: OrnsteinUhlenbeck(0.0, 1.0, 1.0),
            TypeError,
            r"mean must be a floating-point tensor of shape \(d,\)",
        ),
        (lambda g: OrnsteinUhlenbeck(torch.ones(3), STIFFNESS, 1.0), ValueError, r"stiffness must have .* d = 3, but"),
        (
            lambda g: OrnsteinUhlenbeck(torch.ones(2), STIFFNESS, -1.0),
            ValueError,
            "temperature must be finite and >= 0",
        ),
        (lambda g: OrnsteinUhlenbeck(torch.ones(2), -1.0, 1.0), ValueError, "stiffness must be finite and > 0"),
        (lambda g: OU.transition(-0.1), ValueError, "t must be finite and >= 0, but is -0.1"),
        (
            lambda g: OU.moments(torch.ones(1), torch.ones(2, 2), 0.1),
            ValueError,
            r"mean0 .* shapes \(2,\) and \(2, 2\)",
        ),
        (lambda g: OU.sample(torch.ones(3, 1), 0.1, g), ValueError, r"x0 must have shape \(B, 2\), but is a float32"),
        (
            lambda g: OU.sample(torch.ones(2), 0.1, g),
            TypeError,
            r"x0 must be a floating-point tensor of shape \(B, d\)",
        ),
        (
            lambda g: Grid((-3, 3), (60,)),
            ValueError,
            r"bounds must be a pair \(low, high\) and cells a number for each",
        ),
        (lambda g: Grid((-3, 3), 60), ValueError, "bounds must be a pair"),
        (lambda g: Grid(((-3, 3),) * 3, (9, 9, 9)), ValueError, "bounds must be a pair .* each of 1 or 2 axes"),
        (lambda g: Grid(((3, -3),), (60,)), ValueError, r"bounds must be \(low, high\), low < high, on each axis"),
        (lambda g: Grid(((-3, 3),), (1,)), ValueError, "each number of cells must be a whole number >= 2, but is 1"),
        (lambda g: boltzmann(harmonic(1.0), LINE, 0.0), ValueError, "temperature must be finite and > 0"),
        (lambda g: boltzmann(harmonic(1.0), LINE, 1.0, nodes=0), ValueError, "nodes must be a whole number >= 1"),
        (lambda g: boltzmann(lambda x: x, LINE, 1.0), ValueError, r"potential must return energies of shape \(60,\)"),
        (lambda g: boltzmann(lambda x: x[:, 0] / 0, LINE, 1.0), ValueError, "what potential returns must be finite"),
        (
            lambda g: fokker_planck_operator(ring(), LINE, temperature=0.0),
            ValueError,
            "temperature must be finite and >",
        ),
        (take(lambda g: evolve(OPERATOR, density(), 0.0, 1)), ValueError, "dt must be finite and > 0"),
        (take(lambda g: evolve(OPERATOR, density(), 0.1, 0)), ValueError, "steps must be a whole number >= 1"),
        (take(lambda g: evolve(OPERATOR, density(cells=59), 0.1, 1)), ValueError, "p must hold 60 densities >= 0"),
        (take(lambda g: evolve(OPERATOR, density(-1.0), 0.1, 1)), ValueError, "p must hold 60 densities >= 0"),
        (take(lambda g: evolve(OPERATOR, density(math.nan), 0.1, 1)), ValueError, "p must be finite"),
        (
            take(lambda g: evolve(OPERATOR, density(), 0.1, 1, implicitness=0.3)),
            ValueError,
            r"implicitness must lie in \[0.5, 1\], but is 0.3",
        ),
        (lambda g: mean_squared_displacement(X, X[:1]), ValueError, r"x and x0 must both have shape \(B, d\)"),
        (lambda g: histogram(X, LINE), ValueError, r"x must have shape \(B, 1\) to go with the grid"),
        (lambda g: entropy(density(cells=59), LINE), ValueError, r"p must be a density >= 0 in the shape \(60,\)"),
        (lambda g: kl_divergence(density(), density(-1.0), LINE), ValueError, "q must be a density >= 0"),
        (lambda g: kl_to_density(X[:, :1], density(0.9), LINE, generator=g), ValueError, "q must have mass 1 .* 0.9"),
        (
            lambda g: kl_to_density(4 * X[:, :1], density(), LINE, generator=g),
            ValueError,
            "x must lie on the grid, but 3 of 3 samples lie outside: widen its bounds",
        ),
        (lambda g: free_energy(density(), ring(), LINE, -1.0), ValueError, "temperature must be finite and >= 0"),
    ],
)
def test_nonsense_is_refused_by_name(act, error, words, make_generator):
    with pytest.raises(error, match=words):
        act(make_generator(0))
